"""Independent draws from a law that is stated outright: normal, uniform, truncated, and six others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from initpolicy import streams
from initpolicy.initializers.base import Argument, Arguments, Block, Initializer, Together, fits, iid
from initpolicy.records import Law
from initpolicy.streams import Recipe

__all__ = [
    "DISTRIBUTIONS",
    "FURTHEST",
    "normal_law",
    "normal_recipe",
    "truncated_law",
    "truncated_recipe",
    "uniform_law",
    "uniform_recipe",
]

FURTHEST: Final = 6.8
"""No normal draw lies further out, in standard deviations (32-bit words end at 6.76)."""
_LONGEST = 23.0
"""No exponential draw of rate 1 is larger (32-bit words end at 22.9)."""


# --- shared with the laws that are scaled by fans --------------------------------------------------


def normal_law(block: Block, mean: float, std: float) -> Law:
    """N(mean, std²)."""
    fits(block, abs(mean) + FURTHEST * std)
    return iid("normal", block.numel, mean=mean, std=std, kurtosis=3.0)


def normal_recipe(mean: float, std: float) -> Recipe:
    """mean + std z."""
    return Recipe(law="normal", shift=mean, scale=std)


def uniform_law(block: Block, low: float, high: float) -> Law:
    """U(low, high), bounds open; kurtosis 9/5.

    Raises:
        ValueError: if no number of the block's dtype lies between them.
    """
    _drawable(block, low, high)
    std = (high - low) / math.sqrt(12)
    return iid("uniform", block.numel, mean=(low + high) / 2, std=std, kurtosis=1.8, low=low, high=high)


def uniform_recipe(block: Block, low: float, high: float) -> Recipe:
    """middle + half c, c uniform on the open (-1, 1); kept strictly inside after rounding to the dtype."""
    least, most = streams.clamp(low, high, block.dtype)
    return Recipe(law="centred", shift=(low + high) / 2, scale=(high - low) / 2, least=least, most=most)


def truncated_law(block: Block, mean: float, std: float, low: float, high: float) -> Law:
    """N(mean, std²) given low < x < high, with its own moments, not the parent's.

    Raises:
        ValueError: if the interval holds too little of the normal law, or no number of the block's dtype.
    """
    _drawable(block, low, high)
    try:
        first, variance, fourth = streams.truncated_moments((low - mean) / std, (high - mean) / std)
    except ValueError as error:
        raise ValueError(f"cannot be drawn: {error}") from None
    return iid(
        "trunc_normal",
        block.numel,
        mean=mean + std * first,
        std=std * math.sqrt(variance),
        kurtosis=fourth / variance**2,
        low=low,
        high=high,
    )


def truncated_recipe(block: Block, mean: float, std: float, low: float, high: float) -> Recipe:
    """mean + std z, z by inversion; kept strictly inside after rounding to the dtype."""
    least, most = streams.clamp(low, high, block.dtype)
    known = streams.interval(float((low - mean) / std), float((high - mean) / std))
    return Recipe(law="truncated", interval=known, shift=mean, scale=std, least=least, most=most)


def _drawable(block: Block, low: float, high: float) -> None:
    fits(block, max(abs(low), abs(high)))
    try:
        streams.inside(low, high, block.dtype)
    except ValueError as error:
        raise ValueError(f"cannot be drawn: {error}") from None


# --- the table -----------------------------------------------------------------------------------


def _normal_law(block: Block, a: Arguments) -> Law:
    return normal_law(block, a["mean"], a["std"])


def _normal(block: Block, a: Arguments) -> Recipe:
    return normal_recipe(a["mean"], a["std"])


def _uniform_law(block: Block, a: Arguments) -> Law:
    return uniform_law(block, a["a"], a["b"])


def _uniform(block: Block, a: Arguments) -> Recipe:
    return uniform_recipe(block, a["a"], a["b"])


def _bounds(a: Arguments) -> tuple[float, float]:
    """Absolute bounds."""
    if a["bounds"] == "absolute":
        return a["a"], a["b"]
    return a["mean"] + a["a"] * a["std"], a["mean"] + a["b"] * a["std"]


def _truncated_law(block: Block, a: Arguments) -> Law:
    return truncated_law(block, a["mean"], a["std"], *_bounds(a))


def _truncated(block: Block, a: Arguments) -> Recipe:
    return truncated_recipe(block, a["mean"], a["std"], *_bounds(a))


def _bernoulli_law(block: Block, a: Arguments) -> Law:
    p = math.floor(a["p"] * 2**32) / 2**32  # as it is drawn
    variance = p * (1 - p)
    kurtosis = 1 / variance - 3 if variance else 1.0
    return iid("bernoulli", block.numel, mean=p, std=math.sqrt(variance), kurtosis=kurtosis, atoms=True)


def _bernoulli(block: Block, a: Arguments) -> Recipe:
    return Recipe(law="bernoulli", thresholds=(streams.bernoulli_threshold(a["p"]),))


def _poisson_law(block: Block, a: Arguments) -> Law:
    rate = float(a["rate"])
    kurtosis = 3 + 1 / rate if rate else 1.0
    return iid("poisson", block.numel, mean=rate, std=math.sqrt(rate), kurtosis=kurtosis, atoms=True)


def _poisson(block: Block, a: Arguments) -> Recipe:
    return Recipe(law="poisson", thresholds=streams.poisson_thresholds(float(a["rate"])))


def _exponential_law(block: Block, a: Arguments) -> Law:
    mean = 1 / a["rate"]
    fits(block, _LONGEST * mean)
    return iid("exponential", block.numel, mean=mean, std=mean, kurtosis=9.0, low=0.0, reach=_LONGEST - 1)


def _exponential(block: Block, a: Arguments) -> Recipe:
    return Recipe(law="exponential", rate=a["rate"], least=_above_zero(block))


def _log_normal_law(block: Block, a: Arguments) -> Law:
    """With w = exp(std²): mean exp(mean) sqrt(w), variance mean² (w - 1), kurtosis w⁴ + 2 w³ + 3 w² - 3."""
    furthest = math.exp(min(a["mean"] + FURTHEST * a["std"], 700.0))
    fits(block, furthest)
    w = math.exp(a["std"] ** 2)
    mean = math.exp(a["mean"] + a["std"] ** 2 / 2)
    std = mean * math.sqrt(math.expm1(a["std"] ** 2))
    kurtosis = w**4 + 2 * w**3 + 3 * w**2 - 3
    reach = max(furthest - mean, 0.0) / std
    return iid("log_normal", block.numel, mean=mean, std=std, kurtosis=kurtosis, low=0.0, reach=reach)


def _log_normal(block: Block, a: Arguments) -> Recipe:
    return replace(normal_recipe(a["mean"], a["std"]), exp=True, least=_above_zero(block))


def _above_zero(block: Block) -> float:
    return streams.clamp(0.0, math.inf, block.dtype)[0]


def _log_uniform_law(block: Block, a: Arguments) -> Law:
    """Central moments by Gauss-Legendre quadrature over u of low exp(u log(high/low))."""
    low, high = a["low"], a["high"]
    _drawable(block, low, high)
    nodes, weights = np.polynomial.legendre.leggauss(128)
    values = low * np.exp((nodes + 1) / 2 * math.log(high / low))
    mean = float(weights @ values) / 2
    second, fourth = (float(weights @ (values - mean) ** power) / 2 for power in (2, 4))
    std, kurtosis = math.sqrt(second), fourth / second**2
    return iid("log_uniform", block.numel, mean=mean, std=std, kurtosis=kurtosis, low=low, high=high)


def _log_uniform(block: Block, a: Arguments) -> Recipe:
    first, last = streams.exact_log(a["low"]), streams.exact_log(a["high"])
    least, most = streams.clamp(a["low"], a["high"], block.dtype)
    return Recipe(
        law="centred", shift=(first + last) / 2, scale=(last - first) / 2, exp=True, least=least, most=most
    )  # fmt: skip


def _ordered(low: str, high: str, **defaults: float) -> Together:
    """Refuses low >= high where both are numbers already."""

    def together(given: Arguments) -> Iterator[tuple[str, str]]:
        known = {**defaults, **given}
        first, last = known[low], known[high]
        if not isinstance(first, str) and not isinstance(last, str) and not first < last:
            yield low, f"must be below {high}, not {first:g} with {high}={last:g}"

    return together


def _bounds_said(given: Arguments) -> Iterator[tuple[str, str]]:
    if "bounds" not in given and ("a" in given or "b" in given):
        yield "bounds", "is required beside a or b: 'sigma' (in standard deviations from the mean) or 'absolute'"
    yield from _ordered("a", "b", a=-2, b=2)(given)


_MEAN = Argument(name="mean", default=0.0, doc="Mean.")
_STD = Argument(name="std", default=1.0, low=0, open_low=True, doc="Standard deviation.")

DISTRIBUTIONS: Final = (
    Initializer(
        name="normal",
        arguments=(_MEAN, _STD),
        law=_normal_law,
        recipe=_normal,
        doc="N(mean, std²). Papers write the variance, this takes the standard deviation, as torch does.",
    ),
    Initializer(
        name="uniform",
        arguments=(Argument(name="a", doc="Lower bound, open."), Argument(name="b", doc="Upper bound, open.")),
        law=_uniform_law,
        recipe=_uniform,
        together=_ordered("a", "b"),
        doc="U(a, b): mean (a + b)/2, standard deviation (b - a)/sqrt(12).",
    ),
    Initializer(
        name="trunc_normal",
        arguments=(
            _MEAN,
            Argument(name="std", default=1.0, low=0, open_low=True, doc="Standard deviation before truncation."),
            Argument(name="a", default=-2.0, doc="Lower bound, open."),
            Argument(name="b", default=2.0, doc="Upper bound, open."),
            Argument(
                name="bounds",
                kind="choice",
                choices=("sigma", "absolute"),
                default="sigma",
                doc="What a and b are: standard deviations from the mean, or values. Required beside either.",
            ),
        ),
        law=_truncated_law,
        recipe=_truncated,
        together=_bounds_said,
        doc="N(mean, std²) given that it lies between the bounds; by default 2 standard deviations to either side, "
        "which leaves 0.8796 std. torch.nn.init.trunc_normal_ takes its a and b as values: bounds: absolute.",
    ),
    Initializer(
        name="bernoulli",
        arguments=(Argument(name="p", low=0, high=1, doc="Probability of a 1."),),
        law=_bernoulli_law,
        recipe=_bernoulli,
        doc="1 with probability p, else 0: mean p, variance p (1 - p). p counts in steps of 2**-32.",
    ),
    Initializer(
        name="poisson",
        arguments=(Argument(name="rate", low=0, high=1000, doc="Mean and variance."),),
        law=_poisson_law,
        recipe=_poisson,
        doc="Poisson(rate) by inversion of one 32-bit word.",
    ),
    Initializer(
        name="exponential",
        arguments=(Argument(name="rate", default=1.0, low=0, open_low=True, doc="One over the mean."),),
        law=_exponential_law,
        recipe=_exponential,
        doc="Density rate exp(-rate x) on x > 0: mean and standard deviation 1/rate.",
    ),
    Initializer(
        name="log_normal",
        arguments=(
            Argument(name="mean", default=0.0, doc="Mean of the logarithm."),
            Argument(name="std", default=1.0, low=0, open_low=True, doc="Standard deviation of the logarithm."),
        ),
        law=_log_normal_law,
        recipe=_log_normal,
        doc="exp(x) with x ~ N(mean, std²): mean exp(mean + std²/2).",
    ),
    Initializer(
        name="log_uniform",
        arguments=(
            Argument(name="low", low=0, open_low=True, doc="Lower bound, open."),
            Argument(name="high", low=0, open_low=True, doc="Upper bound, open."),
        ),
        law=_log_uniform_law,
        recipe=_log_uniform,
        together=_ordered("low", "high"),
        doc="exp(x) with x ~ U(log low, log high): mean (high - low)/log(high/low).",
    ),
)
