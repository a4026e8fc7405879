"""The whole audit as one JSON object, for programs: ``{"header": {…}, "rows": [{…}, …]}``, a row a line."""

from __future__ import annotations

import json as _json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from initpolicy.records import AuditRow, Header

__all__ = ["compact", "json"]


def json(header: Header, rows: Sequence[AuditRow]) -> str:
    """Every field under its own name. Reads back to the same values.

    JSON has no numbers that are not finite: they are the strings ``"inf"``, ``"-inf"`` and ``"nan"``, which
    ``float()`` takes as they are. Blank numbers are ``null``; tuples are lists; an argument that JSON has no
    word for (a path, a user's object) is its ``str``.
    """
    lines = ",\n".join(compact(_record(row)) for row in rows)
    return f'{{"header": {compact(_record(header))},\n"rows": [{_indented(lines)}]}}\n'


def compact(value: object) -> str:
    """Strict JSON on one line."""
    return _json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _indented(lines: str) -> str:
    return f"\n{lines}\n" if lines else ""


def _record(record: AuditRow | Header) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _plain(value: object) -> object:
    """The value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
