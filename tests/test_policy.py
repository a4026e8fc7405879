"""The policy language, line by line, and its way out and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from policy_samples import matches, policies, rule, specs
from pydantic import ValidationError

from initpolicy.errors import PolicyError
from initpolicy.formula import CONSTANTS, FUNCTIONS
from initpolicy.load import load_policy
from initpolicy.policy import FACTS, Declared, Match, Policy, Rule, Spec


def read(text: str) -> Policy:
    return load_policy(yaml.safe_load(text))


def spec(text: str) -> Spec:
    return load_policy(rule(init={"weight": yaml.safe_load(text)})).rules["a"].init["weight"]


def match(text: str) -> Match:
    return load_policy(rule(match=yaml.safe_load(text))).rules["a"].match


# --- what is read --------------------------------------------------------------------------------


def test_the_policy_of_the_readme() -> None:
    policy = read("""
        name: he_relu
        description: He for what feeds a rectifier, Xavier for the rest, zero biases.
        unused: ignore
        rules:
          linear_like:
            match: {type: [Linear, "Conv*d", "ConvTranspose*d"]}
            init:  {weight: xavier_normal, bias: 0}
          rectified:
            match: {type: [Linear, "Conv*d", "ConvTranspose*d"], activation: [relu, relu6, leaky_relu, prelu]}
            init:  {weight: kaiming_normal}
          lstm:
            match: {type: LSTM}
            init:  {"weight_ih*": xavier_uniform, "weight_hh*": {name: orthogonal, split: gates}, "bias*": 0}
    """)
    types = ("Linear", "Conv*d", "ConvTranspose*d")
    assert policy == Policy(
        name="he_relu",
        description="He for what feeds a rectifier, Xavier for the rest, zero biases.",
        unused="ignore",
        rules={
            "linear_like": Rule(
                match=Match(type=types),
                init={"weight": Spec(name="xavier_normal"), "bias": Spec(name="constant", arguments={"value": 0})},
            ),
            "rectified": Rule(
                match=Match(type=types, activation=("relu", "relu6", "leaky_relu", "prelu")),
                init={"weight": Spec(name="kaiming_normal")},
            ),
            "lstm": Rule(
                match=Match(type=("LSTM",)),
                init={
                    "weight_ih*": Spec(name="xavier_uniform"),
                    "weight_hh*": Spec(name="orthogonal", split="gates"),
                    "bias*": Spec(name="constant", arguments={"value": 0}),
                },
            ),
        },
    )
    assert list(policy.rules) == ["linear_like", "rectified", "lstm"]


def test_only_rules_is_required() -> None:
    policy = read("rules: {all: {init: {'*': 0}}}")
    everything = policy.model_dump(exclude={"rules"})
    assert everything == {
        "name": "policy",
        "description": "",
        "seed": None,
        "vars": {},
        "exclude": (),
        "unmatched": "warn",
        "unused": "error",
        "frozen": "skip",
        "gains": "torch",
        "nonlinearity": "following",
        "fans": "module",
        "activations": {},
    }
    assert policy.rules["all"] == Rule(
        description="", match=Match(), init={"*": Spec(name="constant", arguments={"value": 0})}
    )
    assert policy.rules["all"].expect is None


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("seed: 0", "seed", 0),
        ("seed: 9223372036854775807", "seed", 2**63 - 1),
        ("seed: null", "seed", None),
        ("seed: '7'", "seed", 7),
        ("vars: {std: 0.02, n: 3}", "vars", {"std": 0.02, "n": 3}),
        ("vars: {σ: 1}", "vars", {"σ": 1}),
        ("exclude: [{type: BatchNorm2d}]", "exclude", (Match(type=("BatchNorm2d",)),)),
        ("exclude: [{name: ^a}, {inside: B}]", "exclude", (Match(name=("^a",)), Match(inside=("B",)))),
        ("exclude: []", "exclude", ()),
        *((f"unmatched: {word}", "unmatched", word) for word in ("keep", "warn", "error")),
        *((f"unused: {word}", "unused", word) for word in ("ignore", "warn", "error")),
        *((f"frozen: {word}", "frozen", word) for word in ("skip", "init")),
        *((f"gains: {word}", "gains", word) for word in ("torch", "exact")),
        *((f"nonlinearity: {word}", "nonlinearity", word) for word in ("following", "preceding", "theory")),
        *((f"fans: {word}", "fans", word) for word in ("module", "torch")),
        ("activations: {stem: relu}", "activations", {"stem": Declared(name="relu")}),
        (
            "activations: {'^head': {name: leaky_relu, slope: 0.2}}",
            "activations",
            {"^head": Declared(name="leaky_relu", arguments={"slope": 0.2})},
        ),
        ("name: mine", "name", "mine"),
        ("name: null", "name", "policy"),
        ("description: What it is for.", "description", "What it is for."),
    ],
)
def test_the_top_of_a_policy(text: str, field: str, value: Any) -> None:
    assert getattr(read(f"rules: {{a: {{init: {{weight: 0}}}}}}\n{text}"), field) == value


def _not(other: Match, **keys: Any) -> Match:
    return Match(**{"not": other, **keys})


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("{}", Match()),
        ("{type: Linear}", Match(type=("Linear",))),
        ("{type: ' Linear '}", Match(type=("Linear",))),
        (
            "{type: [torch.nn.Linear, my_pkg.Fancy, '*Norm*']}",
            Match(type=("torch.nn.Linear", "my_pkg.Fancy", "*Norm*")),
        ),
        ("{type: Linear, exact: true}", Match(type=("Linear",), exact=True)),
        ("{exact: false}", Match()),
        ("{name: '^stem'}", Match(name=("^stem",))),
        ("{name: ['^stem', 'h\\.(?P<layer>\\d+)']}", Match(name=("^stem", r"h\.(?P<layer>\d+)"))),
        ("{activation: relu}", Match(activation=("relu",))),
        ("{activation: [relu, MyAct]}", Match(activation=("relu", "MyAct"))),
        ("{input_activation: [gelu]}", Match(input_activation=("gelu",))),
        ("{inside: MultiheadAttention}", Match(inside=("MultiheadAttention",))),
        ("{where: fan_in >= 1024 and ndim == 2}", Match(where="fan_in >= 1024 and ndim == 2")),
        ("{where: null}", Match()),
        ("{not: {type: Linear, not: {name: head}}}", _not(_not(Match(name=("head",)), type=("Linear",)))),
        ("{not: null}", Match()),
    ],
)
def test_match(text: str, read_as: Match) -> None:
    assert match(text) == read_as


def constant(value: object) -> Spec:
    return Spec(name="constant", arguments={"value": value})


NORMAL = Spec(name="normal", arguments={"std": 1})
GATES = Spec(name="gates", gates={"f": constant(1), "i": constant(0), "g": constant(0), "o": Spec(name="keep")})


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        # a name
        ("kaiming_normal", Spec(name="kaiming_normal")),
        ("' kaiming_normal '", Spec(name="kaiming_normal")),
        ("he_normal", Spec(name="he_normal")),
        ("kaiming_normal_", Spec(name="kaiming_normal_")),
        ("torch.nn.init.kaiming_normal_", Spec(name="kaiming_normal")),
        ("my-init.v2", Spec(name="my-init.v2")),
        # a number
        ("0", constant(0)),
        ("-0.5", Spec(name="constant", arguments={"value": -0.5})),
        ("1e-5", Spec(name="constant", arguments={"value": 1e-5})),  # text in YAML 1.1
        ("'12'", Spec(name="constant", arguments={"value": 12})),
        ("1_000", Spec(name="constant", arguments={"value": 1000})),
        # a mapping
        ("{name: kaiming_normal}", Spec(name="kaiming_normal")),
        (
            "{name: trunc_normal, std: 0.02, a: -2, b: 2, bounds: sigma}",
            Spec(name="trunc_normal", arguments={"std": 0.02, "a": -2, "b": 2, "bounds": "sigma"}),
        ),
        ("{name: normal, std: '1 / sqrt(2 * n)'}", Spec(name="normal", arguments={"std": "1 / sqrt(2 * n)"})),
        ("{name: normal, std: null}", Spec(name="normal", arguments={"std": None})),
        ("{name: normal, arguments: {std: 1}}", Spec(name="normal", arguments={"std": 1})),
        ("{name: mine, arguments: {dim: 1, name: x}}", Spec(name="mine", arguments={"dim": 1, "name": "x"})),
        # keep, inherit
        ("keep", Spec(name="keep")),
        ("{name: keep}", Spec(name="keep")),
        ("inherit", Spec(name="inherit")),
        # a function of one's own
        ("{call: my_pkg.inits.fancy_, alpha: 0.3}", Spec(call="my_pkg.inits.fancy_", arguments={"alpha": 0.3})),
        ("{call: my_pkg.fancy_, limit: .inf}", Spec(call="my_pkg.fancy_", arguments={"limit": float("inf")})),
        ("{call: a.b, arguments: {name: x, arguments: 1}}", Spec(call="a.b", arguments={"name": "x", "arguments": 1})),
        # Hydra's form
        ("{_target_: torch.nn.init.normal_, std: 2}", Spec(name="normal", arguments={"std": 2})),
        ("{_target_: torch.nn.init.zeros_, _partial_: true, _recursive_: false, _convert_: all}", Spec(name="zeros")),
        # split
        ("{name: orthogonal, split: gates}", Spec(name="orthogonal", split="gates")),
        ("{name: xavier_uniform, split: 3}", Spec(name="xavier_uniform", split=3)),
        ("{name: xavier_uniform, split: 3, dim: 1}", Spec(name="xavier_uniform", split=3, dim=1)),
        ("{name: xavier_uniform, split: '3', dim: '-1'}", Spec(name="xavier_uniform", split=3, dim=-1)),
        ("{name: xavier_uniform, split: null}", Spec(name="xavier_uniform")),
        ("{call: a.b, split: gates}", Spec(call="a.b", split="gates")),
        # blocks and gates
        (
            "{name: blocks, parts: [orthogonal, 0, {name: normal, std: 1}], dim: 1}",
            Spec(name="blocks", dim=1, parts=(Spec(name="orthogonal"), constant(0), NORMAL)),
        ),
        ("{name: gates, f: 1, i: 0, g: 0, o: keep}", GATES),
        ("{name: gates, r: {name: gates, f: 1, i: 0, g: 0, o: keep}}", Spec(name="gates", gates={"r": GATES})),
        # layout
        ("{name: xavier_normal, layout: in out}", Spec(name="xavier_normal", layout="in out")),
        (
            "{name: blocks, parts: [keep], layout: in out}",
            Spec(name="blocks", parts=(Spec(name="keep"),), layout="in out"),
        ),
    ],
)
def test_spec(text: str, read_as: Spec) -> None:
    assert spec(text) == read_as
    assert spec(yaml.safe_dump(read_as.model_dump(mode="json"))) == read_as


def test_init_keeps_the_order_of_its_patterns() -> None:
    text = "rules: {a: {init: {'*': keep, weight: 0, 'bias_hh*': 1, in_proj_weight: zeros}}}"
    assert list(read(text).rules["a"].init) == ["*", "weight", "bias_hh*", "in_proj_weight"]


@pytest.mark.parametrize("expect", [0, 12, "2 * n_layer", "12", None])
def test_expect(expect: object) -> None:
    assert load_policy(rule(expect=expect)).rules["a"].expect == expect


@pytest.mark.parametrize("name", [*FACTS, *CONSTANTS, *FUNCTIONS])
def test_no_variable_hides_what_formulas_know(name: str) -> None:
    for raw in ({**rule(), "vars": {name: 1}}, rule(match={"name": rf"(?P<{name}>\d+)"})):
        with pytest.raises(PolicyError, match=r"hides the (fact|function) of that name; name it otherwise"):
            load_policy(raw)


def test_a_policy_cannot_be_changed() -> None:
    policy = load_policy(rule())
    for noun, field in ((policy, "seed"), (policy.rules["a"], "match"), (policy.rules["a"].init["weight"], "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(noun, field, None)


# --- out and back --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "dumped"),
    [
        (0, 0),
        ("1e-5", 1e-5),
        ("zeros", "zeros"),
        ({"name": "zeros"}, "zeros"),
        ({"name": "constant", "value": 3}, 3),
        ({"name": "constant", "value": "std"}, {"name": "constant", "value": "std"}),
        ({"name": "constant", "value": True}, {"name": "constant", "value": True}),
        ({"name": "constant", "value": 3, "layout": "in"}, {"name": "constant", "layout": "in", "value": 3}),
        ({"name": "normal", "arguments": {"std": 1}}, {"name": "normal", "std": 1}),
        ({"call": "a.b", "arguments": {"dim": 1, "x": 2}}, {"call": "a.b", "arguments": {"dim": 1, "x": 2}}),
        ({"name": "gates", "f": {"name": "ones"}}, {"name": "gates", "f": "ones"}),
        ({"name": "blocks", "parts": [{"name": "zeros"}, 1]}, {"name": "blocks", "parts": ["zeros", 1]}),
        ({"name": "x", "split": 2, "dim": -1, "a": (1, 2)}, {"name": "x", "split": 2, "dim": -1, "a": [1, 2]}),
        ({"_target_": "torch.nn.init.eye_"}, "eye"),
    ],
)
def test_a_spec_is_written_in_its_shortest_form(raw: Any, dumped: Any) -> None:
    written = load_policy(rule(init={"weight": raw})).dump()
    assert written == {"name": "policy", "rules": {"a": {"init": {"weight": dumped}}}}
    assert load_policy(written).dump() == written


def test_a_dump_holds_what_differs_from_the_defaults() -> None:
    text = """
        name: mine
        seed: 3
        vars: {std: 0.5}
        rules:
          a: {match: {type: [Linear], not: {name: [head]}}, init: {weight: {name: normal, std: std}}, expect: 2 * n}
        exclude: [{type: [Conv2d], exact: true}]
        unmatched: error
        activations: {stem: relu, head: {name: leaky_relu, slope: 0.2}}
    """
    assert read(text).dump() == yaml.safe_load(text)


@given(policies)
def test_load_of_dump_is_the_same_policy(raw: dict[str, Any]) -> None:
    policy = load_policy(raw)
    written = policy.dump()
    assert load_policy(written) == policy
    assert load_policy(policy) is policy
    assert load_policy(written).dump() == written


@given(policies)
@settings(max_examples=40)
def test_a_dict_config_gives_the_same_policy(raw: dict[str, Any]) -> None:
    policy = load_policy(raw)
    assert load_policy(OmegaConf.create(policy.dump())) == policy
    assert load_policy(OmegaConf.create({"init": raw}).init) == policy


@given(policies)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_yaml_file_gives_the_same_policy(tmp_path: Path, raw: dict[str, Any]) -> None:
    policy = load_policy({"name": "p", **raw})
    for data in ({"name": "p", **raw}, policy.dump()):
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        assert load_policy(tmp_path / "p.yaml") == policy


@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"), st.fixed_dictionaries({"match": matches, "init": st.just({"*": 0})}), min_size=2
    )
)
def test_rules_keep_their_order(rules: dict[str, Any]) -> None:
    assert list(load_policy({"rules": rules}).rules) == list(rules)
    assert list(load_policy(load_policy({"rules": rules}).dump()).rules) == list(rules)


@given(specs)
def test_a_spec_reads_the_same_alone_and_as_a_part(raw: Any) -> None:
    alone = load_policy(rule(init={"weight": raw})).rules["a"].init["weight"]
    packed = [{"name": "blocks", "parts": [raw]}, {"name": "gates", "f": raw}]
    blocks, gates = (load_policy(rule(init={"weight": one})).rules["a"].init["weight"] for one in packed)
    assert blocks.parts == (alone,)
    assert gates.gates == {"f": alone}
