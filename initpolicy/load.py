"""A preset's name, a path, a mapping or a DictConfig -> Policy; every mistake collected before one is raised."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from initpolicy.errors import PolicyError, Problem, meant, shown
from initpolicy.policy import Match, Policy, Rule

__all__ = ["composed", "conf_folder", "described", "files_of", "list_policies", "load_policy"]

DEPTH, VALUES = 50, 200_000
"""How deep a policy may nest, and how many values it may hold once its aliases are written out."""

Place = tuple[Any, ...]
"""The keys and indices that lead to a value."""


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
        path = _find(source)
        if path.parent == _presets():
            return _preset(path, _stamps()).model_copy(deep=True)
        return _loaded(path)
    if isinstance(source, (Mapping, DictConfig)):
        return _validated(source, "policy", "")
    given = "nothing" if source is None else type(source).__name__
    raise PolicyError(Problem("policy", "", f"must be a preset's name, a path, a mapping or a DictConfig, not {given}"))


def list_policies() -> tuple[str, ...]:
    """Names of the shipped presets, sorted."""
    return tuple(sorted(path.stem for path in _presets().glob("*.yaml")))


def described() -> Mapping[str, str]:
    """Each shipped preset's name, sorted, with its one sentence. Reads no more than that of them."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = ((path.stem, path.read_text(encoding="utf-8")) for path in sorted(_presets().glob("*.yaml")))
    return {name: yaml.load(text, Loader=loader)["description"] for name, text in texts}


@cache
def conf_folder() -> Path:
    """The folder of the presets and their schema: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def _presets() -> Path:
    return conf_folder() / "init"


def _stamps() -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of every preset's file: they may extend each other."""
    with os.scandir(_presets()) as files:
        found = [(file.name, file.stat()) for file in files]
    return tuple((name, status.st_mtime_ns, status.st_size) for name, status in found)


@lru_cache(maxsize=256)
def _preset(path: Path, stamps: tuple[tuple[str, int, int], ...]) -> Policy:
    """A preset, read once for as long as no file changes."""
    return _loaded(path)


def _loaded(path: Path) -> Policy:
    return _validated(_composed(path, ()), path.stem, path.stem)


# --- files ---------------------------------------------------------------------------------------


def composed(source: str | os.PathLike[str]) -> DictConfig:
    """What a preset's name or a file stands for once its ``defaults`` are merged, not yet checked.

    Raises:
        PolicyError: if a file cannot be found, read or merged.
    """
    return _composed(_find(source), ())


def files_of(source: str | os.PathLike[str]) -> tuple[tuple[Path, frozenset[str]], ...]:
    """The files that a policy is made of, in order of merging, each with the names of the rules that it sets."""
    return tuple(_files(_find(source)))


def _files(path: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    own = _read(path)
    names = _defaults(own, path) if "defaults" in own else ["_self_"]
    for name in names:
        if name == "_self_":
            yield path, frozenset(own.get("rules") or ())
        else:
            yield from _files(_sibling(path, name))


def _find(source: str | os.PathLike[str]) -> Path:
    """The file of a path, or of a preset's name."""
    text = os.fspath(source)
    if "\n" in text:
        raise PolicyError(Problem("policy", "", "this is YAML text; pass a path, or what yaml.safe_load makes of it"))
    if not text.strip():
        raise PolicyError(Problem("policy", "", "must be a preset's name or a path, not an empty text"))
    path, called = Path(text), text if text.isprintable() and len(text) < 256 else shown(text)
    if isinstance(source, os.PathLike) or path.suffix or len(path.parts) != 1:
        if os.path.isfile(path):
            return path
        preset = path.stem in list_policies()
        hint = f"; for the preset write {path.stem!r}" if preset else ""
        raise PolicyError(Problem(called, "", f"{'is a folder' if os.path.isdir(path) else 'no such file'}{hint}"))
    if text not in list_policies():
        hint = meant(text, list_policies()) or f"; the presets are {', '.join(list_policies())}"
        raise PolicyError(Problem(called, "", f"no preset has this name, and it is no path of a .yaml file{hint}"))
    return _presets() / f"{text}.yaml"


def _composed(path: Path, above: tuple[Path, ...]) -> DictConfig:
    """The file merged over its ``defaults``, in their order, as Hydra does within one group."""
    if path.resolve() in above:
        chain = " → ".join(one.stem for one in (*above[above.index(path.resolve()) :], path))
        raise PolicyError(Problem(above[0].stem, "defaults", f"the files extend each other in a circle: {chain}"))
    own = _read(path)
    if "defaults" not in own:
        return own
    layers = [
        own if name == "_self_" else _composed(_sibling(path, name), (*above, path.resolve()))
        for name in _defaults(own, path)
    ]
    merged = layers[0]
    for layer in layers[1:]:
        try:
            merged = _config(OmegaConf.merge(merged, layer))
        except OmegaConfBaseException as error:
            raise PolicyError(Problem(path.stem, *_clash(merged, layer, error))) from None
    return merged


def _clash(below: DictConfig, above: DictConfig, error: OmegaConfBaseException) -> tuple[str, str]:
    """Where a list and a mapping meet that are to be merged."""
    one, other = (OmegaConf.to_container(config, resolve=False) for config in (below, above))
    pairs: list[tuple[Place, Any, Any]] = [((), one, other)]
    for place, one, other in pairs:
        if isinstance(one, dict) and isinstance(other, dict):
            pairs += [((*place, key), one[key], item) for key, item in other.items() if key in one]
        elif isinstance(one, (dict, list)) and isinstance(other, (dict, list)) and type(one) is not type(other):
            return _spelt(place), f"is {shown(other)}, and what it extends has {shown(one)} here"
    return str(error.full_key or ""), f"cannot be merged with what it extends: {_first_line(error)}"


def _defaults(own: DictConfig, path: Path) -> list[str]:
    """The names of a defaults list, taken out of the file; ``_self_`` comes last where it is not given."""
    entries = OmegaConf.to_container(own, resolve=False)["defaults"]  # type: ignore[call-overload,index]
    del own["defaults"]
    if not isinstance(entries, list):
        why = f"must be a list such as [he_relu, _self_], not {shown(entries)}"
        raise PolicyError(Problem(path.stem, "defaults", why))
    problems = [
        Problem(path.stem, f"defaults.{index}", why) for index, name in enumerate(entries) if (why := _refused(name))
    ]
    if entries.count("_self_") > 1:
        problems.append(Problem(path.stem, "defaults", "has _self_ more than once"))
    if not problems:
        problems = [
            Problem(path.stem, f"defaults.{index}", f"no policy {name!r} beside {path.name}{_near(path, name)}")
            for index, name in enumerate(entries)
            if name != "_self_" and _candidate(path, name) is None
        ]
    if problems:
        raise PolicyError(*problems)
    return entries if "_self_" in entries else [*entries, "_self_"]


def _refused(name: object) -> str:
    """What is wrong with an entry of a defaults list, or nothing."""
    if not isinstance(name, str) or not name:
        return f"must be the name of a policy or _self_, not {shown(name)}"
    if not {"/", "\\", "@", ":", "$", " "} & set(name):
        return ""
    return f"must be the bare name of a policy or _self_, not {shown(name)}; presets and files beside this are read"


def _sibling(path: Path, name: str) -> Path:
    found = _candidate(path, name)
    assert found is not None, "checked with the others"
    return found


def _candidate(path: Path, name: str) -> Path | None:
    """The file that a defaults list names: beside the policy first, then among the presets."""
    files = (folder / f"{name.removesuffix('.yaml')}.yaml" for folder in (path.parent, _presets()))
    return next((file for file in files if os.path.isfile(file)), None)


def _near(path: Path, name: str) -> str:
    beside = (file.stem for file in path.parent.glob("*.yaml") if file != path)
    return meant(name, dict.fromkeys([*beside, *list_policies()]))


def _read(path: Path) -> DictConfig:
    """The file as Hydra would read it: OmegaConf's YAML, in which ``1e-5`` is a number."""
    try:
        text = path.read_bytes().decode("utf-8")
        _check_yaml(text)
        return _config(OmegaConf.load(io.StringIO(text)))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        place, why = f"line {line}", f"is not UTF-8 text: byte 0x{error.object[error.start]:02x}"
    except OSError as error:
        place, why = "", f"cannot be read: {error.strerror}"
    except yaml.YAMLError as error:
        place, why = _yaml_place(error, text)
    except RecursionError:
        place, why = "", f"is nested more than {DEPTH} deep"
    except OmegaConfBaseException as error:
        hint = "an interpolation that cannot be read; write ${name} or ${.name}"
        what = hint if isinstance(error, GrammarParseError) else f"what cannot be read: {_first_line(error)}"
        place, why = str(error.full_key or ""), f"holds {what}"
    except ValueError as error:
        place, why = "", f"is not YAML: {error}"
    raise PolicyError(Problem(path.stem, place, why))


def _config(config: DictConfig | ListConfig) -> DictConfig:
    assert isinstance(config, DictConfig), "the root is a mapping"
    return config


_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp")
}
_DIGITS = 400
"""No float64 has as many before its point."""


def _check_yaml(text: str) -> None:
    """Refuses what would not be a policy, or would not end: looked for before anything is built.

    Raises:
        yaml.YAMLError: at its line and column.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        raise _unfit(None, "is empty; a policy is a mapping with 'rules'")
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else shown(root.value)
        raise _unfit(None, f"a policy is a mapping with 'rules'; this file holds {kind}")
    if _values(root, (), {}) > VALUES:
        raise _unfit(None, f"holds more than {VALUES} values once its aliases are written out")


def _values(node: yaml.Node, above: tuple[yaml.Node, ...], known: dict[yaml.Node, int]) -> int:
    """How many values a node stands for, those of its aliases counted at each."""
    if node in above:
        raise _unfit(node, "an anchor here holds an alias of itself")
    if len(above) > DEPTH:
        raise _unfit(node, f"is nested more than {DEPTH} deep")
    if node not in known:
        if node.tag not in _TAGS:
            raise _unfit(node, f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} has no place in a policy")
        if node.tag.endswith(":int") and len(node.value) > _DIGITS:
            raise _unfit(node, f"a number of {len(node.value)} digits is too large")
        if isinstance(node, yaml.MappingNode):
            for key, _ in node.value:
                if key.tag.endswith(":null"):
                    raise _unfit(key, "a key must be text, and there is none")
        known[node] = 1 + sum(_values(part, (*above, node), known) for part in _parts(node))
    return known[node]


def _parts(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return node.value  # type: ignore[no-any-return]  # nodes
    return (part for pair in node.value for part in pair) if isinstance(node, yaml.MappingNode) else ()


class _Unfit(yaml.MarkedYAMLError):
    """YAML, and no policy."""


def _unfit(node: yaml.Node | None, why: str) -> _Unfit:
    return _Unfit(problem=why, problem_mark=node.start_mark if node else None)


def _yaml_place(error: yaml.YAMLError, text: str) -> tuple[str, str]:
    """(line and column, what is wrong there)."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}", f"is not YAML: it holds the control character U+{error.character:04X}"
    assert isinstance(error, yaml.MarkedYAMLError), "the other kind"
    mark, why = error.problem_mark, error.problem or str(error)
    if not isinstance(error, _Unfit):
        context = f"{error.context}, " if error.context and error.context.startswith("expected") else ""
        bare = mark is not None and text[: mark.index].endswith("$")
        remedy = "; indent with spaces" if r"'\t'" in why else "; put ${…} in quotes" if bare else ""
        why = f"is not YAML: {context}{why}{remedy}"
    return (f"line {mark.line + 1}, column {mark.column + 1}" if mark else "", why)


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
            why = "it leads back to itself" if isinstance(error, RecursionError) else _first_line(error)
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


def _first_line(error: BaseException) -> str:
    """What OmegaConf says, without where it says it."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return re.sub(r"^\w+ raised while resolving interpolation: ", "", line).strip('"')


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
    raise PolicyError(*dict.fromkeys(Problem(called, _spelt(place), why) for place, why in ordered))


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


def _spelt(place: Place) -> str:
    """``rules.stem.match``; a place far down is cut."""
    parts = [part if isinstance(part, str) and part.strip() and part.isprintable() else shown(part) for part in place]
    return ".".join(parts if len(parts) <= _FAR else [*parts[: _FAR - 3], "…"])


_FAR = 12


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
