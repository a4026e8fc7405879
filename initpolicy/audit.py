"""Plan + measures -> Audit: what was expected beside what lies in memory, and whether they agree."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from initpolicy.collector import paused
from initpolicy.initializers.base import unset
from initpolicy.plan import Plan
from initpolicy.records import Assignment, AuditRow, Header, Law, Measure, Part, Verdict
from initpolicy.render import explain, format_for, text
from initpolicy.render.fold import DUPLICATE
from initpolicy.render.numbers import short
from initpolicy.rows import fingerprint, row_of

__all__ = ["Audit", "audit_of", "judge"]

FAR = 6.0
"""Standard errors that a moment may be off: chance alone goes further once in 5e8 comparisons."""

_ROUNDING = {"float64": 2.0**-24, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of one rounding; float64 parameters hold numbers that were drawn in float32."""
_SMALLEST = {"float16": 2.0**-25}
"""Largest error of rounding to a subnormal, where it can matter."""
_THROUGH = 4
"""Roundings that a parametrization may add: g v/|v| has three."""
_ALIKE = (
    "bernoulli", "constant", "exponential", "log_normal", "log_uniform", "normal", "poisson", "trunc_normal", "uniform",
)  # fmt: skip
"""Kinds of laws that hold of any of their rows by itself: every element has the same, whatever the others are."""
_REPEATING = ("bernoulli", "formula", "poisson")
"""Kinds of laws of which a value, or all of a small tensor, may come up twice."""
_TINY = 1e-300
_SEVERAL = 8
"""With fewer elements than this, equal values may be chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was done to a model: a header and one row for each parameter name. Printing it fits the terminal."""

    header: Header
    rows: tuple[AuditRow, ...]

    @property
    def seed(self) -> int | None:
        """The seed that all values follow from, also where one was drawn."""
        return self.header.seed

    @property
    def fingerprint(self) -> str:
        """16 hex digits over policy name, seed, names, shapes and resolved arguments."""
        return self.header.fingerprint

    @property
    def ok(self) -> bool:
        """No parameter is off its law."""
        return not any(row.verdict == "off" for row in self.rows)

    @property
    def totals(self) -> Mapping[str, int]:
        """How many rows have each status that occurs."""
        return dict(Counter(row.status for row in self.rows))

    @property
    def rules(self) -> Mapping[str, int]:
        """How many rows each rule decided."""
        return dict(Counter(row.rule for row in self.rows if row.rule))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole audit, in the format of the suffix: .csv, .json, .md or .txt.

        Raises:
            ValueError: for any other suffix.
        """
        content = format_for(path)(self.header, self.rows)
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            file.write(content)

    def explain(self, name: str, width: int | None = None) -> str:
        """Why one parameter got what it got: rules, initializer, gain, and the ways to what surrounds it.

        Raises:
            ValueError: for a name that no parameter has.
        """
        return explain(self.rows, name, width)

    def __str__(self) -> str:
        return text(self.header, self.rows)


def audit_of(plan: Plan, measures: Mapping[str, Measure], seed: int) -> Audit:
    """The plan's rows with what was measured (by parameter name), judged, and equal random values flagged."""
    with paused():
        rows = tuple(_row(plan, assignment, measures.get(assignment.name), seed) for assignment in plan.assignments)
    same = _duplicates(plan, rows, measures)
    rows = tuple(_flagged(row, same) for row in rows)
    twins = [f"{name} has the {DUPLICATE} {other}" for name, other in same.items()]
    header = Header(
        policy=plan.policy.name,
        description=plan.policy.description,
        seed=seed,
        fingerprint=fingerprint(plan.policy.name, seed, plan.assignments),
        notes=(*plan.notes, *_few(twins)),
    )
    return Audit(header=header, rows=rows)


def _row(plan: Plan, assignment: Assignment, found: Measure | None, seed: int) -> AuditRow:
    row = row_of(assignment, seed)
    if found is None or assignment.tied_to:
        return row
    if not found.count:
        return replace(row, reason="; ".join(filter(None, (row.reason, found.held))))
    verdict, why = _judged(plan, assignment, found)
    return replace(
        row,
        mean=found.mean,
        std=found.std,
        min=found.min,
        max=found.max,
        digest=found.digest,
        reason="; ".join(filter(None, (row.reason, found.reason, found.held, why))),
        verdict=verdict,
    )


# --- expected against measured -------------------------------------------------------------------


def _judged(plan: Plan, assignment: Assignment, found: Measure) -> tuple[Verdict, str]:
    """The verdict on all parts, each held against its own law, and which of several are off."""
    if assignment.status != "initialized" or found.reason:
        return "", ""
    through = bool(assignment.facts.parametrization)
    compared = [
        (part, measured, law, judge(law, measured, assignment.dtype, through=through))
        for part, measured in zip(assignment.parts, found.parts or (found,), strict=True)
        for law in [_law_of(plan, assignment, part, measured)]
        if law is not None and measured.count
    ]
    off = [_told(part, assignment, measured, law) for part, measured, law, said in compared if said == "off"]
    if off:
        return "off", "; ".join(_few(off, "parts are off")) if found.parts else ""
    return ("ok" if compared else ""), ""


def _told(part: Part, assignment: Assignment, found: Measure, law: Law) -> str:
    label = part.block.name.removeprefix(assignment.facts.key)
    return (
        f"part {label}: mean {short(found.mean)}, std {short(found.std)} "
        f"where mean {short(law.mean)}, std {short(law.std)} was asked"
    )


def _law_of(plan: Plan, assignment: Assignment, part: Part, found: Measure) -> Law | None:
    """The part's law, for as many values as were measured; None where it says nothing of them.

    A padding row, or what other processes hold, is left out. The law of independent values holds without it; that of a
    matrix as a whole does not.
    """
    if part.law is None or found.count in (0, part.block.numel):
        return part.law
    if part.law.kind not in _ALIKE:
        return None
    initializer = plan.initializers[part.initializer]
    try:
        return initializer.law(replace(part.block, shape=(found.count,)), {**unset(initializer), **part.arguments})
    except ValueError:  # it is about a shape, not about values one by one (icnr)
        return None


def judge(law: Law, found: Measure, dtype: str, *, through: bool = False) -> Verdict:
    """``ok`` where mean and variance lie within six standard errors of the law's, and every value inside its bounds.

    - mean: six standard errors grow by 35/6 of the mean's skewness (Cornish-Fisher), which is at most sqrt(2/f);
    - variance v of n values: as a chi-square's of f = ``law.freedom`` degrees of freedom, whose cube root is about
      normal (Wilson-Hilferty): -6 s - s² <= (v/σ²)^(1/3) - 1 <= 6 s with s² = 2/(9 f). Where values repeat, few being
      rare ones leave no spread at all: v/σ² >= 1 - 18 s, as for Poisson counts;
    - bounds: open, and kept in rounding.

    Beside chance, mean and variance may be off by one rounding to the dtype, and all three by four more of what went
    ``through`` a parametrization. What leaves nothing to chance must be right in every value.
    """
    if not found.finite:
        return "off"
    unit, least = _ROUNDING[dtype], _SMALLEST.get(dtype, 0.0)
    added = _THROUGH * unit if through else 0.0
    if law.std == 0:
        room = (unit + added) * abs(law.mean) + least
        return "ok" if law.mean - room <= found.min and found.max <= law.mean + room else "off"
    rounding = (unit + added) * math.hypot(found.mean, found.std) + least
    inside = law.low - _share(added, law.low) < found.min and found.max < law.high + _share(added, law.high)
    return "ok" if inside and _mean_holds(law, found, rounding) and _spread_holds(law, found, rounding) else "off"


def _share(part: float, bound: float) -> float:
    return part * abs(bound) if math.isfinite(bound) else 0.0


def _mean_holds(law: Law, found: Measure, rounding: float) -> bool:
    skewness = math.sqrt(2 / max(law.freedom, _TINY))
    return abs(found.mean - law.mean) <= FAR * (1 + skewness) * law.mean_error + rounding


def _spread_holds(law: Law, found: Measure, rounding: float) -> bool:
    if math.isinf(law.freedom):
        return abs(found.std - law.std) <= rounding + 1e-6 * law.std
    if found.count < 2:
        return True  # one value has no spread
    unit = 2 / (9 * max(law.freedom, _TINY))
    stray = FAR * math.sqrt(unit)
    least, most = (max(std, 0.0) / law.std for std in (found.std - rounding, found.std + rounding))
    wide_enough = most**2 >= 1 - 3 * stray if law.kind in _REPEATING else most ** (2 / 3) >= 1 - unit - stray
    return wide_enough and least ** (2 / 3) <= 1 + stray


# --- duplicates ----------------------------------------------------------------------------------


def _duplicates(plan: Plan, rows: tuple[AuditRow, ...], measures: Mapping[str, Measure]) -> dict[str, str]:
    """Name -> the first name that holds the same values, among values that should differ (thread PT#86274)."""
    first: dict[tuple[str, tuple[int, ...]], str] = {}
    same: dict[str, str] = {}
    for row, assignment in zip(rows, plan.assignments, strict=True):
        found = measures.get(row.name)
        if found is None or row.status == "tied" or found.count < _SEVERAL or not found.std > 0:
            continue
        if not _by_chance(plan, assignment):
            continue
        key = (row.digest, row.shape)
        if key in first:
            same[row.name] = first[key]
        else:
            first[key] = row.name
    return same


def _by_chance(plan: Plan, assignment: Assignment) -> bool:
    """Whether equal values are a sign of something wrong: drawn here, or left as some constructor drew them.

    Not where a law repeats itself, nor where there is none: what a user's function does is not known.
    """
    if assignment.status != "initialized":
        return assignment.status in ("kept", "unmatched")
    laws = [part.law for part in assignment.parts if plan.initializers[part.initializer].random]
    return any(law is not None and law.kind not in _REPEATING for law in laws)


def _flagged(row: AuditRow, same: Mapping[str, str]) -> AuditRow:
    if row.name not in same:
        return row
    return replace(row, reason="; ".join(filter(None, (row.reason, f"{DUPLICATE} {same[row.name]}"))))


def _few(notes: list[str], rest: str = "parameters hold values that another one holds", most: int = 3) -> Iterator[str]:
    yield from notes[:most]
    if len(notes) > most:
        yield f"{len(notes) - most} more {rest}"
