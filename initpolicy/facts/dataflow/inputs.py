"""An example input for a model, from the first source that has one that runs.

your example_input -> example_input_array -> default_cfg -> main_input_name and config -> the first layer
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from initpolicy.errors import CannotTrace
from initpolicy.facts.dataflow.synthesis import from_config, with_images

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
    again: Callable[[Exception], Given | None] | None = None
    """From what the forward said of it, another input to try."""
    real: bool = True
    """Worth a run on real numbers, where fake ones do not do."""


def candidates(model: nn.Module, example: Any, method: str, found_by: str) -> Iterator[Given]:
    """Inputs to try, in order; a given example is the only one."""
    if example is not None:
        try:
            given = as_call(example, found_by)
        except Exception as error:  # the user's function may raise anything, and torch of any shape
            why = (str(error).strip().splitlines() or [""])[0][:200]
            raise CannotTrace(f"cannot be made: {type(error).__name__}: {why}") from error
        yield replace(given, method=method)
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
    for make, count in with_images(model, config, name):
        yield _pictured(make, count)
    for kwargs in from_config(model, config, name):
        yield Given((), kwargs, f"trace of inputs made from its config ({', '.join(kwargs)})")


def _pictured(make: Callable[[int], dict[str, Any]], count: int, *, more: bool = True) -> Given:
    """Words and an image, whose place among the words has this length; another one where the forward says which."""
    kwargs = make(count)

    def again(error: Exception) -> Given | None:
        found = _FEATURES.search(str(error))
        return None if found is None else _pictured(make, int(found[1]), more=False)

    found_by = f"trace of inputs made from its config ({', '.join(kwargs)})"
    return Given((), kwargs, found_by, again=again if more else None, real=False)


_FEATURES = re.compile(r"tokens\D*\d+\D*features\D*(\d+)")


def _first_layer(model: nn.Module) -> Iterator[Given]:
    """What the first layer with parameters takes."""
    for module in model.modules():
        shapes = next((make(module) for kinds, make in _FIRST if isinstance(module, kinds)), None)
        if shapes is None:
            continue
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            yield _Sizes(shapes[0][0], _built_for(model)).given()
        for shape, dtype in shapes:
            yield _guess(shape, dtype)
        return


def _built_for(model: nn.Module) -> int:
    """The size of images that a module says it was made for, else 64."""
    names = ("img_size", "image_size")
    sizes = (_pair(getattr(module, name, None)) for module in model.modules() for name in names)
    return next((size[0] for size in sizes if size is not None), 64)


def _guess(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Given:
    said = f"no example_input was given: traced with a guess from the first layer, {tuple(shape)}"
    return Given((made(shape, dtype),), {}, "trace of a guessed input", said)


@dataclass(slots=True, eq=False)
class _Sizes:
    """Looks for the size whose features, laid out flat, a later layer takes: by doubling, then halving."""

    shape: tuple[int, ...]
    size: int
    low: int = 0
    high: int = 0
    """Sizes known to be too small and too large; 0: none yet."""
    said: str = ""
    """The last refusal: one that another size does not change is not about the size (an adaptive pool)."""

    def given(self) -> Given:
        spatial = 1 if len(self.shape) == 3 else 2
        return replace(_guess((*self.shape[:-spatial], *(self.size,) * spatial)), again=self._again)

    def _again(self, error: Exception) -> Given | None:
        side, before = _too_large(str(error)), self.said
        self.said = str(error)
        if side is None or self.said == before:
            return None
        if side:
            self.high = self.size
        else:
            self.low = self.size
        self.size = (self.low + self.high) // 2 if self.high else 2 * self.low
        return self.given() if self.low < self.size <= _LARGEST[len(self.shape)] else None


_LARGEST = {3: 1 << 16, 4: 1 << 11}
"""By the number of axes, batch and channels included."""
_PRODUCT = re.compile(r"\((?P<rows>\d+)x(?P<got>\d+) and (?P<wanted>\d+)x\d+\)")
_FAKE_PRODUCT = re.compile(r"\[(?P<rows>\d+), (?P<got>\d+)\] X \[(?P<wanted>\d+), \d+\]")
_VIEW = re.compile(r"shape '\[(?P<sizes>[-\d, ]+)\]' is invalid for input of size (?P<got>\d+)")
_TOO_SMALL = re.compile(r"too small|can't be greater than|non-zero size|negative|non-positive")


def _too_large(said: str) -> bool | None:
    """What a refusal says of the size; None: nothing."""
    found = _PRODUCT.search(said) or _FAKE_PRODUCT.search(said)
    if found is not None:
        return int(found["got"]) > int(found["wanted"])
    found = _VIEW.search(said)
    if found is not None:
        sizes = (int(size) for size in found["sizes"].split(","))
        return int(found["got"]) > math.prod(size for size in sizes if size > 0)
    return False if _TOO_SMALL.search(said) else None


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
