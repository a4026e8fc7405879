"""What lint remarks, word for word, and what it leaves in peace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import initpolicy as ip
from initpolicy.facts.survey import survey_model
from initpolicy.lint import lint

MLP = torch.zeros(4, 32)
IMAGE = torch.zeros(2, 3, 8, 8)


def mlp(act: Callable[[], nn.Module], width: int = 64) -> nn.Module:
    return nn.Sequential(nn.Linear(32, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 4))


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())


def one(init: Any, **rules: Any) -> dict[str, Any]:
    """A policy of one rule for matrices, zero biases, and what else is given."""
    first = {"match": {"type": ["Linear", "Conv*d"]}, "init": {"weight": init, "bias": 0}}
    return {"name": "mine", "unmatched": "keep", "unused": "ignore", "rules": {"all": first, **rules}}


def told(model: nn.Module, policy: Any, example: Any) -> list[tuple[str, str, str]]:
    plan = ip.plan_policy(model, policy, example_input=example)
    return [(each.place, each.message, each.source[:7]) for each in lint(plan, survey_model(model))]


SELU = "variance · fan_in = 2 before selu, which keeps mean 0 and variance 1 at 1; use lecun_normal"
XAVIER = "Xavier before relu, which halves the second moment in every layer; use Kaiming"
CASES: dict[str, tuple[nn.Module, Any, Any, list[tuple[str, str, str]]]] = {
    "xavier before relu": (mlp(nn.ReLU), one("xavier_normal"), MLP, [("rules.all → 0.weight", XAVIER, "He et a")]),
    "another slope": (
        mlp(lambda: nn.LeakyReLU(0.5)),
        one({"name": "kaiming_normal", "nonlinearity": "relu"}),
        MLP,
        [
            (
                "rules.all → 0.weight",
                "gain 1.414 before leaky_relu(slope=0.5), whose own is 1.265; leave out nonlinearity and a",
                "He et a",
            )
        ],
    ),
    "a flat sigmoid": (
        mlp(nn.Sigmoid, width=32),
        one({"name": "normal"}),
        MLP,
        [
            (
                "rules.all → 0.weight",
                "pre-activations of standard deviation 5.66 before sigmoid, which is flat there",
                "Glorot ",
            )
        ],
    ),
    "selu without LeCun": (
        mlp(nn.SELU),
        one({"name": "kaiming_normal", "nonlinearity": "relu"}),
        MLP,
        [("rules.all → 0.weight", SELU, "Klambau")],
    ),
    "a shrinking signal": (
        mlp(nn.ReLU, width=32),
        one({"name": "normal", "std": 0.02}),
        MLP,
        [
            (
                "rules.all → 0.weight",
                "the signal shrinks by 0.08 in this layer, with no norm that would make up for it",
                "He et a",
            )
        ],
    ),
    "one value for a matrix": (
        mlp(nn.ReLU),
        one(0.1),
        MLP,
        [
            (
                "rules.all → 0.weight",
                "one value for a whole matrix: all units stay identical; draw it, or use zeros on purpose",
                "Goodfel",
            )
        ],
    ),
    "a bias before a batch norm": (
        normed(),
        one("kaiming_normal", bias={"match": {"type": "Conv2d"}, "init": {"bias": 0.1}}),
        IMAGE,
        [
            (
                "rules.bias → 0.bias",
                "a bias that a batch norm takes out again: the norm subtracts the mean; set it to 0",
                "Ioffe &",
            )
        ],
    ),
    "a rule that never wins": (
        mlp(nn.ReLU),
        one("xavier_normal", more={"match": {"type": "Linear"}, "init": {"*": "kaiming_uniform", "bias": 0}}),
        MLP,
        [
            (
                "rules.all",
                "claims parameters and wins none: later rules take them all (more); remove it, or move it down",
                "",
            )
        ],
    ),
    "a preset that finds no depth": (
        mlp(nn.ReLU),
        {**one("xavier_normal"), "rules": {"deep": {"match": {"name": "^h"}, "init": {"*": 0}, "unused": "warn"}}},
        MLP,
        [("rules.deep", "claims no parameter. The model has 6 modules; none is named like '^h'", "")],
    ),
    "He before relu": (mlp(nn.ReLU), "he_relu", MLP, []),
    "LeCun before selu": (mlp(nn.SELU), "lecun_selu", MLP, []),
    "the real slope": (mlp(lambda: nn.LeakyReLU(0.5)), one("kaiming_normal"), MLP, []),
    "small weights under norms": (normed(), one({"name": "normal", "std": 0.2}), IMAGE, []),
}


@pytest.mark.parametrize(("model", "policy", "example", "expected"), CASES.values(), ids=CASES)
def test_what_is_remarked(model: nn.Module, policy: Any, example: Any, expected: list[tuple[str, str, str]]) -> None:
    assert told(model, policy, example) == expected


def test_parameters_that_show_the_same_are_one_finding() -> None:
    model = mlp(nn.ReLU)
    plan = ip.plan_policy(model, one("xavier_normal"), example_input=MLP)
    (found,) = lint(plan, survey_model(model))
    assert found.parameters == ("0.weight", "2.weight")
