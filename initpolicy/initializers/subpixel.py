"""Sub-pixel convolutions: a convolution that a PixelShuffle follows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer
from initpolicy.initializers.distributions import normal_law, normal_recipe, uniform_law, uniform_recipe
from initpolicy.initializers.scaled import RECTIFIER, fan
from initpolicy.records import Law
from initpolicy.streams import Stream, backends

__all__ = ["SUBPIXEL"]


def _small(block: Block, a: Arguments) -> tuple[Block, int]:
    """The kernel before it is repeated, and how often each of its output channels is.

    A copy of r^d channels makes r^d neighbouring pixels, one channel of the enlarged image.
    """
    if len(block.shape) < 3:
        raise ValueError(f"needs a convolution's weight, three or more dimensions, this is {block.shape}")
    copies = a["scale"] ** (len(block.shape) - 2)
    if block.shape[0] % copies:
        raise ValueError(f"needs a first dimension divisible by scale**{len(block.shape) - 2} = {copies}, "
                         f"this is {block.shape}")  # fmt: skip
    small = replace(
        block,
        shape=(block.shape[0] // copies, *block.shape[1:]),
        fan_out=None if block.fan_out is None else block.fan_out / copies,
    )
    return small, copies


def _std(small: Block, a: Arguments) -> float:
    return float(a["gain"]) / math.sqrt(fan(small, a["mode"]))


def _law(block: Block, a: Arguments) -> Law:
    small, _ = _small(block, a)
    std = _std(small, a)
    if a["distribution"] == "normal":
        return normal_law(small, 0.0, std)
    return uniform_law(small, -math.sqrt(3) * std, math.sqrt(3) * std)


def _make(stream: Stream, block: Block, a: Arguments) -> Float32:
    small, copies = _small(block, a)
    std = _std(small, a)
    bound = math.sqrt(3) * std
    recipe = normal_recipe(0.0, std) if a["distribution"] == "normal" else uniform_recipe(small, -bound, bound)
    values = backends.values(recipe, stream, 0, small.numel)
    return np.repeat(values.reshape(small.shape), copies, axis=0)


SUBPIXEL: Final = (
    Initializer(
        name="icnr",
        arguments=(
            Argument(name="scale", kind="integer", low=1, doc="Upscale factor r of the PixelShuffle that follows."),
            Argument(
                name="distribution", kind="choice", choices=("normal", "uniform"), default="normal", doc="Of He's law."
            ),
            *RECTIFIER,
        ),
        law=_law,
        make=_make,
        doc="He's law for a kernel of out/r² channels, each then repeated r² times in a row, so that PixelShuffle(r) "
        "starts as nearest-neighbour upsampling, without checkerboards: Aitken et al. 2017 (arXiv 1707.02937). "
        "The fans are the small kernel's. For d spatial dimensions r^d stands for r².",
    ),
)
