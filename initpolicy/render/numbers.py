"""How every renderer writes a number: short for eyes, exact for machines."""

from __future__ import annotations

import math

__all__ = ["exact", "short", "span"]


def short(value: float | None, digits: int = 4) -> str:
    """A number for eyes: ``digits`` significant ones, ``1e-05`` style, whole numbers whole, None blank.

    >>> [short(value) for value in (None, 4608.0, 2**0.5, 1e-5, -0.0, math.inf)]
    ['', '4608', '1.414', '1e-05', '0', 'inf']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if math.isfinite(value) and value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.{digits}g}"


def span(values: list[float], digits: int = 4) -> str:
    """The least and the greatest of several numbers as ``a…b``, or one where both read the same."""
    if not values:
        return ""
    low, high = short(min(values), digits), short(max(values), digits)
    return low if low == high else f"{low}…{high}"


def exact(value: float) -> str:
    """A number for machines: the shortest decimal that reads back to the same one (``nan`` and ``inf`` by name)."""
    return repr(value)
