"""Constants that every machine must agree on: decimal arithmetic, never the platform's libm."""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache

__all__ = ["LEAST_MASS", "Tails", "exact_exp", "exact_log", "mass", "poisson_thresholds", "tails", "truncated_moments"]

LEAST_MASS = 1e-30
"""Intervals of less normal probability than this are refused."""
HIGHEST_RATE = 1000
"""Of a Poisson law: its table stays below some 1,300 entries."""

Tails = tuple[Decimal, Decimal, Decimal]

_FAR = 16
"""Sigmas past which a tail (below 1e-56) is nothing beside LEAST_MASS."""
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
_HALF = Decimal("0.5")


def exact_log(x: float) -> float:
    """log(x) to the last bit on every platform; x > 0."""
    with localcontext(Context(prec=40)):
        return float(Decimal(x).ln())


def exact_exp(x: float) -> float:
    """exp(x) to the last bit on every platform."""
    with localcontext(Context(prec=40)):
        return float(Decimal(x).exp())


def mass(low: float, high: float) -> float:
    """The probability that a standard normal lies in (low, high); either bound may be infinite.

    ValueError unless low < high and the probability is at least LEAST_MASS.
    """
    return float(tails(low, high)[1])


@lru_cache(maxsize=4096)
def tails(low: float, high: float) -> Tails:
    """(Phi(low), Phi(high) - Phi(low), 1 - Phi(high)), to 25 digits or more of the middle one.

    ValueError unless low < high and the middle one is at least LEAST_MASS.
    """
    if not low < high:
        raise ValueError(f"a truncated law needs low < high, not ({low:g}, {high:g})")
    with localcontext(_context(low, high)):
        below, above = _from_centre(low), _from_centre(high)
        result = (_HALF + below, above - below, _HALF - above)
    if result[1] < Decimal(LEAST_MASS):
        raise ValueError(
            f"the interval ({low:g}, {high:g}), in standard deviations from the mean, holds too little of the "
            f"normal law to draw from: probability {float(result[1]):.3g}, the least is {LEAST_MASS:g}"
        )
    return result


@lru_cache(maxsize=4096)
def truncated_moments(low: float, high: float) -> tuple[float, float, float]:
    """Mean, variance and fourth central moment of the standard normal truncated to (low, high).

    Integrating x^(k-1) · x phi(x) by parts, the raw moments are m_0 = 1, m_1 = d_0 and
    m_k = (k - 1) m_{k-2} + d_{k-1}, with d_k = (low^k phi(low) - high^k phi(high)) / mass. The digits
    make up for what cancels. ValueError as for `mass`.
    """
    z = tails(low, high)[1]
    with localcontext(_context(low, high)):
        d = [(_edge(low, k) - _edge(high, k)) / z for k in range(4)]
        m1 = d[0]
        m2 = 1 + d[1]
        m3 = 2 * m1 + d[2]
        m4 = 3 * m2 + d[3]
        return float(m1), float(m2 - m1**2), float(m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4)


@lru_cache(maxsize=256)
def poisson_thresholds(rate: float) -> tuple[int, ...]:
    """T_0 < T_1 < … < 2**32, T_k = P(X <= k) 2**32 to the nearest whole number, X Poisson of this rate.

    A 32-bit word w stands for the number of k with T_k <= w. Entries that would be 2**32 are left off.
    ValueError unless 0 <= rate <= 1000.
    """
    if not 0 <= rate <= HIGHEST_RATE:
        raise ValueError(f"a Poisson rate is a number from 0 to {HIGHEST_RATE}, not {rate:g}")
    thresholds: list[int] = []
    with localcontext(Context(prec=50)):
        exact = Decimal(rate)
        term = total = (-exact).exp()
        while (threshold := int(total * 2**32 + _HALF)) < 2**32:
            thresholds.append(threshold)
            term = term * exact / len(thresholds)
            total += term
    return tuple(thresholds)


def _context(low: float, high: float) -> Context:
    """60 digits, and 2 more for each bit that the interval is narrower than 1 (the fourth moment loses 1.5)."""
    width = high - low
    return Context(prec=60 + 2 * max(0, -math.frexp(width)[1] if math.isfinite(width) else 0))


def _from_centre(x: float) -> Decimal:
    """Phi(x) - 1/2 = phi(x) (x + x³/3 + x⁵/(3·5) + …), all terms of one sign."""
    if abs(x) > _FAR:
        return _HALF.copy_sign(Decimal(x))
    exact = Decimal(x)
    square, term, total, odd = exact * exact, exact, exact, 1
    while total + term != total:
        odd += 2
        term = term * square / odd
        total += term
    return total * _density(exact)


def _edge(x: float, power: int) -> Decimal:
    """x^power phi(x), 0 in the limit."""
    if abs(x) > _FAR:
        return Decimal(0)
    exact = Decimal(x)
    return (exact**power if power else 1) * _density(exact)


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp() / (2 * _PI).sqrt()
