"""Which box of a parameter's tensor this process holds, in which memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Box", "Piece", "flat_indices", "meet", "pieces_of", "run_of"]

Box = tuple[tuple[int, int], ...]
"""(start, stop) on each axis of the whole tensor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A box of the whole tensor, and the memory that holds it; a plain tensor is one piece of itself."""

    memory: Tensor
    box: Box


def pieces_of(tensor: Tensor) -> tuple[Piece, ...]:
    """All that this process holds of the tensor; views, so that writing to them writes to it."""
    return (Piece(memory=tensor, box=tuple((0, size) for size in tensor.shape)),)


def meet(piece: Piece, region: Box) -> Piece | None:
    """What of the piece lies in the region, its box counted from the region's corner; None where nothing does."""
    kept, box = [], []
    for (low, high), (start, stop) in zip(piece.box, region, strict=True):
        first, last = max(low, start), min(high, stop)
        if first >= last:
            return None
        kept.append(slice(first - low, last - low))
        box.append((first - start, last - start))
    return Piece(memory=piece.memory[tuple(kept)], box=tuple(box))


def run_of(box: Box, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(start, stop) of the box in the flattened tensor of this shape, if its elements lie there side by side."""
    inner = 1
    for axis in reversed(range(len(shape))):
        start, stop = box[axis]
        if (start, stop) != (0, shape[axis]):
            if any(high - low != 1 for low, high in box[:axis]):
                return None
            first = sum(low * math.prod(shape[at + 1 :]) for at, (low, _) in enumerate(box[: axis + 1]))
            return first, first + (stop - start) * inner
        inner *= shape[axis]
    return 0, inner


def flat_indices(box: Box, shape: tuple[int, ...], start: int, stop: int) -> NDArray[np.int64]:
    """Indices in the flattened tensor of the box's own elements [start, stop), counted in the box; ascending."""
    left, found = np.arange(start, stop), np.zeros(stop - start, np.int64)
    stride = 1
    for (low, high), size in zip(reversed(box), reversed(shape), strict=True):
        left, place = np.divmod(left, high - low)
        found += (place + low) * stride
        stride *= size
    return found
