"""Which elements a process holds, against torch's own cutting: a process of a pretended group of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, debug, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

from initpolicy import apply_policy
from initpolicy.facts.shards import local_of, shard_text
from initpolicy.writing.pieces import pieces_of

POLICY = {"name": "x", "rules": {"all": {"init": {"*": "normal"}}}}


@contextmanager
def process(rank: int, world: int) -> Iterator[None]:
    """One of so many, whose collectives do nothing."""
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()
        caches: Any = debug
        caches._clear_sharding_prop_cache()  # its results lie on the mesh of the last pretended process


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[int, ...], int, list[Any], tuple[int, ...]]:
    """(mesh, rank, placements, shape), uneven and empty shards among them."""
    mesh = draw(st.sampled_from([(2,), (3,), (5,), (2, 2), (3, 2), (2, 4), (2, 2, 2)]))
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple))
    axes = [Shard(axis) for axis in range(len(shape))]
    placements = draw(st.lists(st.sampled_from([Replicate(), *axes]), min_size=len(mesh), max_size=len(mesh)))
    return mesh, draw(st.integers(0, math.prod(mesh) - 1)), placements, shape


def holds_what_it_says(mesh: tuple[int, ...], rank: int, placements: list[Any], shape: tuple[int, ...]) -> None:
    whole = torch.arange(math.prod(shape)).reshape(shape)
    with process(rank, math.prod(mesh)):
        tensor = distribute_tensor(whole, init_device_mesh("cpu", mesh), placements, src_data_rank=None)
        pieces = pieces_of(tensor)
        local = tensor.to_local()
        assert sum(piece.memory.numel() for piece in pieces) == local.numel()
        for piece in pieces:
            assert torch.equal(piece.memory, whole[tuple(slice(*bounds) for bounds in piece.box)])
            piece.memory.fill_(-1)  # a view
        assert bool((local == -1).all())


@given(cuts())
@settings(max_examples=60)
def test_every_mesh_and_every_placement(cut: tuple[tuple[int, ...], int, list[Any], tuple[int, ...]]) -> None:
    holds_what_it_says(*cut)


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("rest", [Replicate(), Shard(0), Shard(1)])
@pytest.mark.parametrize("rows", [4, 8, 12])
def test_strided_shards(rank: int, rest: Any, rows: int) -> None:
    holds_what_it_says((2, 2), rank, [_StridedShard(0, split_factor=2), rest], (rows, 3))


TEXTS = [
    ((4,), [Shard(0)], "rank 1 holds [3:6, :]"),
    ((4,), [Shard(1)], "rank 1 holds [:, 1:2]"),
    ((4,), [Replicate()], ""),
    ((2, 2), [Shard(0), Shard(1)], "rank 1 holds [0:5, 2:4]"),
    ((2, 2), [_StridedShard(0, split_factor=2), Replicate()], "rank 1 holds [0:3 + 5:8, :]"),
    ((2, 6), [Shard(1), Shard(1)], "rank 1 holds [:, 1:2]"),
    ((1, 12), [Replicate(), Shard(1)], "rank 1 holds [:, 1:2]"),
]


@pytest.mark.parametrize(("mesh", "placements", "text"), TEXTS)
def test_what_is_said_of_a_shard(mesh: tuple[int, ...], placements: list[Any], text: str) -> None:
    with process(1, math.prod(mesh)):
        tensor = distribute_tensor(torch.zeros(10, 4), init_device_mesh("cpu", mesh), placements, src_data_rank=None)
        assert shard_text(tensor) == text


def test_an_empty_shard_says_so_and_is_not_judged() -> None:
    with process(5, 6):
        model = nn.Linear(3, 4, bias=False)
        mesh = init_device_mesh("cpu", (6,))
        model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)], src_data_rank=None))
        [row] = apply_policy(model, POLICY, seed=1).rows
    assert (row.status, row.verdict, row.reason, row.mean) == ("initialized", "", "rank 5 holds none of it", None)


def test_the_parts_of_a_tensor_are_judged_each_by_what_is_here_of_it() -> None:
    """A row that stays zero lies in one shard, and a part may lie in none."""
    spec = {"name": "blocks", "parts": [{"name": "normal", "std": 0.1}, 5, {"name": "uniform", "a": 0, "b": 1}]}
    twin = nn.Embedding(600, 40, padding_idx=7)
    policy = {"name": "x", "rules": {"all": {"init": {"*": spec}}}}
    assert [row.verdict for row in apply_policy(twin, policy, seed=1).rows] == ["ok"]
    for rank in range(4):
        with process(rank, 4):
            model = nn.Embedding(600, 40, padding_idx=7)
            mesh = init_device_mesh("cpu", (4,))
            model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)], src_data_rank=None))
            [row] = apply_policy(model, policy, seed=1).rows
            here = f"rank {rank} holds [{rank * 150}:{rank * 150 + 150}, :]"
            assert (row.verdict, row.reason) == ("ok", f"row 7 (padding_idx) stays zero; {here}")
            part = twin.weight[rank * 150 : rank * 150 + 150]
            assert torch.equal(local_of(model.weight), part)


@pytest.mark.parametrize(("rank", "world"), list(product((0, 1023), (1024,))))
def test_one_of_a_thousand_processes_has_its_rows(rank: int, world: int) -> None:
    twin = nn.Linear(16, 2048, bias=False)
    apply_policy(twin, POLICY, seed=1)
    with process(rank, world):
        model = nn.Linear(16, 2048, bias=False)
        mesh = init_device_mesh("cpu", (world,))
        model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)], src_data_rank=None))
        apply_policy(model, POLICY, seed=1)
        assert torch.equal(local_of(model.weight), twin.weight[rank * 2 : rank * 2 + 2])
