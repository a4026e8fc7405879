"""One line a parameter, all fields, unfolded: for pandas and spreadsheets. RFC 4180, so lines end in CRLF."""

from __future__ import annotations

import csv as _csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from initpolicy.records import AuditRow, Header
from initpolicy.render.json import compact
from initpolicy.render.numbers import exact

__all__ = ["csv"]

_COLUMNS = tuple(field.name for field in fields(AuditRow))
_LIVE = ("=", "+", "-", "@", "\t", "\r", "'")


def csv(header: Header, rows: Sequence[AuditRow]) -> str:
    """The fields of `AuditRow` in their order, under their names; the header's facts are in JSON and markdown.

    - blank: None, or an empty text
    - shape: ``64 3 7 7``; other tuples are joined by ``;`` (``\\;`` and ``\\\\`` stand for themselves)
    - arguments: compact JSON
    - numbers: the shortest decimal that reads back exactly; ``inf``, ``-inf`` and ``nan`` by name
    - text that begins with one of ``= + - @ '``, a tab or a return gets a leading ``'``, because a
      spreadsheet would run it as a formula. No honest name begins so; taking one leading ``'`` off undoes it.

    Write it with ``newline=""``, so that Windows leaves the line ends alone.
    """
    out = io.StringIO()
    writer = _csv.writer(out)
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in _COLUMNS] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _inert(value)
    if isinstance(value, Mapping):
        return compact(value) if value else ""
    if isinstance(value, tuple):
        if all(isinstance(item, int) for item in value):
            return " ".join(map(str, value))
        return _inert(";".join(item.replace("\\", "\\\\").replace(";", "\\;") for item in value))
    return exact(value)


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_LIVE) else text
