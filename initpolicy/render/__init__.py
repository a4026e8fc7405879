"""Finished records in, one string out: nothing here decides, measures, prints or imports torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from initpolicy.records import AuditRow, Header
from initpolicy.render.csv import csv
from initpolicy.render.explain import explain
from initpolicy.render.json import json
from initpolicy.render.markdown import markdown
from initpolicy.render.text import text

__all__ = ["FORMATS", "Renderer", "csv", "explain", "format_for", "json", "markdown", "text"]

Renderer = Callable[[Header, Sequence[AuditRow]], str]


def _page(header: Header, rows: Sequence[AuditRow]) -> str:
    """Text for a file, which has no terminal and may be long."""
    return text(header, rows, width=120, most=None) + "\n"


FORMATS: Mapping[str, Renderer] = {
    ".csv": csv,
    ".json": json,
    ".md": markdown,
    ".txt": _page,
}


def format_for(path: str | os.PathLike[str]) -> Renderer:
    """The renderer that a file's suffix asks for.

    Raises:
        ValueError: for a suffix that is not known, with those that are.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{os.fspath(path)}: unknown suffix {suffix!r}; known are {', '.join(FORMATS)}")
    return FORMATS[suffix]
