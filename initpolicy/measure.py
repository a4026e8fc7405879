"""A tensor -> its moments and digest, block by block, read from where it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import xxhash
from torch import Tensor

from initpolicy.records import Measure
from initpolicy.streams import BLOCK

__all__ = ["measure"]

_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CHUNK = 16 * BLOCK


def measure(tensor: Tensor, *, without: int | None = None) -> Measure:
    """Count, mean, population standard deviation, extremes and digest of a real tensor.

    ``without`` leaves one row (index of the first axis) out of the moments; the digest is always the whole tensor's.
    Moments are summed in float64, chunk by chunk (Chan, Golub, LeVeque 1979, equation 2.1).
    """
    digest = xxhash.xxh3_128()
    for block in _blocks(tensor, BLOCK):
        digest.update(xxhash.xxh3_128_digest(block.view(_BYTES[block.element_size()]).numpy().tobytes()))
    count, mean, squares = 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    kept = [tensor] if without is None else [tensor[:without], tensor[without + 1 :]]
    for chunk in (chunk for piece in kept for chunk in _blocks(piece, _CHUNK)):
        values = chunk.to(torch.float64).numpy()
        here, n = float(values.mean()), len(values)
        shift = here - mean
        squares += float(np.square(values - here).sum()) + shift * shift * count * n / (count + n)
        mean += shift * n / (count + n)
        count += n
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    finite = count == 0 or (math.isfinite(mean) and math.isfinite(low) and math.isfinite(high))
    return Measure(
        count=count,
        mean=mean if count else math.nan,
        std=math.sqrt(squares / count) if count else math.nan,
        min=low if count else math.nan,
        max=high if count else math.nan,
        digest=digest.hexdigest(),
        finite=finite,
    )


def _blocks(tensor: Tensor, size: int) -> Iterator[Tensor]:
    """The flattened tensor on the CPU, so many elements at a time."""
    flat = tensor.detach().reshape(-1)
    for start in range(0, flat.numel(), size):
        yield flat[start : start + size].cpu().contiguous()
