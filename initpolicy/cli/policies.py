"""POLICY and its overrides as they stand on a command line -> a policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from initpolicy.errors import meant
from initpolicy.files import composed
from initpolicy.load import load_policy
from initpolicy.policy import Policy

__all__ = ["configured", "policy_of"]


def policy_of(source: str, overrides: Sequence[str] = ()) -> Policy:
    """The policy of a preset's name, a path, or ``-`` (YAML on standard input), with overrides as Hydra has them.

    Raises:
        PolicyError: with every mistake in it.
        typer.BadParameter: if an override cannot be read.
    """
    return load_policy(source) if source != "-" and not overrides else load_policy(configured(source, overrides))


def configured(source: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The composed policy, unchecked: ``seed=3``, ``rules.head.init.weight.std=0.02``, ``~rules.lstm``."""
    config = _given() if source == "-" else composed(source)
    if source != "-" and "name" not in config:
        config["name"] = Path(source).stem
    for override in overrides:
        _apply(config, override.removeprefix("init."))
    return config


def _given() -> DictConfig:
    """Standard input, read as a file is: its ``defaults`` may name presets."""
    if sys.stdin is None or sys.stdin.closed:
        raise typer.BadParameter("-: standard input is closed; pipe a policy's YAML into it")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_bytes(sys.stdin.buffer.read())
        return composed(path)


def _apply(config: DictConfig, override: str) -> None:
    if override.startswith("~"):
        place, _, last = override[1:].rpartition(".")
        parent = OmegaConf.select(config, place) if place else config
        if not isinstance(parent, DictConfig) or last not in parent:
            raise typer.BadParameter(f"{override}: there is no {override[1:]} to remove")
        del parent[last]
        return
    key, equals, value = override.partition("=")
    if not equals:
        raise typer.BadParameter(f"{override}: an override is key=value or ~key, as in seed=3")
    rules, words = config.get("rules") or {}, key.split(".")
    if words[0] == "rules" and len(words) > 2 and words[1] not in rules:
        hint = meant(words[1], map(str, rules)) or f"; it has {', '.join(map(str, rules))}"
        raise typer.BadParameter(f"{override}: there is no rule {words[1]!r}{hint}; +{key} adds it")
    try:
        OmegaConf.update(config, key.lstrip("+"), OmegaConf.create({"value": yaml.safe_load(value)})["value"])
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise typer.BadParameter(f"{override}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """What is wrong, without the excerpt that the override itself is."""
    if isinstance(error, yaml.MarkedYAMLError):
        return f"is not YAML: {error.problem}"
    return str(error).splitlines()[0]
