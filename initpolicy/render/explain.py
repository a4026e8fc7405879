"""One parameter in full, for a person who asks why: rules, initializer, gain, and the ways to what surrounds it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from textwrap import TextWrapper

from initpolicy.errors import meant
from initpolicy.records import AuditRow
from initpolicy.render.numbers import short
from initpolicy.render.summary import is_measured
from initpolicy.render.words import asked, shape, visible

__all__ = ["explain"]

_LEAST = 40
_LABEL = 14
"""Cells before what is said under a label."""


def explain(rows: Sequence[AuditRow], name: str, width: int | None = None) -> str:
    """A block of text about the parameter of this name, without a newline at its end.

    Lines are broken at blanks to be at most ``width`` wide (default: the terminal's; at least 40); a longer word
    stands alone. What is blank has no line.

    Raises:
        ValueError: for a name that no row has.
    """
    row = next((row for row in rows if row.name == name), None)
    if row is None:
        raise ValueError(f"no parameter is named {name!r}{meant(name, [row.name for row in rows])}")
    room = max(_LEAST, shutil.get_terminal_size().columns if width is None else width)
    title = f"{row.name}: {shape(row.shape)} {row.dtype} on {row.device}, of {row.module_type}"
    lines = _wrapped("", title, room)
    for label, said in _told(row, is_measured(rows)):
        if said:
            lines += _wrapped(label, said, room)
    return "\n".join(lines)


def _wrapped(label: str, said: str, room: int) -> list[str]:
    start = f"  {label}".ljust(_LABEL + 2) if label.strip() or label else ""
    later = " " * (_LABEL + 4) if start else "  "
    wrapper = TextWrapper(
        width=room, initial_indent=start, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(visible(said))


def _told(row: AuditRow, measured: bool) -> Iterator[tuple[str, str]]:
    """(label, what is said), in the order of the decision."""
    yield "also", ", ".join(row.aliases)
    status = "planned" if row.status == "initialized" and not measured else row.status
    yield "status", f"{status}: {row.reason}" if row.reason else status
    yield "rule", _won(row)
    yield "initializer", asked(row, full=True)
    yield "fans", _fans(row)
    yield "gain", "" if row.gain is None else f"{short(row.gain)}{row.gain_from and f', {row.gain_from}'}"
    yield "expected", _moments(row.expected_mean, row.expected_std, row.low, row.high)
    yield "measured", f"{_moments(row.mean, row.std, row.min, row.max)}{row.verdict and f': {row.verdict}'}"
    yield "follows", f"{row.activation or 'not known'}{row.found_by and f', found by {row.found_by}'}"
    yield from _way(row.path, row.flags, row.other_hits)
    yield "precedes", row.input_activation or "not known"
    yield from _way(row.input_path, row.input_flags, row.other_input_hits)


def _won(row: AuditRow) -> str:
    """Which rules match, which wins and why."""
    lost = ", ".join(row.shadowed)
    if row.rule:
        return f"{row.rule}, the last of {len(row.shadowed) + 1} that claim it, after {lost}" if lost else row.rule
    return f"none; {lost} would claim it" if lost else "none"


def _fans(row: AuditRow) -> str:
    counted = (("in", row.fan_in), ("out", row.fan_out))
    return ", ".join(f"{short(fan)} {way}" for way, fan in counted if fan is not None)


def _moments(mean: float | None, std: float | None, low: float | None, high: float | None) -> str:
    told = (
        "" if mean is None else f"mean {short(mean)}",
        "" if std is None else f"std {short(std)}",
        "" if low is None or high is None or math.isinf(high - low) else f"from {short(low)} to {short(high)}",
    )
    return ", ".join(filter(None, told))


def _way(path: tuple[str, ...], flags: tuple[str, ...], others: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    yield "  path", " → ".join(path)
    yield "  through", ", ".join(flags)
    for index, other in enumerate(others):
        yield "  " if index else "  also met", other
