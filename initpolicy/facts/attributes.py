"""The public numbers of a module: what formulas may name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real

import torch
from torch import nn

from initpolicy.facts.classes import plain_class

__all__ = ["numbers_of"]


def numbers_of(module: nn.Module) -> Mapping[str, float]:
    """Finite numbers that hang on the module itself or on its classes, NumPy's too, under their public names.

    Truth values are no numbers here, and properties are not asked: they may compute, fail or change something.
    """
    plain = plain_class(module)
    held: dict[str, object] = {}
    for cls in reversed(plain.__mro__):
        if cls is not object and cls is not nn.Module:
            held |= vars(cls)
    if isinstance(module, torch.jit.ScriptModule):  # whose __dict__ is empty: its class's constants are compiled in
        held |= {name: getattr(module, name, None) for name in getattr(plain, "__constants__", ())}
    return dict(_public(held | vars(module)))


def _public(held: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in held.items():
        if name.startswith("_") or isinstance(value, bool) or not isinstance(value, Real):
            continue
        number = int(value) if isinstance(value, Integral) else float(value)
        if isinstance(number, int) or math.isfinite(number):
            yield name, number
