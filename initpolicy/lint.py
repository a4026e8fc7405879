"""A policy, and its plan for a model -> what is allowed and yet hardly meant, each with its reason and a source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from initpolicy.facts.gains import gain
from initpolicy.plan import Plan
from initpolicy.records import Activation, Assignment, Hit, ModelFacts

__all__ = ["Finding", "lint"]

RECTIFIERS = frozenset({"relu", "relu6", "leaky_relu", "prelu"})
SATURATING = frozenset({"sigmoid", "tanh", "hardsigmoid", "hardtanh", "softsign"})

SATURATED = 3.0
"""Standard deviation of a pre-activation from which on a sigmoid or tanh is flat for most of its inputs."""
FACTOR = 1.5
"""A scale that is off by this much a layer is off by more than 50 after ten."""
SLOPE = 0.02
"""Relative error of a gain that is worth a word."""

HE = "He et al. 2015, arXiv:1502.01852, section 2.2"
GLOROT = "Glorot & Bengio 2010, section 4.2.1"
KLAMBAUER = "Klambauer et al. 2017, arXiv:1706.02515, section 3"
IOFFE = "Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.2"
SYMMETRY = "Goodfellow, Bengio, Courville, Deep Learning (2016), section 8.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is hardly meant."""

    place: str
    """The rule, and the first parameter that shows it."""
    parameters: tuple[str, ...]
    """All that show it; none where it is the rule itself."""
    message: str
    source: str = ""
    """Where the reason can be read."""


def lint(plan: Plan, model: ModelFacts) -> tuple[Finding, ...]:
    """What the plan notes of rules, then of laws in order of the rules; what several parameters show alike is one."""
    classes = {module.name: module.classes.simple for module in model.modules}
    found: dict[tuple[str, str, str], list[str]] = {}
    for assignment in plan.assignments:
        if assignment.status != "initialized" or assignment.tied_to:
            continue
        for message, source in _of(assignment, classes):
            found.setdefault((assignment.rule, message, source), []).append(assignment.name)
    order = list(plan.policy.rules)
    told = [
        Finding(place=f"rules.{rule} → {names[0]}", parameters=tuple(names), message=message, source=source)
        for (rule, message, source), names in sorted(found.items(), key=lambda item: order.index(item[0][0]))
    ]
    noted = (note.partition(": ") for note in plan.notes if note.startswith("rules."))
    return (
        *(Finding(place=place, parameters=(), message=message) for place, _, message in noted),
        *_never(plan),
        *told,
    )


def _never(plan: Plan) -> Iterator[Finding]:
    """Rules that claim parameters, and win none."""
    winners = Counter(a.rule for a in plan.assignments)
    losers = {name: a.rule for a in plan.assignments for name in a.shadowed}
    for name in plan.policy.rules:
        if name in losers and not winners[name]:
            why = f"claims parameters and wins none: later rules take them all ({losers[name]})"
            yield Finding(place=f"rules.{name}", parameters=(), message=f"{why}; remove it, or move it down")


def _of(a: Assignment, classes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(what is odd about it, source)."""
    following = a.site.signal.following[0] if a.site.signal.following else None
    if a.law is None:
        return
    if a.site.layout.kind == "bias" and following is not None and "BatchNorm" in _next(following, classes):
        if a.law.std or a.law.mean:
            yield "a bias that a batch norm takes out again: the norm subtracts the mean; set it to 0", IOFFE
        return
    if a.fan_in is None or len(a.shape) < 2 or a.site.layout.kind in ("table", "bias"):
        return
    if a.law.kind == "constant" and a.law.mean:
        yield "one value for a whole matrix: all units stay identical; draw it, or use zeros on purpose", SYMMETRY
        return
    if following is None or not a.law.std or a.site.layout.one_hot or a.law.kind in ("orthogonal", "delta_orthogonal"):
        return
    yield from _against(a, following.activation, normed="norm" in following.flags)


def _against(a: Assignment, activation: Activation, *, normed: bool) -> Iterator[tuple[str, str]]:
    """What speaks against the law of a weight before this activation."""
    assert a.law is not None
    assert a.fan_in is not None
    name = activation.name
    # The input of a first layer is taken to have unit variance, as the papers do.
    scale = math.sqrt(a.law.std**2 + a.law.mean**2) * math.sqrt(a.fan_in)
    if name in SATURATING and not normed and scale > SATURATED:
        yield f"pre-activations of standard deviation {scale:.3g} before {name}, which is flat there", GLOROT
        return
    if a.initializer.startswith("xavier") and name in RECTIFIERS and a.gain == 1:
        yield f"Xavier before {activation}, which halves the second moment in every layer; use Kaiming", HE
        return
    if name == "selu" and not normed and abs(scale - 1) > SLOPE:
        yield (
            f"variance · fan_in = {scale**2:.3g} before selu, which keeps mean 0 and variance 1 at 1; use lecun_normal",
            KLAMBAUER,
        )
        return
    if a.initializer.startswith("kaiming") and name in RECTIFIERS and a.gain:
        wanted = gain(activation, mode="exact")
        if abs(a.gain / wanted - 1) > SLOPE:
            yield f"gain {a.gain:.4g} before {activation}, whose own is {wanted:.4g}; leave out nonlinearity and a", HE
            return
    if name in RECTIFIERS and not normed and not a.site.signal.norm_before:
        off = scale / gain(activation, mode="exact")
        if not 1 / FACTOR <= off <= FACTOR and a.law.kind in ("normal", "uniform", "trunc_normal"):
            way = "shrinks" if off < 1 else "grows"
            yield f"the signal {way} by {off:.3g} in this layer, with no norm that would make up for it", HE


def _next(hit: Hit, classes: Mapping[str, str]) -> str:
    """Class of the module that takes the layer's output, as far as the way names it."""
    return classes.get(hit.path[1], "") if len(hit.path) > 1 else ""
