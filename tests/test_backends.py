"""Numba's bytes are NumPy's, for every law, dtype and cut; and what lies in memory is measured as it is written."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import bits, policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from initpolicy import Audit, apply_policy, streams
from initpolicy.measure import measure
from initpolicy.streams import BLOCK, PLANE, Recipe, Stream, arithmetic, backends, stream_for, tensors, values
from initpolicy.writing import drawing

compiled = pytest.importorskip("initpolicy.streams.compiled")

DTYPES = ("float32", "bfloat16", "float16", "float64")
KEY = stream_for(3, "blocks.0.weight")
INF = math.inf


def truncated(low: float, high: float, **more: Any) -> Recipe:
    return Recipe(law="truncated", interval=streams.interval(low, high), **more)


RECIPES = {
    "constant": Recipe(law="constant", shift=0.1),
    "minus zero": Recipe(law="constant", shift=-0.0),
    "normal": Recipe(law="normal", scale=0.02, shift=0.5),
    "tiny normal": Recipe(law="normal", scale=3e-8),
    "least normal": Recipe(law="normal", scale=1e-39),
    "large normal": Recipe(law="normal", scale=9000.0),
    "uniform": Recipe(law="centred", scale=0.5, shift=0.2, least=-0.2999, most=0.6999),
    "uniform01": Recipe(law="uniform01", draw=7),
    "truncated": truncated(-2.0, 2.0, scale=0.02, least=-0.0399, most=0.0399),
    "truncated to a tail": truncated(5.0, INF),
    "truncated to nothing": truncated(-INF, INF),
    "truncated to a sliver": truncated(0.5, 0.500001, scale=2.0),
    "exponential": Recipe(law="exponential", rate=3.0, least=1e-45),
    "bernoulli": Recipe(law="bernoulli", thresholds=(2**31 + 5,)),
    "always": Recipe(law="bernoulli", thresholds=(2**32,)),
    "poisson": Recipe(law="poisson", thresholds=streams.poisson_thresholds(3.5)),
    "poisson of many": Recipe(law="poisson", thresholds=streams.poisson_thresholds(300.0)),
    "poisson of none": Recipe(law="poisson", thresholds=streams.poisson_thresholds(0.0)),
    "log normal": Recipe(law="normal", scale=0.5, shift=-1.0, exp=True, least=1e-45),
    "log normal of all": Recipe(law="normal", scale=40.0, exp=True, least=1e-45, most=3e38),
}


def reference(recipe: Recipe, stream: Stream, start: int, stop: int, dtype: str) -> Tensor:
    return torch.from_numpy(values(recipe, stream, start, stop)).to(getattr(torch, dtype))


def by_numba(recipe: Recipe, stream: Stream, start: int, stop: int, dtype: str) -> tuple[Tensor, Any]:
    """The elements, with untouched ones on both sides, and what was measured of each block."""
    room = torch.full((stop - start + 64,), 7.0, dtype=getattr(torch, dtype))
    memory = room[32:-32]
    jobs = compiled.jobs_for(
        memory.data_ptr(), memory.element_size(), np.array([start]), stop - start, stream.key, 0
    )  # fmt: skip
    rows = np.empty((len(jobs), 5))
    compiled.draw_and_measure(jobs, compiled.tables([(recipe, dtype)]), 0, len(jobs), rows)
    assert torch.all(room[:32] == 7)
    assert torch.all(room[-32:] == 7)
    return memory, rows


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RECIPES)
def test_every_law_to_the_bit(name: str, dtype: str) -> None:
    recipe = RECIPES[name]
    start, stop = 2 * BLOCK + 11, 4 * BLOCK + PLANE + 3
    found, rows = by_numba(recipe, KEY, start, stop, dtype)
    assert bits(found) == bits(reference(recipe, KEY, start, stop, dtype))
    at = 0
    for row, size in zip(rows, (BLOCK - 11, BLOCK, PLANE + 3), strict=True):
        known = measure(found[at : at + size])
        if known.finite:
            assert row[4] == 1
            assert row[0] == pytest.approx(known.mean, rel=1e-12, abs=1e-13 * known.std)
            assert math.sqrt(row[1] / size) == pytest.approx(known.std, rel=1e-10, abs=1e-14 * abs(known.mean))
            assert row[2:4].tolist() == [known.min, known.max]
        else:
            assert row[4] == 0
        at += size


RANGES = st.tuples(
    st.one_of(st.integers(0, 3 * BLOCK), st.sampled_from([PLANE - 1, BLOCK - 5, BLOCK, 2**50 + 40_000])),
    st.one_of(st.integers(0, 40), st.integers(0, 2 * BLOCK), st.sampled_from([PLANE - 1, PLANE, PLANE + 1])),
)
NUMBERS = st.floats(-100, 100, width=32)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any law, any numbers."""
    kind: Any = draw(
        st.sampled_from(["normal", "centred", "uniform01", "exponential", "truncated", "bernoulli", "poisson"])
    )
    more: dict[str, Any] = {"scale": draw(st.floats(2.0**-130, 100, width=32)), "shift": draw(NUMBERS)}
    more |= {"draw": draw(st.integers(0, 2**32 - 1)), "exp": draw(st.booleans())}
    if draw(st.booleans()):
        more |= dict(zip(("least", "most"), sorted((draw(NUMBERS), draw(NUMBERS))), strict=True))
    if kind == "truncated":
        low = draw(st.floats(-8, 8))
        more["interval"] = streams.interval(low, low + draw(st.floats(1e-4, 5)))
    if kind == "exponential":
        more["rate"] = draw(st.floats(2.0**-20, 100, width=32))
    if kind == "bernoulli":
        more["thresholds"] = (draw(st.integers(0, 2**32)),)
    if kind == "poisson":
        more["thresholds"] = streams.poisson_thresholds(draw(st.floats(0, 50)))
    return Recipe(law=kind, **more)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(recipes(), RANGES, st.sampled_from(DTYPES), st.integers(0, 2**64 - 1))
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_any_law_any_cut_to_the_bit(recipe: Recipe, cut: tuple[int, int], dtype: str, key: int) -> None:
    start, stop = cut[0], cut[0] + cut[1]
    if start == stop:
        return
    found, _ = by_numba(recipe, Stream(key), start, stop, dtype)
    assert bits(found) == bits(reference(recipe, Stream(key), start, stop, dtype))


def test_eight_million_values_to_the_bit() -> None:
    count = 2**23
    for name in ("normal", "truncated"):
        found, _ = by_numba(RECIPES[name], KEY, 0, count, "float32")
        assert sha256(bits(found)).digest() == sha256(values(RECIPES[name], KEY, 0, count).tobytes()).digest()


def test_nothing_is_fused() -> None:
    """LLVM has no leave to make one rounding of a product and a sum; in the measure, which makes no value, it has."""
    from numba import njit

    free = re.compile(r"\bf(?:add|sub|mul|div) (?:fast|[a-z ]*(?:contract|reassoc))|llvm\.f(?:ma|muladd)\.")
    for kernel, function in ((compiled._draw_kernel, compiled._draw), (compiled._measure_kernel, compiled._measure)):
        fresh = njit(kernel.signatures[0], error_model="numpy")(function)  # what comes from disk cannot be looked at
        [code] = fresh.inspect_llvm().values()
        assert bool(free.search(code)) is (function is compiled._measure)


@pytest.mark.parametrize("change", ["fused", "swapped"])
def test_one_rounding_more_or_less_is_seen(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: a reference that fuses, or that sums in another order, gives other bytes."""
    found, _ = by_numba(RECIPES["normal"], KEY, 0, BLOCK, "float32")

    def fused(x: Any, coefficients: Any) -> Any:
        *rest, last = coefficients
        total = np.full_like(x, last)
        for coefficient in reversed(rest):
            total = (total.astype(np.float64) * x + coefficient).astype(np.float32)
        return total

    def swapped(x: Any, coefficients: Any) -> Any:
        total, power = np.zeros_like(x), np.ones_like(x)
        for coefficient in coefficients:
            total, power = total + coefficient * power, power * x
        return total

    monkeypatch.setattr(arithmetic, "horner", {"fused": fused, "swapped": swapped}[change])
    assert bits(found) != bits(reference(RECIPES["normal"], KEY, 0, BLOCK, "float32"))
    monkeypatch.undo()
    assert bits(found) == bits(reference(RECIPES["normal"], KEY, 0, BLOCK, "float32"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_is_torchs_for_every_kind_of_number(dtype: str) -> None:
    """Ties, subnormals, the largest and what overflows, as constants."""
    halves = np.arange(2**16, dtype=np.uint32)
    single = (halves << np.uint32(16)).view(np.float32)
    exact = single if dtype == "bfloat16" else halves.astype(np.uint16).view(np.float16).astype(np.float32)
    exact = exact[np.isfinite(exact)]
    above = np.nextafter(exact, np.float32(INF))
    ties = ((exact[:-1].astype(np.float64) + exact[1:]) / 2).astype(np.float32)
    numbers = np.concatenate([exact, above, ties, np.array([65519.99, 65520, 65536, 3.39e38], np.float32)])[::7]
    wanted = torch.from_numpy(numbers).to(getattr(torch, dtype))
    out = torch.zeros(len(numbers), dtype=getattr(torch, dtype))
    known = compiled.tables([(Recipe(law="constant", shift=float(x)), dtype) for x in numbers])
    jobs = np.array([(out.data_ptr() + 2 * i, 0, 1, 0, i) for i in range(len(numbers))], np.uint64)
    compiled.draw(jobs, known, 0, len(jobs))
    assert bits(out) == bits(wanted)


# --- which of them draws -------------------------------------------------------------------------


class Several(nn.Module):
    """Blocks, small ones, all dtypes, strided memory, a padding row, packed parts."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(300, 250), nn.Linear(7, 5).to(torch.bfloat16), nn.Linear(5, 3).half()])
        self.table = nn.Embedding(700, 100, padding_idx=3)
        self.wide = nn.Linear(40, 60).double()
        self.conv = nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.attention = nn.MultiheadAttention(12, 2)
        self.large = nn.Parameter(torch.zeros(drawing.CHUNK + BLOCK + 5))


SPECS: dict[str, Any] = {
    "normal": {"name": "normal", "mean": 0.1, "std": 0.02},
    "uniform": {"name": "uniform", "a": -0.3, "b": 0.7},
    "trunc_normal": {"name": "trunc_normal", "std": 0.02},
    "constant": 0.25,
    "log_normal": {"name": "log_normal", "std": 0.5},
    "split": {"*": {"name": "normal", "std": 0.1}, "in_proj*": {"name": "uniform", "a": -1, "b": 1, "split": 3}},
}


def applied(spec: Any, many: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, bytes], Audit]:
    monkeypatch.setattr(backends, "MANY", many)
    model, before = Several(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        audit = apply_policy(model, policy(spec))
    finally:
        torch.set_num_threads(before)
    assert audit.ok
    return {name: bits(param) for name, param in model.named_parameters()}, audit


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_neither_backend_nor_threads_change_a_byte(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, known = applied(spec, 10**9, 1, monkeypatch)
    for many, threads in ((10**9, 3), (-1, 1), (-1, 3)):
        found, audit = applied(spec, many, threads, monkeypatch)
        assert found == expected
        for row, other in zip(audit.rows, known.rows, strict=True):
            assert (row.digest, row.min, row.max) == (other.digest, other.min, other.max)
            assert row.mean == pytest.approx(other.mean, rel=1e-11, abs=1e-14)
            assert row.std == pytest.approx(other.std, rel=1e-11, abs=1e-14)
        if many < 0 and threads == 1:
            alone = audit
    assert audit == alone  # to the last bit, whatever the number of threads


@pytest.mark.parametrize("many", [10**9, -1])
def test_what_is_reported_is_what_lies_in_memory(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MANY", many)
    model = Several()
    audit = apply_policy(model, policy(SPECS["normal"]))
    for row in audit.rows:
        padding = 3 if row.name == "table.weight" else None
        again = measure(model.get_parameter(row.name), without=padding)
        assert (row.digest, row.min, row.max) == (again.digest, again.min, again.max)
        assert row.mean == pytest.approx(again.mean, rel=1e-11, abs=1e-14)
        assert row.std == pytest.approx(again.std, rel=1e-11)


@pytest.mark.parametrize("many", [10**9, -1])
def test_torch_knows_that_it_was_written(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MANY", many)
    model = Several()
    before = {name: param._version for name, param in model.named_parameters()}
    apply_policy(model, policy(SPECS["normal"]))
    assert all(param._version > before[name] for name, param in model.named_parameters())


@pytest.fixture
def columns() -> tuple[Tensor, Any]:
    """A shard of the columns of a matrix of several blocks, in memory of its own."""
    from initpolicy.writing.pieces import Piece

    memory = torch.zeros(900, 70)
    return memory, Piece(memory=memory, box=((50, 950), (100, 170)))


@pytest.mark.parametrize("many", [10**9, -1])
def test_a_shard_of_columns(many: int, columns: tuple[Tensor, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MANY", many)
    memory, piece = columns
    order = drawing.Order(
        name="w", piece=piece, shape=(1000, 300), recipe=RECIPES["normal"], stream=KEY, measured=False
    )  # fmt: skip
    told: list[tuple[str, int]] = []
    assert drawing.draw_all([order], lambda name, count: told.append((name, count))) == {}
    whole = torch.from_numpy(values(RECIPES["normal"], KEY, 0, 300_000)).reshape(1000, 300)
    assert torch.equal(memory, whole[50:950, 100:170])
    assert sum(count for _, count in told) == memory.numel()


@pytest.mark.parametrize("loaded", [True, False])
def test_whole_matrices_are_made_of_the_same_draws(loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not loaded:
        monkeypatch.delitem(sys.modules, "initpolicy.streams.compiled")
    for start, stop in ((0, 0), (5, 5 + BLOCK)):
        found = backends.values(RECIPES["normal"], KEY, start, stop)
        assert found.tobytes() == values(RECIPES["normal"], KEY, start, stop).tobytes()


def test_numba_is_left_alone_where_few_values_are_drawn() -> None:
    program = (
        "import sys, torch, initpolicy\n"
        "rules = {'all': {'init': {'*': {'name': 'normal'}}}}\n"
        "initpolicy.apply_policy(torch.nn.Linear(300, 300), {'name': 'x', 'seed': 1, 'rules': rules})\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_numba_one_line_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "initpolicy.streams.compiled", None)
    monkeypatch.delattr(streams, "compiled")
    monkeypatch.setattr(backends, "MANY", 1000)
    model = nn.Linear(40, 40, bias=False)
    with caplog.at_level(logging.INFO, "initpolicy"):
        apply_policy(model, policy({"name": "uniform", "a": -1, "b": 1}))
    lines = [record.getMessage() for record in caplog.records if "Numba" in record.getMessage()]
    assert lines == [
        "1,600 values are drawn by NumPy, some twenty times slower than by Numba: pip install 'initpolicy[fast]'"
    ]
    assert torch.equal(model.weight.detach().flatten(), reference_uniform(1600))


def test_where_numba_may_not_compile_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    monkeypatch.setattr(backends, "MANY", 1000)
    with caplog.at_level(logging.INFO, "initpolicy"):
        assert backends.compiled(1600) is None
    assert caplog.messages == ["1,600 values are drawn by NumPy, some twenty times slower: NUMBA_DISABLE_JIT is set"]


def test_kernels_that_give_other_bytes_draw_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of an older version would, left in a cache whose date and size are still those of the file."""
    right = compiled.values

    def stale(recipe: Recipe, stream: Stream, start: int, stop: int) -> Any:
        found = right(recipe, stream, start, stop)
        return np.nextafter(found, np.float32(9)) if recipe.law == "normal" else found

    monkeypatch.setattr(compiled, "values", stale)
    monkeypatch.setattr(backends, "MANY", 1000)
    backends._exact.cache_clear()
    try:
        model = nn.Linear(40, 40, bias=False)
        with caplog.at_level(logging.WARNING, "initpolicy"):
            apply_policy(model, policy({"name": "uniform", "a": -1, "b": 1}))
        cache = Path(str(compiled.__file__)).with_name("__pycache__")
        assert caplog.messages == [f"Numba's kernels give other bytes than NumPy, which draws: empty {cache}"]
        assert backends.values(RECIPES["normal"], KEY, 0, 9).tobytes() == values(RECIPES["normal"], KEY, 0, 9).tobytes()
    finally:
        backends._exact.cache_clear()
    assert torch.equal(model.weight.detach().flatten(), reference_uniform(1600))


def reference_uniform(count: int) -> Tensor:
    low, high = streams.clamp(-1, 1, "float32")
    recipe = replace(Recipe(law="centred"), least=low, most=high)
    return torch.from_numpy(values(recipe, stream_for(1, "weight"), 0, count))


# --- without Numba's help ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), NUMBERS, st.floats(2.0**-20, 10, width=32)), min_size=1, max_size=8))
@pytest.mark.parametrize("law", ["normal", "centred", "exponential", "truncated"])
def test_many_small_tensors_in_one_go_are_each_by_itself(law: Any, asked: list[tuple[int, float, float]]) -> None:
    known = streams.interval(-2.0, 2.0) if law == "truncated" else None
    each = [Recipe(law=law, shift=shift, scale=scale, least=shift - scale, interval=known) for _, shift, scale in asked]
    keys = [stream_for(1, str(index)) for index in range(len(asked))]
    counts = [count for count, _, _ in asked]
    alone = [values(recipe, key, 0, count) for recipe, key, count in zip(each, keys, counts, strict=True)]
    assert streams.values_of_many(each, keys, counts).tobytes() == np.concatenate(alone).tobytes()


# --- torch's operations, for CUDA ------------------------------------------------------------------


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(recipes(), RANGES, st.sampled_from(DTYPES))
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_torchs_operations_give_the_same_bytes(recipe: Recipe, cut: tuple[int, int], dtype: str) -> None:
    """On the CPU, with NumPy's square root: torch's own is not exactly rounded there."""
    start, stop = cut[0], cut[0] + cut[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_sqrt", lambda x: torch.from_numpy(np.sqrt(x.numpy())))
        memory = torch.zeros(stop - start, dtype=getattr(torch, dtype))
        tensors.fill(memory, recipe, KEY, start)
    assert bits(memory) == bits(reference(recipe, KEY, start, stop, dtype))


def test_a_device_that_does_not_round_exactly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(tensors, "_sqrt", lambda x: torch.from_numpy(np.sqrt(x.numpy())))
    assert tensors.exact.__wrapped__(cpu)
    monkeypatch.setattr(tensors, "_sqrt", lambda x: torch.from_numpy(np.nextafter(np.sqrt(x.numpy()), np.float32(9))))
    assert not tensors.exact.__wrapped__(cpu)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_cuda_device_has_the_cpus_bytes(name: str, dtype: str) -> None:
    start, stop = BLOCK + 11, 3 * BLOCK + PLANE
    memory = torch.zeros(stop - start, dtype=getattr(torch, dtype), device="cuda")
    tensors.fill(memory, RECIPES[name], KEY, start)
    assert bits(memory) == bits(reference(RECIPES[name], KEY, start, stop, dtype))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_model_on_a_cuda_device_has_the_cpus_bytes(spec: Any) -> None:
    here, there = Several(), Several().cuda()
    apply_policy(here, policy(spec))
    assert apply_policy(there, policy(spec)).ok
    assert [bits(param) for param in there.parameters()] == [bits(param) for param in here.parameters()]
