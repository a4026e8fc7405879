"""Gains: by how much an activation shrinks a unit signal, going forward and coming back.

    h = W f(z), z ~ N(0, 1), Var(W) = g²/fan_in    =>   E[h²] = g² E[f(z)²],    so  g = 1/√E[f(z)²]
    ∂z = f'(z) Wᵀ∂h,         Var(W) = g²/fan_out   =>   E[∂z²] = g² E[f'(z)²],  so  g = 1/√E[f'(z)²]

for zero-mean W independent of z, and unit E[∂h²]. He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015
(arXiv 1502.01852): equations 10 (forward) and 14 (backward) for relu, 15 for leaky and parametric relu. Glorot and
Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, equations 10 and 11,
for the identity.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.polynomial import chebyshev, legendre
from numpy.typing import NDArray

from initpolicy.facts.activations import VOCABULARY, phi
from initpolicy.records import Activation

__all__ = ["exact_gains", "gain"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
Moments = tuple[float, float]
"""E[f(z)²] and E[f'(z)²], z ~ N(0, 1)."""

REMEDY = "give a number as 'gain', or name an initializer that takes none"

_TORCH = {"relu6": math.sqrt(2.0), "selu": 0.75, "sigmoid": 1.0, "tanh": 5.0 / 3.0}
"""torch.nn.init.calculate_gain's numbers where they are not the exact ones, and relu's for relu6 (1e-9 from its own).

selu's 3/4 is no forward gain: torch's documentation too says to use linear's 1 for self-normalizing networks
(Klambauer, Unterthiner, Mayr, Hochreiter, NeurIPS 2017, arXiv 1706.02515), for which 1 is exact.
"""


def gain(
    activation: Activation,
    *,
    mode: Literal["torch", "exact"] = "torch",
    direction: Literal["forward", "backward"] = "forward",
) -> float:
    """The factor for the standard deviation of a weight beside this activation, exact to 1e-10.

    Args:
        activation: by canonical name, its arguments at their defaults where it has none; or one with gains of its own.
        mode: ``torch`` gives torch.nn.init.calculate_gain's number where it has one, for both directions as there is
            only one: identity 1, sigmoid 1, tanh 5/3, selu 3/4, relu √2, leaky_relu √(2/(1 + slope²)). Elsewhere, and
            everywhere with ``exact``, it is the exact one.
        direction: ``forward`` gives 1/√E[f(z)²], ``backward`` 1/√E[f'(z)²], z ~ N(0, 1). Jumps of f do not count in f'.

    What is not one function of one number: rrelu is as in training, its slope uniform; the halves of a gated unit
    a g(b) are independent and of unit variance, so forward it has the gain of g (Shazeer 2020, arXiv 2002.05202, names
    the units) and backward that of the mean over both halves, (E[g²] + E[g'²])/2; so are the pieces of maxout.

    Raises:
        ValueError: for an activation that has no gain, with the reason and what to do.
    """
    at = 1 if direction == "backward" else 0
    if activation.exact is not None:
        value = activation.exact[at]
    elif activation.name not in VOCABULARY:
        raise ValueError(f"no gain is known for {activation.name}; {REMEDY}")
    elif VOCABULARY[activation.name].why:
        raise ValueError(f"{activation.name} has no gain: {VOCABULARY[activation.name].why}; {REMEDY}")
    else:
        value = _named(activation.name, activation.arguments, mode)[at]
    if not math.isfinite(value):
        what = "derivative" if at else "output"
        raise ValueError(f"{activation} has no {direction} gain: its {what} is 0 almost everywhere; {REMEDY}")
    return value


def exact_gains(f: Function, kinks: Iterable[float] = ()) -> tuple[float, float]:
    """(1/√E[f(z)²], 1/√E[f'(z)²]), z ~ N(0, 1), of any function that is smooth but for kinks and jumps.

    By quadrature to 1e-10 where ``f`` computes in float64, 1e-5 in float32. ``f`` maps a float64 vector to one, element
    by element, and is called once for each level of refinement. ``kinks``, where known, save levels; others are found.
    Infinite where the moment is 0.

    Raises:
        ValueError: where ``f`` is not finite on [-10, 10], or varies without end (noise).
    """
    forward, backward = _moments(f, tuple(kinks))
    return _inverse_root(forward), _inverse_root(backward)


def _inverse_root(moment: float) -> float:
    return math.sqrt(1.0 / moment) if moment > 0 else math.inf


# --- the vocabulary's ----------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _named(name: str, arguments: tuple[tuple[str, float], ...], mode: str) -> tuple[float, float]:
    """(forward, backward) gain of an entry of the vocabulary."""
    known, given = VOCABULARY[name], dict(arguments)
    own = known.values(given)
    scale, shift = abs(given.get("scale", 1.0)), given.get("shift", 0.0)
    if scale == 0.0:
        return _inverse_root(shift * shift), math.inf
    if shift == 0.0 and mode == "torch" and name in _TORCH:
        return _TORCH[name] / scale, _TORCH[name] / scale
    if shift == 0.0 and name in _CLOSED:
        forward, backward = _CLOSED[name](own)
        return _inverse_root(forward) / scale, _inverse_root(backward) / scale
    function = known.bound(given)
    assert function is not None  # the others are in _CLOSED, and take no shift
    return exact_gains(function, known.kinks_at(given))


def _rectifier(own: Mapping[str, float]) -> Moments:
    """z for z > 0, s z for z <= 0: both are (1 + s²)/2."""
    moment = (1.0 + own.get("slope", 0.0) ** 2) / 2.0
    return moment, moment


def _random_rectifier(own: Mapping[str, float]) -> Moments:
    """(1 + E[s²])/2 for s ~ U(lower, upper)."""
    low, high = own["lower"], own["upper"]
    moment = (1.0 + (low * low + low * high + high * high) / 3.0) / 2.0
    return moment, moment


def _gated(name: str) -> Callable[[Mapping[str, float]], Moments]:
    """a g(b), a and b independent N(0, 1): its derivatives are g(b) by a, and a g'(b) by b."""

    def moments(own: Mapping[str, float]) -> Moments:
        gate = VOCABULARY[VOCABULARY[name].gate]
        function = gate.bound({})
        assert function is not None  # gates are elementwise
        forward, backward = _moments(function, gate.kinks_at({}))
        return forward, (forward + backward) / 2.0

    return moments


def _maxout(own: Mapping[str, float]) -> Moments:
    """max of k independent N(0, 1), of density k φ Φ^(k-1); one piece in k passes the gradient."""
    pieces = own["pieces"]

    def weighted(z: Array) -> Array:
        return z * np.sqrt(pieces * phi(z) ** (pieces - 1.0))

    return _moments(weighted, ())[0], 1.0 / pieces


_CLOSED: Mapping[str, Callable[[Mapping[str, float]], Moments]] = {
    "identity": lambda own: (1.0, 1.0),
    "relu": _rectifier,
    "leaky_relu": _rectifier,
    "prelu": _rectifier,
    "rrelu": _random_rectifier,
    **{known.name: _gated(known.name) for known in VOCABULARY.values() if known.gate},
    "maxout": _maxout,
}


# --- quadrature ----------------------------------------------------------------------------------
#
# [-10, 10] is cut into panels; beyond it lies less than 1e-22 of the normal law. On each panel f is interpolated at 17
# Chebyshev points, ends included. Where the last coefficients do not vanish the panel is halved, so panels close in on
# kinks and jumps; what is left of width 1e-12 counts for f² but not for f'², as f' has no value at a jump. The squares
# of the interpolant and its derivative are integrated against the normal density by Gauss and Legendre's rule.

_LIMIT = 10
_DEGREE = 16
_NARROW = 1e-12
_MOST = 2048
"""Panels at one level; a function that needs more varies everywhere."""
_TOLERANCES = (1e-13, 1e-9, 1e-6)
"""Of the largest coefficients, against the function's size: rounding in float64, something between, in float32."""


def _float64(values: NDArray[Any]) -> Array:
    return np.asarray(values, dtype=np.float64)


_NODES = _float64(-np.cos(np.pi * np.arange(_DEGREE + 1) / _DEGREE))
_TO_COEFFICIENTS = _float64(np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE)).T)
_POINTS, _WEIGHTS = map(_float64, legendre.leggauss(32))
_VALUES = _float64(chebyshev.chebvander(_POINTS, _DEGREE).T)
_SLOPES = _float64(chebyshev.chebval(_POINTS, chebyshev.chebder(np.eye(_DEGREE + 1))))


def _moments(f: Function, kinks: tuple[float, ...]) -> Moments:
    for tolerance in _TOLERANCES:
        found = _refined(f, kinks, tolerance)
        if found is not None:
            return found
    raise ValueError("it varies everywhere, at every scale, so it has no moments to compute")


def _refined(f: Function, kinks: tuple[float, ...], tolerance: float) -> Moments | None:
    """The moments with panels refined until they are smooth to this tolerance, or None if too many never are."""
    inside = [kink for kink in kinks if abs(kink) < _LIMIT]
    edges = np.unique(np.array([*range(-_LIMIT, _LIMIT + 1), *inside], dtype=np.float64))
    left: Array = edges[:-1]
    right: Array = edges[1:]
    square, slope, size = 0.0, 0.0, None
    while left.size:
        if left.size > _MOST:
            return None
        values = _evaluated(f, left, right)
        reach = np.abs(values).max(axis=1)
        if size is None:
            size = float(reach[(left > -3.5) & (right < 3.5)].max())
        coefficients = (values - values[:, :1]) @ _TO_COEFFICIENTS  # the derivative of a constant is 0 exactly
        smooth = np.abs(coefficients[:, -3:]).max(axis=1) <= tolerance * np.maximum(size, reach)
        done = smooth | (right - left < _NARROW)
        half = (right - left) / 2
        z = ((left + right) / 2)[:, None] + half[:, None] * _POINTS
        density = half[:, None] * _WEIGHTS * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        square += float((density * (coefficients @ _VALUES + values[:, :1]) ** 2)[done].sum())
        slope += float((density * (coefficients @ _SLOPES / half[:, None]) ** 2)[smooth].sum())
        rough = np.stack([left[~done], right[~done]])
        middle = rough.mean(axis=0)
        left, right = np.concatenate([rough[0], middle]), np.concatenate([middle, rough[1]])
    return square, slope


def _evaluated(f: Function, left: Array, right: Array) -> Array:
    """f at each panel's nodes, in one call."""
    nodes = ((left + right) / 2)[:, None] + ((right - left) / 2)[:, None] * _NODES
    nodes[:, 0], nodes[:, -1] = left, right  # ends are shared to the bit
    with np.errstate(all="ignore"):
        values = np.asarray(f(nodes.ravel()), dtype=np.float64)
    if values.shape != (nodes.size,):
        raise ValueError(f"it must give one number for each of {nodes.size}, not an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("it is not finite between -10 and 10, so it has no moments to compute")
    return values.reshape(nodes.shape)
