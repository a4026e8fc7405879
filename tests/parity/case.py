"""One case of parity: a preset, a small model, and where the right values come from.

A file ``cases_<what>.py`` in this folder holds ``CASES``, a tuple of `Case`; `cases` finds all of them. It may hold
``COVERS``, entry of the facts -> presets, where these have other names than the entry, and ``NOT_MADE``, entry ->
the reason: both go into the report. A preset's comment has these lines, which `docs/presets.md` is made from::

    # yaml-language-server: $schema=../schema.json
    # Source: huggingface/pytorch-image-models, timm/models/resnet.py::init_weights, timm 1.0.31
    # Paper: arXiv:1512.03385                            (where the source names one)
    # Leaves alone: …, at torch's defaults               (or: nothing)
    # Quirks: …                                          (one or more lines, free; where there are any)

1. Where the library can be installed, ``build`` makes the model and initializes it as the library does, and that is
   the reference: each seed builds it anew after ``torch.manual_seed``.
2. Where it cannot, ``build`` makes a small stand-in with the reference's own module and parameter names, and
   ``stated`` gives each parameter's law from the facts, by formula, without a look at the preset::

       def stated(name, value, owner):          # "blocks.0.mlp.fc1.weight", the parameter, the module that owns it
           if value.ndim == 1:
               return 0.0                       # a constant
           return normal(0.02)                  # or uniform(bound), truncated(std, -2, 2), Orthogonal(gain), an array,
                                                # Blocks(law, law, law) for equal parts along the first axis

``build`` is called under ``torch.device("meta")`` for the copy that the preset fills (on the CPU where that fails), so
it must take no other state with it. What lies in that copy before is one mark everywhere: what the preset does not
write is seen. Every parameter must be written, but those whose names ``left_alone`` matches whole, and which the
reference leaves alone too (in a library's case: whose values do not depend on the seed).

Presets are whole: what the reference leaves at torch's defaults is said by ``defaults: [torch_default, _self_]``, so
that a model on the meta device has all its values, and is compared like the rest. ``left_alone`` is for what neither
sets (a frozen table of sines).

Make models small and laws large: a tenth more spread must be seen, so each law's pool (all parameters of equal law,
over the seeds) is to reach `compare.ENOUGH` values within `compare.SEEDS` seeds. Widths of 64 and depths of 2 are
right.

The comparison must be able to fail, so each case is tried with wrong constants too (`mutate.mutants`): a tenth more
spread in each rule's random laws, truncation dropped at equal spread, rules that scale by depth left out.
``mutations`` adds more, as overrides: ``{"no forget bias": {"rules": {"lstm": {"init": {"bias_ih*": 0}}}}}``. In CI
the first of each kind and all of ``mutations`` are tried, with INITPOLICY_PARITY=1 (``make parity``) all of them.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import nn

__all__ = [
    "Array",
    "Blocks",
    "Case",
    "Orthogonal",
    "Rows",
    "Stated",
    "cases",
    "glorot",
    "normal",
    "truncated",
    "uniform",
]

Array = NDArray[np.float32]
Overrides = Mapping[str, Any]
"""A part of a policy, merged over it: ``{"vars": {"std": 0.01}, "rules": {"all": {"init": {"bias": 0}}}}``."""


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """gain times a random matrix with orthonormal rows or columns, dimensions after the first flattened."""

    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Rows:
    """Numbers drawn one by one, each row of them then scaled to a length: ``Rows(uniform(1), 1.0)``."""

    law: Any
    length: float = 1.0


@dataclass(frozen=True, slots=True)
class Blocks:
    """A law for each of the equal parts along the first axis."""

    laws: tuple[Any, ...]

    def __init__(self, *laws: Any) -> None:
        object.__setattr__(self, "laws", laws)


Stated = Any
"""A number, an array of the parameter's shape, a frozen law of scipy.stats, `Orthogonal`, `Rows` or `Blocks`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One model that one preset is held against."""

    preset: str
    model: str
    """What the report calls it: ``timm vit_base_patch16_224, 2 blocks of width 64``."""
    build: Callable[[], nn.Module]
    stated: Callable[[str, Array, nn.Module], Stated] | None = None
    """(name, initial value, owner) -> law; None: what ``build`` leaves in the model is the reference."""
    overrides: Overrides = field(default_factory=dict)
    """What this model needs of the preset: the ``vars`` of its size."""
    left_alone: str = ""
    """Regular expression of the whole names that neither the reference nor the preset sets."""
    mutations: Mapping[str, Overrides] = field(default_factory=dict)
    """Name -> wrong constants, each of which must be caught."""
    seeds: int = 0
    """How many; 0: as many as give each law's pool enough values."""
    rewritten: bool = False
    """``build`` takes the reference's steps from the facts, as there is no package to take them."""
    traced: bool = False
    """The preset asks for activations, so the model is traced."""
    slow: bool = False
    """Only in the full suite."""

    @property
    def name(self) -> str:
        return f"{self.preset}: {self.model}"

    @property
    def reference(self) -> str:
        if self.stated is not None:
            return "stated law"
        return "its steps, written anew" if self.rewritten else "library"


@cache
def cases() -> tuple[Case, ...]:
    """All cases, by the names of their files and in their order there."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    return tuple(case for file in files for case in importlib.import_module(f"parity.{file}").CASES)


# --- laws, as scipy has them ----------------------------------------------------------------------


def normal(std: float, mean: float = 0.0) -> Stated:
    """N(mean, std²)."""
    return stats.norm(mean, std)


def uniform(bound: float, low: float | None = None) -> Stated:
    """U(-bound, bound), or U(low, bound)."""
    first = -bound if low is None else low
    return stats.uniform(first, bound - first)


def truncated(std: float, low: float = -2.0, high: float = 2.0, *, corrected: bool = False) -> Stated:
    """N(0, std²) between ``low`` and ``high`` standard deviations; ``corrected``: widened, to have ``std`` then."""
    scale = std / float(stats.truncnorm(low, high).std()) if corrected else std
    return stats.truncnorm(low, high, scale=scale)


def glorot(fan_in: float, fan_out: float) -> Stated:
    """U(-b, b) with b = sqrt(6 / (fan_in + fan_out))."""
    return uniform(math.sqrt(6 / (fan_in + fan_out)))
