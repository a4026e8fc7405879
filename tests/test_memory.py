"""Which tensors, and which elements of one, lie in the same bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from initpolicy.facts.memory import overlapping, overlaps_itself

SELF: dict[str, tuple[Callable[[], Tensor], bool]] = {
    "contiguous": (lambda: torch.zeros(3, 4), False),
    "transposed": (lambda: torch.zeros(3, 4).T, False),
    "strided": (lambda: torch.zeros(9, 8)[::2, ::3], False),
    "channels last": (lambda: torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last), False),
    "scalar": (lambda: torch.zeros(()), False),
    "empty": (lambda: torch.zeros(1).expand(0, 3), False),
    "axes of size one": (lambda: torch.zeros(4, 1).expand(4, 1), False),
    "expanded": (lambda: torch.zeros(1).expand(3), True),
    "expanded rows": (lambda: torch.zeros(4, 1).expand(4, 2), True),
    "expanded twice": (lambda: torch.zeros(1, 3, 1).expand(2, 3, 2), True),
    "windows": (lambda: torch.zeros(9).unfold(0, 3, 2), True),
    "windows that touch": (lambda: torch.zeros(9).unfold(0, 3, 3), False),
}


@pytest.mark.parametrize(("make", "shares"), SELF.values(), ids=SELF.keys())
def test_elements_of_one_tensor(make: Callable[[], Tensor], shares: bool) -> None:
    assert overlaps_itself(make()) is shares


def test_tensors_that_meet() -> None:
    table = torch.zeros(8, 8)
    tensors = [
        table[:, :4], table[:, 4:], table[3], table.T, torch.zeros(64), table[::2, ::2], table[1::2, ::2],
        torch.zeros(0), torch.zeros(3, device="meta"), torch.zeros(2).to_sparse(), nn.UninitializedParameter(),
    ]  # fmt: skip
    assert sorted(overlapping(tensors)) == [
        (0, 2), (0, 3), (0, 5), (0, 6), (1, 2), (1, 3), (1, 5), (1, 6), (2, 3), (2, 6), (3, 5), (3, 6)
    ]  # fmt: skip


BYTES = st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


@given(st.lists(BYTES, min_size=2, max_size=5))
def test_as_if_each_element_were_looked_at(places: list[tuple[int, int, int, int, int]]) -> None:
    memory = torch.zeros(64)
    tensors = [memory.as_strided((n, m), (a, b), start) for start, n, m, a, b in places]
    addresses = [
        {row.data_ptr() + 4 * b * j for row in t for j in range(t.shape[1])}
        for t, (*_, b) in zip(tensors, places, strict=True)
    ]
    pairs = [(i, j) for j in range(len(tensors)) for i in range(j) if addresses[i] & addresses[j]]
    assert sorted(overlapping(tensors)) == sorted(pairs)
    for tensor, found in zip(tensors, addresses, strict=True):
        assert overlaps_itself(tensor) or len(found) == tensor.numel()


def test_halves_of_an_element_count() -> None:
    wide = torch.zeros(2, dtype=torch.float64)
    assert list(overlapping([wide, wide.view(torch.float32)[1:2], wide.view(torch.float32)[2:]])) == [(0, 1), (0, 2)]
