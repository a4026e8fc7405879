"""What torch.fx finds without an input: the same answers as a trace or none, and nothing is changed by it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import CASES, Case
from test_dataflow_cases import differences, marks_of, marks_of_the_world, seeded, watched_files
from torch import Tensor, fx, nn

import initpolicy as ip
from initpolicy.facts.dataflow import CannotTrace, Traced, trace, trace_on_symbols
from initpolicy.facts.find import find_signals

BY_NAME = {case.name: case for case in CASES}


def following(traced: Traced, site: str) -> list[str]:
    return [str(hit.activation) for hit in traced.signals[site].following]


# --- the corpus of the tracer --------------------------------------------------------------------

_NUMBER = "TypeError: '_Symbol' object cannot be interpreted as an integer"
_BRANCH = "TraceError: symbolically traced variables cannot be used as inputs to control flow"
_LOOP = "TraceError: Proxy object cannot be iterated."
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "gru_cell_loop", "hand_lstm", "min_gru", "a_running_maximum_cancels_out",
            "seq2seq_additive_attention", "key_value_cache", "mamba",
        ),
        _NUMBER,
    ),
    **dict.fromkeys(
        (
            "moe_top_2", "unrouted_expert", "adaptive_log_softmax", "spectral_norm", "orthogonal", "data_dependent_if",
            "transformer", "discriminator",
        ),
        _BRANCH,
    ),
    **dict.fromkeys(
        ("hand_gru", "conv_lstm", "cells", "lists_and_matmuls", "cached_state", "data_parallel", "gpt2"), _LOOP
    ),
    "script_module": "NotImplementedError: a ScriptModule cannot be seen through",
    "script_function": "RuntimeError: scripted_swish()",
    "compiled_submodule": "RuntimeError: Detected that you are using FX to symbolically trace a dynamo-optimized",
    "hand_rnn": "TypeError: zeros()",
    "continuous_filters": "TypeError: zeros()",
    "modulated_conv": "TypeError: randn()",
    "reads_item": "TypeError: int() argument",
    "vmapped": "ValueError: vmap(",
    "ensemble": "ValueError: vmap(",
    "through_numpy": "",  # NumPy's own words, which its versions change
    "through_a_list": "",
    "opaque_output": "NotImplementedError: argument of type: <class 'models.machinery.Box'>",
    "patched_forward": "NameError: parameter is not a member of this module",
    "transformer_encoder_norm_first": "RuntimeError: 'len' is not supported in symbolic tracing by default.",
}  # fmt: skip
"""Cases whose forward asks for a number, for a shape, or for what is no tensor; and what torch.fx says."""

UNRESOLVED: Mapping[str, frozenset[str]] = {
    "maxout": frozenset({"fc1", "fc2"}),  # pieces and channels are told apart by shapes
    "dataclass_in_and_out": frozenset({"out"}),
    "keywords_only": frozenset({"fc2"}),  # it hangs on an argument that has a default
}
"""Layers by case that a trace answers for and torch.fx does not."""

symbolic = [case for case in CASES if not case.fails and not case.lazy and case.name not in REFUSED]


def layer(path: str) -> str:
    return path.rpartition(".")[0]


def asked(case: Case) -> Case:
    """The case without the rows of layers that torch.fx does not answer for."""
    silent = UNRESOLVED.get(case.name, frozenset())

    def rest(rows: Mapping[str, Any]) -> dict[str, Any]:
        return {path: answer for path, answer in rows.items() if layer(path) not in silent}

    names = ("following", "preceding", "flags", "norm_before", "previous")
    changes: dict[str, Any] = {name: rest(getattr(case, name)) for name in names}
    return dataclasses.replace(case, found_by={}, **changes)


def marked(model: nn.Module) -> tuple[Any, ...]:
    return marks_of(model), marks_of_the_world(), nn.Module.__call__, nn.Module.__getattr__, math.sqrt


@pytest.mark.parametrize("case", symbolic, ids=lambda case: case.name)
def test_the_answers_are_those_of_a_trace_and_nothing_is_changed(case: Case) -> None:
    model = seeded(case)
    before = marked(model)
    with watched_files() as written:
        traced = trace_on_symbols(model)
    assert marked(model) == before
    assert written == []
    assert differences(asked(case), traced.signals) == []
    for path, signal in traced.signals.items():
        if layer(path) in UNRESOLVED.get(case.name, ()):
            assert signal.following == () or signal.preceding == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_asks_for_numbers_is_refused_and_nothing_is_changed(name: str) -> None:
    model = seeded(BY_NAME[name])
    before = marked(model)
    with pytest.raises(CannotTrace) as error:
        trace_on_symbols(model)
    assert str(error.value).startswith(REFUSED[name])
    assert marked(model) == before


# --- parts ---------------------------------------------------------------------------------------


class Calls(nn.Module):
    """fc1, a function, fc2."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 4), nn.Linear(4, 4)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.function(self.fc1(x)))


def halves(h: Any) -> Any:
    h[:, :2] = torch.tanh(h[:, :2])
    h[:, 2:] = torch.relu(h[:, 2:])
    return h


def in_place_halves(h: Any) -> Any:
    left, right = h.chunk(2, dim=1)
    left.tanh_()
    F.relu(right, inplace=True)
    return h


@fx.wrap
def unseen(h: Any) -> Any:
    return torch.relu(h)


@pytest.mark.parametrize(
    ("function", "after", "before"),
    [
        (torch.relu, ["relu"], ["relu"]),
        (lambda h: h.view(-1).relu_().view(2, 4), ["relu"], ["relu"]),
        (halves, ["relu", "tanh"], ["relu", "tanh"]),
        (in_place_halves, ["relu", "tanh"], ["relu", "tanh"]),
        (lambda h: h.split([1, 3], dim=1)[-1].relu(), ["relu"], ["relu"]),
        (lambda h: torch.cat([part.tanh() for part in h.chunk(2, dim=1)], 1), ["tanh"], ["tanh"]),
        (lambda h: h * torch.sigmoid(1.702 * h), ["quick_gelu"], ["quick_gelu"]),
        (lambda h: F.leaky_relu(h, 0.3), ["leaky_relu(slope=0.3)"], ["leaky_relu(slope=0.3)"]),
        (lambda h: h.T.tanh().T, ["tanh"], ["tanh"]),
        (lambda h: torch.relu(h * h.shape[-1] ** -0.5), ["relu"], ["relu"]),
        (lambda h: torch.relu(h.topk(4).values), ["relu"], ["relu"]),
        (lambda h: unseen(h), [], []),
    ],
)  # fmt: skip
def test_a_value_is_followed(function: Callable[[Any], Any], after: list[str], before: list[str]) -> None:
    traced = trace_on_symbols(Calls(function))
    assert sorted(following(traced, "fc1.weight")) == after
    assert sorted(str(hit.activation) for hit in traced.signals["fc2.weight"].preceding) == before
    assert traced.signals["fc1.weight"].found_by == ("torch.fx" if after else "unresolved")


class Functional(nn.Module):
    """Parameters of its own in functional calls, one of them tied; integers from a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.w = nn.Parameter(torch.ones(9, 4)), nn.Parameter(torch.ones(4, 4))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, batch: Any) -> Any:
        h = F.linear(F.embedding(batch["ids"], self.table) * self.scale, self.w)
        return F.linear(F.gelu(h), self.table)


def test_parameters_in_functional_calls() -> None:
    model = Functional()
    signals, traced = trace_on_symbols(model).signals, trace(model, ({"ids": torch.zeros(2, 3, dtype=torch.long)},))
    assert following(traced, "w") == ["gelu"]
    for site in ("table", "w", "scale"):
        right = traced.signals[site]
        assert (signals[site].following, signals[site].preceding) == (right.following, right.preceding)


@pytest.mark.parametrize("make", [lambda: torch.device("cpu"), lambda: torch.device("meta")], ids=["cpu", "meta"])
def test_a_model_on_any_device(make: Callable[[], torch.device]) -> None:
    with make():
        model = Calls(torch.relu)
    assert following(trace_on_symbols(model), "fc1.weight") == ["relu"]


KEPT: dict[str, Any] = {}


def cached(h: Any) -> Any:
    return torch.relu(h + KEPT.setdefault("zeros", torch.zeros(4)) + KEPT.setdefault("like", torch.zeros_like(h)))


def test_no_cache_gives_back_a_symbol_later() -> None:
    model = Calls(cached)
    assert following(trace_on_symbols(model), "fc1.weight") == ["relu"]
    assert KEPT == {}
    assert type(model(torch.zeros(2, 4))) is Tensor
    KEPT.clear()


class Hooked(Calls):
    def __init__(self) -> None:
        super().__init__(torch.relu)
        self.register_forward_hook(lambda module, args, out: torch.tanh(out))


def test_what_torch_fx_would_leave_out_is_refused() -> None:
    for model in (Hooked(), Calls(torch.relu)):
        if not model._forward_hooks:
            model.forward = lambda x: x  # type: ignore[method-assign]
        with pytest.raises(CannotTrace) as error:
            trace_on_symbols(model)
        assert str(error.value) == "the model runs more than the forward of its class"


# --- its place among the finders -----------------------------------------------------------------


class Two(nn.Module):
    """Nothing says what its two inputs are."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(5, 4)
        self.head = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))

    def forward(self, x: Tensor, y: Tensor, deep: bool = True) -> Any:
        return self.head(torch.relu(self.left(x) + self.right(y)))


class Asks(Two):
    def forward(self, x: Tensor, y: Tensor, deep: bool = True) -> Any:
        return super().forward(x, y) if x.sum() > 0 else y


WHY = (
    "the model was not traced: trace of a guessed input: "
    "TypeError: {}.forward() missing 1 required positional argument: 'y'; give an example_input"
)


def test_it_comes_after_every_trace_and_is_announced_once() -> None:
    found = find_signals(Two())
    assert {name: [hit.activation.name for hit in signal.following] for name, signal in found.signals.items()} == {
        "left.weight": ["relu"], "left.bias": ["relu"], "right.weight": ["relu"], "right.bias": ["relu"],
        "head.0.weight": ["tanh"], "head.0.bias": ["tanh"], "head.2.weight": ["identity"], "head.2.bias": ["identity"],
    }  # fmt: skip
    assert {signal.found_by for signal in found.signals.values()} == {"torch.fx"}
    assert [hit.activation.name for hit in found.signals["head.0.weight"].preceding] == ["relu"]
    assert found.notes == (
        "activations are those that torch.fx finds without running the model, which is weaker; " + WHY.format("Two"),
    )


def test_a_trace_comes_first() -> None:
    found = find_signals(Two(), (torch.zeros(2, 3), torch.zeros(2, 5)))
    assert {signal.found_by for signal in found.signals.values()} == {"trace of your example_input"}
    assert found.notes == ()


def test_order_inside_sequentials_comes_last() -> None:
    found = find_signals(Asks())
    assert {name: signal.found_by for name, signal in found.signals.items() if name.endswith("weight")} == {
        "head.0.weight": "sequential", "head.2.weight": "sequential"
    }  # fmt: skip
    order = "activations are known by order inside nn.Sequential only; " + WHY.format("Asks")
    assert found.notes == (f"{order}; nor does torch.fx run it: {_BRANCH}",)


class Twice(Two):
    """One layer, two activations."""

    def forward(self, x: Tensor, y: Tensor, deep: bool = True) -> Any:
        return self.head(torch.relu(self.left(x)) + self.right(y) + torch.tanh(self.left(-x)))


POLICY = {
    "name": "he",
    "unmatched": "keep",
    "rules": {"all": {"match": {"name": "^left$"}, "init": {"weight": {"name": "kaiming_normal", "gain": "auto"}}}},
}


def test_it_sets_no_gain_where_it_is_ambiguous() -> None:
    example = (torch.zeros(2, 3), torch.zeros(2, 5))
    assert ip.plan_policy(Two(), POLICY).assignments
    assert ip.plan_policy(Twice(), POLICY, example_input=example).assignments
    with pytest.raises(ip.PlanError) as error:
        ip.plan_policy(Twice(), POLICY)
    assert str(error.value) == (
        "he: rules.all → left.weight: the following activation is ambiguous: relu, tanh; give an example_input, or "
        "state it under 'activations'"
    )
