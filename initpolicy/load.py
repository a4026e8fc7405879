"""A preset's name, a path, a mapping or a DictConfig -> Policy; every mistake collected before one is raised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from initpolicy.errors import PolicyError, Problem, meant, shown
from initpolicy.files import composed, file_of, first_line, is_preset, stamps
from initpolicy.places import DEPTH, VALUES, Place, spelt
from initpolicy.policy import Match, Policy, Rule

__all__ = ["load_policy"]


def load_policy(source: str | os.PathLike[str] | Mapping[str, Any] | DictConfig | Policy) -> Policy:
    """Read a policy.

    ``source`` is the name of a shipped preset (``"he_relu"``), the path of a YAML file (whose ``defaults``
    list may name presets and files beside it), a mapping, or a ``DictConfig`` such as Hydra's ``cfg.init``.

    Raises:
        PolicyError: with every mistake in it, each at its place.
    """
    if isinstance(source, Policy):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = file_of(source)
        if is_preset(path):
            return _preset(path, stamps()).model_copy(deep=True)
        return _loaded(path)
    if isinstance(source, (Mapping, DictConfig)):
        return _validated(source, "policy", "")
    given = "nothing" if source is None else type(source).__name__
    raise PolicyError(Problem("policy", "", f"must be a preset's name, a path, a mapping or a DictConfig, not {given}"))


@lru_cache(maxsize=256)
def _preset(path: Path, stamps: tuple[tuple[str, int, int], ...]) -> Policy:
    """A preset, read once for as long as no file changes."""
    return _loaded(path)


def _loaded(path: Path) -> Policy:
    return _validated(composed(path), path.stem, path.stem)


# --- plain data ----------------------------------------------------------------------------------


class _TooMuch(Exception):
    """More values than a policy may hold."""


class _Unread:
    """Stands where a value could not be read, so that the rest is checked all the same."""


_UNREAD = _Unread()


class _Reading:
    """Plain data from mappings and configs, interpolations resolved; problems are collected on the way."""

    def __init__(self) -> None:
        self.problems: list[tuple[Place, str]] = []
        self._count = 0

    def read(self, value: object, place: Place = ()) -> Any:
        """Dictionaries, lists and scalars; ``_UNREAD`` where there is a problem."""
        self._count += 1
        if self._count > VALUES:
            raise _TooMuch
        nested = isinstance(value, (Mapping, list, tuple, DictConfig, ListConfig))
        if nested and len(place) > DEPTH:
            return self._problem(place, f"is nested more than {DEPTH} deep")
        if isinstance(value, (DictConfig, ListConfig)):
            return self._config(value, place)
        if isinstance(value, Mapping):
            return {key: self.read(item, (*place, key)) for key, item in value.items() if self._key(key, place)}
        if isinstance(value, (list, tuple)):
            return [self.read(item, (*place, index)) for index, item in enumerate(value)]
        return self._scalar(value, place)

    def _config(self, config: DictConfig | ListConfig, place: Place) -> Any:
        keys = list(config) if isinstance(config, DictConfig) else range(len(config))
        items = {key: self._item(config, key, (*place, key)) for key in keys if self._key(key, place, config)}
        return items if isinstance(config, DictConfig) else list(items.values())

    def _item(self, config: DictConfig | ListConfig, key: Any, place: Place) -> Any:
        """One value of a config, with its interpolations resolved."""
        try:
            return self.read(config[key], place)
        except (OmegaConfBaseException, RecursionError) as error:
            if OmegaConf.is_missing(config, key):
                return self._problem(place, _MISSING)
            raw: Any = OmegaConf.to_container(config, resolve=False)
            why = "it leads back to itself" if isinstance(error, RecursionError) else first_line(error)
            return self._problem(place, f"{shown(raw[key])} cannot be resolved: {why}")

    def _key(self, key: object, place: Place, config: object = None) -> bool:
        if isinstance(config, ListConfig) or (isinstance(key, str) and _encodes(key)):
            return True
        if isinstance(key, str):
            self._problem((*place, key), _SURROGATE)
            return False
        words = " (YAML reads on, off, yes and no as true and false)" if isinstance(key, bool) else ""
        self._problem((*place, key), f"a key must be text; put it in quotes{words}")
        return False

    def _scalar(self, value: object, place: Place) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):
            return self._text(value, place)
        if value is None or isinstance(value, (bool, int, float, _Unread)):
            return value
        return self._problem(place, f"is a {type(value).__name__}, which no YAML holds")

    def _text(self, value: str, place: Place) -> Any:
        if value == "???":
            return self._problem(place, _MISSING)
        if "${" in value:
            return self._problem(place, f"{shown(value)} is not resolved; pass the DictConfig, which can resolve it")
        return value if _encodes(value) else self._problem(place, _SURROGATE)

    def _problem(self, place: Place, why: str) -> _Unread:
        self.problems.append((place, why))
        return _UNREAD


_MISSING = "is '???', which stands for a value that must be given"
_SURROGATE = "holds half of a surrogate pair, which is no text"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- checking ------------------------------------------------------------------------------------


def _validated(source: Mapping[str, Any] | DictConfig, name: str, file: str) -> Policy:
    """The policy, called ``name`` if it says nothing else, or all that is wrong with it, in the order of the source."""
    if _is_whole(source):
        raise PolicyError(Problem(name, "", "has no rules but an 'init' that has; pass cfg.init, not cfg"))
    reading = _Reading()
    try:
        raw = reading.read(source)
    except _TooMuch:
        raise PolicyError(Problem(name, "", f"holds more than {VALUES} values")) from None
    found = reading.problems
    own = raw.get("name") if isinstance(raw, dict) else None
    called = file or (own if isinstance(own, str) and own.strip() else name)
    if isinstance(raw, dict):
        try:
            policy = Policy.model_validate({**raw, "name": name if own is None else own})
            if not found:
                return policy
        except ValidationError as error:
            found += _findings(error, raw, [place for place, _ in found])
    positions = _Positions(raw)
    ordered = sorted(found, key=lambda problem: positions.of(problem[0]))
    raise PolicyError(*dict.fromkeys(Problem(called, spelt(place), why) for place, why in ordered))


def _is_whole(source: Mapping[str, Any] | DictConfig) -> bool:
    """Whether this is a program's whole configuration, with the policy under ``init``."""
    try:
        keys = list(source)
        inner = source["init"] if "init" in keys and "rules" not in keys else None
        return isinstance(inner, Mapping) and "rules" in list(inner)
    except (OmegaConfBaseException, TypeError):
        return False


def _findings(error: ValidationError, raw: Mapping[str, Any], unread: list[Place]) -> list[tuple[Place, str]]:
    """pydantic's findings, without those that a value which could not be read has caused."""
    found = []
    for detail in error.errors(include_url=False):
        place = _place(detail, raw)
        if not any(hole[: len(place)] == place for hole in unread):
            found.append((place, _say(detail, place)))
    return found


class _Positions:
    """Where a place stands in the source, to sort by; what is missing comes after what is there."""

    def __init__(self, raw: object) -> None:
        self._raw = raw
        self._orders: dict[int, dict[Any, int]] = {}

    def of(self, place: Place) -> tuple[int, ...]:
        here, position = self._raw, []
        for part in place:
            if isinstance(here, dict):
                order = self._orders.setdefault(id(here), {key: index for index, key in enumerate(here)})
                position.append(order.get(part, len(order)))
                here = here.get(part)
            else:
                position.append(part if isinstance(part, int) else 0)
                here = here[part] if isinstance(here, list) and isinstance(part, int) else None
        return tuple(position)


# --- pydantic's findings, in our words -----------------------------------------------------------


def _place(detail: ErrorDetails, raw: object) -> Place:
    """Where a finding is in the source: without the branches of unions and the fields that reading made."""
    here, place = raw, []
    for index, part in enumerate(detail["loc"]):
        last = index == len(detail["loc"]) - 1
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int)
        if inside or (last and detail["type"] == "missing"):
            place.append(part)
            here = here[part] if inside else None  # type: ignore[index]  # a dict or a list
    return tuple(place)


def _say(detail: ErrorDetails, place: Place) -> str:
    """The sentence of one finding."""
    kind, value = detail["type"], detail["input"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return f"unknown key{_hint(place, value)}"
        case "missing":
            return f"is required: {_wanted(place)}"
        case "too_short":
            return f"is empty; write {_wanted(place)}"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            words = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            near = meant(value, words) if isinstance(value, str) else ""
            return f"must be one of {', '.join(words)}, not {shown(value)}{near}"
        case "string_type":
            return f"must be text, not {shown(value)}"
        case "bool_type":
            return f"must be true or false, not {shown(value)}"
        case "dict_type" | "model_type" | "tuple_type":
            return f"must be {_wanted(place)}, not {shown(value)}"
    return detail["msg"]


def _wanted(place: Place) -> str:
    """What belongs at a place that holds more than one value."""
    match place:
        case ("rules",):
            return "a mapping of rule names to rules"
        case ("rules", _):
            return "a mapping with 'match' and 'init'"
        case ("rules", _, "init"):
            return "a mapping such as {weight: kaiming_normal, bias: 0}"
        case ("rules", _, "init", *_, "parts"):
            return "a list of specs"
        case ("vars",):
            return "a mapping of names to numbers"
        case ("activations",):
            return "a mapping of regular expressions to activations"
        case ("exclude",):
            return "a list of matches such as {type: Linear}"
    return "a mapping such as {type: Linear}"


_LEVELS = (
    (Policy, "at the top of the policy"),
    (Rule, "in a rule, beside 'match' and 'init'"),
    (Match, "under 'match'"),
)


def _hint(place: Place, value: object) -> str:
    """Where an unknown key belongs, what was probably meant, or what is known there."""
    noun = Policy if len(place) == 1 else Rule if len(place) == 3 and place[0] == "rules" else Match
    key = str(place[-1])
    if noun is Policy and key == "defaults":
        return "; a defaults list is read from files and by Hydra, not from a mapping"
    if noun is Policy and isinstance(value, Mapping) and {"match", "init"} & value.keys():
        return "; a rule belongs under 'rules'"
    if noun is not Policy and key.startswith(("weight", "bias")):
        return "; parameters belong under 'init', beside 'match'"
    for other, where in _LEVELS:
        if other is not noun and key in _keys(other):
            return f"; it belongs {where}"
    return meant(key, _keys(noun)) or f"; known here are {', '.join(_keys(noun))}"


def _keys(noun: type[Policy | Rule | Match]) -> list[str]:
    return [field.alias or name for name, field in noun.model_fields.items()]
