"""The laws: (stream, start, stop, arguments) -> float32 values of the flattened elements [start, stop)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from initpolicy.streams.arithmetic import HALF, Float32, box_muller, minus_log_word
from initpolicy.streams.blocks import Stream, Word32, draw_table, words
from initpolicy.streams.exact import poisson_thresholds

__all__ = [
    "bernoulli",
    "bernoulli_of",
    "bernoulli_threshold",
    "centred",
    "centred_of",
    "choose",
    "exponential",
    "normal",
    "normal_of",
    "poisson",
    "poisson_of",
    "uniform01",
    "uniform01_of",
]

_UNIT = np.float32(2.0**-23)
_HALF_WORD = np.uint64(32)
_CHUNK = 2**20
"""Words that `choose` sorts at a time: bounds its memory, and no value depends on it."""


def uniform01(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Uniform on the open (0, 1): (float32(w >> 9) + 0.5) 2**-23, the centres of 2**23 equal bins.

    One bit fewer than float32's 24: the centre of the last of 2**24 bins would round to 1.
    """
    return draw_table(stream, start, stop, draw, uniform01_of, np.float32)


def centred(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Uniform on the open (-1, 1): (float32(int32(w ^ 0x80000000) >> 8) + 0.5) 2**-23, the centres of 2**24 bins.

    Exact and symmetric, and 2 uniform01 - 1 but for the last bit: what U(mean - h, mean + h) is made of.
    """
    return draw_table(stream, start, stop, draw, centred_of, np.float32)


def normal(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Standard normal: `box_muller` of the words of planes 0 and 1, and of planes 2 and 3, at one position.

    Both values of a pair go where their words are: the first to the even plane, the second to the odd.
    """
    return draw_table(stream, start, stop, draw, normal_of, np.float32)


def exponential(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Exponential of rate 1: `minus_log_word` of the word; from 1.2e-10 to 22.9."""
    return draw_table(stream, start, stop, draw, minus_log_word, np.float32)


def bernoulli(stream: Stream, start: int, stop: int, p: float, draw: int = 0) -> Float32:
    """1 where w < `bernoulli_threshold` of p, else 0; p = 0 and p = 1 are exact."""
    threshold = bernoulli_threshold(p)
    return draw_table(stream, start, stop, draw, lambda table: bernoulli_of(table, threshold), np.float32)


def poisson(stream: Stream, start: int, stop: int, rate: float, draw: int = 0) -> Float32:
    """Poisson by inversion: how many entries of `poisson_thresholds` are at most w. 0 <= rate <= 1000."""
    thresholds = poisson_thresholds(float(rate))
    return draw_table(stream, start, stop, draw, lambda table: poisson_of(table, thresholds), np.float32)


def bernoulli_threshold(p: float) -> int:
    """floor(p 2**32). ValueError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"a probability is a number from 0 to 1, not {p:g}")
    return math.floor(p * 2**32)


# --- of a table of words, planes by positions ------------------------------------------------------


def uniform01_of(table: Word32) -> Float32:
    return ((table >> np.uint32(9)).astype(np.float32) + HALF) * _UNIT


def centred_of(table: Word32) -> Float32:
    signed = (table ^ np.uint32(0x80000000)).view(np.int32) >> np.int32(8)
    return (signed.astype(np.float32) + HALF) * _UNIT


def normal_of(table: Word32) -> Float32:
    """Of an even number of planes."""
    return np.stack([value for first in range(0, len(table), 2) for value in box_muller(*table[first : first + 2])])


def bernoulli_of(table: Word32, threshold: int) -> Float32:
    return (table.astype(np.uint64) < np.uint64(threshold)).astype(np.float32)


def poisson_of(table: Word32, thresholds: Sequence[int]) -> Float32:
    return np.searchsorted(np.array(thresholds, np.uint32), table, side="right").astype(np.float32)


# --- without replacement ---------------------------------------------------------------------------


def choose(stream: Stream, rows: int, columns: int, count: int, draw: int = 0) -> NDArray[np.bool_]:
    """(rows, columns), True at ``count`` rows of each column, every set of rows equally likely.

    Column c takes the rows of the ``count`` smallest of its words [c rows, (c + 1) rows); of equal words
    the one of the lower row counts as smaller. ValueError unless 0 <= count <= rows.
    """
    if not 0 <= count <= rows:
        raise ValueError(f"cannot choose {count} of {rows} rows")
    mask = np.zeros((columns, rows), np.bool_)
    if not count:
        return mask.T
    order = np.arange(rows, dtype=np.uint64)
    step = max(1, _CHUNK // rows)
    for first in range(0, columns, step):
        last = min(first + step, columns)
        keys = words(stream, first * rows, last * rows, draw).reshape(-1, rows).astype(np.uint64) << _HALF_WORD | order
        largest = np.partition(keys, count - 1, axis=1)[:, count - 1 : count]
        mask[first:last] = keys <= largest
    return mask.T
