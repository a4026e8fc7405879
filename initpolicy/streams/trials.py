"""Whether a backend gives the reference's bytes here: tried once, before it draws anything that counts.

A device may round as it should not, and a compiler's cache may hold what an older version of these files was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from initpolicy.streams import inverse
from initpolicy.streams.blocks import BLOCK, Stream
from initpolicy.streams.recipes import Recipe, values

__all__ = ["TRIALS", "same_bytes"]

TRIALS = (
    Recipe(law="normal", scale=0.02, exp=True),
    Recipe(law="truncated", interval=inverse.interval(-8.0, 8.0), scale=0.02),
    Recipe(law="exponential", rate=3.0),
    Recipe(law="centred", scale=0.3, shift=0.1, least=-0.1, most=0.3),
    Recipe(law="uniform01"),
    Recipe(law="bernoulli", thresholds=(2**30,)),
    Recipe(law="poisson", thresholds=(2**30, 2**31)),
)
"""Every operation that there is."""


def same_bytes(made: Callable[[Recipe, Stream, int], NDArray[Any]]) -> bool:
    """``made`` gives the first elements of a stream; it is asked for one block of each law."""
    stream = Stream(1)
    return all(made(recipe, stream, BLOCK).tobytes() == values(recipe, stream, 0, BLOCK).tobytes() for recipe in TRIALS)
