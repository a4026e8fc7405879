"""What the tests of initializers share: a block to fill, its values, a cast, and how far they are from their law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Block, check_values, elements
from initpolicy.records import Law
from initpolicy.streams import BLOCK, stream_for

Array = NDArray[Any]
Shape = tuple[int, ...]

DTYPES = ("float64", "float32", "bfloat16", "float16")


def block_of(
    shape: Shape,
    *,
    dtype: str = "float32",
    name: str = "weight",
    groups: int = 1,
    fans: tuple[float, float] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Block:
    """A tensor to fill; its fans are torch's unless given, and none below two dimensions."""
    if fans is None and len(shape) >= 2:
        kernel = math.prod(shape[2:])
        fans = (shape[1] * kernel, shape[0] * kernel)
    fan_in, fan_out = fans or (None, None)
    return Block(
        name=name, local="weight", shape=shape, dtype=dtype, fan_in=fan_in, fan_out=fan_out, groups=groups,
        variables=variables or {},
    )  # fmt: skip


def read(name: str, **given: Any) -> dict[str, Any]:
    """The arguments as the planner hands them on."""
    values, problems = check_values(INITIALIZERS[name], given)
    assert problems == []
    return values


def law(name: str, block: Block, **given: Any) -> Law:
    found = INITIALIZERS[name].law(block, read(name, **given))
    assert found is not None
    return found


def fill(name: str, block: Block, seed: int = 0, *, cuts: tuple[int, ...] = (), **given: Any) -> NDArray[np.float32]:
    """float32 values in the block's shape, drawn in pieces that start at the given multiples of BLOCK."""
    initializer, arguments, stream = INITIALIZERS[name], read(name, **given), stream_for(seed, block.name)
    if initializer.make is not None:
        values = initializer.make(stream, block, arguments)
    else:
        edges = [0, *(cut * BLOCK for cut in cuts), block.numel]
        pieces = [elements(initializer, stream, block, arguments, start, stop) for start, stop in pairwise(edges)]
        values = np.concatenate(pieces).reshape(block.shape)
    assert values.dtype == np.float32
    assert values.shape == block.shape
    return values


def cast(values: NDArray[np.float32], dtype: str) -> NDArray[np.float64]:
    """Rounded to ``dtype`` as torch rounds, and widened again."""
    rounded = torch.from_numpy(values).to(getattr(torch, dtype))
    return rounded.to(torch.float64).numpy()


def errors(found: Law, values: Array) -> tuple[float, float]:
    """(z of the mean, z of the variance): each about standard normal if the law is right.

    The variance's by Wilson and Hilferty (1931): the cube root of a chi-square over its degrees of freedom f is
    nearly normal with mean 1 - 2/(9 f) and variance 2/(9 f).
    """
    wide = values.astype(np.float64)
    of_mean = (wide.mean() - found.mean) / found.mean_error
    unit = 2 / (9 * max(found.freedom, 1.0))
    of_variance = (np.cbrt(wide.var() / found.std**2) - (1 - unit)) / math.sqrt(unit)
    return float(of_mean), float(of_variance)
