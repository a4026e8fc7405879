"""Values from a file of trained weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer
from initpolicy.streams import Stream

__all__ = ["FILES"]

Shape = tuple[int, ...]


def _law(block: Block, a: Arguments) -> None:
    """Checks key and shape; promises nothing, as what the file holds is not known beforehand."""
    path, key = Path(a["path"]).expanduser(), _key(block.name, a)
    shapes = _shapes(path, _stamp(path))
    if not shapes:
        raise ValueError(f"finds no tensor at the top level of {path}, nor under its 'state_dict'")
    if key not in shapes:
        near = get_close_matches(key, shapes, n=3, cutoff=0.5) or sorted(shapes)[:3]
        raise ValueError(f"finds no {key!r} in {path}; nearest of its {len(shapes)} keys: {', '.join(map(repr, near))}")
    if shapes[key] != block.shape:
        raise ValueError(f"finds {key!r} in {path} with shape {shapes[key]}, this is {block.shape}")


def _make(stream: Stream, block: Block, a: Arguments) -> Float32:
    _law(block, a)
    import torch

    path = Path(a["path"]).expanduser()
    tensor = _read(path, _key(block.name, a))
    return np.array(tensor.detach().to("cpu", torch.float32).numpy(), np.float32).reshape(block.shape)


def _key(name: str, a: Arguments) -> str:
    """``key``, or the parameter's name with the longest prefix of whole segments that ``prefix`` maps, mapped."""
    if a["key"]:
        return str(a["key"])
    prefixes: Mapping[str, str] = a["prefix"] or {}
    segments = name.split(".")
    for count in range(len(segments), -1, -1):
        start = ".".join(segments[:count])
        if start in prefixes:
            return ".".join(part for part in (str(prefixes[start]), *segments[count:]) if part)
    return name


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when the file does."""
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _shapes(path: Path, stamp: tuple[int, int]) -> Mapping[str, Shape]:
    """Every tensor's shape; of a safetensors file only the header is read."""
    if path.suffix != ".safetensors":
        return {key: tuple(tensor.shape) for key, tensor in _pickled(path, stamp).items()}
    with _opened(path) as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  # no mapping


def _read(path: Path, key: str) -> Any:
    if path.suffix != ".safetensors":
        return _pickled(path, _stamp(path))[key]
    with _opened(path) as file:
        return file.get_tensor(key)


def _opened(path: Path) -> Any:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ValueError(f"needs safetensors to read {path}; pip install safetensors") from None
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None


@lru_cache(maxsize=2)
def _pickled(path: Path, stamp: tuple[int, int]) -> Mapping[str, Any]:
    """A torch.save file's tensors by key, a checkpoint's those of its ``state_dict``. Tensors only: no code runs."""
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in as many ways as files can be wrong
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        held = f"it holds {named[1]}, where only tensors and plain containers are read" if named else ""
        why = held or "it is damaged, or no file of torch.save"
        raise ValueError(f"cannot read {path} as weights only: {why}") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise ValueError(f"finds no state_dict in {path}, but a {type(loaded).__name__}")
    return {str(key): value for key, value in loaded.items() if isinstance(value, torch.Tensor)}


FILES: Final = (
    Initializer(
        name="pretrained",
        arguments=(
            Argument(
                name="path", kind="text", doc="A .safetensors file, or one that torch.load reads with weights_only."
            ),
            Argument(
                name="prefix",
                kind="mapping",
                default=None,
                doc="Prefix of names in the model -> prefix in the file, whole segments; the longest wins. "
                "'' stands for the root, and as a value takes the prefix away.",
            ),
            Argument(name="key", kind="text", default=None, doc="The tensor's key in the file, instead of its name."),
        ),
        law=_law,
        make=_make,
        random=False,
        fallible=True,
        whole=True,
        doc="The tensor of this name in a file, through float32. Keys and shapes are checked while planning.",
    ),
)
