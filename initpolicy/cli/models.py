"""MODEL and --input as they stand on a command line -> a module, and what it is called with."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml

__all__ = ["ModelSource", "aside", "build", "example"]

_LONG = 300
"""Characters of another program's message that are still shown."""


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


@contextmanager
def aside() -> Iterator[None]:
    """What the user's code prints goes to standard error: standard output is the command's alone."""
    with redirect_stdout(sys.stderr):
        yield


def build(source: ModelSource) -> Any:
    """The module, on its device: on meta nothing is drawn and no memory taken.

    Raises:
        typer.BadParameter: with the reason, and what to do.
    """
    import torch
    from torch import nn

    with aside():
        make = _from_config(source) if source.config_dir is not None else _from_callable(source)
        try:
            with torch.device(source.device):
                made = make()
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            on_meta = source.device == "meta" and "meta" in str(error)
            remedy = "; to build it on the CPU, add --device cpu" if on_meta else ""
            raise _wrong(f"{source.model} could not be built: {_said(error)}{remedy}") from error
    if not isinstance(made, nn.Module):
        raise _wrong(f"{source.model} gives a {type(made).__name__}, not a torch.nn.Module")
    return made


def example(text: str | None) -> Any:
    """``1,3,224,224``, ``1,128:int64``, or what ``package.module:callable`` makes.

    Raises:
        typer.BadParameter: with the reason.
    """
    if text is None:
        return None
    shape, colon, dtype = text.partition(":")
    if colon and not shape.replace(",", "").replace(" ", "").lstrip("-").isdigit():
        return _called(text)
    try:
        sizes = [int(size) for size in shape.split(",")]
    except ValueError:
        raise _wrong(f"--input {text}: must be sizes (1,3,224,224), sizes with a dtype (1,128:int64), or "
                     "package.module:callable") from None  # fmt: skip
    if not all(0 <= size < 2**31 for size in sizes):
        raise _wrong(f"--input {text}: a size must be from 0 to 2**31 - 1")
    if colon and not _is_dtype(dtype):
        raise _wrong(f"--input {text}: torch has no dtype {dtype!r}; write int64, float32, bfloat16 or another of its")
    return {"shape": sizes, **({"dtype": dtype} if colon else {})}


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)


def _called(text: str) -> Any:
    with aside():
        make = _named(text)
        try:
            return make()
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise _wrong(f"--input {text}: cannot be called: {_said(error)}") from error


def _from_callable(source: ModelSource) -> Any:
    from torch import nn

    make = _named(source.model)
    if isinstance(make, nn.Module):
        kind = type(make).__name__
        raise _wrong(f"{source.model}: is a {kind} that is built already; name its class or a function that builds it")
    arguments = dict(_pair(text) for text in source.arguments)
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise _wrong(f"{source.model}: {error}; arguments are given by --arg name=value") from error
    except ValueError:  # some callables show no signature
        pass
    return lambda: make(**arguments)


def _named(path: str) -> Any:
    """What ``package.module:name`` names; the current folder is importable, as for ``python -m``."""
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise _wrong(f"{path}: must be package.module:callable, as in torchvision.models:resnet18")
    _import_from_here()
    if module.startswith("."):
        raise _wrong(f"{path}: a module is named in full, from the folder that holds it: package.module:callable")
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
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise _wrong(f"{path}: {module} cannot be imported: {_said(error)}") from error
    if not callable(found):
        raise _wrong(f"{path}: is a {type(found).__name__}, which cannot be called")
    return found


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise _wrong(f"--arg {text}: must be name=value, as in --arg depth=50")
    try:
        return key, yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        why = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error).splitlines()[0]
        raise _wrong(f"--arg {text}: is not YAML: {why}") from error


def _from_config(source: ModelSource) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    assert source.config_dir is not None
    folder = source.config_dir.resolve()
    if not folder.is_dir():
        raise _wrong(f"--config-dir {source.config_dir}: no such folder")
    _import_from_here()
    try:
        with initialize_config_dir(str(folder), version_base=None):
            config = compose(source.model, overrides=list(source.arguments))
    except Exception as error:  # Hydra's own errors share no base
        raise _wrong(f"{source.model} in {source.config_dir}: {' '.join(str(error).split())}") from error
    try:
        part = OmegaConf.select(config, source.model_key, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise _wrong(f"--model-key {source.model_key}: {str(error).splitlines()[0]}") from error
    if part is None:
        raise _wrong(
            f"--model-key {source.model_key}: {source.model} has no such key; it has {', '.join(map(str, config))}"
        )
    if not isinstance(part, DictConfig) or "_target_" not in part:
        raise _wrong(f"--model-key {source.model_key}: has no _target_, which says what to build")
    return lambda: instantiate(part)


def _import_from_here() -> None:
    """As ``python -m`` does; the empty path is the current folder, whichever it is."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _said(error: BaseException) -> str:
    """Kind and message on one line, without the stack that some of torch's bring."""
    told = " ".join(str(error).split())
    told = told if len(told) <= _LONG else f"{told[: _LONG - 1]}…"
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _wrong(why: str) -> typer.BadParameter:
    return typer.BadParameter(why)
