"""Why a rule claims nothing: the whole sentence for each key that can stop it, and words that no one knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from planning_parts import Cnn, Gpt, Mlp, Moe, Tagger, TiedLm, facts_of, plan, rule
from torch import nn

from initpolicy.diagnose import blind_rules, misspelt, unknown_words, why_unused
from initpolicy.errors import PlanError
from initpolicy.load import load_policy
from initpolicy.matching import Matcher
from initpolicy.variables import Variables

REMEDY = "give an example_input, or state it under 'activations'"


def why(model: nn.Module, written: Mapping[str, Any], lost: Mapping[tuple[str, str], int] | None = None) -> str:
    """The sentence for one rule."""
    facts, policy = facts_of(model), load_policy({"rules": {"r": written}})
    one = policy.rules["r"]
    return why_unused(one, Matcher(one.match, facts), facts, Variables(policy, facts), lost or {})


ONE, TWO, NINE = "1 module has type Linear; ", "2 modules have type Conv2d; ", "the model has 9 modules"
NONE_OF_TWO = f"{TWO}none of the 2 parameters that fit is "


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        # type
        (rule(0, type="Linaer"), "no module has type Linaer (nearest: 'Linear')"),
        (rule(0, type=["Conv1d", "LSTM"]), "no module has type Conv1d or LSTM (nearest: 'Conv2d')"),
        (rule(0, type="torch.nn.Linaer"), "no module has type torch.nn.Linaer (nearest: 'Linear')"),
        (
            rule(0, type="GRU"),
            (
                "no module has type GRU (the model has BatchNorm2d, Cnn, Conv2d, ConvTranspose2d, LeakyReLU, "
                "Linear, ReLU, "
                "Sequential)"
            ),
        ),
        (
            rule(0, type="_ConvNd", exact=True),
            "no module has exactly the type _ConvNd; of classes derived from it are Conv2d, ConvTranspose2d",
        ),
        (rule(0, type="Lin", exact=True), "no module has type Lin (nearest: 'Linear')"),
        # name
        (rule(0, type="Conv2d", name="^stm"), f"{TWO}none is named like '^stm' (nearest: 'stem.conv1')"),
        (
            rule(0, type="Conv2d", name=["^fc$", "x"]),
            f"{TWO}none is named like '^fc$' or 'x' ('fc' is, of type Linear)",
        ),
        (rule(0, name="^conv1"), f"{NINE}; none is named like '^conv1' (nearest: 'stem.conv1')"),
        (rule(0, name="^block"), f"{NINE}; none is named like '^block'"),
        # inside
        (rule(0, type="Linear", inside="Sequental"), f"{ONE}none is inside Sequental (they are inside Cnn)"),
        (rule(0, type="Conv2d", inside="Sequental"), f"{TWO}none is inside Sequental (nearest: 'Sequential')"),
        (
            rule(0, name="^stem$", inside="Sequential"),
            f"{NINE}, 1 named so; none is inside Sequential (they are inside Cnn)",
        ),
        (rule(0, type="Cnn", inside="Cnn"), "1 module has type Cnn; none is inside Cnn"),
        # no parameters
        (
            rule(0, type="Sequential"),
            "1 module has type Sequential; it holds no parameter itself; 'inside: Sequential' takes what is in it",
        ),
        (rule(0, type=["ReLU", "LeakyReLU"]), "2 modules have type ReLU or LeakyReLU; none holds a parameter itself"),
        (
            rule(0, name="^stem$"),
            f"{NINE}, 1 named so; it holds no parameter itself; what is in it has a longer name, such as 'stem.conv1'",
        ),
        # patterns
        (
            rule({"wieght": 0}, type="Linear"),
            f"{ONE}none has a parameter named like wieght, only bias, weight; did you mean 'weight'?",
        ),
        (rule({"bias": 0}, name="conv1"), f"{NINE}, 1 named so; none has a parameter named like bias, only weight"),
        (rule({"k*": 0, "q*": 1}), f"{NINE}; none has a parameter named like k* or q*, only bias, weight"),
        # activation
        (
            rule({"weight": 0}, type="Conv2d", activation=["tanh", "gelu"]),
            f"{NONE_OF_TWO}followed by tanh or gelu; found: leaky_relu ×1, relu ×1",
        ),
        (
            rule({"weight": 0}, type=["Conv2d", "Linear"], activation="tanh"),
            (
                "3 modules have type Conv2d or Linear; none of the 3 parameters that fit is followed by tanh; "
                "found: leaky_relu ×1, relu ×1, unknown ×1"
            ),
        ),
        (
            rule({"weight": 0}, type="Linear", activation="tanh"),
            f"{ONE}the one parameter that fits is not followed by tanh; what follows is not known: {REMEDY}",
        ),
        (
            rule({"weight": 0}, type="Conv2d", activation="relu", input_activation="relu"),
            f"{TWO}the one parameter that fits is not preceded by relu; what precedes is not known: {REMEDY}",
        ),
        (
            rule({"weight": 0}, type="Conv2d", input_activation="tanh"),
            f"{NONE_OF_TWO}preceded by tanh; found: relu ×1, unknown ×1",
        ),
        # where
        (
            rule({"weight": 0}, type="Conv2d", where="fan_in >= 1024 and ndim == 4"),
            (
                f"{TWO}'fan_in >= 1024 and ndim == 4' is false for all 2 parameters that fit; fan_in is 18 to 27, "
                "ndim is 4"
            ),
        ),
        (
            rule({"bias": 0}, type="Conv2d", where="fan_in > 1"),
            f"{TWO}'fan_in > 1' is false for the one parameter that fits; none has a fan_in",
        ),
        (
            rule(0, type="Conv2d", where="shape[0] > 8"),
            f"{TWO}'shape[0] > 8' is false for all 3 parameters that fit",
        ),
        (
            rule(0, name=r"conv(?P<n>\d)", where="n > n_n"),
            f"{NINE}, 2 named so; 'n > n_n' is false for all 3 parameters that fit; n is 1 to 2, n_n is 2",
        ),
        # not
        (
            rule({"weight": 0}, type="Conv2d", not_={"inside": "Sequential"}),
            f"{TWO}'not' takes away all 2 parameters that fit",
        ),
        (
            rule({"weight": 0}, type="Conv2d", activation="relu", not_={"where": "kernel == 9"}),
            f"{TWO}'not' takes away the one parameter that fits",
        ),
    ],
)
def test_mmdetection5209_mmdetection5177_why_a_rule_claims_nothing(written: Mapping[str, Any], sentence: str) -> None:
    """And the plan says the same, as an error."""
    assert why(Cnn(), written) == sentence
    with pytest.raises(PlanError) as error:
        plan(Cnn(), {"all": rule(0), "r": written})
    assert str(error.value) == f"policy: rules.r: claims no parameter. {sentence[0].upper()}{sentence[1:]}"


def frozen_head() -> nn.Module:
    model = Mlp()
    model[2].requires_grad_(False)
    model[0].weight = nn.Parameter(torch.zeros(8, 4, dtype=torch.int8), requires_grad=False)
    return model


@pytest.mark.parametrize(
    ("build", "written", "rest", "sentence"),
    [
        (
            frozen_head,
            rule(0, name="^2$"),
            {},
            "The 2 parameters that it names are frozen ('frozen: init' takes those too)",
        ),
        (
            frozen_head,
            rule({"bias": 0}, name="^2$"),
            {},
            "The one parameter that it names is frozen ('frozen: init' takes those too)",
        ),
        (
            frozen_head,
            rule({"weight": 0}, name="^0$"),
            {},
            "The one parameter that it names is skipped: not floating point",
        ),
        (
            frozen_head,
            rule(0),
            {"exclude": [{"type": "LSTM"}, {"name": "^0$", "where": "ndim == 1"}]},
            (
                "The 4 parameters that it names are 1 skipped: not floating point, 1 excluded by exclude.1, "
                "2 frozen ('frozen: init' takes those too)"
            ),
        ),
        (
            TiedLm,
            rule(0, type="Linear"),
            {"exclude": [{"type": "Embedding"}]},
            "The one parameter that it names is excluded by exclude.0",
        ),
        (nn.ReLU, rule(0), {}, "The model has no parameters"),
    ],
)
def test_a_rule_whose_parameters_are_all_off_limits(
    build: Callable[[], nn.Module], written: Mapping[str, Any], rest: Mapping[str, Any], sentence: str
) -> None:
    with pytest.raises(PlanError) as error:
        plan(build(), {"r": written}, **{"unmatched": "keep", **rest})
    assert str(error.value) == f"policy: rules.r: claims no parameter. {sentence}"


# --- patterns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "match", "expected"),
    [
        ({"weight": 0, "bias": 0}, {"type": "Linear"}, []),
        ({"wieght": 0, "bias": 0}, {"type": "Linear"}, [("wieght", "weight")]),
        ({"wieght": 0, "*": 0}, {"type": "Linear"}, []),
        ({"weights*": 0, "bias": 0}, {"type": "Linear"}, [("weights*", "weight")]),
        ({"weight_hh_l1": 0, "bias*": 0}, {"type": "LSTM"}, [("weight_hh_l1", "weight_hh_l0")]),
        ({"weight_ih*": 0, "bias_h*": 0, "bias_ii*": 0}, {"type": "LSTM"}, [("bias_ii*", "bias_ih_l0")]),
        ({"weight": 0, "bias": 0}, {"type": "Embedding"}, []),
        ({"in_proj_bias": 0, "*weight": 0}, {"type": "Linear"}, []),
    ],
)
def test_a_pattern_that_fits_nothing_beside_a_name_like_it(
    init: Mapping[str, object], match: Mapping[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Only where the name is one that no other pattern fits: a bias that is not there is no mistake."""
    facts, one = facts_of(Tagger()), load_policy({"rules": {"r": rule(init, **match)}}).rules["r"]
    reason = "fits no parameter of the modules that the rule matches; did you mean {!r}?"
    found = list(misspelt(one, Matcher(one.match, facts), facts))
    assert found == [(pattern, reason.format(meant)) for pattern, meant in expected]


# --- words ---------------------------------------------------------------------------------------


class Snake(nn.Module):
    """x + sin²x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(x) ** 2


NO_WORD = "is no known activation and no class of this model"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"activation": ["relu", "ReLU", "nn.ReLU", "swish", "linear", "leaky-relu", "Snake", "custom"]}, []),
        ({"activation": ["rellu", "gelu"]}, [("activation", f"'rellu' {NO_WORD}; did you mean 'relu'?")]),
        ({"activation": "Snak"}, [("activation", f"'Snak' {NO_WORD}; did you mean 'Snake'?")]),
        ({"activation": "my_pkg.relu"}, [("activation", f"'my_pkg.relu' {NO_WORD}; did you mean 'prelu'?")]),
        ({"input_activation": "qqq"}, [("input_activation", f"'qqq' {NO_WORD}")]),
        ({"not": {"not": {"activation": "tahn"}}}, [("not.not.activation", f"'tahn' {NO_WORD}; did you mean 'tanh'?")]),
        ({"where": "fan_in > 1 and ndim == 2 and numel > pi and kernel + groups + fan_out + shape[0] > e"}, []),
        ({"where": "weight_fan_in > wide and out_features > 1"}, []),
        ({"where": "fan_inn > 1"}, [("where", "no parameter of this model has a 'fan_inn'; did you mean 'fan_in'?")]),
        (
            {"where": "out_feature > 1"},
            [("where", "no parameter of this model has a 'out_feature'; did you mean 'out_features'?")],
        ),
        (
            {"where": "qqq + zzz > 1"},
            [("where", "no parameter of this model has a 'qqq'"), ("where", "no parameter of this model has a 'zzz'")],
        ),
        ({"where": "gain > 1"}, [("where", "'gain' is known where an initializer is resolved, not while matching")]),
        ({"where": "layer > n_layer - n_head", "name": r"(?P<layer>\d)(?P<head>\d)?"}, []),
        (
            {"where": "layr > 1", "name": r"(?P<layer>\d)"},
            [("where", "no parameter of this model has a 'layr'; did you mean 'layer'?")],
        ),
        ({"where": "embed_dim > 1", "type": "MultiheadAttention"}, []),
    ],
)
def test_words_that_no_one_knows(match: Mapping[str, Any], expected: list[tuple[str, str]]) -> None:
    """An attribute that only another model's classes have is no mistake where no such class is."""
    facts = facts_of(nn.Sequential(nn.Linear(2, 2), Snake()))
    policy = load_policy({"rules": {"r": rule(0, **match)}, "exclude": [match], "vars": {"wide": 9}})
    assert list(unknown_words(policy, facts)) == [
        *(("r", f"rules.r.match.{place}", why) for place, why in expected),
        *(("", f"exclude.0.{place}", why) for place, why in expected),
    ]


def test_an_unknown_word_is_one_mistake_and_not_three() -> None:
    """That its rule claims nothing, and that its parameters are unmatched, would follow from it."""
    rules = {"fc": rule(0, type="Linear", where="fan_im > 1", expect=1), "gone": rule(0, type="GRU")}
    with pytest.raises(PlanError) as error:
        plan(Mlp(), rules, unmatched="error")
    assert str(error.value).splitlines() == [
        "policy: rules.fc.match.where: no parameter of this model has a 'fan_im'; did you mean 'fan_in'?",
        "policy: rules.gone: claims no parameter. No module has type GRU (the model has Linear, Mlp, ReLU)",
    ]


def test_what_a_rule_claims_is_not_counted_while_it_is_not_known_what_is_excluded() -> None:
    rules = {"fc": rule(0, type="Linear", expect=2), "gone": rule(0, type="GRU")}
    with pytest.raises(PlanError) as error:
        plan(Mlp(), rules, exclude=[{"where": "fan_im > 1"}], unmatched="error")
    assert str(error.value).splitlines() == [
        "policy: rules.gone: claims no parameter. No module has type GRU (the model has Linear, Mlp, ReLU)",
        "policy: exclude.0.where: no parameter of this model has a 'fan_im'; did you mean 'fan_in'?",
    ]


def test_where_a_formula_has_no_value_is_one_mistake_too() -> None:
    rules = {"fc": rule(0, type="Linear", where="1 / (ndim - 1) > 5", expect=1), "other": rule(0, where="numel > 9")}
    with pytest.raises(PlanError) as error:
        plan(Mlp(), rules, unmatched="error")
    assert str(error.value).splitlines() == [
        (
            f"policy: rules.fc.match.where → {name}.bias: '1 / (ndim - 1) > 5' has no finite value at ndim=1: 1 "
            "/ (ndim - 1)"
        )
        for name in ("0", "2")
    ]


# --- rules that cannot see -----------------------------------------------------------------------


def test_which_rules_are_blind_and_where() -> None:
    facts = facts_of(Gpt())
    policy = load_policy(
        {
            "rules": {
                "qkv": rule({"weight": 0}, name="qkv", activation="relu"),
                "all": rule({"weight": 0}, type="Linear", activation="relu", not_={"name": "head"}),
                "also": rule({"w*": 0}, type=["Linear"], activation=["tanh", "gelu"]),
                "tables": rule(0, type="Embedding", input_activation="relu"),
                "seeing": rule(0, name=r"mlp\.fc", activation="gelu"),
                "asks nothing": rule(0),
                "biases": rule({"bias": 0}, name="qkv", activation="relu"),
            }
        }
    )
    matchers = {name: Matcher(one.match, facts) for name, one in policy.rules.items()}
    sites = [site for param in facts.params for site in param.sites]
    linear = (
        "h.0.attn.qkv.weight, h.0.attn.proj.weight, h.0.mlp.proj.weight, h.1.attn.qkv.weight, "
        "h.1.attn.proj.weight and 5 more"
    )
    assert list(blind_rules(policy, matchers, sites)) == [
        (
            "rules.qkv asks what follows, which is not known for h.0.attn.qkv.weight, h.1.attn.qkv.weight, "
            f"h.2.attn.qkv.weight; {REMEDY}"
        ),
        f"rules.all, rules.also ask what follows, which is not known for {linear}; {REMEDY}",
        f"rules.tables asks what precedes, which is not known for wte.weight; {REMEDY}",
    ]


def test_a_model_of_bare_parameters_is_diagnosed_as_any_other() -> None:
    assert why(Moe(), rule({"weight": 0}, type="Experts")) == (
        "1 module has type Experts; none has a parameter named like weight, only down, up, up_bias"
    )
