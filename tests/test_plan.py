"""Plans: which rule wins, what no rule may touch, what is counted and said, and that nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planning_parts import (
    Adapted,
    Cnn,
    Gpt,
    Mlp,
    Moe,
    Tagger,
    TiedLm,
    decisions,
    facts_of,
    half_precision,
    initializers_of,
    normed,
    plan,
    planned,
    random_state,
    rule,
    weights_of,
)
from preset_kinds import GENERIC
from safetensors.torch import save_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.parameter import UninitializedParameter

from initpolicy.api import apply_policy, plan_policy
from initpolicy.errors import PlanError, PolicyError
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Initializer, fixed
from initpolicy.load import load_policy
from initpolicy.plan import Plan, make_plan


def refused(model: nn.Module, rules: Mapping[str, Any], **rest: Any) -> str:
    """The whole message of the PlanError."""
    with pytest.raises(PlanError) as error:
        plan(model, rules, **rest)
    return str(error.value)


# --- which rule wins -----------------------------------------------------------------------------


def test_the_last_rule_that_claims_a_parameter_wins_and_the_losers_are_listed() -> None:
    made = plan(
        Cnn(),
        {
            "everything": rule(0),
            "convolutions": rule({"weight": "kaiming_normal", "bias": 1}, type="Conv*d"),
            "grouped": rule({"weight": 2}, where="groups == 4"),
            "grouped_again": rule({"weight": 3}, where="groups == 4"),
        },
    )
    assert decisions(made) == {
        "stem.conv1.weight": "convolutions",
        "stem.bn1.weight": "everything",
        "stem.bn1.bias": "everything",
        "stem.conv2.weight": "grouped_again",
        "stem.conv2.bias": "convolutions",
        "up.weight": "convolutions",
        "up.bias": "convolutions",
        "fc.weight": "everything",
        "fc.bias": "everything",
    }
    assert {a.name: a.shadowed for a in made.assignments if a.shadowed} == {
        "stem.conv1.weight": ("everything",),
        "stem.conv2.weight": ("everything", "convolutions", "grouped"),
        "stem.conv2.bias": ("everything",),
        "up.weight": ("everything",),
        "up.bias": ("everything",),
    }


def test_allennlp1405_allennlp199_exclude_beats_every_rule_order_is_the_files_and_losers_are_listed() -> None:
    rules = {"all": rule(0), "linear": rule(1, type="Linear"), "fc": rule(2, name="^fc$")}
    exclude = [{"type": "Sequential"}, {"name": "^fc$"}]
    backwards = dict(reversed(rules.items()))
    excluded = plan(Cnn(), rules, exclude=exclude, unused="ignore")
    assert decisions(plan(Cnn(), rules))["fc.bias"] == "fc"
    assert decisions(plan(Cnn(), backwards))["fc.bias"] == "all"
    assert [a.shadowed for a in plan(Cnn(), backwards).assignments if a.name == "fc.bias"] == [("fc", "linear")]
    assert {a.name: (a.status, a.reason, a.shadowed) for a in excluded.assignments if a.status == "excluded"} == {
        "stem.conv1.weight": ("excluded", "exclude.0", ("all",)),
        "stem.bn1.weight": ("excluded", "exclude.0", ("all",)),
        "stem.bn1.bias": ("excluded", "exclude.0", ("all",)),
        "stem.conv2.weight": ("excluded", "exclude.0", ("all",)),
        "stem.conv2.bias": ("excluded", "exclude.0", ("all",)),
        "fc.weight": ("excluded", "exclude.1", ("all", "linear", "fc")),
        "fc.bias": ("excluded", "exclude.1", ("all", "linear", "fc")),
    }


def test_cosmos_predict15_adapters_are_excluded_in_one_line() -> None:
    """init after LoRA filled the adapters, whose second factor must stay zero."""
    model = Adapted()
    rules = {"all": rule("xavier_normal", where="ndim == 2"), "biases": rule({"bias": 0})}
    made = plan(model, rules, exclude=[{"name": "lora_"}])
    assert decisions(made) == {
        "base.weight": "all",
        "base.bias": "biases",
        "lora_a.default.weight": "excluded",
        "lora_b.default.weight": "excluded",
    }
    by_keeping = plan(Adapters(), {"all": rule(0), "adapters": rule({"lora_*": "keep"})})
    assert decisions(by_keeping) == {"weight": "all", "lora_a": "kept", "lora_b": "kept"}


class Adapters(nn.Module):
    """As in loralib: the factors are parameters of the layer itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))
        self.lora_a = nn.Parameter(torch.zeros(2, 4))
        self.lora_b = nn.Parameter(torch.zeros(4, 2))


MODELS = (Cnn, Gpt, Moe, Tagger, TiedLm)
_matches = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["Linear", "Module", "Conv2d", "_ConvNd", "Embedding", "Nothing", "LayerNorm"]),
        "name": st.sampled_from(["^h", "c", "[0-9]", "head|tok", "experts"]),
        "inside": st.sampled_from(["Sequential", "Block", "Gpt", "Nothing"]),
        "where": st.sampled_from(["ndim == 1", "numel > 30", "ndim == 2 or numel < 10"]),
    },
)
_locals = st.lists(st.sampled_from(["*", "weight", "bias", "b*", "?p", "weight_[ih]*"]), min_size=1, unique=True)


@given(
    st.sampled_from(MODELS),
    st.lists(st.tuples(_matches, st.none() | _matches, _locals), min_size=1, max_size=5),
    st.lists(_matches, max_size=2),
)
def test_decisions_are_those_of_a_plain_reading(
    build: type[nn.Module],
    written: list[tuple[dict[str, str], dict[str, str] | None, list[str]]],
    exclude: list[dict[str, str]],
) -> None:
    """Against the definition itself, asked of torch's own objects."""
    model = build()
    rules: dict[str, Any] = {  # one law for all, so that no tie is a conflict
        f"r{index}": {"match": {**match, **({"not": no} if no else {})}, "init": dict.fromkeys(names, 1.0)}
        for index, (match, no, names) in enumerate(written)
    }
    made = plan(model, rules, exclude=exclude, unused="ignore", unmatched="keep")
    named = dict(model.named_modules(remove_duplicate=False))

    def holds(match: Mapping[str, Any], place: str, param: nn.Parameter) -> bool:
        module = named[place]
        above = [named[place.rsplit(".", cut)[0]] for cut in range(1, place.count(".") + 1)] + [model] * bool(place)
        facts = {"ndim": param.ndim, "numel": param.numel()}
        return (
            ("type" not in match or match["type"] in [cls.__name__ for cls in type(module).__mro__])
            and ("name" not in match or re.search(match["name"], place) is not None)
            and ("inside" not in match or any(type(m).__name__ == match["inside"] for m in above))
            and ("where" not in match or bool(eval(match["where"], {}, facts)))
            and ("not" not in match or not holds(match["not"], place, param))
        )

    def covered(match: Mapping[str, Any], place: str, param: nn.Parameter) -> bool:
        places = [place, *(place.rsplit(".", cut)[0] for cut in range(1, place.count(".") + 1)), ""]
        return any(holds(match, one, param) for one in places)

    found = decisions(made)
    for name, param in model.named_parameters():
        sites = [n for n, other in model.named_parameters(remove_duplicate=False) if other is param]
        pairs = [(site.rpartition(".")[0], site.rpartition(".")[2]) for site in sites]
        claiming = [
            rule
            for rule, entry in rules.items()
            if any(
                holds(entry["match"], place, param) and any(fnmatchcase(local, p) for p in entry["init"])
                for place, local in pairs
            )
        ]
        out = any(covered(match, place, param) for match in exclude for place, _ in pairs)
        if out:
            assert found[name] == "excluded"
        elif not claiming:
            assert found[name] == "unmatched"
        elif len(pairs) == 1:
            assert found[name] == claiming[-1]
        else:
            assert found[name] in claiming


# --- what no rule may touch ----------------------------------------------------------------------


def status(made: Plan) -> dict[str, tuple[str, str]]:
    return {a.name: (a.status, a.reason) for a in made.assignments}


def test_frozen_parameters_are_left_alone_unless_the_policy_says_otherwise() -> None:
    model = Mlp()
    model[0].weight.requires_grad_(False)
    assert status(plan(model, {"all": rule(1)})) == {
        "0.weight": ("frozen", "does not require gradients"),
        "0.bias": ("initialized", ""),
        "2.weight": ("initialized", ""),
        "2.bias": ("initialized", ""),
    }
    assert set(decisions(plan(model, {"all": rule(1)}, frozen="init")).values()) == {"all"}


def test_hf39366_hf45591_what_must_not_be_written_is_skipped_with_its_reason() -> None:
    model = Mlp()
    model[0].weight = nn.Parameter(torch.zeros(8, 4, dtype=torch.int8), requires_grad=False)
    vars(model[2].weight)["_no_reinit"] = True  # as state-space models mark theirs
    made = status(plan(model, {"all": rule(1)}, frozen="init"))
    assert made["0.weight"] == ("skipped", "not floating point")
    assert made["2.weight"] == ("skipped", "marked _no_reinit")


def test_exclude_comes_before_skipped_and_frozen() -> None:
    model = Mlp()
    model[0].requires_grad_(False)
    made = status(plan(model, {"all": rule(1)}, exclude=[{"name": "^0$", "where": "ndim == 2"}]))
    assert [made["0.weight"], made["0.bias"]] == [("excluded", "exclude.0"), ("frozen", "does not require gradients")]


def test_what_is_off_limits_need_not_be_computed() -> None:
    rules = {"big": rule(0, where="1 / (ndim - 1) > 0"), "biases": rule(1, where="ndim == 1")}
    assert refused(Mlp(), rules).splitlines() == [
        (
            f"policy: rules.big.match.where → {name}.bias: '1 / (ndim - 1) > 0' has no finite value at ndim=1: "
            "1 / (ndim - 1)"
        )
        for name in (0, 2)
    ]
    made = plan(Mlp(), rules, exclude=[{"where": "ndim == 1"}], unused="ignore")
    assert decisions(made) == {"0.weight": "big", "0.bias": "excluded", "2.weight": "big", "2.bias": "excluded"}
    message = refused(Mlp(), rules, exclude=[{"where": "1 / (2 - ndim) > 0"}], unmatched="error")
    assert message.splitlines()[-2:] == [
        f"policy: exclude.0.where → {name}.weight: '1 / (2 - ndim) > 0' has no finite value at ndim=2: 1 / (2 - ndim)"
        for name in (0, 2)
    ]


def test_keep_is_a_decision_and_not_a_gap() -> None:
    made = plan(Mlp(), {"all": rule(1), "head": rule("keep", name="^2$")}, unmatched="error")
    assert [(a.status, a.reason, a.rule) for a in made.assignments[2:]] == [("kept", "keep", "head")] * 2
    all_kept = plan(Mlp(), {"all": rule({"*": {"name": "blocks", "parts": ["keep", "keep"]}})})
    assert set(decisions(all_kept).values()) == {"kept"}


def test_pt125861_lazy_parameters_are_an_error_that_says_what_to_do() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    rules = {"linear": rule("xavier_normal", type="Linear", where="ndim == 2"), "norms": rule(1, type="LayerNorm")}
    assert refused(model, rules).splitlines() == [
        (
            "policy: rules.norms: claims no parameter. No module has type LayerNorm (the model has LazyLinear, ReLU, "
            "Sequential)"
        ),
        (
            "policy: 0.weight, 0.bias, 2.weight, 2.bias are lazy parameters without a shape; call the model once on a "
            "batch first, or exclude them"
        ),
    ]
    assert isinstance(model[0].weight, UninitializedParameter)
    assert decisions(plan(model, {"linear": rule(0)}, exclude=[{"type": "Linear"}], unused="ignore")) == dict.fromkeys(
        ("0.weight", "0.bias", "2.weight", "2.bias"), "excluded"
    )
    model(torch.zeros(1, 3))
    assert set(decisions(plan(model, {"linear": rule(0)})).values()) == {"linear"}


def test_one_lazy_parameter() -> None:
    model = nn.Sequential(nn.LazyLinear(4, bias=False))
    assert refused(model, {"all": rule(0)}) == (
        "policy: 0.weight is a lazy parameter without a shape; call the model once on a batch first, or exclude it"
    )


def test_what_a_row_says_besides() -> None:
    made = plan(Tagger(), {"all": rule(0)})
    assert made.assignments[0].reason == "row 0 (padding_idx) stays zero"
    assert plan(normed(), {"all": rule(0)}).assignments[0].reason == "set through _WeightNorm"
    reasons = {a.name: a.reason for a in plan(Moe(), {"all": rule(0)}).assignments}
    assert reasons == {
        "scale": "",
        "router.weight": "",
        "experts.up": "taken for stacked experts",
        "experts.down": "taken for stacked experts",
        "experts.up_bias": "",
    }
    unknown = "unknown owner: fans by torch's rule"
    stated = {"all": rule(0), "stated": rule({"lora_a": {"name": "zeros", "layout": "in out"}})}
    assert [a.reason for a in plan(Adapters(), {"all": rule(0)}).assignments] == [unknown] * 3
    assert [a.reason for a in plan(Adapters(), stated).assignments] == [unknown, "", unknown]
    assert {a.reason for a in plan(Adapters(), {"all": rule(0)}, fans="torch").assignments} == {""}


# --- ties ----------------------------------------------------------------------------------------

CONFLICT = (
    "policy: rules.{0} → head.weight, rules.{1} → tok.weight: one tied tensor is given two laws, {2}; "
    "claim both with one last rule, of match {{name: '^(head|tok)$'}} and a law that is the same at both, "
    "or spare one with not: {{name: '^head$'}}"
)


def test_modalities456_fastai2090_mup55_two_laws_for_a_tied_tensor_are_an_error_that_says_how_to_resolve_it() -> None:
    table, head = rule({"name": "normal", "std": 0.02}, type="Embedding"), rule("xavier_normal", type="Linear")
    rules = {"table": table, "head": head, "norms": rule(1, type="LayerNorm")}
    laws = "xavier_normal and {name: normal, std: 0.02}"
    assert refused(TiedLm(), rules) == CONFLICT.format("head", "table", laws)
    last = {**rules, "tied": rule({"weight": {"name": "normal", "std": 0.02}}, name="^(head|tok)$")}
    assert decisions(plan(TiedLm(), last)) == {
        "tok.weight": "tied",
        "head.weight": "tied",
        "norm.weight": "norms",
        "norm.bias": "norms",
    }
    spared = {**rules, "head": rule("xavier_normal", not_={"name": "^head$"}, type="Linear")}
    assert decisions(plan(TiedLm(), spared, unused="ignore"))["tok.weight"] == "table"


def test_one_spec_that_means_two_laws_is_the_same_error() -> None:
    """Fans of a table and of a Linear differ, so which name came first would decide in silence."""
    message = (
        "policy: rules.all → head.weight, tok.weight: one tied tensor is given two laws, xavier_normal of mean 0 and "
        "std 0.3536 as head.weight and xavier_normal of mean 0 and std 0.5345 as tok.weight; claim both with one last "
        "rule, of match {name: '^(head|tok)$'} and a law that is the same at both, or spare one with not: "
        "{name: '^head$'}"
    )
    rules = {"all": rule("xavier_normal", where="ndim == 2"), "norms": rule(1, type="LayerNorm")}
    assert refused(TiedLm(), rules) == message
    assert refused(TiedLm(head_first=True), rules) == message


def test_one_formula_without_moments_that_means_two_laws_is_the_same_error() -> None:
    rules = {
        "all": rule({"name": "formula", "value": "fan_in / u"}, where="ndim == 2"),
        "norms": rule(1, type="LayerNorm"),
    }
    assert refused(TiedLm(), rules).startswith(
        "policy: rules.all → head.weight, tok.weight: one tied tensor is given two laws, formula with fan_in=6 as "
        "head.weight and formula with fan_in=1 as tok.weight; claim both"
    )
    rules["all"] = rule({"name": "formula", "value": "numel / u"}, where="ndim == 2")
    assert decisions(plan(TiedLm(), rules))["tok.weight"] == "all"


def test_a_tie_is_written_once_whatever_is_registered_first() -> None:
    rules = {"all": rule({"name": "normal", "std": "0.1 / sqrt(numel)"})}
    one, other = plan(TiedLm(), rules, seed=3), plan(TiedLm(head_first=True), rules, seed=3)
    tied = [(a.name, a.aliases, a.status, a.reason, a.tied_to, a.module_type) for a in one.assignments[:2]]
    assert tied == [
        ("tok.weight", ("head.weight",), "initialized", "", "", "Linear"),
        ("head.weight", (), "tied", "the same tensor as tok.weight", "tok.weight", "Linear"),
    ]
    assert [a.parts for a in one.assignments if not a.tied_to] == [a.parts for a in other.assignments if not a.tied_to]


def test_a_rule_that_names_a_tied_tensor_by_one_name_claims_it() -> None:
    made = plan(TiedLm(), {"head": rule(1, expect=1, type="Linear")}, unmatched="keep")
    assert decisions(made)["tok.weight"] == "head"
    assert [a.site.name for a in made.assignments[:1]] == ["head.weight"]


def test_two_rules_that_agree_on_a_tied_tensor_have_both_won() -> None:
    made = plan(TiedLm(), {"early": rule(0), "tok": rule(1, type="Embedding"), "head": rule(1, type="Linear")})
    assert (made.assignments[0].rule, made.assignments[0].shadowed) == ("head", ("early",))


def test_keeping_one_name_and_filling_the_other_is_a_conflict() -> None:
    rules = {"tok": rule(1, type="Embedding"), "head": rule("keep", type="Linear")}
    assert refused(TiedLm(), rules, unmatched="keep") == CONFLICT.format("head", "tok", "keep and 1")


def test_an_exclusion_by_one_name_covers_a_tied_tensor() -> None:
    made = plan(TiedLm(), {"tok": rule(1)}, exclude=[{"type": "Linear"}])
    assert decisions(made)["tok.weight"] == "excluded"


# --- counts --------------------------------------------------------------------------------------


def test_hf30451_mosaicml214_full_coverage_or_an_error_with_the_names_bare_parameters_included() -> None:
    rules = {"linear": rule("xavier_normal", type="Linear")}
    assert refused(Moe(), rules, unmatched="error") == (
        "policy: unmatched: 4 parameters claimed by no rule: scale, experts.up, experts.down, experts.up_bias; "
        "add a rule, 'keep' what is to stay, or exclude it"
    )
    assert plan(Moe(), rules).notes == (
        "4 parameters claimed by no rule: scale, experts.up, experts.down, experts.up_bias",
    )
    assert plan(Moe(), rules, unmatched="keep").notes == ()
    assert plan(Moe(), {**rules, "rest": rule(0)}, unmatched="error").notes == ()


def test_a_long_list_of_unmatched_names_is_cut() -> None:
    model = nn.ModuleList(nn.Linear(2, 2) for _ in range(15))
    rules = {"none": rule(0, type="Conv2d")}
    (note,) = plan(model, rules, unused="ignore").notes
    assert note == "30 parameters claimed by no rule: 0.weight, 0.bias, 1.weight, 1.bias, 2.weight and 25 more"
    message = refused(model, rules, unused="ignore", unmatched="error")
    assert message.endswith("9.weight, 9.bias and 10 more; add a rule, 'keep' what is to stay, or exclude it")


def test_unmatched_is_reported_beside_all_else() -> None:
    rules = {"norms": rule("xavier_normal", type="BatchNorm2d"), "linear": rule(0, type="Linear")}
    assert refused(Cnn(), rules, unmatched="error").splitlines() == [
        "policy: rules.norms → stem.bn1.weight: xavier_normal needs two or more dimensions, this is (8,)",
        "policy: rules.norms → stem.bn1.bias: xavier_normal needs two or more dimensions, this is (8,)",
        (
            "policy: unmatched: 5 parameters claimed by no rule: stem.conv1.weight, stem.conv2.weight, "
            "stem.conv2.bias, up.weight, up.bias; add a rule, 'keep' what is to stay, or exclude it"
        ),
    ]


def test_llamac579_a_rule_that_claims_another_number_than_expected_is_an_error() -> None:
    """A suffix found nothing, so residual projections were not scaled down."""
    scaled = {"weight": {"name": "normal", "std": "0.02 / sqrt(2 * n_layer)"}}
    name = r"h\.(?P<layer>\d+)\..*\bproj$"
    base = {"all": rule({"weight": 0, "bias": 0})}
    fits = {**base, "residual": rule(scaled, expect="2 * n_layer", name=name)}
    assert initializers_of(plan(Gpt(), fits))["h.2.mlp.proj.weight"] == ("normal", {"mean": 0.0, "std": 0.02 / 6**0.5})
    wrong = {**base, "residual": rule(scaled, expect="2 * n_layer", name=r"h\.(?P<layer>\d+)\.attn\.proj$")}
    assert refused(Gpt(), wrong) == (
        "policy: rules.residual.expect: 2 * n_layer is 6, but the rule claims 3 parameters: "
        "h.0.attn.proj.weight, h.1.attn.proj.weight, h.2.attn.proj.weight"
    )
    nothing = {**base, "residual": rule(scaled, expect="2 * n_layer", name=r"h\.(?P<layer>\d+)\..*\bc_proj$")}
    assert refused(Gpt(), {**nothing, "spare": rule(scaled, expect=1, name="c_proj")}).splitlines() == [
        (
            "policy: rules.spare.expect: is 1, but the rule claims 0 parameters. The model has 31 modules; none is "
            "named like 'c_proj' (nearest: 'h.0.attn.proj')"
        )
    ]


def test_what_is_expected_counts_tensors_and_may_be_none() -> None:
    assert plan(TiedLm(), {"all": rule(1, expect=3)}).notes == ()
    assert plan(Mlp(), {"all": rule(1), "none": rule(0, expect=0, type="Conv2d")}).notes == ()
    assert plan(Mlp(), {"all": rule(1), "none": rule(0, expect="n - 2", type="Conv2d")}, vars={"n": 2}).notes == ()
    assert plan(Mlp(), {"all": rule(1), "lost": rule(0, expect=4)}).notes == ()  # claims, and is not shadowed away
    message = refused(Mlp(), {"all": rule(1, expect="layer + 1", name=r"(?P<layer>\d)")}, unmatched="keep")
    assert message == "policy: rules.all.expect: 'layer + 1': unknown name 'layer'; did you mean 'n_layer'?"


@pytest.mark.parametrize(("unused", "raises"), [("error", True), ("warn", False), ("ignore", False)])
def test_mmdetection5209_mmdetection5177_a_rule_that_does_nothing(unused: str, raises: bool) -> None:
    rules = {
        "all": rule(0),
        "stem": rule("kaiming_normal", type="Conv2d", name="^stem$"),
        "typo": rule({"wieght": 1, "bias": 0}, type="Linear"),
    }
    lines = [
        (
            "rules.stem: claims no parameter. 2 modules have type Conv2d; none is named like '^stem$' "
            "('stem' is, of type Sequential)"
        ),
        "rules.typo.init.wieght: fits no parameter of the modules that the rule matches; did you mean 'weight'?",
    ]
    if raises:
        assert refused(Cnn(), rules, unused=unused).splitlines() == [f"policy: {line}" for line in lines]
    else:
        assert plan(Cnn(), rules, unused=unused).notes == tuple(lines if unused == "warn" else [])


@pytest.mark.parametrize(
    ("own", "policys"), [("warn", "ignore"), ("warn", "error"), ("ignore", "error"), ("error", "ignore")]
)
def test_a_rules_own_unused_beats_the_policys(own: str, policys: str) -> None:
    rules = {"all": rule(0), "stem": {**rule("kaiming_normal", name="^stem2$"), "unused": own}}
    line = "rules.stem: claims no parameter. the model has 8 modules; none is named like '^stem2$'"
    if own == "error":
        assert refused(Cnn(), rules, unused=policys).startswith("policy: rules.stem: claims no parameter. ")
    else:
        notes = plan(Cnn(), rules, unused=policys).notes
        assert [note.partition(". ")[0] for note in notes] == ([line.partition(". ")[0]] if own == "warn" else [])


def test_a_preset_that_scales_with_depth_says_where_it_finds_no_depth() -> None:
    """Of a GPT with names of its own, all but the scaling would hold, and nothing would say so."""

    def gpt(stack: str, end: str) -> nn.Module:
        block = nn.ModuleDict({"attn": nn.ModuleDict({end: nn.Linear(4, 4)})})
        return nn.ModuleDict({stack: nn.ModuleList([block])})

    (note,) = plan_policy(gpt("blocks", "out_proj"), "gpt2").notes
    assert note.startswith("rules.residual: claims no parameter. The model has 5 modules; none is named like ")
    assert plan_policy(gpt("h", "c_proj"), "gpt2").notes == ()


def test_a_rule_that_lost_every_parameter_is_used_all_the_same() -> None:
    """A child policy overrides its parent by appending."""
    assert plan(Mlp(), {"parent": rule("kaiming_normal", where="ndim == 2"), "child": rule(0)}).notes == ()


# --- activations that are not known --------------------------------------------------------------


def test_rules_that_cannot_see_are_noted_in_one_line() -> None:
    rules = {
        "all": rule(0),
        "rectified": rule({"weight": "kaiming_normal"}, type=["Conv2d", "Linear"], activation="relu"),
        "squashed": rule({"weight": "xavier_normal"}, type=["Conv2d", "Linear"], activation="tanh"),
        "fed": rule({"weight": 1}, type="Linear", input_activation="relu"),
        "stem": rule({"weight": 1}, type="Conv2d", activation="relu"),
    }
    hint = "give an example_input, or state it under 'activations'"
    assert plan(Cnn(), rules, unused="ignore").notes == (
        f"rules.rectified, rules.squashed ask what follows, which is not known for fc.weight; {hint}",
        f"rules.fed asks what precedes, which is not known for fc.weight; {hint}",
    )
    frozen = Cnn()
    frozen.fc.requires_grad_(False)
    assert plan(frozen, rules, unused="ignore").notes == ()
    assert plan(Cnn(), rules, unused="ignore", exclude=[{"name": "^fc$"}]).notes == ()


# --- inherit -------------------------------------------------------------------------------------


def chain(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules)


def test_a_softmax_head_gets_what_the_layer_before_it_gets() -> None:
    """The law, its arguments and its gain; the fans are the head's own."""
    model = chain(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 2), nn.Softmax(-1))
    made = {a.name: a for a in planned(model, "recommended").assignments}
    slope = (2 / 1.04) ** 0.5
    assert (made["2.weight"].initializer, made["2.weight"].rule) == ("kaiming_normal", "softmax")
    assert made["2.weight"].reason == "as 0.weight, the layer before"
    assert made["2.weight"].arguments["gain"] == pytest.approx(slope)
    assert made["2.weight"].expected_std == pytest.approx(slope / 8**0.5)
    assert made["0.weight"].expected_std == pytest.approx(slope / 4**0.5)


def test_an_inherited_spec_keeps_the_variables_of_its_own_rule() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)))
    rules = {
        "body": rule({"name": "normal", "std": "1 / (layer + n_layer)"}, name=r"^(?P<layer>[01])$"),
        "head": rule("inherit", name="^2$"),
    }
    stds = [a.expected_std for a in plan(model, rules).assignments]
    assert stds == [1 / 2, 1 / 3, 1 / 3]


def test_a_chain_of_heirs() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    first = rule({"weight": "eye", "bias": 3}, name="^0$")
    rules = {"heirs": rule({"weight": "inherit", "bias": "inherit"}), "first": first}
    made = plan(model, rules)
    assert [a.initializer for a in made.assignments] == ["eye", "constant"] * 4
    assert made.assignments[-1].reason == "as 0.bias, the layer before"


@pytest.mark.parametrize(
    ("model", "rules", "why"),
    [
        (
            Mlp(),
            {"first": rule({"weight": "inherit"}, name="^0$")},
            (
                "rules.first → 0.weight: inherit: no layer before 0 is known (sequential); give an example_input, or "
                "name an initializer"
            ),
        ),
        (
            nn.ModuleList([nn.Linear(2, 2)]),
            {"all": rule({"weight": "inherit"})},
            (
                "rules.all → 0.weight: inherit: no layer before 0 is known (unresolved); give an example_input, or "
                "name an initializer"
            ),
        ),
        (
            Mlp(),
            {"last": rule({"weight": "inherit"}, name="^2$")},
            "rules.last → 2.weight: inherit: no rule initializes 0.weight, the layer before; name an initializer",
        ),
        (
            Mlp(),
            {"first": rule("keep", name="^0$"), "last": rule({"weight": "inherit"}, name="^2$")},
            "rules.last → 2.weight: inherit: no rule initializes 0.weight, the layer before; name an initializer",
        ),
        (
            chain(nn.RNN(2, 2), nn.Linear(2, 2)),
            {"first": rule(1, name="^0$"), "last": rule({"weight": "inherit"}, name="^1$")},
            "rules.last → 1.weight: inherit: '0', the layer before, has no 'weight'; name an initializer",
        ),
        (
            chain(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)),
            {"first": rule(1, name="^0$"), "last": rule({"bias": "inherit"}, name="^1$")},
            "rules.last → 1.bias: inherit: '0', the layer before, has no 'bias'; name an initializer",
        ),
    ],
)
def test_nothing_to_inherit(model: nn.Module, rules: dict[str, Any], why: str) -> None:
    assert refused(model, rules, unmatched="keep") == f"policy: {why}"


def test_heirs_of_each_other() -> None:
    """As a loop would have them; no Sequential has one, so it is put into the facts."""
    facts = facts_of(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)))
    before = {"0": "1", "1": "0"}
    params = tuple(
        replace(
            param, sites=tuple(replace(s, signal=replace(s.signal, previous=before[s.owner.name])) for s in param.sites)
        )
        for param in facts.params
    )
    policy = load_policy({"rules": {"all": rule("inherit")}})
    with pytest.raises(PlanError) as error:
        make_plan(policy, replace(facts, params=params))
    assert str(error.value).splitlines() == [
        "policy: rules.all → 0.weight: inherit: 0.weight → 1.weight lead back to 0.weight; name an initializer",
        "policy: rules.all → 1.weight: inherit: 1.weight → 0.weight lead back to 1.weight; name an initializer",
    ]


# --- initializers from elsewhere -----------------------------------------------------------------

ROOT = Initializer(
    name="whatever it calls itself",
    law=lambda block, arguments: fixed("roots", block.numel, total=block.numel, squares=block.numel),
    make=lambda stream, block, arguments: torch.ones(block.shape).numpy(),
    random=False,
)


def test_more_initializers_are_an_argument_and_called_as_the_program_calls_them() -> None:
    made = plan(Mlp(), {"all": rule("mine")}, initializers={"mine": ROOT})
    assert [(a.initializer, a.expected_std) for a in made.assignments] == [("mine", 0.0)] * 4
    assert made.initializers["mine"].make is ROOT.make
    assert made.initializers.keys() == {*INITIALIZERS, "mine"}
    audit = apply_policy(Mlp(), {"rules": {"all": rule("zeros")}}, initializers={"zeros": ROOT})
    assert [row.mean for row in audit.rows] == [1.0] * 4


def test_an_initializer_that_is_none() -> None:
    given: Any = {"mine": lambda tensor: tensor}
    assert refused(Mlp(), {"all": rule("mine")}, initializers=given) == (
        "policy: initializers.mine: must be an initpolicy.initializers.base.Initializer, not function; "
        "for a plain function write 'call' in the policy"
    )


def test_hydra3258_hydra3409_nothing_is_imported_unless_the_program_trusts_it() -> None:
    call = {"weight": {"call": "users_code.inits.fancy_", "alpha": 0.5}, "bias": 0}
    with pytest.raises(PolicyError) as error:
        plan(Mlp(), {"all": rule(call)}, trusted=["users", "users_code.init", "users_code.inits.fancy"])
    assert str(error.value) == (
        "policy: rules.all.init.weight: call 'users_code.inits.fancy_': 'users_code' is not trusted; "
        "pass trusted=['users_code'] from your program"
    )
    for trusted in (["users_code"], ["users_code.inits"], ("users_code.inits.fancy_",)):
        made = plan(Mlp(), {"all": rule(call)}, trusted=trusted)
        assert initializers_of(made)["0.weight"] == ("users_code.inits.fancy_", {"alpha": 0.5})


# --- the plan itself -----------------------------------------------------------------------------

RULES = {
    "all": rule({"name": "normal", "std": 0.1}),
    "flat": rule(0, where="ndim == 1"),
    "experts": rule({"up": "orthogonal", "down": "orthogonal"}, type="Experts"),
}


@pytest.mark.parametrize("build", [Cnn, Tagger, TiedLm, Moe, normed, half_precision])
def test_planning_writes_nothing_and_draws_nothing(build: Callable[[], nn.Module]) -> None:
    model = build()
    before, state = weights_of(model), random_state()
    plan(model, RULES, unused="ignore")
    assert weights_of(model) == before
    assert random_state() == state


@pytest.mark.parametrize("name", GENERIC)
def test_every_preset_for_any_model_plans_a_model_on_the_meta_device_as_it_does_a_real_one(name: str) -> None:
    with torch.device("meta"):
        empty = Gpt()
    real = planned(Gpt(), name, seed=1)
    assert planned(empty, name, seed=1).fingerprint == real.fingerprint
    assert {a.device for a in planned(empty, name).assignments} == {"meta"}
    assert not {a.status for a in real.assignments} - {"initialized"}


def test_seeds() -> None:
    assert plan(Mlp(), RULES, unused="ignore").seed is None
    assert plan(Mlp(), RULES, unused="ignore", seed=5).seed == 5
    given = {"rules": RULES, "unused": "ignore", "seed": 5}
    assert planned(Mlp(), given, seed=0).seed == 0


def test_the_text_of_a_plan() -> None:
    made = plan(Mlp(), {"all": rule({"weight": "kaiming_normal", "bias": 0})}, seed=1, name="sample")
    header, counts, rules, *_ = str(made).splitlines()
    assert header == f"sample: seed 1, fingerprint {made.fingerprint}"
    assert (counts, rules) == ("4 parameters, 58 values: 4 planned", "rules: all ×4")


def test_same_law_other_order_same_fingerprint() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Linear(2, 3)
            self.a = nn.Linear(3, 2)

    class Forwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 2)
            self.b = nn.Linear(2, 3)

    rules = {"all": rule({"weight": "xavier_normal", "bias": 0})}
    assert plan(Backwards(), rules).fingerprint == plan(Forwards(), rules).fingerprint


BASE: dict[str, Any] = {"weight": {"name": "formula", "value": "z * s"}, "bias": 0}
DIFFERENT: dict[str, dict[str, Any]] = {
    "as it is": {},
    "another name": {"name": "other"},
    "a seed": {"seed": 4},
    "a variable": {"vars": {"s": 0.2}},
    "a constant": {"rules": {"all": rule({**BASE, "bias": 1})}},
    "a unit in the last place": {"rules": {"all": rule({**BASE, "bias": 1e-320})}},
    "left alone": {"exclude": [{"name": "^fc$"}]},
    "one tensor, one draw": {"rules": {"all": rule({**BASE, "weight": "kaiming_normal"})}, "unused": "warn"},
    "other fans": {"rules": {"all": rule({**BASE, "weight": "kaiming_normal"})}, "unused": "warn", "fans": "torch"},
    "two tensors, two draws": {"rules": {"all": rule({**BASE, "weight": {"name": "kaiming_normal", "split": 2}})}},
}


def test_a_fingerprint_tells_apart_what_gives_other_values() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(4, 2, 2, stride=2), nn.ReLU())
    model.add_module("fc", nn.Linear(2, 2))
    policy = {"name": "base", "rules": {"all": rule(BASE)}, "vars": {"s": 0.1}, "seed": 3}
    prints = {why: planned(model, {**policy, **change}).fingerprint for why, change in DIFFERENT.items()}
    assert len(set(prints.values())) == len(DIFFERENT)
    assert all(re.fullmatch("[0-9a-f]{16}", digits) for digits in prints.values())
    unused = {**policy, "vars": {"s": 0.1, "t": 9}, "description": "the same values", "unmatched": "error"}
    assert planned(model, unused).fingerprint == prints["as it is"]
    kept = {**policy, "rules": {"all": rule(BASE), "fc": rule("keep", name="^fc$")}}
    assert planned(model, kept).fingerprint == prints["left alone"]


def test_problems_come_in_the_files_order_and_alike_ones_are_counted() -> None:
    model = nn.ModuleList([*(nn.LayerNorm(size) for size in range(2, 10)), nn.Linear(2, 2)])
    rules = {
        "norms": rule({"weight": "orthogonal", "bias": {"name": "normal", "std": "1 / (ndim - 1)"}}, type="LayerNorm"),
        "linear": rule({"weight": {"name": "xavier_normal", "split": 3}, "bias": 0}, type="Linear"),
    }
    assert refused(model, dict(reversed(rules.items()))).splitlines() == [
        "policy: rules.linear → 8.weight: 3 equal blocks do not fit axis 0 of (2, 2)",
        *(
            f"policy: rules.norms → {i}.weight: orthogonal needs two or more dimensions, this is ({i + 2},)"
            for i in range(5)
        ),
        "policy: rules.norms: 3 more parameters like these",
        *(
            f"policy: rules.norms → {i}.bias: std: '1 / (ndim - 1)' has no finite value at ndim=1: 1 / (ndim - 1)"
            for i in range(5)
        ),
        "policy: rules.norms: 3 more parameters like these",
    ]


def test_fastnlp300_xavier_on_one_dimension_is_refused_while_planning_with_parameter_and_rule() -> None:
    assert refused(Mlp(), {"all": rule("xavier_uniform")}).splitlines() == [
        "policy: rules.all → 0.bias: xavier_uniform needs two or more dimensions, this is (8,)",
        "policy: rules.all → 2.bias: xavier_uniform needs two or more dimensions, this is (2,)",
    ]


def test_llm_foundry_init_gain_of_zero_is_refused_unless_it_is_the_constant() -> None:
    with pytest.raises(PolicyError) as error:
        plan(Mlp(), {"all": rule({"weight": {"name": "xavier_normal", "gain": 0.0}, "bias": 0})})
    assert str(error.value) == "policy: rules.all.init.weight.gain: must be above 0, not 0"
    by_formula = {"all": rule({"weight": {"name": "xavier_normal", "gain": "init_gain"}, "bias": 0})}
    assert refused(Mlp(), by_formula, vars={"init_gain": 0.0}).splitlines() == [
        "policy: rules.all → 0.weight: xavier_normal: gain must be above 0, not 0, the value of 'init_gain'",
        "policy: rules.all → 2.weight: xavier_normal: gain must be above 0, not 0, the value of 'init_gain'",
    ]
    assert set(decisions(plan(Mlp(), {"all": rule(0)})).values()) == {"all"}


# --- wrappers ------------------------------------------------------------------------------------


def parts_of(made: Plan) -> list[object]:
    return [(a.name, a.status, a.rule, a.shadowed, a.parts, a.gain_from, a.activation) for a in made.assignments]


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def compiled_inside(model: Any) -> nn.Module:
    model.stem.conv1, model.fc = compiled(model.stem.conv1), compiled(model.fc)
    return model  # type: ignore[no-any-return]  # as it came


def checkpointed_inside(model: Any) -> nn.Module:
    model.stem, model.fc = checkpoint_wrapper(model.stem), checkpoint_wrapper(model.fc)
    return model  # type: ignore[no-any-return]  # as it came


WRAPS = (nn.DataParallel, compiled, compiled_inside, checkpoint_wrapper, checkpointed_inside)


@pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)
@pytest.mark.parametrize("source", ["he_relu", "written"])
def test_modalities460_peft2962_the_same_matches_wrapped_or_not(
    wrap: Callable[[nn.Module], nn.Module], source: str
) -> None:
    written = {
        "all": rule(0),
        "stem": rule({"weight": "kaiming_normal"}, type="Conv2d", name=r"^stem\.conv(?P<layer>\d)$", inside="Cnn"),
        "fc": rule({"weight": {"name": "normal", "std": 0.1}}, name="^fc$", expect=1),
    }
    policy: Any = {"rules": written, "exclude": [{"name": "^up$"}]} if source == "written" else source
    bare = planned(Cnn(), policy, seed=1)
    wrapped = planned(wrap(Cnn()), policy, seed=1)
    assert parts_of(wrapped) == parts_of(bare)
    assert wrapped.fingerprint == bare.fingerprint


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, checkpoint_wrapper], ids=lambda wrap: wrap.__name__)
def test_modalities460_peft2962_the_layer_before_is_found_behind_a_wrapper(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    def head(body: nn.Module) -> nn.Module:
        return nn.Sequential(body, nn.Linear(8, 2), nn.Softmax(-1))

    bare = planned(head(chain(nn.Linear(4, 8), nn.ReLU())), "recommended", seed=1)
    assert bare.assignments[2].reason == "as 0.0.weight, the layer before"
    for wrapped in (wrap(head(chain(nn.Linear(4, 8), nn.ReLU()))), head(wrap(chain(nn.Linear(4, 8), nn.ReLU())))):
        assert parts_of(planned(wrapped, "recommended", seed=1)) == parts_of(bare)


# --- files ---------------------------------------------------------------------------------------


def test_pretrained_is_checked_while_planning(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"net.0.weight": torch.ones(8, 4), "net.0.bias": torch.ones(7)}, path)
    spec = {"name": "pretrained", "path": str(path), "prefix": {"": "net"}}
    assert refused(Mlp(), {"all": rule({"*": spec})}).splitlines() == [
        f"policy: rules.all → 0.bias: pretrained finds 'net.0.bias' in {path} with shape (7,), this is (8,)",
        (
            f"policy: rules.all → 2.weight: pretrained finds no 'net.2.weight' in {path}; nearest of its 2 keys: "
            "'net.0.weight', 'net.0.bias'"
        ),
        (
            f"policy: rules.all → 2.bias: pretrained finds no 'net.2.bias' in {path}; nearest of its 2 keys: "
            "'net.0.bias', 'net.0.weight'"
        ),
    ]


def test_a_module_without_parameters_has_an_empty_plan() -> None:
    made = plan(nn.ReLU(), {"all": rule(0)}, unused="ignore")
    assert (made.assignments, made.rows, made.notes) == ((), (), ())


def test_the_fingerprint_of_a_tied_tensor_does_not_depend_on_which_name_comes_first() -> None:
    """Nor do its values."""
    policy = {"rules": {"all": {"init": {"*": {"name": "normal", "std": 1}}}}}

    def tied(first: str, second: str) -> nn.Module:
        model = nn.ModuleDict({first: nn.Linear(3, 3, bias=False), second: nn.Linear(3, 3, bias=False)})
        model["a"].weight = model["b"].weight
        return model

    one, other = plan_policy(tied("a", "b"), policy, seed=1), plan_policy(tied("b", "a"), policy, seed=1)
    untied = plan_policy(nn.ModuleDict({n: nn.Linear(3, 3, bias=False) for n in "ab"}), policy, seed=1)
    assert [a.name for a in one.assignments] != [a.name for a in other.assignments]
    assert one.fingerprint == other.fingerprint != untied.fingerprint
