"""Which parameters have been written so far: for a bar while it lasts, and for a word on what is left if it is broken
off."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from initpolicy.progress import Bar, Show
from initpolicy.render.words import counted, listed
from initpolicy.writing.fill import Held
from initpolicy.writing.pieces import meet

__all__ = ["Watch"]


class Watch:
    """Counts the values of each parameter as they are written, from any thread.

    Args:
        title: what the bar calls the work.
        show: when there is a bar; under torch.distributed process 0 alone has one.
    """

    def __init__(self, title: str = "", show: Show = False) -> None:
        self._title, self._show = title, show if _first() else False
        self._sizes: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._bar: Bar | None = None
        self._lock = threading.Lock()

    @contextmanager
    def over(self, parameters: Sequence[Held], done: Iterable[str] = ()) -> Iterator[None]:
        """While the parameters are written, after those that are ``done``."""
        self._written = dict.fromkeys(done, 0)
        self._sizes = {**self._written, **{held.assignment.name: _size(held) for held in parameters}}
        with Bar(self._title, sum(self._sizes.values()), self._show) as self._bar:
            yield

    def told(self, name: str, count: int) -> None:
        """So many more values of this parameter are in memory."""
        with self._lock:
            self._written[name] = self._written.get(name, 0) + count
            if self._bar is not None:
                self._bar.advance(count)

    @property
    def states(self) -> Mapping[str, str]:
        """Parameter -> ``written``, ``written in part`` or ``still to be written``, which a thread may have begun."""
        return {name: self._state(name, size) for name, size in self._sizes.items()}

    def _state(self, name: str, size: int) -> str:
        if self._written.get(name, 0) >= size:
            return "written"
        return "written in part" if name in self._written else "still to be written"

    def said(self) -> str:
        """One sentence on what is written and what is not."""
        states = self.states
        if not states:
            return "nothing has been written"
        return "; ".join(
            f"{counted(len(names), 'parameter')} {state}: {listed(names)}"
            for state in ("written", "written in part", "still to be written")
            if (names := [name for name, found in states.items() if found == state])
        )


def _size(held: Held) -> int:
    """How many values are to be written: all that is here of parts that are not kept."""
    met = (meet(piece, part.region) for piece in held.pieces for part in held.assignment.parts)
    return sum(here.memory.numel() for here in met if here is not None)


def _first() -> bool:
    """Whether this is process 0, or the only one."""
    dist: Any = torch.distributed
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0
