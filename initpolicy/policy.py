"""The nouns a user writes: Policy, Rule, Match, Spec. Reading them checks them; nothing here knows a model."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from initpolicy.errors import meant, shown
from initpolicy.formula import FUNCTIONS, FormulaError, parse

__all__ = ["FACTS", "NUMERAL", "Declared", "Match", "Policy", "Rule", "Spec"]

FACTS = (
    "e",
    "fan_avg",
    "fan_in",
    "fan_out",
    "gain",
    "groups",
    "kernel",
    "ndim",
    "numel",
    "pi",
    "shape",
    "weight_fan_in",
    "weight_fan_out",
)
"""Names that formulas already know; a variable or a regex group may not hide them."""


def _parsed(text: str) -> int | float | None:
    """The number that a text spells: YAML 1.1 and the command line give ``1e-5`` as text. None: it spells none."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _number(value: object) -> int | float:
    """A finite number, or a text that spells one."""
    number = _parsed(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"must be a number, not {shown(value)}")
    try:
        finite = math.isfinite(number)
    except OverflowError:
        raise ValueError("is too large for a number") from None
    if not finite:
        raise ValueError(f"must be finite, not {number}")
    return number


def _whole(value: object, low: int, high: int, wanted: str) -> int:
    """A whole number within its limits, or a text that spells one."""
    number = _parsed(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ValueError(f"must be {wanted}, not {shown(value)}")
    return number


def _names(value: object) -> tuple[str, ...]:
    """One name or a list of names, as a tuple."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)):
        raise ValueError(f"must be a name or a list of names, not {shown(value)}")
    if not names:
        raise ValueError("is an empty list, which nothing can match; leave the key out to match all")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"must hold names, not {shown(name)}")
        if not name.strip():
            raise ValueError("must hold names, not an empty one")
    return tuple(names)


def _stripped(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for name in names)


def _regex(text: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a later Python may read otherwise
            groups = re.compile(text).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise ValueError(f"{shown(text)} is not a regular expression: {why}") from None
    for group in groups:
        if why := _unfit(group):
            raise ValueError(f"group {group!r} {why}")
    return text


def _unfit(name: str) -> str:
    """Why formulas cannot have a variable of this name, or nothing."""
    if name in FACTS or name in FUNCTIONS:
        return f"hides the {'fact' if name in FACTS else 'function'} of that name; name it otherwise"
    try:
        readable = parse(name).names == {name}
    except FormulaError:
        readable = False
    return "" if readable else "cannot be used in a formula; take letters, digits and underscores"


def _variable(name: str) -> str:
    if why := _unfit(name):
        raise ValueError(why)
    return name


def _named_rule(name: str) -> str:
    if not name.strip():
        raise ValueError("is no name for a rule")
    return name


def _pattern(text: str) -> str:
    if not text.strip():
        raise ValueError("is the name of no parameter; write * for all")
    return text


def _formula(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a formula in quotes, not {shown(value)}")
    try:
        parse(value)
    except FormulaError as error:
        raise ValueError(str(error)) from None
    return value


def _amount(value: object) -> int | str:
    """A whole number of parameters, or a formula for one."""
    if isinstance(value, str):
        return _formula(value)
    return _whole(value, 0, 2**63 - 1, "a whole number or a formula")


def _or_none(read: Callable[[object], object]) -> Callable[[object], object]:
    """Null is as good as leaving the key out, so that a child policy or the command line can take a value back."""
    return lambda value: None if value is None else read(value)


def _seed(value: object) -> int:
    return _whole(value, 0, 2**63 - 1, "a whole number from 0 to 2**63 - 1, or null")


def _blocks(value: object) -> int | str:
    return "gates" if value == "gates" else _whole(value, 2, _MOST, f"'gates' or a number of blocks from 2 to {_MOST}")


def _axis(value: object) -> int:
    return _whole(value, -_MOST, _MOST, "the whole number of an axis")


_MOST = 1_000_000
"""Blocks that a parameter may be cut into."""


NUMERAL = r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?$"
"""A number in quotes, for the schema."""
_TEXT = {"type": "string", "minLength": 1}
_ONE_OR_MORE = WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]})
_SPELT = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": rf"{NUMERAL}|\$\{{"}]})
_AMOUNT = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _TEXT, {"type": "null"}]})

Number = Annotated[int | float, BeforeValidator(_number), _SPELT]
Names = Annotated[tuple[str, ...], AfterValidator(_stripped), BeforeValidator(_names), _ONE_OR_MORE]
Regex = Annotated[str, AfterValidator(_regex)]
Variable = Annotated[str, AfterValidator(_variable)]
RuleName = Annotated[str, AfterValidator(_named_rule)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Regexes = Annotated[tuple[Regex, ...], BeforeValidator(_names), _ONE_OR_MORE]
Formula = Annotated[str, BeforeValidator(_formula), WithJsonSchema(_TEXT)]
Amount = Annotated[int | str | None, BeforeValidator(_or_none(_amount)), _AMOUNT]
Flag = Annotated[bool, Strict()]


class _Noun(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True, ser_json_inf_nan="constants"
    )


class Match(_Noun):
    """Which parameters: every key given must hold; a list means any of. An empty match holds for all."""

    type: Names = ()
    """A class in the owner's method resolution order: ``Linear``, ``torch.nn.Linear``, a glob ``"*Norm*"``."""
    exact: Flag = False
    """``type`` means the class itself, not its descendants."""
    name: Regexes = ()
    """Regular expression searched in the owner's qualified name; named groups that capture digits become variables."""
    activation: Names = ()
    """The activation that follows the parameter: a canonical name, or a class name of your own."""
    input_activation: Names = ()
    """The activation that precedes it."""
    inside: Names = ()
    """Some ancestor module has this type."""
    where: Formula | None = None
    """A formula over the parameter's facts that is true: ``fan_in >= 1024 and ndim == 2``."""
    not_: Match | None = Field(default=None, alias="not")
    """A match that must not hold."""

    @model_validator(mode="after")
    def _whole(self) -> Match:
        if self.exact and not self.type:
            raise ValueError("'exact' says how 'type' is meant, and there is none; add 'type'")
        return self


_OWN = ("call", "split", "dim", "layout")
_RESERVED = frozenset({"_target_", "arguments", "name", *_OWN})
"""Keys of a spec that are no arguments; ``arguments`` holds those of such names."""
_WORDS: Mapping[str, tuple[str, ...]] = {
    "keep": (),
    "inherit": (),
    "blocks": ("parts", "dim", "layout"),
    "gates": ("layout",),
}
"""Specs that are no initializers -> what they take."""
_HYDRA = frozenset({"_convert_", "_partial_", "_recursive_"})
"""How Hydra is to call a ``_target_``; nothing is called here."""


class Spec(_Noun):
    """Which initializer, with which arguments, over which blocks.

    Written as a name, a number (that constant), or a mapping; ``name: blocks`` and ``name: gates`` hold specs.
    """

    name: str = ""
    """An initializer's name, ``keep``, ``inherit``, ``blocks`` or ``gates``; empty where ``call`` is given."""
    call: str = ""
    """``package.module.function_``: a Python function of (tensor, **arguments), if the program trusts its package."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Everything else: numbers may be formulas in strings."""
    split: Annotated[
        Annotated[int, Field(ge=2, le=_MOST)] | Literal["gates"] | None, BeforeValidator(_or_none(_blocks))
    ] = None
    """Equal blocks along ``dim``, each initialized by itself: a number, or ``gates`` for an RNN's."""
    dim: Annotated[int, BeforeValidator(_axis)] = 0
    """The axis that ``split`` and ``blocks`` cut."""
    layout: str = ""
    """What each axis of the stored weight means (``in out``, ``stack out in``), where the module does not say."""
    parts: tuple[Spec, ...] = ()
    """``blocks``: one spec for each equal part."""
    gates: dict[str, Spec] = Field(default_factory=dict)
    """``gates``: a spec by gate name."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, str) and value.strip():
            return _named(value.strip())
        if isinstance(value, Mapping):
            return _sorted_out(value)
        if value is None or isinstance(value, str):
            raise ValueError("is empty; write an initializer's name, a number, a mapping, or keep")
        if isinstance(value, (bool, list, tuple)):
            raise ValueError(f"must be an initializer's name, a number or a mapping, not {shown(value)}")
        return {"name": "constant", "arguments": {"value": _number(value)}}

    @field_validator("call")
    @classmethod
    def _call(cls, value: str) -> str:
        package, *rest = value.split(".")
        if value and not (rest and all(part.isidentifier() for part in (package, *rest))):
            raise ValueError(f"must be a function's path, as in my_package.module.function_, not {shown(value)}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        if self.name and self.call:
            raise ValueError("has both 'name' and 'call'; keep one")
        if not self.name and not self.call:
            raise ValueError("has no 'name'; write which initializer, or 'call' for a function of your own")
        takes = _WORDS.get(self.name)
        if takes is not None:
            for key in (*(key for key in ("split", "dim", "layout") if getattr(self, key)), *self.arguments):
                if key not in takes:
                    raise ValueError(f"{self.name} takes {_listed(takes)}, not {key!r}{meant(key, takes)}")
        if self.name == "blocks" and not self.parts:
            raise ValueError("blocks needs 'parts', a list of specs, one for each block")
        if self.name == "gates" and not self.gates:
            raise ValueError("gates needs a spec by gate name: {name: gates, f: 1, i: 0, g: 0, o: 0}")
        if self.dim and takes is None and not isinstance(self.split, int):
            raise ValueError("'dim' says which axis a number of blocks is cut along, and 'split' gives none")
        for key, value in self.arguments.items():
            if not _finite(value, infinite=bool(self.call)):
                raise ValueError(f"{key!r} must be finite")
        return self

    @model_serializer(mode="plain")
    def _write(self) -> Any:
        """The shortest form that reads back as this spec."""
        own = {"name": self.name, "call": self.call, "split": self.split, "dim": self.dim, "layout": self.layout}
        plain: dict[str, Any] = {key: item for key, item in own.items() if item}
        if self.parts:
            plain["parts"] = [part._write() for part in self.parts]
        plain |= {gate: spec._write() for gate, spec in self.gates.items()}
        if _RESERVED & self.arguments.keys():
            plain["arguments"] = self.arguments
        else:
            plain |= self.arguments
        if plain.keys() == {"name"}:
            return self.name
        bare = self.name == "constant" and plain.keys() == {"name", "value"} and _is_number(plain["value"])
        return plain["value"] if bare else plain


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _finite(value: object, *, infinite: bool) -> bool:
    """Whether all numbers in it are; a user's function may be given infinity, and nothing may be given NaN."""
    if isinstance(value, (Mapping, list)):
        items = value.values() if isinstance(value, Mapping) else value
        return all(_finite(item, infinite=infinite) for item in items)
    return not isinstance(value, float) or math.isfinite(value) or (infinite and not math.isnan(value))


def _listed(words: tuple[str, ...]) -> str:
    *others, last = words or ("nothing else",)
    return f"{', '.join(others)} and {last}" if others else last


def _named(text: str) -> dict[str, Any]:
    """A spec written as a word; a word that reads as a number is that number."""
    if re.fullmatch(r"[+-]?\.(inf|nan)", text, re.IGNORECASE):
        raise ValueError(f"must be finite, not {text}")
    if _parsed(text) is not None:
        return {"name": "constant", "arguments": {"value": _number(text)}}
    return {"name": _initializer_name(text)}


def _initializer_name(text: str) -> str:
    """``torch.nn.init.X_`` is the initializer X."""
    name = text.strip()
    if name.startswith(_TORCH):
        name = name.removeprefix(_TORCH).removesuffix("_")
    if (name and not re.fullmatch(r"[^\W\d][\w.-]*", name)) or _parsed(name) is not None:
        raise ValueError(f"{shown(text)} is no initializer's name; a formula goes into {{name: constant, value: …}}")
    return name


_TORCH = "torch.nn.init."


def _sorted_out(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping's own keys apart from its initializer's arguments."""
    raw = dict(mapping)
    name = raw.pop("name", "")
    if not isinstance(name, str):
        raise ValueError(f"'name' must be an initializer's name, not {shown(name)}")
    if raw.get("_target_") is not None:
        if name or "call" in raw:
            raise ValueError("has '_target_' beside 'name' or 'call'; keep one")
        name = _target(raw)
    given = raw.pop("arguments", {})
    if not isinstance(given, Mapping):
        raise ValueError(f"'arguments' must be a mapping, not {shown(given)}")
    name = _initializer_name(name)
    own = {key: raw.pop(key) for key in _OWN if key in raw}
    if name == "blocks" and "parts" in raw:
        own["parts"] = raw.pop("parts")
    if name == "gates":
        # The field itself is what a keyword call gives; a policy writes the gates beside the name.
        own["gates"], raw = raw["gates"] if isinstance(raw.get("gates"), Mapping) else raw, {}
    for key in given.keys() & raw.keys():
        raise ValueError(f"{key!r} is given twice, beside 'arguments' and in it; keep one")
    return {**own, "name": name, "arguments": {**raw, **given}}


def _target(raw: dict[Any, Any]) -> str:
    """The initializer that a ``_target_`` of Hydra's names, taken out with all that says how to call it."""
    target = raw.pop("_target_")
    if not isinstance(target, str) or not target.startswith(_TORCH):
        raise ValueError(
            f"_target_ {shown(target)}: only torch.nn.init functions are read as initializers; "
            "for a function of your own write 'call' and trust its package in the program"
        )
    if "_args_" in raw:
        raise ValueError("'_args_' gives arguments without their names; write each with its name")
    for key in _HYDRA & raw.keys():
        del raw[key]
    return target


class Rule(_Noun):
    """Who gets what: the parameters that ``match`` names get, by local name, the initializers of ``init``."""

    description: str = ""
    """What the rule is for, for readers."""
    match: Match = Match()
    """Which modules; everything where it is left out."""
    init: Annotated[dict[Pattern, Spec], Field(min_length=1)]
    """Pattern of local parameter names -> spec; the last pattern that fits wins."""
    expect: Amount = None
    """How many parameters the rule must claim: a whole number, or a formula such as ``2 * n_layer``."""
    unused: Literal["ignore", "warn", "error"] | None = None
    """If the rule claims nothing; left out: what the policy's ``unused`` says."""


class Declared(_Noun):
    """An activation stated by the user, by name or as a mapping of its name and arguments."""

    name: str
    """A canonical name such as ``relu``, or a class name of your own."""
    arguments: dict[str, Number] = Field(default_factory=dict)
    """What the activation depends on, as a leaky_relu on its ``slope``."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        if isinstance(value, str) and value.strip():
            return {"name": value.strip()}
        if not isinstance(value, Mapping):
            raise ValueError(f"must be an activation's name, or a mapping with 'name', not {shown(value)}")
        name = value.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ValueError("has no 'name'; write which activation")
        given = value.get("arguments", {})
        if not isinstance(given, Mapping):
            raise ValueError(f"'arguments' must be a mapping, not {shown(given)}")
        rest = {key: item for key, item in value.items() if key not in ("name", "arguments")}
        return {"name": name.strip(), "arguments": {**given, **rest}}

    @model_serializer(mode="plain")
    def _write(self) -> Any:
        return {"name": self.name, **self.arguments} if self.arguments else self.name


class Policy(_Noun):
    """A whole initialization, as data. Only ``rules`` is required."""

    name: str = "policy"
    """How errors and audits call it; a file's stem where it is left out."""
    description: str = ""
    """One sentence for whoever chooses between policies."""
    seed: Annotated[Annotated[int, Field(ge=0, lt=2**63)] | None, BeforeValidator(_or_none(_seed))] = None
    """The one number all values follow from; null draws one from torch's global generator and records it."""
    vars: dict[Variable, Number] = Field(default_factory=dict)
    """Names for formulas, set from the command line: ``init.vars.std=0.01``."""
    rules: Annotated[dict[RuleName, Rule], Field(min_length=1)]
    """Rule name -> rule, in order. The last rule that claims a parameter wins."""
    exclude: tuple[Match, ...] = ()
    """What no rule may touch, descendants included; beats everything."""
    unmatched: Literal["keep", "warn", "error"] = "warn"
    """For parameters that no rule claims."""
    unused: Literal["ignore", "warn", "error"] = "error"
    """For rules that claim nothing."""
    frozen: Literal["skip", "init"] = "skip"
    """For parameters that do not require gradients."""
    gains: Literal["torch", "exact"] = "torch"
    """``torch``: calculate_gain's value where it has one, the exact one elsewhere. ``exact``: 1/sqrt(E[f(z)^2])."""
    nonlinearity: Literal["following", "preceding", "theory"] = "following"
    """Whose gain a law takes that names none; ``theory``: preceding for fan_in, following for fan_out."""
    fans: Literal["module", "torch"] = "module"
    """``module``: fans from what the module does. ``torch``: torch.nn.init's own numbers, for parity."""
    activations: dict[Regex, Declared] = Field(default_factory=dict)
    """Regular expression on a module's name -> the activation that follows it, where you know better."""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; leave it out or write a name")
        return value

    @field_validator("exclude", mode="before")
    @classmethod
    def _exclude(cls, value: object) -> object:
        if isinstance(value, Mapping):
            raise ValueError("must be a list of matches, not a mapping; put a dash before it")
        return value

    def dump(self) -> dict[str, Any]:
        """This policy as plain YAML data; ``load_policy(policy.dump()) == policy``."""
        return {"name": self.name, **self.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
