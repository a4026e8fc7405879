"""A tensor -> its moments and digest, block by block, read from where it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from initpolicy.records import Measure
from initpolicy.streams import BLOCK

__all__ = ["Moments", "digest_of", "measure", "raw"]

_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_CHUNK = 16 * BLOCK
"""Elements that come from another device at a time."""


class Moments:
    """What is known of a tensor so far: fed block by block, in order.

    Moments are summed in float64 (Chan, Golub, LeVeque 1979, equation 2.1), a block while it is in cache.
    """

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._low, self._high, self._finite = math.inf, -math.inf, True

    def read(self, block: Tensor, left_out: tuple[int, int] = (0, 0)) -> None:
        """A block of the flattened tensor on the CPU; of the elements in this range only the bytes count."""
        self._digests.append(xxhash.xxh3_128_digest(raw(block)))
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by ``finite``
            values = _less(_seen(block.to(torch.float64)), *left_out)
            if len(values):
                mean = float(values.mean())
                squares = float(np.square(values - mean).sum())
                self._add(len(values), mean, squares, float(values.min()), float(values.max()))

    def add(self, count: int, mean: float, squares: float, low: float, high: float, digest: bytes) -> None:
        """A block that was measured elsewhere; ``squares`` is the sum of squared differences from its mean."""
        self._digests.append(digest)
        self._add(count, mean, squares, low, high)

    def _add(self, n: int, mean: float, squares: float, low: float, high: float) -> None:
        count, shift = self._count, mean - self._mean
        self._squares += squares + shift * shift * count * n / (count + n)
        self._mean += shift * n / (count + n)
        self._count += n
        self._low, self._high = min(self._low, low), max(self._high, high)

    def result(self) -> Measure:
        empty, numbers = self._count == 0, self._low <= self._high
        finite = math.isfinite(self._mean) and math.isfinite(self._low) and math.isfinite(self._high)
        return Measure(
            count=self._count,
            mean=math.nan if empty else self._mean,
            std=math.nan if empty else math.sqrt(self._squares / self._count),
            min=self._low if numbers else math.nan,
            max=self._high if numbers else math.nan,
            digest=digest_of(self._digests),
            finite=empty or finite,
        )


def measure(tensor: Tensor, *, without: int | None = None) -> Measure:
    """Count, mean, population standard deviation, extremes and digest of a real tensor.

    ``without`` leaves one row (index of the first axis) out of the moments; the digest is always the whole tensor's.
    """
    row = tensor.numel() // max(1, len(tensor)) if without is not None else 0
    left_out = (0, 0) if without is None else (without * row, (without + 1) * row)
    moments = Moments()
    for start, block in _blocks(tensor):
        moments.read(block, (left_out[0] - start, left_out[1] - start))
    return moments.result()


def digest_of(digests: Sequence[bytes]) -> str:
    """Of the blocks' XXH3-128 digests, as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(b"".join(digests))


def raw(flat: Tensor) -> memoryview:
    """The bytes of a flat contiguous tensor on the CPU that is not empty."""
    view: memoryview = _seen(flat.view(_BYTES[flat.element_size()])).data
    return view.cast("B")


def _seen(tensor: Tensor) -> NDArray[Any]:
    """The tensor's memory. Not by ``numpy()``, after which torch never resizes it again, as FSDP does to free it."""
    array: NDArray[Any] = np.from_dlpack(tensor)
    return array


def _blocks(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(index of its first element, block) of the flattened tensor, on the CPU."""
    flat = tensor.detach().reshape(-1)
    for first in range(0, flat.numel(), _CHUNK):
        chunk = flat[first : first + _CHUNK].cpu().contiguous()  # a view may skip elements
        for start in range(0, chunk.numel(), BLOCK):
            yield first + start, chunk[start : start + BLOCK]


def _less(values: NDArray[np.float64], start: int, stop: int) -> NDArray[np.float64]:
    """The values without those at [start, stop), which may lie outside."""
    start, stop = max(start, 0), min(stop, len(values))
    return np.concatenate([values[:start], values[stop:]]) if start < stop else values
