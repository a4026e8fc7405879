"""The safe arithmetic of policies: a small part of Python's expressions, computed in float64.

    arithmetic   + - * / // % **, unary + -, parentheses, numbers
    conditions   < <= > >= == !=, and or not, x if c else y; only the chosen side is computed
    functions    abs ceil cos exp expm1 floor log log1p max min sin sqrt
    names        pi, e, the variables given, and one element of a tuple: shape[0], shape[-1]

Nothing else is understood: no attributes, other calls, text, comprehensions or assignments. Every number is
a float64, so no integer grows without end, and every step must have a finite value. ``and``, ``or`` and
``not`` give truth values; a number is true where it is not 0.

The tree comes from Python's own parser. An expression library was considered (simpleeval): it computes in
Python's unbounded integers, has to be talked out of text and attributes, and takes no arrays.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initpolicy.errors import meant, shown

__all__ = ["CONSTANTS", "FUNCTIONS", "Formula", "FormulaError", "parse"]

Array = NDArray[np.float64]
Variables = Mapping[str, Any]

CONSTANTS: Mapping[str, float] = {"e": math.e, "pi": math.pi}
FUNCTIONS = ("abs", "ceil", "cos", "exp", "expm1", "floor", "log", "log1p", "max", "min", "sin", "sqrt")
"""``max`` and ``min`` take two or more numbers, the others one."""

LENGTH, DEPTH = 500, 100

_SEVERAL = ("max", "min")
_Operation = type[ast.AST] | str
_SCALAR: Mapping[_Operation, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,
    **{name: getattr(math, name) for name in FUNCTIONS if hasattr(math, name)},
    "abs": abs,
    "ceil": lambda x: float(math.ceil(x)),
    "floor": lambda x: float(math.floor(x)),
    "max": max,
    "min": min,
}
_ARRAY: Mapping[_Operation, Callable[..., Any]] = {
    **_SCALAR,
    ast.Pow: np.power,
    **{name: getattr(np, name) for name in FUNCTIONS},
    "max": np.maximum,
    "min": np.minimum,
}
_COMPARISONS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_HINTS = (("&&", "write 'and'"), ("||", "write 'or'"), ("?", "write 'x if c else y'"), (":=", "nothing is assigned"))
_REMEDIES: Mapping[type[ast.AST], str] = {
    ast.BitXor: "'^' is not a power; write '**'",
    ast.BitAnd: "'&' joins no conditions; write 'and'",
    ast.BitOr: "'|' joins no conditions; write 'or'",
}
_GRAMMAR = "a formula has numbers, names, + - * / // % **, comparisons, and/or/not, 'x if c else y' and calls"


class FormulaError(ValueError):
    """The formula cannot be read, or has no value here; the message starts with its text."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that was read and found sound."""

    text: str
    names: frozenset[str]
    """The variables it needs; ``pi`` and ``e`` are no variables."""
    _tree: ast.expr = field(repr=False, compare=False)

    def evaluate(self, variables: Variables) -> float | bool:
        """Its value, a bool for a condition.

        Raises:
            FormulaError: for an unknown name, a variable that is no number, or a step without a finite value.
        """
        value = self._value(variables)
        return value if isinstance(value, bool) else float(value)

    def evaluate_array(self, variables: Variables) -> Array:
        """Its value at every element, float64, in the shape that the arrays among the variables broadcast to.

        Raises:
            FormulaError: as `evaluate`, naming the variables at the first element that has no value.
        """
        arrays = {name: value for name, value in variables.items() if isinstance(value, np.ndarray)}
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
        flat = {name: np.broadcast_to(array, shape).reshape(-1) for name, array in arrays.items() if name in self.names}
        value = np.asarray(self._value({**variables, **flat}), np.float64)
        return np.broadcast_to(value, math.prod(shape)).reshape(shape)

    def _value(self, variables: Variables) -> Any:
        for name in sorted(self.names - variables.keys()):
            known = [*variables, *CONSTANTS]
            hint = meant(name, known) or f"; known here: {', '.join(sorted(known))}"
            raise FormulaError(f"{shown(self.text)}: unknown name {name!r}{hint}")
        try:
            with np.errstate(all="ignore"):
                return _value(self._tree, {name: variables[name] for name in self.names})
        except _NoValue as problem:
            raise FormulaError(f"{shown(self.text)} {problem}") from None


@lru_cache(maxsize=4096)
def parse(text: str) -> Formula:
    """Read a formula.

    Raises:
        FormulaError: saying what is not understood, and what was probably meant; a formula without variables
            is computed here, so that ``9**9**9`` is refused at once.
    """
    if len(text) > LENGTH:
        raise FormulaError(f"{shown(text)} is too long for a formula: {len(text)} characters, at most {LENGTH}")
    if not text.strip():
        raise FormulaError(f"{text!r} is empty; write a formula")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise FormulaError(f"{shown(text)} is not a formula{_hint(text)}") from None
    try:
        formula = Formula(text, frozenset(_checked(tree)), tree)
    except _NoValue as problem:
        raise FormulaError(f"{shown(text)}: {problem}") from None
    if not formula.names:
        formula.evaluate({})
    return formula


def _hint(text: str) -> str:
    for sign, remedy in _HINTS:
        if sign in text:
            return f": {remedy}, not {sign!r}" if sign != ":=" else f": {remedy} in a formula"
    for opening, closing in ("()", "[]"):
        if text.count(opening) != text.count(closing):
            return f": {text.count(opening)} {opening!r} but {text.count(closing)} {closing!r}"
    if text.rstrip()[-1] in "+-*/%<>=(,":
        return ": it ends too early"
    single = text.translate({ord(sign): " " for sign in "<>!"}).replace("==", "  ")
    if "=" in single and "<=" not in text and ">=" not in text and "!=" not in text:
        return ": write '==' to compare"
    return ""


class _NoValue(Exception):
    """A reason that reads after the formula's text."""


def _code(node: ast.AST) -> str:
    """A part of the formula, written out; what is not of the grammar may be nested deeper than Python can follow."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return "a part"


# --- reading -------------------------------------------------------------------------------------


def _checked(node: ast.AST, depth: int = 1) -> set[str]:
    """The free names of a tree that holds nothing but the grammar above."""
    if depth > DEPTH:
        raise _NoValue(f"nested or chained more than {DEPTH} deep")
    parts: list[ast.expr]
    match node:
        case ast.Constant(value=value):
            _checked_constant(value)
            return set()
        case ast.Name(id=name):
            return set() if name in CONSTANTS else {_checked_name(name)}
        case ast.Subscript(value=ast.Name(id=name)):
            if name in CONSTANTS:
                raise _NoValue(f"takes an element of {name}, which is one number")
            _index(node)
            return {_checked_name(name)}
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
            _checked_call(name, parts)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            parts = [operand]
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) not in _SCALAR:
                raise _NoValue(_REMEDIES.get(type(op), f"{_code(node)} is not understood: {_GRAMMAR}"))
            parts = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others):
            if any(type(op) not in _COMPARISONS for op in ops):
                raise _NoValue("'in' and 'is' compare no numbers; write ==")
            parts = [left, *others]
        case ast.BoolOp(values=parts):
            pass
        case ast.IfExp(test=test, body=body, orelse=orelse):
            parts = [test, body, orelse]
        case ast.Attribute(attr=attr):
            raise _NoValue(f"attributes such as '.{attr}' cannot be read in a formula; give it a name under 'vars'")
        case ast.Call():
            raise _NoValue(f"only {', '.join(FUNCTIONS)} can be called, without keywords")
        case ast.JoinedStr():
            raise _NoValue("text has no place in a formula")
        case _:
            raise _NoValue(f"{_code(node)} is not understood: {_GRAMMAR}")
    return reduce(set.union, (_checked(part, depth + 1) for part in parts), set())


def _checked_name(name: str) -> str:
    if name in FUNCTIONS:
        raise _NoValue(f"{name!r} is a function; write {name}(…)")
    if name.startswith("__"):
        raise _NoValue(f"{name!r} is no variable: none starts with two underscores")
    return name


def _checked_constant(value: object) -> None:
    if isinstance(value, (str, bytes)):
        raise _NoValue("text has no place in a formula")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _NoValue(f"{value} is not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise _NoValue("a number in it is too large")


def _checked_call(name: str, arguments: list[ast.expr]) -> None:
    if name not in FUNCTIONS:
        known = meant(name, FUNCTIONS) or f"; known are {', '.join(FUNCTIONS)}"
        raise _NoValue(f"unknown function {name!r}{known}")
    count = len(arguments)
    if count < 2 if name in _SEVERAL else count != 1:
        wanted = "two or more numbers" if name in _SEVERAL else "one number"
        raise _NoValue(f"{name} takes {wanted}, not {count}")


def _index(node: ast.Subscript) -> int:
    match node.slice:
        case ast.Constant(value=int(index)) if not isinstance(index, bool):
            return index
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(index))):
            return -index
    raise _NoValue(f"{_code(node)}: an index is a whole number, as in shape[0]")


# --- computing -----------------------------------------------------------------------------------

_Value = Any
"""A float, a bool, or an array of either."""


def _value(node: ast.expr, known: Variables) -> _Value:
    match node:
        case ast.Constant(value=int(value) | float(value)):
            return float(value)
        case ast.Name(id=name):
            return CONSTANTS[name] if name in CONSTANTS else _number(node, known[name])
        case ast.Subscript():
            return _element(node, known)
        case ast.IfExp(test=test, body=body, orelse=other):
            chosen = _value(test, known) != 0
            return _branch(chosen, lambda here: _value(body, here), lambda here: _value(other, here), known)
        case ast.BoolOp(op=op, values=values):
            return _joined(isinstance(op, ast.And), values, known)
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(part, known) for part in (left, *others)]
            pairs = zip(ops, values[:-1], values[1:], strict=True)
            return reduce(operator.and_, (_COMPARISONS[type(op)](a, b) for op, a, b in pairs))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _value(operand, known) == 0
        case ast.UnaryOp(op=op, operand=operand):
            return (-1.0 if isinstance(op, ast.USub) else 1.0) * _value(operand, known)
        case ast.BinOp(left=left, op=op, right=right):
            return _step(node, type(op), [_value(left, known), _value(right, known)], known)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _step(node, name, [_value(part, known) for part in arguments], known)
    raise AssertionError(f"{ast.dump(node)} was let through")


def _step(node: ast.expr, operation: _Operation, values: list[_Value], known: Variables) -> _Value:
    """One operation on float64, whose every result is finite."""
    table = _ARRAY if any(isinstance(value, np.ndarray) for value in values) else _SCALAR
    function, numbers = table[operation], [value * 1.0 for value in values]
    try:
        value = reduce(function, numbers) if len(numbers) > 1 else function(*numbers)
    except (ArithmeticError, ValueError):
        value = math.nan
    finite = np.isfinite(value)
    if not np.all(finite):
        raise _NoValue(_why(node, known, int(np.argmin(finite))))
    return value


def _branch(
    chosen: _Value, yes: Callable[[Variables], _Value], no: Callable[[Variables], _Value], known: Variables
) -> _Value:
    """Each side at the elements that take it, and nowhere else."""
    if not isinstance(chosen, np.ndarray):
        return yes(known) if chosen else no(known)
    out = np.empty(chosen.shape)
    for mask, side in ((chosen, yes), (~chosen, no)):
        if mask.any():
            here = {name: value[mask] if isinstance(value, np.ndarray) else value for name, value in known.items()}
            out[mask] = side(here)
    return out


def _joined(conjunction: bool, values: list[ast.expr], known: Variables) -> _Value:
    """``and`` or ``or``, computing no more than is needed."""
    first, *rest = values
    true = _value(first, known) != 0
    if not rest:
        return true

    def later(here: Variables) -> _Value:
        return _joined(conjunction, rest, here)

    return _branch(true, later, lambda _: False, known) if conjunction else _branch(true, lambda _: True, later, known)


def _number(node: ast.expr, value: object) -> _Value:
    if isinstance(value, np.ndarray):
        value = value.astype(np.float64)
    elif isinstance(value, (int, float, np.number)):
        value = float(value)
    elif isinstance(value, tuple):
        raise _NoValue(f"needs one element of {ast.unparse(node)}, as in {ast.unparse(node)}[0]")
    else:
        raise _NoValue(f"needs a number for {ast.unparse(node)}, not {value!r}")
    if not np.all(np.isfinite(value)):
        raise _NoValue(f"needs finite numbers for {ast.unparse(node)}")
    return value


def _element(node: ast.Subscript, known: Variables) -> _Value:
    name, index = ast.unparse(node.value), _index(node)
    values = known[name]
    if not isinstance(values, tuple):
        raise _NoValue(f"takes an element of {name}, which is one number")
    if not -len(values) <= index < len(values):
        raise _NoValue(f"takes {name}[{index}], but {name} is {values}")
    return _number(node, values[index])


def _why(node: ast.expr, known: Variables, position: int) -> str:
    """What has no value, and where."""
    names = sorted({part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & known.keys())
    values = [known[name][position] if isinstance(known[name], np.ndarray) else known[name] for name in names]
    at = ", ".join(f"{name}={_shown(value)}" for name, value in zip(names, values, strict=True))
    return f"has no finite value{f' at {at}' if at else ''}: {_code(node)}"


def _shown(value: object) -> str:
    return str(value) if isinstance(value, tuple) else f"{value:g}"
