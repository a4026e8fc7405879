"""What a case of the tracer's corpus is: a small real module, its example input, and the right answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Answer", "Case", "call", "data", "ids", "several"]

Answer = str | tuple[str, ...] | frozenset[str]
"""What is right for one parameter.

``"relu"``, ``"leaky_relu(slope=0.3)"``: the primary answer; an argument that is not stated is not asked for.
``"custom|exp"``: either name is right. ``("relu", "tanh")``: both are found, the first is the primary one.
``frozenset({"relu", "tanh"})``: both are found, neither comes first. ``"unused"`` and ``"unresolved"``: no activation,
and ``found_by`` says so. A bias meets what its weight meets, and is asked for with it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model and what is true of it."""

    name: str
    make: Callable[[], nn.Module]
    input: Callable[[], Any]
    """A tensor, a tuple (positional arguments) or a dict (keyword arguments)."""
    following: Mapping[str, Answer]
    """By parameter path, for every weight of two or more dimensions at least."""
    preceding: Mapping[str, Answer] = field(default_factory=dict)
    flags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Flags that the primary following answer has; ``"-norm"``: it has not."""
    norm_before: Mapping[str, bool] = field(default_factory=dict)
    previous: Mapping[str, str | None] = field(default_factory=dict)
    found_by: Mapping[str, str] = field(default_factory=dict)
    """A word that ``found_by`` has, where the way to the answer must be announced."""
    also: tuple[str, ...] = ()
    """Activations that may be among the further answers although no row states them."""
    fails: tuple[str, ...] = ()
    """Words that what is said instead of an answer has, where the model cannot be traced."""
    lazy: bool = False
    """The module has uninitialized parameters: a real forward would make them."""


def call(model: nn.Module, given: Any) -> Any:
    """The model's answer to an example input, as the tracer must call it."""
    if isinstance(given, tuple):
        return model(*given)
    if isinstance(given, dict):
        return model(**given)
    return model(given)


def data(*shape: int) -> Callable[[], Tensor]:
    """Standard normal numbers, the same at every call, whatever the random state, which is left alone."""
    return lambda: torch.randn(shape, generator=torch.Generator().manual_seed(17))


def ids(*shape: int, high: int = 10) -> Callable[[], Tensor]:
    """Indices below ``high``, the same at every call."""
    return lambda: torch.randint(high, shape, generator=torch.Generator().manual_seed(17))


def several(*names: str) -> frozenset[str]:
    """All of these are right, none before the other."""
    return frozenset(names)
