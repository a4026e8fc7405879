"""What is made as a whole: the bytes of the plainest way to make it, alone or with others, on any number of threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import bits
from torch import nn

from initpolicy import apply_policy, plan_policy, streams
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Block
from initpolicy.initializers.matrices import join_one_thread, one_thread
from initpolicy.measure import measure
from initpolicy.streams import Recipe, stream_for
from initpolicy.writing.drawing import read_small
from initpolicy.writing.fill import Held, fill
from initpolicy.writing.pieces import Piece
from initpolicy.writing.prepare import values_of

SHAPES = [(16, 16), (64, 64), (48, 16), (16, 48), (10, 10), (100, 7), (7, 100), (1, 5), (5, 1), (24, 4, 3), (300, 200)]


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def plainly(key: str, shape: tuple[int, ...], gain: float) -> bytes:
    """By `torch.linalg.qr`, one matrix at a time."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    gauss = streams.values(Recipe(law="normal"), stream_for(3, key), 0, rows * columns).reshape(rows, columns)
    with one_thread():
        q, r = torch.linalg.qr(torch.from_numpy(gauss if rows >= columns else gauss.T))
    q = torch.where(r.diagonal() < 0, -q, q)
    return (np.float32(gain) * (q if rows >= columns else q.T).numpy()).tobytes()


def block(shape: tuple[int, ...], name: str = "w", groups: int = 1) -> Block:
    return Block(name=name, local="w", shape=shape, dtype="float32", groups=groups)


@pytest.mark.parametrize("gain", [1.0, 1.4142, 0.003])
@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_is_qr_with_signs(shape: tuple[int, ...], gain: float) -> None:
    found = INITIALIZERS["orthogonal"].make(stream_for(3, "w"), block(shape), {"gain": gain})  # type: ignore[misc]
    assert found.tobytes() == plainly("w", shape, gain)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_many_of_one_shape_are_those_made_alone(shape: Any, numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if numba:
        pytest.importorskip("initpolicy.streams.compiled")
    else:
        monkeypatch.delitem(sys.modules, "initpolicy.streams.compiled", raising=False)
    orthogonal = INITIALIZERS["orthogonal"]
    assert orthogonal.make is not None
    assert orthogonal.make_alike is not None
    known = [stream_for(3, f"layers.{index}") for index in range(9)]
    together = orthogonal.make_alike(known, block(shape), {"gain": 1.3})
    assert together.shape == (9, *shape)
    alone = [orthogonal.make(stream, block(shape), {"gain": 1.3}) for stream in known]
    assert together.tobytes() == b"".join(one.tobytes() for one in alone)


class Several(nn.Module):
    """Matrices alike and not, gates and heads."""

    def __init__(self) -> None:
        super().__init__()
        self.alike = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(300))
        self.odd = nn.ModuleList(nn.Linear(7, 100, bias=False, dtype=torch.bfloat16) for _ in range(5))
        self.large = nn.ModuleList(nn.Linear(200, 300, bias=False) for _ in range(3))
        self.lstm = nn.LSTM(32, 32, bias=False)


RULES = {
    "gates": {"match": {"type": "LSTM"}, "init": {"weight_*": {"name": "orthogonal", "split": "gates"}}},
    "all": {"init": {"weight": {"name": "orthogonal", "gain": 1.2}}},
}


def test_a_model_of_many_is_each_part_by_itself(threads: int) -> None:
    model = Several()
    plan = plan_policy(model, {"name": "x", "rules": RULES}, seed=5)
    audit = apply_policy(model, {"name": "x", "rules": RULES}, seed=5)
    assert audit.ok
    assert torch.get_num_threads() == threads
    params = dict(model.named_parameters())
    for assignment in plan.assignments:
        for part in assignment.parts:
            made = torch.from_numpy(values_of(INITIALIZERS["orthogonal"], part, 5)).to(params[assignment.name].dtype)
            found = params[assignment.name].detach()[tuple(slice(*bounds) for bounds in part.region)]
            assert bits(found.reshape(-1)) == bits(made), part.block.name


def test_memory_of_inference_mode_is_written_from_every_thread(threads: int) -> None:
    with torch.inference_mode():
        model = Several()
        apply_policy(model, {"name": "x", "rules": RULES}, seed=5)
    plain = Several()
    apply_policy(plain, {"name": "x", "rules": RULES}, seed=5)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert one.is_inference()
        assert bits(one) == bits(other.detach())


def test_a_part_is_made_once_for_all_its_stretches() -> None:
    model = nn.Linear(6, 12, bias=False)
    plan = plan_policy(model, {"name": "x", "rules": {"a": {"init": {"weight": "orthogonal"}}}}, seed=5)
    calls: list[str] = []
    orthogonal = INITIALIZERS["orthogonal"]

    def counted(stream: Any, block: Block, arguments: Any) -> Any:
        calls.append(block.name)
        assert orthogonal.make is not None
        return orthogonal.make(stream, block, arguments)

    rows = ((0, 2), (5, 6), (8, 12))
    memory = torch.zeros(7, 6)
    parts = zip(torch.split(memory, [2, 1, 4]), rows, strict=True)
    pieces = tuple(Piece(memory=piece, box=(bounds, (0, 6))) for piece, bounds in parts)
    told: list[tuple[str, int]] = []
    fill(
        [Held(assignment=plan.assignments[0], pieces=pieces)],
        {"orthogonal": replace(orthogonal, make=counted)},
        {},
        5,
        lambda name, count: told.append((name, count)),
    )
    whole = torch.from_numpy(values_of(orthogonal, plan.assignments[0].parts[0], 5)).view(12, 6)
    assert calls == ["weight"]
    assert bits(memory) == bits(torch.cat([whole[low:high] for low, high in rows]))
    assert told == [("weight", 42)]


def test_delta_orthogonal_holds_one_matrix_a_group() -> None:
    delta = INITIALIZERS["delta_orthogonal"]
    assert delta.make is not None
    found = delta.make(stream_for(3, "w"), block((12, 4, 3), groups=3), {"gain": 2.0})
    centre = found[:, :, 1].reshape(3, 4, 4).astype(np.float64)
    assert np.allclose(centre @ centre.transpose(0, 2, 1), 4 * np.eye(4), atol=1e-5)
    assert not found[:, :, [0, 2]].any()


# --- one thread ----------------------------------------------------------------------------------


def test_lapack_has_one_thread_here_and_where_one_joins(threads: int) -> None:
    with one_thread(), ThreadPoolExecutor(1, initializer=join_one_thread) as pool:
        assert torch.get_num_threads() == 1

        def inside() -> tuple[int, int]:
            with one_thread():  # does not wait for the one that holds it
                within = torch.get_num_threads()
            return within, torch.get_num_threads()

        assert pool.submit(inside).result(10) == (1, 1)
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_others_wait_their_turn() -> None:
    order: list[str] = []

    def other() -> None:
        with one_thread():
            order.append("other")

    with one_thread():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]


# --- what is alike -------------------------------------------------------------------------------


def test_many_small_tensors_at_once_are_each_by_itself() -> None:
    counts = [5000, 1, 16_384, 0, 4095, 8192]
    recipes = [Recipe(law="normal", scale=1.0 + index, shift=-float(index)) for index in range(len(counts))]
    known = [stream_for(1, str(index)) for index in range(len(counts))]
    alone = [streams.values(r, s, 0, n) for r, s, n in zip(recipes, known, counts, strict=True)]
    assert streams.values_of_many(recipes, known, counts).tobytes() == np.concatenate(alone).tobytes()


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_one_shape_with_other_fans_is_another_law(mode: str) -> None:
    """Of the same name and shape, (4, 2, 3), but transposed."""
    rules = {"a": {"init": {"weight": {"name": "kaiming_normal", "mode": mode, "gain": 1}, "bias": 0}}}
    both = nn.ModuleList([nn.Conv1d(2, 4, 3), turned := nn.ConvTranspose1d(4, 2, 3)])
    apply_policy(both, {"name": "x", "rules": rules}, seed=5)
    alone = nn.ConvTranspose1d(4, 2, 3)
    apply_policy(nn.ModuleList([nn.Identity(), alone]), {"name": "x", "rules": rules}, seed=5)
    assert bits(turned.weight.detach()) == bits(alone.weight.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_small_tensors_are_read_together_as_each_by_itself(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(1)
    tensors = {f"{n}": torch.from_numpy(rng.normal(3, 2, n)).to(dtype) for n in (1, 2, 7, 64, 1000, 4096)}
    tensors |= {f"more {n}": torch.full((5,), float(n), dtype=dtype) for n in range(300)}
    left = {"large": torch.zeros(5000), "none": torch.zeros(0), "apart": torch.zeros(4, 4).t()[:2]}
    found = dict(read_small({**tensors, **left}))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        known = measure(tensor)
        exact = (known.count, known.min, known.max, known.digest, known.finite)
        assert (found[name].count, found[name].min, found[name].max, found[name].digest, found[name].finite) == exact
        assert found[name].mean == pytest.approx(known.mean, rel=1e-13)
        assert found[name].std == pytest.approx(known.std, rel=1e-12)
