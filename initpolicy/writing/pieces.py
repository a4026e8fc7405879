"""Which box of a parameter's tensor this process holds, in which memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from initpolicy.facts.shards import Runs, held, is_sharded, local_of

__all__ = ["Box", "Piece", "flat_indices", "meet", "pieces_of", "run_of"]

Box = tuple[tuple[int, int], ...]
"""(start, stop) on each axis of the whole tensor."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A box of the whole tensor, and the memory that holds it; a plain tensor is one piece of itself.

    A shard is one piece, or several where it is made of stretches that lie apart in the whole.
    """

    memory: Tensor
    box: Box


def pieces_of(tensor: Tensor) -> tuple[Piece, ...]:
    """All that this process holds of the tensor; views, so that writing to them writes to it.

    Raises:
        ValueError: for a sharded tensor whose placements do not say which elements are here.
    """
    if not is_sharded(tensor):
        return (Piece(memory=tensor, box=tuple([(0, size) for size in tensor.shape])),)
    runs = held(tensor)
    return () if runs is None else tuple(_pieces(local_of(tensor), runs))


def _pieces(memory: Tensor, runs: tuple[Runs, ...]) -> Iterator[Piece]:
    """Every combination of one stretch on each axis; in memory they lie one after the other."""
    for chosen in product(*(zip(each, _offsets(each), strict=True) for each in runs)):
        kept = tuple(slice(offset, offset + stop - start) for (start, stop), offset in chosen)
        yield Piece(memory=memory[kept], box=tuple(run for run, _ in chosen))


def _offsets(runs: Runs) -> Iterator[int]:
    offset = 0
    for start, stop in runs:
        yield offset
        offset += stop - start


def meet(piece: Piece, region: Box) -> Piece | None:
    """What of the piece lies in the region, its box counted from the region's corner; None where nothing does."""
    if piece.box == region and not any(map(itemgetter(0), region)):
        return piece
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
