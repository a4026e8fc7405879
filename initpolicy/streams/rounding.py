"""Open bounds that survive the cast: the outermost numbers of a dtype strictly inside an interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from initpolicy.streams.arithmetic import Float32

__all__ = ["bounded", "clamp", "clamped", "inside"]

Single = np.float32 | NDArray[np.float32]

# significant bits, exponent of the smallest subnormal, largest finite number; values are drawn in
# float32, so float64 holds no more of them than float32 does
_FORMATS = {
    "float64": (24, -149, (2 - 2.0**-23) * 2.0**127),
    "float32": (24, -149, (2 - 2.0**-23) * 2.0**127),
    "bfloat16": (8, -133, (2 - 2.0**-7) * 2.0**127),
    "float16": (11, -24, 65504.0),
}


def bounded(values: Float32, low: float, high: float, dtype: str) -> Float32:
    """``values`` clamped so that, once rounded to ``dtype``, they lie strictly inside (low, high).

    An infinite bound does nothing. ValueError where no number of ``dtype`` lies strictly inside, or
    where ``dtype`` is none of float64, float32, bfloat16, float16.
    """
    return clamped(values, *(np.float32(edge) for edge in clamp(low, high, dtype)))


def clamp(low: float, high: float, dtype: str) -> tuple[float, float]:
    """(least, most) that `bounded` lets through: `inside`, or infinite where the bound is."""
    least, most = inside(low, high, dtype)
    return (least if math.isfinite(low) else -math.inf), (most if math.isfinite(high) else math.inf)


def clamped(values: Float32, least: Single, most: Single) -> Float32:
    """``values``, those below ``least`` and above ``most`` replaced by these."""
    if np.any(least > -np.inf):
        values = np.where(values < least, least, values)
    if np.any(most < np.inf):
        values = np.where(values > most, most, values)
    return values


def inside(low: float, high: float, dtype: str) -> tuple[float, float]:
    """The least and the greatest finite number of ``dtype`` strictly between low and high; see `bounded`."""
    if dtype not in _FORMATS:
        raise ValueError(f"values are drawn for {', '.join(_FORMATS)}, not for {dtype}")
    if low < high:
        least, most = 0.0 - _below(-low, dtype), _below(high, dtype)
        if least <= most:
            return least, most
    raise ValueError(f"no {dtype} number lies strictly between {low:g} and {high:g}")


def _below(bound: float, dtype: str) -> float:
    """The greatest finite number of ``dtype`` strictly below ``bound``; -inf where there is none."""
    bits, smallest, largest = _FORMATS[dtype]
    if bound > largest:
        return largest
    if bound <= -largest:
        return -math.inf
    mantissa, exponent = math.frexp(bound)
    # Just below a positive power of two the numbers lie twice as dense.
    unit = max(exponent - bits - (mantissa == 0.5), smallest) if bound else smallest
    return math.ldexp(math.ceil(math.ldexp(bound, -unit)) - 1, unit)
