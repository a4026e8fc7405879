"""The terminal's view: it fits, hides no trouble, floods nothing and takes names as text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_samples import HEADER, ROWS, planned, row
from rich.cells import cell_len

from initpolicy.records import AuditRow, Header
from initpolicy.render import text
from initpolicy.render.words import visible

_ANSI = re.compile("\x1b\\[[0-9;]*m")
_TITLES = ["parameter", "shape", "rule", "initializer", "activation", "gain", "std", "measured", "verdict"]

_word = st.text(st.characters(exclude_characters="."), min_size=1, max_size=12)
_name = st.lists(st.one_of(_word, st.integers(0, 12).map(str)), min_size=1, max_size=12).map(".".join)
_moment = st.one_of(st.none(), st.floats(allow_subnormal=False))


@st.composite
def _any_row(draw: st.DrawFn) -> AuditRow:
    statuses = ["initialized", "initialized", "kept", "tied", "frozen", "excluded", "skipped", "unmatched"]
    status = draw(st.sampled_from(statuses))
    written = status == "initialized"
    value = st.one_of(st.floats(), st.integers(), st.booleans(), _word, st.lists(st.integers(), max_size=3))
    return row(
        draw(_name),
        tuple(draw(st.lists(st.integers(0, 10**6), max_size=6))),
        status=status,
        reason=draw(st.one_of(st.just(""), _name, st.just("same values as other"))),
        rule=draw(st.one_of(st.just(""), _word)),
        initializer=draw(_name) if written else "",
        arguments=draw(st.dictionaries(_word, value, max_size=3)) if written else {},
        activation=draw(st.one_of(st.just(""), _word)),
        verdict=draw(st.sampled_from(["ok", "off", ""])) if written else "",
        **{field: draw(_moment) for field in ("gain", "expected_mean", "expected_std", "low", "high", "mean", "std")},
    )


@st.composite
def _any_audit(draw: st.DrawFn) -> tuple[Header, list[AuditRow]]:
    header = Header(
        policy=draw(_name),
        description=draw(st.text(max_size=100)),
        seed=draw(st.one_of(st.none(), st.integers(0, 2**63 - 1))),
        fingerprint=draw(st.sampled_from(["", "9f2c41d07a55e3b8"])),
        notes=tuple(draw(st.lists(st.text(max_size=200), max_size=3))),
    )
    return header, draw(st.lists(_any_row(), max_size=12))


@given(_any_audit(), st.integers(60, 200), st.sampled_from([0, 3, 40, None]))
def test_no_line_passes_the_width(audit: tuple[Header, list[AuditRow]], width: int, most: int | None) -> None:
    header, rows = audit
    shown = text(header, rows, width=width, most=most)
    assert max(map(cell_len, shown.split("\n"))) <= width
    assert all(line.isprintable() for line in shown.split("\n"))


@given(_any_audit(), st.integers(60, 200), st.sampled_from([0, 3, 40, None]))
def test_every_name_in_trouble_appears(audit: tuple[Header, list[AuditRow]], width: int, most: int | None) -> None:
    header, rows = audit
    shown = text(header, rows, width=width, most=most)
    table = shown[shown.index("\nparameter ") :] if rows else ""
    for each in rows:
        if each.verdict == "off" or each.status == "unmatched" or "same values as" in each.reason:
            name = visible(each.name)
            assert name in (table if cell_len(name) <= width else table.replace("\n", ""))


@pytest.mark.parametrize("width", range(60, 201))
def test_sample_fits_and_shows_its_trouble(width: int) -> None:
    for rows in (ROWS, planned(ROWS)):
        shown = text(HEADER, rows, width=width)
        assert max(map(cell_len, shown.split("\n"))) <= width
        for name in ("encoder.blocks.7.mlp.fc1.weight", "experts.2.3.w1", "temperature", "[red]odd|name"):
            if rows is ROWS or "blocks" not in name:
                assert any(line.startswith(name) for line in shown.split("\n"))


def _head(shown: str) -> list[str]:
    return next(line for line in shown.split("\n") if line.startswith("parameter ")).split()


@pytest.mark.parametrize("width", range(60, 201, 5))
def test_columns_go_in_order_of_worth(width: int) -> None:
    shown = _head(text(HEADER, ROWS, width=width))
    assert shown == [*_TITLES[: len(shown) - 1], "verdict"]


@pytest.mark.parametrize(
    ("width", "titles"),
    [(60, _TITLES[:3]), (80, _TITLES[:4]), (120, _TITLES[:8])],
)
def test_columns_at_usual_widths(width: int, titles: list[str]) -> None:
    assert _head(text(HEADER, ROWS, width=width)) == [*titles, "verdict"]


def test_the_gain_is_an_argument_where_it_has_no_column() -> None:
    rows = [
        row("w", (2, 2), initializer="xavier_normal", arguments={"gain": 2.5}, gain=2.5, activation="tanh", std=1.0)
    ]
    assert "xavier_normal(gain=2.5)" in text(HEADER, rows, width=52)
    wide = text(HEADER, rows, width=100)
    assert "gain" in _head(wide)
    assert "xavier_normal(gain=2.5)" not in wide


def test_a_plan_has_nothing_measured() -> None:
    shown = text(replace(HEADER, seed=None), planned(ROWS), width=200)
    assert _head(shown) == [*_TITLES[:7], "status"]
    assert shown.startswith("he_relu: seed drawn when applied, fingerprint 9f2c41d07a55e3b8\n")
    assert "84 planned, 1 kept" in shown
    assert not re.search("law|verdict|initialized", shown)


def _many(count: int, **fields: Any) -> list[AuditRow]:
    return [row(f"layer_{place}.weight", (4, place + 1), mean=0.0, **fields) for place in range(count)]


def test_three_hundred_parameters_do_not_flood_the_console() -> None:
    rows = _many(300, verdict="ok", initializer="normal")
    lines = text(HEADER, rows, width=120).split("\n")
    assert sum(line.startswith("layer_") for line in lines) == 40
    assert lines[-1] == ('… 260 more lines (260 parameters); .save("init_audit.csv") or DEBUG logging has them all')
    assert sum(line.startswith("layer_") for line in text(HEADER, rows, width=120, most=None).split("\n")) == 300


def test_the_cap_counts_what_was_folded_away() -> None:
    rows = [*_many(40), *(row(f"b.{place}.w", (9,), mean=0.0) for place in range(7))]
    assert "… 1 more line (7 parameters); " in text(HEADER, rows, width=120)


def test_trouble_is_kept_first_and_in_its_place() -> None:
    rows = _many(300, initializer="normal", verdict="ok")
    rows[250] = replace(rows[250], verdict="off")
    rows[270] = replace(rows[270], status="unmatched", verdict="")
    rows[290] = replace(rows[290], reason="same values as layer_1.weight")
    names = [line.split()[0] for line in text(HEADER, rows, width=120).split("\n") if line.startswith("layer_")]
    assert names == [f"layer_{place}.weight" for place in [*range(37), 250, 270, 290]]
    all_off = text(HEADER, _many(60, verdict="off"), width=120).split("\n")
    assert sum(line.startswith("layer_") for line in all_off) == 60


@pytest.mark.parametrize(
    ("verdicts", "line"),
    [
        (["ok"] * 65, "all 65 match their law"),
        (["ok"], "1 matches its law"),
        (["off", "ok", "ok"], "1 off: w0; 2 match their law"),
        (["off"] * 5, "5 off: w0, w1, w2 and 2 more"),
        (["ok", ""], "1 matches its law; 1 with no law to compare"),
        ([""], "1 with no law to compare"),
    ],
)
def test_verdict_line(verdicts: list[str], line: str) -> None:
    rows = [row(f"w{place}", (2,), verdict=each, mean=0.0) for place, each in enumerate(verdicts)]
    assert line in text(HEADER, rows, width=80).split("\n")


def test_what_is_off_says_by_how_much() -> None:
    off = row("w", (9,), verdict="off", expected_mean=0.0, expected_std=1.0, low=-3.0, high=3.0, mean=0.25, std=2.0,
              min=-4.0, max=5.5)  # fmt: skip
    assert text(HEADER, [off], width=120).split("\n")[-1] == (
        "  ↳ expected mean 0, std 1, between -3 and 3; measured mean 0.25, std 2, from -4 to 5.5"
    )


def test_notes_are_said_once() -> None:
    shown = text(HEADER, ROWS, width=200)
    assert shown.count("note: activations: found by order") == 1
    assert shown.count("note: ") == 2


def test_a_tied_tensor_counts_its_values_once() -> None:
    rows = [row("a", (3, 4), mean=0.0), row("b", (3, 4), status="tied")]
    assert "2 parameters, 12 values: 1 initialized, 1 tied" in text(HEADER, rows, width=80)


@pytest.mark.parametrize("rows", [(), (row("w", (2,), status="kept"),)], ids=["no parameters", "nothing to do"])
def test_nothing_initialized(rows: tuple[AuditRow, ...]) -> None:
    shown = text(Header(policy=""), rows, width=80).split("\n")
    assert shown[:2] == ["policy: seed drawn when applied",
                         "1 parameter, 2 values: 1 kept" if rows else "0 parameters, 0 values"]  # fmt: skip
    assert len(shown) == (6 if rows else 2)


def test_a_long_name_loses_its_middle() -> None:
    long = "transformer.encoder.stages.blocks.attention.self.query_projection.weight"
    rows = [row(long, (4, 4), rule="r", initializer="kaiming_normal", arguments={"mode": "fan_out"}, mean=0.0)]
    line = text(HEADER, rows, width=60).split("\n")[-1]
    assert line.startswith("transformer.e….query_projection.weight  4×4 ")
    troubled = text(HEADER, [replace(rows[0], status="unmatched")], width=60).split("\n")
    assert troubled[-3:-1] == [long[:60], long[60:]]


def test_a_cell_flows_over_empty_neighbours() -> None:
    rows = [
        row("a", (), status="skipped", reason="a reason that is rather long for one column", mean=0.0),
        row("b", (2,), initializer="normal", activation="relu", gain=1.0, expected_std=1.0, std=1.0),
    ]
    assert "  a reason that is rather long for one column  " in text(HEADER, rows, width=75)
    rows[0] = replace(rows[0], activation="relu", gain=1.0)
    assert "  a reason that is rather…  relu  " in text(HEADER, rows, width=75)


def test_color_only_adds_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, colored = (text(HEADER, ROWS, width=100, color=color) for color in (False, True))
    assert "\x1b" not in plain
    assert "\x1b[1;31mencoder.blocks.7.mlp.fc1.weight" in colored
    assert _ANSI.sub("", colored) == plain


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert text(HEADER, ROWS, width=100, color=True) == text(HEADER, ROWS, width=100)


@pytest.mark.parametrize("width", [60, 95, 150])
def test_width_is_the_terminals_by_default(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert text(HEADER, ROWS) == text(HEADER, ROWS, width=width)


def test_markup_and_control_characters_are_text() -> None:
    rows = [row("[red]x[/red]\n\x1b[31m\ud800", (2,), status="unmatched", rule="a\tb")]
    shown = text(replace(HEADER, description="[bold]not bold[/bold]"), rows, width=120, color=False)
    assert "[red]x[/red]\\n\\x1b[31m\\ud800" in shown
    assert "a\\tb" in shown
    assert "[bold]not bold[/bold]" in shown
