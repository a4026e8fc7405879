"""Pieces of memory + the parts that a plan asks for -> values, rounded to the dtype, where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from initpolicy.initializers.base import Initializer
from initpolicy.records import Assignment, Measure, Part
from initpolicy.streams import stream_for
from initpolicy.streams.backends import compiled
from initpolicy.writing.drawing import Order, Told, draw_all
from initpolicy.writing.pieces import Piece, meet
from initpolicy.writing.prepare import Prepared, arguments_of, values_of

__all__ = ["Held", "Told", "fill"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A parameter that is to be filled, and what this process holds of it."""

    assignment: Assignment
    pieces: tuple[Piece, ...]


def fill(
    parameters: Iterable[Held],
    initializers: Mapping[str, Initializer],
    prepared: Prepared,
    seed: int,
    told: Told = lambda name, count: None,
) -> dict[str, Measure]:
    """Every part that the pieces hold something of, in place.

    Returns:
        Parameter -> what lies in memory now, of those that were measured while they were written.
    """
    orders: list[Order] = []
    padded: list[tuple[Piece, int]] = []
    parameters = list(parameters)
    compiled(sum(part.block.numel for held in parameters for part in _drawn_whole(held, initializers)))
    for held in parameters:
        assignment = held.assignment
        for piece in held.pieces:
            for index, part in enumerate(assignment.parts):
                values = prepared.get((assignment.name, index))
                initializer = initializers[part.initializer]
                here = meet(piece, part.region)
                if here is None or not here.memory.numel():
                    continue
                if values is None and initializer.recipe is not None:
                    orders.append(_order(assignment, here, part, initializer, seed))
                    continue
                whole = values_of(initializer, part, seed) if values is None else values
                box = tuple(slice(*bounds) for bounds in here.box)
                here.memory.copy_(torch.from_numpy(whole.reshape(part.shape)[box]))
                told(assignment.name, here.memory.numel())
            row = assignment.facts.padding_idx
            if row is not None:
                padded.append((piece, row))
    found = draw_all(orders, told)
    for piece, row in padded:
        if piece.box[0][0] <= row < piece.box[0][1]:
            piece.memory[row - piece.box[0][0]] = 0
    return found


def _drawn_whole(held: Held, initializers: Mapping[str, Initializer]) -> list[Part]:
    """The parts whose makers draw random numbers, and have them from Numba if that is there by then."""
    known = ((part, initializers[part.initializer]) for part in held.assignment.parts)
    return [part for part, initializer in known if initializer.make is not None and initializer.random]


def _order(assignment: Assignment, here: Piece, part: Part, initializer: Initializer, seed: int) -> Order:
    assert initializer.recipe is not None
    return Order(
        name=assignment.name,
        piece=here,
        shape=part.shape,
        recipe=initializer.recipe(part.block, arguments_of(initializer, part)),
        stream=stream_for(seed, part.block.name),
        measured=here.box == part.region and assignment.facts.padding_idx is None and part.shape == assignment.shape,
    )
