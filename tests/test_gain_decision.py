"""Which gain wins, whose it is, and the sentence that says so."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.gain import decide_gain, found_gain
from initpolicy.policy import Policy
from initpolicy.records import Activation, Hit, Signal

ROOT2 = math.sqrt(2.0)


def policy(**fields: Any) -> Policy:
    return Policy.model_validate({"rules": {"all": {"init": {"*": "keep"}}}, **fields})


def hit(name: str, **arguments: float) -> Hit:
    return Hit(activation=Activation(name=name, arguments=tuple(arguments.items())))


def signal(*following: Hit, before: tuple[Hit, ...] = (), norm: bool = False, by: str = "sequential") -> Signal:
    return Signal(following=following, preceding=before, norm_before=norm, found_by=by)


RELU = signal(hit("relu"), before=(hit("tanh"),))
GELU = signal(hit("gelu"), before=(hit("silu"),))
NORMED = signal(hit("tanh"), before=(hit("silu"),), norm=True)
SOFTMAX = signal(hit("softmax"))
LEAKY = signal(hit("leaky_relu", slope=0.2), before=(hit("identity"),))
TWO = signal(hit("relu"), hit("tanh"), before=(hit("relu"), hit("relu6")))
TRACED = signal(hit("relu"), hit("tanh"), before=(hit("tanh"), hit("softmax")), by="trace")
TWICE = signal(hit("relu"), Hit(activation=Activation(name="relu"), path=("fc", "relu")), by="trace")
OWN = signal(Hit(activation=Activation(name="Snake", exact=(0.875, 0.8), class_name="Snake")))
NOTHING = Signal()

SILU, SILU_BACK, GELU_GAIN, GELU_BACK = 1.6765324703, 1.6233202580, 1.5335304412, 1.4811144127
NO_GAIN = (
    "softmax has no gain: its outputs sum to a constant whatever the scale of its inputs; "
    "give a number as 'gain', or name an initializer that takes none"
)
UNKNOWN = " is no known activation, nor one of following, preceding, theory"
REMEDY = "; give an example_input, or state it under 'activations'"


@pytest.mark.parametrize(
    ("given", "default", "around", "fields", "gain", "why"),
    [
        # A number beats all.
        ({"gain": 3}, None, RELU, {}, 3.0, "given"),
        ({"gain": 0.5, "nonlinearity": "tanh", "a": 0.2}, 1.0, RELU, {"gains": "exact"}, 0.5, "given"),
        ({"gain": 2.0, "nonlinearity": "following"}, None, NOTHING, {}, 2.0, "given"),
        # An activation that is named, slope and all.
        ({"nonlinearity": "relu"}, None, GELU, {}, ROOT2, "given relu"),
        ({"nonlinearity": "ReLU", "a": 0.9}, None, GELU, {}, ROOT2, "given relu"),
        ({"nonlinearity": "tanh"}, 1.0, RELU, {}, 5 / 3, "given tanh"),
        ({"nonlinearity": "tanh"}, 1.0, RELU, {"gains": "exact"}, 1.5925374197, "given tanh"),
        ({"nonlinearity": "linear"}, None, RELU, {}, 1.0, "given identity"),
        ({"nonlinearity": "swish"}, None, RELU, {}, SILU, "given silu"),
        ({"nonlinearity": "leaky_relu"}, None, RELU, {}, ROOT2, "given leaky_relu(slope=0)"),
        ({"nonlinearity": "leaky_relu", "a": 0.2}, None, RELU, {}, 1.3867504906, "given leaky_relu(slope=0.2)"),
        ({"nonlinearity": "leaky_relu", "a": math.sqrt(5)}, None, RELU, {}, 3**-0.5, "given leaky_relu(slope=2.23607)"),
        ({"nonlinearity": "prelu"}, None, RELU, {}, 1.3719886811, "given prelu"),
        ({"nonlinearity": "prelu", "a": 0.2}, None, RELU, {}, 1.3867504906, "given prelu(slope=0.2)"),
        ({"nonlinearity": "relu", "gain": "auto"}, None, GELU, {}, ROOT2, "given relu"),
        # A slope alone.
        ({"a": 0.2}, None, GELU, {}, 1.3867504906, "given leaky_relu(slope=0.2)"),
        ({"a": 0}, None, GELU, {}, ROOT2, "given leaky_relu(slope=0)"),
        # An activation that is found.
        ({}, None, RELU, {}, ROOT2, "following relu"),
        ({}, None, GELU, {}, GELU_GAIN, "following gelu"),
        ({}, None, LEAKY, {}, 1.3867504906, "following leaky_relu(slope=0.2)"),
        ({}, None, OWN, {}, 0.875, "following Snake"),
        ({}, None, RELU, {"nonlinearity": "preceding"}, 5 / 3, "preceding tanh"),
        ({}, None, LEAKY, {"nonlinearity": "preceding"}, 1.0, "preceding identity"),
        ({}, None, NORMED, {"nonlinearity": "preceding"}, 1.0, "norm before"),
        ({}, None, NORMED, {}, 5 / 3, "following tanh"),
        ({"nonlinearity": "preceding"}, None, GELU, {}, SILU, "preceding silu"),
        ({"nonlinearity": "following"}, None, GELU, {"nonlinearity": "preceding"}, GELU_GAIN, "following gelu"),
        # Theory: forward for fan_in, backward for fan_out.
        ({"nonlinearity": "theory", "mode": "fan_in"}, None, GELU, {}, SILU, "preceding silu"),
        ({"nonlinearity": "theory", "mode": "fan_out"}, None, GELU, {}, GELU_BACK, "following gelu, backward"),
        ({"mode": "fan_out"}, None, GELU, {"nonlinearity": "theory"}, GELU_BACK, "following gelu, backward"),
        ({"mode": "fan_out"}, None, OWN, {"nonlinearity": "theory"}, 0.8, "following Snake, backward"),
        ({"mode": "fan_out"}, None, GELU, {}, GELU_GAIN, "following gelu"),
        ({"mode": "fan_out", "nonlinearity": "preceding"}, None, GELU, {}, SILU, "preceding silu"),
        ({"nonlinearity": "theory", "mode": "fan_in"}, None, NORMED, {}, 1.0, "norm before"),
        (
            {"nonlinearity": "theory", "mode": "fan_out"},
            None,
            NORMED,
            {"gains": "exact"},
            1.4674135916,
            "following tanh, backward",
        ),
        (
            {"nonlinearity": "theory", "mode": "fan_out"},
            None,
            NORMED,
            {},
            5 / 3,
            "following tanh, backward",
        ),  # torch has but one
        # The initializer's own.
        ({}, 1.0, GELU, {}, 1.0, "the initializer's default"),
        ({}, 1.0, NOTHING, {}, 1.0, "the initializer's default"),
        ({"gain": "auto"}, 1.0, GELU, {}, GELU_GAIN, "following gelu"),
        # Several answers: a trace ranks them, the order of registration does not.
        ({}, None, TRACED, {}, ROOT2, "following relu, first of relu | tanh"),
        ({}, None, TRACED, {"nonlinearity": "preceding"}, 5 / 3, "preceding tanh, first of tanh | softmax"),
        ({}, None, TWO, {"nonlinearity": "preceding"}, ROOT2, "preceding relu, first of relu | relu6"),  # one gain
        ({}, None, TWICE, {}, ROOT2, "following relu"),  # two ways to one activation
        (
            {"nonlinearity": "theory", "mode": "fan_out"},
            None,
            TRACED,
            {},
            ROOT2,
            "following relu, backward, first of relu | tanh",
        ),
        ({}, None, TWO, {}, ROOT2, "torch's default: the following activation is ambiguous"),
        # torch's default, and why.
        ({}, None, NOTHING, {}, ROOT2, "torch's default: no following activation is known (unresolved)"),
        ({}, None, RELU, {"nonlinearity": "theory", "gains": "exact"}, 1.5925374197, "preceding tanh"),
        ({}, None, SOFTMAX, {}, ROOT2, "torch's default: softmax has no gain"),
        (
            {},
            None,
            SOFTMAX,
            {"nonlinearity": "preceding"},
            ROOT2,
            "torch's default: no preceding activation is known (sequential)",
        ),
    ],
)
def test_the_order(
    given: dict[str, Any], default: float | None, around: Signal, fields: dict[str, Any], gain: float, why: str
) -> None:
    found, reason = decide_gain(given, default, around, policy(**fields))
    assert found == pytest.approx(gain, abs=1e-10)
    assert reason == why
    assert type(found) is float


@pytest.mark.parametrize(
    ("given", "default", "around", "fields", "message"),
    [
        ({"nonlinearity": "relux"}, None, RELU, {}, "nonlinearity 'relux'" + UNKNOWN + "; did you mean 'relu'?"),
        (
            {"nonlinearity": "folowing"},
            None,
            RELU,
            {},
            "nonlinearity 'folowing'" + UNKNOWN + "; did you mean 'following'?",
        ),
        ({"nonlinearity": "my.Snake"}, 1.0, OWN, {}, "nonlinearity 'my.Snake'" + UNKNOWN),
        (
            {"nonlinearity": "softmax"},
            None,
            RELU,
            {},
            NO_GAIN,
        ),
        ({"nonlinearity": "following"}, None, NOTHING, {}, "no following activation is known (unresolved)" + REMEDY),
        ({"nonlinearity": "preceding"}, 1.0, SOFTMAX, {}, "no preceding activation is known (sequential)" + REMEDY),
        ({"gain": "auto"}, 1.0, NOTHING, {}, "no following activation is known (unresolved)" + REMEDY),
        ({"gain": "auto"}, 1.0, TWO, {}, "the following activation is ambiguous: relu, tanh" + REMEDY),
        (
            {"gain": "auto"},
            1.0,
            SOFTMAX,
            {},
            NO_GAIN,
        ),
        (
            {"gain": "auto", "mode": "fan_out"},
            None,
            NOTHING,
            {"nonlinearity": "theory"},
            "no following activation is known (unresolved)" + REMEDY,
        ),
        (
            {"gain": "auto", "mode": "fan_in"},
            None,
            NOTHING,
            {"nonlinearity": "theory"},
            "no preceding activation is known (unresolved)" + REMEDY,
        ),
    ],
)
def test_what_was_asked_for_outright_and_is_not_there(
    given: dict[str, Any], default: float | None, around: Signal, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message follows
        decide_gain(given, default, around, policy(**fields))
    assert str(error.value) == message


def test_a_name_that_the_program_gave_counts_as_one() -> None:
    own = {"snake": Activation(name="snake", exact=(0.875, 0.8), class_name="Snake"), "mix": Activation(name="mix")}
    stated = {"nonlinearity": "snake", "a": 0.2}
    assert decide_gain(stated, None, RELU, policy(), own) == (0.875, "given snake")
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message follows
        decide_gain({"nonlinearity": "mix"}, None, RELU, policy(), own)
    assert str(error.value) == (
        "no gain is known for mix; give a number as 'gain', or name an initializer that takes none"
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011
        decide_gain({"nonlinearity": "snak"}, None, RELU, policy(), own)
    assert str(error.value) == "nonlinearity 'snak'" + UNKNOWN + "; did you mean 'snake'?"


@given(
    st.floats(1e-3, 1e3),
    st.sampled_from([None, "relu", "tanh", "following", "preceding", "theory", "no such thing"]),
    st.sampled_from([None, 0.0, 0.2]),
    st.sampled_from([RELU, TWO, SOFTMAX, NOTHING]),
    st.sampled_from(["torch", "exact"]),
)
def test_pt54030_a_numeric_gain_beats_a_named_one(
    number: float, word: str | None, slope: float | None, around: Signal, gains: str
) -> None:
    given = {"gain": number, "nonlinearity": word, "a": slope, "mode": "fan_in"}
    assert decide_gain(given, None, around, policy(gains=gains)) == (number, "given")


def test_pt54055_selu_keeps_variance_one_under_exact_gains_only() -> None:
    selu = signal(hit("selu"))
    assert decide_gain({}, None, selu, policy()) == (0.75, "following selu")
    gain, why = decide_gain({}, None, selu, policy(gains="exact"))
    assert gain == pytest.approx(1.0, abs=1e-12)
    assert why == "following selu"


def test_llm_foundry962_each_layer_has_the_gain_of_what_follows_it() -> None:
    """One spec, kaiming without arguments: layers before an activation and layers before none differ, and say why."""
    layers = [signal(hit("gelu")), signal(hit("identity")), signal(hit("relu")), NOTHING]
    assert [decide_gain({}, None, layer, policy()) for layer in layers] == [
        (pytest.approx(GELU_GAIN, abs=1e-10), "following gelu"),
        (1.0, "following identity"),
        (ROOT2, "following relu"),
        (ROOT2, "torch's default: no following activation is known (unresolved)"),
    ]


@pytest.mark.parametrize("whose", ["following", "preceding", "theory"])
def test_he2015_both_cases_agree_for_relu(whose: Literal["following", "preceding", "theory"]) -> None:
    """Equations 10 and 14 have one factor."""
    around = signal(hit("relu"), before=(hit("relu"),))
    for mode in ("fan_in", "fan_out", None):
        assert found_gain(whose, mode, around, policy(gains="exact"))[0] == ROOT2
