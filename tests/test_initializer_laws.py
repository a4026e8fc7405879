"""Initializers against their stated laws, against torch.nn.init, and against what they promise the audit.

Statistical tests fix their seeds, so each either passes for good or not. The rates are the chance that a correct
initializer would have failed with seeds not looked at: each comparison below is made at LEVEL, there are fewer than
1,000 of them, so that of the whole file is below 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from initializer_parts import DTYPES, Array, Shape, block_of, cast, errors, fill, law
from scipy import special, stats
from torch.nn import init

from initpolicy.gain import decide_gain
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Block, freedom, iid
from initpolicy.policy import Policy
from initpolicy.records import Signal
from initpolicy.streams import Stream

LEVEL = 1e-6
NEAR = float(special.ndtri(1 - LEVEL / 2))
"""Standard deviations that a normal value leaves at LEVEL: 4.9."""
SEEDS = (1, 2)
"""Of samples that are compared with each other; one does for a comparison with a law."""

# (out, in, kernel…): Linear, Conv1d, Conv2d, Conv3d; 60,000 elements each, or a few more
SHAPES: tuple[Shape, ...] = ((200, 300), (128, 96, 5), (72, 96, 3, 3), (48, 48, 3, 3, 3))


def normal(std: float, mean: float = 0.0) -> Any:
    return stats.norm(mean, std)


def uniform(low: float, high: float) -> Any:
    return stats.uniform(low, high - low)


def spread(std: float) -> Any:
    """The uniform law about 0 of this standard deviation."""
    return uniform(-math.sqrt(3) * std, math.sqrt(3) * std)


def truncated(std: float, low: float = -2.0, high: float = 2.0, mean: float = 0.0) -> Any:
    return stats.truncnorm(low, high, mean, std)


# --- Kolmogorov-Smirnov against the stated law ---------------------------------------------------

SIGMA2 = 0.879625661034240
"""Standard deviation of a standard normal truncated at 2; theory.md, and Keras' and JAX' constant."""
SLOPED = math.sqrt(2 / (1 + 0.2**2))
DT = "log(expm1(exp(u*(log(hi)-log(lo))+log(lo))))"


@dataclass(frozen=True)
class Case:
    """An initializer, its arguments, and its law as the literature states it, from (fan_in, fan_out)."""

    name: str
    stated: Callable[[float, float], Any]
    given: dict[str, Any] = field(default_factory=dict)
    view: Callable[[Array], Array] = np.ravel
    """The independent values among those of the tensor."""

    def __str__(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.given.items())])


CASES = (
    Case("normal", lambda i, o: normal(1.0)),
    Case("normal", lambda i, o: normal(0.02, 0.5), {"mean": 0.5, "std": 0.02}),
    Case("uniform", lambda i, o: uniform(-0.3, 0.7), {"a": -0.3, "b": 0.7}),
    Case("trunc_normal", lambda i, o: truncated(0.02), {"std": 0.02}),
    Case(
        "trunc_normal",
        lambda i, o: truncated(0.5, -1.0, 4.0, 1.0),
        {"mean": 1, "std": 0.5, "a": 0.5, "b": 3, "bounds": "absolute"},
    ),
    Case("trunc_normal", lambda i, o: truncated(1.0, 1.5, 3.0), {"a": 1.5, "b": 3, "bounds": "sigma"}),
    Case("xavier_normal", lambda i, o: normal(math.sqrt(2 / (i + o)))),
    Case("xavier_normal", lambda i, o: normal(5 / 3 * math.sqrt(2 / (i + o))), {"gain": 5 / 3}),
    Case("xavier_uniform", lambda i, o: spread(math.sqrt(2 / (i + o)))),
    Case("kaiming_normal", lambda i, o: normal(math.sqrt(2 / i)), {"gain": math.sqrt(2)}),
    Case("kaiming_normal", lambda i, o: normal(math.sqrt(2 / o)), {"gain": math.sqrt(2), "mode": "fan_out"}),
    Case("kaiming_normal", lambda i, o: normal(SLOPED / math.sqrt(i)), {"gain": SLOPED}),
    Case("kaiming_uniform", lambda i, o: uniform(-math.sqrt(6 / i), math.sqrt(6 / i)), {"gain": math.sqrt(2)}),
    Case("kaiming_uniform", lambda i, o: spread(math.sqrt(2 / o)), {"gain": math.sqrt(2), "mode": "fan_out"}),
    Case("lecun_normal", lambda i, o: normal(1 / math.sqrt(i))),
    Case("lecun_uniform", lambda i, o: uniform(-math.sqrt(3 / i), math.sqrt(3 / i))),
    Case("variance_scaling", lambda i, o: truncated(math.sqrt(1 / i) / SIGMA2)),
    Case(
        "variance_scaling",
        lambda i, o: truncated(math.sqrt(2 / o)),
        {"scale": 2, "mode": "fan_out", "corrected": False},
    ),
    Case(
        "variance_scaling",
        lambda i, o: normal(math.sqrt(0.1 / math.sqrt(i * o))),
        {"scale": 0.1, "mode": "fan_geo", "distribution": "untruncated_normal"},
    ),
    Case(
        "variance_scaling",
        lambda i, o: uniform(-math.sqrt(6 / (i + o)), math.sqrt(6 / (i + o))),
        {"mode": "fan_avg", "distribution": "uniform"},
    ),
    Case("exponential", lambda i, o: stats.expon(scale=1 / 3), {"rate": 3}),
    Case("log_normal", lambda i, o: stats.lognorm(0.5, scale=math.exp(-2)), {"mean": -2, "std": 0.5}),
    Case("log_uniform", lambda i, o: stats.loguniform(1e-3, 0.1), {"low": 1e-3, "high": 0.1}),
    Case("formula", lambda i, o: spread(1 / math.sqrt(3 * i)), {"value": "(2*u - 1) / sqrt(fan_in)"}),
    Case("formula", lambda i, o: normal(0.02), {"value": "0.02 * z"}),
    Case("formula", lambda i, o: stats.loguniform(1e-3, 0.1), {"value": DT}, lambda x: np.log1p(np.exp(np.ravel(x)))),
    Case(
        "icnr",
        lambda i, o: normal(math.sqrt(2 / i)),
        {"scale": 2, "gain": math.sqrt(2)},
        lambda x: x[:: 2 ** (x.ndim - 2)].ravel(),
    ),
)  # fmt: skip


def values_of(case: Case, shape: Shape, seeds: tuple[int, ...] = SEEDS[:1]) -> Array:
    """float64, of several seeds."""
    block = block_of(shape, variables={"fan_in": math.prod(shape[1:]), "lo": 1e-3, "hi": 0.1})
    return np.concatenate([case.view(fill(case.name, block, seed, **case.given).astype(np.float64)) for seed in seeds])


def follows(values: Array, stated: Any) -> bool:
    return bool(stats.kstest(values, stated.cdf).pvalue > LEVEL)


def stated_for(case: Case, shape: Shape) -> Any:
    return case.stated(math.prod(shape[1:]), shape[0] * math.prod(shape[2:]))


def shapes_for(case: Case) -> tuple[Shape, ...]:
    """Of icnr such that as many elements are left before they are repeated."""
    return ((256, 96, 5), (288, 96, 3, 3), (384, 48, 3, 3, 3)) if case.name == "icnr" else SHAPES


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_follow_the_stated_law(case: Case) -> None:
    """And the test sees a standard deviation that is 10 % off, and a mean that is 10 % of one off, at this size."""
    for shape in shapes_for(case):
        values, stated = values_of(case, shape), stated_for(case, shape)
        assert follows(values, stated), shape
    mean, std = stated.mean(), stated.std()
    for wrong in ((values - mean) * 1.1 + mean, (values - mean) / 1.1 + mean, values + 0.1 * std):
        assert not follows(wrong, stated)


# that of DT is checked by an integral of its own, in test_initializer_values
@pytest.mark.parametrize("case", [case for case in CASES if case.given.get("value") != DT], ids=str)
def test_moments_bounds_and_freedom_are_the_stated_laws(case: Case) -> None:
    """Of 10¹² elements, where the freedom is 2 n/(kurtosis - 1) and the quadrature of formulas must be exact."""
    shape = (10**6, 10**6, 1) if case.name == "icnr" else (10**6, 10**6)
    count = 10**12 // 2 if case.name == "icnr" else 10**12
    found = law(case.name, block_of(shape, variables={"fan_in": 10**6, "lo": 1e-3, "hi": 0.1}), **case.given)
    stated = stated_for(case, shape)
    mean, variance, excess = (float(moment) for moment in stated.stats("mvk"))
    assert found.mean == pytest.approx(mean, rel=1e-9, abs=1e-9 * math.sqrt(variance))
    assert found.std == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert found.mean_error == pytest.approx(math.sqrt(variance / count), rel=1e-6)
    assert 1 + 2 * count / found.freedom == pytest.approx(3 + excess, rel=1e-5)
    if case.name != "formula":
        low, high = stated.support()
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_every_continuous_elementwise_law_is_among_the_cases() -> None:
    elsewhere = {"constant", "zeros", "ones", "bernoulli", "poisson"}
    drawn = {name for name, entry in INITIALIZERS.items() if entry.make is None}
    assert drawn - elsewhere == {case.name for case in CASES} - {"icnr"}


@pytest.mark.parametrize("p", [0.5, 0.3, 0.01])
def test_bernoulli_follows_the_stated_law(p: float) -> None:
    values = fill("bernoulli", block_of((1000, 600)), 1, p=p)
    ones = int(values.sum(dtype=np.float64))
    assert set(np.unique(values)) == {0, 1}
    assert stats.binomtest(ones, values.size, p).pvalue > LEVEL
    assert stats.binomtest(round(ones * 1.1), values.size, p).pvalue < LEVEL


@pytest.mark.parametrize("rate", [0.2, 3.5, 100.0])
def test_poisson_follows_the_stated_law(rate: float) -> None:
    """Chi-square over the counts that are expected ten times or more, and the rest."""
    values = np.concatenate([fill("poisson", block_of((200, 300)), seed, rate=rate).ravel() for seed in SEEDS])

    def p_value(of: float) -> float:
        found = np.bincount(values.astype(int), minlength=1000)
        expected = len(values) * stats.poisson(of).pmf(np.arange(len(found)))
        often = expected >= 10
        found, expected = (
            np.append(found[often], found[~often].sum()),
            np.append(expected[often], expected[~often].sum()),
        )
        return float(stats.chi2(len(found) - 1).sf(np.sum((found - expected) ** 2 / np.maximum(expected, 1e-9))))

    assert p_value(rate) > LEVEL
    assert p_value(rate * 1.1) < LEVEL


# --- against torch.nn.init -----------------------------------------------------------------------

Fill = Callable[[torch.Tensor, torch.Generator], Any]


@dataclass(frozen=True)
class Twin:
    """One of ours, its arguments, and torch's function."""

    name: str
    torch: Fill
    given: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.given.items())])


GAIN = init.calculate_gain
TWINS = (
    Twin("normal", lambda t, g: init.normal_(t, 0.1, 0.02, generator=g), {"mean": 0.1, "std": 0.02}),
    Twin("uniform", lambda t, g: init.uniform_(t, -0.1, 0.3, generator=g), {"a": -0.1, "b": 0.3}),
    Twin("trunc_normal", lambda t, g: init.trunc_normal_(t, generator=g)),
    Twin(
        "trunc_normal",
        lambda t, g: init.trunc_normal_(t, 0.0, 0.02, -0.03, 0.05, generator=g),
        {"std": 0.02, "a": -0.03, "b": 0.05, "bounds": "absolute"},
    ),
    Twin("xavier_normal", lambda t, g: init.xavier_normal_(t, generator=g)),
    Twin("xavier_normal", lambda t, g: init.xavier_normal_(t, GAIN("tanh"), generator=g), {"gain": GAIN("tanh")}),
    Twin("xavier_uniform", lambda t, g: init.xavier_uniform_(t, generator=g)),
    Twin("xavier_uniform", lambda t, g: init.xavier_uniform_(t, 0.5, generator=g), {"gain": 0.5}),
    Twin(
        "kaiming_normal",
        lambda t, g: init.kaiming_normal_(t, nonlinearity="relu", generator=g),
        {"gain": GAIN("relu"), "nonlinearity": "relu"},
    ),
    Twin(
        "kaiming_normal",
        lambda t, g: init.kaiming_normal_(t, 0.2, "fan_out", generator=g),
        {"gain": GAIN("leaky_relu", 0.2), "mode": "fan_out", "a": 0.2},
    ),
    Twin(
        "kaiming_uniform",
        lambda t, g: init.kaiming_uniform_(t, math.sqrt(5), generator=g),
        {"gain": GAIN("leaky_relu", math.sqrt(5)), "a": math.sqrt(5)},
    ),
    Twin(
        "kaiming_uniform",
        lambda t, g: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="selu", generator=g),
        {"gain": GAIN("selu"), "mode": "fan_out", "nonlinearity": "selu"},
    ),
)


def torch_values(twin: Twin, shape: Shape, seeds: tuple[int, ...] = SEEDS) -> Array:
    """float64, of several seeds of a generator of their own."""
    filled = []
    for seed in seeds:
        tensor = torch.empty(shape)
        twin.torch(tensor, torch.Generator().manual_seed(seed))
        filled.append(tensor.double().numpy().ravel())
    return np.concatenate(filled)


def same(first: Array, second: Array) -> bool:
    return bool(stats.ks_2samp(first, second, method="asymp").pvalue > LEVEL)


@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_values_are_distributed_as_torchs(twin: Twin) -> None:
    """And the test sees a standard deviation that is 10 % off at this size."""
    for shape in SHAPES:
        ours = values_of(Case(twin.name, lambda i, o: None, twin.given), shape, SEEDS)
        theirs = torch_values(twin, shape)
        assert same(ours, theirs), shape
        assert not same((ours - ours.mean()) * 1.1 + ours.mean(), theirs), shape


@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_stated_moments_and_bounds_are_torchs(twin: Twin) -> None:
    """Their mean and standard deviation measured on 1e6 values, their extremes inside our bounds and near them."""
    shape = (1000, 1000)
    found, theirs = law(twin.name, block_of(shape), **twin.given), torch_values(twin, shape, (3,))
    assert max(abs(z) for z in errors(found, theirs)) < NEAR
    assert found.low - 1e-9 <= theirs.min()
    assert theirs.max() <= found.high + 1e-9
    if math.isfinite(found.low):
        assert theirs.min() == pytest.approx(found.low, abs=2e-3 * found.std)
        assert theirs.max() == pytest.approx(found.high, abs=2e-3 * found.std)


KAIMING = [twin for twin in TWINS if twin.name.startswith("kaiming")]


@pytest.mark.parametrize("twin", KAIMING, ids=str)
def test_kaimings_words_mean_the_gains_of_torch(twin: Twin) -> None:
    """The twins above are given torch's gain; nonlinearity and a alone lead to it too."""
    words = {key: value for key, value in twin.given.items() if key != "gain"}
    policy = Policy.model_validate({"rules": {"all": {"init": {"*": 0}}}})
    assert decide_gain(words, None, Signal(), policy)[0] == pytest.approx(twin.given["gain"], rel=1e-12)


@pytest.mark.parametrize("shape", [(200, 300), (64, 10), (10, 600)])
@pytest.mark.parametrize(("sparsity", "std"), [(0.1, 0.01), (0.75, 2.0), (0.0, 1.0)])
def test_sparse_is_distributed_as_torchs(shape: Shape, sparsity: float, std: float) -> None:
    """As many zeros in each column, every row's entry empty equally often, the rest normal."""
    seeds = range(10)
    ours = np.stack([fill("sparse", block_of(shape), seed, sparsity=sparsity, std=std) for seed in seeds])
    theirs = torch.empty(len(seeds), *shape)
    for seed in seeds:
        # torch takes the zeros' places from the global generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            init.sparse_(theirs[seed], sparsity, std)
    empty = ours == 0
    assert np.array_equal(empty.sum(1), (theirs == 0).sum(1).numpy())
    assert follows(ours[~empty].astype(np.float64), normal(std))
    assert not follows(ours[~empty].astype(np.float64) * 1.1, normal(std)) or empty.size < 50_000
    assert same(ours[~empty], theirs.numpy()[theirs.numpy() != 0])
    if sparsity:
        trials = ours.shape[0] * shape[1]
        share = empty[0].sum(0)[0] / shape[0]
        # Of one row the columns are independent, and rows sum to a constant: a chi-square of rows - 1 freedoms
        counts = empty.sum((0, 2))
        score = ((counts - trials * share) ** 2).sum() / (trials * share * (1 - share)) * (shape[0] - 1) / shape[0]
        assert stats.chi2(shape[0] - 1).sf(score) > LEVEL


HAAR = 3000
"""Matrices that a test of the orthogonal law draws."""


def haar(rows: int, columns: int) -> Array:
    block = block_of((rows, columns))
    return np.stack([fill("orthogonal", block, seed, gain=1).astype(np.float64) for seed in range(HAAR)])


def entry(size: int) -> Any:
    """An entry of a Haar orthogonal matrix of ``size`` rows: its square is Beta(1/2, (size - 1)/2), its sign even."""
    return stats.beta((size - 1) / 2, (size - 1) / 2, -1, 2)


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (6, 3), (3, 6), (20, 2)])
def test_orthogonal_entries_have_the_exact_law(rows: int, columns: int) -> None:
    """Each corner over 3,000 independent matrices: the exact Beta law, torch's own values, even signs."""
    ours, theirs = haar(rows, columns), torch.empty(HAAR, rows, columns)
    generator = torch.Generator().manual_seed(7)
    for matrix in theirs:
        init.orthogonal_(matrix, generator=generator)
    for place in ((0, 0), (rows - 1, 0), (0, columns - 1), (rows - 1, columns - 1)):
        values = ours[(slice(None), *place)]
        assert follows(values, entry(max(rows, columns)))
        assert same(values, theirs.numpy()[(slice(None), *place)])
        assert stats.binomtest(int((values > 0).sum()), HAAR).pvalue > LEVEL


def test_orthogonal_matrices_are_uniform_over_the_group() -> None:
    """Determinants are even, and for O(5) E[trace] = 0, E[trace²] = 1 (Diaconis and Shahshahani 1994)."""
    matrices = haar(5, 5)
    signs = np.linalg.det(matrices) > 0
    assert stats.binomtest(int(signs.sum()), HAAR).pvalue > LEVEL
    trace = np.trace(matrices, axis1=1, axis2=2)
    assert abs(trace.mean()) * math.sqrt(HAAR) < NEAR
    assert abs((trace**2).mean() - 1) / (trace**2).std() * math.sqrt(HAAR) < NEAR


def test_the_haar_tests_see_a_missing_sign_correction() -> None:
    """LAPACK's own Q has a first entry that is never above 0."""
    gauss = np.random.default_rng(0).standard_normal((HAAR, 5, 5))
    q = np.linalg.qr(gauss)[0]
    assert not follows(q[:, 0, 0], entry(5))
    assert stats.binomtest(int((q[:, 0, 0] > 0).sum()), HAAR).pvalue < LEVEL
    assert abs(np.trace(q, axis1=1, axis2=2).mean()) * math.sqrt(HAAR) > NEAR


# --- what a law promises the audit ---------------------------------------------------------------

ROOT2 = math.sqrt(2)
EXACT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("normal", {"mean": 3, "std": 0.1}),
    ("uniform", {"a": -1, "b": 3}),
    ("trunc_normal", {"std": 0.02}),
    ("trunc_normal", {"a": -0.5, "b": 3, "bounds": "sigma"}),
    ("trunc_normal", {"mean": 1, "std": 0.5, "a": 2, "b": 9, "bounds": "absolute"}),
    ("xavier_normal", {}),
    ("xavier_uniform", {"gain": 2}),
    ("kaiming_normal", {"gain": ROOT2}),
    ("kaiming_uniform", {"gain": ROOT2, "mode": "fan_out"}),
    ("lecun_normal", {}),
    ("lecun_uniform", {}),
    ("variance_scaling", {}),
    ("variance_scaling", {"distribution": "uniform", "mode": "fan_avg"}),
    ("variance_scaling", {"corrected": False, "scale": 3}),
    ("bernoulli", {"p": 0.2}),
    ("poisson", {"rate": 3}),
    ("poisson", {"rate": 0.5}),
    ("exponential", {"rate": 2}),
    ("log_normal", {"mean": -1, "std": 0.3}),
    ("log_uniform", {"low": 1e-3, "high": 0.1}),
    ("sparse", {"sparsity": 0.9, "std": 1}),
    ("sparse", {"sparsity": 0.1}),
    ("icnr", {"scale": 2, "gain": ROOT2}),
    ("icnr", {"scale": 2, "gain": ROOT2, "distribution": "uniform", "mode": "fan_out"}),
    ("formula", {"value": "0.02 * z + 0.01 * j"}),
    ("formula", {"value": DT}),
    ("formula", {"value": "z * u"}),
    ("formula", {"value": "max(z, 0) + i / 100"}),
)
"""Laws whose freedom is the variance's own."""
LOOSE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bernoulli", {"p": 0.5}),
    ("bernoulli", {"p": 0.48}),
    ("log_normal", {"std": 1.0}),
    ("orthogonal", {"gain": 2}),
    ("delta_orthogonal", {"gain": 1}),
    ("formula", {"value": "1 if u < 0.1 else 0"}),
    ("formula", {"value": "0.01 * z if u < 0.1 else 0"}),
    ("formula", {"value": "exp(z)"}),
    ("formula", {"value": "u ** -0.25"}),
)
"""Laws whose freedom leaves room: for atoms, for one far value, for the error of the quadrature."""


def shape_of(name: str, size: int = 1) -> Shape:
    return (24 * size, 32, 3, 3) if name in ("icnr", "delta_orthogonal") else (48 * size, 150)


def facts(shape: Shape) -> Block:
    return block_of(shape, variables={"lo": 1e-3, "hi": 0.1})


def scores(name: str, given: dict[str, Any], seeds: int = 40) -> Array:
    """(seeds, 2): z of mean and of variance."""
    block = facts(shape_of(name))
    found = law(name, block, **given)
    return np.array([errors(found, fill(name, block, seed, **given)) for seed in range(100, 100 + seeds)])


def is_standard(z: Array) -> bool:
    """The sum of squares of independent standard normals is a chi-square, on both sides."""
    total = float((z**2).sum())
    return bool(min(stats.chi2(len(z)).sf(total), stats.chi2(len(z)).cdf(total)) > LEVEL / 2)


@pytest.mark.parametrize(("name", "given"), EXACT)
def test_errors_of_mean_and_variance_are_standard(name: str, given: dict[str, Any]) -> None:
    z = scores(name, given)
    assert is_standard(z[:, 0])
    assert is_standard(z[:, 1])
    assert np.abs(z).max() < 6


@pytest.mark.parametrize(("name", "given"), LOOSE)
def test_errors_of_a_loose_variance_stay_inside(name: str, given: dict[str, Any]) -> None:
    z = scores(name, given)
    assert is_standard(z[:, 0]) or given.get("value", "").endswith("else 0")
    assert np.abs(z).max() < 6


HEAVY = ({"std": 1.0}, {"value": "exp(z)"})
"""Whose variance at 72,000 values one value may still change by a half."""


@pytest.mark.parametrize(("name", "given"), [*EXACT, *LOOSE])
def test_a_wrong_deviation_and_a_wrong_mean_are_seen(name: str, given: dict[str, Any]) -> None:
    """A deviation 20 % off, and a mean off by 20 % of it, lie further than six standard errors at 70,000 values."""
    block = facts(shape_of(name, 10))
    found, values = law(name, block, **given), fill(name, block, 5, **given).astype(np.float64)
    assert max(map(abs, errors(found, values))) < NEAR
    assert (errors(found, (values - found.mean) * 1.2 + found.mean)[1] > 6) == (given not in HEAVY)
    assert errors(found, values + 0.2 * found.std)[0] > 6


TINY = (1, 2, 3, 5, 8, 12, 20, 50)
SKEWED = ("exponential", "formula", "log_normal", "poisson")


@pytest.mark.parametrize(("name", "given"), [*EXACT, *LOOSE])
def test_few_values_are_not_taken_for_wrong_ones(name: str, given: dict[str, Any]) -> None:
    """800 tensors of 1 to 50 elements: no variance strays six errors, and of a skewed law at most two means do."""
    shapes = [(4, size, 1, 1) if len(shape_of(name)) == 4 else (size, 1) for size in TINY]
    z = np.array(
        [
            errors(promised, fill(name, block, seed, **given))
            for block in map(facts, shapes)
            for promised in [law(name, block, **given)]
            if promised.std > 0
            for seed in range(100)
        ]
    )
    assert len(z) >= 300  # a column of few rows may be all zeros, whose moments are certain
    assert (np.abs(z[:, 0]) >= 6).sum() <= (2 if name in SKEWED else 0)
    assert np.abs(z[:, 1]).max() < 6


@pytest.mark.parametrize(
    ("name", "given", "size", "kurtosis"),
    [
        ("uniform", {"a": 0, "b": 1}, 7, 1.8),
        ("bernoulli", {"p": 0.45}, 50, 1 / (0.45 * 0.55) - 3),
        ("poisson", {"rate": 0.3}, 25, 3 + 1 / 0.3),
        ("log_normal", {"std": 1.0}, 200, 113.936),
    ],
)
def test_the_chi_square_of_many_values_would_blame_few(
    name: str, given: dict[str, Any], size: int, kurtosis: float
) -> None:
    """Of all tensors of so many elements in 2e6 draws none strays; by 2 n/(kurtosis - 1) some would."""
    table = fill(name, block_of((2_000_000,)), 3, **given).astype(np.float64)
    table = table[: len(table) // size * size].reshape(-1, size)
    promised = law(name, block_of((size,)), **given)

    def strays(of: float) -> int:
        unit = 2 / (9 * max(of, 1.0))
        z = (np.cbrt(table.var(1) / promised.std**2) - (1 - unit)) / math.sqrt(unit)
        return int((np.abs(z) > 6).sum())

    assert strays(promised.freedom) == 0
    assert strays(2 * size / (kurtosis - 1)) > 0


def test_freedom_is_that_of_a_chi_square_for_many_values() -> None:
    for kurtosis in (1.8, 3.0, 9.0):
        for options in ({}, {"reach": 6.8}, {"atoms": 1.0}):
            assert freedom(10**12, kurtosis, **options) == pytest.approx(2e12 / (kurtosis - 1), rel=1e-4)


# --- dtypes --------------------------------------------------------------------------------------

HALVES = ("bfloat16", "float16")
BOUNDED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("uniform", {"a": -1, "b": 1}),
    ("uniform", {"a": 0.1, "b": 1 / 3}),
    ("trunc_normal", {}),
    ("trunc_normal", {"std": 0.02}),
    ("trunc_normal", {"std": 0.02, "a": -2, "b": 2, "bounds": "absolute"}),
    ("trunc_normal", {"mean": 0.3, "std": 2, "a": 0.3, "b": 0.32, "bounds": "absolute"}),
    ("trunc_normal", {"a": 3, "b": 4, "bounds": "sigma"}),
    ("xavier_uniform", {}),
    ("kaiming_uniform", {"gain": ROOT2}),
    ("lecun_uniform", {}),
    ("variance_scaling", {}),
    ("variance_scaling", {"distribution": "uniform"}),
    ("exponential", {}),
    ("log_normal", {}),
    ("log_uniform", {"low": 0.001, "high": 0.1}),
    ("icnr", {"scale": 2, "gain": ROOT2, "distribution": "uniform"}),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "given"), BOUNDED)
def test_nothing_lies_on_or_past_the_bounds_in_any_dtype(name: str, given: dict[str, Any], dtype: str) -> None:
    block = block_of((400, 128, 1) if name == "icnr" else (400, 128), dtype=dtype)
    found, values = law(name, block, **given), fill(name, block, 9, **given)
    assert math.isfinite(found.low)
    after = cast(values, dtype)
    assert found.low < after.min()
    assert after.max() < found.high


OUTERMOST = np.array([0, 1, 2**32 - 1, 2**32 - 2, 2**31, 2**31 - 1, 0, 2**32 - 1], np.uint32)
NARROW: tuple[tuple[str, dict[str, Any]], ...] = (
    ("exponential", {"rate": 1e3}),
    ("log_normal", {"mean": -12}),
    ("log_uniform", {"low": 1 / 3, "high": 1 / 2}),
    ("uniform", {"a": 1 / 3, "b": 1 / 2}),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "given"), [*BOUNDED, *NARROW])
def test_nor_do_the_draws_of_the_outermost_words(
    name: str, given: dict[str, Any], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(stream: Stream, start: int, stop: int, draw: int, made: Callable[[Array], Array], of: Any) -> Array:
        """In four planes, as the laws take them."""
        return made(np.stack([np.roll(OUTERMOST, shift) for shift in (0, 1, 3, 5)])).reshape(-1)

    monkeypatch.setattr("initpolicy.streams.draws.draw_table", table)
    monkeypatch.setattr("initpolicy.streams.inverse.draw_table", table)
    block = block_of((8, 8, 1) if name == "icnr" else (8, 4), dtype=dtype)
    found, after = law(name, block, **given), cast(fill(name, block, **given), dtype)
    assert found.low < after.min()
    assert after.max() < found.high


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", [{"std": 0.02}, {"std": 1.0, "a": -1, "b": 1, "bounds": "sigma"}])
def test_pt155588_tt2269_pt174997_truncated_normals_in_half_precision(given: dict[str, Any], dtype: str) -> None:
    """Nothing on or past the bounds, no mass heaped up at them, the deviation right to 0.3 %.

    1e6 values: the standard deviation's own error is 0.06 %; the outermost number of the dtype takes the share of the
    law that lies nearest to it, to 4.9 deviations of a Poisson count.
    """
    block = block_of((1000, 1000), dtype=dtype)
    found, after = law("trunc_normal", block, **given), cast(fill("trunc_normal", block, 4, **given), dtype)
    assert found.low < after.min()
    assert after.max() < found.high
    assert after.std() == pytest.approx(found.std, rel=3e-3)
    edge = given.get("b", 2.0)
    stated = truncated(given["std"], -edge, edge)
    numbers = np.unique(np.abs(after))
    inner = (numbers[-1] + numbers[-2]) / 2
    expected = len(after.ravel()) * 2 * stated.sf(inner)
    if dtype in HALVES:
        assert abs((np.abs(after) == numbers[-1]).sum() - expected) < NEAR * math.sqrt(expected)


RANDOM: tuple[tuple[str, dict[str, Any]], ...] = (*EXACT, *LOOSE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "given"), RANDOM)
def test_values_depend_on_the_dtype_by_rounding_only(name: str, given: dict[str, Any], dtype: str) -> None:
    """Rounded to the dtype they are the float32 values rounded, but for those that would lie on or past a bound."""
    shape = shape_of(name)
    block = block_of(shape, dtype=dtype, variables={"lo": 1e-3, "hi": 0.1})
    found = law(name, block, **given)
    single, here = cast(fill(name, facts(shape), 6, **given), dtype), cast(fill(name, block, 6, **given), dtype)
    outside = (single <= found.low) | (single >= found.high)
    assert np.array_equal(single[~outside], here[~outside])
    assert outside.mean() < 0.05
    assert max(map(abs, errors(found, here))) < NEAR or given in HEAVY


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(64, 64), (30, 100), (16, 8, 3, 3)])
def test_pt9315_orthogonal_in_half_precision(shape: Shape, dtype: str) -> None:
    """The float32 matrix, rounded: its columns are orthonormal to the dtype's rounding."""
    values = fill("orthogonal", block_of(shape, dtype=dtype), 2, gain=1)
    assert np.array_equal(values, fill("orthogonal", block_of(shape), 2, gain=1))
    q = cast(values, dtype).reshape(shape[0], -1)
    q = q if q.shape[0] >= q.shape[1] else q.T
    rounding = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    assert np.abs(q.T @ q - np.eye(q.shape[1])).max() < 2 * rounding
    assert np.abs(q.T @ q - np.eye(q.shape[1])).max() > rounding / 100


# --- scales --------------------------------------------------------------------------------------


@pytest.mark.parametrize("law_name", ["lecun_normal", "lecun_uniform"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pt54055_lecun_has_variance_one_over_fan_in(law_name: str, shape: Shape) -> None:
    """What self-normalizing nets need, where calculate_gain('selu') would give 9/16."""
    fan_in = math.prod(shape[1:])
    found, values = law(law_name, block_of(shape)), fill(law_name, block_of(shape), 8)
    assert found.std**2 * fan_in == pytest.approx(1, rel=1e-12)
    assert abs(errors(found, values)[1]) < NEAR
    assert float(values.var(dtype=np.float64)) * fan_in == pytest.approx(1, abs=0.03)


def test_normal_and_uniform_families_are_one_direction_at_two_scales() -> None:
    """The key holds no initializer: He over Xavier of one seed is one number."""
    for law_name in ("normal", "uniform"):
        he, xavier = (fill(f"{kind}_{law_name}", block_of((40, 60)), 3, gain=1) for kind in ("kaiming", "xavier"))
        ratio = he.astype(np.float64) / xavier
        assert ratio == pytest.approx(math.sqrt(100 / 120), rel=1e-6)


def test_iid_of_nothing_and_of_constants_leaves_nothing_to_chance() -> None:
    for found in (iid("normal", 0, mean=1, std=2, kurtosis=3), iid("bernoulli", 5, mean=1, std=0, kurtosis=1)):
        assert (found.mean_error, found.freedom) == (0, math.inf)
