"""Pieces of memory + the parts that a plan asks for -> values, rounded to the dtype, where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from initpolicy.initializers.base import Float32, Initializer
from initpolicy.initializers.matrices import join_one_thread, one_thread
from initpolicy.records import Assignment, Measure, Part
from initpolicy.streams import Recipe, stream_for
from initpolicy.streams.backends import compiled
from initpolicy.writing.drawing import Order, Told, draw_all, in_order, read_small, workers
from initpolicy.writing.pieces import Piece, meet
from initpolicy.writing.prepare import Prepared, arguments_of, values_of

__all__ = ["Held", "Told", "fill"]

_TOGETHER = 2**16
"""Elements of matrices that are made in one go, at most."""
_FEW = 2**15
"""Elements below which threads cost more than they give."""


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
    whole: list[_Whole] = []
    entire: list[tuple[str, Tensor]] = []
    padded: list[tuple[Piece, int]] = []
    recipes: dict[object, Recipe] = {}
    parameters = list(parameters)
    compiled(sum(part.block.numel for held in parameters for part in _drawn_whole(held, initializers)))
    for held in parameters:
        assignment, name = held.assignment, held.assignment.name
        for index, part in enumerate(assignment.parts):
            initializer = initializers[part.initializer]
            here = [met for piece in held.pieces if (met := meet(piece, part.region)) and met.memory.numel()]
            values = prepared.get((name, index)) if prepared else None
            if values is None and initializer.recipe is not None:
                orders.extend(_order(assignment, name, piece, part, initializer, seed, recipes) for piece in here)
            elif here:
                whole.append(_Whole(name, part, initializer, values, here))
                if _entire(assignment, part, here[0]):
                    entire.append((name, here[0].memory))
        row = assignment.facts.padding_idx
        if row is not None:
            padded.extend((piece, row) for piece in held.pieces)
    _fill_whole(whole, seed, told)
    found = draw_all(orders, told)
    found.update(read_small(dict(entire)))
    for piece, row in padded:
        if piece.box[0][0] <= row < piece.box[0][1]:
            piece.memory[row - piece.box[0][0]] = 0
    return found


def _drawn_whole(held: Held, initializers: Mapping[str, Initializer]) -> list[Part]:
    """The parts whose makers draw random numbers, and have them from Numba if that is there by then."""
    known = ((part, initializers[part.initializer]) for part in held.assignment.parts)
    return [part for part, initializer in known if initializer.make is not None and initializer.random]


def _order(
    assignment: Assignment,
    name: str,
    here: Piece,
    part: Part,
    initializer: Initializer,
    seed: int,
    recipes: dict[object, Recipe],
) -> Order:
    assert initializer.recipe is not None
    shape, like = part.shape, _likeness(part)
    recipe = recipes.get(like)
    if recipe is None:
        recipe = recipes[like] = initializer.recipe(part.block, arguments_of(initializer, part))
    return Order(
        name=name,
        piece=here,
        shape=shape,
        recipe=recipe,
        stream=stream_for(seed, part.block.name),
        measured=_entire(assignment, part, here),
    )


def _entire(assignment: Assignment, part: Part, here: Piece) -> bool:
    """Whether it is all of the parameter, so that what is measured here is the parameter's."""
    return here.box == part.region and assignment.facts.padding_idx is None and part.shape == assignment.shape


def _likeness(part: Part) -> object:
    """All that the recipe of a part, or the making of it, follows from, besides its stream; equal for equal ones.

    The initializers are ours: what a program brings along has been made before, and none of ours reads a name.
    """
    block = part.block
    shown = block.name if block.variables else block.local
    return (
        part.initializer, shown, block.shape, block.dtype, block.fan_in, block.fan_out, block.groups,
        *part.arguments.items(),
    )  # fmt: skip


# --- what is made as a whole ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Whole:
    """A part that is made as a whole, once, for however many stretches of it are here."""

    name: str
    """The parameter's."""
    part: Part
    initializer: Initializer
    values: Float32 | None
    """Made already."""
    here: list[Piece]

    def put(self, values: Float32) -> None:
        shaped = values.reshape(self.part.shape)
        for piece in self.here:
            box = tuple(slice(*bounds) for bounds in piece.box)
            piece.memory.copy_(torch.from_numpy(shaped[box]))


def _fill_whole(parts: list[_Whole], seed: int, told: Told) -> None:
    """Each matrix on one thread, several at a time on all; small ones of one shape together."""
    made = [part for part in parts if part.values is None]
    for part in parts:
        if part.values is not None:
            part.put(part.values)
            told(part.name, sum(piece.memory.numel() for piece in part.here))
    batches = list(_batches(made))
    free = torch.is_inference_mode_enabled()

    def make(batch: list[_Whole]) -> list[_Whole]:
        with torch.inference_mode(free), torch.no_grad():  # neither of which a new thread has of this one
            _make(batch, seed)
        return batch

    several = len(batches) > 1 and sum(part.part.block.numel for part in made) >= _FEW
    if several:
        batches.sort(key=lambda batch: -batch[0].part.block.numel)  # so that no thread ends long after the others
    with workers(join_one_thread) as (pool, _), one_thread() if made else nullcontext():
        for batch in in_order(pool if several else None, [partial(make, batch) for batch in batches]):
            for part in batch:
                told(part.name, sum(piece.memory.numel() for piece in part.here))


def _make(batch: list[_Whole], seed: int) -> None:
    first = batch[0]
    if len(batch) == 1:
        first.put(values_of(first.initializer, first.part, seed))
        return
    assert first.initializer.make_alike is not None
    streams = [stream_for(seed, each.part.block.name) for each in batch]
    arguments = arguments_of(first.initializer, first.part)
    for each, values in zip(batch, first.initializer.make_alike(streams, first.part.block, arguments), strict=True):
        each.put(values)


def _batches(parts: list[_Whole]) -> Iterator[list[_Whole]]:
    """Those that are made together, of up to _TOGETHER elements."""
    alike: dict[object, list[_Whole]] = {}
    for part in parts:
        block = part.part.block
        if part.initializer.make_alike is None or 2 * block.numel > _TOGETHER:
            alike[id(part)] = [part]
        else:
            alike.setdefault(_likeness(part.part), []).append(part)
    for group in alike.values():
        size = max(1, _TOGETHER // max(1, group[0].part.block.numel))
        for at in range(0, len(group), size):
            yield group[at : at + size]
