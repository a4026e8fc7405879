"""Files: csv and JSON read back to the same values, markdown and spreadsheets take names as text."""

from __future__ import annotations

import csv as stdlib_csv
import io
import json as stdlib_json
import math
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_samples import HEADER, ROWS, row

from initpolicy.records import AuditRow, Header
from initpolicy.render import FORMATS, csv, format_for, json, markdown, text
from initpolicy.render.numbers import exact, short, span
from initpolicy.render.words import asked, shape, visible

_NUMBERS = {field.name for field in fields(AuditRow) if field.type == "float | None"}
_FIELDS = [field.name for field in fields(AuditRow)]
_TUPLES = [field.name for field in fields(AuditRow) if field.type == "tuple[str, ...]"]

# --- reading back ----------------------------------------------------------------------------------


def _from_csv(cells: dict[str, str]) -> dict[str, Any]:
    """A row's values by the rules that `csv` documents."""
    read: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in _NUMBERS:
            read[name] = float(cell) if cell else None
        elif name == "seed":
            read[name] = int(cell) if cell else None
        elif name == "shape":
            read[name] = tuple(map(int, cell.split()))
        elif name == "arguments":
            read[name] = stdlib_json.loads(cell) if cell else {}
        else:
            cell = cell[1:] if cell.startswith("'") else cell
            if name in _TUPLES:
                items = re.findall(r"((?:\\.|[^\\;])*)(?:;|$)", cell, re.DOTALL)[: _count(cell)] if cell else []
                read[name] = tuple(re.sub(r"\\(.)", r"\1", item) for item in items)
            else:
                read[name] = cell
    return read


def _count(cell: str) -> int:
    return len(re.sub(r"\\.", "", cell).split(";"))


def _from_json(record: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: record[name] and float(record[name]) for name in _NUMBERS}
    tuples = {name: tuple(record[name]) for name in (*_TUPLES, "shape")}
    return {**record, **numbers, **tuples}


def _same(read: dict[str, Any], written: AuditRow) -> bool:
    """Equal, to the bit, a nan being equal to a nan."""
    return list(read) == _FIELDS and all(repr(read[name]) == repr(getattr(written, name)) for name in _FIELDS)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_shy = st.sampled_from(
    ["=cmd()", "+1", "-1", "@x", "'x", "\tx", "\rx", 'a"b', "a,b", "a\nb", "a\r\nb", "a;b", "a\\;b", "nan"]
)
_words = st.one_of(_text, _shy)
_finite = st.floats(allow_nan=False, allow_infinity=False)
_rows = st.lists(
    st.builds(
        AuditRow,
        **{
            **dict.fromkeys(_FIELDS, _words),
            **dict.fromkeys(_NUMBERS, st.one_of(st.none(), st.floats())),
            **dict.fromkeys(_TUPLES, st.lists(_words.filter(bool), max_size=3).map(tuple)),
            "shape": st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
            "status": st.sampled_from(["initialized", "kept"]),
            "verdict": st.sampled_from(["ok", "off", ""]),
            "seed": st.one_of(st.none(), st.integers(0, 2**63)),
            "arguments": st.dictionaries(_words, st.one_of(_finite, st.integers(), st.booleans(), _words), max_size=3),
        },
    ),
    max_size=4,
)


@given(_rows)
def test_csv_reads_back_to_the_same_values(rows: list[AuditRow]) -> None:
    read = list(stdlib_csv.DictReader(io.StringIO(csv(HEADER, rows), newline=""), strict=True))
    assert len(read) == len(rows)
    assert all(_same(_from_csv(cells), each) for cells, each in zip(read, rows, strict=True))


@given(_rows)
def test_json_reads_back_to_the_same_values(rows: list[AuditRow]) -> None:
    read = stdlib_json.loads(json(HEADER, rows), parse_constant=pytest.fail)
    assert Header(**{**read["header"], "notes": tuple(read["header"]["notes"])}) == HEADER
    assert len(read["rows"]) == len(rows)
    assert all(_same(_from_json(record), each) for record, each in zip(read["rows"], rows, strict=True))


def test_sample_reads_back() -> None:
    cells = list(stdlib_csv.DictReader(io.StringIO(csv(HEADER, ROWS), newline="")))
    records = stdlib_json.loads(json(HEADER, ROWS))["rows"]
    assert all(_same(_from_csv(each), one) for each, one in zip(cells, ROWS, strict=True))
    assert all(_same(_from_json(each), one) for each, one in zip(records, ROWS, strict=True))


# --- csv -------------------------------------------------------------------------------------------


def test_csv_has_the_fields_in_order_and_crlf() -> None:
    lines = csv(HEADER, [row("w", (2, 3))]).split("\r\n")
    assert lines[0].split(",") == _FIELDS
    assert lines[1] == "w,,2 3,float32,cpu,Linear,initialized" + "," * (len(_FIELDS) - 7)
    assert lines[2:] == [""]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "'"])
def test_a_spreadsheet_runs_nothing(start: str) -> None:
    (cells,) = stdlib_csv.DictReader(
        io.StringIO(csv(HEADER, [row(f"{start}cmd|' /C calc'!A0", (), aliases=(f"{start}x",), mean=-0.5)]), newline="")
    )
    assert cells["name"] == f"'{start}cmd|' /C calc'!A0"
    assert cells["aliases"] == f"'{start}x"
    assert cells["mean"] == "-0.5"


# --- json ------------------------------------------------------------------------------------------


def test_json_has_no_number_that_is_not_finite() -> None:
    infinite = row(
        "w", (), low=-math.inf, high=math.inf, std=math.nan, arguments={"b": math.inf, "parts": ({"a": math.nan},)}
    )
    (record,) = stdlib_json.loads(json(HEADER, [infinite]), parse_constant=pytest.fail)["rows"]
    assert (record["low"], record["high"], record["std"]) == ("-inf", "inf", "nan")
    assert record["arguments"] == {"b": "inf", "parts": [{"a": "nan"}]}


def test_json_takes_any_argument_and_keeps_unicode() -> None:
    written = json(HEADER, [row("größe", (), arguments={"path": Path("a/b"), "kind": int, "none": None, "yes": True})])
    assert '"größe"' in written
    assert stdlib_json.loads(written)["rows"][0]["arguments"] == {
        "path": "a/b", "kind": "<class 'int'>", "none": None, "yes": True
    }  # fmt: skip


def test_json_of_no_rows() -> None:
    assert stdlib_json.loads(json(Header(policy="p"), []))["rows"] == []


# --- markdown --------------------------------------------------------------------------------------


def _cells(line: str) -> list[str]:
    """How a GitHub table is cut: at each pipe that has no backslash before it."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@given(st.lists(st.tuples(_words.filter(bool), _words, _words), min_size=1, max_size=4))
def test_markdown_rows_have_as_many_cells_as_titles(some: list[tuple[str, str, str]]) -> None:
    rows = [
        row(name, (2,), rule=rule, reason=reason, mean=0.0, verdict="off", path=(name, reason), flags=(rule,),
            other_hits=(reason, name), input_path=(rule,), input_activation=name, gain_from=rule)
        for name, rule, reason in some
    ]  # fmt: skip
    table = [line for line in markdown(Header(policy="p"), rows).split("\n") if line.startswith("| ")]
    assert len(table) == len(rows) + 2
    assert {len(_cells(line)) for line in table} == {18}


def test_markdown_has_the_flags_of_all_rows_of_a_fold_and_the_way_of_the_first() -> None:
    rows = [
        row("b.0.w", (2,), mean=0.0, path=("b.0", "relu"), flags=("norm",), other_hits=("identity: b.0 → fc", "tanh")),
        row("b.1.w", (2,), mean=0.0, path=("b.1", "add", "relu"), flags=("norm", "add"), input_path=("input", "b.1")),
    ]
    *_, last = (line for line in markdown(Header(policy="p"), rows).split("\n") if line)
    assert _cells(last)[-8:] == ["", "b.0 → relu", "norm, add", "identity: b.0 → fc; tanh", "", "", "", ""]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a|b", r"`a\|b`"),
        ("a\nb", r"`a\nb`"),
        ("a`b", "`` a`b ``"),
        ("a``b`", "``` a``b` ```"),
        ("<b>_x_[red]", "`<b>_x_[red]`"),
        ("=cmd", "`=cmd`"),
    ],
)
def test_markdown_names(name: str, code: str) -> None:
    shown = markdown(HEADER, [row(name, (2,), mean=0.0)]).split("\n")[-2]
    assert shown.startswith(f"| {code} | 2 |")


def test_markdown_text_is_text() -> None:
    header = Header(policy="p|q", description="<script>*x*</script> [a](b) `c`", notes=("# no & heading",))
    shown = markdown(header, [])
    assert r"\<script\>\*x\*\</script\> \[a\]\(b\) \`c\`" in shown
    assert r"> - \# no \& heading" in shown


# --- words and numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""), (0, "0"), (-0.0, "0"), (1, "1"), (1.0, "1"), (4608.0, "4608"), (True, "true"), (2**0.5, "1.414"),
        (0.1, "0.1"), (1e-5, "1e-05"), (1.23456e-7, "1.235e-07"), (123456.7, "1.235e+05"), (10**30, "1e+30"),
        (math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_short(value: float | None, shown: str) -> None:
    assert short(value) == shown


def test_digits_and_spans() -> None:
    assert short(0.0441942, 3) == "0.0442"
    assert span([]) == ""
    assert span([0.5]) == "0.5"
    assert span([0.44191, 0.44192], 3) == "0.442"
    assert span([0.3, 0.1, 0.2]) == "0.1…0.3"


@given(st.floats())
def test_exact_reads_back(value: float) -> None:
    assert repr(float(exact(value))) == repr(value)


@pytest.mark.parametrize(
    ("initializer", "arguments", "shown"),
    [
        ("", {}, ""),
        ("ones", {}, "ones"),
        ("constant", {"value": 0.0}, "constant(0)"),
        ("kaiming_normal", {"mode": "fan_in", "gain": 2**0.5}, "kaiming_normal(gain=1.414)"),
        ("kaiming_normal", {"mode": "fan_out", "gain": 1.0}, "kaiming_normal(fan_out, gain=1)"),
        ("normal", {"mean": 0.0, "std": 0.02}, "normal(std=0.02)"),
        ("normal", {"mean": 0.5, "std": 0.02}, "normal(mean=0.5, std=0.02)"),
        ("uniform", {"a": -1, "b": 1}, "uniform(a=-1, b=1)"),
        ("formula", {"value": "log(j + 1)"}, "formula(log(j + 1))"),
        ("pretrained", {"path": "a/b.pt", "map": {"x.": "y."}}, "pretrained(path=a/b.pt, map={x.: y.})"),
        ("my.f_", {"flag": True, "sizes": [1, 2.5]}, "my.f_(flag=true, sizes=[1, 2.5])"),
        ("constant", {"parts": [{"value": 0}, {"value": 1}]}, "constant(0|1)"),
        ("orthogonal", {"parts": [{"gain": 1.0}, {"gain": 1.0}]}, "orthogonal(gain=1)"),
        ("blocks", {"parts": [{"std": 0.1}, {"value": 3, "std": 0.1}, {"gain": 2}]},
         "blocks(std=0.1|0.1|–, –|3|–, gain=–|–|2)"),
        ("f", {"parts": "all"}, "f(all)"),
        ("f", {"text": "a\nb"}, r"f(text=a\nb)"),
    ],
)  # fmt: skip
def test_asked(initializer: str, arguments: dict[str, Any], shown: str) -> None:
    assert asked(row("w", (2,), initializer=initializer, arguments=arguments)) == shown


def test_asked_in_full_leaves_out_nothing() -> None:
    arguments = {"mode": "fan_in", "gain": 2**0.5}
    assert asked(row("w", (2,), initializer="kaiming_normal", arguments=arguments), full=True) == (
        "kaiming_normal(mode=fan_in, gain=1.414)"
    )
    parts = {"parts": [{"value": 0}, {"value": 1}]}
    assert asked(row("b", (2,), initializer="constant", arguments=parts), full=True) == "constant(value=0|1)"


def test_asked_leaves_out_only_the_gain_that_the_row_repeats() -> None:
    one = row("w", (2,), initializer="orthogonal", arguments={"gain": 2.0}, gain=2.0)
    other = row("w", (2,), initializer="orthogonal", arguments={"gain": 2.0}, gain=3.0)
    assert asked(one, gain=False) == "orthogonal"
    assert asked(other, gain=False) == "orthogonal(gain=2)"


def test_shapes_and_what_cannot_be_printed() -> None:
    assert [shape(()), shape((3,)), shape((64, 3, 7, 7))] == ["scalar", "3", "64×3×7×7"]
    assert visible("größe 重み") == "größe 重み"
    assert visible("a\x1b\u200b\n") == r"a\x1b\u200b\n"


# --- the table of formats --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_format_for_takes_any_path(suffix: str) -> None:
    assert format_for(f"a/b.c{suffix}") is FORMATS[suffix]
    assert format_for(Path(f"x{suffix.upper()}")) is FORMATS[suffix]


@pytest.mark.parametrize(("path", "suffix"), [("init.xlsx", ".xlsx"), ("init", ""), (Path("a.csv/b"), "")])
def test_format_for_lists_what_it_knows(path: str | Path, suffix: str) -> None:
    message = f"{path}: unknown suffix {suffix!r}; known are .csv, .json, .md, .txt"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        format_for(path)


def test_a_text_file_holds_every_line_whatever_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"layer_{place}.weight", (4, place + 1), mean=0.0) for place in range(100)]
    monkeypatch.setenv("COLUMNS", "50")
    assert FORMATS[".txt"](HEADER, rows) == text(HEADER, rows, width=120, most=None) + "\n"
    assert FORMATS[".txt"](HEADER, rows).count("\nlayer_") == 100


def test_importing_the_renderers_imports_no_torch() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, initpolicy.render; print('torch' in sys.modules, 'numpy' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "False False\n"
