"""The audit for a report or a pull request: what `text` says, folded but uncapped, as GitHub's markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from initpolicy.records import AuditRow, Header
from initpolicy.render.fold import Fold, fold
from initpolicy.render.numbers import short, span
from initpolicy.render.summary import is_measured, rules, seed, state, totals, verdict
from initpolicy.render.words import asked, shape, visible

__all__ = ["markdown"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")


def markdown(header: Header, rows: Sequence[AuditRow]) -> str:
    """A heading, the summary as a list, the notes, and one table row for each fold.

    Measured numbers of folded rows are ranges; a plan has no measured columns. The ways are those of the first row of
    a fold, the flags those of any.
    """
    measured = is_measured(rows)
    facts = [
        seed(header, measured),
        f"fingerprint {_code(header.fingerprint)}" if header.fingerprint else "",
        _plain(totals(rows, measured)),
        _plain(verdict(rows)) if measured else "",
        f"rules: {_plain(rules(rows))}" if rules(rows) else "",
    ]
    title = "Initialization by" if measured else "Plan of initialization by"
    blocks = [
        f"## {title} {_code(header.policy)}" if header.policy else f"## {title} a policy without a name",
        _plain(header.description),
        "\n".join(f"- {fact}" for fact in facts if fact),
        "\n".join(f"> - {_plain(note)}" for note in dict.fromkeys(header.notes)),
        "\n".join(_table(fold(rows), measured)) if rows else "",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _table(folds: Sequence[Fold], measured: bool) -> list[str]:
    titles = ["parameter", "shape", "rule", "initializer", "activation", "gain", "std"]
    titles += ["measured std", "measured mean", "verdict"] if measured else ["status"]
    titles += [
        "gain of",
        "path",
        "flags",
        "also met",
        "input activation",
        "input path",
        "input flags",
        "input also met",
    ]
    lines = [titles, ["---"] * len(titles), *(_cells(one, measured) for one in folds)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cells(one: Fold, measured: bool) -> list[str]:
    row = one.first
    moments = [span(one.values("std")), span(one.values("mean"))] if measured else []
    remark = _plain(row.reason)
    call = _code(asked(row, gain=False))
    standing = state(row, measured)
    return [
        _code(one.name) + one.times,
        shape(row.shape),
        _plain(row.rule),
        f"{call}; {remark}" if call and remark else call or remark,
        _plain(row.activation),
        short(row.gain),
        short(row.expected_std),
        *moments,
        f"**{standing}**" if standing in ("off", "unmatched", "duplicate") else standing,
        _plain(row.gain_from),
        *_way(row.path, [flag for each in one.rows for flag in each.flags], row.other_hits),
        _plain(row.input_activation),
        *_way(row.input_path, [flag for each in one.rows for flag in each.input_flags], row.other_input_hits),
    ]


def _way(path: Sequence[str], flags: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    yield _plain(" → ".join(path))
    yield _plain(", ".join(dict.fromkeys(flags)))
    yield _plain("; ".join(others))


def _plain(text: str) -> str:
    """Text that markdown leaves alone."""
    return _SPECIAL.sub(r"\\\1", visible(text))


def _code(text: str) -> str:
    """A code span. A table takes a ``|`` in one for a border unless it is escaped."""
    if not text:
        return ""
    text = visible(text).replace("|", "\\|")
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (max(map(len, re.findall("`+", text))) + 1)
    return f"{fence} {text} {fence}"
