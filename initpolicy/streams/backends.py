"""Which backend draws: all give the same bytes, so only time depends on it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

from initpolicy.streams import recipes
from initpolicy.streams.arithmetic import Float32
from initpolicy.streams.blocks import BLOCK, PLANE, Stream
from initpolicy.streams.trials import same_bytes

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
    return backend if _exact(backend) else None


@lru_cache
def _exact(backend: ModuleType) -> bool:
    """Tried once, and said where it is not: Numba's cache goes by a file's date and size, not by what it imports."""
    exact = same_bytes(lambda recipe, stream, count: backend.values(recipe, stream, 0, count))
    if not exact:
        cache = Path(str(backend.__file__)).with_name("__pycache__")
        _log.warning("Numba's kernels give other bytes than NumPy, which draws: empty %s", cache)
    return exact


def _loaded() -> ModuleType | None:
    """The compiled backend, where it is compiled already."""
    backend = sys.modules.get("initpolicy.streams.compiled")
    return backend if backend is not None and _exact(backend) else None


def values(recipe: recipes.Recipe, stream: Stream, start: int, stop: int) -> Float32:
    """What `recipes.values` gives, by Numba where that is compiled already."""
    backend = _loaded()
    found: Float32 = (recipes if backend is None else backend).values(recipe, stream, start, stop)
    return found


def values_of_many(recipe: recipes.Recipe, streams: Sequence[Stream], count: int) -> Float32:
    """(streams, count): the first elements under each."""
    backend = _loaded()
    if backend is not None and count <= BLOCK:
        found: Float32 = backend.values_of_many(recipe, streams, count)
        return found
    if backend is not None or count > PLANE:
        return np.stack([values(recipe, stream, 0, count) for stream in streams])
    many = len(streams)
    return recipes.values_of_many([recipe] * many, streams, [count] * many).reshape(many, count)
