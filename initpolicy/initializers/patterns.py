"""Nothing random: identities and interpolation kernels."""

from __future__ import annotations

import math
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer, fixed
from initpolicy.records import Law
from initpolicy.streams import Stream

__all__ = ["PATTERNS"]


def _two(block: Block) -> tuple[int, int]:
    if len(block.shape) != 2:
        raise ValueError(f"needs two dimensions, this is {block.shape}")
    rows, columns = block.shape
    return rows, columns


def _eye_law(block: Block, a: Arguments) -> Law:
    ones = min(_two(block))
    return fixed("eye", block.numel, total=ones, squares=ones)


def _eye(stream: Stream, block: Block, a: Arguments) -> Float32:
    return np.eye(*_two(block), dtype=np.float32)


def _channels(block: Block, groups: int) -> tuple[int, int]:
    """(first-axis channels of one group, channels of the second axis)."""
    if not 3 <= len(block.shape) <= 5:
        raise ValueError(f"needs a convolution's weight, three to five dimensions, this is {block.shape}")
    if block.shape[0] % groups:
        raise ValueError(f"needs a first dimension that its {groups} groups divide, this is {block.shape}")
    return block.shape[0] // groups, block.shape[1]


def _on_diagonal(block: Block, groups: int, kernel: Float32) -> Float32:
    """The kernel where channel d of a group meets channel d, 0 elsewhere."""
    rows, columns = _channels(block, groups)
    out = np.zeros((groups, rows, *block.shape[1:]), np.float32)
    same = np.arange(min(rows, columns))
    out[:, same, same] = kernel
    return out.reshape(block.shape)


def _on_diagonal_law(kind: str, block: Block, groups: int, total: float, squares: float) -> Law:
    times = groups * min(_channels(block, groups))
    return fixed(kind, block.numel, total=times * total, squares=times * squares)


def _groups(block: Block, a: Arguments) -> int:
    return a["groups"] or block.groups


def _dirac_law(block: Block, a: Arguments) -> Law:
    return _on_diagonal_law("dirac", block, _groups(block, a), 1.0, 1.0)


def _dirac(stream: Stream, block: Block, a: Arguments) -> Float32:
    kernel = np.zeros(block.shape[2:], np.float32)
    kernel[tuple(size // 2 for size in kernel.shape)] = 1
    return _on_diagonal(block, _groups(block, a), kernel)


def _tent(size: int) -> NDArray[np.float64]:
    """w[x] = 1 - |x - (size - 1)/2|/f with f = ceil(size/2): linear interpolation by the factor f."""
    distance: NDArray[np.float64] = np.abs(np.arange(size) - (size - 1) / 2)
    return 1 - distance / math.ceil(size / 2)


def _bilinear_law(block: Block, a: Arguments) -> Law:
    _channels(block, block.groups)
    sides = [_tent(size) for size in block.shape[2:]]
    total = math.prod(float(side.sum()) for side in sides)
    squares = math.prod(float((side**2).sum()) for side in sides)
    return _on_diagonal_law("bilinear", block, block.groups, total, squares)


def _bilinear(stream: Stream, block: Block, a: Arguments) -> Float32:
    kernel = reduce(np.multiply.outer, (_tent(size) for size in block.shape[2:]))
    return _on_diagonal(block, block.groups, kernel.astype(np.float32))


PATTERNS: Final = (
    Initializer(
        name="eye",
        law=_eye_law,
        make=_eye,
        random=False,
        doc="1 on the main diagonal of a matrix, 0 elsewhere.",
    ),
    Initializer(
        name="dirac",
        arguments=(
            Argument(
                name="groups",
                kind="integer",
                default=None,
                low=1,
                doc="Groups to keep apart; the layer's own if left out.",
            ),
        ),
        law=_dirac_law,
        make=_dirac,
        random=False,
        doc="A convolution that hands on as many channels as it can: 1 at the kernel's centre (index size // 2) where "
        "output channel d of a group meets input channel d, 0 elsewhere.",
    ),
    Initializer(
        name="bilinear",
        law=_bilinear_law,
        make=_bilinear,
        random=False,
        doc="Upsampling by linear interpolation, for a transposed convolution of stride f, kernel 2f - f mod 2 and "
        "padding ceil((f - 1)/2): the product over the axes of 1 - |x - (size - 1)/2|/f, f = ceil(size/2), where "
        "channel d of a group meets channel d, 0 elsewhere: Long, Shelhamer, Darrell 2015 (arXiv 1411.4038), "
        "section 3.3.",
    ),
)
