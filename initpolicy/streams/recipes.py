"""A recipe: all the arithmetic from an element's words to its value, stated as data, so that any backend can follow it.

    value = clamp(f(shift + scale · x)),   x by a law of the words, f the identity or exp32

in float32, in this order. `values` is the reference; `compiled` and `tensors` give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from initpolicy.streams import draws
from initpolicy.streams.arithmetic import Float32, exp32, minus_log_word
from initpolicy.streams.blocks import Stream, Word32, draw_table, first_words
from initpolicy.streams.inverse import Interval, quantile
from initpolicy.streams.rounding import clamped

__all__ = ["Recipe", "values", "values_of_many"]

_CACHED = 8192
"""Elements of many tensors that are drawn at a time: more of them leave the cache."""

LawName = Literal[
    "constant", "uniform01", "centred", "normal", "truncated", "exponential", "bernoulli", "poisson"
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One elementwise law with its numbers; those of the arithmetic are rounded to float32 where they are used."""

    law: LawName
    """What x is: see the functions of `draws` and `inverse`; of a constant nothing is drawn and x is 0."""
    scale: float = 1.0
    shift: float = 0.0
    """Added after scaling; a constant's value."""
    exp: bool = False
    """Whether f is exp32."""
    least: float = -math.inf
    """Values below become this; see `rounding.inside`."""
    most: float = math.inf
    rate: float = 1.0
    """What an exponential draw is divided by."""
    interval: Interval | None = None
    """Of a truncated law, in its standard deviations."""
    thresholds: tuple[int, ...] = ()
    """Of bernoulli the one below which a word gives 1; of poisson those that a word is counted against."""
    draw: int = 0
    """The counter's last word."""


def values(recipe: Recipe, stream: Stream, start: int, stop: int) -> Float32:
    """The flattened elements [start, stop), the same however the range is cut."""
    if recipe.law == "constant":
        return np.full(stop - start, recipe.shift, np.float32)
    return _finished(recipe, draw_table(stream, start, stop, recipe.draw, law_of(recipe), np.float32))


def values_of_many(recipes: Sequence[Recipe], streams: Sequence[Stream], counts: Sequence[int]) -> Float32:
    """The first elements of several tensors one after the other, at most PLANE of each, in one go.

    The recipes may differ in nothing but scale, shift, least and most.
    """
    first, each = recipes[0], np.asarray(counts)
    law, words_of_each = law_of(first), 2 if first.law == "normal" else 1
    keys = np.repeat(np.array([stream.key for stream in streams], np.uint64), each)
    ends = np.cumsum(each)
    places = np.arange(ends[-1]) - np.repeat(ends - each, each)
    scale, shift, least, most = (
        np.repeat(np.array(numbers, np.float32), each)
        for numbers in zip(
            *((recipe.scale, recipe.shift, recipe.least, recipe.most) for recipe in recipes), strict=True
        )
    )
    out = np.empty(len(keys), np.float32)
    for at in range(0, len(keys), _CACHED):
        here = slice(at, at + _CACHED)
        # In plane 0 alone: of a pair of normals the first is wanted, and both of its words.
        x = law(first_words(keys[here], places[here], first.draw, words_of_each))[0]
        y = shift[here] + scale[here] * x
        out[here] = clamped(exp32(y) if first.exp else y, least[here], most[here])
    return out


def law_of(recipe: Recipe) -> Callable[[Word32], Float32]:
    """From a table of words, planes by positions, to one of x."""
    match recipe.law:
        case "uniform01":
            return draws.uniform01_of
        case "centred":
            return draws.centred_of
        case "normal":
            return draws.normal_of
        case "truncated":
            known = recipe.interval
            assert known is not None
            return lambda table: quantile(table, known)
        case "exponential":
            return lambda table: minus_log_word(table) / np.float32(recipe.rate)
        case "bernoulli":
            return lambda table: draws.bernoulli_of(table, recipe.thresholds[0])
        case "poisson":
            return lambda table: draws.poisson_of(table, recipe.thresholds)
    raise ValueError(f"nothing is drawn for {recipe.law}")


def _finished(recipe: Recipe, x: Float32) -> Float32:
    y = np.float32(recipe.shift) + np.float32(recipe.scale) * x
    return clamped(exp32(y) if recipe.exp else y, np.float32(recipe.least), np.float32(recipe.most))
