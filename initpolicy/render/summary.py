"""What a reader wants to know before any row: how many, of what status, and whether they are right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from initpolicy.records import AuditRow, Header, Status
from initpolicy.render.fold import DUPLICATE
from initpolicy.render.words import counted, listed

__all__ = ["is_measured", "rules", "seed", "state", "totals", "verdict"]


def is_measured(rows: Sequence[AuditRow]) -> bool:
    """Whether these rows are an audit's, not a plan's."""
    return any(row.mean is not None for row in rows)


def seed(header: Header, measured: bool) -> str:
    """``seed 42``, or what a missing one means."""
    if header.seed is not None:
        return f"seed {header.seed}"
    return "no seed" if measured else "seed drawn when applied"


def totals(rows: Sequence[AuditRow], measured: bool) -> str:
    """``67 parameters, 1,234,567 values: 64 initialized, 1 frozen, 2 tied``; a tied tensor's values count once."""
    values = sum(math.prod(row.shape) for row in rows if row.status != "tied")
    counts = Counter(row.status for row in rows)
    found = [
        f"{counts[status]:,} {'planned' if status == 'initialized' and not measured else status}"
        for status in get_args(Status)
        if counts[status]
    ]
    head = f"{counted(len(rows), 'parameter')}, {counted(values, 'value')}"
    return f"{head}: {', '.join(found)}" if rows else head


def verdict(rows: Sequence[AuditRow]) -> str:
    """``all 65 match their law``, or ``2 off: a, b; 63 match their law``."""
    written = [row for row in rows if row.status == "initialized"]
    off = [row.name for row in written if row.verdict == "off"]
    good = sum(row.verdict == "ok" for row in written)
    blank = len(written) - len(off) - good
    if good and good == len(written):
        return f"all {good:,} match their law" if good > 1 else "1 matches its law"
    found = (
        f"{len(off):,} off: {listed(off)}" if off else "",
        f"{good:,} {'match their' if good > 1 else 'matches its'} law" if good else "",
        f"{blank:,} with no law to compare" if blank else "",
    )
    return "; ".join(filter(None, found)) or "nothing was initialized"


def rules(rows: Sequence[AuditRow]) -> str:
    """``linear_like ×20, rectified ×42``, in order of first use; blank where no rule claimed anything."""
    return ", ".join(f"{rule} ×{count:,}" for rule, count in Counter(r.rule for r in rows if r.rule).items())


def state(row: AuditRow, measured: bool) -> str:
    """One word for how a row stands: its verdict, or its status where there is none."""
    if row.verdict != "off" and DUPLICATE in row.reason:
        return "duplicate"
    if row.verdict:
        return row.verdict
    if row.status == "initialized":
        return "–" if measured else "planned"
    return row.status
