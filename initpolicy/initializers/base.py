"""What an initializer is: a law (what it promises) and a way to make the values. Both are pure.

Extension is an argument: ``apply_policy(model, policy, initializers={"mine": Initializer(...)})``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from initpolicy import streams
from initpolicy.errors import meant
from initpolicy.formula import FormulaError, parse
from initpolicy.records import Block, Law
from initpolicy.streams import Recipe, Stream

__all__ = [
    "REQUIRED",
    "Argument",
    "Arguments",
    "Block",
    "Draw",
    "Float32",
    "Initializer",
    "LawOf",
    "Make",
    "MakeAlike",
    "Problems",
    "RecipeOf",
    "Together",
    "check_names",
    "check_values",
    "elements",
    "fits",
    "fixed",
    "freedom",
    "iid",
    "signature",
    "unset",
]

Float32 = NDArray[np.float32]
Arguments = Mapping[str, Any]
Problems = list[tuple[str, str]]
"""(argument, reason), to be read one after the other: ``std must be above 0, not -1``."""

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
"""Stands for a default that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of an initializer: numbers may be given as formulas, and arrive here as numbers."""

    name: str
    kind: Literal["number", "integer", "choice", "text", "boolean", "mapping", "formula", "gain"] = "number"
    """``formula`` stays text, for each element; ``gain`` is a number or ``auto``, decided by the planner."""
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    """The lower limit itself is refused."""
    open_high: bool = False
    doc: str = ""


LawOf = Callable[[Block, Arguments], "Law | None"]
"""None: nothing to compare with. May raise ValueError with a plain reason that reads after the initializer's
name (``needs two or more dimensions, this is (64,)``)."""
RecipeOf = Callable[[Block, Arguments], Recipe]
"""The arithmetic of one element, as data: what every backend can follow."""
Draw = Callable[[Stream, Block, Arguments, int, int], Float32]
"""What no recipe states: (stream, block, arguments, start, stop) -> float32 values of the flattened elements
[start, stop); start is a multiple of ``streams.BLOCK``. Must not depend on how the range is cut."""
Make = Callable[[Stream, Block, Arguments], Float32]
"""(stream, block, arguments) -> the whole tensor, float32, in ``block.shape``."""
MakeAlike = Callable[[Sequence[Stream], Block, Arguments], Float32]
"""Several of those at once, that differ in nothing but their streams: one after the other, along a new first axis."""
Together = Callable[[Arguments], Iterable[tuple[str, str]]]
"""The arguments that were given, each right by itself -> what is wrong with them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initializer:
    """A named pair of pure functions: ``law``, and one of ``recipe`` or ``draw`` (elementwise) and ``make`` (whole)."""

    name: str
    arguments: tuple[Argument, ...] = ()
    law: LawOf
    recipe: RecipeOf | None = None
    draw: Draw | None = None
    make: Make | None = None
    make_alike: MakeAlike | None = None
    """The bytes of ``make``, for small ones by the hundred."""
    random: bool = True
    """Whether two draws under different names differ: equal values are then worth a flag."""
    fallible: bool = False
    """Values come from outside (a file, a user's function or formula): made and checked before any
    parameter is written."""
    together: Together | None = None
    anything: bool = False
    """Takes whatever arguments it is given, unchecked (a user's function)."""
    whole: bool = False
    """Fills the whole parameter at once, stacked copies included: its values belong to the name (a file's)."""
    doc: str = ""


def elements(
    initializer: Initializer, stream: Stream, block: Block, arguments: Arguments, start: int, stop: int
) -> Float32:
    """[start, stop) of what is made element by element; start is a multiple of ``streams.BLOCK``."""
    if initializer.recipe is not None:
        return streams.values(initializer.recipe(block, arguments), stream, start, stop)
    assert initializer.draw is not None, f"{initializer.name} states no values"
    return initializer.draw(stream, block, arguments, start, stop)


# --- arguments -----------------------------------------------------------------------------------


def signature(initializer: Initializer) -> str:
    """``uniform(a, b)``, ``normal(mean=0, std=1)``: as a reader would write the call."""
    shown = (a.name if a.default is REQUIRED else f"{a.name}={a.default}" for a in initializer.arguments)
    return f"{initializer.name}({', '.join(shown)})"


def unset(initializer: Initializer) -> dict[str, Any]:
    """Every argument that has a default, at it."""
    return {a.name: a.default for a in initializer.arguments if a.default is not REQUIRED}


def check_names(initializer: Initializer, given: Arguments) -> Problems:
    """What is wrong with arguments as they are written, numbers as formulas and all.

    Formulas are read, and computed where they need no variable. None (YAML's null) counts as not given.
    """
    return _check(initializer, given)[1]


def check_values(initializer: Initializer, given: Arguments) -> tuple[dict[str, Any], Problems]:
    """Every argument's value, defaults included, and what is wrong; formulas for numbers are numbers by now."""
    values, problems = _check(initializer, given)
    wrong = {name for name, _ in problems}
    late = [
        (a.name, f"must be a number by now, not {values[a.name]!r}")
        for a in initializer.arguments
        if a.kind in ("number", "integer", "gain") and isinstance(values.get(a.name), str) and a.name not in wrong
    ]
    return {**unset(initializer), **values}, problems + late


def _check(initializer: Initializer, given: Arguments) -> tuple[dict[str, Any], Problems]:
    if initializer.anything:
        return dict(given), []
    known = {a.name: a for a in initializer.arguments}
    values = {name: value for name, value in given.items() if value is not None}
    problems = [(name, _unknown(name, initializer)) for name in values if name not in known]
    problems += [
        (a.name, f"is required: {signature(initializer)}")
        for a in known.values()
        if a.default is REQUIRED and a.name not in values
    ]
    for name in values.keys() & known.keys():
        try:
            values[name] = _checked(known[name], values[name])
        except ValueError as error:
            problems.append((name, str(error)))
    if initializer.together and not problems:
        problems += initializer.together(values)
    order = [*known, *given]
    return values, sorted(problems, key=lambda problem: order.index(problem[0]))


def _unknown(name: str, initializer: Initializer) -> str:
    names = [a.name for a in initializer.arguments]
    takes = f"{initializer.name} takes {', '.join(names) or 'no arguments'}"
    return f"is unknown{meant(name, names) or f'; {takes}'}"


def _checked(argument: Argument, value: Any) -> Any:
    """The value as the initializer wants it. ValueError with a reason that reads after the argument's name."""
    match argument.kind:
        case "number" | "integer" | "gain":
            return _number(argument, value)
        case "choice":
            if value not in argument.choices:
                raise ValueError(f"must be {_one_of(argument.choices)}, not {value!r}{_hint(value, argument.choices)}")
        case "boolean":
            if not isinstance(value, bool):
                raise ValueError(f"must be true or false, not {value!r}")
        case "mapping":
            if not isinstance(value, Mapping):
                raise ValueError(f"must be a mapping, not {value!r}")
        case "formula" if isinstance(value, (int, float)) and not isinstance(value, bool):
            _finite(value)
            return str(value)
        case "formula" | "text":
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"must be {'a formula' if argument.kind == 'formula' else 'text'}, not {value!r}")
            if argument.kind == "formula":
                parse(value)
    return value


def _number(argument: Argument, value: Any) -> Any:
    """A number within its limits; a formula that needs variables is read and left."""
    if isinstance(value, str):
        if argument.kind == "gain" and value == "auto":
            return value
        try:
            formula = parse(value)
        except FormulaError as error:
            raise ValueError(f"is not a number: {error}") from None
        if formula.names:
            return value
        value = formula.evaluate({})
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(f"must be a number, not {str(value).lower() if isinstance(value, bool) else repr(value)}")
    _finite(value)
    if argument.kind == "integer":
        if value != int(value):
            raise ValueError(f"must be a whole number, not {value:g}")
        value = int(value)
    below = value <= argument.low if argument.open_low else value < argument.low
    above = value >= argument.high if argument.open_high else value > argument.high
    if below or above:
        raise ValueError(f"must be {_limits(argument)}, not {value:g}")
    return value


def _finite(value: float | np.number[Any]) -> None:
    try:
        finite = math.isfinite(value)
    except OverflowError:
        raise ValueError("must be a number below 1.8e308, the largest float64") from None
    if not finite:
        raise ValueError(f"must be finite, not {value}")


def _limits(argument: Argument) -> str:
    low = f"{'above' if argument.open_low else 'at least'} {argument.low:g}" if argument.low > -math.inf else ""
    high = f"{'below' if argument.open_high else 'at most'} {argument.high:g}" if argument.high < math.inf else ""
    return " and ".join(limit for limit in (low, high) if limit)


def _hint(value: object, choices: tuple[str, ...]) -> str:
    """The nearest choice; none where the value is a part of several."""
    several = sum(str(value) in choice for choice in choices) > 1
    return "" if several else meant(str(value), choices)


def _one_of(choices: tuple[str, ...]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


# --- laws ----------------------------------------------------------------------------------------

_LARGEST = {"float16": 65504.0, "bfloat16": (2 - 2.0**-7) * 2.0**127}
_LARGEST_SINGLE = (2 - 2.0**-23) * 2.0**127
"""Of float64 parameters too: their values are drawn in float32."""


def fits(block: Block, furthest: float) -> None:
    """Refuses values that the block's dtype cannot hold.

    Raises:
        ValueError: if ``furthest``, the largest absolute value to be expected, exceeds the dtype's largest number.
    """
    largest = _LARGEST.get(block.dtype, _LARGEST_SINGLE)
    if furthest > largest:
        raise ValueError(f"reaches {furthest:g}, past {largest:g}, the largest {block.dtype} that is drawn")


def freedom(count: float, kurtosis: float, *, reach: float = 0.0, atoms: float = 0.0) -> float:
    """Degrees of freedom f of a chi-square with the spread of the variance of n values, so that six of its
    standard errors hold all that chance does.

    For large n, 2/f = (kurtosis - 1)/n. Besides:

    - few values lie together more often than a chi-square says: 2/f grows by 10/n²;
    - of values with ``atoms``, the variance less the square of the mean's error, 36/n at six standard errors, must
      stay inside (of heads and tails it is all that varies): sqrt(2/f) = sqrt((kurtosis - 1)/n) + 6 atoms/n, atoms
      being the share of the variance that is due to chance;
    - one value as far out as any, ``reach`` standard deviations, adds J = reach²/n to the variance's 1, and must not
      lift its cube root by more than six times sqrt(2/(9 f)): f <= 8/((1 + J)^(1/3) - 1)².
    """
    if atoms:
        by_size = 2 / (math.sqrt((kurtosis - 1) / count) + 6 * atoms / count) ** 2
    else:
        by_size = 2 / ((kurtosis - 1) / count + 10 / count**2)
    jump = math.expm1(math.log1p(reach**2 / count) / 3)
    return min(by_size, 8 / jump**2) if jump else by_size


def iid(
    kind: str,
    count: int,
    *,
    mean: float,
    std: float,
    kurtosis: float,
    low: float = -math.inf,
    high: float = math.inf,
    reach: float = 0.0,
    atoms: bool = False,
) -> Law:
    """The law of ``count`` independent values with these moments (kurtosis: normal 3, uniform 1.8).

    Var(sample mean) = std²/n; for the variance see `freedom`. ``reach`` is the largest distance of a draw from the
    mean in standard deviations, for laws with heavy tails; ``atoms`` says that values repeat.
    """
    if not std or not count:
        return Law(kind=kind, mean=mean, std=std, low=low, high=high)
    return Law(
        kind=kind,
        mean=mean,
        std=std,
        low=low,
        high=high,
        mean_error=std / math.sqrt(count),
        freedom=freedom(count, max(kurtosis, 1.0), reach=reach, atoms=float(atoms)),
    )


def fixed(kind: str, count: int, *, total: float, squares: float) -> Law:
    """The law of values that leave nothing to chance, from their sum and their sum of squares."""
    mean = total / count if count else 0.0
    return Law(kind=kind, mean=mean, std=math.sqrt(max(squares / count - mean * mean, 0.0)) if count else 0.0)
