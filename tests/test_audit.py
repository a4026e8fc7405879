"""Expected beside measured: what is right passes, what is wrong is seen, and the report says which."""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import NORMAL, by_name, policy
from initializer_parts import block_of, law, read
from torch import Tensor, nn

from initpolicy import Audit, apply_policy, load_policy, plan_policy
from initpolicy.audit import judge
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Initializer, elements
from initpolicy.records import Law, Measure
from initpolicy.streams import stream_for

# --- chance alone --------------------------------------------------------------------------------

INDEPENDENT: dict[str, dict[str, Any]] = {
    "normal": {"mean": 0.3, "std": 0.02},
    "uniform": {"a": -1.0, "b": 3.0},
    "trunc_normal": {"std": 0.02},
    "bernoulli": {"p": 0.01},
    "bernoulli ": {"p": 0.5},
    "poisson": {"rate": 0.2},
    "exponential": {},
    "log_normal": {},
    "log_normal ": {"std": 2.5},
    "log_uniform": {"low": 1e-4, "high": 10.0},
    "formula": {"value": "z**3"},
    "formula ": {"value": "1 if u < 0.1 else 0"},
}
SIZES = (1, 2, 3, 5, 8, 13, 16, 20, 32, 64, 100, 200, 500, 900, 2000)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_chance_alone_is_never_off(name: str) -> None:
    """About 90,000 tensors of twelve laws, from one to 2,000 elements, each judged by mean and by spread.

    At six standard errors and a fixed seed, a false alarm would come once in about 3,000 such sets of seeds.
    """
    initializer, asked = INITIALIZERS[name.strip()], read(name.strip(), **INDEPENDENT[name])
    for size in SIZES:
        tensors = min(600, 100_000 // size)
        stream, many = stream_for(20, f"{name}{size}"), block_of((tensors * size,))
        values = elements(initializer, stream, many, asked, 0, many.numel)
        rows = values.reshape(tensors, size).astype(np.float64)
        promised = law(name.strip(), block_of((size,)), **INDEPENDENT[name])
        for row in rows:
            assert judge(promised, measured(row), "float32") == "ok", (size, promised, row)


def measured(values: np.ndarray[Any, np.dtype[np.float64]]) -> Measure:
    return Measure(
        count=values.size, mean=float(values.mean()), std=float(values.std()), min=float(values.min()),
        max=float(values.max()), digest="",
    )  # fmt: skip


WHOLE: dict[str, dict[str, Any]] = {
    "xavier_normal": {},
    "xavier_uniform": {"gain": 1.5},
    "kaiming_normal": {"mode": "fan_out", "gain": 1.4},
    "kaiming_uniform": {"a": 0.1},
    "lecun_normal": {},
    "lecun_uniform": {},
    "variance_scaling": {"mode": "fan_geo"},
    "orthogonal": {"gain": 0.5},
    "sparse": {"sparsity": 0.7},
    "eye": {},
    "constant": {"value": 0.1},
    "zeros": {},
    "ones": {},
    **{name: INDEPENDENT[name] for name in ("normal", "uniform", "trunc_normal", "exponential", "log_normal")},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_initializer_keeps_its_promise_in_every_dtype(dtype: torch.dtype) -> None:
    """Through the whole pipeline: 18 laws, 12 shapes of one to 9,600 elements, 6 seeds; never off.

    2,592 comparisons in two moments: a false alarm in one of about 10,000 sets of seeds.
    """
    shapes = [
        (1, 1),
        (1, 5),
        (5, 1),
        (2, 2),
        (3, 8),
        (8, 3),
        (10, 10),
        (16, 2),
        (64, 32),
        (32, 64),
        (33, 17),
        (120, 80),
    ]
    model = nn.ModuleDict({f"m{n}": nn.Linear(k, m, bias=False, dtype=dtype) for n, (m, k) in enumerate(shapes)})
    for name, arguments in WHOLE.items():
        for seed in range(6):
            audit = apply_policy(model, policy({"name": name, **arguments}, seed=seed))
            assert {row.verdict for row in audit.rows} == {"ok"}, (
                name,
                seed,
                [r for r in audit.rows if r.verdict != "ok"],
            )


def test_a_recommended_model_is_never_off() -> None:
    """A hundred seeds of twenty tensors under a preset: 2,000 comparisons."""
    recommended = load_policy("recommended")
    model = nn.Sequential(
        nn.Embedding(30, 16, padding_idx=0), nn.LSTM(16, 12), nn.Linear(12, 40), nn.LayerNorm(40), nn.GELU(),
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 4, 4, stride=2), nn.PReLU(),
        nn.MultiheadAttention(16, 4), nn.utils.parametrizations.weight_norm(nn.Linear(9, 7)),
    )  # fmt: skip
    for seed in range(100):
        assert apply_policy(model, recommended, seed=seed).ok


# --- what is wrong is seen -----------------------------------------------------------------------


def doctored(name: str, change: Callable[[Any], Any]) -> dict[str, Initializer]:
    """The initializer of this name, that changes what it has made before it hands it on."""
    real = INITIALIZERS[name]

    def make(stream: Any, block: Any, arguments: Any) -> Any:
        values = real.make(stream, block, arguments) if real.make else None
        if values is None:
            values = elements(real, stream, block, arguments, 0, block.numel)
        return np.asarray(change(values.copy()), np.float32)

    return {name: replace(real, recipe=None, draw=None, make=make)}


def shifted(values: Any) -> Any:
    return values + 0.1 * values.std()


def with_one_outside(values: Any) -> Any:
    values.flat[7] = 100
    return values


WRONG: dict[str, Callable[[Any], Any]] = {
    "ten percent too wide": lambda values: np.float32(1.1) * values,
    "ten percent too narrow": lambda values: np.float32(0.9) * values,
    "a tenth of a deviation off": shifted,
    "one far outside": with_one_outside,
    "all zero": lambda values: 0 * values,
    "a tenth not reached": lambda values: np.where(np.arange(values.size).reshape(values.shape) % 10 == 3, 0, values),
}
JUDGED = {**WHOLE, **{name: INDEPENDENT[name] for name in ("log_uniform", "poisson")}, "log_normal": {"std": 0.5}}
UNSEEN = {
    # what changes nothing there
    ("zeros", "ten percent too wide"), ("zeros", "ten percent too narrow"), ("zeros", "all zero"),
    ("zeros", "a tenth not reached"), ("zeros", "a tenth of a deviation off"), ("ones", "a tenth of a deviation off"),
    ("constant", "a tenth of a deviation off"), ("eye", "a tenth not reached"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", JUDGED)
def test_what_is_wrong_is_off(name: str, wrong: str, dtype: torch.dtype) -> None:
    """A tensor of 200 × 200, as a small layer has it."""
    if (name, wrong) in UNSEEN:
        return
    model = nn.Linear(200, 200, bias=False, dtype=dtype)
    asked = policy({"name": name, **JUDGED[name]})
    assert apply_policy(model, asked).ok
    audit = apply_policy(model, asked, initializers=doctored(name, WRONG[wrong]))
    assert not audit.ok
    [row] = audit.rows
    assert row.verdict == "off"


@pytest.mark.parametrize("bound", [-1.0, 1.0])
def test_a_value_on_its_bound_is_off(bound: float) -> None:
    """PT#155588, TT#2269, PT#174997: bounds are open, in every dtype."""

    def onto(values: Any) -> Any:
        values[5] = bound
        return values

    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for asked in ({"name": "uniform", "a": -1, "b": 1}, {"name": "trunc_normal", "std": 0.5}):
            model = nn.Embedding(50, 20, dtype=dtype)
            assert apply_policy(model, policy(asked)).ok
            assert not apply_policy(model, policy(asked), initializers=doctored(str(asked["name"]), onto)).ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_constant_is_right_in_every_element(dtype: torch.dtype) -> None:
    for value in (0.1, -3.3, 1e-7, 12345.678, 0.0):
        model = nn.Embedding(100, 100, dtype=dtype)
        [row] = apply_policy(model, policy(value)).rows
        rounded = float(torch.tensor(value).to(dtype))
        assert (row.verdict, row.min, row.max, row.std) == ("ok", rounded, rounded, 0.0)
        assert row.mean == pytest.approx(rounded, rel=1e-12)
        if value == 0 or (value == 1e-7 and dtype is torch.float16):
            continue  # two steps of nothing are nothing, and there a step is as wide as the value
        step = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}.get(dtype, 2.0**-23)
        factors = torch.ones(100 * 100)
        factors[9] += 2 * step
        by_two_steps = doctored("constant", factors.numpy().__mul__)
        assert not apply_policy(model, policy(value), initializers=by_two_steps).ok


GATES = {"name": "gates", "f": 1, "i": 0, "g": 0, "o": 0}


def test_gates_are_judged_each_by_its_own_law() -> None:
    """The whole tensor has the same mean and spread whichever gate gets the one (PT#20102, PT#750)."""
    model = nn.LSTM(3, 5)
    asked = policy({"weight*": NORMAL, "bias_ih*": GATES, "bias_hh*": 0})
    audit = apply_policy(model, asked)
    row = by_name(audit)["bias_ih_l0"]
    assert (row.verdict, row.expected_mean, row.mean) == ("ok", 0.25, 0.25)
    assert row.expected_std == row.std == pytest.approx(math.sqrt(3) / 4)
    assert row.arguments == {"parts": [{"value": 0}, {"value": 1}, {"value": 0}, {"value": 0}]}

    def swapped(values: Any) -> Any:
        return 1 - values if values[0] in (0, 1) and next(calls) in (0, 1) else values

    calls = iter(range(99))
    row = by_name(apply_policy(model, asked, initializers=doctored("constant", swapped)))["bias_ih_l0"]
    assert (row.verdict, row.mean) == ("off", 0.25)
    assert row.reason == (
        "part [0]: mean 1, std 0 where mean 0, std 0 was asked; part [1]: mean 0, std 0 where mean 1, std 0 was asked"
    )


def test_of_many_parts_that_are_off_the_first_are_named() -> None:
    model = nn.Linear(6, 60, bias=False)
    [row] = apply_policy(model, policy({**NORMAL, "split": 6}), initializers=doctored("normal", lambda v: v + 9)).rows
    assert row.reason.count("part [") == 3
    assert row.reason.endswith("; 3 more parts are off")


def test_parts_of_several_laws_are_one_row() -> None:
    """The row's own law is the mixture: its moments are those of all elements together."""
    model = nn.Linear(300, 400, bias=False)
    parts = [{"name": "normal", "mean": -1, "std": 0.5}, {"name": "uniform", "a": 2, "b": 4}]
    [row] = apply_policy(model, policy({"name": "blocks", "parts": parts})).rows
    assert row.verdict == "ok"
    assert row.expected_mean == pytest.approx(1.0)
    assert row.expected_std == pytest.approx(math.sqrt((0.25 + 1 / 3) / 2 + 4))
    assert row.mean == pytest.approx(row.expected_mean, abs=0.02)
    assert row.std == pytest.approx(row.expected_std, rel=0.01)


def test_a_padding_row_is_not_counted() -> None:
    """The others are held against a law for as many values as they are; a matrix without a row has no law."""
    for rows in (2, 3, 50):
        model = nn.Embedding(rows, 40, padding_idx=1)
        [row] = apply_policy(model, policy({"name": "normal", "mean": 5, "std": 0.1})).rows
        assert (row.verdict, row.expected_mean) == ("ok", 5)
        assert row.mean == pytest.approx(5, abs=0.1)
        for seed in range(50):
            assert apply_policy(model, policy({"name": "exponential"}, seed=seed)).ok
        halves = {"name": "normal", "mean": 5, "std": 0.1, "split": 2}
        if rows % 2 == 0:  # the row is left out of its half
            assert apply_policy(model, policy({**halves, "dim": 0})).ok
        assert apply_policy(model, policy({**halves, "dim": 1})).ok
        wrong = doctored("normal", lambda values: values + 1)
        assert not apply_policy(model, policy({"name": "normal", "mean": 5, "std": 0.1}), initializers=wrong).ok
        for spec in ({"name": "orthogonal"}, {"name": "eye"}, {"name": "formula", "value": "z"}):
            [row] = apply_policy(model, policy(spec)).rows
            assert (row.status, row.verdict) == ("initialized", "")


def test_what_promises_nothing_is_not_judged() -> None:
    model = nn.Linear(30, 20)
    audit = apply_policy(model, policy({"weight": {"call": f"{__name__}.two_"}, "bias": 0}), trusted=[__name__])
    rows = by_name(audit)
    assert [(row.verdict, row.mean, row.expected_mean) for row in rows.values()] == [("", 2, None), ("ok", 0, 0)]
    assert audit.ok


def two_(tensor: Tensor) -> None:
    tensor.fill_(2)


FAIR = Law(kind="normal", mean=1.0, std=2.0, mean_error=0.1, freedom=400.0)
SEEN = Measure(count=400, mean=1.0, std=2.0, min=-5.0, max=7.0, digest="")


@pytest.mark.parametrize(
    ("promised", "found", "verdict"),
    [
        (FAIR, SEEN, "ok"),
        (FAIR, replace(SEEN, mean=1.6), "ok"),
        (FAIR, replace(SEEN, mean=1.7), "off"),
        (FAIR, replace(SEEN, mean=0.3), "off"),
        (FAIR, replace(SEEN, std=2.3), "ok"),
        (FAIR, replace(SEEN, std=2.6), "off"),
        (FAIR, replace(SEEN, std=1.4), "off"),
        (FAIR, replace(SEEN, finite=False), "off"),
        (FAIR, replace(SEEN, mean=math.nan), "off"),
        (replace(FAIR, high=7.5), SEEN, "ok"),
        (replace(FAIR, high=7.0), SEEN, "off"),
        (replace(FAIR, low=-5.0), SEEN, "off"),
        (replace(FAIR, freedom=0.0), SEEN, "ok"),  # a law of a user's own that knows no better
        (replace(FAIR, freedom=math.inf), SEEN, "ok"),
        (replace(FAIR, freedom=math.inf), replace(SEEN, std=2.001), "off"),
        (replace(FAIR, std=0.0), replace(SEEN, std=0.0, min=1.0, max=1.0), "ok"),
        (replace(FAIR, std=0.0), replace(SEEN, std=0.0, min=1.0, max=1.001), "off"),
        (FAIR, replace(SEEN, count=1, std=0.0), "ok"),  # one value has no spread
    ],
)  # fmt: skip
def test_the_limits(promised: Law, found: Measure, verdict: str) -> None:
    assert judge(promised, found, "float32") == verdict


def test_a_parametrization_may_round_a_few_times_more() -> None:
    edge = replace(FAIR, low=-5.0, high=7.0)
    assert judge(edge, SEEN, "bfloat16") == "off"
    assert judge(edge, SEEN, "bfloat16", through=True) == "ok"
    assert judge(replace(edge, high=6.8), SEEN, "bfloat16", through=True) == "off"


# --- duplicates ----------------------------------------------------------------------------------


def test_pt86274_cloned_layers_that_are_kept_are_flagged() -> None:
    """nn.TransformerEncoder copies one layer: what no rule draws anew starts identical."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    kept = apply_policy(model, policy({"nothing": 0}))
    rows = by_name(kept)
    assert rows["layers.2.linear1.weight"].reason == ("no rule claims it; same values as layers.0.linear1.weight")
    flagged = [row.name for row in kept.rows if "same values as" in row.reason]
    random = [
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
        "linear1.weight",
        "linear1.bias",
        "linear2.weight",
    ]
    assert flagged == [
        f"layers.{n}.{name}" for n in (1, 2) for name in [*random, "linear2.bias"]
    ]  # what is 0 or 1 throughout is alike for a reason
    assert kept.header.notes == (
        *(f"layers.1.{name} has the same values as layers.0.{name}" for name in random[:3]),
        "9 more parameters hold values that another one holds",
    )
    assert kept.ok  # no law is broken
    drawn = apply_policy(model, policy(NORMAL))
    assert not any("same values as" in row.reason for row in drawn.rows)
    assert drawn.header.notes == ()


def test_values_drawn_here_are_flagged_if_they_repeat() -> None:
    """A negative control: an initializer that forgets its stream."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))

    def forgets(values: Any) -> Any:
        return np.random.default_rng(0).normal(0.5, 0.25, values.shape)

    audit = apply_policy(model, policy(NORMAL), initializers=doctored("normal", forgets))
    assert by_name(audit)["1.weight"].reason == "same values as 0.weight"


def test_values_that_are_alike_for_a_reason_are_not_flagged() -> None:
    specs: list[Any] = [
        0.5, "ones", {"name": "eye"}, {"name": "formula", "value": "log(j + 1)"}, {"name": "bernoulli", "p": 0.5},
        {"name": "poisson", "rate": 0.1}, {"name": "formula", "value": "1 if u < 0.5 else 0"},
        {"call": f"{__name__}.ramp_"}, {"name": "blocks", "parts": [0, 1]},
    ]  # fmt: skip
    model = nn.ModuleList([nn.Linear(4, 2, bias=False) for _ in range(60)])
    for spec in specs:
        audit = apply_policy(model, policy(spec), trusted=[__name__])
        assert len({row.digest for row in audit.rows}) < 60
        assert not any("same values as" in row.reason for row in audit.rows)
    target = nn.ModuleList([layer := nn.Linear(4, 4), copy.deepcopy(layer)])  # as self-distillation has it
    audit = apply_policy(target.requires_grad_(False), policy())
    assert not any("same values as" in row.reason for row in audit.rows)


def ramp_(tensor: Tensor) -> Tensor:
    return torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape)


def test_small_tensors_of_few_bits_may_coincide() -> None:
    model = nn.ModuleList([nn.Linear(1, 2, dtype=torch.bfloat16) for _ in range(60)])
    audit = apply_policy(model, policy({"name": "uniform", "a": 1, "b": 1.25}))  # of 31 numbers
    assert len({(row.digest, row.shape) for row in audit.rows}) < len(audit.rows)
    assert not any("same values as" in row.reason for row in audit.rows)


# --- the whole -----------------------------------------------------------------------------------


def audited() -> Audit:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2), nn.Linear(2, 2))
    model[4].requires_grad_(False)
    return apply_policy(
        model,
        {
            "name": "four",
            "seed": 3,
            "unmatched": "keep",
            "rules": {
                "weights": {"match": {"type": "Linear"}, "init": {"weight": "xavier_normal"}},
                "first": {"match": {"name": "^0$"}, "init": {"bias": 0}},
            },
            "exclude": [{"name": "^3$"}],
        },
    )


def test_totals_and_rules_count_rows() -> None:
    audit = audited()
    assert audit.totals == {"initialized": 3, "unmatched": 1, "excluded": 2, "frozen": 2}
    assert audit.rules == {"weights": 2, "first": 1}
    assert audit.seed == 3
    assert audit.ok


def test_each_format_by_its_suffix(tmp_path: Path) -> None:
    audit = audited()
    for suffix in (".csv", ".json", ".md", ".txt", ".CSV"):
        audit.save(tmp_path / f"audit{suffix}")
    audit.save(str(tmp_path / "as_text.csv"))
    lines = (tmp_path / "audit.csv").read_bytes().decode()
    assert lines == (tmp_path / "as_text.csv").read_bytes().decode()
    rows = list(csv.DictReader(lines.splitlines()))
    assert [row["name"] for row in rows] == [row.name for row in audit.rows]
    read_back = json.loads((tmp_path / "audit.json").read_text())
    assert read_back["header"]["fingerprint"] == audit.fingerprint
    assert len(read_back["rows"]) == 8
    assert (tmp_path / "audit.md").read_text().startswith("## Initialization by `four`")
    assert (tmp_path / "audit.txt").read_text().startswith("four: seed 3, fingerprint ")


@pytest.mark.parametrize("name", ["audit", "audit.xlsx", "audit.csv.gz"])
def test_an_unknown_suffix_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    path, suffix = tmp_path / name, Path(name).suffix
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message follows
        audited().save(path)
    assert str(caught.value) == f"{path}: unknown suffix {suffix!r}; known are .csv, .json, .md, .txt"
    assert not path.exists()


@pytest.mark.parametrize("columns", [80, 120])
def test_printed_it_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    model = nn.ModuleDict({"a_rather_long_name_of_a_module_that_someone_chose": nn.TransformerEncoderLayer(8, 2, 16)})
    printed = str(apply_policy(model, "recommended", seed=0))
    assert max(map(len, printed.splitlines())) <= columns
    assert printed.splitlines()[0].startswith("recommended: seed 0, fingerprint ")
    assert "all 12 match their law" in printed


# --- fingerprint ---------------------------------------------------------------------------------


def test_the_fingerprint_is_of_what_was_asked() -> None:
    def net(width: int = 4, first: str = "a") -> nn.Module:
        layers = {"a": nn.Linear(3, width), "b": nn.Linear(width, 2)}
        return nn.ModuleDict({key: layers[key] for key in (first, *(layers.keys() - {first}))})

    def asked(model: nn.Module, spec: Any = NORMAL, **options: Any) -> str:
        return apply_policy(model, policy(spec, **options)).fingerprint

    base = asked(net())
    assert len(base) == 16
    assert base == asked(net())
    assert base == asked(net(first="b"))  # nothing depends on the order of modules
    assert base == asked(net().double())  # nor, but by rounding, on the dtype
    assert base == asked(net(), {**NORMAL, "std": "1 / 4"})  # arguments count as resolved
    assert base == asked(torch.nn.DataParallel(net()))
    others = [
        asked(net(), seed=2), asked(net(), name="other"), asked(net(width=5)), asked(net(), {**NORMAL, "std": 0.2}),
        asked(net(), {"weight": NORMAL, "bias": 0}), asked(nn.ModuleDict({"c": net()})),
        asked(net(), exclude=[{"name": "a"}]),
    ]  # fmt: skip
    assert len({base, *others}) == 8


def test_a_drawn_seed_is_in_the_fingerprint() -> None:
    model = nn.Linear(3, 2)
    audit = apply_policy(model, policy(seed=None))
    assert audit.seed is not None
    assert audit.fingerprint == apply_policy(model, policy(seed=audit.seed)).fingerprint
    assert audit.fingerprint == plan_policy(model, policy(), seed=audit.seed).fingerprint
    assert plan_policy(model, policy(seed=None)).fingerprint != audit.fingerprint


# --- logs ----------------------------------------------------------------------------------------


def stack(depth: int = 100) -> nn.Module:
    """Three hundred parameters and more, of names that do not fold."""
    return nn.ModuleDict({f"layer_{n}x": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for n in range(depth)})


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "initpolicy"]


def test_a_library_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    model = stack(3)
    plan_policy(model, "he_relu")
    apply_policy(model, "he_relu", seed=0)
    apply_policy(model, policy())
    assert capsys.readouterr() == ("", "")


def test_jiant821_the_console_gets_a_summary_and_the_file_everything(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with caplog.at_level(logging.INFO, "initpolicy"):
        audit = apply_policy(stack(), "xavier_normal", seed=0)
    assert len(audit.rows) == 400
    [(level, line)] = said(caplog)
    assert (level, line) == (logging.INFO, str(audit))
    assert len(line.splitlines()) <= 50
    assert line.splitlines()[-1] == (
        '… 360 more lines (360 parameters); .save("init_audit.csv") or DEBUG logging has them all'
    )
    audit.save(tmp_path / "init_audit.csv")
    assert len((tmp_path / "init_audit.csv").read_text().splitlines()) == 401


def test_each_row_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    model[1].requires_grad_(False)
    with caplog.at_level(logging.DEBUG, "initpolicy"):
        audit = apply_policy(model, policy({"weight": {"name": "normal", "std": 0.5}}))
    _, *rows = said(caplog)
    std = [None if row.std is None else f"{row.std:.4g}" for row in audit.rows]
    assert rows == [
        (logging.DEBUG, f"0.weight 3×4: initialized, all: normal(std=0.5), std 0.5, measured {std[0]}, ok"),
        (logging.DEBUG, f"0.bias 3: unmatched, measured {std[1]}, no rule claims it"),
        (logging.DEBUG, "1.weight 3: frozen, measured 0, does not require gradients"),
        (logging.DEBUG, "1.bias 3: frozen, measured 0, does not require gradients"),
    ]


def test_what_wants_attention_is_a_warning_where_nobody_asked_for_the_table(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20))
    asked = policy({"weight": NORMAL}, unmatched="warn")
    wrong = doctored("normal", lambda values: 2 * values)
    with caplog.at_level(logging.WARNING, "initpolicy"):
        apply_policy(model, asked, initializers=wrong)
    assert said(caplog) == [
        (logging.WARNING, "test: 2 parameters claimed by no rule: 0.bias, 1.bias"),
        (logging.WARNING, "test: 2 off: 0.weight, 1.weight"),
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "initpolicy"):
        apply_policy(model, policy({"weight": NORMAL, "bias": 0}))
    assert said(caplog) == []
