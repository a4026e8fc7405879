"""MODEL and --input as they stand on a command line -> a module, and what it is called with."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

__all__ = ["ModelSource", "build", "example"]

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """All that the command line says of the model."""

    model: str
    arguments: Sequence[str] = ()
    """``depth=50``: keyword arguments of the callable, values in YAML; or overrides of the Hydra config."""
    config_dir: Path | None = None
    """Then MODEL is the name of a config in it."""
    model_key: str = "model"
    device: str = "meta"


def build(source: ModelSource) -> Any:
    """The module, on its device: on meta nothing is drawn and no memory taken.

    Raises:
        typer.BadParameter: with the reason, and what to do.
    """
    import torch
    from torch import nn

    make = _from_config(source) if source.config_dir is not None else _from_callable(source)
    try:
        with torch.device(source.device):
            made = make()
    except Exception as error:  # the user's code may raise anything
        remedy = "; if it cannot be built on meta, add --device cpu" if source.device == "meta" else ""
        raise _wrong(f"{source.model} could not be built: {type(error).__name__}: {error}{remedy}") from error
    if not isinstance(made, nn.Module):
        raise _wrong(f"{source.model} gives a {type(made).__name__}, not a torch.nn.Module")
    return made


def example(text: str | None) -> Any:
    """``1,3,224,224``, ``1,128:int64``, or ``package.module:callable`` that makes one."""
    if text is None:
        return None
    if ":" in text and not text.split(":")[0].replace(",", "").strip().isdigit():
        return _named(text)
    shape, _, dtype = text.partition(":")
    try:
        sizes = [int(size) for size in shape.split(",")]
    except ValueError:
        raise _wrong(f"--input {text}: must be sizes (1,3,224,224), sizes with a dtype (1,128:int64), or "
                     "package.module:callable") from None  # fmt: skip
    return {"shape": sizes, **({"dtype": dtype} if dtype else {})}


def _from_callable(source: ModelSource) -> Any:
    make = _named(source.model)
    arguments = dict(_pair(text) for text in source.arguments)
    return lambda: make(**arguments)


def _named(path: str) -> Any:
    """What ``package.module:name`` names; the current folder is importable, as for ``python -m``."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise _wrong(f"{path}: must be package.module:callable, as in torchvision.models:resnet18")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for step in name.split("."):
            found = getattr(found, step)
    except ModuleNotFoundError as error:
        raise _wrong(
            f"{path}: no module named {error.name!r}; run from the folder that holds it, or install it"
        ) from error
    except AttributeError as error:
        raise _wrong(f"{path}: {error}") from error
    if not callable(found):
        raise _wrong(f"{path}: is a {type(found).__name__}, which cannot be called")
    return found


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise _wrong(f"--arg {text}: must be name=value, as in --arg depth=50")
    return key, yaml.safe_load(value) if value else ""


def _from_config(source: ModelSource) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    assert source.config_dir is not None
    folder = source.config_dir.resolve()
    if not folder.is_dir():
        raise _wrong(f"--config-dir {source.config_dir}: no such folder")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        with initialize_config_dir(str(folder), version_base=None):
            config = compose(source.model, overrides=list(source.arguments))
    except Exception as error:  # Hydra's own errors share no base
        raise _wrong(f"{source.model} in {source.config_dir}: {error}") from error
    part = OmegaConf.select(config, source.model_key)
    if part is None:
        raise _wrong(
            f"--model-key {source.model_key}: {source.model} has no such key; it has {', '.join(map(str, config))}"
        )
    return lambda: instantiate(part)


def _wrong(why: str) -> typer.BadParameter:
    return typer.BadParameter(why)
