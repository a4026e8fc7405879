"""Reviewed outputs. After a wanted change run this file with INITPOLICY_UPDATE_GOLDEN=1, then read the diff."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from golden_files import GOLDEN, UPDATE, check_golden
from render_samples import HEADER, ROWS, planned

from initpolicy.render import csv, explain, json, markdown, text

EXPLAINED = (
    "encoder.blocks.7.mlp.fc1.weight",
    "experts.2.3.w1",
    "rnn.bias_ih_l0",
    "head.weight",
    "backbone.stem.weight",
    "temperature",
    "[red]odd|name",
)

CASES: dict[str, Callable[[], str]] = {
    "render_text_80.txt": lambda: text(HEADER, ROWS, width=80),
    "render_text_120.txt": lambda: text(HEADER, ROWS, width=120),
    "render_plan_100.txt": lambda: text(HEADER, planned(ROWS), width=100),
    "render_markdown.md": lambda: markdown(HEADER, ROWS),
    "render_plan.md": lambda: markdown(HEADER, planned(ROWS)),
    "render_csv.csv": lambda: csv(HEADER, ROWS),
    "render_json.json": lambda: json(HEADER, ROWS),
    "render_explain_80.txt": lambda: "\n\n".join(explain(ROWS, name, width=80) for name in EXPLAINED) + "\n",
    "render_explain_40.txt": lambda: explain(planned(ROWS), "experts.0.0.w1", width=40) + "\n",
}


@pytest.mark.parametrize("name", CASES)
def test_output_is_as_reviewed(name: str) -> None:
    check_golden(name, CASES[name]())


def test_every_golden_file_is_checked() -> None:
    assert {path.name for path in GOLDEN.glob("render_*")} == set(CASES)


def test_a_golden_that_differs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UPDATE, raising=False)
    with pytest.raises(AssertionError, match=r"^render_text_80\.txt differs; if that is wanted"):
        check_golden("render_text_80.txt", "something else")
    with pytest.raises(AssertionError, match=r"^render_nothing\.txt is missing; write it"):
        check_golden("render_nothing.txt", "")
