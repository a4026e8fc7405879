"""An example input for a model, from the first source that has one that runs.

your example_input -> example_input_array -> default_cfg -> main_input_name and config -> the first layer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from initpolicy.facts.dataflow.synthesis import from_config

__all__ = ["Given", "candidates"]


@dataclass(frozen=True, slots=True)
class Given:
    """Arguments for one forward pass, and where they are from."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    found_by: str
    said: str = ""
    """What must be said of it once."""
    method: str = ""
    """What is called in place of the module itself."""


def candidates(model: nn.Module, example: Any, method: str, found_by: str) -> Iterator[Given]:
    """Inputs to try, in order; a given example is the only one."""
    if example is not None:
        yield replace(as_call(example, found_by), method=method)
        return
    for source in (_array, _default_cfg, _config, _first_layer):
        yield from source(model)


def as_call(example: Any, found_by: str) -> Given:
    """A tuple is positional arguments, a mapping keyword arguments, anything else the only argument."""
    if callable(example) and not isinstance(example, (Tensor, nn.Module)):
        example = example()
    example = _built(example)
    if isinstance(example, tuple):
        return Given(example, {}, found_by)
    if isinstance(example, Mapping):
        return Given((), dict(example), found_by)
    return Given((example,), {}, found_by)


def _built(example: Any) -> Any:
    """Tensors in place of shapes: ``{shape: [1, 3, 224, 224], dtype: float32}``, alone, listed or by argument."""
    if _is_shape(example):
        return made(tuple(example["shape"]), getattr(torch, str(example.get("dtype", "float32")).split(".")[-1]))
    if isinstance(example, (list, tuple)) and example and all(_is_shape(part) for part in example):
        return tuple(_built(part) for part in example)
    if isinstance(example, Mapping) and any(_is_shape(part) for part in example.values()):
        return {name: _built(part) if _is_shape(part) else part for name, part in example.items()}
    return example


def _is_shape(example: Any) -> bool:
    return (
        isinstance(example, Mapping)
        and set(example) <= {"shape", "dtype"}
        and isinstance(example.get("shape"), Sequence)
        and all(isinstance(size, int) for size in example["shape"])
    )


def made(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers, the same every time; zeros of integers: index 0 is in every table."""
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.zeros(shape, dtype=dtype, device="cpu")
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(dtype)


def _array(model: nn.Module) -> Iterator[Given]:
    """What a LightningModule keeps for its summary."""
    example = getattr(model, "example_input_array", None)
    if example is not None:
        yield as_call(example, "trace of example_input_array")


def _default_cfg(model: nn.Module) -> Iterator[Given]:
    """The configuration an image model carries (``default_cfg``): its input's size; or what it was built for."""
    cfg = getattr(model, "default_cfg", None) or getattr(model, "pretrained_cfg", None)
    size = cfg.get("input_size") if isinstance(cfg, Mapping) else getattr(cfg, "input_size", None)
    if not isinstance(size, Sequence) or not size:
        return
    first = next((m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))), None)
    channels = size[0] if first is None else first.in_channels * first.groups // max(first.groups, 1)
    built_for = next((s for m in model.modules() if (s := _pair(getattr(m, "img_size", None))) is not None), None)
    sizes = [tuple(size), (channels, *size[1:]), *([] if built_for is None else [(channels, *built_for)])]
    for shape in dict.fromkeys(sizes):
        yield Given((made((1, *shape)),), {}, "trace of default_cfg")


def _pair(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(part, int) for part in size):
        return size[0], size[1]
    return None


def _config(model: nn.Module) -> Iterator[Given]:
    """A model with ``config`` and ``main_input_name``: arguments made from the configuration."""
    config = getattr(model, "config", None)
    name = getattr(model, "main_input_name", None)
    if config is None or not isinstance(name, str):
        return
    for kwargs in from_config(model, config, name):
        yield Given((), kwargs, f"trace of inputs made from its config ({', '.join(kwargs)})")


def _first_layer(model: nn.Module) -> Iterator[Given]:
    """What the first layer with parameters takes."""
    for module in model.modules():
        shapes = next((make(module) for kinds, make in _FIRST if isinstance(module, kinds)), None)
        if shapes is None:
            continue
        for shape, dtype in shapes:
            said = f"no example_input was given: traced with a guess from the first layer, {tuple(shape)}"
            yield Given((made(shape, dtype),), {}, "trace of a guessed input", said)
        return


def _floats(*shapes: tuple[int, ...]) -> list[tuple[tuple[int, ...], torch.dtype]]:
    return [(shape, torch.float32) for shape in shapes]


def _sequence(module: Any) -> list[tuple[tuple[int, ...], torch.dtype]]:
    return _floats((2, 8, module.input_size))


_IMAGES = (64, 224, 32, 28, 256)
_FIRST: tuple[tuple[Any, Callable[[Any], list[tuple[tuple[int, ...], torch.dtype]]]], ...] = (
    ((nn.Linear, nn.Bilinear), lambda m: _floats(*((*s, getattr(m, "in_features", 1)) for s in ((2,), (2, 8))))),
    (nn.Conv1d, lambda m: _floats(*((1, m.in_channels, n) for n in (64, 1024, 16000)))),
    (nn.Conv2d, lambda m: _floats(*((1, m.in_channels, n, n) for n in _IMAGES))),
    (nn.Conv3d, lambda m: _floats(*((1, m.in_channels, 16, n, n) for n in (32, 64, 112)))),
    (nn.ConvTranspose1d, lambda m: _floats((1, m.in_channels, 16))),
    (nn.ConvTranspose2d, lambda m: _floats(*((1, m.in_channels, n, n) for n in (1, 4, 8)))),
    (nn.ConvTranspose3d, lambda m: _floats((1, m.in_channels, 4, 4, 4))),
    ((nn.Embedding, nn.EmbeddingBag), lambda m: [((2, 8), torch.int64), ((8,), torch.int64)]),
    ((nn.RNNBase, nn.RNNCellBase), lambda m: _sequence(m) if isinstance(m, nn.RNNBase) else _floats((2, m.input_size))),
    (nn.MultiheadAttention, lambda m: _floats((2, 8, m.embed_dim))),
    (nn.BatchNorm1d, lambda m: _floats((2, m.num_features), (2, m.num_features, 8))),
    (nn.BatchNorm2d, lambda m: _floats(*((1, m.num_features, n, n) for n in _IMAGES))),
    (nn.LayerNorm, lambda m: _floats((2, *m.normalized_shape), (2, 8, *m.normalized_shape))),
)
"""Class of the first layer -> inputs that it takes, likelier ones first."""
