"""Signals by registration order: what is found, what is rightly not, and that finding changes nothing."""

from __future__ import annotations

import pickle
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import initpolicy as ip
from initpolicy.facts.activations import VOCABULARY
from initpolicy.facts.sequential import LAYERS, OPEN, find_in_sequentials
from initpolicy.facts.survey import survey_model
from initpolicy.records import Activation, Hit, Signal


def shown(hits: tuple[Hit, ...]) -> str:
    return " | ".join(str(hit.activation) for hit in hits)


def signals(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Parameter -> what follows, what precedes."""
    return {
        name: (shown(found.following), shown(found.preceding)) for name, found in find_in_sequentials(model).items()
    }


def weights(model: nn.Module) -> dict[str, tuple[str, str]]:
    return {name.removesuffix(".weight"): both for name, both in signals(model).items() if name.endswith(".weight")}


# --- modules of the user's own -------------------------------------------------------------------


class Own(nn.Module):
    """A class that computes what it is given."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class LearnedSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


class Snake(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(x) ** 2


class DropPath(nn.Module):
    """Whole samples at random, in training."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1)) < 0.9
        return x * kept / 0.9


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return x + out


class Backwards(nn.Sequential):
    """Runs what it holds in the other order."""

    def forward(self, input: Tensor) -> Tensor:
        for module in reversed(self):
            input = module(input)
        return input


class Block(nn.Sequential):
    """A Sequential of another name, as torchvision's ConvNormActivation."""


class Standardized(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean()
        out: Tensor = self._conv_forward(input, weight, self.bias)
        return out


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def lin() -> nn.Linear:
    return nn.Linear(4, 4)


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1)


def after(*modules: nn.Module) -> str:
    """What follows a layer before these, at the end of a model."""
    return weights(nn.Sequential(lin(), *modules))["0"][0]


# --- what follows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modules", "following"),
    [
        ([nn.ReLU()], "relu"),
        ([nn.ReLU(inplace=True)], "relu"),
        ([nn.BatchNorm1d(4), nn.ReLU()], "relu"),
        ([nn.LayerNorm(4), nn.Dropout(), nn.GELU()], "gelu"),
        ([nn.LeakyReLU(0.3)], "leaky_relu(slope=0.3)"),
        ([nn.ELU(0.5)], "elu(alpha=0.5)"),
        ([nn.PReLU()], "prelu(slope=0.25)"),
        ([nn.GELU("tanh")], "gelu_tanh"),
        ([nn.GLU()], "glu"),
        ([nn.LogSoftmax(-1)], "log_softmax"),
        ([nn.Flatten(), nn.Unflatten(1, (2, 2)), nn.Softmax2d()], "softmax"),
        ([nn.MaxPool2d(2), nn.ReLU()], "relu"),
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Tanh()], "tanh"),
        ([nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.PixelShuffle(2), nn.SiLU()], "silu"),
        ([nn.Identity(), nn.Sequential(), nn.ReLU()], "relu"),
        ([nn.Sequential(nn.Sequential(nn.Dropout()), nn.ReLU())], "relu"),
        ([Block(nn.BatchNorm1d(4), nn.ReLU6())], "relu6"),
        ([DropPath(), nn.ReLU()], "relu"),
        ([Own(lambda x: 2 * x), nn.ReLU()], "relu"),
        ([Own(lambda x: x.flatten(1)), nn.ReLU()], "relu"),
        ([Own(lambda x: x.permute(0, 2, 3, 1)), nn.ReLU()], "relu"),
        ([lin()], "identity"),
        ([nn.Dropout(), lin(), nn.ReLU()], "identity"),
        ([], "identity"),
        ([nn.LayerNorm(4)], "identity"),
        ([nn.LSTM(4, 4)], "identity"),
        # Written by hand.
        ([Swish()], "silu"),
        ([LearnedSwish()], "swish(beta=1.5)"),
        ([Snake()], "Snake"),
        ([Own(lambda x: torch.relu(x) ** 2)], "relu_squared"),
        ([Own(lambda x: 0.8944 * torch.relu(x) ** 2 - 0.4472)], "relu_squared(scale=0.8944, shift=-0.4472)"),
        ([Own(lambda x: torch.where(x > 0, x, 0.25 * x))], "leaky_relu(slope=0.25)"),
        ([Own(lambda x: torch.sin(30 * x))], "sin(frequency=30)"),
        # Not understood.
        ([Own(lambda x: x.softmax(-1)), nn.ReLU()], ""),
        ([Own(lambda x: x.view(3, 5)), nn.ReLU()], ""),
        ([Own(lambda x: x.mean((-1, -2))), nn.ReLU()], ""),
        ([Own(lambda x: x.abs().flatten(1)), nn.ReLU()], ""),
        ([Residual(lin()), nn.ReLU()], ""),
        ([Backwards(nn.Tanh(), lin()), nn.ReLU()], ""),
        ([Standardized(4, 4, 3), nn.ReLU()], ""),
        ([Scale(), nn.ReLU()], ""),
        ([nn.TransformerEncoderLayer(4, 2), nn.ReLU()], ""),
    ],
)
def test_what_follows(modules: list[nn.Module], following: str) -> None:
    found = weights(nn.Sequential(lin(), *modules))
    assert found.get("0", ("", "input"))[0] == following


def test_a_hand_written_activation_keeps_its_class_and_gains() -> None:
    found = find_in_sequentials(nn.Sequential(lin(), Swish(), lin(), Snake()))
    assert found["0.weight"].following[0].activation == Activation(name="silu", class_name="Swish")
    snake = found["2.weight"].following[0].activation
    assert (snake.name, snake.class_name) == ("Snake", "Snake")
    assert snake.exact == pytest.approx((0.87458098293, 0.81654223544), abs=1e-10)


# --- a whole model, path by path ------------------------------------------------------------------


def test_paths_flags_and_all() -> None:
    model = nn.Sequential(
        conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Sequential(conv(), nn.LocalResponseNorm(2), nn.Tanh()),
        nn.Flatten(), nn.LayerNorm(4), nn.Dropout(), lin(),
    )  # fmt: skip
    relu, tanh, identity = Activation(name="relu"), Activation(name="tanh"), Activation(name="identity")
    first = Signal(
        following=(Hit(activation=relu, path=("0", "1", "2"), flags=("norm",)),),
        preceding=(Hit(activation=identity, path=("input", "0")),),
        found_by="sequential",
    )
    norm = Signal(
        following=(Hit(activation=relu, path=("1", "2")),),
        preceding=(Hit(activation=identity, path=("0", "1")),),
        found_by="sequential",
        previous="0",
    )
    second = Signal(
        following=(Hit(activation=tanh, path=("4.0", "4.1", "4.2"), flags=("norm",)),),
        preceding=(Hit(activation=relu, path=("2", "3", "4.0"), flags=("pool",)),),
        found_by="sequential",
        previous="0",
    )
    last_norm = Signal(
        following=(Hit(activation=identity, path=("6", "7", "8")),),
        preceding=(Hit(activation=tanh, path=("4.2", "5", "6")),),
        found_by="sequential",
        previous="4.0",
    )
    last = Signal(
        following=(Hit(activation=identity, path=("8", "output")),),
        preceding=(Hit(activation=tanh, path=("4.2", "5", "6", "7", "8"), flags=("norm",)),),
        norm_before=True,
        found_by="sequential",
        previous="4.0",
    )
    expected = {"0": first, "1": norm, "4.0": second, "6": last_norm, "8": last}
    assert find_in_sequentials(model) == {
        f"{path}.{local}": signal for path, signal in expected.items() for local in ("weight", "bias")
    }


def test_the_end_of_what_is_not_the_whole_model_is_not_known() -> None:
    model = Residual(nn.Sequential(lin(), nn.GELU(), lin()))
    assert weights(model) == {"inner.0": ("gelu", ""), "inner.2": ("", "gelu")}
    found = find_in_sequentials(model)
    assert found["inner.0.weight"].previous is None
    assert found["inner.2.weight"].previous == "inner.0"
    assert find_in_sequentials(Residual(nn.Sequential(lin()))) == {}
    assert find_in_sequentials(Residual(lin())) == {}


def test_a_part_that_is_not_understood_parts_what_is_around_it() -> None:
    model = nn.Sequential(lin(), Residual(nn.Sequential(lin(), nn.ReLU(), lin())), lin(), nn.Tanh(), lin())
    assert weights(model) == {
        "0": ("", "identity"),
        "1.inner.0": ("relu", ""),
        "1.inner.2": ("", "relu"),
        "2": ("tanh", ""),
        "4": ("identity", "tanh"),
    }
    assert [find_in_sequentials(model)[f"{path}.weight"].previous for path in ("0", "1.inner.2", "2", "4")] == [
        None, "1.inner.0", None, "2"
    ]  # fmt: skip


def test_a_single_layer_is_a_model_too() -> None:
    assert signals(lin()) == {"weight": ("identity", "identity"), "bias": ("identity", "identity")}
    assert signals(nn.ReLU()) == {}
    assert signals(nn.Sequential()) == {}
    assert signals(nn.Sequential(nn.ReLU())) == {}


def test_a_sequential_of_another_order_is_not_understood() -> None:
    assert signals(Backwards(lin(), nn.ReLU())) == {}
    patched = nn.Sequential(lin(), nn.ReLU())
    patched.forward = patched[0].forward  # type: ignore[method-assign]  # as some libraries do
    assert signals(patched) == {}
    skipping = nn.Sequential(lin(), nn.ReLU(), lin())
    skipping[1].forward = torch.tanh  # the same for one of its parts
    assert weights(skipping) == {"0": ("tanh", "identity"), "2": ("identity", "tanh")}
    layer = nn.Sequential(lin(), nn.ReLU())
    layer[0].forward = torch.tanh  # a layer that is none
    assert signals(layer) == {}


@pytest.mark.parametrize(
    ("modules", "before"),
    [
        ([nn.LayerNorm(4)], True),
        ([nn.BatchNorm1d(4), nn.Dropout(), nn.Flatten(), nn.Identity()], True),
        ([nn.Sequential(nn.RMSNorm(4))], True),
        ([nn.GroupNorm(2, 4), nn.AvgPool1d(2)], False),
        ([nn.InstanceNorm1d(4), nn.ReLU()], False),
        ([nn.LocalResponseNorm(2)], False),
        ([nn.LayerNorm(4), lin()], False),
        ([nn.LayerNorm(4), Own(lambda x: 2 * x)], False),
        ([nn.LayerNorm(4), Scale()], False),
        ([], False),
    ],
)
def test_norm_before(modules: list[nn.Module], before: bool) -> None:
    found = find_in_sequentials(nn.Sequential(lin(), nn.ReLU(), *modules, nn.Linear(4, 2)))
    assert found[f"{len(modules) + 2}.weight"].norm_before is before


# --- modules and tensors at several places --------------------------------------------------------


def test_a_layer_used_twice_has_both_answers_its_own_first() -> None:
    layer = lin()
    model = nn.Sequential(layer, nn.ReLU(), layer, nn.Tanh())
    assert weights(model) == {"0": ("relu | tanh", "identity | relu"), "2": ("tanh | relu", "relu | identity")}
    sites = survey_model(model, find_in_sequentials(model)).params[0].sites
    assert [shown(site.signal.following) for site in sites] == ["relu | tanh", "tanh | relu"]


def test_an_activation_used_twice_is_two_activations() -> None:
    tanh = nn.Tanh()
    assert weights(nn.Sequential(lin(), tanh, lin(), tanh)) == {"0": ("tanh", "identity"), "2": ("tanh", "tanh")}


def test_norm_before_holds_only_where_it_holds_at_every_place() -> None:
    layer = lin()
    model = nn.Sequential(nn.LayerNorm(4), layer, nn.ReLU(), layer)
    assert [find_in_sequentials(model)[f"{place}.weight"].norm_before for place in (1, 3)] == [False, False]


def test_tied_weights_keep_their_own_places() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 9, bias=False))
    model[3].weight = model[0].weight
    assert weights(model) == {"0": ("identity", "identity"), "1": ("relu", "identity"), "3": ("identity", "relu")}


def test_a_module_that_holds_itself_ends_the_walk() -> None:
    model = nn.Sequential(lin(), nn.ReLU())
    model.add_module("again", model)
    assert weights(model)["0"] == ("relu", "identity")
    row = nn.Sequential(lin(), nn.ReLU())
    row.add_module("around", Residual(row))
    assert weights(row) == {"0": ("relu", "identity")}
    block = Residual(nn.Sequential(lin(), nn.ReLU()))
    block.up = block
    assert weights(block) == {"inner.0": ("relu", "")}


# --- wrapped, parametrized, lazy, compiled, on meta ------------------------------------------------


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda model: nn.DataParallel(model), "module."),
        (lambda model: torch.compile(model, backend="eager"), "_orig_mod."),
        (lambda model: checkpoint_wrapper(model), "_checkpoint_wrapped_module."),
        (lambda model: AveragedModel(model), "module."),
    ],
)
def test_wrappers_are_seen_through(wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    inner = nn.Sequential(lin(), nn.ReLU(), lin())
    expected = {f"{prefix}{name}": both for name, both in signals(inner).items()}
    wrapped = wrap(inner)
    assert signals(wrapped) == expected
    assert set(expected) == {param.path for param in survey_model(wrapped).params}
    parts = nn.Sequential(lin(), wrap(nn.Sequential(nn.ReLU(), lin())), nn.Tanh())
    assert weights(parts) == {"0": ("relu", "identity"), f"1.{prefix}1": ("tanh", "relu")}


def test_survey_finds_every_signal_under_its_path() -> None:
    model = nn.Sequential(lin(), checkpoint_wrapper(parametrizations.weight_norm(lin())), nn.ReLU())
    params = survey_model(model, find_in_sequentials(model)).params
    assert {param.path: shown(param.sites[0].signal.following) for param in params} == {
        "0.weight": "identity",
        "0.bias": "identity",
        "1._checkpoint_wrapped_module.weight": "relu",
        "1._checkpoint_wrapped_module.bias": "relu",
    }


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # the old style, still met
@pytest.mark.parametrize(
    "normed",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
)
def test_parametrized_weights_go_by_their_own_name(normed: Callable[[nn.Module], nn.Module]) -> None:
    found = signals(nn.Sequential(normed(lin()), nn.ReLU()))
    assert found["0.weight"] == found["0.bias"] == ("relu", "identity")


def test_lazy_layers_and_meta_tensors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules are under development
        assert after(nn.LazyBatchNorm1d(), nn.ReLU()) == "relu"
        assert weights(nn.Sequential(nn.LazyLinear(3), nn.ReLU())) == {"0": ("relu", "identity")}
    with torch.device("meta"):
        assert after(nn.PReLU(), lin()) == "prelu(slope=0.25)"
        assert after(Swish()) == "silu"


def test_a_scripted_model() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        model = torch.jit.script(nn.Sequential(lin(), nn.BatchNorm1d(4), nn.LeakyReLU(0.3), lin()))
    assert weights(model) == {
        "0": ("leaky_relu(slope=0.3)", "identity"),
        "1": ("leaky_relu(slope=0.3)", "identity"),
        "3": ("identity", "leaky_relu(slope=0.3)"),
    }


# --- recurrent layers and attention ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "state"),
    [
        (nn.LSTM(3, 4), "lstm"),
        (nn.GRU(3, 4), "gru"),
        (nn.RNN(3, 4), "tanh"),
        (nn.RNN(3, 4, nonlinearity="relu"), "relu"),
        (nn.LSTMCell(3, 4), "lstm"),
        (nn.GRUCell(3, 4), "gru"),
        (nn.RNNCell(3, 4), "tanh"),
        (nn.RNNCell(3, 4, nonlinearity="relu"), "relu"),
    ],
)
def test_recurrent_layers_inside_anything(module: nn.Module, state: str) -> None:
    layer = "" if isinstance(module, nn.RNNCellBase) else "_l0"
    found = find_in_sequentials(Residual(module))
    expected = {f"inner.{kind}_{way}{layer}": way for kind in ("weight", "bias") for way in ("ih", "hh")}
    assert set(found) == set(expected)
    for name, way in expected.items():
        assert shown(found[name].following) == state
        assert shown(found[name].preceding) == (state if way == "hh" else "")
        assert found[name].found_by == "module"
        assert found[name].following[0].path == ("inner",)


def test_recurrent_layers_in_a_row() -> None:
    stacked = nn.LSTM(4, 4, num_layers=2, bidirectional=True, proj_size=2)
    found = signals(nn.Sequential(lin(), nn.Tanh(), stacked))
    for end in ("", "_reverse"):
        assert found[f"2.weight_ih_l0{end}"] == found[f"2.bias_ih_l0{end}"] == ("lstm", "tanh")
        assert found[f"2.weight_hh_l0{end}"] == ("lstm", "identity")  # the state passes through weight_hr
        assert found[f"2.weight_ih_l1{end}"] == ("lstm", "identity")
        assert found[f"2.weight_hr_l0{end}"] == ("identity", "lstm")
    by = {name: signal.found_by for name, signal in find_in_sequentials(nn.Sequential(nn.LSTM(4, 4))).items()}
    assert by == {
        "0.weight_ih_l0": "sequential",
        "0.weight_hh_l0": "module",
        "0.bias_ih_l0": "sequential",
        "0.bias_hh_l0": "module",
    }


def test_a_recurrent_layer_with_a_forward_of_its_own_is_not_understood() -> None:
    class Dropped(nn.LSTM):
        def forward(self, *args: Any) -> Any:
            return args

    assert find_in_sequentials(Residual(Dropped(3, 4))) == {}


def test_attention_projects_into_its_logits() -> None:
    packed = find_in_sequentials(nn.MultiheadAttention(4, 2, add_bias_kv=True))
    split = find_in_sequentials(Residual(nn.MultiheadAttention(4, 2, kdim=3, vdim=5)))
    flags = {name: signal.following[0].flags for name, signal in {**packed, **split}.items()}
    assert flags == {
        "in_proj_weight": ("attention logit",),
        "in_proj_bias": ("attention logit",),
        "bias_k": ("attention logit",),
        "bias_v": (),
        "inner.q_proj_weight": ("attention logit",),
        "inner.k_proj_weight": ("attention logit",),
        "inner.v_proj_weight": (),
        "inner.in_proj_bias": ("attention logit",),
    }
    assert {shown(signal.following) for signal in (*packed.values(), *split.values())} == {"identity"}
    assert {signal.found_by for signal in (*packed.values(), *split.values())} == {"module"}


# --- the tables ----------------------------------------------------------------------------------

# Neither layers, nor open, nor activations: containers, and modules that take or give several tensors.
CLOSED = {
    "AdaptiveLogSoftmaxWithLoss", "Bilinear", "Container", "CosineSimilarity", "DataParallel", "MaxUnpool1d",
    "MaxUnpool2d", "MaxUnpool3d", "Module", "ModuleDict", "ModuleList", "MultiheadAttention", "PairwiseDistance",
    "ParameterDict", "ParameterList", "RNNBase", "RNNCellBase", "Sequential", "Transformer", "TransformerDecoder",
    "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",
}  # fmt: skip


def test_every_module_of_torch_is_in_a_table() -> None:
    tables = (*LAYERS, *(cls for classes in OPEN.values() for cls in classes))
    activations = {name for entry in VOCABULARY.values() for name in entry.classes}
    for name, cls in vars(nn).items():
        if isinstance(cls, type) and issubclass(cls, nn.Module) and not name.endswith("Loss") and name != "NLLLoss2d":
            places = [name in activations, name in CLOSED, issubclass(cls, tables)]
            assert sum(places) == 1, name


def _tried(cls: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    """An instance and an input for it."""
    name = cls.__name__
    dims = next((int(digit) for digit in name if digit.isdigit()), 2)
    sizes: dict[str, tuple[Any, ...]] = {
        "Unflatten": (1, (2, 2)), "PixelShuffle": (2,), "PixelUnshuffle": (2,), "ChannelShuffle": (2,), "Unfold": (2,),
        "Fold": (4, 2), "Upsample": (None, 2), "UpsamplingNearest2d": (None, 2), "UpsamplingBilinear2d": (None, 2),
        "LPPool1d": (2, 2), "LPPool2d": (2, 2), "LPPool3d": (2, 2), "FractionalMaxPool2d": (2, 2),
        "FractionalMaxPool3d": (2, 2), "LocalResponseNorm": (2,), "CrossMapLRN2d": (2,), "GroupNorm": (2, 4),
        "LayerNorm": (4,), "RMSNorm": (4,), "SyncBatchNorm": (4,),
    }  # fmt: skip
    arguments = sizes.get(name, ())
    if "Pad" in name:
        arguments = (1, 0.0) if name.startswith("Constant") else (1,)
    elif "Pool" in name and not arguments:
        arguments = (2,)
    shape = (2, 4, 9) if name == "Fold" else (2, 4, *[4] * dims)
    return cls(*arguments).eval(), torch.from_numpy(np.random.default_rng(0).standard_normal(shape)).float()


@pytest.mark.parametrize(
    "cls", [cls for way, classes in OPEN.items() if way not in ("norm", "rescale") for cls in classes]
)
def test_what_is_open_keeps_scale_and_sign(cls: type[nn.Module]) -> None:
    """f(2x) = 2 f(x): in evaluation no open module bends the signal."""
    module, x = _tried(cls)
    torch.manual_seed(0)  # fractional pooling draws its windows
    once = module(x)
    torch.manual_seed(0)
    torch.testing.assert_close(module(2 * x), 2 * once)
    assert after(module, nn.Mish()) == "mish"


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4)],
    ids=lambda norm: type(norm).__name__,
)
def test_a_norm_gives_unit_variance_whatever_comes(norm: nn.Module) -> None:
    x = 30 * torch.from_numpy(np.random.default_rng(0).standard_normal((8, 4, 4, 4))).float()
    assert float(norm(x).detach().pow(2).mean()) == pytest.approx(1.0, abs=0.01)
    assert after(norm, nn.Mish()) == "mish"


# --- any nesting ---------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], nn.Module]] = {
    "layer": lin,
    "norm": lambda: nn.LayerNorm(4),
    "open": nn.Dropout,
    "pool": lambda: nn.AvgPool1d(1),
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "unknown": Scale,
}


def _expected(words: list[str]) -> str:
    """What follows a layer that these come after, in a model."""
    for word in words:
        if word in ("relu", "tanh"):
            return word
        if word == "layer":
            return "identity"
        if word == "unknown":
            return ""
    return "identity"


@st.composite
def _nested(draw: st.DrawFn, words: list[str]) -> nn.Sequential:
    """A Sequential that holds these parts, cut into Sequentials at random."""
    parts: list[nn.Module] = []
    rest = list(words)
    while rest:
        count = draw(st.integers(1, len(rest)))
        some, rest = rest[:count], rest[count:]
        if len(some) < len(words) and draw(st.booleans()):
            parts.append(draw(_nested(some)))
        else:
            parts += [PARTS[word]() for word in some]
    return nn.Sequential(*parts)


@given(st.data(), st.lists(st.sampled_from(sorted(PARTS)), max_size=8))
def test_nesting_changes_paths_and_nothing_else(data: st.DataObject, words: list[str]) -> None:
    model = data.draw(_nested(words))
    found = weights(model)
    layers = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.LayerNorm))]
    places = [index for index, word in enumerate(words) if word in ("layer", "norm")]
    assert len(layers) == len(places)
    for name, place in zip(layers, places, strict=True):
        following, preceding = _expected(words[place + 1 :]), _expected(words[:place][::-1])
        assert found.get(name, ("", "")) == (following, preceding)


# --- nothing changes -----------------------------------------------------------------------------


def test_the_model_is_not_run_and_stays_as_it_is() -> None:
    model = nn.Sequential(
        conv(), nn.BatchNorm2d(4), LearnedSwish(), Residual(nn.Sequential(conv(), Snake(), DropPath()))
    )
    model[3].eval()
    ran: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, args: ran.append(module))

    def state() -> bytes:
        tensors = [
            (name, id(tensor), tensor.detach().numpy().tobytes())
            for name, tensor in model.state_dict(keep_vars=True).items()
        ]
        flags = [(module.training, sorted(vars(module)), len(module._forward_pre_hooks)) for module in model.modules()]
        draws = torch.get_rng_state().numpy().tobytes(), random.getstate(), np.random.get_state()
        return pickle.dumps((tensors, flags, draws, [param.grad for param in model.parameters()]))

    before = state()
    assert after(nn.ReLU()) == "relu"
    assert [following for following, _ in weights(model).values()] == ["swish(beta=1.5)", "swish(beta=1.5)", "Snake"]
    assert ran == []
    torch.manual_seed(0)
    assert state() != before  # what is compared can differ
    before = state()
    find_in_sequentials(model)
    assert state() == before


# --- in a policy ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "claimed"),
    [
        ("silu", ["0.weight"]),
        ("SiLU", ["0.weight"]),
        ("swish", ["0.weight", "2.weight"]),
        ("Swish", ["0.weight"]),
        ("LearnedSwish", ["2.weight"]),
        ("Snake", ["4.weight"]),
        ("custom", ["4.weight"]),
        ("identity", ["6.weight"]),
        (["relu", "silu"], ["0.weight"]),
    ],
)
def test_a_match_takes_the_vocabularys_name_or_the_class(word: Any, claimed: list[str]) -> None:
    model = nn.Sequential(lin(), Swish(), lin(), LearnedSwish(), lin(), Snake(), lin())
    policy = {"unmatched": "keep", "rules": {"some": {"match": {"activation": word}, "init": {"weight": "ones"}}}}
    plan = ip.plan_policy(model, policy, seed=0)
    assert [a.name for a in plan.assignments if a.status == "initialized"] == claimed


def test_gains_of_own_activations_reach_the_plan() -> None:
    model = nn.Sequential(lin(), Swish(), lin(), Snake(), lin(), nn.LeakyReLU(0.2), lin())
    plan = ip.plan_policy(
        model, {"unmatched": "keep", "rules": {"all": {"init": {"weight": "kaiming_normal"}}}}, seed=0
    )
    found = {a.name: (a.gain, a.gain_from) for a in plan.assignments if a.status == "initialized"}
    assert found == {
        "0.weight": (pytest.approx(1.6765324703), "following silu"),
        "2.weight": (pytest.approx(0.8745809829), "following Snake"),
        "4.weight": (pytest.approx(1.3867504906), "following leaky_relu(slope=0.2)"),
        "6.weight": (1.0, "following identity"),
    }
