"""A preset's name or a path -> what its files hold together: found, read, merged over their ``defaults``."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException

from initpolicy.errors import PolicyError, Problem, meant, shown
from initpolicy.places import DEPTH, VALUES, Place, spelt

__all__ = [
    "composed",
    "conf_folder",
    "described",
    "file_of",
    "files_of",
    "first_line",
    "is_preset",
    "list_policies",
    "stamps",
]


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


def is_preset(path: Path) -> bool:
    """Whether it is one of the shipped files."""
    return path.parent == _presets()


def stamps() -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of every preset's file: they may extend each other."""
    with os.scandir(_presets()) as files:
        found = [(file.name, file.stat()) for file in files]
    return tuple((name, status.st_mtime_ns, status.st_size) for name, status in found)


def composed(source: str | os.PathLike[str]) -> DictConfig:
    """What a preset's name or a file stands for once its ``defaults`` are merged, not yet checked.

    Raises:
        PolicyError: if a file cannot be found, read or merged.
    """
    return _composed(file_of(source), ())


def files_of(source: str | os.PathLike[str]) -> tuple[tuple[Path, frozenset[str]], ...]:
    """The files that a policy is made of, in order of merging, each with the names of the rules that it sets."""
    return tuple(_files(file_of(source)))


def _files(path: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    own = _read(path)
    names = _defaults(own, path) if "defaults" in own else ["_self_"]
    for name in names:
        if name == "_self_":
            yield path, frozenset(own.get("rules") or ())
        else:
            yield from _files(_sibling(path, name))


def file_of(source: str | os.PathLike[str]) -> Path:
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
            return spelt(place), f"is {shown(other)}, and what it extends has {shown(one)} here"
    return str(error.full_key or ""), f"cannot be merged with what it extends: {first_line(error)}"


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
        what = hint if isinstance(error, GrammarParseError) else f"what cannot be read: {first_line(error)}"
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


def first_line(error: BaseException) -> str:
    """What OmegaConf says, without where it says it."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return re.sub(r"^\w+ raised while resolving interpolation: ", "", line).strip('"')
