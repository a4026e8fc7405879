"""Values from a formula of the user's own: draws, indices and facts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initpolicy import streams
from initpolicy.formula import Formula, parse
from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer, fits, freedom
from initpolicy.initializers.distributions import FURTHEST
from initpolicy.records import Law
from initpolicy.streams import Stream

__all__ = ["FORMULAS"]

INDICES: Final = ("i", "j", "k")
"""Positions along the first, second and third dimension, from 0."""
_CHUNK = 2**18
_POINTS = 2**19
"""Most evaluations that stating a law may take."""
_ORDER = 8
_LEAST = (1, 64, 32**2)
_MOST = (1, 4096, 256**2)
"""Quadrature points for no draw, for u or z, for both: with fewer no law is stated, more add nothing."""
_PAST: Final = 100
"""How many times what the quadrature sees a draw may be, for its moments to be believed."""

Array = NDArray[np.float64]


def _draw(stream: Stream, block: Block, a: Arguments, start: int, stop: int) -> Float32:
    """The formula in float64 at each element, z from draw 0 and u from draw 1, rounded to float32."""
    formula, out = parse(a["value"]), np.empty(stop - start, np.float32)
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        known = {**_names(block), **_positions(block, first, last)}
        if "z" in formula.names:
            known["z"] = streams.normal(stream, first, last).astype(np.float64)
        if "u" in formula.names:
            known["u"] = streams.uniform01(stream, first, last, draw=1).astype(np.float64)
        with np.errstate(over="ignore"):
            out[first - start : last - start] = formula.evaluate_array(known)
    return out


def _names(block: Block) -> dict[str, Any]:
    """Every name that may be used here; draws and indices, which hide variables, wait for their values."""
    return {**block.variables, **dict.fromkeys((*INDICES[: len(block.shape)], "u", "z"), 0.0)}


def _positions(block: Block, start: int, stop: int) -> dict[str, Array]:
    indices = np.unravel_index(np.arange(start, stop), block.shape) if block.shape else ()
    return {name: index.astype(np.float64) for name, index in zip(INDICES, indices, strict=False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Of one element chosen at random, by one quadrature rule."""

    mean: float
    variance: float
    by_chance: float
    """The part of the variance that u and z make at one position; the rest lies between positions."""
    wobble: float
    """Variance, at one position, of the squared distance from the mean."""
    largest: float
    """Of all absolute values."""


def _law(block: Block, a: Arguments) -> Law | None:
    """Moments over the positions that matter and over u and z by composite Gauss-Legendre quadrature.

    What coarser rules find besides tells how far a formula that jumps (``1 if u < 0.1 else 0``) is from its integral,
    and counts as error. None if it would take too many evaluations, or if draws reach far past what the quadrature
    sees (``1/u``). ValueError if the formula has no value somewhere, or one that the block's dtype cannot hold.
    """
    formula = parse(a["value"])
    if not block.numel:
        return None
    grid, positions = _grid(block, formula)
    random = sorted(formula.names & {"u", "z"})
    points = min(_POINTS // grid, _MOST[len(random)])
    if points < _LEAST[len(random)]:
        return None
    known = {**_names(block), **positions}
    found = [_moments(formula, known, *_quadrature(random, panels)) for panels in _rules(random, points)]
    best, extremes = found[0], formula.evaluate_array({**known, **_extremes(random)})
    fits(block, float(np.abs(extremes).max()))
    if np.abs(extremes).max() > _PAST * best.largest:
        return None
    off, stretch = _range([of.mean for of in found]), _range([of.variance for of in found])
    return Law(
        kind="formula",
        mean=best.mean,
        std=math.sqrt(best.variance),
        mean_error=math.hypot(math.sqrt(best.by_chance / block.numel), off),
        freedom=_freedom(best, block.numel, float(np.abs(extremes - best.mean).max()), stretch),
    )


def _moments(formula: Formula, known: dict[str, Any], nodes: dict[str, Array], weights: Array) -> _Moments:
    values = formula.evaluate_array({**known, **nodes}).reshape(-1, len(weights))
    means = values @ weights
    mean = float(means.mean())
    squares = (values - mean) ** 2
    return _Moments(
        mean=mean,
        variance=float((squares @ weights).mean()),
        by_chance=float((((values - means[:, None]) ** 2) @ weights).mean()),
        wobble=float((((squares - (squares @ weights)[:, None]) ** 2) @ weights).mean()),
        largest=float(np.abs(values).max()),
    )


def _freedom(of: _Moments, count: int, furthest: float, stretch: float) -> float:
    """`freedom` of what is due to chance; ``stretch`` is the error of the variance itself."""
    variance = of.variance
    if of.by_chance <= 1e-24 * variance:
        return math.inf
    kurtosis, atoms = 1 + of.wobble / variance**2, of.by_chance / variance
    by_chance = freedom(count, kurtosis, reach=furthest / math.sqrt(variance), atoms=atoms)
    return 1 / (1 / by_chance + (stretch / variance) ** 2 / 2)


def _range(values: list[float]) -> float:
    return max(values) - min(values)


def _grid(block: Block, formula: Formula) -> tuple[int, dict[str, Array]]:
    """How many positions the formula can tell apart, and their indices as (positions, 1) columns."""
    used = [axis for axis, name in enumerate(INDICES) if name in formula.names and axis < len(block.shape)]
    sizes = [block.shape[axis] for axis in used]
    count = math.prod(sizes)
    if count > _POINTS:
        return count, {}
    indices = np.unravel_index(np.arange(count), sizes) if used else ()
    return count, {INDICES[axis]: index.astype(np.float64)[:, None] for axis, index in zip(used, indices, strict=True)}


def _rules(random: list[str], points: int) -> list[int]:
    """Panels for each draw, of the finest rule first, then of coarser ones that share few edges with it."""
    panels = int(points ** (1 / max(len(random), 1)) + 1e-9) // _ORDER
    return [panels, panels * 3 // 4 - 1, panels // 2 - 1] if random else [1]


def _quadrature(random: list[str], panels: int) -> tuple[dict[str, Array], Array]:
    """Nodes of each draw as (1, points) rows, over so many panels each, and weights that sum to 1."""
    weights, nodes = np.ones(1), dict[str, Array]()
    for name in random:
        points, here = _rule(panels, *((0.0, 1.0) if name == "u" else (-FURTHEST, FURTHEST)))
        here = here * np.exp(-(points**2) / 2) if name == "z" else here
        nodes = {other: np.repeat(row, len(points)) for other, row in nodes.items()}
        nodes[name] = np.tile(points, len(weights))
        weights = np.outer(weights, here / here.sum()).reshape(-1)
    return {name: row[None, :] for name, row in nodes.items()}, weights


def _extremes(random: list[str]) -> dict[str, Array]:
    """Every combination of the outermost draws, as rows."""
    ends = np.meshgrid(*([2.0**-24, 1 - 2.0**-24] if name == "u" else [-FURTHEST, FURTHEST] for name in random))
    return {name: end.reshape(1, -1) for name, end in zip(random, ends, strict=True)}


def _rule(panels: int, low: float, high: float) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(_ORDER)
    edges = np.linspace(low, high, panels + 1)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * nodes).reshape(-1), (half[:, None] * weights).reshape(-1)


FORMULAS: Final = (
    Initializer(
        name="formula",
        arguments=(
            Argument(
                name="value",
                kind="formula",
                doc="Computed for each element; u is uniform on (0, 1), z standard normal, i j k its position along "
                "the first three dimensions, other names are the facts and variables that formulas know.",
            ),
        ),
        law=_law,
        draw=_draw,
        fallible=True,
        doc="A value for each element, such as log(j + 1). u, z, i, j, k hide variables of those names.",
    ),
)
