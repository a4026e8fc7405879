"""Plan + measures -> Audit: what was expected beside what lies in memory, and whether they agree."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from initpolicy.plan import Plan, fingerprint, row_of
from initpolicy.records import Assignment, AuditRow, Header, Law, Measure, Verdict
from initpolicy.render import format_for, text
from initpolicy.render.fold import DUPLICATE

__all__ = ["Audit", "audit_of", "judge"]

FAR = 6.0
"""Standard errors that a moment may be off: chance alone goes further once in 5e8 comparisons."""

_ROUNDING = {"float64": 2.0**-24, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of one rounding; float64 parameters hold numbers that were drawn in float32."""
_SMALLEST = {"float16": 2.0**-25}
"""Largest error of rounding to a subnormal, where it can matter."""


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

    def __str__(self) -> str:
        return text(self.header, self.rows)


def audit_of(plan: Plan, measures: Mapping[str, Measure], seed: int) -> Audit:
    """The plan's rows with what was measured (by parameter name), judged, and equal random values flagged."""
    rows = tuple(_row(assignment, measures.get(assignment.name), seed) for assignment in plan.assignments)
    same = _duplicates(plan, rows, measures)
    rows = tuple(_flagged(row, same) for row in rows)
    twins = [f"{name} has the {DUPLICATE} {other}" for name, other in same.items()]
    header = replace(
        plan.header,
        seed=seed,
        fingerprint=fingerprint(plan.policy.name, seed, plan.assignments),
        notes=(*plan.notes, *_few(twins)),
    )
    return Audit(header=header, rows=rows)


def _row(assignment: Assignment, found: Measure | None, seed: int) -> AuditRow:
    row = row_of(assignment, seed)
    if found is None or assignment.tied_to or not found.count:
        return row
    judged = assignment.status == "initialized" and assignment.law is not None and not found.reason
    return replace(
        row,
        mean=found.mean,
        std=found.std,
        min=found.min,
        max=found.max,
        digest=found.digest,
        reason="; ".join(filter(None, (row.reason, found.reason))),
        verdict=judge(assignment.law, found, assignment.dtype) if judged and assignment.law else "",
    )


def judge(law: Law, found: Measure, dtype: str) -> Verdict:
    """``ok`` where mean and variance lie within six standard errors of the law's, and every value inside its bounds.

    The variance of n values is compared as a chi-square of ``law.freedom`` degrees of freedom, by the
    Wilson-Hilferty cube root: ((v/σ²)^(1/3) - (1 - 2/9f)) / sqrt(2/9f) is about standard normal. Beside chance,
    one rounding of the dtype is allowed.
    """
    if not found.finite:
        return "off"
    rounding = _ROUNDING[dtype] * max(abs(found.min), abs(found.max), abs(law.mean)) + _SMALLEST.get(dtype, 0.0)
    if abs(found.mean - law.mean) > FAR * law.mean_error + rounding:
        return "off"
    if not (law.low < found.min + rounding and found.max - rounding < law.high):
        return "off"
    return "ok" if _spread_holds(law, found, rounding) else "off"


def _spread_holds(law: Law, found: Measure, rounding: float) -> bool:
    if law.std == 0 or math.isinf(law.freedom):
        return abs(found.std - law.std) <= rounding + 1e-6 * law.std
    if found.count < 2:
        return True  # one value has no spread
    freedom = max(law.freedom, 1.0)
    low, high = max(found.std - rounding, 0.0), found.std + rounding
    unit = 2 / (9 * freedom)
    least, most = ((std / law.std) ** (2 / 3) for std in (high, low))
    return (least - (1 - unit)) / math.sqrt(unit) >= -FAR and (most - (1 - unit)) / math.sqrt(unit) <= FAR


# --- duplicates ----------------------------------------------------------------------------------


def _duplicates(plan: Plan, rows: tuple[AuditRow, ...], measures: Mapping[str, Measure]) -> dict[str, str]:
    """Name -> the first name that holds the same values, among values that should differ (thread PT#86274)."""
    first: dict[tuple[str, tuple[int, ...]], str] = {}
    same: dict[str, str] = {}
    for row, assignment in zip(rows, plan.assignments, strict=True):
        found = measures.get(row.name)
        if found is None or row.status == "tied" or not found.std > 0 or not _by_chance(plan, assignment):
            continue
        key = (row.digest, row.shape)
        if key in first:
            same[row.name] = first[key]
        else:
            first[key] = row.name
    return same


def _by_chance(plan: Plan, assignment: Assignment) -> bool:
    """Whether equal values are a sign of something wrong: drawn here, or left as some constructor drew them."""
    if assignment.status != "initialized":
        return assignment.status in ("kept", "unmatched")
    return all(plan.initializers[part.initializer].random for part in assignment.parts)


def _flagged(row: AuditRow, same: Mapping[str, str]) -> AuditRow:
    if row.name not in same:
        return row
    return replace(row, reason="; ".join(filter(None, (row.reason, f"{DUPLICATE} {same[row.name]}"))))


def _few(notes: list[str], most: int = 3) -> Iterator[str]:
    yield from notes[:most]
    if len(notes) > most:
        yield f"{len(notes) - most} more parameters hold values that another one holds"
