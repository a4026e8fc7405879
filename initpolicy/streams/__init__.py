"""Keyed random numbers, the NumPy reference: a value depends on (key, element, draw, law) and nothing else.

    words       blocks.py       Philox4x32-10 over blocks of 65,536 elements in four planes
    arithmetic  arithmetic.py   log, sine, cosine, exp and Box-Muller in exactly rounded float32
    laws        draws.py, inverse.py
    recipes     recipes.py     a law and all that is done to it, as data
    constants   exact.py        decimal arithmetic, the same on every platform
    bounds      rounding.py     open bounds that survive a cast

    backends    compiled.py    the same bytes by Numba, tensors.py on a torch device, backends.py which of them

Another backend gives the same bytes if it follows the docstrings of these files to the letter: float32
throughout, unsigned and signed integers to float32 to the nearest (ties to even), sqrt and division
exactly rounded, products and sums never fused, polynomials by Horner's rule. ``~`` is the complement,
``^`` exclusive or, ``>>`` on int32 arithmetic, and 32-bit sums and differences wrap.

Changing any value is a breaking change: the tests hold sha256 sums of whole tensors.
"""

from initpolicy.streams.arithmetic import Float32, box_muller, exp32, minus_log, minus_log_word
from initpolicy.streams.blocks import BLOCK, PLANE, Stream, philox, stream_for, words
from initpolicy.streams.draws import (
    bernoulli,
    bernoulli_threshold,
    centred,
    choose,
    exponential,
    normal,
    poisson,
    uniform01,
)
from initpolicy.streams.exact import LEAST_MASS, exact_exp, exact_log, mass, poisson_thresholds, truncated_moments
from initpolicy.streams.inverse import Interval, interval, quantile, truncated
from initpolicy.streams.recipes import Recipe, values, values_of_many
from initpolicy.streams.rounding import bounded, clamp, inside

__all__ = [
    "BLOCK",
    "LEAST_MASS",
    "PLANE",
    "Float32",
    "Interval",
    "Recipe",
    "Stream",
    "bernoulli",
    "bernoulli_threshold",
    "bounded",
    "box_muller",
    "centred",
    "choose",
    "clamp",
    "exact_exp",
    "exact_log",
    "exp32",
    "exponential",
    "inside",
    "interval",
    "mass",
    "minus_log",
    "minus_log_word",
    "normal",
    "philox",
    "poisson",
    "poisson_thresholds",
    "quantile",
    "stream_for",
    "truncated",
    "truncated_moments",
    "uniform01",
    "values",
    "values_of_many",
    "words",
]
