"""Gains against closed forms, scipy's quadrature of derivatives written by hand, and torch's own numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special, stats

from initpolicy.facts.activations import VOCABULARY
from initpolicy.facts.gains import exact_gains, gain
from initpolicy.records import Activation

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


def activation(name: str, **arguments: float) -> Activation:
    return Activation(name=name, arguments=tuple(arguments.items()))


# --- the exact ones ------------------------------------------------------------------------------

# mpmath, 34 digits, adaptive quadrature split at kinks, rounded to ten: 1/√E[f(z)²], 1/√E[f'(z)²].
TABLE = [
    (activation("identity"), 1.0000000000, 1.0000000000),
    (activation("relu"), 1.4142135624, 1.4142135624),
    (activation("leaky_relu", slope=0.01), 1.4141428570, 1.4141428570),
    (activation("leaky_relu", slope=0.2), 1.3867504906, 1.3867504906),
    (activation("prelu"), 1.3719886811, 1.3719886811),
    (activation("elu"), 1.2451983007, 1.2234285576),
    (activation("celu"), 1.2451983007, 1.2234285576),
    (activation("celu", alpha=2), 1.1551916071, 1.1458894522),
    (activation("selu"), 1.0000000000, 0.9660257770),
    (activation("gelu"), 1.5335304412, 1.4811144127),
    (activation("gelu_tanh"), 1.5335805217, 1.4811680581),
    (activation("quick_gelu"), 1.5394587623, 1.4914592268),
    (activation("silu"), 1.6765324703, 1.6233202580),
    (activation("swish"), 1.6765324703, 1.6233202580),
    (activation("mish"), 1.4868475813, 1.4447552325),
    (activation("hardswish"), 1.7366572128, 1.6700763674),
    (activation("hardtanh"), 1.3920361404, 1.2102870624),
    (activation("relu6"), 1.4142135651, 1.4142135638),
    (activation("softplus"), 1.0418668355, 1.8462285453),
    (activation("tanh"), 1.5925374197, 1.4674135916),
    (activation("sigmoid"), 1.8462285453, 4.7226460859),
    (activation("hardsigmoid"), 1.8978404247, 6.0081158252),
    (activation("softsign"), 2.3375333631, 2.0957806089),
    (activation("logsigmoid"), 1.0418668355, 1.8462285453),
    (activation("tanhshrink"), 2.3383675301, 1.9881388232),
    (activation("softshrink"), 1.5443605283, 1.2730076010),
    (activation("hardshrink"), 1.0157963547, 1.2730076010),
    (activation("relu_squared"), 0.8164965809, 0.7071067812),
    (activation("sin"), 1.5208666232, 1.3272506003),
    (activation("sin", frequency=30), 1.4142135624, 0.0471404521),
]


@pytest.mark.parametrize(("which", "forward", "backward"), TABLE, ids=lambda value: str(value))
def test_exact_gains_of_the_vocabulary(which: Activation, forward: float, backward: float) -> None:
    assert gain(which, mode="exact") == pytest.approx(forward, abs=1e-10)
    assert gain(which, mode="exact", direction="backward") == pytest.approx(backward, abs=1e-10)
    function = VOCABULARY[which.name].bound(dict(which.arguments))
    assert function is not None
    assert exact_gains(function) == pytest.approx((forward, backward), abs=1e-10)  # no kink is told


def _squared(f: Callable[[float], float], points: tuple[float, ...] = ()) -> float:
    """E[f(z)²] by scipy."""
    edges = [-12.0, *points, 12.0]
    parts = [
        integrate.quad(lambda z: f(z) ** 2 * stats.norm.pdf(z), a, b, epsabs=1e-13, epsrel=1e-13, limit=200)[0]
        for a, b in itertools.pairwise(edges)
    ]
    return math.fsum(parts)


def _sigma(z: float) -> float:
    return float(special.expit(z))


# f and f' written out, with where they are not smooth.
WRITTEN: list[tuple[Activation, Callable[[float], float], Callable[[float], float], tuple[float, ...]]] = [
    (
        activation("gelu"),
        lambda z: z * float(special.ndtr(z)),
        lambda z: float(special.ndtr(z)) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
        (),
    ),
    (activation("silu"), lambda z: z * _sigma(z), lambda z: _sigma(z) * (1 + z * (1 - _sigma(z))), ()),
    (
        activation("swish", beta=1.5),
        lambda z: z * _sigma(1.5 * z),
        lambda z: _sigma(1.5 * z) * (1 + 1.5 * z * (1 - _sigma(1.5 * z))),
        (),
    ),
    (
        activation("elu", alpha=0.5),
        lambda z: z if z > 0 else 0.5 * math.expm1(z),
        lambda z: 1.0 if z > 0 else 0.5 * math.exp(z),
        (0.0,),
    ),
    (
        activation("hardtanh", min_val=-0.3, max_val=2.1),
        lambda z: min(max(z, -0.3), 2.1),
        lambda z: float(-0.3 < z < 2.1),
        (-0.3, 2.1),
    ),
    (activation("softplus", beta=2), lambda z: float(np.logaddexp(0, 2 * z)) / 2, lambda z: _sigma(2 * z), ()),
    (
        activation("threshold", threshold=0.7, value=-1),
        lambda z: z if z > 0.7 else -1.0,
        lambda z: float(z > 0.7),
        (0.7,),
    ),
    (
        activation("tanh", scale=1.7159, shift=0.1),
        lambda z: 1.7159 * math.tanh(z) + 0.1,
        lambda z: 1.7159 / math.cosh(z) ** 2,
        (),
    ),
]


@pytest.mark.parametrize(("which", "f", "slope", "points"), WRITTEN, ids=lambda value: str(value)[:30])
def test_against_scipy_and_derivatives_by_hand(
    which: Activation, f: Callable[[float], float], slope: Callable[[float], float], points: tuple[float, ...]
) -> None:
    assert gain(which, mode="exact") == pytest.approx(_squared(f, points) ** -0.5, abs=1e-10)
    assert gain(which, mode="exact", direction="backward") == pytest.approx(_squared(slope, points) ** -0.5, abs=1e-10)


def test_a_random_slope_counts_as_in_training() -> None:
    assert gain(activation("rrelu")) == pytest.approx(1.3761172, abs=5e-8)
    moment = integrate.quad(lambda slope: (1 + slope * slope) / 2 / 0.2, 0.1, 0.3)[0]
    assert gain(activation("rrelu", lower=0.1, upper=0.3), direction="backward") == pytest.approx(
        moment**-0.5, abs=1e-12
    )


@pytest.mark.parametrize(
    ("unit", "gate", "g", "slope"),
    [
        ("glu", "sigmoid", lambda z: special.expit(z), lambda z: special.expit(z) * special.expit(-z)),
        ("swiglu", "silu", lambda z: z * special.expit(z), lambda z: special.expit(z) * (1 + z * special.expit(-z))),
        ("geglu", "gelu", lambda z: z * special.ndtr(z), lambda z: special.ndtr(z) + z * stats.norm.pdf(z)),
    ],
)
def test_gated_units(unit: str, gate: str, g: Function, slope: Function) -> None:
    """Over the plane, by Gauss and Hermite's rule: the outputs a g(b), and the gradients by a and by b."""
    z, weights = np.polynomial.hermite_e.hermegauss(180)
    weights = weights / weights.sum()
    a, b, weight = z[:, None], z[None, :], weights[:, None] * weights[None, :]
    forward = (weight * (a * g(b)) ** 2).sum()
    backward = (weight * (g(b) ** 2 + (a * slope(b)) ** 2)).sum() / 2
    assert gain(activation(unit)) == pytest.approx(forward**-0.5, abs=1e-8)
    assert gain(activation(unit), direction="backward") == pytest.approx(backward**-0.5, abs=1e-8)
    assert gain(activation(unit)) == pytest.approx(gain(activation(gate), mode="exact"), abs=1e-12)


def test_a_gate_of_relu_halves() -> None:
    assert gain(activation("reglu")) == pytest.approx(math.sqrt(2), abs=1e-12)
    assert gain(activation("reglu"), direction="backward") == pytest.approx(math.sqrt(2), abs=1e-12)


@pytest.mark.parametrize(("pieces", "moment"), [(1, 1.0), (2, 1.0), (3, 1 + math.sqrt(3) / (2 * math.pi))])
def test_maxout(pieces: int, moment: float) -> None:
    assert gain(activation("maxout", pieces=pieces)) == pytest.approx(moment**-0.5, abs=1e-12)
    assert gain(activation("maxout", pieces=pieces), direction="backward") == pytest.approx(
        math.sqrt(pieces), abs=1e-12
    )


# --- torch's -------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(
    ("word", "param", "which"),
    [
        ("linear", None, activation("identity")),
        ("conv2d", None, activation("identity")),
        ("conv_transpose3d", None, activation("identity")),
        ("sigmoid", None, activation("sigmoid")),
        ("tanh", None, activation("tanh")),
        ("relu", None, activation("relu")),
        ("leaky_relu", None, activation("leaky_relu")),
        ("leaky_relu", 0.2, activation("leaky_relu", slope=0.2)),
        ("leaky_relu", 0.3, activation("prelu", slope=0.3)),
        ("leaky_relu", 0, activation("relu")),
        ("relu", None, activation("relu6")),
        ("selu", None, activation("selu")),
    ],
)
def test_torch_numbers_are_calculate_gains(
    word: Any, param: float | None, which: Activation, direction: Literal["forward", "backward"]
) -> None:
    assert gain(which, direction=direction) == torch.nn.init.calculate_gain(word, param)


def test_elsewhere_torch_numbers_are_the_exact_ones() -> None:
    differ = set()
    for name, entry in VOCABULARY.items():
        for direction in ("forward", "backward"):
            if not entry.why and gain(activation(name), direction=direction) != gain(
                activation(name), mode="exact", direction=direction
            ):
                differ.add((name, direction))
    assert differ == {(name, way) for name in ("sigmoid", "tanh", "selu", "relu6") for way in ("forward", "backward")}


def test_pt54055_selu_has_three_quarters_in_torch_mode_only() -> None:
    assert gain(activation("selu")) == 0.75
    assert gain(activation("selu"), mode="exact") == pytest.approx(1.0, abs=1e-12)


# --- scale and shift, own gains, none ------------------------------------------------------------


@pytest.mark.parametrize("mode", ["torch", "exact"])
@pytest.mark.parametrize("name", [name for name, entry in VOCABULARY.items() if entry.function is not None])
def test_a_scale_divides(name: str, mode: Literal["torch", "exact"]) -> None:
    for direction in ("forward", "backward"):
        plain = gain(activation(name), mode=mode, direction=direction)
        assert gain(activation(name, scale=-2.0), mode=mode, direction=direction) == pytest.approx(plain / 2, rel=1e-12)


def test_a_shift_counts_forward_and_not_backward() -> None:
    """StarReLU's numbers make E[f] = 0 and E[f²] = 1, from relu²'s 1/2 and 5/4: Yu et al. 2022, arXiv:2210.13452."""
    star = activation("relu_squared", scale=math.sqrt(0.8), shift=-math.sqrt(0.2))
    assert gain(star) == pytest.approx(1.0, abs=1e-12)
    assert gain(star, direction="backward") == pytest.approx((0.8 * 2) ** -0.5, abs=1e-12)
    assert gain(activation("tanh", shift=1e-30)) == pytest.approx(1.5925374197, abs=1e-10)  # no longer torch's tanh
    assert gain(activation("relu", scale=0.0, shift=2.0)) == 0.5


def test_gains_found_elsewhere_are_taken_in_both_modes() -> None:
    own = Activation(name="Snake", exact=(0.875, 0.8), class_name="Snake")
    for mode in ("torch", "exact"):
        assert (gain(own, mode=mode), gain(own, mode=mode, direction="backward")) == (0.875, 0.8)


NORMALIZED = "its outputs sum to a constant whatever the scale of its inputs"
RECURRENT = "its gates and its state are sigmoids and tanhs of sums over two inputs and time"
FLAT = "its derivative is 0 almost everywhere"
REMEDY = "; give a number as 'gain', or name an initializer that takes none"


@pytest.mark.parametrize(
    ("which", "direction", "message"),
    [
        *(
            (activation(name), "forward", f"{name} has no gain: {NORMALIZED}")
            for name in ("softmax", "softmin", "gumbel_softmax")
        ),
        (
            activation("log_softmax"),
            "backward",
            "log_softmax has no gain: its outputs are the logarithms of numbers that sum to one",
        ),
        *((activation(name), "forward", f"{name} has no gain: {RECURRENT}") for name in ("lstm", "gru")),
        (activation("custom"), "forward", "custom has no gain: it stands for any function that has no name here"),
        (activation("Mine"), "forward", "no gain is known for Mine"),
        (Activation(name="Step", exact=(1.0, math.inf)), "backward", f"Step has no backward gain: {FLAT}"),
        (
            activation("relu", scale=0.0),
            "forward",
            "relu(scale=0) has no forward gain: its output is 0 almost everywhere",
        ),
        (activation("threshold", threshold=99.0), "backward", f"threshold(threshold=99) has no backward gain: {FLAT}"),
    ],
)
def test_what_has_no_gain_says_why_and_what_to_do(
    which: Activation, direction: Literal["forward", "backward"], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message follows
        gain(which, direction=direction)
    assert str(error.value) == message + REMEDY


def test_a_wrong_argument_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^elu takes alpha, not 'beta'$"):
        gain(activation("elu", beta=1.0))


# --- quadrature ----------------------------------------------------------------------------------


@given(st.floats(-2.5, 2.5), st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
def test_kinks_are_found_wherever_they_are(kink: float, left: float, right: float) -> None:
    """z − k, times one slope below k and another above: E[(z − k)²; z > k] = (1 + k²)Φ(−k) − kφ(k)."""
    above = (1 + kink * kink) * stats.norm.sf(kink) - kink * stats.norm.pdf(kink)
    below = 1 + kink * kink - above
    forward = right * right * above + left * left * below
    backward = right * right * stats.norm.sf(kink) + left * left * stats.norm.cdf(kink)
    if min(forward, backward) < 1e-3:
        return  # nothing passes
    found = exact_gains(lambda z: np.where(z > kink, right, left) * (z - kink))
    assert found == pytest.approx((forward**-0.5, backward**-0.5), rel=1e-9)


@given(st.floats(-2.5, 2.5), st.floats(-3.0, 3.0))
def test_a_jump_counts_forward_and_not_backward(place: float, height: float) -> None:
    """f = z below the jump and z + h above it: E[f²] = 1 + 2hφ(k) + h²Φ(−k), E[f'²] = 1."""
    forward = 1 + 2 * height * stats.norm.pdf(place) + height**2 * stats.norm.sf(place)
    found = exact_gains(lambda z: np.where(z > place, z + height, z))
    assert found == pytest.approx((forward**-0.5, 1.0), rel=1e-9)


@given(st.floats(0.1, 60.0), st.floats(-3.0, 3.0))
def test_oscillation_is_resolved(frequency: float, phase: float) -> None:
    """E[sin²(ωz + p)] = (1 − cos(2p) e^(−2ω²))/2, and with cosine for sine the sign of the second term turns."""
    wave = math.cos(2 * phase) * math.exp(-2 * frequency**2)
    found = exact_gains(lambda z: np.sin(frequency * z + phase))
    expected = (((1 - wave) / 2) ** -0.5, ((1 + wave) / 2) ** -0.5 / frequency)
    assert found == pytest.approx(expected, rel=1e-8)


def test_told_kinks_and_found_kinks_agree() -> None:
    for entry in VOCABULARY.values():
        function = entry.bound({})
        if function is not None:
            assert exact_gains(function, entry.kinks_at({})) == pytest.approx(exact_gains(function), rel=1e-11)


def test_float32_inside_costs_digits_and_no_more() -> None:
    def single(z: Array) -> Array:
        inner = z.astype(np.float32)
        return np.asarray(inner + np.sin(inner) ** 2, dtype=np.float64)

    expected = ((1.375 - math.exp(-2) / 2 + math.exp(-8) / 8) ** -0.5, (1.5 - math.exp(-8) / 2) ** -0.5)
    assert exact_gains(single) == pytest.approx(expected, rel=1e-5)


def test_steps_have_no_backward_gain() -> None:
    for f, forward in ((np.sign, 1.0), (np.round, (1 + 1 / 12) ** -0.5), (lambda z: 0 * z + 0.1, 10.0)):
        ahead, back = exact_gains(f)
        assert ahead == pytest.approx(forward, abs=1e-8)
        assert back == math.inf
    assert exact_gains(lambda z: 0 * z) == (math.inf, math.inf)


def test_the_function_is_called_with_vectors_once_for_each_level() -> None:
    calls: list[int] = []

    def counted(z: Array) -> Array:
        calls.append(z.size)
        return np.abs(z - 0.3)

    exact_gains(counted)
    assert calls[0] == 20 * 17
    assert len(calls) < 50  # halving from 1 to 1e-12 takes 40
    assert max(calls[1:]) <= 4 * 17
    calls.clear()
    exact_gains(counted, kinks=[0.3])
    assert calls == [21 * 17]


INFINITE = "it is not finite between -10 and 10, so it has no moments to compute"
NOISE = "it varies everywhere, at every scale, so it has no moments to compute"


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (np.log, INFINITE),
        (lambda z: np.exp(np.exp(z)), INFINITE),
        (lambda z: np.random.default_rng(0).random(z.size), NOISE),
        (lambda z: z[:1], "it must give one number for each of 340, not an array of shape (1,)"),
        (lambda z: 1.0, "it must give one number for each of 340, not an array of shape ()"),
    ],
)
def test_what_cannot_be_integrated(f: Function, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message follows
        exact_gains(f)
    assert str(error.value) == message
