"""Every other hit, the ways and their flags: found, kept apart from what a match may claim, and shown row by row."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from planning_parts import rule
from torch import Tensor, nn

from initpolicy import InitPolicyError, Plan, apply_policy, plan_policy, survey
from initpolicy.errors import CannotTrace, Problem
from initpolicy.facts.dataflow import trace
from initpolicy.facts.dataflow.resolve import _MOST
from initpolicy.records import Activation, Hit, Signal


class Block(nn.Module):
    """A skip from the stem: what the branch meets and what lies past the add."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.gate, self.branch, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        return self.head(torch.relu(x + torch.sigmoid(self.gate(x)) * self.branch(x)))  # type: ignore[no-any-return]


X = torch.zeros(1, 3, 4, 4)


def shown(hits: tuple[Hit, ...]) -> list[str]:
    return list(map(str, hits))


def test_a_hit_is_told_with_its_way_and_its_flags() -> None:
    relu = Activation(name="leaky_relu", arguments=(("slope", 0.2),))
    assert str(Hit(activation=relu)) == "leaky_relu(slope=0.2)"
    assert str(Hit(activation=relu, path=("a", "b"))) == "leaky_relu(slope=0.2): a → b"
    assert str(Hit(activation=relu, path=("a",), flags=("norm", "add"))) == "leaky_relu(slope=0.2): a (norm, add)"


def test_what_lies_further_is_kept_apart() -> None:
    signals = trace(Block(), X).signals
    stem, branch, head = (signals[f"{name}.weight"] for name in ("stem", "branch", "head"))
    assert shown(stem.following) == [
        "identity: stem → norm → gate (norm)",
        "identity: stem → norm → branch (norm)",
    ]
    assert shown(stem.further_following) == ["relu: stem → norm → add → relu (norm, add)"]
    assert shown(branch.following) == ["relu: branch → mul → add → relu (add, mul, gated)"]
    assert branch.further_following == ()
    assert shown(branch.preceding) == ["identity: stem → norm (norm)"]
    assert shown(head.preceding) == ["relu: relu"]


class Mixed(nn.Module):
    """What precedes the last layer: a sum, one of its terms through a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x))
        return self.last(h * torch.sigmoid(self.two(x)))  # type: ignore[no-any-return]


def test_a_gate_is_seen_before_a_layer_and_is_not_its_input() -> None:
    last = trace(Mixed(), torch.zeros(1, 4)).signals["last.weight"]
    assert shown(last.preceding) == ["tanh: tanh → mul (mul, gated)"]
    assert shown(last.further_preceding) == ["sigmoid: sigmoid → mul (mul, gated)"]


class Wide(nn.Module):
    """One product that many layers take, at the same level and one add further."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.near = nn.Linear(4, 4)
        self.far = nn.ModuleList(nn.Linear(4, 4) for _ in range(_MOST + 5))

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.stem(x)
        return [self.near(h), *(layer(h + 1.0 * x) for layer in self.far)]


def test_they_are_ranked_and_no_more_than_a_page() -> None:
    stem = trace(Wide(), torch.zeros(1, 4)).signals["stem.weight"]
    assert shown(stem.following) == ["identity: stem → near"]
    further = shown(stem.further_following)
    assert further == [f"identity: stem → add → far.{index} (add)" for index in range(_MOST)]


def test_no_match_and_no_gain_goes_by_them() -> None:
    rules = {"all": rule("kaiming_normal", type="Conv2d"), "norm": rule(0, type="BatchNorm2d"),
             "relu": rule({"weight": 1}, type="Conv2d", activation="relu")}  # fmt: skip
    rules["all"]["init"] = {"weight": "kaiming_normal", "bias": 0}
    made = plan_policy(Block(), {"rules": rules}, example_input=X)
    rows = {row.name: row for row in made.rows}
    assert [name for name, row in rows.items() if row.rule == "relu"] == ["branch.weight"]
    assert (rows["stem.weight"].gain, rows["stem.weight"].gain_from) == (1.0, "following identity")


def test_what_is_stated_has_no_other_hits() -> None:
    policy = {"rules": {"all": rule(0)}, "activations": {"^stem$": "tanh"}}
    row = next(row for row in plan_policy(Block(), policy, example_input=X).rows if row.name == "stem.weight")
    assert (row.activation, row.path, row.flags, row.other_hits) == ("tanh", (), (), ())
    assert row.input_path == ("input",)


# --- row by row ----------------------------------------------------------------------------------

COLUMNS = {
    "path": ["stem", "norm", "gate"],
    "flags": ["norm"],
    "other_hits": ["identity: stem → norm → branch (norm)", "relu: stem → norm → add → relu (norm, add)"],
    "input_path": ["input"],
    "input_flags": [],
    "other_input_hits": [],
}


def planned() -> Plan:
    return plan_policy(Block(), {"rules": {"all": rule(0)}}, example_input=X)


def test_the_columns_hold_the_ways() -> None:
    row = planned().rows[0]
    assert {name: list(getattr(row, name)) for name in COLUMNS} == COLUMNS


@pytest.mark.parametrize("suffix", [".csv", ".json", ".md"])
def test_files_have_them(suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("audit") / f"audit{suffix}"
    apply_policy(Block(), {"rules": {"all": rule(0)}}, example_input=X, seed=1).save(path)
    text = path.read_text(encoding="utf-8")
    if suffix == ".json":
        record = json.loads(text)["rows"][0]
        assert {name: record[name] for name in COLUMNS} == COLUMNS
    elif suffix == ".csv":
        cells = next(csv.DictReader(io.StringIO(text, newline="")))
        assert {name: cells[name] for name in COLUMNS} == {name: ";".join(value) for name, value in COLUMNS.items()}
    else:
        assert "| stem → norm → gate | norm | identity: stem → norm → branch \\(norm\\); relu: stem" in text


def test_the_table_on_a_console_is_what_it_was() -> None:
    assert max(map(len, str(planned()).splitlines())) <= 80
    assert "→" not in str(planned())


# --- several answers -----------------------------------------------------------------------------


class Twice(nn.Module):
    """A layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.fc(torch.relu(self.fc(torch.sin(x))))))  # type: ignore[no-any-return]


FOLLOW, PRECEDE = "one of relu | tanh that follow", "one of sin(frequency=1) | relu that precede"
SOME: list[tuple[dict[str, object], str]] = [
    ({"activation": "relu"}, f"mine asks for relu, {FOLLOW}"),
    ({"activation": ["tanh", "gelu"]}, f"mine asks for tanh, {FOLLOW}"),
    ({"activation": ["tanh", "relu"]}, ""),
    ({"type": "Linear"}, ""),
    ({"input_activation": "relu"}, f"mine asks for relu, {PRECEDE}"),
    (
        {"activation": "relu", "input_activation": "sin"},
        f"mine asks for relu, {FOLLOW}; mine asks for sin(frequency=1), {PRECEDE}",
    ),
]


@pytest.mark.parametrize(("match", "reason"), SOME)
def test_a_match_that_holds_for_one_of_several_answers_is_told(match: dict[str, object], reason: str) -> None:
    rules = {"all": rule(0), "mine": rule({"weight": "xavier_normal"}, **match)}
    audit = apply_policy(Twice(), {"rules": rules}, example_input=torch.zeros(1, 4), seed=1)
    row = next(row for row in audit.rows if row.name == "fc.weight")
    assert (row.rule, row.reason) == ("mine", reason)
    assert row.activation == "relu | tanh"
    assert reason in audit.explain("fc.weight", 200)


def test_an_activation_by_hand_of_the_models_input_precedes_the_first_layer() -> None:
    signals = trace(Twice(), torch.zeros(1, 4)).signals
    assert shown(signals["fc.weight"].preceding) == ["sin(frequency=1): sin", "relu: relu"]


def test_so_it_is_where_a_parameter_is_kept() -> None:
    rules = {"all": rule(0), "mine": rule({"weight": "keep"}, activation="tanh")}
    made = plan_policy(Twice(), {"rules": rules}, example_input=torch.zeros(1, 4))
    assert next(row.reason for row in made.rows if row.name == "fc.weight") == (
        "keep; mine asks for tanh, one of relu | tanh that follow"
    )


def test_two_ways_to_one_activation_are_one_answer() -> None:
    class Same(Twice):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.fc(torch.relu(self.fc(x)))))  # type: ignore[no-any-return]

    rules = {"all": rule(0), "mine": rule({"weight": "xavier_normal"}, activation="relu")}
    made = plan_policy(Same(), {"rules": rules}, example_input=torch.zeros(1, 4))
    assert [(row.rule, row.reason) for row in made.rows if row.name == "fc.weight"] == [("mine", "")]


# --- why -----------------------------------------------------------------------------------------


def test_a_plan_and_an_audit_explain_one_parameter() -> None:
    rules = {
        "all": rule({"weight": 1, "bias": 0}),
        "convolutions": rule({"weight": "xavier_normal"}, type="Conv2d"),
        "rectified": rule({"weight": {"name": "kaiming_normal", "mode": "fan_out"}}, activation="relu"),
    }
    policy = {"rules": rules, "seed": 1, "gains": "exact", "nonlinearity": "theory"}
    made = plan_policy(Block(), policy, example_input=X)
    expected = [
        "branch.weight: 4×4×1×1 float32 on cpu, of Conv2d",
        "  status        planned",
        "  rule          rectified, the last of 3 that claim it, after all,",
        "                  convolutions",
        "  initializer   kaiming_normal(mode=fan_out, gain=1.414)",
        "  fans          4 in, 4 out",
        "  gain          1.414, following relu, backward",
        "  expected      mean 0, std 0.7071",
        "  follows       relu, found by trace of your example_input",
        "    path        branch → mul → add → relu",
        "    through     add, mul, gated",
        "  precedes      identity",
        "    path        stem → norm",
        "    through     norm",
    ]
    assert made.explain("branch.weight", 70).splitlines() == expected
    audit = apply_policy(Block(), policy, example_input=X)
    told = audit.explain("branch.weight", 70).splitlines()
    row = next(row for row in audit.rows if row.name == "branch.weight")
    assert told[1] == "  status        initialized"
    assert told[8] == (
        f"  measured      mean {row.mean:.4g}, std {row.std:.4g}, from {row.min:.4g} to {row.max:.4g}: ok"
    )
    assert [*told[2:8], *told[9:]] == expected[2:]


def test_excluded_parameters_say_what_would_claim_them() -> None:
    policy = {"rules": {"all": rule(0), "more": rule(1, type="Conv2d")}, "exclude": [{"name": "^stem$"}]}
    made = plan_policy(Block(), policy, example_input=X)
    assert made.explain("stem.bias", 80).splitlines()[1:3] == [
        "  status        excluded: exclude.0",
        "  rule          none; all, more would claim it",
    ]


@pytest.mark.parametrize("of", [Plan.explain, lambda plan, name: apply_policy(Block(), plan.policy).explain(name)])
def test_a_name_that_no_parameter_has(of: Callable[[Plan, str], str]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message follows
        of(planned(), "branch.weigth")
    assert str(error.value) == "no parameter is named 'branch.weigth'; did you mean 'branch.weight'?"


def test_its_width_is_the_terminals_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    made = planned()
    assert made.explain("stem.weight") == made.explain("stem.weight", 60)
    assert max(map(len, made.explain("stem.weight").splitlines())) <= 60
    assert made.explain("stem.weight", 1) == made.explain("stem.weight", 40)


def test_an_expert_that_did_not_run_has_all_of_its_siblings_signal() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(Wide() for _ in range(2))

        def forward(self, x: Tensor) -> list[Tensor]:
            return self.experts[0](x)  # type: ignore[no-any-return]

    signals = trace(Routed(), torch.zeros(1, 4)).signals
    ran, other = (signals[f"experts.{index}.stem.weight"] for index in (0, 1))
    assert len(ran.further_following) == _MOST
    assert other == replace(ran, found_by="sibling experts.0.stem.weight")


def test_nothing_is_further_where_nothing_is_known() -> None:
    assert (Signal().further_following, Signal().further_preceding) == ((), ())
    assert all(not site.signal.further_following for p in survey(nn.Linear(2, 2)).params for site in p.sites)


# --- errors --------------------------------------------------------------------------------------


def test_one_except_catches_a_model_that_cannot_be_traced() -> None:
    with pytest.raises(InitPolicyError) as error:
        trace(nn.Linear(3, 2), torch.zeros(1, 4))
    assert type(error.value) is CannotTrace
    assert error.value.problems == (Problem("", "", str(error.value)),)
    again = pickle.loads(pickle.dumps(error.value))
    assert (type(again), again.problems) == (CannotTrace, error.value.problems)
