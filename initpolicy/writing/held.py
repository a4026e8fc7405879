"""What this process holds of a sharded parameter, measured: its count, moments and digest are those of the shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from initpolicy.facts.shards import held, is_sharded, local_of, run_on, shard_text
from initpolicy.measure import measure
from initpolicy.records import Measure, Part
from initpolicy.writing.pieces import Piece, meet, pieces_of
from initpolicy.writing.targets import Target

__all__ = ["measured_here", "sharded"]


def measured_here(target: Target) -> Measure | None:
    """The measure of the local memory, and which part of the whole it is; None where that cannot be told.

    Nothing is asked of other processes: each judges its own shard, against the law at that many values.
    """
    if target.through:
        return None
    tensor = target.tensor()
    local = local_of(tensor)
    if type(local) is not Tensor or local.is_meta or not local.is_floating_point():
        return None
    try:
        runs = held(tensor)
    except ValueError:  # of a parameter that is kept; one that is to be written has been refused
        return None
    row = target.assignment.facts.padding_idx if target.written else None
    here = None if row is None or runs is None else run_on(runs[0], row)
    found = replace(measure(local, without=here if local.numel() else None), held=shard_text(tensor))
    parts = target.assignment.parts if target.written else ()
    if not parts or (len(parts) == 1 and parts[0].shape == tuple(tensor.shape)):
        return found
    pieces = pieces_of(tensor)
    return replace(found, parts=tuple(measure(_values(pieces, part, row)) for part in parts))


def sharded(target: Target) -> bool:
    """Whether anything that the parameter is made of is a DTensor."""
    return any(map(is_sharded, target.stored))


def _values(pieces: tuple[Piece, ...], part: Part, row: int | None) -> Tensor:
    """All that is here of the part, flattened, without this row of the whole tensor."""
    inside = None if row is None else row - part.region[0][0]
    stretches = [each for piece in pieces for each in _stretches(meet(piece, part.region), inside)]
    if len(stretches) == 1:
        return stretches[0]
    return torch.cat([each.reshape(-1) for each in stretches]) if stretches else torch.empty(0)


def _stretches(piece: Piece | None, row: int | None) -> Iterator[Tensor]:
    if piece is None:
        return
    if row is None or not piece.box[0][0] <= row < piece.box[0][1]:
        yield piece.memory
        return
    at = row - piece.box[0][0]
    yield piece.memory[:at]
    yield piece.memory[at + 1 :]
