"""Answers weight by weight, written down as three columns: which weights, what precedes them, what follows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from initpolicy.records import Hit

__all__ = ["NOT_ASKED", "Entry", "Row", "agrees", "row_of", "rows", "words"]

NOT_ASKED = "-"
"""In place of an answer: it is not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The weights whose path a pattern matches, and what meets them: a name, ``a|b`` where both readings are right,
    ``-`` where the code leaves it open."""

    pattern: re.Pattern[str]
    preceding: str
    following: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of the zoo."""

    name: str
    make: Callable[..., nn.Module]
    """With nothing, or with what the library calls another activation."""
    table: tuple[Row, ...] = ()
    """The first row that matches a weight is about it; empty: no table was written."""
    activation: str = ""
    """The activation that its configuration names: some weight must be followed by it."""
    example: Callable[[], Mapping[str, Any]] | None = None
    """Keyword arguments, where nothing in the model says what it takes."""
    dead: str = ""
    """Pattern of the parameters whose product the forward throws away: they must be unresolved, and nothing else."""
    swapped: tuple[Row, ...] = ()
    """The table where ``make`` has put Mish in the place of the activation; empty: not in the swap test."""


def rows(text: str, **names: str) -> tuple[Row, ...]:
    """``pattern  preceding  following`` a line; ``#`` is a number, ``*`` anything, ``{name}`` one of the names."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        pattern, preceding, following = re.sub(r"\{(\w+)\}", lambda m: names[m[1]], line).split()
        spelled = pattern.replace(".", r"\.").replace("#", r"\d+").replace("*", ".*")
        found.append(Row(pattern=re.compile(spelled), preceding=preceding, following=following))
    return tuple(found)


def row_of(table: Sequence[Row], path: str) -> Row | None:
    """The row about a parameter; its ``.weight`` may be left out."""
    stem = path.removesuffix(".weight")
    return next((row for row in table if row.pattern.fullmatch(stem) or row.pattern.fullmatch(path)), None)


def agrees(right: str, hits: Sequence[Hit]) -> bool:
    """The primary answer has a right name, and the arguments that are stated with it."""
    return bool(hits) and any(_same(one, hits[0]) for one in right.split("|"))


def _same(right: str, hit: Hit) -> bool:
    name, _, inner = right.rstrip(")").partition("(")
    has = dict(hit.activation.arguments)
    stated = (pair.split("=") for pair in inner.split(",") if pair)
    return name == hit.activation.name and all(abs(has.get(key, float("nan")) - float(v)) < 1e-6 for key, v in stated)


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())
