"""Variance scaling: laws whose width follows from the fans, so that signals neither grow nor shrink with depth.

    h = W x, Var(W) = gain²/fan   =>   Var(h) = gain² E[x²] (forward, fan_in), the like backward (fan_out)

He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015 (arXiv 1502.01852), section 2.2; Glorot and
Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, section
4.2.1; LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 4.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from initpolicy import streams
from initpolicy.initializers.base import Argument, Arguments, Block, Initializer
from initpolicy.initializers.distributions import (
    normal_law,
    normal_recipe,
    truncated_law,
    truncated_recipe,
    uniform_law,
    uniform_recipe,
)
from initpolicy.records import Law
from initpolicy.streams import Recipe

__all__ = ["GAIN", "MODES", "RECTIFIER", "SCALED", "fan"]

StdOf = Callable[[Block, Arguments], float]

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo")


def fan(block: Block, mode: str) -> float:
    """The number that the variance is divided by: fan_in, fan_out, their mean, or their geometric mean.

    Raises:
        ValueError: if the block has no fans, or has none left (a dimension of size 0).
    """
    if block.fan_in is None or block.fan_out is None:
        if len(block.shape) < 2:
            raise ValueError(f"needs two or more dimensions, this is {block.shape}")
        raise ValueError(f"needs fans, and none are known for this {block.shape}; state its 'layout'")
    fan_in, fan_out = block.fan_in, block.fan_out
    found = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo": math.sqrt(fan_in * fan_out),
    }[mode]
    if found <= 0:
        raise ValueError(f"needs a {mode} above 0, this {block.shape} has {found:g}")
    return found


def _xavier(block: Block, a: Arguments) -> float:
    return float(a["gain"]) / math.sqrt(fan(block, "fan_avg"))


def _kaiming(block: Block, a: Arguments) -> float:
    return float(a["gain"]) / math.sqrt(fan(block, a["mode"]))


def _lecun(block: Block, a: Arguments) -> float:
    return 1 / math.sqrt(fan(block, "fan_in"))


def _normal(name: str, std: StdOf, **rest: Any) -> Initializer:
    def law(block: Block, a: Arguments) -> Law:
        return normal_law(block, 0.0, std(block, a))

    def recipe(block: Block, a: Arguments) -> Recipe:
        return normal_recipe(0.0, std(block, a))

    return Initializer(name=name, law=law, recipe=recipe, **rest)


def _uniform(name: str, std: StdOf, **rest: Any) -> Initializer:
    """On (-sqrt(3) std, sqrt(3) std), whose standard deviation is std."""

    def law(block: Block, a: Arguments) -> Law:
        bound = math.sqrt(3) * std(block, a)
        return uniform_law(block, -bound, bound)

    def recipe(block: Block, a: Arguments) -> Recipe:
        bound = math.sqrt(3) * std(block, a)
        return uniform_recipe(block, -bound, bound)

    return Initializer(name=name, law=law, recipe=recipe, **rest)


def _spread(block: Block, a: Arguments) -> float:
    """Standard deviation asked for by variance_scaling, before any truncation."""
    return math.sqrt(a["scale"] / fan(block, a["mode"]))


def _parent(block: Block, a: Arguments) -> float:
    """Standard deviation of the normal law that is truncated at twice itself."""
    shrinks = math.sqrt(streams.truncated_moments(-2.0, 2.0)[1]) if a["corrected"] else 1.0
    return _spread(block, a) / shrinks


def _scaling_law(block: Block, a: Arguments) -> Law:
    match a["distribution"]:
        case "uniform":
            return uniform_law(block, *_symmetric(math.sqrt(3) * _spread(block, a)))
        case "untruncated_normal":
            return normal_law(block, 0.0, _spread(block, a))
    parent = _parent(block, a)
    return truncated_law(block, 0.0, parent, *_symmetric(2 * parent))


def _scaling(block: Block, a: Arguments) -> Recipe:
    match a["distribution"]:
        case "uniform":
            return uniform_recipe(block, *_symmetric(math.sqrt(3) * _spread(block, a)))
        case "untruncated_normal":
            return normal_recipe(0.0, _spread(block, a))
    parent = _parent(block, a)
    return truncated_recipe(block, 0.0, parent, *_symmetric(2 * parent))


def _symmetric(bound: float) -> tuple[float, float]:
    return -bound, bound


GAIN: Final = Argument(
    name="gain", kind="gain", default=1.0, low=0, open_low=True, doc="Multiplies the standard deviation; or auto."
)
RECTIFIER: Final = (
    Argument(
        name="mode",
        kind="choice",
        choices=("fan_in", "fan_out"),
        default="fan_in",
        doc="What the variance is divided by.",
    ),
    Argument(
        name="nonlinearity",
        kind="text",
        default=None,
        doc="Whose gain: an activation's name, or following, preceding, theory.",
    ),
    Argument(name="a", default=None, doc="Negative slope of a leaky_relu."),
    Argument(
        name="gain",
        kind="gain",
        default=None,
        low=0,
        open_low=True,
        doc="A number beats nonlinearity and a; left out, the gain of the activation that was found.",
    ),
)
_XAVIER: Final[dict[str, Any]] = {
    "arguments": (GAIN,),
    "doc": "Variance gain² · 2/(fan_in + fan_out): Glorot and Bengio 2010, equations 12 and 16.",
}
_KAIMING: Final[dict[str, Any]] = {
    "arguments": RECTIFIER,
    "doc": "Variance gain²/fan, gain² = 2/(1 + slope²) for a rectifier: He et al. 2015, equations 10, 14 and 15.",
}
_LECUN: Final[dict[str, Any]] = {
    "doc": "Variance 1/fan_in: LeCun et al. 1998, equation 16. Not truncated; Keras' function of this name is "
    "variance_scaling with its defaults.",
}

SCALED: Final = (
    _normal("xavier_normal", _xavier, **_XAVIER),
    _uniform("xavier_uniform", _xavier, **_XAVIER),
    _normal("kaiming_normal", _kaiming, **_KAIMING),
    _uniform("kaiming_uniform", _kaiming, **_KAIMING),
    _normal("lecun_normal", _lecun, **_LECUN),
    _uniform("lecun_uniform", _lecun, **_LECUN),
    Initializer(
        name="variance_scaling",
        arguments=(
            Argument(name="scale", default=1.0, low=0, open_low=True, doc="Variance times the fan."),
            Argument(name="mode", kind="choice", choices=MODES, default="fan_in", doc="Which fan."),
            Argument(
                name="distribution",
                kind="choice",
                choices=("truncated_normal", "untruncated_normal", "uniform"),
                default="truncated_normal",
                doc="Keras' names. A bare normal is truncated in Keras and is not in JAX, so it must be said.",
            ),
            Argument(
                name="corrected",
                kind="boolean",
                default=True,
                doc="Widen the truncated law by 1/0.8796, so that its variance is scale/fan after truncation too.",
            ),
        ),
        law=_scaling_law,
        recipe=_scaling,
        doc="Variance scale/fan; truncation is at two standard deviations of the law before it.",
    ),
)
