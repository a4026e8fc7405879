"""The schema that editors read: it is up to date, it refuses and accepts what it should, and it explains."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given
from policy_samples import policies, rule

from initpolicy.files import conf_folder, list_policies
from initpolicy.initializers import ALIASES, INITIALIZERS
from initpolicy.initializers.base import REQUIRED, Argument
from initpolicy.load import load_policy
from initpolicy.policy import Match, Policy, Rule
from initpolicy.schema import main, policy_schema

SCHEMA = policy_schema()
CHECK = jsonschema.Draft7Validator(SCHEMA)


def mistakes(policy: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in CHECK.iter_errors(policy)]


def read(text: str) -> Any:
    return yaml.safe_load(text)


# --- the file ------------------------------------------------------------------------------------


def test_the_committed_schema_is_up_to_date(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert (root / "conf" / "schema.json").read_text(encoding="utf-8") == capsys.readouterr().out, "run 'make schema'"


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA == policy_schema()


@pytest.mark.parametrize("name", list_policies())
def test_every_preset_names_the_schema_and_obeys_it(name: str) -> None:
    path = conf_folder() / "init" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    first, schema = "# yaml-language-server: $schema=", "../schema.json"
    assert text.splitlines()[0] == first + schema
    assert (path.parent / schema).resolve() == conf_folder() / "schema.json"
    assert mistakes(read(text)) == []
    assert mistakes(load_policy(name).dump()) == []


def test_an_installed_wheel_has_the_schema_beside_the_presets(root: Path, tmp_path: Path) -> None:
    """The line at a preset's head leads to it there too, and loading finds that folder."""
    (wheel,) = WheelBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "from initpolicy.files import *; print(conf_folder()); print(*list_policies())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
    )
    folder, names = done.stdout.splitlines()
    assert Path(folder) == (tmp_path / "site" / "initpolicy" / "conf").resolve()
    assert names.split() == list(list_policies())
    assert (Path(folder) / "init" / ".." / "schema.json").read_bytes() == (root / "conf" / "schema.json").read_bytes()


# --- what it accepts -----------------------------------------------------------------------------

WHOLE = "rules: {a: {init: {weight: 0}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        "defaults: [he_relu, _self_]",
        "defaults: [he_relu, mine.yaml]\nname: mine",
        "defaults: [he_relu]\nrules: {rectified: {init: {weight: {mode: fan_out}}}}",
        "defaults: [he_relu]\nrules: {rectified: {match: {type: Linear}}}",
        "defaults: [simple_uniform]\nrules: {weights: {init: {'*': {name: uniform, b: 2}}}}",
        WHOLE + "seed: null\ndescription: What it is for.\nvars: {std: 0.02, n: 1e-5}",
        WHOLE + "seed: ${seed}\nunmatched: ${oc.env:UNMATCHED}\nvars: {std: '${..std}'}\nexclude: ${exclude}",
        WHOLE + "exclude: [{type: BatchNorm2d}, {name: ^backbone, not: {inside: Head}}]",
        WHOLE + "unmatched: keep\nunused: warn\nfrozen: init\ngains: exact\nnonlinearity: theory\nfans: torch",
        WHOLE + "activations: {stem: relu, head: {name: leaky_relu, slope: 0.2}}",
        "rules: {a: {description: All., match: {}, init: {weight: 0}, expect: 12}}",
        "rules: {a: {init: {weight: 0}, expect: 2 * n_layer}, b: {init: {bias: 0}, expect: null}}",
        "rules: ${base.rules}",
    ],
)
def test_accepted(text: str) -> None:
    assert mistakes(read(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{type: Linear}",
        "{type: [Linear, 'Conv*d'], exact: true}",
        "{name: 'h\\.(?P<layer>\\d+)'}",
        "{name: [a, b], activation: relu, input_activation: [gelu, MyAct], inside: Block}",
        "{where: fan_in >= 1024 and ndim == 2}",
        "{not: {type: Linear, not: {name: head}}}",
        "{where: null, not: null}",
        "{exact: '${exact}', type: '${type}'}",
    ],
)
def test_accepted_as_a_match(text: str) -> None:
    assert mistakes(rule(match=read(text))) == []
    load_policy({**rule(match=read(text.replace("'${exact}'", "true").replace("${", "")))})


SPECS = [
    "0",
    "-0.5",
    "1e-5",  # text in YAML 1.1
    "keep",
    "inherit",
    "kaiming_normal",
    "he_normal",
    "xavier_uniform_",
    "torch.nn.init.orthogonal_",
    "my_own",
    "${std}",
    "{name: kaiming_normal, mode: fan_out}",
    "{name: trunc_normal, std: 0.02, a: -2, b: 2, bounds: sigma}",
    "{name: normal, std: 0.02 / sqrt(2 * n_layer), mean: null}",
    "{name: normal, std: '${std}'}",
    "{name: xavier_uniform, gain: auto, split: 3, dim: 1}",
    "{name: xavier_uniform, gain: 5 / 3, split: gates}",
    "{name: xavier_normal, layout: in out, split: null}",
    "{name: normal, arguments: {std: 1}}",
    "{name: uniform, arguments: {a: 0, b: 1}}",
    "{name: formula, value: log(j + 1)}",
    "{name: icnr, scale: 2, distribution: uniform}",
    "{name: pretrained, path: weights.safetensors, prefix: {a: b}}",
    "{name: my_own, whatever: [1, 2], split: 2}",
    "{call: my_pkg.inits.fancy_, alpha: 0.3}",
    "{call: my_pkg.inits.fancy_, split: gates, arguments: {dim: 1}}",
    "{_target_: torch.nn.init.kaiming_normal_, mode: fan_out, _partial_: true}",
    "{name: keep}",
    "{name: blocks, parts: [orthogonal, 0, {name: normal, std: 1}], dim: 1}",
    "{name: gates, f: 1, i: 0, g: zeros, o: {name: normal, std: 1}}",
    "{name: gates, r: {name: blocks, parts: [0]}, layout: out}",
]


@pytest.mark.parametrize("text", SPECS)
def test_accepted_as_a_spec(text: str) -> None:
    assert mistakes(rule(init={"weight": read(text)})) == []
    if "${" not in text:
        load_policy(rule(init={"weight": read(text)}))


@given(policies)
def test_what_loads_is_accepted_with_every_spec_left_alone(raw: dict[str, Any]) -> None:
    """Specs apart: arguments that no initializer has are refused here, and by loading not yet."""
    for each in raw["rules"].values():
        each["init"] = dict.fromkeys(each["init"], "keep")
    assert mistakes(raw) == []
    assert mistakes(load_policy(raw).dump()) == []


# --- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "null",
        "hello",
        "name: mine",
        "rules: {}",
        "rules: null",
        "rules: [a]",
        "rules: {a: null}",
        "rules: {a: {match: {type: Linear}}}",
        "rules: {a: {init: {}}}",
        "rules: {a: {init: kaiming_normal}}",
        "rules: {a: {init: {weight: 0}, mtach: {}}}",
        "rules: {a: {init: {weight: 0}, match: Linear}}",
        "rules: {a: {init: {weight: 0}, expect: -1}}",
        "rules: {a: {init: {weight: 0}, expect: 1.5}}",
        "rules: {a: {init: {weight: 0}, description: 5}}",
        WHOLE + "colour: red",
        WHOLE + "seed: -1",
        WHOLE + "seed: 1.5",
        WHOLE + "seed: abc",
        WHOLE + "seed: 9223372036854775808",
        WHOLE + "name: 5",
        WHOLE + "vars: {std: abc}",
        WHOLE + "vars: {std: true}",
        WHOLE + "vars: [1]",
        WHOLE + "exclude: {type: Linear}",
        WHOLE + "exclude: [{typ: Linear}]",
        WHOLE + "unmatched: wran",
        WHOLE + "unused: true",
        WHOLE + "frozen: null",
        WHOLE + "gains: 2",
        WHOLE + "nonlinearity: after",
        WHOLE + "fans: torhc",
        WHOLE + "activations: {x: 5}",
        WHOLE + "activations: {x: {slope: 1}}",
        WHOLE + "activations: {x: {name: leaky_relu, slope: steep}}",
        "defaults: he_relu",
        "defaults: [5]",
        "defaults: [sub/he_relu]",
        "defaults: [he_relu]\nrules: {a: {mtach: {}}}",
        *(
            f"rules: {{a: {{init: {{weight: 0}}, match: {match}}}}}"
            for match in (
                "{activaton: relu}",
                "{type: 5}",
                "{type: []}",
                "{type: ['']}",
                "{type: [5]}",
                "{type: null}",
                "{type: Linear, exact: 'yes'}",
                "{where: 5}",
                "{where: ''}",
                "{not: Linear}",
                "{not: {typ: Linear}}",
            )
        ),
    ],
)
def test_refused(text: str) -> None:
    assert mistakes(read(text)) != []


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "''",
        "[1]",
        "true",
        "1 / sqrt(fan_in)",
        "uniform",  # has no defaults
        "constant",
        "blocks",
        "gates",
        "{}",
        "{std: 1}",  # of what?
        "{name: 5}",
        "{name: null}",
        "{name: normal, sdt: 1}",
        "{name: normal, std: -1}",
        "{name: normal, std: [1]}",
        "{name: normal, std: true}",
        "{name: normal, split: 1}",
        "{name: normal, split: gate}",
        "{name: normal, split: 2.5}",
        "{name: normal, split: 2, dim: a}",
        "{name: uniform, a: 0}",
        "{name: glorot_normal, mode: fan_in}",
        "{name: kaiming_normal, mode: fan_avg}",
        "{name: zeros, value: 0}",
        "{name: bernoulli, p: 2}",
        "{name: sparse, sparsity: 1}",
        "{name: keep, std: 1}",
        "{name: inherit, split: 2}",
        "{name: blocks}",
        "{name: blocks, parts: 3}",
        "{name: blocks, parts: [null]}",
        "{name: blocks, parts: [0], split: 2}",
        "{name: gates, f: null}",
        "{name: gates, f: {name: normal, sdt: 1}}",
        "{call: fancy}",
        "{call: a.b, name: normal}",
        "{_target_: os.system}",
        "{_target_: torch.nn.init.normal_, name: normal}",
    ],
)
def test_refused_as_a_spec(text: str) -> None:
    assert mistakes(rule(init={"weight": read(text)})) != []


# --- initializers --------------------------------------------------------------------------------

_ARGUMENTS = [(name, argument) for name, entry in INITIALIZERS.items() for argument in entry.arguments]


def sound(argument: Argument) -> Any:
    """A value that the argument takes."""
    if argument.kind in ("number", "integer", "gain"):
        return 1 if argument.low < 1 < argument.high or (argument.low == 1 and not argument.open_low) else 0.5
    if argument.kind == "choice":
        return argument.choices[-1]
    return {"text": "x", "boolean": True, "mapping": {"a": "b"}, "formula": "u"}[argument.kind]


def whole(name: str) -> dict[str, Any]:
    """A spec with all that has no default."""
    needed = {a.name: sound(a) for a in INITIALIZERS[name].arguments if a.default is REQUIRED}
    return {"name": name, **needed}


def accepts(spec: Any) -> bool:
    return mistakes(rule(init={"weight": spec})) == []


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer_is_known_under_all_its_names(name: str) -> None:
    answers = [name, *(alias for alias, meaning in ALIASES.items() if meaning == name)]
    for answer in answers:
        assert accepts({**whole(name), "name": answer})
        assert not accepts({**whole(name), "name": answer, "no_such_argument": 1})
        assert accepts(answer) == (whole(name) == {"name": name})
        offered = [form.get("const") for form in SCHEMA["definitions"]["InitializerName"]["anyOf"]]
        assert answer in offered


@pytest.mark.parametrize(("name", "argument"), _ARGUMENTS, ids=[f"{name}.{a.name}" for name, a in _ARGUMENTS])
def test_every_argument(name: str, argument: Argument) -> None:
    numeric = argument.kind in ("number", "integer", "gain")
    needed = argument.default is REQUIRED
    spec = whole(name)
    assert accepts({**spec, argument.name: sound(argument)})
    assert accepts({**spec, argument.name: None}) == (not needed)
    assert accepts({**spec, argument.name: "1 / sqrt(fan_in)"}) == (
        argument.kind != "choice" and not _is(argument, "boolean", "mapping")
    )
    assert accepts({**spec, argument.name: "${value}"})
    assert not accepts({**spec, argument.name: [1]})
    assert accepts({**spec, argument.name: True}) == _is(argument, "boolean")
    if numeric and argument.low > float("-inf"):
        assert not accepts({**spec, argument.name: argument.low - 1})
        assert accepts({**spec, argument.name: argument.low}) == (not argument.open_low)
    if numeric and argument.high < float("inf"):
        assert not accepts({**spec, argument.name: argument.high + 1})
        assert accepts({**spec, argument.name: argument.high}) == (not argument.open_high)
    if needed:
        without = {key: value for key, value in spec.items() if key != argument.name}
        assert not accepts(without)
        assert mistakes({"defaults": ["he_relu"], **rule(init={"weight": without})}) == []


def _is(argument: Argument, *kinds: str) -> bool:
    return argument.kind in kinds


# --- help for the reader -------------------------------------------------------------------------


def described() -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, schema) of everything that a user may hover over."""
    definitions = SCHEMA["definitions"]
    yield from (("Policy." + key, value) for key, value in SCHEMA["properties"].items())
    for name, definition in definitions.items():
        if not name.startswith("Whole") and name != "InitializerName":
            yield name, definition
        for key, value in definition.get("properties", {}).items():
            yield f"{name}.{key}", definitions[value["$ref"].rpartition("/")[2]] if "$ref" in value else value


def test_every_key_is_explained() -> None:
    own = {"init.call.call", "init.target._target_", "init.other.name"}  # by the form itself
    unexplained = [where for where, schema in described() if not schema.get("description")]
    assert set(unexplained) == own


def test_explanations_are_markdown_without_noise() -> None:
    text = json.dumps(SCHEMA)
    assert "``" not in text
    assert not [where for where, schema in described() if schema.get("default", 0) in (None, [], {})]
    assert {name for name, value in SCHEMA["definitions"].items() if "title" in value} == {
        f"init.{name}" for name in INITIALIZERS
    }


@pytest.mark.parametrize("noun", [Policy, Rule, Match])
def test_every_field_of_the_models_is_there(noun: type[Policy | Rule | Match]) -> None:
    schema = SCHEMA if noun is Policy else SCHEMA["definitions"][noun.__name__]
    fields = {field.alias or name: field for name, field in noun.model_fields.items()}
    assert set(schema["properties"]) - {"defaults"} == set(fields)
    assert schema["additionalProperties"] is False
    for key, field in fields.items():
        assert field.description is not None
        assert schema["properties"][key]["description"] == field.description.replace("``", "`")


def test_words_are_listed() -> None:
    listed = {
        key: choice["enum"]
        for key, value in SCHEMA["properties"].items()
        for choice in value.get("anyOf", ())
        if "enum" in choice
    }
    assert listed == {
        "unmatched": ["keep", "warn", "error"],
        "unused": ["ignore", "warn", "error"],
        "frozen": ["skip", "init"],
        "gains": ["torch", "exact"],
        "nonlinearity": ["following", "preceding", "theory"],
        "fans": ["module", "torch"],
    }


def test_examples_are_sound() -> None:
    (example,) = SCHEMA["examples"]
    assert mistakes(example) == []
    assert load_policy(example).dump() == load_policy(load_policy(example).dump()).dump()
    for key, value in SCHEMA["properties"].items():
        for one in value.get("examples", ()):
            policy = {**rule(), key: one}
            assert mistakes(policy) == []
            if key != "defaults":
                load_policy(policy)
    for noun in ("Rule", "Match"):
        for key, value in SCHEMA["definitions"][noun]["properties"].items():
            for one in value.get("examples", ()):
                policy = rule(**({key: one} if noun == "Rule" else {"match": {key: one}}))
                assert mistakes(policy) == []
                load_policy(policy)
