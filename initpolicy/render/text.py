"""The audit (or the plan) for a terminal: a summary, then a table that fits."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from initpolicy.records import AuditRow, Header
from initpolicy.render.fold import DUPLICATE, Fold, fold, troubled
from initpolicy.render.numbers import short
from initpolicy.render.summary import is_measured, rules, seed, state, totals, verdict
from initpolicy.render.words import asked, counted, shape, visible

__all__ = ["text"]

_LEAST = 40
"""Narrower than this no table can be read; lines may then pass the edge."""
_GAP = "  "
_STYLES = {"off": "bold red", "unmatched": "yellow", "duplicate": "yellow", "ok": "green"}


def text(
    header: Header, rows: Sequence[AuditRow], width: int | None = None, color: bool = False, most: int | None = 40
) -> str:
    """Summary, notes and table as one string without a newline at its end.

    No line is wider than ``width`` cells (default: the terminal's; at least 40). The name and the last column
    always show; of the others, as many as fit: shape, rule, initializer, activation, gain, expected and measured
    standard deviation, in this order. Long names lose their middle. Repeated blocks fold into one line, whose
    measured number is the mean over the fold (markdown has the range): none of them is off, or it would not fold.

    Rows that are off, unmatched or duplicates are never folded, shortened or left out; the others fill the table
    up to ``most`` lines (None: all of them), and the last line says how many more there are.

    ``color`` adds ANSI styles, unless the environment's NO_COLOR is set.
    """
    room = max(_LEAST, shutil.get_terminal_size().columns if width is None else width)
    measured = is_measured(rows)
    lines = [*_summary(header, rows, measured, room), *_table(fold(rows), measured, room, most)]
    return _styled(lines) if color and not os.environ.get("NO_COLOR") else "\n".join(line.plain for line in lines)


def _styled(lines: list[Text]) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", highlight=False, legacy_windows=False)
    for line in lines:
        console.print(line, soft_wrap=True)
    return out.getvalue().removesuffix("\n")


# --- above the table -------------------------------------------------------------------------------


def _summary(header: Header, rows: Sequence[AuditRow], measured: bool, room: int) -> Iterator[Text]:
    facts = (seed(header, measured), f"fingerprint {header.fingerprint}" if header.fingerprint else "")
    yield from _wrapped(f"{header.policy or 'policy'}: {', '.join(filter(None, facts))}", room, style="bold")
    yield from _wrapped(header.description, room, style="dim")
    yield from _wrapped(totals(rows, measured), room, at=", ")
    if measured:
        off = any(row.verdict == "off" for row in rows)
        yield from _wrapped(verdict(rows), room, style=_STYLES["off" if off else "ok"])
    used = rules(rows)
    yield from _wrapped(f"rules: {used}" if used else "", room, at=", ")
    for note in dict.fromkeys(header.notes):
        yield from _wrapped(f"note: {note}", room, style="yellow")


def _wrapped(line: str, room: int, *, at: str = " ", indent: str = "", style: str = "") -> Iterator[Text]:
    """The line, broken ``at`` blanks where it must be; what follows the first piece is indented by two more."""
    if not line:
        return
    items = visible(line).replace(at, f"{at.rstrip()}\n").split("\n")
    words = [piece for item in items for piece in _chopped(item, room - len(indent) - 2)]
    done = indent
    for position, word in enumerate(words):
        if position and cell_len(f"{done} {word}") > room:
            yield Text(done, style)
            done = f"{indent}  {word}"
        else:
            done += f" {word}" if position else word
    yield Text(done, style)


def _chopped(text: str, width: int) -> list[str]:
    """The text in pieces at most so many cells wide."""
    pieces = [""]
    for character in text:
        if cell_len(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


# --- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    cell: Callable[[Fold], str]
    comfort: int = 99
    """The least width at which it is worth showing, unless its cells need less."""
    most: int = 99


def _columns(measured: bool, gain: Literal["apart", "inside", "nowhere"]) -> list[_Column]:
    """Every column, in order of worth; the first and the last always show.

    The gain has a column, stands in the initializer's, or is left out.
    """
    name = _Column(title="parameter", cell=lambda one: visible(one.name) + one.times, comfort=26, most=60)
    done = _Column(title="initializer", cell=lambda one: _deed(one.first, gain=gain == "inside"), comfort=18, most=44)
    apart = _Column(title="gain", cell=lambda one: short(one.first.gain))
    reached = _Column(title="measured", cell=lambda one: short(_mean(one.values("std")), 3))
    return [
        name,
        _Column(title="shape", cell=lambda one: shape(one.first.shape), comfort=12, most=20),
        _Column(title="rule", cell=lambda one: visible(one.first.rule), comfort=11, most=20),
        done,
        _Column(title="activation", cell=lambda one: visible(one.first.activation), comfort=10, most=18),
        *([apart] if gain == "apart" else []),
        _Column(title="std", cell=lambda one: short(one.first.expected_std, 3)),
        *([reached] if measured else []),
        _Column(title="verdict" if measured else "status", cell=lambda one: state(one.first, measured)),
    ]


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _deed(row: AuditRow, *, gain: bool) -> str:
    """What was done, or why nothing was; a duplicate's reason has a line of its own."""
    reason = "" if DUPLICATE in row.reason else visible(row.reason)
    return "; ".join(filter(None, (asked(row, gain=gain), reason)))


def _table(folds: Sequence[Fold], measured: bool, room: int, most: int | None) -> Iterator[Text]:
    if not folds:
        return
    shown = _capped(folds, most)
    fitted = _fitted(_columns(measured, gain="apart"), shown, room)
    if not any(column.title == "gain" for column in fitted):
        fitted = _fitted(_columns(measured, gain="inside"), shown, room)
        cut = any(_is_cut(column, width, shown) for column, width in fitted.items() if column.title == "initializer")
        if cut:
            fitted = _fitted(_columns(measured, gain="nowhere"), shown, room)
    yield Text()
    yield Text(_GAP.join(_cut(column.title, width) for column, width in fitted.items()).rstrip(), "bold")
    yield Text("─" * (sum(fitted.values()) + len(_GAP) * (len(fitted) - 1)), "dim")
    for one in shown:
        yield from _entry(one, fitted, room)
    if len(shown) < len(folds):
        hidden = sum(len(one.rows) for one in folds) - sum(len(one.rows) for one in shown)
        where = '.save("init_audit.csv") or DEBUG logging has' if measured else ".rows or DEBUG logging has"
        more = f"… {counted(len(folds) - len(shown), 'more line')} ({counted(hidden, 'parameter')}); {where} them all"
        yield from _wrapped(more, room, style="dim")


def _is_cut(column: _Column, width: int, folds: Sequence[Fold]) -> bool:
    return any(cell_len(column.cell(one)) > width for one in folds)


def _capped(folds: Sequence[Fold], most: int | None) -> list[Fold]:
    """At most so many, in order; what is troubled is never among those left out."""
    if most is None or len(folds) <= most:
        return list(folds)
    trouble = sum(troubled(one.first) for one in folds)
    calm = (position for position, one in enumerate(folds) if not troubled(one.first))
    kept = set(islice(calm, max(0, most - trouble)))
    return [one for position, one in enumerate(folds) if position in kept or troubled(one.first)]


def _fitted(columns: list[_Column], folds: Sequence[Fold], room: int) -> dict[_Column, int]:
    """The columns that fit, with widths: each gets its comfort, then they share what is left over."""
    cells = {column: [column.cell(one) for one in folds] for column in columns}
    natural = {column: min(column.most, max(map(cell_len, [column.title, *cells[column]]))) for column in columns}
    first, *others, last = columns
    widths = {column: min(column.comfort, natural[column]) for column in (first, last)}
    left = room - sum(widths.values()) - len(_GAP)
    for column in others:
        if not any(cells[column]):
            continue
        least = min(column.comfort, natural[column])
        if least + len(_GAP) > left:
            break
        widths[column] = least
        left -= least + len(_GAP)
    while left and (wanting := [column for column in columns if widths.get(column, 999) < natural[column]]):
        for column in wanting[:left]:
            widths[column] += 1
            left -= 1
    return {column: widths[column] for column in columns if column in widths}


def _entry(one: Fold, fitted: dict[_Column, int], room: int) -> Iterator[Text]:
    """A row; a troubled one shows its whole name, on a line of its own if need be, and what the trouble is."""
    name, *cells, last = (column.cell(one) for column in fitted)
    wide, *widths, _ = fitted.values()
    trouble = troubled(one.first)
    style = _STYLES.get(last, "")
    if trouble and cell_len(name) > wide:
        yield from (Text(piece, style) for piece in _chopped(name, room))
        name = ""
    line = Text(_GAP.join([_shortened(name, wide), *_flowing(cells, widths)]), style if trouble else "")
    line.append(_GAP + last, style or "dim")
    line.rstrip()
    yield line
    if trouble:
        yield from _wrapped(_trouble(one.first), room, indent="  ", style=style)


def _flowing(cells: list[str], widths: list[int]) -> Iterator[str]:
    """Cells cut to their widths; a long one flows over the empty ones at its right, as in a spreadsheet."""
    position = 0
    while position < len(cells):
        stop = position + 1
        while stop < len(cells) and not cells[stop]:
            stop += 1
        yield _cut(cells[position], sum(widths[position:stop]) + len(_GAP) * (stop - position - 1))
        position = stop


def _trouble(row: AuditRow) -> str:
    """What is wrong with a row that is off or a duplicate, in one line; an unmatched row says it itself."""
    said = [row.reason] if DUPLICATE in row.reason else []
    if row.verdict == "off":
        said += [
            f"expected mean {short(row.expected_mean)}, std {short(row.expected_std)}"
            + (f", between {short(row.low)} and {short(row.high)}" if _bounded(row) else ""),
            f"measured mean {short(row.mean)}, std {short(row.std)}, from {short(row.min)} to {short(row.max)}",
        ]
    return f"↳ {'; '.join(said)}" if said else ""


def _bounded(row: AuditRow) -> bool:
    return any(bound is not None and math.isfinite(bound) for bound in (row.low, row.high))


def _cut(text: str, width: int) -> str:
    """Exactly so many cells wide; what is cut off at the end leaves an ellipsis."""
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…", width)


def _shortened(name: str, width: int) -> str:
    """Exactly so many cells wide; two thirds are its end, which tells most, from a dot on if one is near."""
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    end = set_cell_size(name[::-1], 2 * (width - 1) // 3)[::-1]
    end = end[max(0, end.find(".", 0, len(end) // 2)) :]
    start = set_cell_size(name, width - 1 - cell_len(end))
    if start.count("{") > start.count("}"):
        start = start[: start.rindex("{")]
    return set_cell_size(f"{start.rstrip('.')}…{end}", width)
