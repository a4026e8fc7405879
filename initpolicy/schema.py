"""The JSON Schema of policy files, for editors: made from the models of `policy` and the table of initializers.

    # yaml-language-server: $schema=../schema.json

``python -m initpolicy.schema`` writes it; the shipped one lies beside the presets' folder, as conf/schema.json.
What formulas, regular expressions and interpolations mean is left to `load_policy`, and which initializers there
are to the program, so an unknown name passes here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from initpolicy.files import list_policies
from initpolicy.initializers import ALIASES, INITIALIZERS
from initpolicy.initializers.base import REQUIRED, Argument, Initializer, signature
from initpolicy.policy import NUMERAL, Policy, Spec

__all__ = ["main", "policy_schema"]

Schema = dict[str, Any]

_TOP: Final = "#/definitions/{model}"
_TEXT: Final = {"type": "string", "minLength": 1}
_ACTIVATIONS: Final = ["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "selu", "softmax", "identity"]
_EXAMPLES: Final[Mapping[tuple[str, str], list[Any]]] = {
    ("Policy", "vars"): [{"std": 0.02}],
    ("Policy", "exclude"): [[{"type": "BatchNorm2d"}], [{"name": "^backbone"}]],
    ("Policy", "activations"): [{"^stem$": "relu", "head": {"name": "leaky_relu", "slope": 0.2}}],
    ("Match", "type"): ["Linear", "torch.nn.Linear", ["Linear", "Conv*d"], "*Norm*"],
    ("Match", "name"): ["^head", r"h\.(?P<layer>\d+)\.mlp"],
    ("Match", "activation"): [*_ACTIVATIONS, ["relu", "leaky_relu"]],
    ("Match", "input_activation"): [*_ACTIVATIONS],
    ("Match", "inside"): ["MultiheadAttention"],
    ("Match", "where"): ["fan_in >= 1024 and ndim == 2"],
    ("Rule", "init"): [{"weight": "kaiming_normal", "bias": 0}],
    ("Rule", "expect"): [12, "2 * n_layer"],
}
_EXAMPLE: Final = {
    "name": "mine",
    "rules": {
        "linear_like": {"match": {"type": ["Linear", "Conv*d"]}, "init": {"weight": "xavier_normal", "bias": 0}},
        "rectified": {
            "match": {"activation": "relu"},
            "init": {"weight": {"name": "kaiming_normal", "mode": "fan_in"}},
        },
    },
}


def policy_schema() -> Schema:
    """The schema, in draft 7, which is what editors know best."""
    made = Policy.model_json_schema(ref_template=_TOP)
    nouns = {"Policy": made, **made.pop("$defs")}
    for name, noun in nouns.items():
        for key, value in noun["properties"].items():
            examples = {"examples": _EXAMPLES[name, key]} if (name, key) in _EXAMPLES else {}
            noun["properties"][key] = _open({**value, **examples})
    nouns["Rule"].pop("required")
    nouns["Declared"] = _declared(nouns["Declared"])
    policy = _tidy(nouns.pop("Policy"))
    definitions = {**_tidy(nouns), **_specs(), "Interpolation": _INTERPOLATION, "Formula": _FORMULA}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "initpolicy",
        "description": policy["description"],
        "type": "object",
        "properties": {"defaults": _defaults(), **policy["properties"]},
        "additionalProperties": False,
        # What a policy extends may hold what is missing here.
        "if": {"required": ["defaults"]},
        "else": {"required": ["rules"], "properties": {"rules": {"additionalProperties": _ref("WholeRule")}}},
        "examples": [_EXAMPLE],
        "definitions": dict(sorted(definitions.items())),
    }


def main() -> None:
    """Writes the schema to standard output."""
    sys.stdout.write(json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n")


# --- from the models -----------------------------------------------------------------------------

_INTERPOLATION: Final = {"type": "string", "pattern": r"\$\{", "description": "OmegaConf's, as in `${seed}`."}
_FORMULA: Final = {
    "type": "string",
    "minLength": 1,
    "description": "A formula: arithmetic, comparisons, sqrt log exp min max abs floor ceil, pi, e, the policy's "
    "`vars`, facts (fan_in fan_out fan_avg numel ndim shape groups kernel gain), the module's numbers (hidden_size …).",
    "examples": ["0.02 / sqrt(2 * n_layer)", "1 / sqrt(fan_in)"],
}


def _ref(name: str) -> Schema:
    return {"$ref": _TOP.format(model=name)}


def _either(*schemas: Mapping[str, Any], **about: Any) -> Schema:
    return {"anyOf": [dict(schema) for schema in schemas], **about}


def _open(schema: Schema) -> Schema:
    """The same or an interpolation, of which only loading knows what it gives."""
    about = {key: value for key, value in schema.items() if key in ("description", "default", "examples")}
    rest = {key: value for key, value in schema.items() if key not in about and key != "title"}
    if rest == {"type": "string"}:
        return {**rest, **about}
    choices = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    return _either(*choices, _ref("Interpolation"), **about)


def _tidy(schema: Any) -> Any:
    """Without titles that repeat the key and defaults that say nothing; docstrings' markup as Markdown's."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    noise = {"title"} | (
        {"default"} if isinstance(schema.get("default", ()), (dict, list, tuple, type(None))) else set()
    )
    tidy = {key: _tidy(value) for key, value in schema.items() if key not in noise}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = tidy["description"].replace("``", "`")
    return tidy


def _declared(mapping: Schema) -> Schema:
    """An activation's name, or its name and arguments side by side."""
    number = _either({"type": "number"}, _ref("Interpolation"))
    mapping = {**mapping, "additionalProperties": number, "properties": {"name": mapping["properties"]["name"]}}
    about = mapping.pop("description")
    return _either({**_TEXT, "examples": _ACTIVATIONS}, mapping, description=about)


def _defaults() -> Schema:
    """Hydra's list, as far as files in one group go."""
    entry = _either({"enum": ["_self_", *list_policies()]}, {"type": "string", "pattern": r"^[^/\\@:$ ]+$"})
    return {
        "type": "array",
        "items": entry,
        "description": "Policies that this one extends, presets or files beside it, in order; `_self_` is this file.",
        "examples": [["he_relu", "_self_"]],
    }


# --- from the initializers -----------------------------------------------------------------------

_WORDS: Final = {
    "keep": "Leave it as it is, on purpose.",
    "inherit": "What the same parameter of the weighted layer before it gets.",
    "blocks": "Each of several equal blocks by its own spec: `{name: blocks, parts: [orthogonal, zeros]}`.",
    "gates": "Each gate of an RNN by its own spec: `{name: gates, i: 0, f: 1, g: 0, o: 0}`.",
}
_NAMED: Final = {"anyOf": [{"required": [key]} for key in ("name", "call", "_target_")]}
_OPEN: Final[Mapping[str, Schema]] = {
    "other": {
        "description": "An initializer that the program adds.",
        "required": ["name"],
    },
    "call": {
        "description": "A Python function of (tensor, **arguments), if the program trusts its package.",
        "properties": {"call": {"type": "string", "pattern": r"^[^\W\d]\w*(\.[^\W\d]\w*)+$"}},
        "required": ["call"],
        "not": {"required": ["name"]},
    },
    "target": {
        "description": "Hydra's form, of torch.nn.init's functions only; nothing is called.",
        "properties": {"_target_": {"type": "string", "pattern": r"^torch\.nn\.init\.\w+$"}},
        "required": ["_target_"],
        "not": {"anyOf": [{"required": ["name"]}, {"required": ["call"]}]},
    },
    "partial": {
        "description": "Arguments for the initializer that an extended policy names.",
        "not": _NAMED,
        "minProperties": 1,
    },
}
"""Forms whose further keys are not known here."""
_SPEC: Final = "Which initializer: its name, a number (that constant), or a mapping of its name and arguments."


def _specs() -> Schema:
    """Definitions of a spec in all its forms, and of what is complete in itself, with nothing left to a parent."""
    own = Spec.model_json_schema(ref_template=_TOP)["$defs"]["Spec"]["properties"]
    fields = {key: _tidy(_open(own[key])) for key in ("split", "dim", "layout", "parts")}
    cut = {key: _ref(key) for key in ("split", "dim", "layout")}
    known = {name: _answers(name) for name in INITIALIZERS}
    names = [name for answers in known.values() for name in answers] + list(_WORDS)
    mapping = [_ref(f"init.{name}") for name in (*INITIALIZERS, *_WORDS, *_OPEN)]
    forms = {f"init.{name}": _mapping(entry, known[name], cut) for name, entry in INITIALIZERS.items()}
    forms |= {f"init.{name}": _word(name, doc) for name, doc in _WORDS.items()}
    forms |= {f"init.{name}": {**_OPEN[name], "type": "object"} for name in _OPEN}
    forms["init.other"]["properties"] = {"name": {**_TEXT, "not": {"enum": names}}, **cut}
    for name in ("call", "target"):
        forms[f"init.{name}"]["properties"] = {**_OPEN[name]["properties"], **cut}
    forms |= {key: fields[key] for key in (*cut, "parts")}
    forms["arguments"] = {"type": "object", "description": "The arguments, apart from the spec's own keys."}
    forms["InitializerName"] = _either(
        *({"const": name, "description": doc} for name, doc in _documented(known)),
        {**_TEXT, "pattern": rf"^[^\W\d][\w.-]*$|\$\{{|{NUMERAL}"},
    )
    forms["Spec"] = _either({"type": "number"}, _ref("InitializerName"), *mapping, description=_SPEC)
    forms["WholeSpec"] = _whole_spec(known)
    forms["WholeRule"] = {
        "if": {"type": "object"},
        "then": {"required": ["init"], "properties": {"init": {"additionalProperties": _ref("WholeSpec")}}},
    }
    return forms


def _answers(name: str) -> list[str]:
    """Every name that an initializer answers to."""
    torch = [f"torch.nn.init.{name}_"] if f"{name}_" in ALIASES else []
    return [name, *(alias for alias, meaning in ALIASES.items() if meaning == name), *torch]


def _documented(known: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """(name, what it does) of all that may stand for a spec by itself; torch's own spelling last."""
    bare = [(name, _doc(INITIALIZERS[name])) for name in known]
    aliases = [(alias, f"The same as {name}.") for name, answers in known.items() for alias in answers[1:]]
    return [*bare, *((word, _WORDS[word]) for word in ("keep", "inherit")), *aliases]


def _doc(entry: Initializer) -> str:
    return entry.doc.replace("``", "`")


def _mapping(entry: Initializer, answers: list[str], cut: Schema) -> Schema:
    return {
        "title": signature(entry),
        "description": _doc(entry),
        "type": "object",
        "properties": {
            "name": {"enum": answers, "description": f"{signature(entry)}: {_doc(entry)}"},
            **{argument.name: _argument(argument) for argument in entry.arguments},
            **cut,
            "arguments": _ref("arguments"),
        },
        "required": ["name"],
        "additionalProperties": {"type": "null", "description": "Takes back an argument of the policy it extends."},
    }


def _argument(argument: Argument) -> Schema:
    about: Schema = {"description": argument.doc}
    if argument.default is not REQUIRED and argument.default is not None:
        about["default"] = argument.default
    limits: Schema = {}
    if argument.low > float("-inf"):
        limits["exclusiveMinimum" if argument.open_low else "minimum"] = argument.low
    if argument.high < float("inf"):
        limits["exclusiveMaximum" if argument.open_high else "maximum"] = argument.high
    match argument.kind:
        case "number" | "integer":
            forms = [{"type": argument.kind, **limits}, _ref("Formula")]
        case "gain":
            forms = [{"type": "number", **limits}, {"const": "auto"}, _ref("Formula")]
        case "formula":
            forms = [_ref("Formula"), {"type": "number"}]
        case "choice":
            forms = [{"enum": list(argument.choices)}, _ref("Interpolation")]
        case "boolean":
            forms = [{"type": "boolean"}, _ref("Interpolation")]
        case "mapping":
            forms = [{"type": "object"}, _ref("Interpolation")]
        case "text":
            forms = [dict(_TEXT)]
    return _either(*forms, *([] if argument.default is REQUIRED else [{"type": "null"}]), **about)


def _word(name: str, doc: str) -> Schema:
    """A spec that says where others go."""
    own = {"blocks": ("parts", "dim", "layout"), "gates": ("layout",)}.get(name, ())
    return {
        "description": doc,
        "type": "object",
        "properties": {"name": {"const": name, "description": doc}, **{key: _ref(key) for key in own}},
        "required": ["name"],
        "additionalProperties": _ref("Spec") if name == "gates" else False,
    }


def _whole_spec(known: Mapping[str, list[str]]) -> Schema:
    """A name, and every argument that has no default."""
    required = {name: [a.name for a in INITIALIZERS[name].arguments if a.default is REQUIRED] for name in known}
    required["blocks"] = ["parts"]
    bare = [answer for name, needed in required.items() if needed for answer in known.get(name, [name])]
    cases = [
        {
            "if": {"properties": {"name": {"enum": known.get(name, [name])}}, "required": ["name"]},
            "then": _either({"required": needed}, {"required": ["arguments"]}),
        }
        for name, needed in required.items()
        if needed
    ]
    return {
        "not": {"enum": [*bare, "gates"]},
        "if": {"type": "object"},
        "then": {**_NAMED, "allOf": cases},
    }


if __name__ == "__main__":
    main()
