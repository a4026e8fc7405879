"""What initializers make, element by element: structure, equality with torch, cuts, seeds, files and functions."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from initializer_parts import Array, Shape, block_of, fill, law, read
from safetensors.torch import save_file
from scipy import stats
from torch.nn import functional as F
from torch.nn import init

from initpolicy import streams
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Block, Initializer
from initpolicy.initializers.called import called
from initpolicy.streams import BLOCK, stream_for

ROOT2 = math.sqrt(2)
DT = "log(expm1(exp(u*(log(hi)-log(lo))+log(lo))))"
FACTS = {"lo": 1e-3, "hi": 0.1, "fan_in": 10}

# one of each random initializer, with a shape that it takes
RANDOM: tuple[tuple[str, dict[str, Any], Shape], ...] = (
    ("normal", {"std": 0.02}, (30, 40)),
    ("uniform", {"a": -1, "b": 2}, (30, 40)),
    ("trunc_normal", {"std": 0.02}, (30, 40)),
    ("xavier_normal", {}, (30, 40)),
    ("xavier_uniform", {}, (30, 40)),
    ("kaiming_normal", {"gain": ROOT2}, (30, 40)),
    ("kaiming_uniform", {"gain": ROOT2}, (30, 40)),
    ("lecun_normal", {}, (30, 40)),
    ("lecun_uniform", {}, (30, 40)),
    ("variance_scaling", {}, (30, 40)),
    ("bernoulli", {"p": 0.3}, (30, 40)),
    ("poisson", {"rate": 2}, (30, 40)),
    ("exponential", {"rate": 2}, (30, 40)),
    ("log_normal", {"std": 0.5}, (30, 40)),
    ("log_uniform", {"low": 0.01, "high": 1}, (30, 40)),
    ("formula", {"value": "z + u / fan_in + i"}, (30, 40)),
    ("sparse", {"sparsity": 0.5}, (30, 40)),
    ("normalized", {}, (30, 40)),
    ("orthogonal", {}, (30, 40)),
    ("delta_orthogonal", {}, (30, 20, 3)),
    ("icnr", {"scale": 2, "gain": ROOT2}, (32, 10, 3, 3)),
)


def facts(shape: Shape, name: str = "weight") -> Block:
    return block_of(shape, name=name, variables=FACTS)


def test_every_random_initializer_is_among_the_examples() -> None:
    assert {name for name, _, _ in RANDOM} == {name for name, entry in INITIALIZERS.items() if entry.random}


# --- seeds, names, cuts --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "given", "shape"), RANDOM)
def test_equal_seeds_and_names_give_equal_values_and_others_differ(
    name: str, given: dict[str, Any], shape: Shape
) -> None:
    first = fill(name, facts(shape), 7, **given)
    assert fill(name, facts(shape), 7, **given).tobytes() == first.tobytes()
    for other in (fill(name, facts(shape), 8, **given), fill(name, facts(shape, "bias"), 7, **given)):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize(("name", "given", "shape"), RANDOM)
def test_no_global_random_state_is_read_or_changed(name: str, given: dict[str, Any], shape: Shape) -> None:
    first = fill(name, facts(shape), 7, **given)
    torch.manual_seed(3)
    np.random.seed(3)  # the legacy state is what must not change
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # type: ignore[index]
    assert fill(name, facts(shape), 7, **given).tobytes() == first.tobytes()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]  # type: ignore[index]
    assert random.getstate() == before[2]


LONG = (3 * BLOCK + 1234) // 2
DRAWN = [(name, given) for name, given, _ in RANDOM if INITIALIZERS[name].make is None]
WHOLE: dict[str, Array] = {}


@settings(max_examples=60)
@examples(which=st.sampled_from(DRAWN), cuts=st.sets(st.sampled_from([1, 2, 3])))
def test_values_do_not_depend_on_how_the_range_is_cut(which: tuple[str, dict[str, Any]], cuts: set[int]) -> None:
    name, given = which
    block = facts((LONG, 2))
    if name not in WHOLE:
        WHOLE[name] = fill(name, block, 5, **given)
    assert fill(name, block, 5, cuts=tuple(sorted(cuts)), **given).tobytes() == WHOLE[name].tobytes()


def test_formulas_do_not_depend_on_their_own_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    block = facts((LONG, 2))
    first = fill("formula", block, 5, value="z * u + i - j")
    monkeypatch.setattr("initpolicy.initializers.formulas._CHUNK", 1000)
    assert fill("formula", block, 5, value="z * u + i - j").tobytes() == first.tobytes()


# first 16 hex digits of the sha256 of (500, 300) values, little-endian, seed 1, name "weight"; changing one breaks
# every user's results. What LAPACK computes is not among them: its last bits are those of a kind of machine.
KNOWN = {
    "normal std=0.02": "07f92d37c4fe3008",
    "normal mean=1 std=0.5": "dc54ab72b910084b",
    "uniform a=-1 b=3": "2e1240436818173b",
    "trunc_normal std=0.02": "9e7b0595b54e8547",
    "trunc_normal mean=1 std=0.5 a=1.5 b=9 bounds=absolute": "865c6b6b343eefd6",
    "xavier_normal": "fececdac44cd5c0a",
    "xavier_uniform gain=2": "6b5e8f3bbded8d6f",
    "kaiming_normal gain=1.5": "c6b6e4b7ab374104",
    "kaiming_uniform gain=1.5 mode=fan_out": "18e26c48bed59838",
    "lecun_normal": "29490751aa0322b5",
    "lecun_uniform": "f648f1df30e58289",
    "variance_scaling": "d8cfc13996900bb2",
    "bernoulli p=0.3": "7245311fb41d584c",
    "poisson rate=3.5": "8009a1074ca38ec8",
    "exponential rate=2": "79ffc2d9535c6b56",
    "log_normal std=0.5": "eaed15a78abaebe3",
    "log_uniform low=0.001 high=0.1": "f7819486a6b8f88b",
    "formula value=z*u+i": "03ea9fdf53df5f0a",
    "sparse sparsity=0.9": "5109b3739cb62fce",
}


def given_of(pairs: list[str]) -> dict[str, Any]:
    return dict(pair.split("=") for pair in pairs)


@pytest.mark.parametrize("case", KNOWN)
def test_values_have_their_known_digests(case: str) -> None:
    name, *pairs = case.split()
    values = fill(name, facts((500, 300)), 1, **given_of(pairs))
    assert sha256(values.astype("<f4").tobytes()).hexdigest()[:16] == KNOWN[case]


# --- constants and patterns ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2, 3, 3, 3)])
def test_constants_are_torchs(shape: Shape) -> None:
    cases: list[tuple[str, dict[str, Any], float, Any]] = [
        ("constant", {"value": -0.3}, -0.3, init.constant_(torch.empty(shape), -0.3)),
        ("zeros", {}, 0.0, init.zeros_(torch.empty(shape))),
        ("ones", {}, 1.0, init.ones_(torch.empty(shape))),
    ]
    for name, given, value, theirs in cases:
        assert torch.equal(torch.from_numpy(fill(name, block_of(shape), **given)), theirs)
        found = law(name, block_of(shape), **given)
        assert (found.mean, found.std, found.mean_error, found.freedom) == (value, 0, 0, math.inf)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (1, 1), (0, 3)])
def test_eye_is_torchs(shape: Shape) -> None:
    values = fill("eye", block_of(shape))
    assert torch.equal(torch.from_numpy(values), init.eye_(torch.empty(shape)))
    assert_exact("eye", block_of(shape), values)


def assert_exact(name: str, block: Block, values: Array, **given: Any) -> None:
    """The law of something certain has the values' own moments."""
    found = law(name, block, **given)
    wide = values.astype(np.float64)
    assert found.mean == pytest.approx(wide.mean() if wide.size else 0, abs=1e-7)
    assert found.std == pytest.approx(wide.std() if wide.size else 0, abs=1e-7)
    assert (found.mean_error, found.freedom) == (0, math.inf)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((6, 4, 3), 1), ((4, 6, 5), 1), ((6, 6, 3, 3), 1), ((6, 2, 3, 4), 2), ((9, 3, 2, 2), 3), ((4, 1, 3, 3), 4),
        ((4, 4, 3, 3, 3), 1), ((8, 2, 1, 3, 2), 4),
    ],
)  # fmt: skip
def test_dirac_is_torchs(shape: Shape, groups: int) -> None:
    theirs = init.dirac_(torch.empty(shape), groups)
    cases: list[tuple[Block, dict[str, Any]]] = [
        (block_of(shape, groups=groups), {}),
        (block_of(shape), {"groups": groups}),
    ]
    for block, given in cases:
        values = fill("dirac", block, **given)
        assert torch.equal(torch.from_numpy(values), theirs)
        assert_exact("dirac", block, values, **given)


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_dirac_hands_its_input_on(groups: int, dimensions: int) -> None:
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
    shape = (8, 8 // groups, *(3,) * dimensions)
    weight = torch.from_numpy(fill("dirac", block_of(shape, groups=groups)))
    x = torch.rand(2, 8, *(6,) * dimensions, generator=torch.Generator().manual_seed(0))
    assert torch.equal(convolve(x, weight, padding=1, groups=groups), x)
    assert torch.equal(transpose(x, weight, padding=1, groups=groups), x)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize(("dimensions", "mode"), [(1, "linear"), (2, "bilinear"), (3, "trilinear")])
def test_bilinear_enlarges_as_interpolate_does(dimensions: int, mode: str, factor: int, grouped: bool) -> None:
    """Away from the border, where torch repeats the outermost pixel and a convolution pads with zeros."""
    size, groups = 2 * factor - factor % 2, 3 if grouped else 1
    block = block_of((3, 3 // groups, *(size,) * dimensions), groups=groups)
    values = fill("bilinear", block)
    assert_exact("bilinear", block, values)
    x = torch.rand(1, 3, *(7,) * dimensions, generator=torch.Generator().manual_seed(1))
    transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
    ours = transpose(x, torch.from_numpy(values), stride=factor, padding=math.ceil((factor - 1) / 2), groups=groups)
    theirs = F.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)
    assert ours.shape == theirs.shape
    inner: tuple[int | slice, ...] = (0, 0, *(slice(factor, -factor),) * dimensions)
    assert torch.allclose(ours[inner], theirs[inner], atol=1e-6)


# --- orthogonal ----------------------------------------------------------------------------------

MATRICES = [
    (64, 64),
    (100, 30),
    (30, 100),
    (1, 7),
    (7, 1),
    (1, 1),
    (32, 16, 3, 3),
    (8, 64, 3),
    (300, 200),
    (40, 2, 3, 3, 3),
]


def gram(values: Array) -> Array:
    """QᵀQ of the flattened matrix, or QQᵀ of a wide one, in float64."""
    q = values.reshape(len(values), -1).astype(np.float64)
    return q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T


@pytest.mark.parametrize("gain", [1.0, 0.1, ROOT2])
@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_orthogonal_to_float32_rounding(shape: Shape, gain: float) -> None:
    """Off by at most 16 units of float32's last place, of gain²."""
    product = gram(fill("orthogonal", block_of(shape), 3, gain=gain))
    assert np.abs(product - gain**2 * np.eye(len(product))).max() < 16 * 2.0**-24 * gain**2


@pytest.mark.parametrize("shape", [(4096, 512), (512, 512)])
def test_large_orthogonal_matrices_too(shape: Shape) -> None:
    product = gram(fill("orthogonal", block_of(shape), 3, gain=1))
    assert np.abs(product - np.eye(len(product))).max() < 32 * 2.0**-24


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 0, 2)])
def test_orthogonal_of_nothing(shape: Shape) -> None:
    assert fill("orthogonal", block_of(shape), gain=1).shape == shape
    assert law("orthogonal", block_of(shape), gain=1).std == 0


def test_orthogonal_keeps_the_second_moment_of_outputs_only_where_they_are_no_more_than_the_inputs() -> None:
    """E[h²] = gain² E[x²] for rows <= columns, and columns/rows of that otherwise: theory.md."""
    for rows, columns, kept in ((20, 80, 1.0), (50, 50, 1.0), (80, 20, 0.25)):
        values = fill("orthogonal", block_of((rows, columns)), gain=3).astype(np.float64)
        # x white: the mean over outputs of E[h²] is the mean squared norm of a row
        assert np.square(values).sum(1).mean() == pytest.approx(9 * kept, rel=1e-6)
        std = law("orthogonal", block_of((rows, columns)), gain=3).std
        assert std == pytest.approx(3 / math.sqrt(max(rows, columns)))


@pytest.mark.parametrize("shape", [(64, 64), (500, 300), (128, 64, 3, 3)], ids=str)
@pytest.mark.parametrize("name", ["orthogonal", "delta_orthogonal"])
def test_orthogonal_bytes_do_not_depend_on_the_number_of_threads(name: str, shape: Shape) -> None:
    """LAPACK's do; and the number is put back."""
    if name == "delta_orthogonal" and len(shape) == 2:
        shape = (*shape, 1)
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.add(fill(name, block_of(shape), 1, gain=1).tobytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("shape", "groups"), [((8, 5, 3), 1), ((6, 6, 3, 3), 1), ((8, 4, 2, 5), 2), ((12, 1, 3, 3, 3), 12)]
)
def test_delta_orthogonal_is_orthogonal_at_its_centre_and_zero_elsewhere(shape: Shape, groups: int) -> None:
    values = fill("delta_orthogonal", block_of(shape, groups=groups), 2, gain=1.5)
    middle: tuple[slice | int, ...] = (slice(None), slice(None), *(size // 2 for size in shape[2:]))
    centre = values[middle]
    assert np.count_nonzero(values) == np.count_nonzero(centre) == centre.size
    for group in centre.reshape(groups, shape[0] // groups, shape[1]):
        assert np.abs(gram(group) - 2.25 * np.eye(len(gram(group)))).max() < 16 * 2.0**-24 * 2.25
    found = law("delta_orthogonal", block_of(shape, groups=groups), gain=1.5)
    assert found.std == pytest.approx(math.sqrt(np.square(values.astype(np.float64)).mean()), rel=1e-6)


def test_delta_orthogonal_keeps_norms_and_groups_differ() -> None:
    weight = torch.from_numpy(fill("delta_orthogonal", block_of((24, 6, 3, 3), groups=2), 4, gain=1))
    x = torch.randn(2, 12, 9, 9, generator=torch.Generator().manual_seed(1))
    y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weight, groups=2)
    assert y.norm().item() == pytest.approx(x.norm().item(), rel=1e-5)
    assert not torch.equal(weight[:12], weight[12:])


# --- sparse --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sparsity", "zeros"), [(10, 0.1, 1), (10, 0.25, 3), (7, 0.0, 0), (100, 0.9, 90), (3, 0.999, 3)]
)
def test_sparse_columns_have_their_zeros(rows: int, sparsity: float, zeros: int) -> None:
    values = fill("sparse", block_of((rows, 50)), 3, sparsity=sparsity, std=2)
    assert np.array_equal((values == 0).sum(0), np.full(50, zeros))
    assert len({column.tobytes() for column in (values == 0).T}) > 5 or zeros in (0, rows)
    # what is left is what `normal` draws: only the places of the zeros are drawn besides
    assert np.array_equal(values[values != 0], fill("normal", block_of((rows, 50)), 3, std=2)[values != 0])
    expected = 2 * math.sqrt(1 - zeros / rows)
    assert law("sparse", block_of((rows, 50)), sparsity=sparsity, std=2).std == pytest.approx(expected)


# --- icnr ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_icnr_starts_as_nearest_neighbour_upsampling(scale: int, distribution: str) -> None:
    shape = (4 * scale**2, 5, 3, 3)
    given: dict[str, Any] = {"scale": scale, "distribution": distribution, "gain": ROOT2}
    weight = torch.from_numpy(fill("icnr", block_of(shape), 2, **given))
    x = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(2))
    enlarged = F.pixel_shuffle(F.conv2d(x, weight), scale)
    small = F.conv2d(x, weight[:: scale**2])
    assert torch.allclose(enlarged, F.interpolate(small, scale_factor=scale, mode="nearest"), atol=1e-6)
    assert len(torch.unique(weight)) == weight.numel() // scale**2


def test_icnr_takes_the_small_kernels_fans() -> None:
    block = block_of((16, 5, 3, 3))
    assert law("icnr", block, scale=2, gain=1).std == pytest.approx(1 / math.sqrt(45))
    assert law("icnr", block, scale=2, gain=1, mode="fan_out").std == pytest.approx(1 / math.sqrt(36))
    line = block_of((16, 5, 3))
    values = fill("icnr", line, scale=4, gain=1)
    assert np.array_equal(values, np.repeat(values[::4], 4, axis=0))
    assert law("icnr", line, scale=4, gain=1, mode="fan_out").std == pytest.approx(1 / math.sqrt(12))


# --- variance scaling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "fan"), [("fan_in", 27.0), ("fan_out", 72.0), ("fan_avg", 49.5), ("fan_geo", math.sqrt(27 * 72))]
)
@pytest.mark.parametrize("scale", [1.0, 0.1, 2.0])
def test_variance_scaling_is_keras_and_jaxs(mode: str, fan: float, scale: float) -> None:
    """stddev = sqrt(scale / fan) / .87962566103423978, truncated at two of it, in both; uniform +-sqrt(3 scale/fan)."""
    block = block_of((8, 3, 3, 3))
    found = law("variance_scaling", block, scale=scale, mode=mode)
    parent = math.sqrt(scale / fan) / 0.87962566103423978
    assert (found.low, found.high) == pytest.approx((-2 * parent, 2 * parent), rel=1e-14)
    assert found.std == pytest.approx(math.sqrt(scale / fan), rel=1e-14)
    plain = law("variance_scaling", block, scale=scale, mode=mode, corrected=False)
    assert plain.high == pytest.approx(2 * math.sqrt(scale / fan), rel=1e-14)
    assert plain.std == pytest.approx(0.87962566103423978 * math.sqrt(scale / fan), rel=1e-14)
    flat = law("variance_scaling", block, scale=scale, mode=mode, distribution="uniform")
    assert flat.high == pytest.approx(math.sqrt(3 * scale / fan), rel=1e-14)
    full = law("variance_scaling", block, scale=scale, mode=mode, distribution="untruncated_normal")
    assert full.low == -math.inf
    assert full.std == pytest.approx(math.sqrt(scale / fan), rel=1e-14)


@pytest.mark.parametrize(
    ("given", "other", "others"),
    [
        ({"scale": 2, "distribution": "untruncated_normal"}, "kaiming_normal", {"gain": ROOT2}),
        (
            {"scale": 2, "mode": "fan_out", "distribution": "uniform"},
            "kaiming_uniform",
            {"gain": ROOT2, "mode": "fan_out"},
        ),
        ({"mode": "fan_avg", "distribution": "uniform"}, "xavier_uniform", {}),
        ({"distribution": "untruncated_normal"}, "lecun_normal", {}),
    ],
)
def test_variance_scaling_names_the_others(given: dict[str, Any], other: str, others: dict[str, Any]) -> None:
    ours, theirs = fill("variance_scaling", block_of((30, 40)), **given), fill(other, block_of((30, 40)), **others)
    assert ours == pytest.approx(theirs, rel=1e-6)


# --- bounds of truncation ------------------------------------------------------------------------


def test_algorithmic_efficiency819_foundation_model_stack289_bounds_are_what_they_say() -> None:
    """±2 beside std 0.02: as values it truncates nothing, as standard deviations 4.6 % of the law."""
    block = block_of((100, 100))
    absolute: dict[str, Any] = {"std": 0.02, "a": -2, "b": 2, "bounds": "absolute"}
    sigma: dict[str, Any] = {"std": 0.02, "a": -2, "b": 2, "bounds": "sigma"}
    assert law("trunc_normal", block, **absolute).std == pytest.approx(0.02, rel=1e-12)
    assert law("trunc_normal", block, **sigma).std == pytest.approx(0.02 * 0.879625661034240, rel=1e-12)
    assert law("trunc_normal", block, **sigma).high == pytest.approx(0.04)
    assert np.abs(fill("trunc_normal", block, **absolute)).max() > 0.05
    assert np.abs(fill("trunc_normal", block, **sigma)).max() < 0.04
    assert np.array_equal(fill("trunc_normal", block, std=0.02), fill("trunc_normal", block, **sigma))


# --- formulas ------------------------------------------------------------------------------------


def test_log_of_the_column() -> None:
    """The first example of a state-space layer: log(j + 1), the same in every row."""
    values = fill("formula", facts((6, 9)), value="log(j + 1)")
    assert np.array_equal(values, np.tile(np.log(np.arange(1, 10)), (6, 1)).astype(np.float32))
    found = law("formula", facts((6, 9)), value="log(j + 1)")
    assert found.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-7)
    assert found.std == pytest.approx(values.std(dtype=np.float64), rel=1e-7)
    assert (found.mean_error, found.freedom) == (0, math.inf)


def test_the_inverse_softplus_of_a_log_uniform_step() -> None:
    """The second: softplus of it is log-uniform on (lo, hi), and the law's moments are those integrals."""
    block = facts((400, 250))
    values = fill("formula", block, 3, value=DT).astype(np.float64)
    step = np.log1p(np.exp(values))
    assert step.min() > 1e-3
    assert step.max() < 0.1
    assert stats.kstest(step.ravel(), stats.loguniform(1e-3, 0.1).cdf).pvalue > 1e-6
    found = law("formula", block, value=DT)
    u = (np.arange(10**6) + 0.5) / 10**6
    exact = np.log(np.expm1(np.exp(u * math.log(100) + math.log(1e-3))))
    assert found.mean == pytest.approx(exact.mean(), rel=1e-9)
    assert found.std == pytest.approx(exact.std(), rel=1e-9)


def test_indices_run_along_the_first_three_dimensions() -> None:
    i, j, k = np.indices((2, 3, 4))
    values = fill("formula", facts((2, 3, 4, 5)), value="100*i + 10*j + k")
    assert np.array_equal(values, np.repeat((100 * i + 10 * j + k)[..., None], 5, axis=3))
    assert np.array_equal(fill("formula", facts((3,)), value="i"), [0, 1, 2])
    assert fill("formula", facts(()), value="lo + 1").tolist() == pytest.approx(1.001)
    assert fill("formula", facts((0, 4)), value="i").shape == (0, 4)
    assert INITIALIZERS["formula"].law(facts((0, 4)), {"value": "i"}) is None


def test_u_and_z_are_two_draws_of_the_stream() -> None:
    stream, block = stream_for(9, "weight"), facts((50, 40))
    z, u = streams.normal(stream, 0, 2000), streams.uniform01(stream, 0, 2000, draw=1)
    assert np.array_equal(fill("formula", block, 9, value="z").ravel(), z)
    assert np.array_equal(fill("formula", block, 9, value="u").ravel(), u)
    both = fill("formula", block, 9, value="0.5*z + u").ravel()
    assert np.array_equal(both, (0.5 * z.astype(np.float64) + u).astype(np.float32))


def test_facts_are_known_and_u_z_and_indices_hide_variables_of_their_names() -> None:
    block = block_of((4, 5), variables={"fan_in": 5, "shape": (4, 5), "i": 99, "z": 99})
    values = fill("formula", block, value="i + shape[1] * fan_in")
    assert np.array_equal(values, np.tile(np.arange(4)[:, None] + 25.0, 5))
    assert np.abs(fill("formula", block, value="z")).max() < 7


@pytest.mark.parametrize(
    ("formula", "mean", "std"),
    [
        ("0.25", 0.25, 0.0),
        ("u", 0.5, 1 / math.sqrt(12)),
        ("z", 0.0, 1.0),
        ("z**2", 1.0, ROOT2),
        ("exp(0.5*z)", math.exp(0.125), math.sqrt(math.exp(0.5) - math.exp(0.25))),
        ("-log(u)", 1.0, 1.0),
        ("u * z", 0.0, 1 / math.sqrt(3)),
        ("i + u", 2.0, math.sqrt(1.25 + 1 / 12)),
        ("j * z", 0.0, math.sqrt((1 + 4) / 3)),
        ("max(z, 0)", 1 / math.sqrt(2 * math.pi), math.sqrt(0.5 - 0.5 / math.pi)),
        ("1 if u < 0.1 else 0", 0.1, 0.3),
        ("z if u < 0.25 else 0", 0.0, 0.5),
    ],
)
def test_moments_of_formulas_by_quadrature(formula: str, mean: float, std: float) -> None:
    """Jumps are not met exactly: the law then knows how far it may be off."""
    found = law("formula", facts((4, 3)), value=formula)
    tolerance = 1e-3 if " else " in formula else 1e-4 if "log" in formula else 1e-7
    assert found.mean == pytest.approx(mean, abs=tolerance)
    assert found.std == pytest.approx(std, abs=5 * tolerance)


def test_the_error_of_a_jump_counts_however_many_elements_there_are() -> None:
    """Of 10¹² elements the mean's own error is 3e-7, less than the quadrature's."""
    found = law("formula", facts((10**6, 10**6)), value="1 if u < 0.1 else 0")
    assert abs(found.mean - 0.1) < 2 * found.mean_error
    assert abs(found.std**2 / 0.09 - 1) < 2 * math.sqrt(2 / found.freedom)
    smooth = law("formula", facts((10**6, 10**6)), value="u")
    assert smooth.mean_error == pytest.approx(1e-6 / math.sqrt(12), rel=1e-3)


@pytest.mark.parametrize("formula", ["1 / u", "z / u", "u ** -0.9", "i * j + u"])
def test_no_law_is_stated_where_quadrature_cannot_tell(formula: str) -> None:
    """A mean that a few draws decide, or more positions than evaluations."""
    assert INITIALIZERS["formula"].law(facts((2000, 3000)), {"value": formula}) is None


@pytest.mark.parametrize(
    ("formula", "shape", "dtype", "message"),
    [
        ("k + 1", (3, 4), "float32", "'k + 1': unknown name 'k'; known here: e, fan_in, hi, i, j, lo, pi, u, z"),
        ("log(j)", (3, 4), "float32", "'log(j)' has no finite value at j=0: log(j)"),
        ("sqrt(z)", (3, 4), "float32", "'sqrt(z)' has no finite value at z=-6.79947: sqrt(z)"),
        ("1e39 * u", (3, 4), "float32", "reaches 1e+39, past 3.40282e+38, the largest float32 that is drawn"),
        ("1e5 * u", (3, 4), "float16", "reaches 100000, past 65504, the largest float16 that is drawn"),
        ("exp(14*z)", (3, 4), "float32", "reaches 2.21225e+41, past 3.40282e+38, the largest float32 that is drawn"),
    ],
)
def test_formulas_without_a_value_are_refused(formula: str, shape: Shape, dtype: str, message: str) -> None:
    block = block_of(shape, dtype=dtype, variables=FACTS)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message follows
        INITIALIZERS["formula"].law(block, {"value": formula})
    assert str(caught.value) == message


# --- files ---------------------------------------------------------------------------------------

PRETRAINED = INITIALIZERS["pretrained"]
STATE = {
    "model.encoder.weight": torch.arange(6.0).reshape(2, 3),
    "model.encoder.bias": torch.tensor([0.5, -1.5], dtype=torch.bfloat16),
    "head.weight": torch.ones(4, dtype=torch.float64) / 3,
    "scale": torch.tensor(2.0),
}


@pytest.fixture(params=["safetensors", "pt", "ckpt"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"weights.{request.param}"
    if request.param == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE if request.param == "pt" else {"epoch": 3, "state_dict": STATE}, path)
    return path


def loaded(path: Path, name: str, shape: Shape, **given: Any) -> Array:
    arguments = read("pretrained", path=str(path), **given)
    block = block_of(shape, name=name)
    assert PRETRAINED.law(block, arguments) is None
    assert PRETRAINED.make is not None
    values = PRETRAINED.make(stream_for(0, name), block, arguments)
    assert values.dtype == np.float32
    assert values.shape == shape
    return values


def test_pretrained_values_by_name_key_and_prefix(saved: Path) -> None:
    weight = STATE["model.encoder.weight"].numpy()
    assert np.array_equal(loaded(saved, "model.encoder.weight", (2, 3)), weight)
    assert np.array_equal(loaded(saved, "whatever", (2, 3), key="model.encoder.weight"), weight)
    for name, prefix in (
        ("backbone.weight", {"backbone": "model.encoder"}),
        ("encoder.weight", {"": "model"}),
        ("net.model.encoder.weight", {"net": ""}),
        ("a.b.weight", {"a": "nothing", "a.b": "model.encoder"}),
        ("a.b.weight", {"a.b": "model.encoder", "": "nothing"}),
        ("renamed", {"renamed": "model.encoder.weight"}),
    ):
        assert np.array_equal(loaded(saved, name, (2, 3), prefix=prefix), weight)


def test_pretrained_values_of_other_dtypes_pass_through_float32(saved: Path) -> None:
    assert loaded(saved, "model.encoder.bias", (2,)).tolist() == [0.5, -1.5]
    assert loaded(saved, "head.weight", (4,)).tolist() == [np.float32(1 / 3)] * 4
    assert loaded(saved, "scale", ()) == 2


def test_a_prefix_ends_where_a_segment_ends(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"^finds no 'encoder2\.weight' in "):
        loaded(saved, "encoder2.weight", (2, 3), prefix={"encoder": "model.encoder"})


def refusal(path: Path, name: str = "weight", shape: Shape = (2, 3), **given: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is returned
        PRETRAINED.law(block_of(shape, name=name), read("pretrained", path=str(path), **given))
    return str(caught.value)


def test_keys_and_shapes_are_checked_before_any_value_is_read(saved: Path) -> None:
    assert refusal(saved, "encoder.weight") == (
        f"finds no 'encoder.weight' in {saved}; nearest of its 4 keys: "
        "'model.encoder.weight', 'head.weight', 'model.encoder.bias'"
    )
    assert refusal(saved, key="q") == (
        f"finds no 'q' in {saved}; nearest of its 4 keys: 'head.weight', 'model.encoder.bias', 'model.encoder.weight'"
    )
    assert refusal(saved, "model.encoder.weight", (3, 2)) == (
        f"finds 'model.encoder.weight' in {saved} with shape (2, 3), this is (3, 2)"
    )
    assert refusal(saved.with_name("gone.pt")) == f"cannot read {saved.with_name('gone.pt')}: No such file or directory"


def test_a_changed_file_is_read_again(saved: Path) -> None:
    if saved.suffix == ".safetensors":
        save_file({"w": torch.zeros(2)}, saved)
    else:
        torch.save({"w": torch.zeros(2)}, saved)
    os.utime(saved, ns=(1, 1))
    assert loaded(saved, "w", (2,)).tolist() == [0, 0]
    (save_file if saved.suffix == ".safetensors" else torch.save)({"w": torch.ones(2)}, saved)
    assert loaded(saved, "w", (2,)).tolist() == [1, 1]


class Malicious:
    """Unpickled without care, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "evil.pt"
    torch.save({"weight": Malicious(trap)}, path)
    assert refusal(path) == (
        f"cannot read {path} as weights only: it holds posix.mkdir, where only tensors and plain containers are read"
    )
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04 no archive", b"\x80\x02}q\x00."[:3]])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    assert refusal(path) == f"cannot read {path} as weights only: it is damaged, or no file of torch.save"
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    assert refusal(path).startswith(f"cannot read {path}: Error while deserializing header: ")


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save([torch.ones(2)], path)
    assert refusal(path) == f"finds no state_dict in {path}, but a list"
    torch.save({"model": {"weight": torch.ones(2)}, "epoch": 3}, path)
    os.utime(path, ns=(1, 1))
    assert refusal(path) == f"finds no tensor at the top level of {path}, nor under its 'state_dict'"


def test_safetensors_is_asked_for_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"")
    assert refusal(path) == f"needs safetensors to read {path}; pip install safetensors"


# --- functions of the user's own -----------------------------------------------------------------


def made(entry: Initializer, block: Block, seed: int = 0, **given: Any) -> Array:
    assert entry.make is not None
    assert entry.law(block, given) is None
    return entry.make(stream_for(seed, block.name), block, given)


def fancy_(tensor: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    return tensor.normal_().mul_(alpha)


def written_(tensor: torch.Tensor) -> None:
    tensor.uniform_(2, 3)


def returned(tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, 7, dtype=torch.float64)


def test_what_a_function_returns_counts_or_else_what_it_wrote() -> None:
    block = block_of((3, 4))
    assert made(called("pkg.returned", returned), block).tolist() == [[7] * 4] * 3
    values = made(called("pkg.written_", written_), block)
    assert values.min() >= 2
    assert values.dtype == np.float32
    doubled = made(called("pkg.fancy_", fancy_), block, alpha=2.0)
    assert np.array_equal(doubled, 2 * made(called("pkg.fancy_", fancy_), block))


def test_a_function_draws_from_the_parameters_stream_and_leaves_the_global_state() -> None:
    entry, block = called("pkg.fancy_", fancy_), block_of((50,))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = made(entry, block, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(made(entry, block, 5), first)
    assert not np.array_equal(made(entry, block, 6), first)
    assert not np.array_equal(made(entry, block_of((50,), name="other"), 5), first)
    assert entry.make is not None
    for key in (0, 2**63, 2**64 - 1):
        assert entry.make(streams.Stream(key), block, {}).std() > 0.5


def test_the_global_state_comes_back_when_a_function_fails() -> None:
    def failing_(tensor: torch.Tensor) -> None:
        tensor.normal_()
        raise RuntimeError("no")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"^no$"):
        made(called("pkg.failing_", failing_), block_of((3,)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda tensor: tensor[:1], "returned a tensor of shape (1, 4), not (3, 4)"),
        (lambda tensor: torch.zeros(()), "returned a tensor of shape (), not (3, 4)"),
        (lambda tensor: [tensor.resize_(5)], "left a tensor of shape (5,), not (3, 4)"),
    ],
)
def test_functions_that_change_the_shape_are_refused(function: Callable[..., object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message follows
        made(called("pkg.wrong", function), block_of((3, 4)))
    assert str(caught.value) == message


def test_a_function_sees_a_plain_float32_tensor_without_gradients() -> None:
    seen: list[tuple[Any, ...]] = []

    def look(tensor: torch.Tensor, **given: Any) -> None:
        seen.append((tensor.dtype, tensor.device.type, tuple(tensor.shape), torch.is_grad_enabled(), given))

    made(called("pkg.look", look), block_of((2, 3), dtype="bfloat16"), mode="x", depth=3)
    assert seen == [(torch.float32, "cpu", (2, 3), False, {"mode": "x", "depth": 3})]
