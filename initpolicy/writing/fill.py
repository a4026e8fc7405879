"""Pieces of memory + the parts that a plan asks for -> values, rounded to the dtype, where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from initpolicy.initializers.base import Float32, Initializer
from initpolicy.records import Assignment, Part
from initpolicy.streams import BLOCK, stream_for
from initpolicy.writing.pieces import Piece, flat_indices, meet, run_of
from initpolicy.writing.prepare import Prepared, arguments_of, values_of

__all__ = ["CHUNK", "fill"]

CHUNK = 16 * BLOCK
"""Elements that are drawn and written at a time: bounds the memory, and no value depends on it."""


def fill(
    pieces: Iterable[Piece],
    assignment: Assignment,
    initializers: Mapping[str, Initializer],
    prepared: Prepared,
    seed: int,
) -> None:
    """Every part that the pieces hold something of, in place."""
    for piece in pieces:
        for index, part in enumerate(assignment.parts):
            here = meet(piece, part.region)
            if here is None:
                continue
            initializer = initializers[part.initializer]
            values = prepared.get((assignment.name, index))
            if values is None and initializer.draw is not None:
                _draw(here, initializer, part, seed)
            else:
                whole = values_of(initializer, part, seed) if values is None else values
                box = tuple(slice(*bounds) for bounds in here.box)
                here.memory.copy_(torch.from_numpy(whole.reshape(part.shape)[box]))
        _clear_padding(piece, assignment.facts.padding_idx)


def _clear_padding(piece: Piece, row: int | None) -> None:
    if row is not None and piece.box[0][0] <= row < piece.box[0][1]:
        piece.memory[row - piece.box[0][0]] = 0


def _draw(here: Piece, initializer: Initializer, part: Part, seed: int) -> None:
    """Block by block, just the blocks that the piece meets."""
    memory = here.memory
    flat = memory.view(-1) if memory.is_contiguous() else torch.empty(memory.numel(), dtype=memory.dtype)
    run = run_of(here.box, part.shape)
    for start in range(0, flat.numel(), CHUNK):
        stop = min(start + CHUNK, flat.numel())
        flat[start:stop].copy_(torch.from_numpy(_elements(here, initializer, part, seed, run, start, stop)))
    if not memory.is_contiguous():
        memory.copy_(flat.view(memory.shape))


def _elements(
    here: Piece, initializer: Initializer, part: Part, seed: int, run: tuple[int, int] | None, start: int, stop: int
) -> Float32:
    """The values of the piece's own elements [start, stop)."""
    if run is not None:
        return _drawn(initializer, part, seed, run[0] + start, run[0] + stop)
    wanted = flat_indices(here.box, part.shape, start, stop)
    out = np.empty(stop - start, np.float32)
    for block in np.unique(wanted // BLOCK).tolist():
        first, last = np.searchsorted(wanted, (block * BLOCK, (block + 1) * BLOCK))
        low = block * BLOCK
        values = _drawn(initializer, part, seed, low, min(low + BLOCK, part.block.numel))
        out[first:last] = values[wanted[first:last] - low]
    return out


def _drawn(initializer: Initializer, part: Part, seed: int, start: int, stop: int) -> Float32:
    """[start, stop) of the part; a ``draw`` is only asked for ranges that start with a block."""
    assert initializer.draw is not None
    low = start - start % BLOCK
    stream, arguments = stream_for(seed, part.block.name), arguments_of(initializer, part)
    return initializer.draw(stream, part.block, arguments, low, stop)[start - low :]
