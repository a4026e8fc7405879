"""A function of one number -> the activation it is: by comparison with the vocabulary, its arguments fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from initpolicy.facts.activations import VOCABULARY, Array, Function, Known
from initpolicy.facts.gains import exact_gains
from initpolicy.records import Activation

__all__ = ["POINTS", "alike", "described", "recognise"]

_MARKS = (-8.0, 8.0, 0.0, 1.0 / 1024.0, 1.0)
"""Where arguments are read off."""
POINTS: Array = np.concatenate([_MARKS, np.linspace(-8.1, 8.3, 421)])
"""Where functions are compared."""
_TOLERANCE = 2e-6
"""Of 1 + |z|: above the rounding of float32, far below the 5e-4 between the two GELUs."""

_FITTED_ONLY = frozenset(["identity", "leaky_relu", "prelu", "rrelu", "swish", "threshold"])
"""Entries that are no answer as they are: equal to another there, or a case of a fit."""


def recognise(f: Function, *, class_name: str = "") -> Activation | None:
    """The vocabulary's name for an elementwise function, its arguments fitted; None if it is like none of them.

    Compared on a grid, in this order: each entry as it is; entries whose arguments can be read off (slope, alpha,
    beta, lambd, frequency, min_val and max_val); each entry scaled and shifted. An affine function is ``identity``.
    ``f`` is called once, with one float64 vector.
    """
    with np.errstate(all="ignore"):
        values = np.asarray(f(POINTS.copy()), dtype=np.float64)
        if values.shape != POINTS.shape or not np.isfinite(values).all() or np.ptp(values) == 0:
            return None
        for name, arguments in _guesses(values):
            function = VOCABULARY[name].bound(arguments)
            if function is not None and alike(values, function(POINTS)):
                return Activation(name=name, arguments=tuple(arguments.items()), class_name=class_name)
    return None


def described(f: Function, name: str = "custom", *, class_name: str = "") -> Activation:
    """The vocabulary's activation, or else one of this name with its gains, computed from ``f`` by quadrature.

    Raises:
        ValueError: where ``f`` is like no entry and its gains cannot be computed.
    """
    known = recognise(f, class_name=class_name)
    return known or Activation(name=name, exact=exact_gains(f), class_name=class_name)


def alike(values: Array, others: Array) -> bool:
    """Whether two functions are one, by their values at `POINTS`."""
    size = min(1.0, float(np.abs(values).max()))
    return bool(np.all(np.abs(values - others) <= _TOLERANCE * size * (1.0 + np.abs(POINTS))))


def _guesses(values: Array) -> Iterator[tuple[str, dict[str, float]]]:
    """Entries that the values could be of, with their arguments, in order of preference."""
    plain = [known for known in VOCABULARY.values() if known.function is not None and known.name not in _FITTED_ONLY]
    yield "identity", {}
    yield from ((known.name, {}) for known in plain)
    fitted = [*_fits(*(float(value) for value in values[: len(_MARKS)]))]
    fitted += (_scaled(known, values) for known in (VOCABULARY["identity"], *plain))
    for name, arguments in fitted:
        yield name, {key: _rounded(value) for key, value in arguments.items()}
        yield name, arguments


def _fits(low: float, high: float, zero: float, small: float, one: float) -> Iterator[tuple[str, dict[str, float]]]:
    """Entries that could take these values at the marks, with the arguments they would need."""
    z_low, z_high, _, z_small, _ = _MARKS
    up, down = high / z_high, low / z_low
    if up > 0 and down > -up and abs(down) > _TOLERANCE * up and not math.isclose(up, down, rel_tol=_TOLERANCE):
        yield "leaky_relu", {"slope": down / up, **_unless(1.0, scale=up)}
    if low < 0:
        yield "elu", {"alpha": low / math.expm1(z_low)}
        yield "celu", {"alpha": _celu_alpha(low, z_low)}
    if 0 < one < 1:
        yield "swish", {"beta": math.log(one / (1 - one))}
    if zero > 0:
        yield "softplus", {"beta": math.log(2.0) / zero}
    if 0 < abs(small) <= 1:
        yield "sin", {"frequency": math.asin(small) / z_small}
    if low < high:
        yield "hardtanh", {"min_val": low, "max_val": high}
    if 0 < high < z_high:
        yield "softshrink", {"lambd": z_high - high}


def _celu_alpha(low: float, z: float) -> float:
    """alpha > 0 with alpha (exp(z/alpha) - 1) = low, by bisection: the left side falls from 0 to z as alpha grows."""
    below, above = 1e-6, 1e6
    for _ in range(100):
        middle = math.sqrt(below * above)
        below, above = (middle, above) if middle * math.expm1(z / middle) > low else (below, middle)
    return below


def _scaled(known: Known, values: Array) -> tuple[str, dict[str, float]]:
    """scale f + shift by least squares."""
    function = known.bound({})
    assert function is not None  # only elementwise entries are tried
    base = function(POINTS)
    centred = base - base.mean()
    scale = float(centred @ values / (centred @ centred))
    shift = float(values.mean() - scale * base.mean())
    return known.name, {**_unless(1.0, scale=scale), **_unless(0.0, shift=shift)}


def _unless(default: float, **argument: float) -> dict[str, float]:
    """The argument, if it is more than rounding away from this."""
    return {name: value for name, value in argument.items() if abs(value - default) > _TOLERANCE}


def _rounded(value: float) -> float:
    """To seven digits, what a float32 argument holds."""
    return float(f"{value:.7g}")
