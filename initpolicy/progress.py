"""How far a long piece of work has come, as a bar on the terminal: none for short work, and none where no one looks."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["AFTER", "Bar", "Show"]

AFTER = 2.0
"""Seconds of work after which a bar is worth it."""

Show = bool | Literal["auto"]
"""``auto``: once the work has taken `AFTER` seconds; True: at once; False: never. Only ever on a terminal."""


class Bar:
    """A bar on stderr that goes away when the work is done."""

    def __init__(self, title: str, total: int, show: Show) -> None:
        self._title, self._total, self._done = title, total, 0
        self._due = time.monotonic() + (0.0 if show is True else AFTER) if show and _watched() else None
        """When it is to appear; None: never."""
        self._shown: tuple[Progress, TaskID] | None = None

    def advance(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        if self._due is None or (self._shown is None and time.monotonic() < self._due):
            return
        if self._shown is None:
            self._shown = _started(self._title, self._total)
        progress, task = self._shown
        progress.update(task, completed=self._done)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown[0].stop()
            self._shown = None


def _watched() -> bool:
    """Whether stderr is a terminal; there may be none, or a closed one."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _started(title: str, total: int) -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.start()
    return progress, progress.add_task(title, total=total)
