"""The normal law truncated to an open interval: one word an element, the inverse distribution function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import lru_cache

import numpy as np

from initpolicy.streams.arithmetic import HALF, Float32, horner, minus_log
from initpolicy.streams.blocks import Stream, Word32, draw_table
from initpolicy.streams.exact import tails
from initpolicy.streams.rounding import clamp, clamped

__all__ = ["Interval", "interval", "quantile", "truncated"]


def _single(*numbers: float) -> tuple[np.float32, ...]:
    return tuple(np.float32(number) for number in numbers)


# Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37
# (1988), routine PPND7: (numerator, denominator) near the median, in the tails, and far out.
CENTRE = (
    _single(3.3871327179e0, 5.0434271938e1, 1.5929113202e2, 5.9109374720e1),
    _single(1.0, 1.7895169469e1, 7.8757757664e1, 6.7187563600e1),
)
TAIL = (
    _single(1.4234372777e0, 2.7568153900e0, 1.3067284816e0, 1.7023821103e-1),
    _single(1.0, 7.3700164250e-1, 1.2021132975e-1),
)
FAR = (
    _single(6.6579051150e0, 3.0812263860e0, 4.2868294337e-1, 1.7337203997e-2),
    _single(1.0, 2.4197894225e-1, 1.2258202635e-2),
)
CENTRE_EDGE, CENTRE_SQUARE, TAIL_START, FAR_START = _single(0.425, 0.180625, 1.6, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What an element's arithmetic needs to know of (low, high): numbers of the host, exact then rounded."""

    low: float
    high: float
    split: int
    """Words below it lie left of the median: round((1/2 - Phi(low)) / mass 2**32), from 0 to 2**32."""
    step: np.float32
    """mass / 2**32."""
    inner: np.float32
    """Probability between the median and the interval; 0 when the median is inside."""
    scale: int
    """Tail probabilities are held times 2**scale, so that the largest lies in [1/2, 1)."""
    tail_step: np.float32
    """mass / 2**32 · 2**scale."""
    left: np.float32
    """Phi(low) · 2**scale; infinite bounds give 0."""
    right: np.float32
    """(1 - Phi(high)) · 2**scale."""
    least: np.float32
    """The least float32 inside; -inf without a lower bound."""
    most: np.float32


@lru_cache(maxsize=4096)
def interval(low: float, high: float) -> Interval:
    """The constants of (low, high), in decimal arithmetic. ValueError as for `mass` and `inside`."""
    below, inside, above = tails(low, high)
    half = Decimal("0.5")
    with localcontext(Context(prec=60)):
        largest = min(half, below + inside, above + inside)
        scale = -math.frexp(float(largest))[1]
        unit = Decimal(2**scale)
        split = int(max(half - below, Decimal(0)) / inside * 2**32 + half)
        numbers = (inside / 2**32, half - largest, inside / 2**32 * unit, below * unit, above * unit)
    step, inner, tail_step, left, right = (np.float32(float(number)) for number in numbers)
    least, most = (np.float32(edge) for edge in clamp(low, high, "float32"))
    return Interval(
        low=low, high=high, split=min(split, 2**32), step=step, inner=inner,
        scale=scale, tail_step=tail_step, left=left, right=right, least=least, most=most,
    )  # fmt: skip


def quantile(words: Word32, known: Interval) -> Float32:
    """The standard normal's quantiles at Phi(low) + mass (w + 1/2) / 2**32, relative error below 1e-6.

    side = ~0 where w >= split, else 0          (right of the median, left of it)
    m = (split - 1 - w) ^ side, t = w ^ side    (words to the median; words to the nearer end)
    q = (float32(m) + 0.5) step + inner         (probability between the median and the quantile)
    s = (float32(t) + 0.5) tail_step + (right where side, else left)    (that beyond it, scaled)
    where q <= 0.425:  r = 0.180625 - q q,   |z| = q A(r) / B(r)
    elsewhere:         r = sqrt(minus_log(s, scale)),
        r <= 5:        r = r - 1.6,  |z| = C(r) / D(r)
        else:          r = r - 5,    |z| = E(r) / F(r)
    z = |z| where side, else -|z|; then clamped into the open interval.
    """
    is_right = words.astype(np.uint64) >= np.uint64(known.split)
    side = np.where(is_right, np.uint32(0xFFFFFFFF), np.uint32(0))
    m = (np.uint32((known.split - 1) & 0xFFFFFFFF) - words) ^ side
    q = (m.astype(np.float32) + HALF) * known.step + known.inner
    s = ((words ^ side).astype(np.float32) + HALF) * known.tail_step + np.where(is_right, known.right, known.left)

    central = q <= CENTRE_EDGE
    square = CENTRE_SQUARE - q * q
    r = np.sqrt(minus_log(s, known.scale))
    near = r <= FAR_START
    tail, far = r - TAIL_START, r - FAR_START
    over, under = (
        np.where(near, horner(tail, inside), horner(far, outside)) for inside, outside in zip(TAIL, FAR, strict=True)
    )
    over = np.where(central, q * horner(square, CENTRE[0]), over)
    under = np.where(central, horner(square, CENTRE[1]), under)
    size = over / under
    return clamped(np.where(is_right, size, -size), known.least, known.most)


def truncated(stream: Stream, start: int, stop: int, low: float, high: float, draw: int = 0) -> Float32:
    """The standard normal truncated to the open interval (low, high), bounds in standard deviations.

    Grows with the word (but for rounding), so that every interval's draws of one stream rise and fall
    together. Either bound may be infinite. ValueError where low < high fails, where the interval holds less than 1e-30
    of the normal law, or where no float32 lies strictly inside it.
    """
    known = interval(float(low), float(high))
    return draw_table(stream, start, stop, draw, lambda table: quantile(table, known), np.float32)
