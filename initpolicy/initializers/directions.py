"""Directions: what one unit sees is a random direction of a stated length, so that only lengths are certain."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from initpolicy import streams
from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer, fits
from initpolicy.records import Law
from initpolicy.streams import Stream

__all__ = ["DIRECTIONS"]


def _flat(block: Block) -> tuple[int, int]:
    if len(block.shape) < 2:
        raise ValueError(f"needs two or more dimensions, this is {block.shape}")
    return block.shape[0], math.prod(block.shape[1:])


def _law(block: Block, a: Arguments) -> Law:
    """Entries of even signs whose squares sum to norm² in each row, so norm²/columns is their variance exactly.

    Only their mean varies, as of independent entries; the measured variance is less by its square.
    """
    fits(block, a["norm"])
    rows, columns = _flat(block)
    count = rows * columns
    if not count:
        return Law(kind="normalized", mean=0.0, std=0.0)
    std = a["norm"] / math.sqrt(columns)
    return Law(
        kind="normalized",
        mean=0.0,
        std=std,
        low=math.nextafter(-a["norm"], -math.inf) * (1 + 1e-6),
        high=math.nextafter(a["norm"], math.inf) * (1 + 1e-6),
        mean_error=std / math.sqrt(count),
        freedom=count**2 / 19,
    )


def _make(stream: Stream, block: Block, a: Arguments) -> Float32:
    """Lengths are summed in float64; a row is never all zero, as no draw is."""
    rows, columns = _flat(block)
    count = rows * columns
    drawn = streams.normal(stream, 0, count) if a["distribution"] == "normal" else streams.uniform01(stream, 0, count)
    values = drawn.astype(np.float64).reshape(rows, columns)
    if a["distribution"] == "uniform":
        values = 2 * values - 1
    lengths = np.sqrt((values**2).sum(axis=1, keepdims=True))
    scaled: Float32 = (a["norm"] * values / lengths).astype(np.float32)
    return scaled.reshape(block.shape)


DIRECTIONS: Final = (
    Initializer(
        name="normalized",
        arguments=(
            Argument(name="norm", default=1.0, low=0, open_low=True, doc="Euclidean length of each row."),
            Argument(
                name="distribution",
                kind="choice",
                choices=("normal", "uniform"),
                default="normal",
                doc="What is scaled: normal draws give all directions the same chance, uniform ones do not.",
            ),
        ),
        law=_law,
        make=_make,
        doc="Each row (the dimensions after the first flattened) is a random direction of length norm, so entries "
        "have standard deviation norm/sqrt(columns) exactly: `normc` of openai/baselines.",
    ),
)
