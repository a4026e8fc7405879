"""The random stream: known answers, any cut, the laws, accuracy, exact constants, open bounds.

Statistical tests fix their seeds, so each either passes for good or not; the rates stated are the
chance that a correct stream would have failed with seeds not looked at.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from initpolicy import streams
from initpolicy.streams import BLOCK, PLANE, Stream, stream_for
from initpolicy.streams.exact import tails

GOLDEN = json.loads((Path(__file__).parent / "golden" / "streams.json").read_text())
INF = math.inf
COUNT = 200_003
ALL = 2**32 - 1

Array = NDArray[Any]
Draw = Callable[[Stream, int, int, int], Array]


def log_normal(stream: Stream, start: int, stop: int, draw: int) -> Array:
    return streams.exp32(streams.normal(stream, start, stop, draw))


def truncated(low: float, high: float) -> Draw:
    return lambda stream, start, stop, draw: streams.truncated(stream, start, stop, low, high, draw)


DRAWS: dict[str, Draw] = {
    "words": streams.words,
    "uniform01": streams.uniform01,
    "centred": streams.centred,
    "normal": streams.normal,
    "exponential": streams.exponential,
    "log_normal": log_normal,
    "bernoulli 0.3": lambda stream, start, stop, draw: streams.bernoulli(stream, start, stop, 0.3, draw),
    "poisson 3.5": lambda stream, start, stop, draw: streams.poisson(stream, start, stop, 3.5, draw),
    "truncated -2 2": truncated(-2, 2),
    "truncated -0.1 0.3": truncated(-0.1, 0.3),
    "truncated 3 inf": truncated(3, INF),
    "truncated -6 -5": truncated(-6, -5),
}
KEYS = {"zero": Stream(0), "named": stream_for(2**63 - 1, "blocks.0.attn.qkv.weight"), "ones": Stream(2**64 - 1)}
WHOLE = {name: draw(KEYS["named"], 0, 3 * BLOCK, 7) for name, draw in DRAWS.items()}


# --- known answers -------------------------------------------------------------------------------

# Random123, tests/kat_vectors, "philox4x32 10": counter, key, output
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def unhex(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, output: str) -> None:
    c0, c1, c2, c3 = unhex(counter)
    k0, k1 = unhex(key)
    assert tuple(int(word) for word in streams.philox((c0, c1, c2, c3), (k0, k1))) == unhex(output)


def test_philox_of_arrays_is_philox_of_each() -> None:
    table = np.array([unhex(counter) for counter, _, _ in KNOWN], np.uint32).T
    out = np.stack(streams.philox((table[0], table[1], table[2], table[3]), (5, 6)))
    for column in range(len(KNOWN)):
        c0, c1, c2, c3 = (int(word) for word in table[:, column])
        assert [int(word) for word in streams.philox((c0, c1, c2, c3), (5, 6))] == out[:, column].tolist()


@pytest.mark.parametrize("element", [0, PLANE - 1, PLANE, BLOCK - 1, BLOCK, 5 * BLOCK + 3 * PLANE + 17, 2**50 + 40_000])
@pytest.mark.parametrize("draw", [0, 1, ALL])
def test_the_layout_of_words(element: int, draw: int) -> None:
    stream = Stream(0x0123456789ABCDEF)
    block, rest = divmod(element, BLOCK)
    plane, position = divmod(rest, PLANE)
    out = streams.philox((position, block & ALL, block >> 32, draw), (0x89ABCDEF, 0x01234567))
    assert streams.words(stream, element, element + 1, draw).tolist() == [int(out[plane])]


def test_streams_are_keyed_by_seed_and_name() -> None:
    assert stream_for(0, "weight") == Stream(GOLDEN["stream 0 weight"])
    assert stream_for(7, "größe.weight") == Stream(GOLDEN["stream 7 größe.weight"])
    assert len({stream_for(seed, name).key for seed in (0, 1, 2**63 - 1) for name in ("", "a", "b", "a.b")}) == 12


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_have_63_bits(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"^a seed is a whole number from 0 to 2\*\*63 - 1, not {seed}$"):
        stream_for(seed, "weight")


def digest(values: Array) -> str:
    return sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", DRAWS)
def test_whole_tensors_have_their_known_digests(name: str, key: str) -> None:
    for draw in (0, 1):
        values = DRAWS[name](KEYS[key], 0, COUNT, draw)
        assert values.dtype == (np.uint32 if name == "words" else np.float32)
        assert digest(values) == GOLDEN["sha256"][f"{name}, key {key}, draw {draw}"]


def test_chosen_rows_have_their_known_digests() -> None:
    for rows, columns, count in ((1, 3, 1), (10, 7, 3), (300, 5000, 30)):
        mask = streams.choose(KEYS["named"], rows, columns, count, 1)
        assert digest(mask.astype(np.uint8)) == GOLDEN["sha256"][f"choose {rows} {columns} {count}"]


def test_this_machine_rounds_exactly() -> None:
    """What the arithmetic rests on: float64 has over twice float32's bits, so rounding it twice is innocuous."""
    a, b = (streams.words(KEYS["zero"], 0, 2**20, draw) for draw in (0, 1))
    x, y = ((word >> np.uint32(2) | np.uint32(0x20000000)).view(np.float32) for word in (a, b))
    wide, other = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        assert np.array_equal(np.sqrt(x), np.sqrt(wide).astype(np.float32))
        assert np.array_equal(x / y, (wide / other).astype(np.float32))
        assert np.array_equal(x * y, (wide * other).astype(np.float32))
    assert np.array_equal(a.astype(np.float32), a.astype(np.float64).astype(np.float32))
    assert np.array_equal(a.view(np.int32).astype(np.float32), a.view(np.int32).astype(np.float64).astype(np.float32))


# --- any cut gives the same bytes ----------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(DRAWS)),
    start=st.one_of(st.integers(0, 3 * BLOCK), st.sampled_from([PLANE - 1, BLOCK - 5, BLOCK, 2 * BLOCK + PLANE])),
    length=st.one_of(st.integers(0, 40), st.integers(0, 2 * BLOCK), st.sampled_from([PLANE - 1, PLANE, PLANE + 1])),
)
def test_any_cut_gives_the_same_bytes(name: str, start: int, length: int) -> None:
    stop = min(start + length, 3 * BLOCK)
    piece = DRAWS[name](KEYS["named"], start, stop, 7)
    assert piece.dtype == WHOLE[name].dtype
    assert piece.tobytes() == WHOLE[name][start:stop].tobytes()


def test_a_small_tensor_makes_only_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = streams.blocks.philox

    def counting(counter: Any, key: Any) -> Any:
        made.append(len(counter[0]))
        return original(counter, key)

    monkeypatch.setattr(streams.blocks, "philox", counting)
    streams.normal(KEYS["zero"], 0, 10)
    streams.normal(KEYS["zero"], PLANE - 3, PLANE + 2)
    streams.normal(KEYS["zero"], 0, 2 * BLOCK + 1)
    assert made == [10, 5, PLANE, PLANE, 1]


@pytest.mark.parametrize(
    ("start", "stop", "draw", "message"),
    [
        (-1, 5, 0, r"a range of elements needs 0 <= start <= stop, not \[-1, 5\)"),
        (6, 5, 0, r"a range of elements needs 0 <= start <= stop, not \[6, 5\)"),
        (0, 5, 2**32, "draw is a 32-bit word, not 4294967296"),
        (0, 5, -1, "draw is a 32-bit word, not -1"),
    ],
)
def test_impossible_ranges_are_refused(start: int, stop: int, draw: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        streams.normal(KEYS["zero"], start, stop, draw)


# --- the laws ------------------------------------------------------------------------------------

SIZE = 1_000_000
LAWS: list[tuple[str, Draw, Any]] = [
    ("uniform01", streams.uniform01, stats.uniform()),
    ("centred", streams.centred, stats.uniform(-1, 2)),
    ("normal", streams.normal, stats.norm()),
    ("exponential", streams.exponential, stats.expon()),
    ("log_normal", log_normal, stats.lognorm(1)),
    *(
        (f"truncated {low} {high}", truncated(low, high), stats.truncnorm(low, high))
        for low, high in [(-2, 2), (3, INF), (5, 6), (-0.1, 0.1), (-INF, -4), (-3, 0.5), (-INF, INF), (0, 1)]
    ),
]


def same_law(values: Array, law: Any) -> bool:
    """Kolmogorov-Smirnov at a false-alarm rate of 1e-4."""
    return bool(stats.kstest(values.astype(np.float64), law.cdf).pvalue > 1e-4)


@pytest.mark.parametrize(("name", "draw", "law"), LAWS, ids=[name for name, _, _ in LAWS])
def test_each_law_is_what_it_says(name: str, draw: Draw, law: Any) -> None:
    """False-alarm rate 1e-4 a seed, 2.6e-3 for all."""
    for seed in (11, 12):
        assert same_law(draw(stream_for(seed, name), 0, SIZE, 0), law)


def test_the_law_test_sees_small_errors() -> None:
    values = streams.normal(stream_for(11, "normal"), 0, SIZE)
    assert not same_law(values * np.float32(1.01), stats.norm())
    assert not same_law(values + np.float32(0.005), stats.norm())


def test_the_normal_tails() -> None:
    """3e7 normals: counts beyond 3, 4 and 5 sigma within 4.5 Poisson deviations a side (rate 4e-5)."""
    count, total = np.zeros((3, 2)), 30_000_000
    least, most = INF, -INF
    for start in range(0, total, 2_000_000):
        values = streams.normal(stream_for(3, "tails"), start, start + 2_000_000)
        least, most = min(least, float(values.min())), max(most, float(values.max()))
        count += [[np.sum(values < -edge), np.sum(values > edge)] for edge in (3, 4, 5)]
    expected = total * special.ndtr([[-3.0], [-4.0], [-5.0]])
    assert np.all(np.abs(count - expected) < 4.5 * np.sqrt(expected))
    # P(no value beyond 4.9 on a side) = exp(-14)
    assert least < -4.9
    assert most > 4.9
    assert max(-least, most) > 5.3


def test_the_outermost_words() -> None:
    first, last = np.array([0], np.uint32), np.array([ALL], np.uint32)
    turn = np.array([0x2468ACE0], np.uint32)
    for word, radius in ((first, math.sqrt(66 * math.log(2))), (last, 2.0**-16)):
        x, y = streams.box_muller(word, turn)
        assert math.hypot(x[0], y[0]) == pytest.approx(radius, rel=1e-6)
    assert streams.minus_log_word(last)[0] == np.float32(2.0**-33)
    edges = np.concatenate([first, last])
    whole = streams.quantile(edges, streams.interval(-INF, INF))
    assert whole.tolist() == pytest.approx([-6.337957, 6.337957], abs=1e-5)


def test_uniforms_are_open_symmetric_and_evenly_spaced() -> None:
    values = WHOLE["centred"]
    assert np.array_equal(np.unique(np.abs(values) * 2**23 % 1), [0.5])
    assert np.max(np.abs(values)) < 1
    assert WHOLE["uniform01"].min() > 0
    assert WHOLE["uniform01"].max() < 1
    assert np.max(np.abs(2 * WHOLE["uniform01"].astype(np.float64) - 1 - values)) <= 2.0**-23


def correlations(first: Array, second: Array) -> list[float]:
    """sqrt(n) times the correlation of the values, of their squares, and of the two crossed."""
    pairs = [(first, second), (first**2, second**2), (first, second**2), (first**2, second)]
    return [abs(np.corrcoef(a, b)[0, 1]) * math.sqrt(len(a)) for a, b in pairs]


def test_planes_positions_draws_and_keys_are_independent() -> None:
    """68 standard normals within 4.8: false-alarm rate 1.1e-4."""
    rows = streams.normal(stream_for(5, "a"), 0, 16 * BLOCK).reshape(16, 4, PLANE).astype(np.float64)
    planes = [rows[:, plane].ravel() for plane in range(4)]
    base = rows.ravel()
    others: dict[str, Array] = {
        "next key": streams.normal(Stream(stream_for(5, "a").key ^ 1), 0, len(base)),
        "next high key": streams.normal(Stream(stream_for(5, "a").key ^ 1 << 32), 0, len(base)),
        "next seed": streams.normal(stream_for(6, "a"), 0, len(base)),
        "next name": streams.normal(stream_for(5, "b"), 0, len(base)),
        "next draw": streams.normal(stream_for(5, "a"), 0, len(base), 1),
        "next block": streams.normal(stream_for(5, "a"), BLOCK, len(base) + BLOCK),
        "far block": streams.normal(stream_for(5, "a"), 2**48, 2**48 + len(base)),
        "one on": np.roll(base, 1),
        "two on": np.roll(base, 2),
        "a row on": np.roll(base, 1024),
    }
    found = {f"planes {i} {j}": correlations(planes[i], planes[j]) for i in range(4) for j in range(i)}
    found |= {name: correlations(base, other.astype(np.float64)) for name, other in others.items()}
    found |= {"uniform": correlations(WHOLE["centred"][::2], WHOLE["centred"][1::2])}
    assert {name: size for name, size in found.items() if max(size) > 4.8} == {}


def test_pairs_fill_the_circle_evenly() -> None:
    """Angles of Box-Muller pairs are uniform and do not depend on the radius: rate 3e-4."""
    table = streams.normal(stream_for(8, "circle"), 0, 16 * BLOCK).reshape(16, 4, PLANE).astype(np.float64)
    x, y = table[:, 0].ravel(), table[:, 1].ravel()
    angle, square = np.arctan2(y, x), x * x + y * y
    assert same_law(angle, stats.uniform(-np.pi, 2 * np.pi))
    assert same_law(square, stats.chi2(2))
    assert same_law(angle[square > 4], stats.uniform(-np.pi, 2 * np.pi))


@pytest.mark.parametrize("p", [0.0, 1.0, 0.5, 0.3, 1e-4, 1 - 2.0**-40])
def test_bernoulli_counts(p: float) -> None:
    """Ones within 4.5 deviations of n p: rate 7e-6 each; exactly n p where p is 0 or 1."""
    values = streams.bernoulli(stream_for(1, "coin"), 0, SIZE, p)
    assert set(np.unique(values)) <= {0.0, 1.0}
    assert abs(float(values.sum(dtype=np.float64)) - SIZE * p) <= 4.5 * math.sqrt(SIZE * p * (1 - p))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_bernoulli_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=rf"^a probability is a number from 0 to 1, not {p:g}$"):
        streams.bernoulli(KEYS["zero"], 0, 1, p)


@pytest.mark.parametrize("rate", [0.01, 1.0, 3.5, 40.0, 1000.0])
def test_poisson_counts_and_thresholds(rate: float) -> None:
    """Chi-square over the values expected ten times or more: rate 1e-4 each."""
    thresholds = np.array(streams.poisson_thresholds(rate), np.float64)
    exact = stats.poisson(rate).cdf(np.arange(len(thresholds))) * 2**32
    assert np.max(np.abs(thresholds - exact)) < 0.51 + 2**32 * 1e-11
    values = streams.poisson(stream_for(2, "count"), 0, SIZE, rate)
    found = np.bincount(values.astype(np.int64), minlength=len(thresholds) + 1)
    expected = SIZE * np.diff(np.concatenate([[0], thresholds, [2**32]])) / 2**32
    often = expected >= 10
    found, expected = np.append(found[often], found[~often].sum()), np.append(expected[often], expected[~often].sum())
    statistic = np.sum((found - expected) ** 2 / np.maximum(expected, 1e-9))
    assert stats.chi2(len(found) - 1).sf(statistic) > 1e-4


def test_the_words_at_the_edges_of_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = streams.poisson_thresholds(2.0)[:2]
    edges = np.array([0, first - 1, first, second - 1, second, ALL], np.uint32)
    monkeypatch.setattr(streams.draws, "draw_table", lambda stream, start, stop, draw, law, dtype: law(edges))
    assert streams.poisson(Stream(0), 0, 6, 2.0).tolist() == [0, 0, 1, 1, 2, len(streams.poisson_thresholds(2.0))]
    assert streams.bernoulli(Stream(0), 0, 6, first / 2**32).tolist() == [1, 1, 0, 0, 0, 0]
    assert streams.bernoulli(Stream(0), 0, 6, 1.0).tolist() == [1] * 6
    assert streams.bernoulli(Stream(0), 0, 6, 0.0).tolist() == [0] * 6


def test_poisson_of_rate_zero_is_zero_and_rates_have_a_limit() -> None:
    assert not streams.poisson(KEYS["zero"], 0, 1000, 0.0).any()
    for rate in (-1.0, 1001.0, math.nan):
        with pytest.raises(ValueError, match=rf"^a Poisson rate is a number from 0 to 1000, not {rate:g}$"):
            streams.poisson(KEYS["zero"], 0, 1, rate)


@pytest.mark.parametrize(("rows", "columns", "count"), [(10, 1, 3), (7, 40_000, 2), (50, 31, 0), (6, 9, 6), (1, 1, 1)])
def test_each_column_has_its_chosen_rows(rows: int, columns: int, count: int) -> None:
    """Rows are chosen equally often: chi-square, rate 1e-4."""
    mask = streams.choose(stream_for(4, "sparse"), rows, columns, count)
    assert mask.shape == (rows, columns)
    assert mask.dtype == np.bool_
    assert np.array_equal(mask.sum(0), np.full(columns, count))
    words = streams.words(stream_for(4, "sparse"), 0, rows * columns).reshape(columns, rows)
    rank = np.argsort(np.argsort(words, axis=1, kind="stable"), axis=1, kind="stable")
    assert np.array_equal(mask.T, rank < count)
    if 0 < count < rows and columns > 1000:
        often = mask.sum(1)
        deviation = columns * count / rows * (1 - count / rows) * rows / (rows - 1)
        assert stats.chi2(rows - 1).sf(np.sum((often - columns * count / rows) ** 2) / deviation) > 1e-4


def test_equal_words_are_told_apart_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.draws, "words", lambda stream, start, stop, draw: np.full(stop - start, 9, np.uint32))
    assert np.array_equal(streams.choose(Stream(0), 5, 2, 2), np.arange(5)[:, None] < np.array([2, 2]))


def test_more_rows_than_there_are_cannot_be_chosen() -> None:
    for count in (-1, 4):
        with pytest.raises(ValueError, match=rf"^cannot choose {count} of 3 rows$"):
            streams.choose(Stream(0), 3, 2, count)


# --- accuracy ------------------------------------------------------------------------------------


def grid() -> NDArray[np.uint32]:
    """Words: both ends whole, log-spaced towards both, the neighbourhood of every switch, and at random."""
    spaced = (2.0 ** np.linspace(0, 31.99, 40_000)).astype(np.int64)
    middles = [0x40000000, 0x80000000, 0xB504F333, 0xC0000000]
    near = np.concatenate([np.arange(middle - 2000, middle + 2000) for middle in middles])
    some = streams.words(KEYS["zero"], 0, 300_000).astype(np.int64)
    return np.concatenate([np.arange(5000), ALL - np.arange(5000), spaced, ALL - spaced, near, some]).astype(np.uint32)


def relative(values: Array, exact: Array) -> float:
    return float(np.max(np.abs(values.astype(np.float64) / exact - 1)))


def test_the_logarithm_of_a_word() -> None:
    words = grid()
    below, above = ((word.astype(np.float64) + 0.5) / 2**32 for word in (words, ~words))
    exact = np.where(below < 0.5, -np.log(below), -np.log1p(-above))
    assert relative(streams.minus_log_word(words), exact) < 2.0e-7


def test_the_logarithm_of_a_number() -> None:
    x = (2.0 ** np.linspace(-125, -0.42, 500_000)).astype(np.float32)
    assert relative(streams.minus_log(x), -np.log(x.astype(np.float64))) < 2.0e-7
    assert relative(streams.minus_log(x, 60), 60 * math.log(2) - np.log(x.astype(np.float64))) < 2.0e-7


def test_sine_and_cosine() -> None:
    words = grid()
    x, y = streams.box_muller(np.zeros_like(words), words)
    angle = ((words << np.uint32(2)) | np.uint32(2)).view(np.int32) * (np.pi * 2.0**-33)
    cosine, sine = np.where(words >> np.uint32(31), -1, 1) * np.cos(angle), np.sin(angle)
    swap = (words >> np.uint32(30) & np.uint32(1)).astype(bool)
    radius = math.sqrt(66 * math.log(2))
    assert relative(x, radius * np.where(swap, sine, cosine)) < 2.5e-7
    assert relative(y, radius * np.where(swap, cosine, sine)) < 2.5e-7


def test_the_exponential_function() -> None:
    x = np.linspace(-87.33, 88.72, 1_000_001).astype(np.float32)
    assert relative(streams.exp32(x), np.exp(x.astype(np.float64))) < 1.0e-7
    edges = np.array([-INF, -1e30, -104, -87.34, 0, 88.73, 1e30, INF], np.float32)
    assert streams.exp32(edges).tolist() == [0, 0, 0, 0, 1, INF, INF, INF]


INTERVALS = [
    (-INF, INF), (-2, 2), (-0.1, 0.1), (-1e-3, 2e-3), (3, INF), (5, 6), (-INF, -4), (11, 12), (11.3, INF), (0.5, 0.6),
    (1, 1.001), (-1e-12, 5), (-5, 0.3), (-8, -6.9), (0, 3), (-3, 0), (0.001, 0.002), (-100, 100), (6.9, 7.1),
]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_truncated_quantiles(low: float, high: float) -> None:
    words = np.sort(grid())
    below, inside, above = (float(part) for part in tails(low, high))
    left, right = below + inside * (words + 0.5) / 2**32, above + inside * (~words + 0.5) / 2**32
    exact = np.where(left < right, special.ndtri(left), -special.ndtri(right))
    values = streams.quantile(words, streams.interval(low, high)).astype(np.float64)
    error = np.abs(values - exact)
    assert np.all(error <= np.maximum(1e-6 * np.abs(exact), 1e-9))
    assert np.all(values > low)
    assert np.all(values < high)
    assert np.all(np.diff(values) > -1e-6 * np.maximum(np.abs(values[1:]), 1e-3))


def test_truncation_mirrors() -> None:
    words = grid()
    for low, high in ((-2.0, 1.0), (3.0, INF), (0.2, 0.4)):
        one, other = streams.interval(low, high), streams.interval(-high, -low)
        assert np.max(np.abs(streams.quantile(words, one) + streams.quantile(~words, other))) < 1e-6


def test_intervals_that_hold_nothing_are_refused() -> None:
    message = (
        "the interval (12, inf), in standard deviations from the mean, holds too little of the normal law to draw "
        "from: probability 1.78e-33, the least is 1e-30"
    )
    for refuse in (
        lambda: streams.truncated(Stream(0), 0, 1, 12, INF),
        lambda: streams.mass(12, INF),
        lambda: streams.truncated_moments(12, INF),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            refuse()
    for low, high in ((1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (20.0, 30.0), (INF, INF)):
        with pytest.raises(ValueError, match=r"^(a truncated law needs low < high, not|the interval) \("):
            streams.truncated(Stream(0), 0, 1, low, high)
    with pytest.raises(ValueError, match=r"^no float32 number lies strictly between 1 and 1$"):
        streams.truncated(Stream(0), 0, 1, 1.0, 1.0 + 1e-9)


# --- exact constants -----------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_mass_and_moments_match_quadrature(low: float, high: float) -> None:
    """Gauss-Legendre integrals of phi relative to its largest value inside, so that tails keep their digits."""
    low, high = max(low, -40.0), min(high, 40.0)
    peak = min(max(low, 0.0), high)
    first, last = max(low, peak - 12), min(high, peak + 12)
    nodes, weights = np.polynomial.legendre.leggauss(300)
    x = (first + last) / 2 + (last - first) / 2 * nodes
    density = (last - first) / 2 * weights * np.exp((peak - x) * (peak + x) / 2)

    def moment(power: int, centre: float) -> float:
        return math.fsum((x - centre) ** power * density)

    whole = moment(0, 0)
    scale = math.exp(-peak * peak / 2) / math.sqrt(2 * math.pi)
    assert streams.mass(low, high) == pytest.approx(whole * scale, rel=1e-9)
    mean, variance, fourth = streams.truncated_moments(low, high)
    assert mean == pytest.approx(peak + moment(1, peak) / whole, rel=1e-9, abs=1e-12)
    assert variance == pytest.approx(moment(2, mean) / whole, rel=1e-7)
    assert fourth == pytest.approx(moment(4, mean) / whole, rel=1e-7)


@pytest.mark.parametrize(
    ("bound", "deviation"), [(1, 0.539560093754897), (2, 0.879625661034240), (3, 0.986578392558109)]
)
def test_the_deviations_of_symmetric_truncation(bound: float, deviation: float) -> None:
    mean, variance, _ = streams.truncated_moments(-bound, bound)
    assert mean == 0
    assert math.sqrt(variance) == pytest.approx(deviation, rel=1e-14)


def test_moments_of_the_widest_and_the_narrowest() -> None:
    assert streams.truncated_moments(-INF, INF) == (0, 1, 3)
    for width in (1e-3, 1e-9, 1e-25):
        mean, variance, fourth = streams.truncated_moments(-width, width)
        assert mean == 0
        assert variance == pytest.approx(width**2 / 3, rel=1e-6)
        assert fourth == pytest.approx(width**4 / 5, rel=1e-6)


def test_logarithm_and_exponential_of_constants() -> None:
    for x in (1e-300, 0.02, 1.0, 2.0, 1e300):
        assert streams.exact_log(x) == pytest.approx(math.log(x), rel=1e-15, abs=0)
    for x in (-700.0, -0.02, 0.0, 1.0, 700.0):
        assert streams.exact_exp(x) == pytest.approx(math.exp(x), rel=1e-15, abs=0)


# --- open bounds ---------------------------------------------------------------------------------


def cast(values: Array, dtype: str) -> NDArray[np.float64]:
    """Rounded to ``dtype`` to the nearest, ties to even, and back."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype).astype(np.float64)
    bits = values.astype(np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32).astype(np.float64)


def numbers(dtype: str) -> NDArray[np.float64]:
    """Every finite number of a 16-bit format, in order."""
    patterns = np.arange(2**16, dtype=np.uint16)
    if dtype == "float16":
        values = patterns.view(np.float16).astype(np.float64)
    else:
        values = (patterns.astype(np.uint32) << np.uint32(16)).view(np.float32)
        values = values[np.isfinite(values)].astype(np.float64)
    return np.unique(values[np.isfinite(values)])


BOUNDS = [
    (-1.0, 1.0), (0.0, 1.0), (-2.0, -1.0), (0.04, 2.0), (-0.04, 0.04), (-1e-3, 5.0), (1.0, 1.02), (-65504.0, 65504.0),
    (-1e5, 1e5), (-3e-8, 7e-8), (0.5, INF), (-INF, -0.25), (1 / 3, 2 / 3), (-1e39, 1e39), (1e-45, 1e-3),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_the_outermost_numbers_inside(low: float, high: float, dtype: str) -> None:
    every = numbers(dtype)
    inside = every[(every > low) & (every < high)]
    assert streams.inside(low, high, dtype) == (inside[0], inside[-1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_the_outermost_single_numbers_inside(low: float, high: float, dtype: str) -> None:
    least, most = streams.inside(low, high, dtype)
    assert float(np.float32(least)) == least
    assert float(np.float32(most)) == most
    assert low < least <= most < high
    with np.errstate(over="ignore"):
        assert np.nextafter(np.float32(least), np.float32(-INF)) <= low or least == float(np.finfo(np.float32).min)
        assert np.nextafter(np.float32(most), np.float32(INF)) >= high or most == float(np.finfo(np.float32).max)


@settings(max_examples=200, deadline=None)
@given(
    ends=st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)).map(sorted),
    dtype=st.sampled_from(["float64", "float32", "bfloat16", "float16"]),
)
def test_bounded_values_stay_inside_after_the_cast(ends: list[float], dtype: str) -> None:
    low, high = ends
    values = np.array([-INF, -1e30, low, np.nextafter(low, INF), (low + high) / 2, high, 1e30, INF]).astype(np.float32)
    try:
        after = cast(streams.bounded(values, low, high, dtype), dtype)
    except ValueError:
        # float64 values are drawn in float32, so its numbers are those of float32
        every = numbers(dtype) if dtype in ("bfloat16", "float16") else np.linspace(low, high, 9).astype(np.float32)
        assert not np.any((every.astype(np.float64) > low) & (every.astype(np.float64) < high))
    else:
        assert np.all((low < after) & (after < high))


def test_bounded_leaves_alone_what_is_inside_and_infinite_bounds() -> None:
    values = WHOLE["normal"]
    assert streams.bounded(values, -INF, INF, "float16") is values
    assert np.array_equal(streams.bounded(values, -10, 10, "bfloat16"), values)
    assert streams.bounded(np.array([1e38, -9], np.float32), -1, INF, "float16").tolist() == [
        float(np.float32(1e38)),
        -0.99951171875,
    ]
    with pytest.raises(ValueError, match=r"^no bfloat16 number lies strictly between 1 and 1.001$"):
        streams.bounded(values, 1, 1.001, "bfloat16")
    with pytest.raises(ValueError, match=r"^no float16 number lies strictly between -inf and -70000$"):
        streams.bounded(values, -INF, -70000, "float16")
    with pytest.raises(ValueError, match=r"^no float32 number lies strictly between nan and 1$"):
        streams.bounded(values, math.nan, 1, "float32")
    with pytest.raises(ValueError, match=r"^values are drawn for float64, float32, bfloat16, float16, not for int8$"):
        streams.bounded(values, -1, 1, "int8")
