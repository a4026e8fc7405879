"""Where in a policy something stands, and how large a policy may be."""

from __future__ import annotations

from typing import Any

from initpolicy.errors import shown

__all__ = ["DEPTH", "VALUES", "Place", "spelt"]

DEPTH, VALUES = 50, 200_000
"""How deep a policy may nest, and how many values it may hold once its aliases are written out."""

Place = tuple[Any, ...]
"""The keys and indices that lead to a value."""


def spelt(place: Place) -> str:
    """``rules.stem.match``; a place far down is cut."""
    parts = [part if isinstance(part, str) and part.strip() and part.isprintable() else shown(part) for part in place]
    return ".".join(parts if len(parts) <= _FAR else [*parts[: _FAR - 3], "…"])


_FAR = 12
