"""Repeated blocks on one line: ``blocks.{0…11}.mlp.fc1.weight ×12``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from initpolicy.records import AuditRow

__all__ = ["DUPLICATE", "Fold", "fold", "troubled"]

DUPLICATE = "same values as"
"""A row whose reason says this is a flagged duplicate: it is shown as trouble and never folds."""

Cell = tuple[int, ...]
"""The indices in one name, in order; also the values that one place takes."""

_INDEX = re.compile(r"(?:^|(?<=\.))(0|[1-9][0-9]{0,8})(?=\.|$)")
"""A whole segment of a dotted name that is a plain number: a position in a list of modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows that differ only in the indices of their names and in what was measured."""

    name: str
    """``layers.{0…3}.experts.{0…7}.w1``; a single row's own name."""
    rows: tuple[AuditRow, ...]
    """In the order they came."""

    @property
    def first(self) -> AuditRow:
        return self.rows[0]

    @property
    def times(self) -> str:
        """`` ×12``, or nothing for a single row."""
        return f" ×{len(self.rows)}" if len(self.rows) > 1 else ""

    def values(self, field: str) -> list[float]:
        """What the rows hold in a measured field, blanks left out."""
        return [value for row in self.rows if (value := getattr(row, field)) is not None]


def troubled(row: AuditRow) -> bool:
    """Whether a reader must see this row itself: off its law, claimed by no rule, or a duplicate."""
    return row.verdict == "off" or row.status == "unmatched" or DUPLICATE in row.reason


def fold(rows: Sequence[AuditRow]) -> tuple[Fold, ...]:
    """Fold rows whose names differ in indices alone and that agree in everything a reader is shown.

    Agree must: module type, shape, dtype, device, status, reason, rule, initializer, arguments, activation, gain
    and its origin, expected moments and verdict. Measured numbers need not; they are shown as ranges. What is
    `troubled` stays alone. Folds are in order of first appearance. Time is linear in the rows, but for sorting.
    """
    alone: list[int] = []
    groups: defaultdict[tuple[tuple[str, ...], tuple[object, ...]], dict[Cell, int]] = defaultdict(dict)
    """(name without its indices, what must agree) -> indices -> position in rows."""
    for position, row in enumerate(rows):
        pieces = _INDEX.split(row.name)
        group = groups[tuple(pieces[::2]), _agreed(row)]
        indices = tuple(map(int, pieces[1::2]))
        if troubled(row) or indices in group:
            alone.append(position)
        else:
            group[indices] = position
    folds = [(position, Fold(name=rows[position].name, rows=(rows[position],))) for position in alone]
    for (texts, _), group in groups.items():
        for box in _boxes(group):
            positions = sorted(group[indices] for indices in product(*box))
            folds.append((positions[0], Fold(name=_name(texts, box), rows=tuple(rows[p] for p in positions))))
    return tuple(found for _, found in sorted(folds, key=lambda pair: pair[0]))


def _agreed(row: AuditRow) -> tuple[object, ...]:
    return (
        row.module_type, row.shape, row.dtype, row.device, row.status, row.reason, row.rule, row.initializer,
        repr(sorted(row.arguments.items())), row.activation, row.gain, row.gain_from, row.expected_mean,
        row.expected_std, row.verdict,
    )  # fmt: skip


def _boxes(cells: Collection[Cell]) -> Iterator[tuple[Cell, ...]]:
    """Products of index sets that together hold each cell once: one product where the cells are a full grid."""
    if () in cells:
        yield ()
        return
    lasts: defaultdict[Cell, list[int]] = defaultdict(list)
    for cell in cells:
        lasts[cell[:-1]].append(cell[-1])
    alike: defaultdict[Cell, list[Cell]] = defaultdict(list)
    for head, last in lasts.items():
        alike[tuple(sorted(last))].append(head)
    for values, heads in alike.items():
        for box in _boxes(heads):
            yield (*box, values)


def _name(texts: tuple[str, ...], box: tuple[Cell, ...]) -> str:
    return texts[0] + "".join(_indices(values) + text for values, text in zip(box, texts[1:], strict=True))


def _indices(values: Cell) -> str:
    """``3``, or ``{0,2…5}``: three or more in a row are a run."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    words = [f"{run[0]}…{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return f"{{{','.join(words)}}}" if len(values) > 1 else words[0]
