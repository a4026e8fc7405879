"""A tensor -> its moments and digest, block by block, read from where it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from initpolicy.records import Measure
from initpolicy.streams import BLOCK

__all__ = ["measure"]

_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CHUNK = 16 * BLOCK
"""Elements that come from another device at a time."""


def measure(tensor: Tensor, *, without: int | None = None) -> Measure:
    """Count, mean, population standard deviation, extremes and digest of a real tensor.

    ``without`` leaves one row (index of the first axis) out of the moments; the digest is always the whole tensor's.
    Moments are summed in float64, block by block while it is in cache (Chan, Golub, LeVeque 1979, equation 2.1).
    """
    digest = xxhash.xxh3_128()
    count, mean, squares = 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    row = tensor.numel() // max(1, len(tensor)) if without is not None else 0
    left_out = (0, 0) if without is None else (without * row, (without + 1) * row)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by ``finite``
        for start, block in _blocks(tensor):
            digest.update(xxhash.xxh3_128_digest(block.view(_BYTES[block.element_size()]).numpy().data))
            values = _less(block.to(torch.float64).numpy(), *(edge - start for edge in left_out))
            if not len(values):
                continue
            here, n = float(values.mean()), len(values)
            shift = here - mean
            squares += float(np.square(values - here).sum()) + shift * shift * count * n / (count + n)
            mean += shift * n / (count + n)
            count += n
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    empty, numbers = count == 0, low <= high
    return Measure(
        count=count,
        mean=math.nan if empty else mean,
        std=math.nan if empty else math.sqrt(squares / count),
        min=low if numbers else math.nan,
        max=high if numbers else math.nan,
        digest=digest.hexdigest(),
        finite=empty or (math.isfinite(mean) and math.isfinite(low) and math.isfinite(high)),
    )


def _blocks(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(index of its first element, block) of the flattened tensor, on the CPU."""
    flat = tensor.detach().reshape(-1)
    for first in range(0, flat.numel(), _CHUNK):
        chunk = flat[first : first + _CHUNK].cpu()
        for start in range(0, chunk.numel(), BLOCK):
            yield first + start, chunk[start : start + BLOCK]


def _less(values: NDArray[np.float64], start: int, stop: int) -> NDArray[np.float64]:
    """The values without those at [start, stop), which may lie outside."""
    start, stop = max(start, 0), min(stop, len(values))
    return np.concatenate([values[:start], values[stop:]]) if start < stop else values
