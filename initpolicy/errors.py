"""What can go wrong: one base, few children, each carrying every problem found, not the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ["ApplyError", "CannotTrace", "InitPolicyError", "PlanError", "PolicyError", "Problem", "meant", "shown"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: which policy, where in it, what is wrong and what to do."""

    source: str
    place: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.place, self.message) if part)


class InitPolicyError(Exception):
    """Base of every error this package raises; ``problems`` holds all that was found, in order."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PolicyError(InitPolicyError):
    """The policy itself is wrong, whatever the model."""


class PlanError(InitPolicyError):
    """The policy is sound but does not fit this model."""


class ApplyError(InitPolicyError):
    """The plan fits but the weights cannot be written, or are not what was asked."""


class CannotTrace(InitPolicyError):
    """The model was not traced; the message says why and what to do. The public functions make a PlanError of it."""

    def __init__(self, why: str) -> None:
        super().__init__(Problem("", "", why))


def meant(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known word, or nothing."""
    near = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """What the author of a policy would call a value: ``nothing``, ``true``, ``a list``, ``0.5``, ``'text'``."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONG else f"{value[: _LONG - 3]}…")
    if isinstance(value, int) and abs(value) >= 10**_LONG:
        return "a huge number"
    return repr(value)


_LONG = 60
"""Characters of a text, or digits of a number, that are still shown."""
