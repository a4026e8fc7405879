"""The public numbers of a module: what formulas may name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real

import torch
from torch import nn

from initpolicy.facts.classes import plain_class

__all__ = ["NumberCache"]


class NumberCache:
    """The public numbers of a model's modules; those of a class are looked up once, equal answers are one object."""

    def __init__(self) -> None:
        self._classes: dict[type, Mapping[str, float]] = {}
        self._answers: dict[tuple[object, ...], Mapping[str, float]] = {}

    def of(self, module: nn.Module) -> Mapping[str, float]:
        """Finite numbers that hang on the module itself or on its classes, NumPy's too, under their public names.

        Truth values are no numbers here, and properties are not asked: they may compute, fail or change something.
        """
        plain, own = plain_class(module), vars(module)
        if isinstance(module, torch.jit.ScriptModule):  # whose __dict__ is empty: its class's constants are compiled in
            own = {name: getattr(module, name, None) for name in getattr(plain, "__constants__", ())} | own
        numbers = {name: number for name, number in self._of_class(plain).items() if name not in own}
        numbers.update(_public(own))
        # 1 and 1.0 are equal, and are not the same number to a reader
        return self._answers.setdefault((*numbers.items(), *map(type, numbers.values())), numbers)

    def _of_class(self, plain: type) -> Mapping[str, float]:
        if plain not in self._classes:
            held: dict[str, object] = {}
            for cls in reversed(plain.__mro__):
                if cls is not object and cls is not nn.Module:
                    held |= vars(cls)
            self._classes[plain] = dict(_public(held))
        return self._classes[plain]


def _public(held: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in held.items():
        if name.startswith("_") or isinstance(value, bool) or not isinstance(value, Real):
            continue
        number = int(value) if isinstance(value, Integral) else float(value)
        if isinstance(number, int) or math.isfinite(number):
            yield name, number
