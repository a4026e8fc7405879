"""The same number everywhere."""

from __future__ import annotations

from typing import Final

from initpolicy.initializers.base import Argument, Arguments, Block, Initializer, fits
from initpolicy.records import Law
from initpolicy.streams import Recipe

__all__ = ["CONSTANTS"]


def _constant_law(block: Block, arguments: Arguments) -> Law:
    fits(block, abs(arguments["value"]))
    return Law(kind="constant", mean=float(arguments["value"]), std=0.0)


def _constant(block: Block, arguments: Arguments) -> Recipe:
    return Recipe(law="constant", shift=arguments["value"])


def _always(name: str, value: float) -> Initializer:
    return Initializer(
        name=name,
        law=lambda block, arguments: _constant_law(block, {"value": value}),
        recipe=lambda block, arguments: _constant(block, {"value": value}),
        random=False,
        doc=f"Every element is {value:g}.",
    )


CONSTANTS: Final = (
    Initializer(
        name="constant",
        arguments=(Argument(name="value", doc="The number."),),
        law=_constant_law,
        recipe=_constant,
        random=False,
        doc="Every element is ``value``. In a weight it leaves all units of a layer identical.",
    ),
    _always("zeros", 0.0),
    _always("ones", 1.0),
)
