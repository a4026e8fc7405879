"""A checkpoint's file -> its tensors by name; nothing in it is executed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from initpolicy.render.words import listed

__all__ = ["below", "read", "strange"]


def read(path: Path) -> Mapping[str, Any]:
    """Tensors of a .safetensors file, or of one that torch.load reads with ``weights_only``.

    A training checkpoint's ``state_dict`` (Lightning) or ``model`` is taken out of it.

    Raises:
        typer.BadParameter: with the reason.
    """
    import torch

    if not path.is_file():
        raise typer.BadParameter(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"needs safetensors to read {path}; pip install 'initpolicy[safetensors]'") from error
    except Exception as error:  # a broken file may raise anything
        raise typer.BadParameter(f"{path}: cannot be read: {_why(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not any(isinstance(value, torch.Tensor) for value in held.values()):
        has = f"its keys are {listed([str(key) for key in held])}" if isinstance(held, Mapping) and held else ""
        kind = has or f"it is {'empty' if isinstance(held, Mapping) else f'a {type(held).__name__}'}"
        raise typer.BadParameter(
            f"{path}: holds no tensors by name; {kind}; save model.state_dict() or {{'state_dict': it}}"
        )
    return {str(name): value for name, value in held.items() if isinstance(value, torch.Tensor)}


def below(weights: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """Those whose names start so, without it: a wrapper's ``module``, a LightningModule's ``model``."""
    start = f"{prefix.removesuffix('.')}." if prefix else ""
    return {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}


def strange(weights: Mapping[str, Any], wanted: list[str]) -> str:
    """Why these are hardly weights of a model with parameters of these names; "" where one of them is there."""
    if not wanted or any(name in weights for name in wanted):
        return ""
    told = f"has none of the model's parameters ({listed(wanted)}) but {listed(list(weights)) or 'nothing'}"
    prefix = next((name.removesuffix(f".{one}") for name in weights for one in wanted if name.endswith(f".{one}")), "")
    return f"{told}; {f'say --prefix {prefix}' if prefix else 'it is of another --model'}"


def _why(error: Exception) -> str:
    """The cause, and not torch's advice to read the file as a program."""
    text = str(error)
    if "weights_only" in text or "Weights only" in text:
        named = re.search(r"GLOBAL ([\w.]+)", text)
        held = f"it holds {named[1]}, where only" if named else "only"
        return f"{held} tensors and plain containers are read, as code can hide in others; save model.state_dict()"
    return f"it is damaged, or no file of weights ({type(error).__name__}{text and ': '}{text.partition(chr(10))[0]})"
