"""The presets: each fits every layer of torch.nn and the example models, and gives each layer the law that it states.

Those that are named after a library, a paper or a program are held against it in `parity`.

Statistical tests fix their seeds, so each passes for good or not at all. The rates are the chance that right presets
would have failed with seeds not looked at. Against a stated law: fewer than 500 comparisons at LEVEL, below 5e-4 for
all. Against torch's constructors: fewer than 100 at TWO_SAMPLES, below 1e-3 for all.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from omegaconf import OmegaConf
from parity.catalogue import about, page
from preset_kinds import GENERIC, REFERENCE
from scipy import stats
from test_readme import pieces, run
from torch import nn

import initpolicy as ip

LEVEL = 1e-6
TWO_SAMPLES = 1e-5

policy = cache(ip.load_policy)


def test_those_for_any_model_are_these() -> None:
    assert set(GENERIC) == set(LAWS) | {"sparse"}
    assert set(GENERIC) <= set(ip.list_policies())


@pytest.mark.parametrize("name", ip.list_policies())
def test_each_says_what_it_is(name: str, root: Path) -> None:
    text = (root / "conf" / "init" / f"{name}.yaml").read_text()
    schema, *_ = text.splitlines()
    assert schema == "# yaml-language-server: $schema=../schema.json"
    assert yaml.safe_load(text)["name"] == policy(name).name == name
    assert re.fullmatch(r".{20,110}\.", policy(name).description)
    assert "\n" not in policy(name).description
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= 120


@pytest.mark.parametrize("name", GENERIC)
def test_each_for_any_model_says_where_it_is_from(name: str, root: Path) -> None:
    text = (root / "conf" / "init" / f"{name}.yaml").read_text()
    comment = [line for line in text.splitlines()[1:] if line.startswith("#")]
    assert re.search(r"\b(19|20)\d\d\b|torch\.nn|Keras 3", " ".join(comment)), "cites no source"


@pytest.mark.parametrize("name", REFERENCE)
def test_each_after_a_reference_says_which_and_what_that_leaves_alone(name: str) -> None:
    told = about(name)
    assert {"Source", "Leaves alone"} <= told.keys() <= {"Source", "Paper", "Leaves alone", "Quirks"}
    assert re.search(r"[\w.-]+/[\w.-]+|torch\.nn|derived", told["Source"]), "names no repository"
    assert re.search(r"\d", told["Source"]), "names no version"


def test_the_catalogue_is_made_of_them(root: Path) -> None:
    """`make presets` writes it."""
    assert (root / "docs" / "presets.md").read_text() == "\n".join(page()) + "\n"


def test_what_the_catalogue_shows_is_what_it_prints(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = []

    def compare(piece: Any, printed: str) -> None:
        assert piece.text == printed
        shown.append(piece)

    run(list(pieces((root / "docs" / "presets.md").read_text())), tmp_path, compare)
    assert len(shown) == 1


# --- every layer, every example ------------------------------------------------------------------


def zoo() -> nn.ModuleDict:
    """All layers of torch.nn that have parameters, small, in every form that has parameters of its own."""
    layers: dict[str, nn.Module] = {
        "linear": nn.Linear(16, 24),
        "bilinear": nn.Bilinear(12, 10, 14),
        "rnn": nn.RNN(8, 12, num_layers=2, bidirectional=True),
        "lstm": nn.LSTM(8, 12, num_layers=2, bidirectional=True),
        "lstm_projected": nn.LSTM(8, 12, num_layers=2, proj_size=5),
        "gru": nn.GRU(8, 12, num_layers=2, bidirectional=True),
        "rnn_cell": nn.RNNCell(8, 12),
        "lstm_cell": nn.LSTMCell(8, 12),
        "gru_cell": nn.GRUCell(8, 12),
        "embedding": nn.Embedding(50, 12),
        "embedding_padded": nn.Embedding(50, 12, padding_idx=0),
        "bag": nn.EmbeddingBag(50, 12),
        "bag_padded": nn.EmbeddingBag(50, 12, mode="sum", padding_idx=3),
        "attention": nn.MultiheadAttention(16, 4),
        "attention_separate": nn.MultiheadAttention(16, 4, kdim=8, vdim=12),
        "attention_biased": nn.MultiheadAttention(16, 4, add_bias_kv=True),
        "batch_sync": nn.SyncBatchNorm(8),
        "group": nn.GroupNorm(2, 8),
        "layer": nn.LayerNorm((4, 8)),
        "rms": nn.RMSNorm(8),
        "prelu": nn.PReLU(8),
        "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32), 2, enable_nested_tensor=False),
        "decoder": nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 32), 2),
        "transformer": nn.Transformer(16, 4, 1, 1, 32, batch_first=True),
        "adaptive": nn.AdaptiveLogSoftmaxWithLoss(16, 40, [10, 20], head_bias=True),
    }
    for d in (1, 2, 3):
        layers[f"conv{d}"] = getattr(nn, f"Conv{d}d")(8, 12, 3, groups=2)
        layers[f"depthwise{d}"] = getattr(nn, f"Conv{d}d")(8, 16, 3, groups=8)
        layers[f"transposed{d}"] = getattr(nn, f"ConvTranspose{d}d")(8, 12, 3, stride=2, groups=2)
        layers[f"batch{d}"] = getattr(nn, f"BatchNorm{d}d")(8)
        layers[f"instance{d}"] = getattr(nn, f"InstanceNorm{d}d")(8, affine=True)
    return nn.ModuleDict(layers)


def test_the_zoo_is_complete() -> None:
    """Every public class of torch.nn whose constructor, or whose base's, makes parameters is in it."""
    there = {type(module) for module in zoo().modules()}
    missing = [
        name
        for name in sorted(vars(nn))
        if inspect.isclass(found := getattr(nn, name))
        and issubclass(found, nn.Module)
        and not name.startswith("Lazy")  # becomes its namesake when it first runs
        and name not in ("Module", "RNNBase", "RNNCellBase", "ParameterDict", "ParameterList")
        and found not in there
        and any(re.search(r"\bParameter\(|register_parameter\(", inspect.getsource(base)) for base in _bases(found))
    ]
    assert missing == []
    assert {nn.Linear, nn.MultiheadAttention, nn.SyncBatchNorm, nn.PReLU, nn.Transformer} <= there


def _bases(found: type) -> list[type]:
    return [
        base for base in found.__mro__ if base not in (nn.Module, object) and base.__module__.startswith("torch.nn")
    ]


def example(name: str, root: Path) -> nn.Module:
    """One of the models that the example trains, as its configuration makes it."""
    model: nn.Module = hydra.utils.instantiate(OmegaConf.load(root / "examples" / "conf" / "model" / f"{name}.yaml"))
    return model


@pytest.mark.parametrize("name", GENERIC)
def test_each_fits_every_layer_and_every_example(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "examples"))
    models = [example(model, root) for model in ("mlp", "cnn", "resnet", "lstm", "transformer")]
    digits = torch.zeros(2, 1, 8, 8)
    for model, example_input in ((zoo(), None), *((model, digits) for model in models)):
        audit = ip.apply_policy(model, policy(name), example_input=example_input, seed=1)
        assert audit.ok
        assert [row.name for row in audit.rows if row.status == "initialized" and row.verdict != "ok"] == []
        assert {row.module_type for row in audit.rows if row.status != "initialized"} <= {"PReLU"}
        assert audit.totals.keys() <= {"initialized", "kept"}


@pytest.mark.parametrize("name", GENERIC)
def test_pt6411_padding_rows_stay_zero(name: str) -> None:
    model = zoo()
    ip.apply_policy(model, policy(name), seed=1)
    padded = {"embedding_padded": 0, "bag_padded": 3}
    for layer, row in padded.items():
        weight = model.get_submodule(layer).get_parameter("weight")
        assert not weight[row].any()
        assert weight[1].any()


# --- the laws ------------------------------------------------------------------------------------

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Stated:
    """A law as the literature states it: of (fan_in, fan_out), a distribution, or a number for a constant."""

    law: Callable[[float, float], Any]

    def check(self, values: Values, fans: tuple[float, float]) -> None:
        law = self.law(*fans)
        if isinstance(law, (int, float)):
            np.testing.assert_array_equal(values, np.float32(law))
        else:
            assert stats.kstest(values.ravel(), law.cdf).pvalue > LEVEL


def normal(variance: Callable[[float, float], float]) -> Stated:
    return Stated(lambda i, o: stats.norm(0, math.sqrt(variance(i, o))))


def uniform(variance: Callable[[float, float], float]) -> Stated:
    def law(i: float, o: float) -> Any:
        bound = math.sqrt(3 * variance(i, o))
        return stats.uniform(-bound, 2 * bound)

    return Stated(law)


def exactly(value: float) -> Stated:
    return Stated(lambda i, o: value)


class Orthogonal:
    """Rows or columns, whichever are fewer, of length 1 and at right angles, in each of ``blocks``."""

    def __init__(self, blocks: int = 1) -> None:
        self.blocks = blocks

    def check(self, values: Values, fans: tuple[float, float]) -> None:
        for block in np.split(values.reshape(len(values), -1), self.blocks):
            small = block if block.shape[0] <= block.shape[1] else block.T
            np.testing.assert_allclose(small @ small.T, np.eye(len(small)), atol=1e-5)


class ForgetIsOne:
    """1 for the forget gate, the second of torch's four, and 0 for the others."""

    def check(self, values: Values, fans: tuple[float, float]) -> None:
        expected = np.repeat([0.0, 1.0, 0.0, 0.0], len(values) // 4)
        np.testing.assert_array_equal(values, expected)


ZERO, ONE = exactly(0), exactly(1)
GLOROT_N, GLOROT_U = normal(lambda i, o: 2 / (i + o)), uniform(lambda i, o: 2 / (i + o))
LECUN_N = normal(lambda i, o: 1 / i)


def he(gain: float, law: Callable[[Callable[[float, float], float]], Stated] = normal) -> Stated:
    return law(lambda i, o: gain**2 / i)


RELU, LEAKY, PRELU = math.sqrt(2), math.sqrt(2 / (1 + 0.2**2)), math.sqrt(2 / (1 + 0.25**2))
GELU, SILU = 1.5335304412, 1.6765324703  # 1 / sqrt(E[f(z)^2]), by quadrature


def layers() -> nn.ModuleDict:
    """One layer of each kind, large enough to measure, each before what its name says."""

    def before(activation: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Linear(200, 300), activation)

    return nn.ModuleDict(
        {
            "identity": nn.Sequential(nn.Linear(200, 300), nn.Linear(300, 10)),
            "relu": nn.Sequential(nn.Linear(200, 300), nn.BatchNorm1d(300), nn.Dropout(), nn.ReLU()),
            "relu6": before(nn.ReLU6()),
            "leaky": before(nn.LeakyReLU(0.2)),
            "prelu": before(nn.PReLU()),
            "tanh": before(nn.Tanh()),
            "sigmoid": before(nn.Sigmoid()),
            "gelu": before(nn.GELU()),
            "silu": before(nn.SiLU()),
            "selu": before(nn.SELU()),
            "softmax": nn.Sequential(nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 600), nn.Softmax(dim=1)),
            "conv": nn.Sequential(nn.Conv2d(64, 96, 3), nn.BatchNorm2d(96), nn.ReLU()),
            "transposed": nn.Sequential(nn.ConvTranspose2d(48, 64, 4, stride=2), nn.ReLU()),
            "depthwise": nn.Conv1d(1500, 6000, 5, groups=1500),
            "bilinear": nn.Bilinear(40, 30, 50),
            "attention": nn.MultiheadAttention(160, 5),
            "separate": nn.MultiheadAttention(240, 5, kdim=200, vdim=220),
            "rnn": nn.RNN(200, 300),
            "lstm": nn.LSTM(100, 150, proj_size=120),
            "gru": nn.GRU(100, 200),
            "embedding": nn.Embedding(300, 200),
            "norm": nn.LayerNorm(10),
        }
    )


FANS: Mapping[str, tuple[float, float]] = {
    "identity.1.weight": (300, 10),
    "softmax.0.weight": (200, 100),
    "softmax.2.weight": (100, 600),
    "conv.0.weight": (64 * 9, 96 * 9),
    "transposed.0.weight": (48 * 16 / 4, 64 * 16),
    "depthwise.weight": (5, 20),
    "bilinear.weight": (40 * 30, 50),
    "attention.in_proj_weight": (160, 160),
    "attention.out_proj.weight": (160, 160),
    "separate.q_proj_weight": (240, 240),
    "separate.k_proj_weight": (200, 240),
    "separate.v_proj_weight": (220, 240),
    "separate.out_proj.weight": (240, 240),
    "rnn.weight_ih_l0": (200, 300),
    "lstm.weight_ih_l0": (100, 150),
    "lstm.weight_hr_l0": (150, 120),
    "gru.weight_ih_l0": (100, 200),
    "embedding.weight": (1, 200),
    "*.0.weight": (200, 300),
    "*": (math.nan, math.nan),
}
"""(fan_in, fan_out) by hand; the first pattern that fits counts."""

TORCH_FANS = {
    "transposed.0.weight": (64 * 16, 48 * 16),
    "depthwise.weight": (5, 6000 * 5),
    "bilinear.weight": (40 * 30, 50 * 30),
    "lstm.weight_ih_l0": (100, 600),
    "gru.weight_ih_l0": (100, 600),
    "attention.in_proj_weight": (160, 480),
}
"""As torch.nn.init counts them, where that is something else."""

Laws = Mapping[str, Any]

XAVIER_NORMAL: Laws = {
    "*": GLOROT_N,
    "*bias*": ZERO,
    "*weight_hh*": Orthogonal(),
    "lstm.weight_hh_l0": Orthogonal(4),
    "gru.weight_hh_l0": Orthogonal(3),
    "embedding.weight": normal(lambda i, o: 1),
    "norm.weight": ONE,
    "relu.1.weight": ONE,
    "conv.1.weight": ONE,
    "prelu.1.weight": exactly(0.25),
}
XAVIER_UNIFORM: Laws = {**XAVIER_NORMAL, "*": GLOROT_U}


def rectified(law: Callable[[Callable[[float, float], float]], Stated] = normal) -> Laws:
    """He et al., eq. 10 and 15, for what feeds a rectifier; torch's transposed convolution reaches 1 / stride."""
    by_gain = {"relu": RELU, "relu6": RELU, "leaky": LEAKY, "prelu": PRELU, "conv": RELU, "transposed": RELU}
    return {**{f"{name}.0.weight": he(gain, law) for name, gain in by_gain.items()}, "softmax.0.weight": he(RELU, law)}


def every_matrix(law: Stated) -> Laws:
    constants = {key: value for key, value in XAVIER_NORMAL.items() if key in ("*bias*", "norm.weight")}
    return {"*": law, **constants, **{key: XAVIER_NORMAL[key] for key in XAVIER_NORMAL if key.endswith(".1.weight")}}


def by_hidden(size: int) -> Stated:
    return uniform(lambda i, o: 1 / (3 * size))


RECURRENT = dict.fromkeys(("rnn.weight_ih_l0", "lstm.weight_ih_l0", "lstm.weight_hr_l0", "gru.weight_ih_l0"), GLOROT_N)
BACKWARD = {
    "leaky": LEAKY,
    "prelu": PRELU,
    "tanh": 1.4674135916,
    "sigmoid": 4.7226460859,
    "gelu": 1.4811144127,
    "silu": 1.6233202580,
    "selu": 0.9660257770,
}
"""1/sqrt(E[f'(z)^2]), as tabulated in the theory of gains."""


def back(gain: float) -> Stated:
    """He et al., eq. 14."""
    return normal(lambda i, o: gain**2 / o)


LAWS: Mapping[str, Laws] = {
    "xavier_normal": XAVIER_NORMAL,
    "xavier_uniform": XAVIER_UNIFORM,
    "xavier_tanh": {**XAVIER_UNIFORM, "tanh.0.weight": uniform(lambda i, o: (5 / 3) ** 2 * 2 / (i + o))},
    "he_relu": {**XAVIER_NORMAL, **rectified()},
    "he_uniform": {**XAVIER_UNIFORM, **rectified(uniform)},
    "he_leaky_relu": {
        **XAVIER_NORMAL,
        "*.0.weight": he(math.sqrt(2 / (1 + 0.01**2))),
        **dict.fromkeys(
            (
                "softmax.2.weight",
                "depthwise.weight",
                "bilinear.weight",
                "*.out_proj.weight",
                "identity.1.weight",
            ),
            he(math.sqrt(2 / (1 + 0.01**2))),
        ),
    },
    "lecun_normal": {**XAVIER_NORMAL, "*": LECUN_N},
    "lecun_selu": {**XAVIER_NORMAL, "*": LECUN_N},
    "orthogonal": {
        **XAVIER_NORMAL,
        "*": Orthogonal(),
        "attention.in_proj_weight": Orthogonal(3),
        "lstm.weight_ih_l0": Orthogonal(4),
        "gru.weight_ih_l0": Orthogonal(3),
    },
    "orthogonal_rnn": {**XAVIER_UNIFORM, "lstm.bias_ih_l0": ForgetIsOne()},
    "recommended": {
        **XAVIER_NORMAL,
        **rectified(),
        "gelu.0.weight": he(GELU),
        "silu.0.weight": he(SILU),
        "selu.0.weight": LECUN_N,
        "softmax.2.weight": he(RELU),
    },
    "signal": {**XAVIER_NORMAL, **RECURRENT, "*": he(RELU), "identity.1.weight": he(1)},
    "signal_backward": {
        **XAVIER_NORMAL,
        **RECURRENT,
        "*": back(RELU),
        "identity.0.weight": back(1),
        "attention.in_proj_weight": back(1),
        "separate.[qkv]_proj_weight": back(1),
        "softmax.0.weight": back(RELU),
        **{f"{name}.0.weight": back(gain) for name, gain in BACKWARD.items()},
    },
    "simple_normal": every_matrix(normal(lambda i, o: 1)),
    "simple_uniform": every_matrix(uniform(lambda i, o: 1 / 3)),
    "constant": every_matrix(exactly(0.1)),
    "torch_default": {
        "*.weight": uniform(lambda i, o: 1 / (3 * i)),
        **{key: XAVIER_NORMAL[key] for key in ("embedding.weight", "norm.weight", "prelu.1.weight")},
        "*.bias": uniform(lambda i, o: 1 / (3 * i)),
        "bilinear.*": uniform(lambda i, o: 1 / (3 * 40)),
        "attention.in_proj_*": GLOROT_U,
        "separate.*_proj_weight": GLOROT_U,
        "*.in_proj_bias": ZERO,
        "*.out_proj.bias": ZERO,
        "rnn.*": by_hidden(300),
        "lstm.*": by_hidden(150),
        "gru.*": by_hidden(200),
        **dict.fromkeys(("relu.1.weight", "conv.1.weight", "norm.weight"), ONE),
        **dict.fromkeys(("relu.1.bias", "conv.1.bias", "norm.bias"), ZERO),
    },
    "keras_default": {
        "*": GLOROT_U,
        "*bias*": ZERO,
        "depthwise.weight": uniform(lambda i, o: 2 / (5 * (1500 + 4))),
        "attention.in_proj_weight": uniform(lambda i, o: 1 / 160),
        "*weight_hh*": Orthogonal(),
        "lstm.bias_ih_l0": ForgetIsOne(),
        "embedding.weight": uniform(lambda i, o: 0.05**2 / 3),
        "prelu.1.weight": ZERO,
        **dict.fromkeys(("relu.1.weight", "conv.1.weight", "norm.weight"), ONE),
    },
}
"""Preset -> what each parameter of `layers` gets; the last pattern that fits counts. `sparse` is below."""


def first(table: Mapping[str, Any], name: str) -> Any:
    return next(value for pattern, value in table.items() if fnmatchcase(name, pattern))


def last(table: Mapping[str, Any], name: str) -> Any:
    return first({pattern: table[pattern] for pattern in reversed(list(table))}, name)


def fans_of(preset: str, name: str) -> tuple[float, float]:
    """Of the parameter, or of the weight that a bias belongs to."""
    weight = name.replace("bias", "weight")
    if preset in ("torch_default", "keras_default") and weight in TORCH_FANS:
        return TORCH_FANS[weight]
    fans: tuple[float, float] = first(FANS, weight)
    return fans


def values_of(model: nn.Module) -> dict[str, Values]:
    return {name: value.detach().double().numpy() for name, value in model.named_parameters()}


@pytest.mark.parametrize("preset", LAWS)
def test_each_layer_has_the_law_that_is_stated(preset: str) -> None:
    model = layers()
    audit = ip.apply_policy(model, policy(preset), seed=1)
    values = values_of(model)
    for row in audit.rows:
        stated, fans = last(LAWS[preset], row.name), fans_of(preset, row.name)
        try:
            stated.check(values[row.name], fans)
        except AssertionError as error:
            pytest.fail(f"{row.name}: {row.initializer} {dict(row.arguments)} is not as stated: {error}")
        if isinstance(stated, Stated) and not isinstance(law := stated.law(*fans), (int, float)):
            assert row.expected_std == pytest.approx(law.std(), rel=1e-6), row.name


def test_sparse_keeps_one_weight_of_ten_of_the_variance_of_all() -> None:
    model = layers()
    ip.apply_policy(model, policy("sparse"), seed=1)
    values = values_of(model)
    for name, value in values.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, nn.Linear) and name.endswith("weight"):
            fan_in = owner.in_features
            assert (np.count_nonzero(value, axis=0) == len(value) - math.ceil(0.9 * len(value))).all()
            law = stats.norm(0, 1 / math.sqrt(0.1 * fan_in))
            assert stats.kstest(value[value != 0], law.cdf).pvalue > LEVEL
        else:
            last(XAVIER_NORMAL, name).check(value, fans_of("sparse", name))


@pytest.mark.parametrize("preset", ["he_relu", "lecun_normal", "torch_default"])
def test_a_tenth_more_is_caught(preset: str) -> None:
    """The comparisons above can fail: no random parameter of 1.1 times its law's spread would have passed."""
    model = layers()
    ip.apply_policy(model, policy(preset), seed=1)
    checked = 0
    for name, value in values_of(model).items():
        stated, fans = last(LAWS[preset], name), fans_of(preset, name)
        if isinstance(stated, Stated) and value.size > 20_000 and not isinstance(stated.law(*fans), (int, float)):
            with pytest.raises(AssertionError):
                stated.check(1.1 * value, fans)
            checked += 1
    assert checked > 15


# --- what threads asked for ----------------------------------------------------------------------


def test_pt54055_lecun_selu_has_unit_variance_times_fan_in() -> None:
    """So 24 layers of SELU keep unit variance, where calculate_gain's 3/4 would leave a hundredth of it."""
    torch.manual_seed(0)
    blocks = [module for _ in range(24) for module in (nn.Linear(512, 512), nn.SELU())]
    model = nn.Sequential(*blocks)
    ip.apply_policy(model, policy("lecun_selu"), seed=1)
    for layer in model:
        if isinstance(layer, nn.Linear):
            assert float(layer.weight.detach().var()) * 512 == pytest.approx(1, abs=0.02)  # 7 standard errors
    with torch.no_grad():
        variance = float(model(torch.randn(256, 512)).var())
    assert 0.8 < variance < 1.25


@pytest.mark.parametrize("layer", [nn.LSTM(8, 12, num_layers=2, bidirectional=True), nn.LSTMCell(8, 12)])
def test_pt20102_the_forget_biases_of_orthogonal_rnn_sum_to_one(layer: nn.Module) -> None:
    ip.apply_policy(layer, policy("orthogonal_rnn"), seed=1)
    biases = {name: value for name, value in layer.named_parameters() if "bias" in name}
    sums = [value + biases[name.replace("ih", "hh")] for name, value in biases.items() if "ih" in name]
    assert len(sums) == len(biases) / 2
    for total in sums:
        assert total.tolist() == [0.0] * 12 + [1.0] * 12 + [0.0] * 24


def test_constant_shows_what_symmetry_does() -> None:
    """Units that start alike have the same gradient, so they stay alike."""
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    ip.apply_policy(model, policy("constant"))
    model(torch.arange(24.0).reshape(3, 8)).square().sum().backward()
    gradient = model.get_parameter("0.weight").grad
    assert gradient is not None
    assert gradient.any()
    assert torch.equal(gradient, gradient[:1].expand(16, 8))


VARIED: Mapping[str, tuple[str, float, Callable[[Any], bool]]] = {
    "constant": ("value", 0.3, lambda values: (values == np.float32(0.3)).all()),
    "he_leaky_relu": ("slope", 0.5, lambda values: abs(values.std() - math.sqrt(2 / 1.25 / 200)) < 1e-3),
    "simple_normal": ("std", 0.02, lambda values: abs(values.std() - 0.02) < 1e-3),
    "simple_uniform": ("bound", 0.5, lambda values: 0.49 < values.max() < 0.5),
    "sparse": ("zeros", 0.5, lambda values: (values == 0).mean() == 0.5),
}


@pytest.mark.parametrize("name", VARIED)
def test_the_variables_of_a_preset_are_heeded(name: str) -> None:
    variable, value, holds = VARIED[name]
    assert set(policy(name).vars) == {variable}
    model = nn.Linear(200, 300)
    ip.apply_policy(model, policy(name).model_copy(update={"vars": {variable: value}}), seed=1)
    assert holds(model.weight.detach().numpy())


# --- torch_default against torch's own constructors ----------------------------------------------

COPIES = 120
MOST = 100_000
"""Values of one parameter that are compared: of its copies, so that biases too have 10,000 and more."""

CONSTRUCTORS: Mapping[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(40, 300),
    "Bilinear": lambda: nn.Bilinear(6, 10, 300),
    **{f"Conv{d}d": partial(getattr(nn, f"Conv{d}d"), 6, 300, 2, groups=3) for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": partial(getattr(nn, f"ConvTranspose{d}d"), 6, 300, 2, groups=3) for d in (1, 2, 3)},
    "RNN": lambda: nn.RNN(5, 200),
    "LSTM": lambda: nn.LSTM(5, 100, proj_size=7),
    "GRU": lambda: nn.GRU(5, 100),
    "RNN, two layers": lambda: nn.RNN(5, 100, num_layers=2, bidirectional=True),
    "RNNCell": lambda: nn.RNNCell(5, 200),
    "LSTMCell": lambda: nn.LSTMCell(5, 100),
    "GRUCell": lambda: nn.GRUCell(5, 100),
    "Embedding": lambda: nn.Embedding(50, 40, padding_idx=7),
    "EmbeddingBag": lambda: nn.EmbeddingBag(50, 40, padding_idx=7),
    "MultiheadAttention": lambda: nn.MultiheadAttention(32, 4),
    "MultiheadAttention, separate": lambda: nn.MultiheadAttention(32, 4, kdim=20, vdim=24),
    "MultiheadAttention, bias_kv": lambda: nn.MultiheadAttention(300, 4, kdim=1, vdim=1, add_bias_kv=True),
    "AdaptiveLogSoftmaxWithLoss": lambda: nn.AdaptiveLogSoftmaxWithLoss(64, 300, [150], head_bias=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(96, 4, 96),
    "TransformerDecoderLayer": lambda: nn.TransformerDecoderLayer(96, 4, 96),
    "Transformer": lambda: nn.Transformer(96, 4, 1, 1, 96, batch_first=True),
    **{
        name: partial(getattr(nn, name), 8)
        for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "LayerNorm", "RMSNorm", "PReLU")
    },
    **{f"InstanceNorm{d}d": partial(getattr(nn, f"InstanceNorm{d}d"), 8, affine=True) for d in (1, 2, 3)},
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
}
"""Small in what is counted as fan_in, wide in what is not."""


def pooled(copies: nn.ModuleList) -> dict[str, Values]:
    """The values of each parameter over all copies."""
    named = [values_of(copy) for copy in copies]
    found = {}
    for name in named[0]:
        values = np.concatenate([one[name].ravel() for one in named])
        found[name] = values[:: max(1, -(-len(values) // MOST))]
    return found


@pytest.mark.parametrize("kind", CONSTRUCTORS)
def test_torch_default_has_the_laws_of_torchs_constructors(kind: str) -> None:
    """By two samples of each parameter: the constructor's of COPIES seeds, and the preset's; constants are equal.

    And it can tell: a tenth more spread is caught for every parameter, at the same level.
    """
    own = []
    for seed in range(COPIES):
        torch.manual_seed(seed)
        own.append(CONSTRUCTORS[kind]())
    model = nn.ModuleList(own)
    theirs = pooled(model)
    ip.apply_policy(model, policy("torch_default"), seed=1)
    ours = pooled(model)
    for name, values in theirs.items():
        if np.ptp(values) == 0:
            np.testing.assert_array_equal(ours[name], values, name)
        else:
            assert len(values) > 10_000, name
            assert stats.ks_2samp(ours[name], values).pvalue > TWO_SAMPLES, name
            assert stats.ks_2samp(1.1 * ours[name], values).pvalue < TWO_SAMPLES, name


def test_the_constructors_are_all_of_the_zoo() -> None:
    made = {type(module) for make in CONSTRUCTORS.values() for module in make().modules()}
    containers = {nn.ModuleDict, nn.TransformerDecoder}
    assert {type(module) for module in zoo().modules()} - made - containers == set()


# --- recommended, sentence by sentence -----------------------------------------------------------

SENTENCES: Mapping[str, tuple[nn.Module, Stated]] = {
    "sigmoid -> Xavier": (nn.Sigmoid(), GLOROT_N),
    "tanh -> Xavier": (nn.Tanh(), GLOROT_N),
    "relu -> He": (nn.ReLU(), he(RELU)),
    "leaky_relu -> He with the real slope": (nn.LeakyReLU(0.2), he(LEAKY)),
    "prelu -> He with the real slope": (nn.PReLU(init=0.5), he(math.sqrt(2 / 1.25))),
    "silu -> He": (nn.SiLU(), he(SILU)),
    "gelu -> He": (nn.GELU(), he(GELU)),
    "gelu by tanh -> He": (nn.GELU(approximate="tanh"), he(1.5335805217)),
    "selu -> LeCun normal": (nn.SELU(), LECUN_N),
    "identity -> Xavier": (nn.Linear(300, 10), GLOROT_N),
}


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize(
    "layer", [lambda: nn.Linear(200, 300), lambda: nn.Conv1d(40, 300, 5)], ids=["Linear", "Conv1d"]
)
def test_recommended_follows_the_activation(sentence: str, layer: Callable[[], nn.Module]) -> None:
    activation, stated = SENTENCES[sentence]
    model = nn.Sequential(layer(), nn.Dropout(), activation)
    audit = ip.apply_policy(model, policy("recommended"), seed=1)
    values = values_of(model)
    fans = (200, 300 * (1 if values["0.weight"].ndim == 2 else 5))
    stated.check(values["0.weight"], fans)
    assert audit.rows[0].expected_std == pytest.approx(stated.law(*fans).std(), rel=1e-6)
    assert not values["0.bias"].any()


BEFORE_SOFTMAX: Mapping[str, tuple[nn.Module, Stated]] = {
    "relu": (nn.ReLU(), he(RELU)),
    "leaky_relu": (nn.LeakyReLU(0.2), he(LEAKY)),
    "tanh": (nn.Tanh(), GLOROT_N),
    "selu": (nn.SELU(), LECUN_N),
    "gelu": (nn.GELU(), he(GELU)),
}


@pytest.mark.parametrize("word", BEFORE_SOFTMAX)
@pytest.mark.parametrize("last_layer", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1)], ids=["softmax", "log_softmax"])
def test_recommended_softmax_is_as_the_layer_before_it(word: str, last_layer: nn.Module) -> None:
    """The same initializer and gain, with its own fans."""
    activation, stated = BEFORE_SOFTMAX[word]
    model = nn.Sequential(nn.Linear(64, 100), activation, nn.Linear(100, 600), last_layer)
    before, _, softmax, _ = ip.apply_policy(model, policy("recommended"), seed=1).rows
    assert (softmax.initializer, softmax.gain) == (before.initializer, before.gain)
    stated.check(values_of(model)["2.weight"], (100, 600))


def test_recommended_softmax_with_no_layer_before_it_is_refused() -> None:
    with pytest.raises(ip.PlanError) as caught:
        ip.apply_policy(nn.Sequential(nn.Linear(64, 600), nn.Softmax(dim=1)), policy("recommended"), seed=1)
    assert re.fullmatch(
        r"recommended: rules.softmax → 0.weight: inherit: no layer before 0 is known \([a-z ]+\); "
        r"give an example_input, or name an initializer",
        str(caught.value),
    )


@pytest.mark.parametrize("name", ["he_relu", "he_uniform", "recommended"])
def test_the_slope_that_the_gain_counts_with_is_the_slope_that_stays(name: str) -> None:
    """And so applying again changes nothing."""
    model = nn.Sequential(nn.Linear(200, 300), nn.PReLU(init=0.5))
    audits = [ip.apply_policy(model, policy(name), seed=1) for _ in range(2)]
    assert audits[0].rows[0].expected_std == pytest.approx(math.sqrt(2 / 1.25 / 200), rel=1e-6)
    assert model.get_parameter("1.weight").item() == 0.5
    assert audits[0] == audits[1]


def test_recommended_recurrent_layers_norms_and_biases() -> None:
    model = nn.ModuleDict(
        {"lstm": nn.LSTM(100, 64), "gru": nn.GRU(100, 64), "rnn": nn.RNN(100, 64), "norm": nn.GroupNorm(2, 8)}
    )
    ip.apply_policy(model, policy("recommended"), seed=1)
    values = values_of(model)
    for name, gates in {"lstm": 4, "gru": 3, "rnn": 1}.items():
        Orthogonal(gates).check(values[f"{name}.weight_hh_l0"], (64, 64))
    assert not any(value.any() for name, value in values.items() if "bias" in name)
    assert (values["norm.weight"] == 1).all()
