"""A checkpoint's file -> its tensors by name; nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

__all__ = ["read"]


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
        raise typer.BadParameter(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not any(isinstance(value, torch.Tensor) for value in held.values()):
        raise typer.BadParameter(f"{path}: holds no tensors by name")
    return {str(name): value for name, value in held.items() if isinstance(value, torch.Tensor)}
