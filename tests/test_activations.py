"""The vocabulary against torch itself; every way to tell what a module computes; and that asking changes nothing."""

from __future__ import annotations

import math
import pickle
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from initpolicy.facts.activations import (
    VOCABULARY,
    activation_of,
    named,
    normalise,
)
from initpolicy.facts.gains import exact_gains, gain
from initpolicy.facts.own import elementwise, own_activation
from initpolicy.facts.recognize import described, recognise
from initpolicy.records import Activation

Array = NDArray[np.float64]

GRID = np.linspace(-7.03, 7.41, 301)


def shown(activation: Activation | None) -> str:
    return "none" if activation is None else str(activation)


# --- the table -----------------------------------------------------------------------------------


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, initpolicy.facts.activations, initpolicy.facts.gains; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


NO_ACTIVATION = {"MultiheadAttention"}  # in torch's file of activations for its softmax


def test_every_activation_class_of_torch_is_known() -> None:
    known = {name for entry in VOCABULARY.values() for name in entry.classes}
    assert known | NO_ACTIVATION == set(torch.nn.modules.activation.__all__)
    assert known.isdisjoint(NO_ACTIVATION)


# "Non-linear activation functions" of torch.nn.functional's page, without normalize, the norms and softmax's kin twice.
FUNCTIONAL = re.findall(
    r"\w+",
    """
    threshold threshold_ relu relu_ hardtanh hardtanh_ hardswish relu6 elu elu_ selu selu_ celu celu_ leaky_relu
    leaky_relu_ prelu rrelu rrelu_ glu gelu logsigmoid hardshrink tanhshrink softsign softplus softmin softmax
    softshrink gumbel_softmax log_softmax tanh sigmoid hardsigmoid silu mish
    """,
)


def test_every_activation_function_of_torch_is_known() -> None:
    known = {name for entry in VOCABULARY.values() for name in entry.functions}
    assert {name.removesuffix("_") for name in FUNCTIONAL} == known - {"sin"}
    for name in FUNCTIONAL:
        assert callable(getattr(F, name))
        assert normalise(name) == normalise(f"torch.nn.functional.{name}") == name.removesuffix("_")


MODULES: list[tuple[nn.Module, str]] = [
    (nn.ReLU(), "relu"),
    (nn.ReLU(inplace=True), "relu"),
    (nn.ReLU6(), "relu6"),
    (nn.LeakyReLU(), "leaky_relu(slope=0.01)"),
    (nn.LeakyReLU(0.3), "leaky_relu(slope=0.3)"),
    (nn.PReLU(), "prelu(slope=0.25)"),
    (nn.PReLU(init=0.1), "prelu(slope=0.1)"),
    (nn.RReLU(0.1, 0.3).eval(), "rrelu(lower=0.1, upper=0.3)"),
    (nn.Threshold(0.1, 20), "threshold(threshold=0.1, value=20)"),
    (nn.ELU(0.5), "elu(alpha=0.5)"),
    (nn.CELU(2.0), "celu(alpha=2)"),
    (nn.SELU(), "selu"),
    (nn.GELU(), "gelu"),
    (nn.GELU(approximate="tanh"), "gelu_tanh"),
    (nn.SiLU(), "silu"),
    (nn.Mish(), "mish"),
    (nn.Hardswish(), "hardswish"),
    (nn.Softplus(2.0, 3.0), "softplus(beta=2, threshold=3)"),
    (nn.Sigmoid(), "sigmoid"),
    (nn.Hardsigmoid(), "hardsigmoid"),
    (nn.LogSigmoid(), "logsigmoid"),
    (nn.Tanh(), "tanh"),
    (nn.Hardtanh(-2.0, 3.0), "hardtanh(min_val=-2, max_val=3)"),
    (nn.Hardtanh(0.0, math.inf), "hardtanh(min_val=0, max_val=inf)"),
    (nn.Softsign(), "softsign"),
    (nn.Tanhshrink(), "tanhshrink"),
    (nn.Softshrink(0.7), "softshrink(lambd=0.7)"),
    (nn.Hardshrink(0.7), "hardshrink(lambd=0.7)"),
    (nn.GLU(), "glu"),
    (nn.Softmax(-1), "softmax"),
    (nn.Softmax2d(), "softmax"),
    (nn.Softmin(-1), "softmin"),
    (nn.LogSoftmax(-1), "log_softmax"),
    (nn.Identity(), "none"),
    (nn.Linear(2, 2), "none"),
    (nn.MultiheadAttention(4, 2), "none"),
    (nn.Sequential(nn.ReLU()), "none"),
]


@pytest.mark.parametrize(
    ("module", "expected"), MODULES, ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value
)
def test_modules_of_torch_and_the_functions_for_them(module: nn.Module, expected: str) -> None:
    found = activation_of(module)
    assert shown(found) == expected
    if found is None:
        return
    function = VOCABULARY[found.name].bound(dict(found.arguments))
    assert (function is None) == (found.name in ("glu", "softmax", "softmin", "log_softmax"))
    if function is not None:
        computed = module.double()(torch.from_numpy(GRID.copy())).detach().numpy()
        np.testing.assert_allclose(function(GRID), computed, rtol=1e-6 if found.name == "prelu" else 1e-12, atol=1e-15)


def test_each_class_is_in_the_table_above() -> None:
    """So that no entry of the vocabulary goes unchecked against torch."""
    checked = {type(module).__name__ for module, _ in MODULES}
    assert {name for entry in VOCABULARY.values() for name in entry.classes} <= checked


HAND_WRITTEN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu_squared": lambda x: F.relu(x) ** 2,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "swish": lambda x: x * torch.sigmoid(x),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sin": torch.sin,
    "identity": lambda x: x,
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_functions_that_torch_has_no_class_for(name: str) -> None:
    function = VOCABULARY[name].bound({})
    assert function is not None
    expected = HAND_WRITTEN[name](torch.from_numpy(GRID)).numpy()
    np.testing.assert_allclose(function(GRID), expected, rtol=1e-12, atol=1e-15)


def test_each_entry_is_elementwise_or_gated_or_over_several_or_says_why_it_has_no_gain() -> None:
    for entry in VOCABULARY.values():
        kinds = [entry.function is not None, entry.gate != "", entry.name == "maxout", entry.why != ""]
        assert sum(kinds) == 1, entry.name
        assert entry.gate in ("", *VOCABULARY)


def test_scale_and_shift_go_with_every_function() -> None:
    for entry in VOCABULARY.values():
        plain, moved = entry.bound({}), entry.bound({"scale": 3.0, "shift": -0.5})
        if plain is not None and moved is not None:
            np.testing.assert_array_equal(moved(GRID), 3.0 * plain(GRID) - 0.5)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        *((name, name) for name in VOCABULARY if name != "swish"),
        ("swish", "silu"),
        ("Swish", "silu"),
        ("ReLU", "relu"),
        ("nn.ReLU", "relu"),
        ("torch.nn.ReLU", "relu"),
        ("torch.nn.modules.activation.ReLU", "relu"),
        ("torch.relu_", "relu"),
        ("relu_", "relu"),
        ("F.relu", "relu"),
        ("torch.Tensor.relu_", "relu"),
        ("torch.special.expit", "sigmoid"),
        ("LeakyReLU", "leaky_relu"),
        ("leaky-relu", "leaky_relu"),
        ("leakyrelu", "leaky_relu"),
        (" tanh ", "tanh"),
        ("linear", "identity"),
        ("Identity", "identity"),
        ("conv2d", "identity"),
        ("conv_transpose3d", "identity"),
        ("Softmax2d", "softmax"),
        ("gelu_new", "gelu_tanh"),
        ("StarReLU", "relu_squared"),
        ("squared_relu", "relu_squared"),
        ("HardSwish", "hardswish"),
        ("h_swish", "hardswish"),
        ("LogSoftmax", "log_softmax"),
        ("SwiGLU", "swiglu"),
        ("", ""),
        (".", ""),
        ("relux", ""),
        ("my_pkg.layers.ReLU", ""),
        ("tf.nn.relu", ""),
        ("MultiheadAttention", ""),
    ],
)
def test_names(name: str, canonical: str) -> None:
    assert normalise(name) == canonical


def test_no_word_means_two_things() -> None:
    meaning: dict[str, str] = {}
    for entry in VOCABULARY.values():
        for word in (entry.name, *entry.aliases, *entry.classes, *entry.functions):
            folded = word.replace("_", "").casefold()
            assert meaning.setdefault(folded, entry.name) in (entry.name, "silu" if folded == "swish" else entry.name)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("ReLU", {}, "relu"),
        ("leaky_relu", {"slope": 0.2}, "leaky_relu(slope=0.2)"),
        ("LeakyReLU", {"negative_slope": 1}, "leaky_relu(slope=1)"),
        ("swish", {}, "silu"),
        ("swish", {"beta": 1.5}, "swish(beta=1.5)"),
        ("tanh", {"scale": 2, "shift": 1}, "tanh(scale=2, shift=1)"),
    ],
)
def test_named(name: str, arguments: dict[str, float], expected: str) -> None:
    assert str(named(name, arguments)) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("relux", {}, "unknown activation 'relux'; did you mean 'relu'?"),
        ("leaky_rulu", {}, "unknown activation 'leaky_rulu'; did you mean 'leaky_relu'?"),
        ("my_pkg.ReLU", {}, "unknown activation 'my_pkg.ReLU'"),
        ("", {}, "unknown activation ''"),
        ("elu", {"alhpa": 1}, "elu takes alpha, not 'alhpa'; did you mean 'alpha'?"),
        ("hardtanh", {"min": 1}, "hardtanh takes min_val, max_val, not 'min'; did you mean 'min_val'?"),
        ("relu", {"slope": 1}, "relu takes no arguments, not 'slope'"),
        ("softmax", {"scale": 1}, "softmax takes no arguments, not 'scale'"),
    ],
)
def test_what_is_unknown_says_what_was_meant(name: str, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message follows
        named(name, arguments)
    assert str(error.value) == message


# --- modules of torch, in other guises ------------------------------------------------------------


class Renamed(nn.LeakyReLU):
    pass


class Overridden(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return input.relu() + input


def test_a_descendant_counts_as_long_as_it_keeps_the_forward() -> None:
    assert activation_of(Renamed(0.2)) == Activation(
        name="leaky_relu", arguments=(("slope", 0.2),), class_name="Renamed"
    )
    assert activation_of(Overridden()) is None
    patched = nn.ReLU()
    patched.forward = torch.tanh  # type: ignore[method-assign]  # as offloading libraries do
    assert activation_of(patched) is None


def test_a_learned_slope_is_the_mean_over_channels_and_the_default_on_meta() -> None:
    module = nn.PReLU(4)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.0, 0.25, 0.5, 1.25]))
    assert shown(activation_of(module)) == "prelu(slope=0.5)"
    assert shown(activation_of(module.to("meta"))) == "prelu(slope=0.25)"
    assert shown(activation_of(nn.PReLU(init=math.nan))) == "prelu(slope=0.25)"  # as memory that nothing was written to
    assert shown(activation_of(nn.PReLU().to(torch.bfloat16))) == "prelu(slope=0.25)"


def test_compiled_modules_keep_their_numbers_and_traced_ones_do_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        assert shown(activation_of(torch.jit.script(nn.LeakyReLU(0.3)))) == "leaky_relu(slope=0.3)"
        assert activation_of(torch.jit.trace(nn.LeakyReLU(0.3), torch.zeros(2))) is None  # type: ignore[no-untyped-call]


# --- modules of the user's own --------------------------------------------------------------------


def own(forward: Callable[[Tensor], Any], name: str = "Own") -> nn.Module:
    """A module of a class of this name."""
    module: nn.Module = type(name, (nn.Module,), {"forward": lambda self, x: forward(x)})()
    return module


class SiluFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def _tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


RECOGNISED: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("relu", lambda x: x.clamp(min=0)),
    ("relu", lambda x: torch.maximum(x, torch.zeros_like(x))),
    ("relu", lambda x: x * (x > 0)),
    ("relu", F.relu_),
    ("relu6", lambda x: x.clamp(0, 6)),
    ("leaky_relu(slope=0.25)", lambda x: torch.where(x > 0, x, 0.25 * x)),
    ("leaky_relu(slope=0.01)", lambda x: torch.maximum(x, 0.01 * x)),
    ("leaky_relu(slope=-0.3)", lambda x: F.leaky_relu(x, -0.3)),
    ("leaky_relu(slope=0.2, scale=1.41421)", lambda x: F.leaky_relu(x, 0.2) * 2**0.5),  # StyleGAN 2
    ("relu(scale=1.7139)", lambda x: F.relu(x) * 1.7139),  # NFNet
    ("elu", lambda x: torch.where(x > 0, x, torch.exp(x) - 1)),
    ("elu(shift=1)", lambda x: F.elu(x) + 1),
    ("elu(alpha=0.5)", lambda x: F.elu(x, 0.5)),
    ("celu(alpha=2)", lambda x: F.celu(x, 2.0)),
    ("selu", lambda x: 1.0507009873554805 * F.elu(x, 1.6732632423543772)),
    ("gelu", lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))),
    ("gelu_tanh", _tanh_gelu),
    ("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x)),
    ("silu", lambda x: x * torch.sigmoid(x)),
    ("silu", lambda x: x / (1 + torch.exp(-x))),
    ("silu", lambda x: SiluFunction.apply(x)),  # type: ignore[no-untyped-call]  # torch's
    ("silu", lambda x: F.silu(x.float())),
    ("swish(beta=1.5)", lambda x: x * torch.sigmoid(1.5 * x)),
    ("mish", lambda x: x * torch.tanh(F.softplus(x))),
    ("hardswish", lambda x: x * F.relu6(x + 3) / 6),
    ("hardsigmoid", lambda x: F.relu6(x + 3) / 6),
    ("sigmoid", lambda x: 1 / (1 + torch.exp(-x))),
    ("tanh", lambda x: 2 * torch.sigmoid(2 * x) - 1),
    ("logsigmoid", lambda x: -F.softplus(-x)),
    ("softplus", lambda x: torch.log(1 + torch.exp(x))),
    ("softplus(shift=-0.693147)", lambda x: F.softplus(x) - math.log(2)),  # SchNet
    ("softplus(beta=2)", lambda x: F.softplus(x, 2.0)),
    ("hardtanh", lambda x: x.clamp(-1, 1)),
    ("hardtanh(min_val=-2, max_val=3)", lambda x: x.clamp(-2, 3)),
    ("softsign", lambda x: x / (1 + x.abs())),
    ("tanhshrink", lambda x: x - x.tanh()),
    ("softshrink(lambd=0.3)", lambda x: x.sign() * F.relu(x.abs() - 0.3)),
    ("hardshrink", lambda x: x * (x.abs() > 0.5)),
    ("relu_squared", lambda x: torch.square(F.relu(x))),
    ("relu_squared(scale=0.8944, shift=-0.4472)", lambda x: 0.8944 * F.relu(x) ** 2 - 0.4472),  # StarReLU
    ("sin", torch.sin),
    ("sin(frequency=30)", lambda x: torch.sin(30 * x)),
    ("Own", lambda x: x + torch.sin(x) ** 2),  # snake
    ("Own", lambda x: 1.7159 * torch.tanh(x * 2 / 3)),
    ("Own", lambda x: torch.exp(-x * x)),
    ("Own", torch.abs),
    ("Own", torch.round),
    ("Own", lambda x: F.hardshrink(x, 0.3)),
    ("Own", lambda x: -F.relu(-x)),
    ("relu(scale=-1)", lambda x: -F.relu(x)),
]


@pytest.mark.parametrize(("expected", "forward"), RECOGNISED)
def test_an_own_class_is_named_by_what_it_computes_and_keeps_its_name(
    expected: str, forward: Callable[[Tensor], Tensor]
) -> None:
    found = own_activation(own(forward))
    assert shown(found) == expected
    assert found is not None
    assert found.class_name == "Own"
    assert (found.exact is None) == (expected != "Own")
    assert found.words == {found.name, "Own"} | ({"custom"} if expected == "Own" else set())


# 1/√E[f²] and 1/√E[f'²]; those with a decimal fraction are mpmath's. Snake by hand: E[(z + sin²z)²] = 1 + E[sin⁴z], as
# z sin²z is odd, with E[sin⁴z] = 3/8 − e^(−2)/2 + e^(−8)/8; E[(1 + sin 2z)²] = 1 + (1 − e^(−8))/2.
SNAKE = (1.375 - math.exp(-2) / 2 + math.exp(-8) / 8) ** -0.5
GAINS: list[tuple[Callable[[Tensor], Tensor], float, float]] = [
    (lambda x: x + torch.sin(x) ** 2, SNAKE, (1.5 - math.exp(-8) / 2) ** -0.5),
    (torch.abs, 1.0, 1.0),
    (torch.exp, math.exp(-1), math.exp(-1)),
    (lambda x: torch.exp(-x * x), 5**0.25, (4 / 5**1.5) ** -0.5),
    (lambda x: F.hardshrink(x, 0.5), 1.0157963547, 1.2730076010),
    (lambda x: x.clamp(min=0), 1.4142135624, 1.4142135624),
    (lambda x: x * F.relu6(x + 3) / 6, 1.7366572128, 1.6700763674),
    (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), 1.5335304412, 1.4811144127),
    (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), 1.2451983007, 1.2234285576),
    (lambda x: F.leaky_relu(x, 0.2), 1.3867504906, 1.3867504906),
    (lambda x: x.clamp(0, 6), 1.4142135651, 1.4142135638),
]


@pytest.mark.parametrize(("forward", "ahead", "back"), GAINS)
def test_gains_of_own_classes(forward: Callable[[Tensor], Tensor], ahead: float, back: float) -> None:
    found = own_activation(own(forward))
    assert found is not None
    assert gain(found, mode="exact") == pytest.approx(ahead, abs=1e-9)
    assert gain(found, mode="exact", direction="backward") == pytest.approx(back, abs=1e-9)


@pytest.mark.parametrize(("forward", "ahead", "back"), GAINS)
def test_gains_by_quadrature_of_their_own_forward(
    forward: Callable[[Tensor], Tensor], ahead: float, back: float
) -> None:
    """With the vocabulary out of the way."""
    function = elementwise(own(forward))
    assert function is not None
    assert exact_gains(function) == pytest.approx((ahead, back), abs=1e-9)


class Learned(nn.Module):
    """swish with beta."""

    def __init__(self, beta: Tensor) -> None:
        super().__init__()
        self.beta = nn.Parameter(beta)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


def test_learned_numbers_are_read_where_they_are() -> None:
    assert own_activation(Learned(torch.tensor([1.3]))) == Activation(
        name="swish", arguments=(("beta", 1.3),), class_name="Learned"
    )
    assert shown(own_activation(Learned(torch.tensor(1.0)))) == "silu"
    assert shown(own_activation(Learned(torch.tensor(0.7, dtype=torch.bfloat16)))) == "swish(beta=0.699219)"
    assert own_activation(Learned(torch.ones(3))) is None  # one for each channel: no function of one number
    assert own_activation(Learned(torch.empty(1, device="meta"))) is None


def _raising(x: Tensor) -> Tensor:
    raise RuntimeError("not today")


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x,
        lambda x: -x,
        lambda x: 2 * x + 1,
        lambda x: x.flatten(),
        lambda x: x.flip(-1),
        lambda x: x.softmax(-1),
        lambda x: x / x.norm(),
        lambda x: x.relu() / x.norm(),
        lambda x: x.relu().unsqueeze(0),
        lambda x: x - x.mean(-1, keepdim=True),
        lambda x: x.chunk(2, -1)[0],
        lambda x: x.cumsum(0),
        lambda x: x.sum(),
        lambda x: x + torch.randn_like(x),
        lambda x: x + torch.arange(x.shape[-1]),
        lambda x: torch.log(x),
        lambda x: torch.exp(torch.exp(x)),
        lambda x: x > 0,
        lambda x: (x, x),
        lambda x: None,
        _raising,
        lambda x: x.new_zeros(()).item(),
    ],
)
def test_what_is_no_activation(forward: Callable[[Tensor], Any]) -> None:
    assert own_activation(own(forward)) is None


class Busy(nn.Module):
    """An activation that changes all it can reach."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.gain = nn.Parameter(torch.ones(()))
        self.seen: list[int] = []
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(1)
        self.last = x
        with torch.no_grad():
            self.gain.add_(0.0 * torch.rand(()))
            self.gain.mul_(1.0)
        random.random()
        np.random.rand()  # the legacy state is what must be put back
        warnings.warn("busy", stacklevel=1)
        dropped: Tensor = self.drop(x.relu_())
        return dropped**2 * self.gain


def _state(module: Busy) -> bytes:
    hooks = [len(part._forward_hooks) for part in module.modules()]
    flags = [part.training for part in module.modules()]
    tensors = {
        name: (id(tensor), tensor.detach().numpy().tobytes())
        for name, tensor in module.state_dict(keep_vars=True).items()
    }
    return pickle.dumps((hooks, flags, tensors, sorted(vars(module)), module.seen, module.gain.grad))


def test_the_module_and_the_random_state_are_as_before() -> None:
    module = Busy()
    fired: list[int] = []
    module.register_forward_hook(lambda *_: fired.append(1))
    module.drop.register_forward_pre_hook(lambda *_: fired.append(1))
    state = _state(module)
    randomness = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    assert shown(own_activation(module)) == "relu_squared"
    assert _state(module) == state
    assert torch.equal(torch.get_rng_state(), randomness[0])
    assert (random.getstate(), pickle.dumps(np.random.get_state())) == randomness[1:]
    assert fired == []
    assert torch.is_grad_enabled()


def test_under_a_default_device_and_dtype_of_the_users() -> None:
    with torch.device("meta"):
        assert shown(own_activation(own(lambda x: torch.maximum(x, torch.zeros(()))))) == "relu"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert shown(own_activation(own(lambda x: x * torch.sigmoid(torch.tensor(1.5) * x)))) == "swish(beta=1.5)"
    finally:
        torch.set_default_dtype(before)


def test_a_compiled_forward_is_not_compiled_for_this() -> None:
    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return graph.forward

    forward = torch.compile(lambda x: x * torch.sigmoid(x), backend=backend)
    assert shown(own_activation(own(forward))) == "silu"
    assert compiled == []


@pytest.mark.parametrize(("parameters", "elements", "copied"), [(1, 1, True), (3, 1, False), (1, 100_000, False)])
def test_only_what_is_small_is_copied(parameters: int, elements: int, copied: bool) -> None:
    copies: list[int] = []

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.ones(elements))
            self.slopes = nn.Parameter(torch.ones(parameters))

        def __deepcopy__(self, memo: dict[int, Any]) -> Table:
            copies.append(1)
            return Table()

        def forward(self, x: Tensor) -> Tensor:
            return x.relu() * self.slopes.mean()

    assert shown(own_activation(Table())) == ("relu" if copied else "none")
    assert bool(copies) is copied


# --- functions -----------------------------------------------------------------------------------

SAME = {"celu": "elu", "swish": "silu", "threshold": "relu", "prelu": "leaky_relu(slope=0.25)"}
SAME |= {"rrelu": "leaky_relu(slope=0.229167)", "leaky_relu": "leaky_relu(slope=0.01)"}


@pytest.mark.parametrize("name", [name for name, entry in VOCABULARY.items() if entry.function is not None])
def test_each_entry_is_recognised_as_itself_or_its_equal(name: str) -> None:
    function = VOCABULARY[name].bound({})
    assert function is not None
    assert shown(recognise(function)) == SAME.get(name, name)


SLOPES = st.floats(-0.9, 0.9).filter(lambda slope: abs(slope) > 0.01)
POSITIVE = st.floats(0.1, 4.0).filter(lambda value: abs(value - 1) > 0.01)


@given(st.data())
def test_arguments_are_fitted(data: st.DataObject) -> None:
    name, argument, values = data.draw(
        st.sampled_from(
            [
                ("leaky_relu", "slope", SLOPES),
                ("elu", "alpha", POSITIVE),
                ("celu", "alpha", POSITIVE),
                ("swish", "beta", POSITIVE.filter(lambda beta: abs(beta - 1.702) > 0.01)),
                ("sin", "frequency", st.floats(0.1, 100.0).filter(lambda value: abs(value - 1) > 0.01)),
                ("softplus", "beta", st.floats(0.5, 2.0).filter(lambda value: abs(value - 1) > 0.01)),
                ("softshrink", "lambd", POSITIVE.filter(lambda value: abs(value - 0.5) > 0.01)),
            ]
        )
    )
    value = data.draw(values)
    function = VOCABULARY[name].bound({argument: value})
    assert function is not None
    found = recognise(function)
    assert found is not None
    assert found.name == name
    assert dict(found.arguments) == pytest.approx({argument: value}, rel=1e-6)


@given(
    st.sampled_from([name for name, entry in VOCABULARY.items() if entry.function is not None and name not in SAME]),
    st.floats(0.1, 10.0).filter(lambda scale: abs(scale - 1) > 0.01),
    st.floats(-3.0, 3.0).filter(lambda shift: abs(shift) > 0.01),
)
def test_scale_and_shift_are_fitted(name: str, scale: float, shift: float) -> None:
    """What is recognised computes the same, and almost always under the same name."""
    function = VOCABULARY[name].bound({"scale": scale, "shift": shift})
    assert function is not None
    found = recognise(function)
    assert found is not None
    again = VOCABULARY[found.name].bound(dict(found.arguments))
    assert again is not None
    np.testing.assert_allclose(again(GRID), function(GRID), rtol=1e-5, atol=2e-5)
    assert found.name == name or {found.name, name} <= {"hardtanh", "hardsigmoid", "relu6", "elu", "softplus"}


def test_affine_functions_are_the_identity() -> None:
    assert shown(recognise(lambda z: z)) == "identity"
    assert shown(recognise(lambda z: 3.0 * z - 1.0)) == "identity(scale=3, shift=-1)"
    assert recognise(lambda z: 0.0 * z) is None
    assert recognise(lambda z: 0.0 * z + 5.0) is None


def test_small_functions_are_compared_at_their_own_size() -> None:
    assert shown(recognise(lambda z: 1e-6 * np.tanh(z))) == "tanh(scale=1e-06)"
    assert recognise(lambda z: 1e-6 * np.exp(-z * z)) is None


def test_the_function_is_called_once() -> None:
    calls: list[tuple[int, ...]] = []

    def function(z: Array) -> Array:
        calls.append(z.shape)
        z *= 0.7  # what it does to its argument is its own affair
        return np.asarray(np.tanh(z))

    assert recognise(function) is None
    assert calls == [(426,)]


def test_a_function_like_none_is_custom_with_its_gains() -> None:
    found = described(np.abs)
    assert (found.name, found.arguments, found.class_name) == ("custom", (), "")
    assert found.exact == pytest.approx((1.0, 1.0), abs=1e-12)
    assert described(np.tanh, "mine", class_name="Mine") == Activation(name="tanh", class_name="Mine")
    with pytest.raises(ValueError, match=r"^it is not finite between -10 and 10, so it has no moments to compute$"):
        described(np.log)
