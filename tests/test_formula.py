"""The safe arithmetic: what it computes, what it refuses, and that it is Python's own wherever it answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.formula import CONSTANTS, FUNCTIONS, LENGTH, Formula, FormulaError, parse

Pair = tuple[str, str]
"""A formula, and the expression of Python that it stands for."""


def refusal(text: str, **variables: Any) -> str:
    """The message of a formula that cannot be read, or has no value there."""
    with pytest.raises(FormulaError) as caught:
        parse(text).evaluate(variables)
    return str(caught.value)


# --- what it computes ----------------------------------------------------------------------------

MAMBA = math.log(math.expm1(math.exp(0.5 * (math.log(4) - math.log(2)) + math.log(2))))
"""The bias of a state-space model's step, at its middle."""
KNOWN: dict[str, Any] = {"x": 3, "y": -0.5, "n_layer": 12, "fan_in": np.int64(64), "flag": True, "shape": (8, 4, 3, 3)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("1e-5", 1e-5),
        ("0x10 + 1_000", 1016.0),
        (" 2\t+ 3 ", 5.0),
        ("2 + 3 * 4", 14.0),
        ("(2 + 3) * 4", 20.0),
        ("7 / 2", 3.5),
        ("7 // 2", 3.0),
        ("-7 // 2", -4.0),
        ("-7 % 3", 2.0),
        ("2 ** 10", 1024.0),
        ("2 ** 3 ** 2", 512.0),
        ("-2 ** 2", -4.0),
        ("0 ** 0", 1.0),
        ("+x - -y", 2.5),
        ("pi", math.pi),
        ("e", math.e),
        ("10 ** 20 + 1 - 10 ** 20", 0.0),  # float64, not Python's integers
        ("0.02 / sqrt(2 * n_layer)", 0.02 / math.sqrt(24)),
        ("1 / sqrt(fan_in)", 0.125),
        ("shape[0]", 8.0),
        ("shape[-1] * shape[1]", 12.0),
        ("shape[-4] + shape[3]", 11.0),
        ("flag + 1", 2.0),
        ("abs(y)", 0.5),
        ("ceil(y) + floor(y)", -1.0),
        ("floor(1e300)", 1e300),
        ("ceil(-1e300)", -1e300),
        ("max(1, x, 2)", 3.0),
        ("min(1, x, y)", -0.5),
        ("exp(0) + log(1)", 1.0),
        ("expm1(1e-20)", 1e-20),
        ("log1p(1e-20)", 1e-20),
        ("cos(0) + sin(0)", 1.0),
        ("log(expm1(exp(0.5 * (log(4) - log(2)) + log(2))))", MAMBA),
        ("1 < 2", True),
        ("1 <= x < 3", False),
        ("1 != 1 or x == 3", True),
        ("fan_in >= 1024 and shape[0] == 8", False),
        ("not x", False),
        ("not 0 and 2", True),
        ("x and y", True),
        ("0 or y", True),
        ("0 or 0.0", False),
        ("(x > 2) + (x > 1)", 2.0),
        ("1 if x > 2 else 0", 1.0),
        ("x if x < 2 else y if y > 0 else 7", 7.0),
        ("1 if x else 1 / 0", 1.0),  # only the chosen side is computed
        ("x > 2 or 1 / 0 > 1", True),
        ("x > 5 and 1 / 0 > 1", False),
    ],
)  # fmt: skip
def test_value(text: str, value: float | bool) -> None:
    found = parse(text).evaluate(KNOWN)
    assert found == value
    assert type(found) is type(value)


def test_the_names_a_formula_needs() -> None:
    formula = parse("shape[0] / sqrt(fan_in) + pi * x if n_layer else e")
    assert formula.names == {"shape", "fan_in", "x", "n_layer"}
    assert formula.text == "shape[0] / sqrt(fan_in) + pi * x if n_layer else e"
    assert parse("2 * pi").names == frozenset()


def test_a_formula_is_its_text() -> None:
    assert parse("x + 1") == parse("x + 1") != parse("1 + x")
    assert repr(parse("x")) == "Formula(text='x', names=frozenset({'x'}))"
    assert isinstance(parse("x"), Formula)


def test_the_functions_are_those_of_the_language() -> None:
    assert [*FUNCTIONS] == sorted(FUNCTIONS)
    assert {"sqrt", "log", "exp", "min", "max", "abs", "floor"} <= set(FUNCTIONS)
    assert set(CONSTANTS) == {"pi", "e"}


# --- what it refuses -----------------------------------------------------------------------------

GRAMMAR = "a formula has numbers, names, + - * / // % **, comparisons, and/or/not, 'x if c else y' and calls"
NAMES = "abs, ceil, cos, exp, expm1, floor, log, log1p, max, min, sin, sqrt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is empty; write a formula"),
        (" \n", "' \\n' is empty; write a formula"),
        ("1 +", "'1 +' is not a formula: it ends too early"),
        ("2 x", "'2 x' is not a formula"),
        ("x; y", "'x; y' is not a formula"),
        ("import os", "'import os' is not a formula"),
        ("(1 + 2", "'(1 + 2' is not a formula: 1 '(' but 0 ')'"),
        ("shape[0", "'shape[0' is not a formula: 1 '[' but 0 ']'"),
        ("x = 3", "'x = 3' is not a formula: write '==' to compare"),
        ("x => 3", "'x => 3' is not a formula: write '==' to compare"),
        ("a && b", "'a && b' is not a formula: write 'and', not '&&'"),
        ("a || b", "'a || b' is not a formula: write 'or', not '||'"),
        ("a ? 1 : 2", "'a ? 1 : 2' is not a formula: write 'x if c else y', not '?'"),
        ("a := 1", "'a := 1' is not a formula: nothing is assigned in a formula"),
        ("a & b", "'a & b': '&' joins no conditions; write 'and'"),
        ("a | b", "'a | b': '|' joins no conditions; write 'or'"),
        ("x ^ 2", "'x ^ 2': '^' is not a power; write '**'"),
        ("x << 2", f"'x << 2': x << 2 is not understood: {GRAMMAR}"),
        ("~x", f"'~x': ~x is not understood: {GRAMMAR}"),
        ("[1, 2]", f"'[1, 2]': [1, 2] is not understood: {GRAMMAR}"),
        ("(1, 2)", f"'(1, 2)': (1, 2) is not understood: {GRAMMAR}"),
        ("1 in x", "'1 in x': 'in' and 'is' compare no numbers; write =="),
        ("x is 1", "'x is 1': 'in' and 'is' compare no numbers; write =="),
        ("1j", "'1j': 1j is not a number"),
        ("True", "'True': True is not a number"),
        ("None", "'None': None is not a number"),
        ("...", "'...': Ellipsis is not a number"),
        ("1e999", "'1e999': a number in it is too large"),
        ("9" * 400, f"'{'9' * 57}…': a number in it is too large"),
        ("sqrt", "'sqrt': 'sqrt' is a function; write sqrt(…)"),
        ("max[0]", "'max[0]': 'max' is a function; write max(…)"),
        ("pi[0]", "'pi[0]': takes an element of pi, which is one number"),
        ("sqrt(1, 2)", "'sqrt(1, 2)': sqrt takes one number, not 2"),
        ("sqrt()", "'sqrt()': sqrt takes one number, not 0"),
        ("max(1)", "'max(1)': max takes two or more numbers, not 1"),
        ("log(8, base=2)", f"'log(8, base=2)': only {NAMES} can be called, without keywords"),
        ("sqr(2)", "'sqr(2)': unknown function 'sqr'; did you mean 'sqrt'?"),
        ("tan(2)", f"'tan(2)': unknown function 'tan'; known are {NAMES}"),
        ("max(*shape)", "'max(*shape)': max takes two or more numbers, not 1"),
        ("max(1, *shape)", f"'max(1, *shape)': *shape is not understood: {GRAMMAR}"),
        ("shape[x]", "'shape[x]': shape[x]: an index is a whole number, as in shape[0]"),
        ("shape[0:2]", "'shape[0:2]': shape[0:2]: an index is a whole number, as in shape[0]"),
        ("shape[True]", "'shape[True]': shape[True]: an index is a whole number, as in shape[0]"),
        ("shape[0][1]", f"'shape[0][1]': shape[0][1] is not understood: {GRAMMAR}"),
        ("x\0", "'x\\x00' is not a formula"),
        ("\ud800", "'\\ud800' is not a formula"),
        ("1 / 0", "'1 / 0' has no finite value: 1 / 0"),
        ("0 / 0", "'0 / 0' has no finite value: 0 / 0"),
        ("1 % 0", "'1 % 0' has no finite value: 1 % 0"),
        ("0 ** -1", "'0 ** -1' has no finite value: 0 ** (-1)"),
        ("(-8) ** (1 / 3)", "'(-8) ** (1 / 3)' has no finite value: (-8) ** (1 / 3)"),
        ("sqrt(-1)", "'sqrt(-1)' has no finite value: sqrt(-1)"),
        ("2 * log(0)", "'2 * log(0)' has no finite value: log(0)"),
        ("exp(1000)", "'exp(1000)' has no finite value: exp(1000)"),
        ("1e308 * 10", "'1e308 * 10' has no finite value: 1e+308 * 10"),
        ("9**9**9", "'9**9**9' has no finite value: 9 ** 9 ** 9"),
        ("9**9**9**9**9**9", "'9**9**9**9**9**9' has no finite value: 9 ** 9 ** 9"),
    ],
)  # fmt: skip
def test_refused_when_read(text: str, message: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "variables", "message"),
    [
        ("fan_ni * 2", {"fan_in": 1}, "'fan_ni * 2': unknown name 'fan_ni'; did you mean 'fan_in'?"),
        ("q", {"x": 1, "b": 2}, "'q': unknown name 'q'; known here: b, e, pi, x"),
        ("q", {}, "'q': unknown name 'q'; known here: e, pi"),
        ("1 / x", {"x": 0}, "'1 / x' has no finite value at x=0: 1 / x"),
        ("1 + log(x - y)", {"x": 1, "y": 2.5}, "'1 + log(x - y)' has no finite value at x=1, y=2.5: log(x - y)"),
        ("2 / log(s[0])", {"s": (1, 3)}, "'2 / log(s[0])' has no finite value at s=(1, 3): 2 / log(s[0])"),
        ("shape", {"shape": (2, 3)}, "'shape' needs one element of shape, as in shape[0]"),
        ("shape[2]", {"shape": (2, 3)}, "'shape[2]' takes shape[2], but shape is (2, 3)"),
        ("shape[-3]", {"shape": (2, 3)}, "'shape[-3]' takes shape[-3], but shape is (2, 3)"),
        ("x[0]", {"x": 2}, "'x[0]' takes an element of x, which is one number"),
        ("x", {"x": "2"}, "'x' needs a number for x, not '2'"),
        ("x", {"x": None}, "'x' needs a number for x, not None"),
        ("x", {"x": [1]}, "'x' needs a number for x, not [1]"),
        ("x", {"x": math.nan}, "'x' needs finite numbers for x"),
        ("x[0]", {"x": (math.inf,)}, "'x[0]' needs finite numbers for x[0]"),
    ],
)  # fmt: skip
def test_no_value(text: str, variables: dict[str, Any], message: str) -> None:
    assert refusal(text, **variables) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.real", "attributes such as '.real' cannot be read in a formula; give it a name under 'vars'"),
        ("(1).__class__", "attributes such as '.__class__' cannot be read in a formula; give it a name under 'vars'"),
        ("x.a.b", "attributes such as '.b' cannot be read in a formula; give it a name under 'vars'"),
        ("__import__('os')", f"unknown function '__import__'; known are {NAMES}"),
        ("eval('1')", "unknown function 'eval'; known are " + NAMES),
        ("__import__('os').system('true')", f"only {NAMES} can be called, without keywords"),
        ("sqrt(x)(1)", f"only {NAMES} can be called, without keywords"),
        ("(lambda: 1)()", f"only {NAMES} can be called, without keywords"),
        ("lambda: 1", f"lambda: 1 is not understood: {GRAMMAR}"),
        ("(x := 1)", f"(x := 1) is not understood: {GRAMMAR}"),
        ("[x for x in y]", f"[x for x in y] is not understood: {GRAMMAR}"),
        ("max(x for x in y)", "max takes two or more numbers, not 1"),
        ("{x: 1 for x in y}", f"{{x: 1 for x in y}} is not understood: {GRAMMAR}"),
        ("{1}", f"{{1}} is not understood: {GRAMMAR}"),
        ("f'{x}'", "text has no place in a formula"),
        ("'text'", "text has no place in a formula"),
        ("b'text'", "text has no place in a formula"),
        ("'a' * 1000000000", "text has no place in a formula"),
        ("(yield)", f"(yield) is not understood: {GRAMMAR}"),
        ("__builtins__", "'__builtins__' is no variable: none starts with two underscores"),
        ("__debug__ + 1", "'__debug__' is no variable: none starts with two underscores"),
        ("__x[0]", "'__x' is no variable: none starts with two underscores"),
        ("x['a']", "x['a']: an index is a whole number, as in shape[0]"),
        ("x @ y", f"x @ y is not understood: {GRAMMAR}"),
    ],
)  # fmt: skip
def test_nothing_of_python_but_arithmetic(text: str, message: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert str(caught.value) == f"{text!r}: {message}"


# --- bounds --------------------------------------------------------------------------------------


def beneath(frames: int, function: Callable[[], object]) -> object:
    """The function's value, called from so far down the stack."""
    return function() if frames == 0 else beneath(frames - 1, function)


DEEP = "nested or chained more than 100 deep"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1" * (LENGTH + 1), f"'{'1' * 57}…' is too long for a formula: 501 characters, at most 500"),
        ("-" * 499 + "1", f"'{'-' * 57}…': {DEEP}"),
        ("not " * 101 + "1", f"'{('not ' * 15)[:57]}…': {DEEP}"),
        ("1+" * 120 + "1", f"'{('1+' * 30)[:57]}…': {DEEP}"),
        ("2**" * 101 + "1", f"'{('2**' * 20)[:57]}…': {DEEP}"),
        ("(" * 249 + "1" + ")" * 249, f"'{'(' * 57}…' is not a formula"),
        ("[" + "-" * 400 + "1]", f"'[{'-' * 56}…': a part is not understood: {GRAMMAR}"),
        ("x[" + "-" * 400 + "1]", f"'x[{'-' * 55}…': a part: an index is a whole number, as in shape[0]"),
    ],
    ids=["length", "signs", "nots", "sum", "powers", "parentheses", "list", "index"],
)
def test_too_long_or_too_deep(text: str, message: str) -> None:
    assert refusal(text) == message


def test_as_deep_as_a_formula_may_be() -> None:
    assert parse("-" * 99 + "x").evaluate({"x": 2}) == -2.0
    assert refusal("-" * 100 + "x", x=2) == f"'{'-' * 57}…': {DEEP}"
    assert parse("x" + "+1" * 99).evaluate({"x": 2}) == 101.0
    assert refusal("x" + "+1" * 100, x=2) == f"'x{'+1' * 28}…': {DEEP}"
    assert parse("1" + " " * 499).evaluate({}) == 1.0


LARGEST = [
    "1 if 0 else " * 40 + "1",
    "x or " * 99 + "x",
    "x and " * 82 + "x",
    "(x or " * 70 + "x" + ")" * 70,
    "0 <= " * 98 + "x",
    "-" * 98 + "x",
    "exp(" * 97 + "x" + ")" * 97,
    "max(x," * 70 + "x" + ")" * 70,
    "x + " * 98 + "x",
    "x ** " * 98 + "x",
]


@pytest.mark.parametrize("text", LARGEST)
@pytest.mark.parametrize("x", [0.0, 1.0, 1e300, -2.0])
def test_the_largest_formulas_end_even_far_down_the_stack(text: str, x: float) -> None:
    def outcome() -> object:
        try:
            return parse(text).evaluate({"x": x})
        except FormulaError as error:
            return str(error)

    parse.cache_clear()
    assert beneath(300, outcome) == outcome()
    assert len(text) <= LENGTH


@given(st.text(max_size=30) | st.text(st.sampled_from("0123456789.()[]+-*/% <>=!xye,andorntifls:'\"_"), max_size=30))
def test_any_text_is_a_formula_or_is_refused(text: str) -> None:
    known = dict.fromkeys("xyeandorntifls", 2.0)
    try:
        message = str(parse(text).evaluate(known)) and repr(text)
    except FormulaError as error:
        message = str(error)
    assert message.startswith(repr(text))


# --- against Python ------------------------------------------------------------------------------

_VARIABLES = ("x", "y", "s[0]", "s[-1]")
_names = st.sampled_from([(name, name) for name in _VARIABLES])
_literals = st.sampled_from(["0", "1", "2", "3", "7", "0.5", "1e3", "1e-3", "1e200", "9_9"]).map(
    lambda text: (text, repr(float(text)))
)
_small = st.sampled_from([(str(n), f"{n}.0") for n in range(9)])


def _grown(
    one: str, two: str, functions: tuple[str, ...]
) -> Callable[[st.SearchStrategy[Pair]], st.SearchStrategy[Pair]]:
    """Larger expressions of smaller ones, with these operators of one and of two operands."""

    def joined(template: str, *parts: Pair, python: str | None = None) -> Pair:
        return template.format(*(p[0] for p in parts)), (python or template).format(*(p[1] for p in parts))

    def grow(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
        signs = st.builds(lambda sign, a: joined(f"({sign} {{}})", a), st.sampled_from(one.split()), inner)
        pairs = st.builds(
            lambda op, a, b: joined(f"({{}} {op} {{}})", a, b), st.sampled_from(two.split()), inner, inner
        )
        chains = st.builds(lambda a, b, c: joined("({} <= {} < {})", a, b, c), inner, inner, inner)
        choices = st.builds(lambda a, b, c: joined("({} if {} else {})", a, b, c), inner, inner, inner)
        ands = st.builds(lambda a, b: joined("({} and {})", a, b, python="(bool({}) and bool({}))"), inner, inner)
        ors = st.builds(lambda a, b: joined("({} or {})", a, b, python="(bool({}) or bool({}))"), inner, inner)
        calls = st.builds(lambda name, a: joined(f"{name}({{}})", a), st.sampled_from(functions), inner)
        most = st.builds(lambda a, b, c: joined("max({}, {}, {})", a, b, c), inner, inner, inner)
        return st.one_of(signs, pairs, pairs, chains, choices, ands, ors, calls, most)

    return grow


_ONE = "+ - not"
_TWO = "+ - * < <= > >= == !="
_pairs = st.recursive(
    _names | _literals, _grown(_ONE, f"{_TWO} / // % **", FUNCTIONS[:8] + FUNCTIONS[10:]), max_leaves=12
)
"""Any expression of the language."""
_sound = st.recursive(_names | _small, _grown(_ONE, _TWO, ("abs", "floor", "ceil")), max_leaves=12)
"""Expressions that have a value, whatever the variables are, as long as those are small."""
_exact = st.recursive(
    _names | _literals, _grown(_ONE, f"{_TWO} / // %", ("abs", "floor", "ceil", "sqrt")), max_leaves=12
)
"""Expressions of exactly rounded steps, which are the same in Python and in NumPy."""

_floats = st.floats(allow_nan=False, allow_infinity=False)
_any = st.tuples(*([_floats | st.sampled_from([0.0, -1.0, 2.0])] * 4))
_eighths = st.tuples(*([st.integers(-64, 64).map(lambda n: n / 8)] * 4))
_PYTHON: dict[str, Any] = {
    "__builtins__": {},
    "bool": bool,
    **{name: getattr(math, name) for name in FUNCTIONS if hasattr(math, name)},
    "abs": lambda x: float(abs(x)),
    "max": lambda *xs: float(max(xs)),
    "min": lambda *xs: float(min(xs)),
    "floor": lambda x: float(math.floor(x)),
    "ceil": lambda x: float(math.ceil(x)),
}


def _where(values: tuple[float, ...]) -> dict[str, Any]:
    return {"x": values[0], "y": values[1], "s": values[2:]}


@given(_pairs, _any)
def test_a_value_is_pythons_own(pair: Pair, values: tuple[float, ...]) -> None:
    """A value is equal to Python's, bool for bool, and there is none where Python has none."""
    known = _where(values)
    try:
        expected: Any = eval(pair[1], _PYTHON, known)
    except (ArithmeticError, ValueError):
        expected = None
    try:
        value = parse(pair[0]).evaluate(known)
    except FormulaError:
        return
    assert value == expected
    assert isinstance(value, bool) == isinstance(expected, bool)
    assert math.isfinite(value)


@given(_sound, _eighths)
def test_there_is_a_value_where_there_must_be(pair: Pair, values: tuple[float, ...]) -> None:
    known = _where(values)
    assert parse(pair[0]).evaluate(known) == eval(pair[1], _PYTHON, known)


# --- arrays --------------------------------------------------------------------------------------

_elements = st.lists(_any | _eighths, min_size=1, max_size=6)


@given(_exact, _elements)
def test_an_array_is_evaluated_as_its_elements_are(pair: Pair, rows: list[tuple[float, ...]]) -> None:
    try:
        formula = parse(pair[0])
    except FormulaError:  # it needs no variable, and has no value anywhere
        return
    columns = {"x": np.array([row[0] for row in rows]), "y": np.array([row[1] for row in rows]), "s": rows[0][2:]}
    try:
        single = [formula.evaluate(_where((*row[:2], *rows[0][2:]))) for row in rows]
    except FormulaError:
        with pytest.raises(FormulaError):
            formula.evaluate_array(columns)
        return
    whole = formula.evaluate_array(columns)
    assert whole.dtype == np.float64
    assert whole.tolist() == [float(value) for value in single]


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("max", "min")])
def test_functions_of_arrays_are_pythons_to_rounding(name: str) -> None:
    """NumPy's and the C library's functions differ by less than 4 units in the last place."""
    x = np.linspace(0.01, 20, 997)
    formula = parse(f"{name}(x)")
    single = np.array([formula.evaluate({"x": value}) for value in x.tolist()])
    np.testing.assert_array_max_ulp(formula.evaluate_array({"x": x}), single, maxulp=4)


def test_powers_of_arrays_are_pythons_to_rounding() -> None:
    x, y = np.linspace(0.01, 20, 997), np.linspace(-3, 3, 997)
    formula = parse("x ** y + x ** 2 + x ** 0.5")
    single = np.array([formula.evaluate({"x": a, "y": b}) for a, b in zip(x.tolist(), y.tolist(), strict=True)])
    np.testing.assert_allclose(formula.evaluate_array({"x": x, "y": y}), single, rtol=1e-14)


def test_arrays_broadcast() -> None:
    i, j = np.arange(3.0)[:, None], np.arange(4.0)[None, :]
    grid = parse("10 * i + j + n").evaluate_array({"i": i, "j": j, "n": 0.5})
    assert grid.tolist() == (10 * i + j + 0.5).tolist()
    assert parse("n + 1").evaluate_array({"i": i, "j": j, "n": 2}).tolist() == [[3.0] * 4] * 3
    assert parse("7").evaluate_array({}).tolist() == 7.0
    assert parse("i < j").evaluate_array({"i": i, "j": j}).tolist() == (i < j).astype(float).tolist()
    assert parse("1 / i").evaluate_array({"i": np.empty((0, 2))}).shape == (0, 2)
    assert parse("i if i > 1 else -i").evaluate_array({"i": np.arange(3)}).tolist() == [0.0, -1.0, 2.0]


def test_each_side_of_a_choice_is_computed_where_it_is_taken() -> None:
    x = np.array([-1.0, 0.0, 4.0])
    assert parse("sqrt(x) if x >= 0 else -sqrt(-x)").evaluate_array({"x": x}).tolist() == [-1.0, 0.0, 2.0]
    assert parse("x != 0 and 1 / x > 0").evaluate_array({"x": x}).tolist() == [0.0, 0.0, 1.0]
    assert parse("x == 0 or 1 / x > 0").evaluate_array({"x": x}).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / x", "'1 / x' has no finite value at x=0: 1 / x"),
        ("log(x * y)", "'log(x * y)' has no finite value at x=0, y=7: log(x * y)"),
        ("sqrt(3 - x) if x > 2 else 0", "'sqrt(3 - x) if x > 2 else 0' has no finite value at x=4: sqrt(3 - x)"),
        ("z + x", "'z + x' needs finite numbers for z"),
        ("q", "'q': unknown name 'q'; known here: e, pi, x, y, z"),
    ],
)
def test_no_value_somewhere(text: str, message: str) -> None:
    """The first element that has none is named."""
    known = {"x": np.array([1.0, 2.0, 0.0, 4.0]), "y": 7.0, "z": np.array([1.0, math.nan, 1.0, 1.0])}
    with pytest.raises(FormulaError) as caught:
        parse(text).evaluate_array(known)
    assert str(caught.value) == message
