"""Folding: what folds, what never does, and that no row is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from render_samples import ROWS, row

from initpolicy.records import AuditRow
from initpolicy.render.fold import fold, troubled


def _names(*names: str) -> list[str]:
    return [one.name + one.times for one in fold([row(name, (2,)) for name in names])]


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (["fc.weight"], ["fc.weight"]),
        (["0.weight", "1.weight"], ["{0,1}.weight ×2"]),
        (["b.0.w", "b.1.w", "b.2.w"], ["b.{0…2}.w ×3"]),
        (["b.0.w", "b.2.w", "b.3.w", "b.4.w", "b.5.w"], ["b.{0,2…5}.w ×5"]),
        (["b.9.w", "b.10.w", "b.8.w"], ["b.{8…10}.w ×3"]),
        (["b.0", "b.1", "b.0.w"], ["b.{0,1} ×2", "b.0.w"]),
        ([f"l.{i}.e.{j}.w1" for i in range(4) for j in range(8)], ["l.{0…3}.e.{0…7}.w1 ×32"]),
        (["l.0.e.0", "l.0.e.1", "l.1.e.0"], ["l.0.e.{0,1} ×2", "l.1.e.0"]),
        (["l.0.0", "l.1.1"], ["l.0.0", "l.1.1"]),
        (["layer1.w", "layer2.w"], ["layer1.w", "layer2.w"]),
        (["b.01.w", "b.1.w"], ["b.01.w", "b.1.w"]),
        (["b.²", "b.٣", "b.1234567890"], ["b.²", "b.٣", "b.1234567890"]),
        (["b.1234567890", "b.1234567891"], ["b.1234567890", "b.1234567891"]),
        ([f"b.{'1' * 5000}"], [f"b.{'1' * 5000}"]),  # more digits than int() takes
        (["a.0.w", "z", "a.1.w", "a.0.b", "a.1.b"], ["a.{0,1}.w ×2", "z", "a.{0,1}.b ×2"]),
        (["a.0.w", "a.0.w"], ["a.0.w", "a.0.w"]),
        ([], []),
    ],
)
def test_names(names: list[str], folded: list[str]) -> None:
    assert _names(*names) == folded


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rule", "other"),
        ("initializer", "orthogonal"),
        ("arguments", {"std": 0.03}),
        ("arguments", {"parts": [{"value": 0}, {"value": 1}]}),
        ("status", "kept"),
        ("status", "unmatched"),
        ("reason", "row 0 stays zero"),
        ("activation", "gelu"),
        ("verdict", "ok"),
        ("verdict", "off"),
        ("shape", (3,)),
        ("dtype", "bfloat16"),
        ("device", "cuda:0"),
        ("module_type", "Conv1d"),
        ("gain", 2.0),
        ("gain_from", "given"),
        ("expected_mean", 1.0),
        ("expected_std", 1.0),
    ],
)
def test_rows_that_differ_in_what_is_shown_do_not_fold(field: str, value: Any) -> None:
    one = row("b.0.w", (2,), arguments={"std": 0.02})
    other = replace(one, name="b.1.w", **{field: value})
    assert [len(each.rows) for each in fold([one, other])] == [1, 1]
    assert [len(each.rows) for each in fold([one, replace(one, name="b.1.w")])] == [2]


@pytest.mark.parametrize(
    "fields", [{"verdict": "off"}, {"status": "unmatched"}, {"reason": "same values as b.9.w"}], ids=str
)
def test_trouble_never_folds(fields: dict[str, Any]) -> None:
    rows = [row(f"b.{index}.w", (2,), **fields) for index in range(3)]
    assert [one.name for one in fold(rows)] == ["b.0.w", "b.1.w", "b.2.w"]


def test_measured_numbers_may_differ() -> None:
    (one,) = fold([row("b.0.w", (2,), std=0.1), row("b.1.w", (2,), std=0.3), row("b.2.w", (2,))])
    assert one.values("std") == [0.1, 0.3]


@st.composite
def _some_rows(draw: st.DrawFn) -> list[AuditRow]:
    """Few names and few fields, so that grids, gaps and repeats are common."""
    index = st.integers(0, 4).map(str)
    segment = st.one_of(index, st.sampled_from(["a", "b"]))
    names = draw(st.lists(st.lists(segment, min_size=1, max_size=4).map(".".join), max_size=40))
    return [row(name, (draw(st.integers(1, 2)),), verdict=draw(st.sampled_from(["ok", "ok", "off"]))) for name in names]


@given(_some_rows())
def test_each_row_is_in_one_fold_and_folds_come_in_order_of_first_appearance(rows: list[AuditRow]) -> None:
    folds = fold(rows)
    position = {id(each): place for place, each in enumerate(rows)}
    places = [[position[id(each)] for each in one.rows] for one in folds]
    assert sorted(place for those in places for place in those) == list(range(len(rows)))
    assert all(those == sorted(those) for those in places)
    assert [those[0] for those in places] == sorted(those[0] for those in places)
    assert all(len(one.rows) == 1 for one in folds if troubled(one.first))


def _expanded(name: str) -> set[str]:
    """The names a folded one stands for."""
    if "{" not in name:
        return {name}
    before, _, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    runs = [word.split("…") for word in inside.split(",")]
    values = [value for run in runs for value in range(int(run[0]), int(run[-1]) + 1)]
    return {f"{before}{value}{tail}" for value in values for tail in _expanded(after)}


@given(_some_rows())
def test_a_folded_name_stands_for_exactly_its_rows(rows: list[AuditRow]) -> None:
    for one in fold(rows):
        assert _expanded(one.name) == {each.name for each in one.rows}


def test_sample() -> None:
    assert [one.name + one.times for one in fold(ROWS)][2:9] == [
        "encoder.blocks.{0…11}.attn.in_proj_weight ×12",
        "encoder.blocks.{0…6,8…11}.mlp.fc1.weight ×11",
        "encoder.blocks.{0…11}.mlp.fc1.bias ×12",
        "encoder.blocks.{0…11}.norm.weight ×12",
        "encoder.blocks.7.mlp.fc1.weight",
        "experts.{0,1,3}.{0…7}.w1 ×24",
        "experts.2.{0…2,4…7}.w1 ×7",
    ]


def test_a_hundred_thousand_rows_are_each_keyed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear, without a clock: the key of a row is made once."""
    import initpolicy.render.fold as module

    calls = 0
    real = module._agreed

    def counting(each: AuditRow) -> tuple[object, ...]:
        nonlocal calls
        calls += 1
        return real(each)

    monkeypatch.setattr(module, "_agreed", counting)
    rows = [row(f"l.{place // 100}.e.{place % 100}.w", (2,)) for place in range(100_000)]
    assert [one.name + one.times for one in fold(rows)] == ["l.{0…999}.e.{0…99}.w ×100000"]
    assert calls == len(rows)
