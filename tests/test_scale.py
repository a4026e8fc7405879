"""Planning grows with the model and no faster, and what is done once for many is what is done for each."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from planning_parts import Cnn, Gpt, Moe, Tagger, TiedLm
from torch import nn

import initpolicy as ip
from initpolicy import api, files, load, resolve
from initpolicy.audit import audit_of
from initpolicy.collector import paused
from initpolicy.facts.find import find_in_order, find_signals
from initpolicy.facts.survey import survey_model
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Initializer
from initpolicy.load import load_policy
from initpolicy.plan import Plan, make_plan
from initpolicy.records import AuditRow, Header
from initpolicy.render.csv import csv
from initpolicy.render.text import text
from initpolicy.resolve import Resolver, wants_signals


class Expert(nn.Module):
    """Two matrices and a bare scale."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8, bias=False), nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.ones(4))


class Layer(nn.Module):
    """A router and experts."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.norm = nn.Linear(4, 6), nn.LayerNorm(4)
        self.experts = nn.ModuleList(Expert() for _ in range(6))


class Mixture(nn.Module):
    """Layers of experts, on the meta device."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        with torch.device("meta"):
            self.table = nn.Embedding(10, 4)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))


class Holder(nn.Module):
    """One layer, and a number that its holder has."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.width, self.layer = width, nn.Linear(4, 4).to(dtype)


def holders() -> nn.Module:
    """Layers that differ in nothing but their dtype, or in what holds them."""
    return nn.ModuleList(Holder(width, dtype) for width in (1, 2) for dtype in (torch.float32, torch.bfloat16))


POLICY = load_policy(
    {
        "name": "mixture",
        "seed": 1,
        "vars": {"std": 0.02},
        "activations": {r"\.up$": "silu"},
        "exclude": [{"type": "Layer", "where": "numel > 1e9"}, {"name": "^table$"}],
        "rules": {
            "all": {"init": {"*": {"name": "normal", "std": "std"}}},
            "linear": {
                "match": {"type": "Linear"},
                "init": {"weight": {"name": "trunc_normal", "std": "std"}, "bias": 0},
            },
            "inside": {"match": {"type": "Linear", "inside": "Expert"}, "init": {"weight": "xavier_uniform"}},
            "scale": {"match": {"type": "Expert"}, "init": {"scale": 1}},
            "gated": {"match": {"activation": "silu", "type": "Linear"}, "init": {"weight": "kaiming_normal"}},
            "down": {
                "match": {"name": r"layers\.(?P<layer>\d+)\.experts\.(?P<expert>\d+)\.down"},
                "init": {"weight": {"name": "normal", "std": "std / sqrt(2 * n_expert)"}},
                "expect": "n_layer * n_expert",
            },
            "narrow": {
                "match": {"where": "fan_in < 5 and ndim == 2", "not": {"name": "up"}},
                "init": {"weight": "eye"},
            },
            "biases": {
                "match": {"type": "Linear"},
                "init": {"bias": {"name": "uniform", "a": "-weight_fan_in", "b": 9}},
            },
            "unused": {"match": {"type": "Linear", "name": "nowhere"}, "init": {"wieght": 0}},
        },
        "unused": "warn",
    }
)


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many functions of Python's are entered."""
    count = [0]

    def enter(frame: Any, event: str, arg: Any) -> None:
        count[0] += event == "call"

    before = sys.getprofile()
    sys.setprofile(enter)
    try:
        yield count
    finally:
        sys.setprofile(before)


def plan(layers: int) -> Plan:
    return make_plan(POLICY, survey_model(Mixture(layers)))


def reported(layers: int) -> tuple[Header, tuple[AuditRow, ...]]:
    made = plan(layers)
    return made.header, made.rows


STAGES: Mapping[str, Callable[[int], Callable[[], object]]] = {
    "survey": lambda layers: partial(survey_model, Mixture(layers)),
    "plan": lambda layers: partial(make_plan, POLICY, survey_model(Mixture(layers))),
    "rows": lambda layers: partial(Plan.rows.fget, plan(layers)),  # type: ignore[attr-defined]  # a property
    "audit": lambda layers: partial(audit_of, plan(layers), {}, 1),
    "text": lambda layers: partial(text, *reported(layers), width=150),
    "csv": lambda layers: partial(csv, *reported(layers)),
    "order": lambda layers: partial(find_in_order, Mixture(layers)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_work_grows_with_the_model_and_no_faster(stage: str) -> None:
    """Twice as many layers added cost twice as many calls, to 5 %: a pass over the model for each of its modules would
    not. What C does in a call is not seen."""
    calls = []
    for layers in (4, 8, 16):
        work = STAGES[stage](layers)
        work()  # what is kept for the process is kept from here on
        with counted() as count:
            work()
        calls.append(count[0])
    first, second = calls[1] - calls[0], calls[2] - calls[1]
    assert 1.9 * first <= second <= 2.1 * first


def test_what_is_alike_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []
    real = Resolver._resolved

    def resolved(self: Resolver, *args: Any) -> Any:
        times[-1] += 1
        return real(self, *args)

    monkeypatch.setattr(Resolver, "_resolved", resolved)
    for layers in (2, 5):
        times.append(0)
        made = plan(layers)
        assert {a.status for a in made.assignments} == {"initialized", "excluded"}
    assert times[0] == times[1] < 12


def test_equal_facts_are_one_object() -> None:
    facts = survey_model(Mixture(4))
    sites = [site for param in facts.params for site in param.sites]
    for found in ([site.layout for site in sites], [module.attributes for module in facts.modules]):
        distinct = {id(one): one for one in found}
        assert len(distinct) == len({repr(one) for one in found}) < 12


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "cnn": Cnn, "gpt": Gpt, "moe": Moe, "tagger": Tagger, "tied": TiedLm, "mixture": lambda: Mixture(2),
    "holders": holders,
}  # fmt: skip
SPECS: Mapping[str, Mapping[str, Any]] = {
    "of the layer": {"match": {"name": r"(?P<layer>\d+)"}, "init": {"*": {"name": "normal", "std": "layer + 1"}}},
    "of the tensor": {"init": {"weight": {"name": "normal", "std": "1 / sqrt(fan_in)"}}},
    "of the weight": {"init": {"*bias": {"name": "normal", "std": "weight_fan_in"}}},
    "of the owner": {"match": {"type": "Linear"}, "init": {"*": {"name": "normal", "std": "in_features"}}},
    "of what holds it": {"match": {"inside": "Holder"}, "init": {"*": {"name": "normal", "std": "width"}}},
    "elementwise": {"init": {"*": {"name": "formula", "value": "i + numel"}}},
    "by following": {"init": {"weight": {"name": "kaiming_normal", "nonlinearity": "following"}}},
    "gain in a formula": {"init": {"weight": {"name": "normal", "std": "gain"}}},
    "whole matrices": {"match": {"where": "ndim > 1"}, "init": {"*": "orthogonal"}},
    "gates": {"match": {"type": "LSTM"}, "init": {"weight*": {"name": "xavier_normal", "split": "gates"}, "bias*": 0}},
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spec", [*SPECS, *(f"preset {name}" for name in ("he_relu", "signal", "keras_default"))])
def test_resolving_once_for_many_changes_nothing(monkeypatch: pytest.MonkeyPatch, model: str, spec: str) -> None:
    """Against each parameter by itself, in every field of every assignment, or in every problem."""
    facts = survey_model(MODELS[model]()) if model in ("mixture", "holders") else ip.survey(MODELS[model]())
    loose = {"unused": "ignore", "unmatched": "keep", "frozen": "init"}
    if spec.startswith("preset "):
        policy = load_policy({**load_policy(spec.removeprefix("preset ")).dump(), **loose})
    else:
        policy = load_policy({"rules": {"one": SPECS[spec]}, **loose})

    def outcome() -> object:
        try:
            return make_plan(policy, facts).assignments
        except ip.PlanError as error:
            return str(error)

    together = outcome()
    monkeypatch.setattr(Resolver, "resolve", resolve.Resolver._resolved)
    assert together == outcome()


def test_a_users_initializer_is_asked_for_each_parameter() -> None:
    """Its law may depend on the name."""
    names: list[str] = []
    mine = replace(INITIALIZERS["zeros"], law=lambda block, a: names.append(block.name))
    made = make_plan(
        load_policy({"rules": {"all": {"init": {"*": "mine"}}}}),
        survey_model(Mixture(2)),
        initializers={"mine": mine},
    )
    assert names == [a.name for a in made.assignments]


# --- what is not traced --------------------------------------------------------------------------


def rules(init: Any = "xavier_normal", **match: Any) -> Mapping[str, Any]:
    return {"rules": {"all": {"match": match, "init": {"weight": init}}}, "unmatched": "keep"}


WANTS: Mapping[str, tuple[Mapping[str, Any], bool]] = {
    "a law without gain": (rules("normal"), False),
    "a gain of 1 by default": (rules(), False),
    "a gain that is found": (rules({"name": "xavier_normal", "gain": "auto"}), True),
    "a gain by default": (rules("kaiming_normal"), True),
    "its alias": (rules("he_normal"), True),
    "a number for it": (rules({"name": "kaiming_normal", "gain": 2}), False),
    "a formula for it": (rules({"name": "kaiming_normal", "gain": "sqrt(2)"}), False),
    "a formula with it": (rules({"name": "normal", "std": "gain / 2"}), True),
    "for each element": (rules({"name": "formula", "value": "gain * z"}), True),
    "a slope": (rules({"name": "kaiming_normal", "a": 0.2}), False),
    "an activation by name": (rules({"name": "kaiming_normal", "nonlinearity": "relu"}), False),
    "whichever follows": (rules({"name": "kaiming_normal", "nonlinearity": "following"}), True),
    "whichever precedes": (rules({"name": "kaiming_uniform", "nonlinearity": "preceding"}), True),
    "inside blocks": (rules({"name": "blocks", "parts": ["normal", "kaiming_normal"]}), True),
    "the layer before": ({"rules": {"a": {"init": {"*": "normal"}}, "b": {"init": {"weight": "inherit"}}}}, True),
    "a match": (rules(activation="relu"), True),
    "a match before": (rules(input_activation="relu"), True),
    "a not": (rules(**{"not": {"not": {"activation": "relu"}}}), True),
    "an exclusion": ({**rules(), "exclude": [{"input_activation": "relu"}]}, True),
    "a type": (rules(type="Linear"), False),
    "a name that no one knows": (rules("nothing"), False),
}


@pytest.mark.parametrize("case", WANTS)
def test_only_what_a_policy_depends_on_is_traced(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    given, wants = WANTS[case]
    assert wants_signals(load_policy(given)) is wants
    traced: list[object] = []

    def find(*args: Any, **more: Any) -> Any:
        traced.append(args)
        return find_signals(*args, **more)

    monkeypatch.setattr(api, "find_signals", find)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    try:
        ip.plan_policy(model, given)
    except ip.InitPolicyError:
        assert case in ("a name that no one knows", "the layer before", "an exclusion", "inside blocks")
    assert bool(traced) is wants


def test_a_users_initializer_with_a_gain() -> None:
    mine = replace(INITIALIZERS["kaiming_normal"], name="mine")
    assert wants_signals(load_policy(rules("mine")), {"mine": mine})
    assert not wants_signals(load_policy(rules("mine")), {"mine": replace(mine, arguments=())})
    nothing: Mapping[str, Initializer] = {"mine": None}  # type: ignore[dict-item]  # refused while planning
    assert not wants_signals(load_policy(rules("mine")), nothing)


def seen(**given: Any) -> list[tuple[str, str]]:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    made = ip.plan_policy(model, rules(), **given)
    return [(a.activation, a.found_by) for a in made.assignments if a.name.endswith("weight")]


def test_how_the_audit_says_it() -> None:
    traced = [("relu", "trace of your example_input"), ("identity", "trace of your example_input")]
    assert seen(example_input=torch.zeros(1, 4)) == traced
    assert seen() == [("", "not traced"), ("", "not traced")]
    assert [activation for activation, _ in seen(trace=True)] == ["relu", "identity"]
    assert seen(trace=False) == [("relu", "sequential"), ("identity", "sequential")]


def test_never_traced() -> None:
    """What is declared is known, and what order tells; the plan says so to those who ask."""

    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("it was called")

    policy = {**rules("kaiming_normal"), "activations": {"^up$": "silu"}}
    made = ip.plan_policy(Opaque(), policy, trace=False)
    assert [(a.gain_from, a.found_by) for a in made.assignments if a.parts] == [
        ("following silu", "declared"),
        ("torch's default: no following activation is known (not traced)", "not traced"),
    ]
    assert made.notes == ("activations are known by order inside nn.Sequential only: trace is False",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trace": "maybe"}, "policy: trace: must be True, False or 'auto', not 'maybe'"),
        (
            {"trace": False, "example_input": torch.zeros(1, 4)},
            "policy: trace: is False, which leaves no use for the example_input; drop one",
        ),
    ],
)
def test_what_trace_may_be(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ip.PlanError) as caught:
        seen(**given)
    assert str(caught.value) == said


# --- what is kept --------------------------------------------------------------------------------


def test_the_collector_is_put_back() -> None:
    for on in (True, False):
        (gc.enable if on else gc.disable)()
        try:
            with pytest.raises(ZeroDivisionError), paused():
                raise ZeroDivisionError
            assert gc.isenabled() is on
            with paused(), paused():
                assert not gc.isenabled()
            assert gc.isenabled() is on
        finally:
            gc.enable()


def test_a_preset_is_read_again_when_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no caller sees what another does to its own."""
    folder = tmp_path / "init"
    folder.mkdir()
    (folder / "base.yaml").write_text("rules: {all: {init: {'*': 1}}}")
    (folder / "mine.yaml").write_text("defaults: [base]")
    monkeypatch.setattr(files, "conf_folder", lambda: tmp_path)
    read: list[Path] = []
    real = load._loaded

    def loaded(path: Path) -> ip.Policy:
        read.append(path)
        return real(path)

    monkeypatch.setattr(load, "_loaded", loaded)
    first = load_policy("mine")
    first.rules.clear()
    second = load_policy("mine")
    assert list(second.rules) == ["all"]
    assert second.rules["all"].init["*"].arguments == {"value": 1}
    assert read == [folder / "mine.yaml"]
    (folder / "base.yaml").write_text("rules: {all: {init: {'*': 2.5}}}")
    assert load_policy("mine").rules["all"].init["*"].arguments == {"value": 2.5}
    assert load_policy(folder / "mine.yaml") == load_policy("mine")
