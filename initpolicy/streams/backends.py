"""Which backend draws: all give the same bytes, so only time depends on it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from initpolicy.streams import recipes
from initpolicy.streams.arithmetic import Float32
from initpolicy.streams.blocks import BLOCK, PLANE, Stream

__all__ = ["MANY", "compiled", "values", "values_of_many"]

_log = logging.getLogger("initpolicy")

MANY = 2_000_000
"""Values in one application up to which NumPy is done before Numba is imported."""


def compiled(count: int) -> ModuleType | None:
    """The compiled backend where so many values pay for it, else None; one line says if it is missing."""
    if count <= MANY:
        return None
    try:
        import numba

        if numba.config.DISABLE_JIT:
            _log.info("%s values are drawn by NumPy, some twenty times slower: NUMBA_DISABLE_JIT is set", f"{count:,}")
            return None
        from initpolicy.streams import compiled as backend
    except ImportError:
        _log.info(
            "%s values are drawn by NumPy, some twenty times slower than by Numba: pip install 'initpolicy[fast]'",
            f"{count:,}",
        )
        return None
    return backend


def values(recipe: recipes.Recipe, stream: Stream, start: int, stop: int) -> Float32:
    """What `recipes.values` gives, by Numba where that is compiled already."""
    backend = sys.modules.get("initpolicy.streams.compiled")
    found: Float32 = (recipes if backend is None else backend).values(recipe, stream, start, stop)
    return found


def values_of_many(recipe: recipes.Recipe, streams: Sequence[Stream], count: int) -> Float32:
    """(streams, count): the first elements under each."""
    backend = sys.modules.get("initpolicy.streams.compiled")
    if backend is not None and count <= BLOCK:
        found: Float32 = backend.values_of_many(recipe, streams, count)
        return found
    if backend is not None or count > PLANE:
        return np.stack([values(recipe, stream, 0, count) for stream in streams])
    many = len(streams)
    return recipes.values_of_many([recipe] * many, streams, [count] * many).reshape(many, count)
