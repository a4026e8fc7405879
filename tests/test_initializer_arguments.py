"""What initializers take: the table, its aliases, arguments as written and as computed, shapes and sizes refused."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from initializer_parts import Shape, block_of, read
from torch.nn import init

from initpolicy.initializers import ALIASES, INITIALIZERS
from initpolicy.initializers.base import (
    REQUIRED,
    Argument,
    Initializer,
    check_names,
    check_values,
    signature,
    unset,
)
from initpolicy.initializers.called import called
from initpolicy.resolve import lookup

ROOT2 = math.sqrt(2)

# --- the table -----------------------------------------------------------------------------------

SIGNATURES = """
bernoulli(p)
bilinear()
constant(value)
delta_orthogonal(gain=1.0)
dirac(groups=None)
exponential(rate=1.0)
eye()
formula(value)
icnr(scale, distribution=normal, mode=fan_in, nonlinearity=None, a=None, gain=None)
kaiming_normal(mode=fan_in, nonlinearity=None, a=None, gain=None)
kaiming_uniform(mode=fan_in, nonlinearity=None, a=None, gain=None)
lecun_normal()
lecun_uniform()
log_normal(mean=0.0, std=1.0)
log_uniform(low, high)
normal(mean=0.0, std=1.0)
normalized(norm=1.0, distribution=normal)
ones()
orthogonal(gain=1.0)
poisson(rate)
pretrained(path, prefix=None, key=None)
sparse(sparsity, std=0.01)
trunc_normal(mean=0.0, std=1.0, a=-2.0, b=2.0, bounds=sigma)
uniform(a, b)
variance_scaling(scale=1.0, mode=fan_in, distribution=truncated_normal, corrected=True)
xavier_normal(gain=1.0)
xavier_uniform(gain=1.0)
zeros()
"""


def test_every_initializer_and_what_it_takes() -> None:
    assert sorted(signature(entry) for entry in INITIALIZERS.values()) == SIGNATURES.split("\n")[1:-1]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer_is_whole(name: str) -> None:
    entry = INITIALIZERS[name]
    assert entry.name == name
    assert [entry.recipe, entry.draw, entry.make].count(None) == 2
    assert entry.doc.endswith(".")
    for argument in entry.arguments:
        assert argument.doc.endswith("."), argument.name
        assert (argument.kind == "choice") == bool(argument.choices)
        assert argument.kind != "choice" or argument.default in argument.choices


@pytest.mark.parametrize("name", [name for name in ALIASES if name.endswith("_")])
def test_torchs_names_are_known_and_take_torchs_arguments(name: str) -> None:
    """But sparse's column and the tensor; `a` of kaiming_* and `gain` go by their own names."""
    theirs = set(inspect.signature(getattr(init, name)).parameters) - {"tensor", "generator", "val"}
    ours = {argument.name for argument in lookup(name, INITIALIZERS).arguments}
    assert theirs <= ours


def test_aliases() -> None:
    torchs = {name for name in dir(init) if name.endswith("_") and not name.startswith("_")}
    assert {name for name in ALIASES if name.endswith("_")} == torchs
    assert {name: target for name, target in ALIASES.items() if not name.endswith("_")} == {
        "glorot_normal": "xavier_normal",
        "glorot_uniform": "xavier_uniform",
        "he_normal": "kaiming_normal",
        "he_uniform": "kaiming_uniform",
    }
    for name, target in ALIASES.items():
        assert lookup(name, INITIALIZERS) is INITIALIZERS[target]


def test_tables_cannot_be_changed() -> None:
    for table in (INITIALIZERS, ALIASES):
        with pytest.raises(TypeError):
            table["normal"] = None  # type: ignore[index]


# --- arguments as they are written -----------------------------------------------------------------

WRONG: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    # unknown names
    ("normal", {"sdt": 1}, {"sdt": "is unknown; did you mean 'std'?"}),
    ("normal", {"q": 1}, {"q": "is unknown; normal takes mean, std"}),
    ("zeros", {"value": 0}, {"value": "is unknown; zeros takes no arguments"}),
    ("lecun_normal", {"gain": 1}, {"gain": "is unknown; lecun_normal takes no arguments"}),
    ("kaiming_normal", {"fan_mode": "fan_in"}, {"fan_mode": "is unknown; did you mean 'mode'?"}),
    # missing
    ("uniform", {}, {"a": "is required: uniform(a, b)", "b": "is required: uniform(a, b)"}),
    ("uniform", {"a": 0, "b": None}, {"b": "is required: uniform(a, b)"}),
    ("constant", {}, {"value": "is required: constant(value)"}),
    ("sparse", {"std": 1}, {"sparsity": "is required: sparse(sparsity, std=0.01)"}),
    ("bernoulli", {"prob": 0.1}, {"p": "is required: bernoulli(p)", "prob": "is unknown; bernoulli takes p"}),
    ("pretrained", {}, {"path": "is required: pretrained(path, prefix=None, key=None)"}),
    # no numbers
    ("normal", {"std": True}, {"std": "must be a number, not true"}),
    ("normal", {"std": [1]}, {"std": "must be a number, not [1]"}),
    ("normal", {"std": {"a": 1}}, {"std": "must be a number, not {'a': 1}"}),
    ("normal", {"std": "1 < 2"}, {"std": "must be a number, not true"}),
    ("normal", {"std": "0.02 sqrt"}, {"std": "is not a number: '0.02 sqrt' is not a formula"}),
    ("normal", {"std": ""}, {"std": "is not a number: '' is empty; write a formula"}),
    ("normal", {"std": "log(0)"}, {"std": "is not a number: 'log(0)' has no finite value: log(0)"}),
    ("normal", {"std": "sqr(2)"}, {"std": "is not a number: 'sqr(2)': unknown function 'sqr'; did you mean 'sqrt'?"}),
    ("normal", {"mean": math.inf}, {"mean": "must be finite, not inf"}),
    ("normal", {"mean": math.nan}, {"mean": "must be finite, not nan"}),
    ("normal", {"mean": 10**400}, {"mean": "must be a number below 1.8e308, the largest float64"}),
    ("formula", {"value": math.nan}, {"value": "must be finite, not nan"}),
    ("formula", {"value": -(10**400)}, {"value": "must be a number below 1.8e308, the largest float64"}),
    # limits
    ("normal", {"std": 0}, {"std": "must be above 0, not 0"}),
    ("normal", {"std": "-1e-3"}, {"std": "must be above 0, not -0.001"}),
    ("trunc_normal", {"std": 0}, {"std": "must be above 0, not 0"}),
    ("sparse", {"sparsity": 1}, {"sparsity": "must be at least 0 and below 1, not 1"}),
    (
        "sparse",
        {"sparsity": -0.1, "std": 0},
        {"sparsity": "must be at least 0 and below 1, not -0.1", "std": "must be above 0, not 0"},
    ),
    ("bernoulli", {"p": 1.5}, {"p": "must be at least 0 and at most 1, not 1.5"}),
    ("poisson", {"rate": 1001}, {"rate": "must be at least 0 and at most 1000, not 1001"}),
    ("exponential", {"rate": 0}, {"rate": "must be above 0, not 0"}),
    ("log_uniform", {"low": 0, "high": 1}, {"low": "must be above 0, not 0"}),
    ("variance_scaling", {"scale": 0}, {"scale": "must be above 0, not 0"}),
    ("orthogonal", {"gain": -1}, {"gain": "must be above 0, not -1"}),
    # whole numbers
    ("dirac", {"groups": 1.5}, {"groups": "must be a whole number, not 1.5"}),
    ("dirac", {"groups": 0}, {"groups": "must be at least 1, not 0"}),
    ("icnr", {"scale": "5/2"}, {"scale": "must be a whole number, not 2.5"}),
    # words
    (
        "variance_scaling",
        {"distribution": "truncate_normal"},
        {
            "distribution": "must be truncated_normal, untruncated_normal or uniform, not 'truncate_normal'; "
            "did you mean 'truncated_normal'?",
        },
    ),
    (
        "kaiming_normal",
        {"mode": "fan_inn"},
        {"mode": "must be fan_in or fan_out, not 'fan_inn'; did you mean 'fan_in'?"},
    ),
    ("kaiming_normal", {"mode": 3}, {"mode": "must be fan_in or fan_out, not 3"}),
    (
        "variance_scaling",
        {"mode": "average", "distribution": "normal"},
        {
            "mode": "must be fan_in, fan_out, fan_avg or fan_geo, not 'average'",
            "distribution": "must be truncated_normal, untruncated_normal or uniform, not 'normal'",
        },
    ),
    ("variance_scaling", {"corrected": "yes"}, {"corrected": "must be true or false, not 'yes'"}),
    ("variance_scaling", {"corrected": 1}, {"corrected": "must be true or false, not 1"}),
    ("kaiming_normal", {"nonlinearity": 5}, {"nonlinearity": "must be text, not 5"}),
    ("pretrained", {"path": ""}, {"path": "must be text, not ''"}),
    ("pretrained", {"path": "a", "prefix": "b"}, {"prefix": "must be a mapping, not 'b'"}),
    ("pretrained", {"path": "a", "prefix": ["b"]}, {"prefix": "must be a mapping, not ['b']"}),
    ("formula", {"value": True}, {"value": "must be a formula, not True"}),
    ("formula", {"value": "log(j"}, {"value": "'log(j' is not a formula: 1 '(' but 0 ')'"}),
    # together
    ("uniform", {"a": 1, "b": 1}, {"a": "must be below b, not 1 with b=1"}),
    ("uniform", {"a": "1/2", "b": "1/4"}, {"a": "must be below b, not 0.5 with b=0.25"}),
    ("log_uniform", {"low": 0.1, "high": 0.01}, {"low": "must be below high, not 0.1 with high=0.01"}),
    ("trunc_normal", {"a": 3, "bounds": "sigma"}, {"a": "must be below b, not 3 with b=2"}),
    ("trunc_normal", {"b": -5, "bounds": "absolute"}, {"a": "must be below b, not -2 with b=-5"}),
    # one after the other, in the order of the signature, unknown ones last
    (
        "trunc_normal",
        {"sigma": 2, "bounds": "sigmas", "std": -1},
        {
            "std": "must be above 0, not -1",
            "bounds": "must be sigma or absolute, not 'sigmas'; did you mean 'sigma'?",
            "sigma": "is unknown; trunc_normal takes mean, std, a, b, bounds",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "problems"), WRONG)
def test_wrong_arguments_are_named_with_the_reason(name: str, given: dict[str, Any], problems: dict[str, str]) -> None:
    assert check_names(INITIALIZERS[name], given) == list(problems.items())
    assert check_values(INITIALIZERS[name], given)[1] == list(problems.items())


BOUNDS = "is required beside a or b: 'sigma' (in standard deviations from the mean) or 'absolute'"


@pytest.mark.parametrize("given", [{"a": -1}, {"b": 1}, {"a": -2, "b": 2}, {"std": 0.02, "a": "-lim", "b": "lim"}])
def test_algorithmic_efficiency819_foundation_model_stack289_bounds_are_never_implied(given: dict[str, Any]) -> None:
    assert check_names(INITIALIZERS["trunc_normal"], given) == [("bounds", BOUNDS)]
    assert check_names(INITIALIZERS["trunc_normal"], {**given, "bounds": None}) == [("bounds", BOUNDS)]
    for bounds in ("sigma", "absolute"):
        assert check_names(INITIALIZERS["trunc_normal"], {**given, "bounds": bounds}) == []
    assert check_names(INITIALIZERS["trunc_normal"], {"std": 0.02}) == []


SCALED = (
    "xavier_normal",
    "xavier_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "orthogonal",
    "delta_orthogonal",
    "icnr",
)


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("zero", [0, 0.0, "0", "1 - 1"])
def test_llm_foundry_init_gain_of_0_is_refused(name: str, zero: object) -> None:
    """A gain of 0 zeroes every weight in silence; who wants that writes the constant 0."""
    given = {"gain": zero, "scale": 2} if name == "icnr" else {"gain": zero}
    assert check_names(INITIALIZERS[name], given) == [("gain", "must be above 0, not 0")]
    assert check_values(INITIALIZERS[name], given)[1] == [("gain", "must be above 0, not 0")]
    assert check_names(INITIALIZERS["constant"], {"value": zero}) == []


def test_every_argument_that_scales_a_law_refuses_0() -> None:
    scales = {"gain", "std", "scale", "rate"}
    loose = {
        (entry.name, argument.name)
        for entry in INITIALIZERS.values()
        for argument in entry.arguments
        if argument.name in scales and not (argument.low >= 0 and argument.open_low) and argument.low < 1
    }
    assert loose == {("poisson", "rate")}


# --- values -----------------------------------------------------------------------------------------


def test_formulas_wait_until_their_variables_are_known() -> None:
    given = {"mean": "2 * x", "std": "0.02 / sqrt(n_layer)"}
    assert check_names(INITIALIZERS["normal"], given) == []
    assert check_values(INITIALIZERS["normal"], given)[1] == [
        ("mean", "must be a number by now, not '2 * x'"),
        ("std", "must be a number by now, not '0.02 / sqrt(n_layer)'"),
    ]


def test_gains_may_be_auto_until_the_planner_has_decided() -> None:
    for name in SCALED:
        given = {"gain": "auto", "scale": 2} if name == "icnr" else {"gain": "auto"}
        assert check_names(INITIALIZERS[name], given) == []
        assert check_values(INITIALIZERS[name], given)[1] == [("gain", "must be a number by now, not 'auto'")]


def test_bounds_that_are_formulas_are_compared_when_they_are_numbers() -> None:
    assert check_names(INITIALIZERS["uniform"], {"a": "x", "b": 1}) == []
    assert check_values(INITIALIZERS["uniform"], {"a": 2, "b": 1})[1] == [("a", "must be below b, not 2 with b=1")]


@pytest.mark.parametrize(
    ("name", "given", "values"),
    [
        ("normal", {}, {"mean": 0.0, "std": 1.0}),
        ("normal", {"std": "1e-5", "mean": None}, {"mean": 0.0, "std": 1e-5}),
        ("normal", {"std": "sqrt(2) * pi"}, {"mean": 0.0, "std": ROOT2 * math.pi}),
        ("normal", {"std": np.float32(0.5)}, {"mean": 0.0, "std": 0.5}),
        ("icnr", {"scale": 2.0, "gain": 1}, {"scale": 2, "gain": 1}),
        ("dirac", {"groups": "2 * 2"}, {"groups": 4}),
        ("dirac", {}, {"groups": None}),
        ("formula", {"value": 0.25}, {"value": "0.25"}),
        ("formula", {"value": "log(j + 1)"}, {"value": "log(j + 1)"}),
        ("trunc_normal", {"bounds": "absolute"}, {"a": -2.0, "b": 2.0, "bounds": "absolute"}),
        ("kaiming_normal", {"nonlinearity": "relu"}, {"mode": "fan_in", "nonlinearity": "relu", "a": None}),
        ("pretrained", {"path": "x", "prefix": {"a": "b"}}, {"path": "x", "prefix": {"a": "b"}, "key": None}),
    ],
)
def test_values_are_numbers_and_defaults_are_filled_in(
    name: str, given: dict[str, Any], values: dict[str, Any]
) -> None:
    found = read(name, **given)
    assert {key: found[key] for key in values} == values
    assert found.keys() == {argument.name for argument in INITIALIZERS[name].arguments}
    assert all(type(found[key]) is int for key in ("scale", "groups") if isinstance(values.get(key), int))


def test_defaults_are_themselves_allowed() -> None:
    for entry in INITIALIZERS.values():
        given = {key: value for key, value in unset(entry).items() if value is not None}
        wrong = [problem for problem in check_names(entry, given) if not problem[1].startswith("is required:")]
        assert wrong == []


def test_a_function_takes_whatever_it_is_given() -> None:
    entry = called("pkg.fancy_", lambda tensor, **given: None)
    given = {"alpha": "not a formula (", "deep": {"x": [1]}, "none": None}
    assert check_names(entry, given) == []
    assert check_values(entry, given) == (given, [])


def test_an_initializer_of_ones_own_checks_its_arguments_too() -> None:
    def apart(given: Any) -> Iterator[tuple[str, str]]:
        if given.get("left") == given.get("right"):
            yield "right", "must differ from left"

    mine = Initializer(
        name="mine",
        arguments=(
            Argument(name="left", kind="integer", low=-3, high=3),
            Argument(name="right", kind="integer", default=0, open_low=True, low=-1),
            Argument(name="way", kind="choice", choices=("up",), default="up"),
        ),
        law=lambda block, arguments: None,
        together=apart,
    )
    assert signature(mine) == "mine(left, right=0, way=up)"
    assert check_names(mine, {"left": 4, "right": -1, "way": "down"}) == [
        ("left", "must be at least -3 and at most 3, not 4"),
        ("right", "must be above -1, not -1"),
        ("way", "must be up, not 'down'"),
    ]
    assert check_names(mine, {"left": 1, "right": 1}) == [("right", "must differ from left")]
    assert check_names(mine, {"left": 1, "right": "n"}) == []
    assert repr(REQUIRED) == "REQUIRED"


# --- what does not fit the tensor -------------------------------------------------------------------

FANS = (
    "xavier_normal",
    "xavier_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
)


def refusal(name: str, shape: Shape, *, dtype: str = "float32", groups: int = 1, **given: Any) -> str:
    arguments = read(name, **given)
    if "gain" in arguments:
        arguments["gain"] = given.get("gain", 1)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is returned
        INITIALIZERS[name].law(block_of(shape, dtype=dtype, groups=groups), arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", FANS)
def test_fastnlp300_scaled_laws_refuse_one_dimension(name: str) -> None:
    for shape in ((64,), (1,), ()):
        assert refusal(name, shape) == f"needs two or more dimensions, this is {shape}"


@pytest.mark.parametrize("name", FANS)
def test_scaled_laws_need_fans(name: str) -> None:
    entry = INITIALIZERS[name]
    arguments = {**unset(entry), "gain": 1.0}
    blank = block_of((3, 4))
    unknown = type(blank)(name="w", local="w", shape=(3, 4), dtype="float32")
    with pytest.raises(ValueError, match=r"^needs fans, and none are known for this \(3, 4\); state its 'layout'$"):
        entry.law(unknown, arguments)
    fan = "fan_avg" if "xavier" in name else "fan_in"
    empty = block_of((0, 0))
    with pytest.raises(ValueError, match=rf"^needs a {fan} above 0, this \(0, 0\) has 0$"):
        entry.law(empty, arguments)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("orthogonal", (5,), {}, "needs two or more dimensions, this is (5,)"),
        ("sparse", (5,), {"sparsity": 0.1}, "needs two dimensions, this is (5,)"),
        ("sparse", (5, 4, 3), {"sparsity": 0.1}, "needs two dimensions, this is (5, 4, 3)"),
        ("eye", (5,), {}, "needs two dimensions, this is (5,)"),
        ("eye", (2, 2, 2), {}, "needs two dimensions, this is (2, 2, 2)"),
        ("dirac", (2, 2), {}, "needs a convolution's weight, three to five dimensions, this is (2, 2)"),
        ("dirac", (2,) * 6, {}, "needs a convolution's weight, three to five dimensions, this is (2, 2, 2, 2, 2, 2)"),
        ("dirac", (5, 2, 3), {"groups": 2}, "needs a first dimension that its 2 groups divide, this is (5, 2, 3)"),
        ("bilinear", (4, 4), {}, "needs a convolution's weight, three to five dimensions, this is (4, 4)"),
        ("delta_orthogonal", (4, 4), {}, "needs a convolution's weight, three or more dimensions, this is (4, 4)"),
        (
            "icnr", (8, 4), {"scale": 2},
            "needs a convolution's weight, three or more dimensions, this is (8, 4)",
        ),
        (
            "icnr", (6, 4, 3, 3), {"scale": 2},
            "needs a first dimension divisible by scale**2 = 4, this is (6, 4, 3, 3)",
        ),
        ("icnr", (6, 4, 3), {"scale": 4}, "needs a first dimension divisible by scale**1 = 4, this is (6, 4, 3)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(name: str, shape: Shape, options: dict[str, Any], message: str) -> None:
    assert refusal(name, shape, **options) == message


@pytest.mark.parametrize("name", ["bilinear", "delta_orthogonal"])
def test_groups_must_divide_the_first_dimension(name: str) -> None:
    assert refusal(name, (5, 2, 3), groups=2) == "needs a first dimension that its 2 groups divide, this is (5, 2, 3)"


LIMITS = {
    "float16": "past 65504, the largest float16 that is drawn",
    "bfloat16": "past 3.38953e+38, the largest bfloat16 that is drawn",
    "float32": "past 3.40282e+38, the largest float32 that is drawn",
    "float64": "past 3.40282e+38, the largest float64 that is drawn",
}


@pytest.mark.parametrize(
    ("name", "options", "dtype", "reached"),
    [
        ("constant", {"value": 70000}, "float16", "70000"),
        ("constant", {"value": -1e39}, "float32", "1e+39"),
        ("constant", {"value": 1e39}, "float64", "1e+39"),
        ("normal", {"std": 1e4}, "float16", "68000"),
        ("uniform", {"a": 0, "b": 1e5}, "float16", "100000"),
        ("sparse", {"sparsity": 0, "std": 1e4}, "float16", "68000"),
        ("orthogonal", {"gain": 1e5}, "float16", "100000"),
        ("exponential", {"rate": 1e-4}, "float16", "230000"),
        ("log_normal", {"std": 2}, "float16", "806130"),
        ("log_normal", {"mean": 9999}, "float32", "1.01423e+304"),
        ("log_uniform", {"low": 1, "high": 1e39}, "bfloat16", "1e+39"),
        ("kaiming_normal", {"gain": 1e5}, "float16", "340000"),
        ("xavier_uniform", {"gain": 1e5}, "float16", "86602.5"),
        ("variance_scaling", {"scale": 1e11}, "float16", "359503"),
    ],
)
def test_values_that_the_dtype_cannot_hold_are_refused(
    name: str, options: dict[str, Any], dtype: str, reached: str
) -> None:
    assert refusal(name, (4, 4), dtype=dtype, **options) == f"reaches {reached}, {LIMITS[dtype]}"


@pytest.mark.parametrize(
    ("name", "a", "b", "dtype", "message"),
    [
        ("uniform", 1, 1.001, "bfloat16", "no bfloat16 number lies strictly between 1 and 1.001"),
        ("trunc_normal", 1, 1.001, "bfloat16", "no bfloat16 number lies strictly between 1 and 1.001"),
        ("uniform", 1, 1 + 1e-9, "float64", "no float64 number lies strictly between 1 and 1"),
        (
            "uniform", 0, 1, "float8_e4m3fn",
            "values are drawn for float64, float32, bfloat16, float16, not for float8_e4m3fn",
        ),
        (
            "trunc_normal", 20, 21, "float32",
            ("the interval (20, 21), in standard deviations from the mean, holds too little of the normal law to "
             "draw from: probability 0, the least is 1e-30"),
        ),
    ],
)  # fmt: skip
def test_intervals_that_hold_nothing_are_refused(name: str, a: float, b: float, dtype: str, message: str) -> None:
    options: dict[str, Any] = {"a": a, "b": b, **({"bounds": "absolute"} if name == "trunc_normal" else {})}
    assert refusal(name, (4, 4), dtype=dtype, **options) == f"cannot be drawn: {message}"


def test_icnr_and_delta_orthogonal_too() -> None:
    message = "reaches 100000, past 65504, the largest float16 that is drawn"
    assert refusal("delta_orthogonal", (4, 4, 1), dtype="float16", gain=1e5) == message
    message = "reaches 340000, past 65504, the largest float16 that is drawn"
    assert refusal("icnr", (4, 4, 1), dtype="float16", gain=1e5, scale=2) == message
