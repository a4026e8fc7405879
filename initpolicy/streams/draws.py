"""The laws: (stream, start, stop, arguments) -> float32 values of the flattened elements [start, stop)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from initpolicy.streams.arithmetic import HALF, Float32, box_muller, minus_log_word
from initpolicy.streams.blocks import Stream, Word32, draw_table, words
from initpolicy.streams.exact import poisson_thresholds

__all__ = ["bernoulli", "centred", "choose", "exponential", "normal", "poisson", "uniform01"]

_UNIT = np.float32(2.0**-23)
_HALF_WORD = np.uint64(32)
_CHUNK = 2**20
"""Words that `choose` sorts at a time: bounds its memory, and no value depends on it."""


def uniform01(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Uniform on the open (0, 1): (float32(w >> 9) + 0.5) 2**-23, the centres of 2**23 equal bins.

    One bit fewer than float32's 24: the centre of the last of 2**24 bins would round to 1.
    """

    def law(table: Word32) -> Float32:
        return ((table >> np.uint32(9)).astype(np.float32) + HALF) * _UNIT

    return draw_table(stream, start, stop, draw, law, np.float32)


def centred(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Uniform on the open (-1, 1): (float32(int32(w ^ 0x80000000) >> 8) + 0.5) 2**-23, the centres of 2**24 bins.

    Exact and symmetric, and 2 uniform01 - 1 but for the last bit: what U(mean - h, mean + h) is made of.
    """

    def law(table: Word32) -> Float32:
        signed = (table ^ np.uint32(0x80000000)).view(np.int32) >> np.int32(8)
        return (signed.astype(np.float32) + HALF) * _UNIT

    return draw_table(stream, start, stop, draw, law, np.float32)


def normal(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Standard normal: `box_muller` of the words of planes 0 and 1, and of planes 2 and 3, at one position.

    Both values of a pair go where their words are: the first to the even plane, the second to the odd.
    """

    def law(table: Word32) -> Float32:
        return np.stack([*box_muller(table[0], table[1]), *box_muller(table[2], table[3])])

    return draw_table(stream, start, stop, draw, law, np.float32)


def exponential(stream: Stream, start: int, stop: int, draw: int = 0) -> Float32:
    """Exponential of rate 1: `minus_log_word` of the word; from 1.2e-10 to 22.9."""
    return draw_table(stream, start, stop, draw, minus_log_word, np.float32)


def bernoulli(stream: Stream, start: int, stop: int, p: float, draw: int = 0) -> Float32:
    """1 where w < floor(p 2**32), else 0; p = 0 and p = 1 are exact. ValueError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"a probability is a number from 0 to 1, not {p:g}")
    threshold = np.uint64(math.floor(p * 2**32))

    def law(table: Word32) -> Float32:
        return (table.astype(np.uint64) < threshold).astype(np.float32)

    return draw_table(stream, start, stop, draw, law, np.float32)


def poisson(stream: Stream, start: int, stop: int, rate: float, draw: int = 0) -> Float32:
    """Poisson by inversion: how many entries of `poisson_thresholds` are at most w. 0 <= rate <= 1000."""
    thresholds = np.array(poisson_thresholds(float(rate)), np.uint32)

    def law(table: Word32) -> Float32:
        return np.searchsorted(thresholds, table, side="right").astype(np.float32)

    return draw_table(stream, start, stop, draw, law, np.float32)


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
