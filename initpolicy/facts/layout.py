"""What the axes of a stored weight mean, and the fans that follow from it. Pure: shapes in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from initpolicy.errors import meant
from initpolicy.records import Layout

__all__ = ["AXES", "fans", "parse_layout", "part_layout", "torch_fans", "torch_layout"]

AXES = ("out", "in", "k", "stack")
"""The words for an axis: outputs, inputs, positions in a kernel, independent copies."""


def fans(shape: tuple[int, ...], layout: Layout) -> tuple[float, float] | None:
    """(fan_in, fan_out): how many inputs reach one output, and how many outputs one input reaches; None without axes.

    With O, I and K the products of the sizes of the ``out``, ``in`` and ``k`` axes, one group's of each::

        fan_in = I·K / stride        fan_out = O·K / blocks

    Axis 0 is divided by the groups, as the other one is stored divided. A transposed convolution of stride s spreads
    the K products of each input position over s output positions, so K/s of them meet in one, on average. An index is
    one input that is on, whatever the table's length: fan_in 1. Packed blocks are layers of their own. Stacked copies
    do not count. Several ``in`` axes multiply: x₁ᵀWx₂ sums in₁·in₂ products, each of which reaches ``out`` outputs.
    """
    if not layout.axes:
        return None
    sizes = dict.fromkeys(AXES, 1.0)
    for axis, (word, size) in enumerate(zip(layout.axes, shape, strict=True)):
        sizes[word] *= size / layout.groups if axis == 0 else size
    fan_in = 1.0 if layout.one_hot else sizes["in"] * sizes["k"] / layout.stride
    return fan_in, sizes["out"] * sizes["k"] / max(1, len(layout.blocks))


def torch_fans(shape: tuple[int, ...]) -> tuple[float, float] | None:
    """(fan_in, fan_out) as ``torch.nn.init`` counts them: (out, in, k…), whatever the owner. None below two axes."""
    if len(shape) < 2:
        return None
    kernel = math.prod(shape[2:])
    return float(shape[1] * kernel), float(shape[0] * kernel)


def torch_layout(ndim: int) -> tuple[str, ...]:
    """The axes that `torch_fans` takes for granted; none below two."""
    return ("out", "in", *("k",) * (ndim - 2)) if ndim >= 2 else ()


def parse_layout(text: str, ndim: int) -> Layout:
    """The layout that a policy states: one word for each axis, of ``out``, ``in``, ``k`` and ``stack``.

    A single ``k`` stands for all the axes that are left over, one or more of them, so ``out in k`` fits convolutions
    of any dimension; with several, each stands for itself.

    Raises:
        ValueError: with a reason that reads after a place.
    """
    words = tuple(text.split())
    mistakes = [f"unknown axis {word!r}{_hint(word)}" for word in dict.fromkeys(words) if word not in AXES]
    if mistakes:
        raise ValueError(f"layout {text!r}: {'; '.join(mistakes)}")
    if "out" not in words and "in" not in words:
        raise ValueError(f"layout {text!r}: names neither 'out' nor 'in', so there are no fans to count")
    if words.count("k") == 1:
        place, spare = words.index("k"), ndim - len(words)
        words = (*words[:place], *("k",) * max(1, 1 + spare), *words[place + 1 :])
    if len(words) != ndim:
        more = "; a 'k' would stand for the rest" if len(words) < ndim and "k" not in words else ""
        raise ValueError(f"layout {text!r}: names {_axes(len(words))}, but the tensor has {ndim}{more}")
    return Layout(axes=words)


def _hint(word: str) -> str:
    return meant(word, AXES) or f"; an axis is {', '.join(AXES[:-1])} or {AXES[-1]}"


def _axes(count: int) -> str:
    return f"{count} axis" if count == 1 else f"{count} axes"


def part_layout(layout: Layout, count: int, axis: int) -> Layout:
    """The layout of each of ``count`` equal parts, cut along ``axis`` (from 0).

    Cut along the packed axis, into as many parts as there are blocks or a multiple of it, each part is one block or a
    piece of one. Two halves of four gates hold two each, whose names the halves do not share: they go by number.
    Parts that straddle blocks are taken as they are. Groups are cut along axis 0 alike; a part of one group, or one
    that straddles groups, has none.
    """
    blocks, groups = layout.blocks, layout.groups
    if blocks and axis == _packed(layout):
        blocks = tuple(_numbered(len(blocks), count))
    if axis == 0 and groups > 1:
        groups = groups // count if groups % count == 0 else 1
    return replace(layout, blocks=blocks, groups=groups)


def _packed(layout: Layout) -> int:
    """The axis that blocks are packed along."""
    return layout.axes.index("out") if "out" in layout.axes else 0


def _numbered(blocks: int, parts: int) -> Iterator[str]:
    """Names for the blocks that are whole in each part, where there are several."""
    if blocks > parts and blocks % parts == 0:
        yield from map(str, range(blocks // parts))
