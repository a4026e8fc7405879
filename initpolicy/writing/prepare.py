"""Values whose making can fail, made and checked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Arguments, Float32, Initializer, elements, unset
from initpolicy.records import Part
from initpolicy.streams import stream_for
from initpolicy.writing.targets import Target

__all__ = ["Prepared", "Problems", "arguments_of", "prepare", "said", "values_of"]

Prepared = Mapping[tuple[str, int], Float32]
"""(parameter, index of the part) -> its values, made before anything is written."""

Problems = list[tuple[str, str]]
"""(parameter, what is wrong with it)."""


def prepare(targets: Iterable[Target], initializers: Mapping[str, Initializer], seed: int) -> tuple[Prepared, Problems]:
    """Values of every part whose making can fail, and every failure."""
    prepared: dict[tuple[str, int], Float32] = {}
    problems: Problems = []
    for target in targets:
        for index, part in enumerate(target.assignment.parts):
            initializer = initializers[part.initializer]
            if not initializer.fallible and INITIALIZERS.get(initializer.name) is initializer:
                continue
            try:
                prepared[target.name, index] = _checked(values_of(initializer, part, seed), part)
            except Exception as error:  # a user's function may raise anything
                problems.append((target.name, f"{part.initializer}: {said(error)}"))
    return prepared, problems


def _checked(values: Float32, part: Part) -> Float32:
    """The values, if they are as many as there are elements and each is finite once it is rounded to the dtype."""
    if values.size != part.block.numel:
        raise ValueError(f"gave {values.size} values for {part.block.numel} elements")
    values = np.require(values, np.float32, ["C", "W"])
    if not torch.isfinite(torch.from_numpy(values).to(getattr(torch, part.block.dtype))).all():
        beyond = f" in {part.block.dtype}" if np.isfinite(values).all() else ""
        raise ValueError(f"gave values that are not finite{beyond}")
    return values


def said(error: Exception) -> str:
    """A reason of ours as it stands, anything else with its class."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def values_of(initializer: Initializer, part: Part, seed: int) -> Float32:
    """The whole part, flattened."""
    stream, block = stream_for(seed, part.block.name), part.block
    if initializer.make is not None:
        return initializer.make(stream, block, arguments_of(initializer, part)).reshape(-1)
    return elements(initializer, stream, block, arguments_of(initializer, part), 0, block.numel)


def arguments_of(initializer: Initializer, part: Part) -> Arguments:
    return {**unset(initializer), **part.arguments}
