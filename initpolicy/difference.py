"""Two plans for one model -> what they ask for differently, parameter by parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from initpolicy.plan import Plan
from initpolicy.records import Assignment
from initpolicy.rows import asks

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One parameter that two plans treat differently; the rows are None where a plan does not know the name."""

    name: str
    one: Assignment | None
    other: Assignment | None


def differences(one: Plan, other: Plan) -> Iterator[Difference]:
    """Every parameter whose values, under one seed, would not be the same; which rule asks for them is no difference.

    In the order of the first plan, then what only the second knows.
    """
    left, right = ({a.name: a for a in plan.assignments} for plan in (one, other))
    for name in dict.fromkeys([*left, *right]):
        a, b = left.get(name), right.get(name)
        if a is None or b is None or (a.status, asks(a)) != (b.status, asks(b)):
            yield Difference(name=name, one=a, other=b)
