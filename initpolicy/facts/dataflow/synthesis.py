"""Keyword arguments for a model with a configuration: each made from the numbers that its name asks for.

Configurations nest (text, vision, audio, encoder, decoder …); a number is taken from the nearest that has it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["from_config", "with_images"]

_WORDS = 8
_BATCH = 1


def from_config(model: nn.Module, config: Any, main: str) -> Iterator[dict[str, Any]]:
    """Arguments to try: all kinds of data that forward takes, the main one alone, the other main ones."""
    parameters = inspect.signature(type(model).forward).parameters
    required = [
        name
        for name, parameter in list(parameters.items())[1:]
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    numbers = _Numbers(config)
    fixed = {"use_cache": False} if "use_cache" in parameters else {}
    decoder = [name for name in ("decoder_input_ids",) if name in parameters and numbers.get("is_encoder_decoder")]
    data = [name for name in _DATA if name in parameters]
    tries = (
        [main, *required, *decoder, *data],
        [main, *required, *decoder],
        [main, *required],
        [*required, *decoder, *data],
        [main, *required, *(name for name in _EXTRA if name in parameters)],
        *([name, *required, *decoder] for name in data),
        *([name, *required] for name in data),
    )
    seen: set[tuple[str, ...]] = set()
    for names in tries:
        names = list(dict.fromkeys(names))
        for variant in range(_VARIANTS):
            chosen = variant
            if any(name.endswith("grid_thw") for name in names) and variant == 0:
                chosen = _FLAT
            kwargs = {name: made for name in names if (made := _make(name, numbers, chosen)) is not None}
            key = tuple(f"{name}{tuple(value.shape)}" for name, value in kwargs.items())
            if kwargs and key not in seen:
                seen.add(key)
                yield {**kwargs, **fixed}


def with_images(model: nn.Module, config: Any, main: str) -> Iterator[tuple[Callable[[int], dict[str, Any]], int]]:
    """Words with an image among them, for a model that reads both: arguments by the number of words that stand for
    the image, and that number as the configuration has it."""
    parameters = inspect.signature(type(model).forward).parameters
    numbers = _Numbers(config)
    word = numbers.get("image_token_id", "image_token_index")
    if main != "input_ids" or "pixel_values" not in parameters or not isinstance(word, int):
        return
    start = numbers.get("vision_start_token_id")
    before = [3, *([start] if isinstance(start, int) else [])]
    grid = [name for name in ("image_grid_thw",) if name in parameters]
    pixels = _pixels(numbers, 0)
    images = (_patches(numbers),) if grid else (pixels, pixels.unsqueeze(1), _pairs(numbers, 0))
    merge = numbers.number("spatial_merge_size", "downsample_factor", "scale_factor", default=1)
    ratio = numbers.get("downsample_ratio", default=1.0)
    count = _GRID * _GRID if grid else math.prod(pixels.shape[2:]) // numbers.number("patch_size", default=16) ** 2
    count = numbers.number("mm_tokens_per_image", default=int(count * ratio**2) // max(merge, 1) ** 2)

    sized = "image_sizes" in parameters

    def made(image: Tensor, told: bool, words: int) -> dict[str, Any]:
        ids = torch.tensor([[*before, *[word] * words, 4, 6]])
        given: dict[str, Any] = {"input_ids": ids, "pixel_values": image, **{name: _grid(numbers, 0) for name in grid}}
        if "mm_token_type_ids" in parameters:
            given["mm_token_type_ids"] = (ids == word).int()
        if told:
            given["image_sizes"] = torch.tensor([list(pixels.shape[2:])])
        return given | ({"use_cache": False} if "use_cache" in parameters else {})

    for told in (False, True)[: 1 + sized]:
        for image in images:
            yield functools.partial(made, image, told), count


class _Numbers:
    """Numbers of a configuration, looked up in nested ones too."""

    def __init__(self, config: Any) -> None:
        self._levels = [config]
        for level in self._levels:
            for name in ("vision_config", "text_config", "audio_config", "encoder", "decoder", "backbone_config"):
                inner = getattr(level, name, None)
                if inner is not None and not isinstance(inner, (str, int, float, dict)) and inner not in self._levels:
                    self._levels.append(inner)

    def get(self, *names: str, default: Any = None, inside: str = "") -> Any:
        levels = self._levels
        if inside:
            levels = [c for c in levels if inside in type(c).__name__.lower() + str(getattr(c, "model_type", ""))]
            levels = levels or self._levels
        for level in levels:
            for name in names:
                found = getattr(level, name, None)
                if found is not None:
                    return found
        return default

    def number(self, *names: str, default: int, inside: str = "") -> int:
        found = self.get(*names, default=default, inside=inside)
        if isinstance(found, (tuple, list)):
            found = found[0] if found else default
        return int(found) if isinstance(found, (int, float)) else default


def _ids(numbers: _Numbers, variant: int) -> Tensor:
    """Small, distinct, none of them the usual padding; within the vocabulary."""
    words = numbers.number("vocab_size", "n_vocab", default=100)
    return (torch.arange(_WORDS).repeat(_BATCH, 1) + 5) % max(words - 1, 1)


def _pixels(numbers: _Numbers, variant: int) -> Tensor:
    channels = numbers.number("num_channels", "in_channels", "in_chans", "num_input_channels", default=3)
    size: Any = numbers.get("image_size", "img_size", "input_size", default=(64, 224)[variant == 1])
    if isinstance(size, dict):
        size = (size.get("height", 64), size.get("width", 64))
    height, width = (size, size) if isinstance(size, int) else (tuple(size) * 2)[:2]
    return _normal(_BATCH, channels, int(height), int(width))


def _video(numbers: _Numbers, variant: int) -> Tensor:
    frames = numbers.number("num_frames", "frames", default=4)
    image = _pixels(numbers, variant)
    return image.unsqueeze(1).repeat(1, frames, 1, 1, 1)


def _pairs(numbers: _Numbers, variant: int) -> Tensor:
    return _pixels(numbers, 0).unsqueeze(1).repeat(1, 2, 1, 1, 1)


def _any_pixels(numbers: _Numbers, variant: int) -> Tensor:
    """Images; two of them for what compares; cut into flat patches beside a grid of them."""
    if variant in (2, 3):
        return _pairs(numbers, variant) if variant == 2 else _patches(numbers)
    return _patches(numbers) if variant == _FLAT else _pixels(numbers, variant)


def _patches(numbers: _Numbers) -> Tensor:
    size = numbers.number("patch_size", default=14)
    channels = numbers.number("in_channels", "num_channels", "in_chans", default=3)
    return _normal(_GRID * _GRID, channels * numbers.number("temporal_patch_size", default=1) * size * size)


def _grid(numbers: _Numbers, variant: int) -> Tensor:
    return torch.tensor([[1, _GRID, _GRID]])


def _wave(numbers: _Numbers, variant: int) -> Tensor:
    if variant == 2 or (numbers.get("num_mel_bins") and variant == 0):
        return _normal(_BATCH, numbers.number("max_length", default=64), numbers.number("num_mel_bins", default=80))
    return _normal(_BATCH, 1, 16000) if variant == 1 else _normal(_BATCH, 16000)


def _features(numbers: _Numbers, variant: int) -> Tensor:
    bins = numbers.number("num_mel_bins", "input_feat_per_channel", "feature_size", "input_dim", default=80)
    frames = numbers.number("max_source_positions", default=0)
    if frames and variant == 0:
        return _normal(_BATCH, bins, 2 * frames)
    if variant == 2:
        return _normal(_BATCH, bins, 64)
    return _normal(_BATCH, numbers.number("max_length", default=64), bins)


def _inputs(numbers: _Numbers, variant: int) -> Tensor:
    """What is only called inputs: vectors of the width the model takes."""
    width = numbers.number("d_model", "hidden_size", default=16)
    return _ids(numbers, 0) if variant else _normal(_BATCH, _WORDS, width)


def _series(numbers: _Numbers, variant: int) -> Tensor:
    length = numbers.number("context_length", default=32)
    lags = max(numbers.get("lags_sequence", default=[0]) or [0])
    channels = numbers.number("num_input_channels", "input_size", default=1)
    length += 0 if numbers.get("patch_length") else int(lags)
    return _normal(_BATCH, length, channels) if channels > 1 or variant else _normal(_BATCH, length)


def _boxes(numbers: _Numbers, variant: int) -> Tensor:
    return torch.zeros(_BATCH, _WORDS, 4, dtype=torch.int64)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


_VARIANTS = 4
_FLAT = 9
"""Images as rows of patches."""
_GRID = 8
_DATA = (
    "input_ids", "pixel_values", "input_values", "input_features", "inputs", "past_values", "audio_values",
    "pixel_values_videos", "image_grid_thw",
)  # fmt: skip
"""Kinds of data, by the argument's name."""
_EXTRA = ("bbox", "image_grid_thw", "attention_mask")
_MAKERS: dict[str, Callable[[_Numbers, int], Tensor]] = {
    "input_ids": _ids, "decoder_input_ids": _ids, "labels": _ids, "bbox": _boxes,
    "pixel_values": _any_pixels, "pixel_values_videos": _video, "grid_thw": _grid, "image_grid_thw": _grid,
    "input_values": _wave, "audio_values": _wave, "input_features": _features,
    "past_values": _series, "past_observed_mask": lambda n, v: torch.ones_like(_series(n, v)),
    "hidden_states": lambda n, v: _patches(n) if v == _FLAT else _inputs(n, v),
    "inputs": _inputs, "inputs_embeds": _inputs, "encoder_hidden_states": _inputs, "query_embeds": _inputs,
}  # fmt: skip


def _make(name: str, numbers: _Numbers, variant: int) -> Tensor | None:
    maker = _MAKERS.get(name)
    if maker is not None:
        return maker(numbers, variant)
    return _mask(name, numbers, variant) if name.endswith("mask") else None


def _mask(name: str, numbers: _Numbers, variant: int) -> Tensor:
    """All there: for the data that the name starts with, else for words."""
    data = next(
        (maker for start, maker in _MAKERS.items() if name.startswith(start) and not start.endswith("mask")), None
    )
    if name == "decoder_attention_mask" or data is None:
        return torch.ones(_BATCH, _WORDS, dtype=torch.int64)
    shape = data(numbers, variant).shape
    return torch.ones(_BATCH, max(shape[1:]) if len(shape) > 1 else 1, dtype=torch.int64)
