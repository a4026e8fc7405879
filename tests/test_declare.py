"""Activations that the policy states: where they count, what they carry, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from planning_parts import Cnn, Mlp, decisions, facts_of, plan, rule
from torch import nn

from initpolicy.declare import declare, wrongly_declared
from initpolicy.errors import PlanError
from initpolicy.load import load_policy
from initpolicy.policy import Declared
from initpolicy.records import Activation, ModelFacts


def stated(activations: Mapping[str, object]) -> Mapping[str, Declared]:
    return load_policy({"rules": {"all": {"init": {"*": 0}}}, "activations": activations}).activations


def following(facts: ModelFacts) -> dict[str, tuple[str, str]]:
    """Weights: what follows, and how it was found."""
    return {
        site.name: (", ".join(str(hit.activation) for hit in site.signal.following), site.signal.found_by)
        for param in facts.params
        for site in param.sites
        if site.layout.axes
    }


def test_what_is_stated_follows_all_that_the_expression_finds_and_the_last_one_counts() -> None:
    facts = facts_of(Cnn())
    given = stated({"^(fc|up)$": "tanh", "^fc$": {"name": "LeakyReLU", "negative_slope": 0.3}})
    assert following(facts) == {
        "stem.conv1.weight": ("relu", "sequential"),
        "stem.conv2.weight": ("leaky_relu(slope=0.2)", "sequential"),
        "up.weight": ("", "unresolved"),
        "fc.weight": ("", "unresolved"),
    }
    declared = declare(facts, given)
    assert following(declared) == {
        "stem.conv1.weight": ("relu", "sequential"),
        "stem.conv2.weight": ("leaky_relu(slope=0.2)", "sequential"),
        "up.weight": ("tanh", "declared"),
        "fc.weight": ("leaky_relu(slope=0.3)", "declared"),
    }
    assert list(wrongly_declared(facts, given)) == []


def test_it_beats_what_was_found_and_leaves_the_rest() -> None:
    facts = facts_of(Mlp())
    declared = declare(facts, stated({"^0$": "gelu"}))
    before, after = facts.params[0].sites[0].signal, declared.params[0].sites[0].signal
    assert [hit.activation.name for hit in after.following] == ["gelu"]
    assert (after.preceding, after.previous, after.norm_before) == (
        before.preceding,
        before.previous,
        before.norm_before,
    )
    assert declared.modules is facts.modules
    assert declared.params[2] == facts.params[2]


def test_nothing_stated_changes_nothing() -> None:
    facts = facts_of(Mlp())
    assert declare(facts, {}) is facts


def test_rules_and_gains_go_by_what_is_stated() -> None:
    rules = {"all": rule(0), "leaky": rule({"weight": "kaiming_normal"}, type="Linear", activation="leaky_relu")}
    made = plan(Cnn(), rules, activations={"^fc$": {"name": "leaky_relu", "slope": 2}})
    assert decisions(made)["fc.weight"] == "leaky"
    (fc,) = (a for a in made.assignments if a.name == "fc.weight")
    assert fc.gain == pytest.approx((2 / 5) ** 0.5)
    assert (fc.gain_from, fc.found_by) == ("following leaky_relu(slope=2)", "declared")
    assert fc.activation == "leaky_relu(slope=2)"
    assert made.notes == ()


class Snake(nn.Module):
    """x + sin²x: elementwise, and in no vocabulary."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(x) ** 2


class Mixer(nn.Module):
    """Not elementwise, and in no vocabulary."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(-1)


class Own(nn.Module):
    """One use of `Snake` that is found, one that is not, and a `Mixer`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Linear(4, 4), Snake())
        self.unseen = nn.Linear(4, 4)
        self.snake = Snake()
        self.mixed = nn.Linear(4, 4)
        self.mixer = Mixer()


def test_a_class_of_the_users_own_has_the_gain_that_was_found_for_it() -> None:
    made = plan(
        Own(),
        {"all": rule(0), "snakes": rule({"weight": "kaiming_normal"}, activation="Snake")},
        activations={"^unseen$": "Snake"},
    )
    found = {a.name: a for a in made.assignments}
    assert [name for name, won in decisions(made).items() if won == "snakes"] == ["seen.0.weight", "unseen.weight"]
    assert found["unseen.weight"].gain == found["seen.0.weight"].gain
    assert found["unseen.weight"].gain_from == "following Snake"
    # E[(z + sin²z)²] = 1 + 3/8 - exp(-2)/2 + exp(-8)/8
    assert found["seen.0.weight"].gain == pytest.approx((1.375 - math.exp(-2) / 2 + math.exp(-8) / 8) ** -0.5, rel=1e-6)


def test_a_class_of_the_users_own_for_which_none_was_found_can_be_matched_all_the_same() -> None:
    rules = {"all": rule(0), "mixed": rule({"weight": "xavier_normal"}, activation="Mixer")}
    made = plan(Own(), rules, activations={"^mixed$": "Mixer"})
    assert decisions(made)["mixed.weight"] == "mixed"
    facts = declare(facts_of(Own()), stated({"^mixed$": "Mixer"}))
    (site,) = (site for param in facts.params for site in param.sites if site.name == "mixed.weight")
    assert site.signal.following[0].activation == Activation(name="Mixer", class_name="Mixer")
    asked = {
        **rules,
        "mixed": rule({"weight": {"name": "kaiming_normal", "nonlinearity": "following"}}, activation="Mixer"),
    }
    with pytest.raises(PlanError) as error:
        plan(Own(), asked, activations={"^mixed$": "Mixer"})
    assert str(error.value) == (
        "policy: rules.mixed → mixed.weight: no gain is known for Mixer; give a number as 'gain', or name an "
        "initializer that takes none"
    )


@pytest.mark.parametrize(
    ("activations", "mistakes"),
    [
        (
            {"^fc$": "rellu"},
            [("activations.^fc$", "'rellu' is no known activation and no class of this model; did you mean 'relu'?")],
        ),
        (
            {"^fc$": "swich"},
            [("activations.^fc$", "'swich' is no known activation and no class of this model; did you mean 'swish'?")],
        ),
        (
            {"^fc$": "Snak"},
            [("activations.^fc$", "'Snak' is no known activation and no class of this model; did you mean 'Snake'?")],
        ),
        (
            {"^fc$": {"name": "leaky_relu", "slop": 1}},
            [("activations.^fc$", "leaky_relu takes slope, not 'slop'; did you mean 'slope'?")],
        ),
        ({"^fc$": {"name": "relu", "slope": 1}}, [("activations.^fc$", "relu takes no arguments, not 'slope'")]),
        (
            {"^fc$": {"name": "Snake", "a": 1}},
            [("activations.^fc$", "Snake is a class of this model, which takes no arguments here, not a")],
        ),
        ({"^f$": "relu"}, [("activations.^f$", "finds no module with parameters (nearest: 'fc')")]),
        ({"^act$": "relu"}, [("activations.^act$", "finds no module with parameters")]),
        (
            {"^act$": "zzz", "^fc$": "zzz"},
            [
                ("activations.^act$", "'zzz' is no known activation and no class of this model"),
                ("activations.^act$", "finds no module with parameters"),
                ("activations.^fc$", "'zzz' is no known activation and no class of this model"),
            ],
        ),
    ],
)
def test_mistakes(activations: Mapping[str, Any], mistakes: list[tuple[str, str]]) -> None:
    model = nn.ModuleDict({"fc": nn.Linear(2, 2), "act": Snake()})
    assert list(wrongly_declared(facts_of(model), stated(activations))) == mistakes


def test_a_mistake_here_does_not_make_rules_look_unused() -> None:
    """What follows is not known, so what such rules claim is not either; of the others it is."""
    rules = {
        "all": rule(0),
        "tanh": rule({"weight": 1}, activation="tanh", expect=1),
        "spared": rule(1, not_={"activation": "identity"}, type="Conv3d"),
        "gone": rule(1, type="Conv3d"),
    }
    with pytest.raises(PlanError) as error:
        plan(Cnn(), rules, activations={"^fc$": "tahn"})
    assert str(error.value).splitlines() == [
        "policy: rules.gone: claims no parameter. No module has type Conv3d (nearest: 'Conv2d')",
        "policy: activations.^fc$: 'tahn' is no known activation and no class of this model; did you mean 'tanh'?",
    ]
