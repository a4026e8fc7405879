"""Matches against real models: each key by a table, and what they mean together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_parts import Cnn, Gpt, Mlp, Moe, Tagger, TiedLm, facts_of
from torch import nn

from initpolicy.formula import FormulaError
from initpolicy.load import load_policy
from initpolicy.matching import Matcher, Patterns, has_type, nearest_name, wanted_activations
from initpolicy.policy import Match, Policy, Rule
from initpolicy.records import Activation, Hit, ModelFacts, Signal
from initpolicy.variables import Variables

POLICY = load_policy({"rules": {"all": {"init": {"*": "keep"}}}, "vars": {"wide": 10}})


def held(facts: ModelFacts, match: Mapping[str, Any], *, above: bool = False, policy: Policy = POLICY) -> set[str]:
    """Names of the parameters that a match holds for; with ``above`` as an ``exclude`` would."""
    matcher, variables = Matcher(Match.model_validate(match), facts), Variables(policy, facts)
    holds = matcher.holds_above if above else matcher.holds
    return {site.name for param in facts.params for site in param.sites if holds(param, site, variables)}


CNN_WEIGHTS = {"stem.conv1.weight", "stem.conv2.weight", "up.weight", "fc.weight"}
CNN_FLAT = {"stem.bn1.weight", "stem.bn1.bias", "stem.conv2.bias", "up.bias", "fc.bias"}
IN_STEM = {"stem.conv1.weight", "stem.bn1.weight", "stem.bn1.bias", "stem.conv2.weight", "stem.conv2.bias"}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, CNN_WEIGHTS | CNN_FLAT),
        ({"type": "Linear"}, {"fc.weight", "fc.bias"}),
        ({"type": "torch.nn.Linear"}, {"fc.weight", "fc.bias"}),
        ({"type": "torch.nn.modules.linear.Linear"}, {"fc.weight", "fc.bias"}),
        ({"type": "linear.Linear"}, set()),
        ({"type": "Lin"}, set()),
        ({"type": ["Linear", "BatchNorm2d"]}, {"fc.weight", "fc.bias", "stem.bn1.weight", "stem.bn1.bias"}),
        ({"type": "Conv*d"}, {*CNN_WEIGHTS, "stem.conv2.bias", "up.bias"} - {"fc.weight"}),
        ({"type": "Conv?d"}, {"stem.conv1.weight", "stem.conv2.weight", "stem.conv2.bias"}),
        ({"type": "ConvTranspose[12]d"}, {"up.weight", "up.bias"}),
        ({"type": "_ConvNd"}, {*CNN_WEIGHTS, "stem.conv2.bias", "up.bias"} - {"fc.weight"}),
        ({"type": "_ConvNd", "exact": True}, set()),
        ({"type": "*Norm*"}, {"stem.bn1.weight", "stem.bn1.bias"}),
        ({"type": "*norm*"}, set()),
        ({"type": "torch.nn.*.batchnorm.*"}, {"stem.bn1.weight", "stem.bn1.bias"}),
        ({"type": "Sequential"}, set()),
        ({"inside": "Sequential"}, IN_STEM),
        ({"inside": "Linear"}, set()),
        ({"name": "^fc$"}, {"fc.weight", "fc.bias"}),
        ({"name": "conv[0-9]$", "type": "Conv2d"}, {"stem.conv1.weight", "stem.conv2.weight", "stem.conv2.bias"}),
        ({"name": ["^fc$", "^up$"]}, {"fc.weight", "fc.bias", "up.weight", "up.bias"}),
        ({"name": "weight"}, set()),
        ({"activation": "relu"}, {"stem.conv1.weight", "stem.bn1.weight", "stem.bn1.bias"}),
        ({"activation": "ReLU"}, {"stem.conv1.weight", "stem.bn1.weight", "stem.bn1.bias"}),
        ({"activation": ["nn.LeakyReLU", "tanh"]}, {"stem.conv2.weight", "stem.conv2.bias"}),
        ({"activation": "identity"}, set()),
        ({"input_activation": "relu"}, {"stem.conv2.weight", "stem.conv2.bias"}),
        ({"where": "fan_in > 20"}, {"stem.conv1.weight", "up.weight"}),
        ({"where": "groups == 4"}, {"stem.conv2.weight"}),
        ({"where": "kernel == 9 and fan_out > 20"}, {"stem.conv1.weight"}),
        ({"where": "ndim == 1 or fan_in < wide"}, CNN_FLAT | {"fc.weight"}),
        ({"where": "fan_in < wide or ndim == 1"}, CNN_FLAT | {"fc.weight"}),
        ({"where": "not fan_in < 1000"}, CNN_FLAT),
        ({"where": "shape[0] == 5"}, {"fc.weight", "fc.bias"}),
        ({"where": "out_features == 5"}, {"fc.weight", "fc.bias"}),
        ({"where": "weight_fan_in == 4 and ndim == 1"}, {"fc.bias"}),
        ({"type": "Conv2d", "not": {"name": "conv1"}}, {"stem.conv2.weight", "stem.conv2.bias"}),
        ({"not": {"inside": "Sequential"}}, {"up.weight", "up.bias", "fc.weight", "fc.bias"}),
        ({"not": {"where": "ndim == 1"}}, CNN_WEIGHTS),
        ({"not": {"not": {"type": "Linear"}}}, {"fc.weight", "fc.bias"}),
    ],
)
def test_what_a_match_holds_for(match: Mapping[str, Any], expected: set[str]) -> None:
    assert held(facts_of(Cnn()), match) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"name": "^h$"}, r"h\..*"),
        ({"name": r"^h\.1$"}, r"h\.1\."),
        ({"type": "Block"}, r"h\..*"),
        ({"type": "Sequential"}, r".*\.mlp\..*"),
        ({"name": "^h$", "not": {"name": r"^h\.1$"}}, r"h\.[02]\."),
        ({"name": "^h$", "not": {"name": r"^h\.1$", "not": {"type": "Attention"}}}, r"h\.[02]\.|h\.1\.attn"),
        ({"not": {"type": "Linear"}}, r"wte|.*\.ln\."),
        ({"not": {"type": "Block"}}, "wte|head"),
        ({"name": r"^h\.(?P<layer>\d+)$", "where": "layer < n_layer - 1"}, r"h\.[01]\."),
        ({"type": "Linear", "where": "fan_in == 8", "inside": "Block"}, r"h\.\d\.(attn\.\w+|mlp\.fc)\.weight"),
        ({}, ".*"),
    ],
)
def test_hf46620_mmengine1335_hf17370_an_exclusion_covers_descendants(match: Mapping[str, Any], expected: str) -> None:
    facts = facts_of(Gpt())
    every = {param.name for param in facts.params}
    assert held(facts, match, above=True) == {name for name in every if re.match(expected, name)}


def test_without_above_a_match_is_about_the_owner_alone() -> None:
    assert held(facts_of(Gpt()), {"type": "Block"}) == set()


class MLPNet(nn.Module):
    """Has ``mlp`` in its name, as its part has in its path."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Linear(2, 2)
        self.convert = nn.Linear(2, 2)
        self.weight = nn.Parameter(self.mlp.weight.detach().clone())


def test_vid2vid11_a_type_is_a_class_and_no_substring_of_one_or_of_its_file() -> None:
    facts = facts_of(MLPNet())
    names = ("Conv", "conv", "mlp", "MLP", "MLPNet", "*linear*", "*matching*")
    answers = {name: held(facts, {"type": name}) for name in names}
    assert answers == {
        "Conv": set(),
        "conv": set(),
        "mlp": set(),
        "MLP": set(),
        "MLPNet": {"weight"},
        "*linear*": set(),  # torch.nn.modules.linear is where Linear lies, and not what it is
        "*matching*": set(),
    }


def test_a_glob_with_a_dot_is_about_where_a_class_lies() -> None:
    root, *_ = facts_of(MLPNet()).modules
    assert has_type(root, (f"{__name__}.*",))
    assert has_type(root, ("torch.nn.Mod*",))
    assert not has_type(root, ("torch.nn.Mod*",), exact=True)


def test_a_tied_tensor_is_matched_under_each_of_its_names() -> None:
    facts = facts_of(TiedLm())
    assert held(facts, {"type": "Linear"}) == {"head.weight"}
    assert held(facts, {"type": "Embedding"}) == {"tok.weight"}
    assert held(facts, {"where": "fan_in == 1"}) == {"tok.weight"}


def test_a_bare_parameter_belongs_to_the_module_that_holds_it() -> None:
    facts = facts_of(Moe())
    assert held(facts, {"type": "Moe"}) == {"scale"}
    assert held(facts, {"inside": "Moe"}) == {"router.weight", "experts.up", "experts.down", "experts.up_bias"}
    assert held(facts, {"where": "num_experts == 4 and fan_in == 8"}) == {"experts.up"}
    assert held(facts, {"name": "^$"}) == {"scale"}


# --- groups --------------------------------------------------------------------------------------


def test_digits_of_named_groups_and_how_many_values_they_took() -> None:
    facts = facts_of(Gpt())
    matcher = Matcher(Match.model_validate({"name": [r"h\.(?P<layer>\d+)\.(?P<part>\w+)", "^(?P<w>w)te$"]}), facts)
    groups = {module.name: dict(matcher.groups(module)) for module in facts.modules}
    assert groups["h.2.mlp.fc"] == {"layer": 2, "n_layer": 3, "n_part": 3, "n_w": 1}
    assert groups["wte"] == groups["head"] == {"n_layer": 3, "n_part": 3, "n_w": 1}
    assert matcher.counts() == {"n_layer": 3, "n_part": 3, "n_w": 1}


def test_a_match_without_a_name_has_no_groups() -> None:
    facts = facts_of(Gpt())
    assert dict(Matcher(Match(), facts).groups(facts.modules[0])) == {}


# --- activations ---------------------------------------------------------------------------------


def seen_after(facts: ModelFacts, name: str, *activations: Activation) -> ModelFacts:
    """The facts, with these activations following one parameter."""
    signal = Signal(following=tuple(Hit(activation=one) for one in activations), found_by="a test")
    return replace(
        facts,
        params=tuple(
            replace(p, sites=tuple(replace(s, signal=signal) for s in p.sites)) if p.name == name else p
            for p in facts.params
        ),
    )


SNAKE = Activation(name="Snake", exact=(1.2, 1.3), class_name="Snake")
SINE = Activation(name="sin", arguments=(("frequency", 30.0),), class_name="Sine30")
SWISH = Activation(name="swish", arguments=(("beta", 1.5),))


@pytest.mark.parametrize(
    ("found", "wanted", "holds"),
    [
        ((SNAKE,), "Snake", True),
        ((SNAKE,), "custom", True),
        ((SNAKE,), "snake", False),
        ((SINE,), "sin", True),
        ((SINE,), "Sine30", True),
        ((SINE,), "custom", False),
        ((SWISH,), "swish", True),
        ((SWISH,), "silu", False),
        ((Activation(name="silu"),), "swish", True),
        ((Activation(name="identity"),), "linear", True),
        ((Activation(name="relu"), Activation(name="tanh")), "tanh", True),
        ((Activation(name="relu"), Activation(name="tanh")), ["gelu", "relu"], True),
        ((Activation(name="relu"), Activation(name="tanh")), "gelu", False),
        ((), "identity", False),
    ],
)
def test_an_activation_answers_to_its_name_and_to_its_class(
    found: tuple[Activation, ...], wanted: str | list[str], holds: bool
) -> None:
    facts = seen_after(facts_of(Cnn()), "fc.weight", *found)
    assert ("fc.weight" in held(facts, {"activation": wanted})) is holds


def test_wanted_words() -> None:
    assert wanted_activations(("nn.ReLU", "swish", "Snake")) == {"nn.ReLU", "relu", "swish", "silu", "Snake"}


# --- where ---------------------------------------------------------------------------------------


def test_a_formula_without_a_value_is_an_error_and_no_no() -> None:
    with pytest.raises(FormulaError) as error:
        held(facts_of(Cnn()), {"type": "Linear", "where": "ndim == 1 and 1 / (ndim - 1) > 0"})
    assert str(error.value) == "'1 / (ndim - 1) > 0' has no finite value at ndim=1: 1 / (ndim - 1)"


_FACTS = ("fan_in", "ndim", "numel", "padding_idx")
_comparisons = st.builds(
    lambda name, sign, number: f"{name} {sign} {number}",
    st.sampled_from(_FACTS),
    st.sampled_from(["<", ">=", "=="]),
    st.integers(0, 20),
)
_conditions = st.recursive(
    _comparisons,
    lambda inner: st.one_of(
        st.builds(lambda a, b: f"({a} and {b})", inner, inner),
        st.builds(lambda a, b: f"({a} or {b})", inner, inner),
        st.builds(lambda a: f"(not {a})", inner),
    ),
    max_leaves=6,
)
TAGGER = facts_of(Tagger())


class Lacking:
    """Stands for a fact that is not there: every comparison with it is false."""

    __hash__ = None  # type: ignore[assignment]

    def _false(self, other: object) -> bool:
        return False

    __eq__ = __lt__ = __ge__ = _false


@given(_conditions)
def test_a_comparison_with_what_a_tensor_lacks_is_false_and_the_rest_counts(where: str) -> None:
    """Against Python's own and, or and not, over values that compare so."""
    variables = Variables(POLICY, TAGGER)
    expected = set()
    for param in TAGGER.params:
        known: dict[str, object] = {name: Lacking() for name in _FACTS}
        known |= {k: v for k, v in variables.at(param, param.sites[0], {}).items() if k in _FACTS}
        if eval(where, {"__builtins__": {}}, known):
            expected.add(param.name)
    assert held(TAGGER, {"where": where}) == expected


# --- patterns of local names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "found"),
    [
        ({"*": 1, "weight": 2}, {"weight": 2, "bias": 1}),
        ({"weight": 2, "*": 1}, {"weight": 1, "bias": 1}),
        ({"weight_ih*": 1, "*_l0": 2}, {"weight_ih_l0": 2, "weight_ih_l1": 1, "bias": None}),
        ({"bias_[ih]h*": 3}, {"bias_ih_l0": 3, "bias_hh_l1": 3, "bias_k": None}),
        ({"w?ight": 3}, {"weight": 3, "Weight": None}),
    ],
)
def test_the_last_pattern_that_fits_wins(init: dict[str, int], found: dict[str, int | None]) -> None:
    patterns = Patterns(Rule.model_validate({"init": init}))
    specs = {local: patterns.find(local) for local in found}
    assert {local: spec and spec.arguments["value"] for local, spec in specs.items()} == found


@pytest.mark.parametrize(
    ("regex", "hint"),
    [
        ("^stem$", " (nearest: 'stem.conv')"),
        (r"^con\.", " (nearest: 'stem.conv')"),
        (r"heads?$", " (nearest: 'head')"),
        (r"h\.(?P<layer>\d+)\.mpl", " (nearest: 'h.3.mlp')"),
        ("nothing like it", ""),
    ],
)
def test_the_nearest_name(regex: str, hint: str) -> None:
    assert nearest_name(regex, ["", "stem.conv", "head", "h.3.mlp"]) == hint


def test_a_model_that_is_one_layer_has_the_empty_name() -> None:
    assert held(facts_of(nn.Linear(2, 2)), {"name": "^$", "type": "Linear"}) == {"weight", "bias"}
    assert held(facts_of(Mlp()), {"inside": "Mlp", "activation": "relu"}) == {"0.weight", "0.bias"}
