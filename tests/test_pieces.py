"""Boxes of a tensor in memory: what meets a region, where it lies in the flattened whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.writing.pieces import Box, Piece, flat_indices, meet, pieces_of, run_of


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], Box]:
    """A shape of up to four axes, and a box in it that holds at least one element."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    starts = [draw(st.integers(0, size - 1)) for size in shape]
    return shape, tuple((start, draw(st.integers(start + 1, size))) for start, size in zip(starts, shape, strict=True))


def _expected(shape: tuple[int, ...], box: Box) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    numbered = np.arange(math.prod(shape)).reshape(shape)
    return numbered[tuple(slice(*bounds) for bounds in box)].reshape(-1)


@given(boxes())
def test_indices_in_the_flattened_whole(case: tuple[tuple[int, ...], Box]) -> None:
    shape, box = case
    expected = _expected(shape, box)
    assert flat_indices(box, shape, 0, len(expected)).tolist() == expected.tolist()
    half = len(expected) // 2
    assert flat_indices(box, shape, half, len(expected)).tolist() == expected[half:].tolist()


@given(boxes())
def test_a_run_is_told_exactly_where_there_is_one(case: tuple[tuple[int, ...], Box]) -> None:
    shape, box = case
    expected = _expected(shape, box)
    side_by_side = bool((np.diff(expected) == 1).all())
    assert run_of(box, shape) == ((int(expected[0]), int(expected[-1]) + 1) if side_by_side else None)


@given(boxes(), st.data())
def test_what_meets_a_region_is_a_view_counted_from_its_corner(
    case: tuple[tuple[int, ...], Box], data: st.DataObject
) -> None:
    shape, box = case
    numbered = torch.arange(math.prod(shape)).reshape(shape)
    piece = Piece(memory=numbered[tuple(slice(*bounds) for bounds in box)], box=box)
    starts = [data.draw(st.integers(0, size - 1)) for size in shape]
    region = tuple((start, data.draw(st.integers(start + 1, size))) for start, size in zip(starts, shape, strict=True))
    here = meet(piece, region)
    common = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, region, strict=True)]
    if any(first >= last for first, last in common):
        assert here is None
        return
    assert here is not None
    assert here.box == tuple((a - c, b - c) for (a, b), (c, _) in zip(common, region, strict=True))
    assert torch.equal(here.memory, numbered[tuple(slice(*bounds) for bounds in common)])
    assert here.memory.untyped_storage().data_ptr() == numbered.untyped_storage().data_ptr()


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_a_plain_tensor_is_one_piece_of_itself(shape: tuple[int, ...]) -> None:
    tensor = torch.zeros(shape)
    (piece,) = pieces_of(tensor)
    assert piece.memory is tensor
    assert piece.box == tuple((0, size) for size in shape)
