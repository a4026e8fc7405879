"""What frameworks' own layers start with: torch's by its constructors, Keras' and Flax' by their stated laws."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from parity.case import Array, Blocks, Case, Orthogonal, Stated, glorot, normal, truncated, uniform

__all__ = ["CASES", "COVERS", "NOT_MADE"]

COVERS = {
    **{
        f"torch_default_{part}": ("torch_default",)
        for part in ("linear", "conv", "embedding", "rnn", "mha", "transformer", "norm", "bilinear_prelu")
    },
    "equinox_default": ("torch_default",),
}
_FUNCTIONS = "a table of functions and no model's initialization: each is an initializer of the language"
NOT_MADE = {"torch_nn_init": _FUNCTIONS, "keras_initializers": _FUNCTIONS, "jax_initializers": _FUNCTIONS}

GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3, "RNN": 1, "RNNCell": 1}


def layers() -> nn.Module:
    """Of each kind one, large where its law is, in every form that has parameters of its own."""
    made = {
        "linear": nn.Linear(60, 90),
        "conv1": nn.Conv1d(16, 24, 5),
        "conv2": nn.Conv2d(16, 24, 3),
        "grouped": nn.Conv2d(16, 64, 3, groups=4),
        "depthwise": nn.Conv2d(96, 192, 3, groups=96),
        "conv3": nn.Conv3d(8, 12, 3),
        "transposed": nn.ConvTranspose2d(24, 16, 4, stride=2),
        "rnn": nn.RNN(40, 48, num_layers=2, bidirectional=True),
        "lstm": nn.LSTM(40, 48),
        "lstm_projected": nn.LSTM(40, 48, proj_size=20),
        "gru": nn.GRU(40, 48),
        "rnn_cell": nn.RNNCell(40, 48),
        "lstm_cell": nn.LSTMCell(40, 48),
        "gru_cell": nn.GRUCell(40, 48),
        "embedding": nn.Embedding(80, 48, padding_idx=3),
        "bag": nn.EmbeddingBag(80, 48),
        "attention": nn.MultiheadAttention(64, 4),
        "separate": nn.MultiheadAttention(64, 4, kdim=40, vdim=48),
        "batch": nn.BatchNorm2d(8),
        "group": nn.GroupNorm(2, 8),
        "instance": nn.InstanceNorm1d(8, affine=True),
        "layer": nn.LayerNorm(8),
        "rms": nn.RMSNorm(8),
        "prelu": nn.PReLU(8),
    }
    return nn.ModuleDict(made)


def torch_layers() -> nn.Module:
    """Those that torch alone has, too."""
    made = layers()
    assert isinstance(made, nn.ModuleDict)
    made["bilinear"] = nn.Bilinear(20, 30, 40)
    made["biased"] = nn.MultiheadAttention(128, 4, add_bias_kv=True)
    made["transformer"] = nn.Transformer(48, 4, 1, 1, 64, batch_first=True)
    made["encoder"] = nn.TransformerEncoder(nn.TransformerEncoderLayer(48, 4, 64), 2, enable_nested_tensor=False)
    return made


def kind_of(name: str, owner: nn.Module) -> str:
    """``weight``, ``recurrent``, ``bias`` …, the same word for each kind of layer."""
    if "bias" in name.rpartition(".")[2]:
        return "shift" if "Norm" in type(owner).__name__ else "bias"
    if "Norm" in type(owner).__name__:
        return "scale"
    return "recurrent" if "weight_hh" in name else "weight"


def keras(name: str, value: Array, owner: nn.Module) -> Stated:
    """keras/src/layers, 3.15.1: kernels are stored mirrored, so fans are counted from torch's shape as it is."""
    kind, units = kind_of(name, owner), value.shape[0] // 4
    if kind == "bias":
        forget = name.startswith("lstm") and "bias_ih" in name
        return np.repeat(np.array([0, 1, 0, 0], np.float32), units) if forget else 0.0
    if kind in ("scale", "shift"):
        return float(kind == "scale")
    if isinstance(owner, nn.PReLU):
        return 0.0
    if kind == "recurrent":
        return Orthogonal()
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return uniform(0.05)
    if name == "depthwise.weight":
        return glorot(96 * 9, 2 * 9)
    kernel = math.prod(value.shape[2:])
    law = glorot(value.shape[1] * kernel, value.shape[0] * kernel)
    return glorot(64, 64) if name.endswith("in_proj_weight") else law


def flax(name: str, value: Array, owner: nn.Module) -> Stated:
    """flax/linen, 0.12.8: lecun_normal, its fan the inputs of one output; cells have a kernel for each gate."""
    kind, gates = kind_of(name, owner), GATES.get(type(owner).__name__, 1)
    if kind in ("bias", "scale", "shift"):
        return float(kind == "scale")
    if isinstance(owner, nn.PReLU):
        return 0.01
    if kind == "recurrent":
        return Blocks(*[Orthogonal()] * gates)
    if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)):
        return normal(1 / math.sqrt(48))
    inputs = value.shape[0] if isinstance(owner, nn.ConvTranspose2d) else value.shape[1]
    return truncated(1 / math.sqrt(inputs * math.prod(value.shape[2:])), corrected=True)


def equinox(name: str, value: Array, owner: nn.Module) -> Stated:
    """equinox/nn/_linear.py, 9336d82: weight and bias alike."""
    assert isinstance(owner, nn.Linear)
    return uniform(1 / math.sqrt(owner.in_features))


CASES = (
    Case(preset="torch_default", model="layers of torch.nn", build=torch_layers),
    Case(
        preset="torch_default",
        model="linear layers, by Equinox' law",
        build=lambda: nn.Sequential(nn.Linear(100, 60), nn.Linear(60, 400)),
        stated=equinox,
    ),
    Case(
        preset="keras_default",
        model="layers of torch.nn, by the laws of Keras 3.15.1",
        build=layers,
        stated=keras,
        mutations={"no forget bias": {"rules": {"lstm": {"init": {"bias_ih*": {"f": 0}}}}}},
    ),
    Case(
        preset="flax_default",
        model="layers of torch.nn, by the laws of Flax 0.12.8",
        build=layers,
        stated=flax,
        mutations={
            "one orthogonal matrix for all gates": {"rules": {"gated": {"init": {"weight_hh*": {"split": None}}}}},
        },
    ),
)
