"""What the benchmarks share: turns, medians, peaks of memory, and a markdown table. Nothing here knows a contender."""

from __future__ import annotations

import gc
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

__all__ = [
    "Contender", "Taken", "child", "high_water", "limited", "machine", "milliseconds", "ratio", "resident", "table",
    "turns",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is timed."""

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = str
    """Before the clock starts."""
    check: Callable[[], str] = str
    """After it stopped: what is wrong with what was done, or nothing."""


@dataclass(slots=True, kw_only=True)
class Taken:
    """Seconds of each turn, the first by itself; and why there are no more."""

    first: float | None = None
    turns: list[float] = field(default_factory=list)
    why: str = ""

    @property
    def median(self) -> float | None:
        """Of the turns after the first; of the first where there is no other."""
        return statistics.median(self.turns) if self.turns else self.first


def turns(
    contenders: Sequence[Contender], *, repeats: int, seconds: float, patience: float = 10.0
) -> Mapping[str, Taken]:
    """Each contender in turn, so that what else the machine does falls on all alike.

    Args:
        repeats: turns beside the first, which is a warm-up.
        seconds: the longest that a turn may take; one that is stopped has no time.
        patience: who takes longer than so many seconds has two turns in all.
    """
    found = {contender.name: Taken() for contender in contenders}
    for turn in range(repeats + 1):
        for contender in contenders:
            taken = found[contender.name]
            if taken.why or (turn > 1 and taken.first is not None and taken.first > patience):
                continue
            try:
                contender.prepare()
                gc.collect()
                with limited(seconds):
                    start = time.perf_counter()
                    contender.run()
                    spent = time.perf_counter() - start
            except Exception as error:  # a contender may not take every model
                taken.why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"
                continue
            taken.why = contender.check()
            if taken.why:
                continue
            if taken.first is None:
                taken.first = spent
            else:
                taken.turns.append(spent)
    return found


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stops what runs longer, at the next line of Python's."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- memory ---------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes of this process that lie in memory now."""
    return _status("VmRSS")


@contextmanager
def high_water() -> Iterator[Callable[[], int]]:
    """How many bytes the process grew at most since the block began; Linux alone says so."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the mark goes down to what is resident
    before = resident()
    yield lambda: _status("VmHWM") - before


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


# --- tables ---------------------------------------------------------------------------------------


def milliseconds(seconds: float | None) -> str:
    """Three figures, in ms."""
    if seconds is None:
        return "–"
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(ours: float | None, theirs: float | None) -> str:
    """How much of their time ours is."""
    return "" if not ours or not theirs else f"{ours / theirs:.2f}"


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, numbers to the right."""
    lines = [f"### {title}", "", _line(heads), _line(["---", *["---:"] * (len(heads) - 1)]), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def machine() -> str:
    """One line on where this ran, and on how quiet it was."""
    named = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return f"{time.strftime('%Y-%m-%d')}: {named[0] if named else platform.processor()}, {threads}, {versions}, {load}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def child(script: str, *arguments: str, seconds: float = 300.0) -> str:
    """The last line that the script prints in a process of its own, or why there is none."""
    done = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit {done.returncode}"
