"""The same number everywhere."""

from __future__ import annotations

from typing import Final

import numpy as np

from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer, fits
from initpolicy.records import Law
from initpolicy.streams import Stream

__all__ = ["CONSTANTS"]


def _constant_law(block: Block, arguments: Arguments) -> Law:
    fits(block, abs(arguments["value"]))
    return Law(kind="constant", mean=float(arguments["value"]), std=0.0)


def _constant(stream: Stream, block: Block, arguments: Arguments, start: int, stop: int) -> Float32:
    return np.full(stop - start, arguments["value"], np.float32)


def _always(name: str, value: float) -> Initializer:
    return Initializer(
        name=name,
        law=lambda block, arguments: _constant_law(block, {"value": value}),
        draw=lambda stream, block, arguments, start, stop: _constant(stream, block, {"value": value}, start, stop),
        random=False,
        doc=f"Every element is {value:g}.",
    )


CONSTANTS: Final = (
    Initializer(
        name="constant",
        arguments=(Argument(name="value", doc="The number."),),
        law=_constant_law,
        draw=_constant,
        random=False,
        doc="Every element is ``value``. In a weight it leaves all units of a layer identical.",
    ),
    _always("zeros", 0.0),
    _always("ones", 1.0),
)
