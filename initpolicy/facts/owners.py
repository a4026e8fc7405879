"""What a parameter is to the module that owns it: a visible table by torch class, and torch's rule for the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from initpolicy.facts.classes import plain_class
from initpolicy.facts.layout import torch_layout
from initpolicy.records import Layout

__all__ = ["OWNERS", "LayoutCache", "layout_of"]

Shape = tuple[int, ...]
Entry = Layout | Callable[[Any, Shape], Layout]
"""The layout itself, or what makes it of the module and the parameter's shape."""

MATRIX = Layout(axes=("out", "in"), kind="weight")
BIAS = Layout(kind="bias")
NORM: Mapping[str, Entry] = {"weight": Layout(kind="scale"), "bias": Layout(kind="shift")}
LOOKUP: Mapping[str, Entry] = {"weight": Layout(axes=("in", "out"), one_hot=True, kind="table")}
LSTM_GATES = ("i", "f", "g", "o")
GRU_GATES = ("r", "z", "n")
PROJECTIONS = ("q", "k", "v")


def _convolution(module: Any, shape: Shape) -> Layout:
    kernel = ("k",) * (len(shape) - 2)
    if module.transposed:
        axes, stride = ("in", "out", *kernel), math.prod(module.stride)
        return Layout(axes=axes, groups=module.groups, stride=stride, kind="weight")
    return Layout(axes=("out", "in", *kernel), groups=module.groups, kind="weight")


def _recurrent(gates: tuple[str, ...] = ()) -> Mapping[str, Entry]:
    """A recurrent layer's or cell's parameters, gates packed in torch's order; ``weight_hr`` projects the output."""
    weight, bias = replace(MATRIX, blocks=gates), replace(BIAS, blocks=gates)
    return {"weight_ih*": weight, "weight_hh*": weight, "weight_hr*": MATRIX, "bias_[ih]h*": bias}


OWNERS: Mapping[type, Mapping[str, Entry]] = {
    nn.Linear: {"weight": MATRIX, "bias": BIAS},
    nn.Bilinear: {"weight": Layout(axes=("out", "in", "in"), kind="weight"), "bias": BIAS},
    _ConvNd: {"weight": _convolution, "bias": BIAS},
    nn.Embedding: LOOKUP,
    nn.EmbeddingBag: LOOKUP,
    nn.MultiheadAttention: {
        "in_proj_weight": replace(MATRIX, blocks=PROJECTIONS),
        "[qkv]_proj_weight": MATRIX,
        "in_proj_bias": replace(BIAS, blocks=PROJECTIONS),
        "bias_[kv]": BIAS,
    },
    nn.RNN: _recurrent(),
    nn.LSTM: _recurrent(LSTM_GATES),
    nn.GRU: _recurrent(GRU_GATES),
    nn.RNNCell: _recurrent(),
    nn.LSTMCell: _recurrent(LSTM_GATES),
    nn.GRUCell: _recurrent(GRU_GATES),
    _NormBase: NORM,
    nn.GroupNorm: NORM,
    nn.LayerNorm: NORM,
    nn.RMSNorm: NORM,
    nn.PReLU: {"weight": Layout(kind="slope")},
}
"""Class -> pattern of local names -> layout; descendants inherit. Source: the docstrings of torch.nn, *Variables*."""

_EXPERTS = re.compile(r"(n|num)_(\w+_)?experts")


def layout_of(module: nn.Module, local: str, shape: Shape) -> Layout:
    """What the parameter ``local`` of ``module`` is: from the table, by the nearest class that has it.

    Else, if it has two axes or more, by torch's rule (``known=False``): (out, in, k…), or (stack, out, in) for three
    axes where the module counts experts and there are as many as axis 0 is long. A parameter with no shape yet has no
    axes yet either.
    """
    return LayoutCache().of(module, local, shape)


class LayoutCache:
    """`layout_of` for a model's parameters: the table is searched once a class, and equal answers are one object."""

    def __init__(self) -> None:
        self._entries: dict[tuple[type, str], Entry | None] = {}
        self._answers: dict[Layout, Layout] = {}

    def of(self, module: nn.Module, local: str, shape: Shape) -> Layout:
        found = self._found(module, local, shape)
        return self._answers.setdefault(found, found)

    def _found(self, module: nn.Module, local: str, shape: Shape) -> Layout:
        layout = self._listed(module, local, shape)
        if layout is not None:
            if len(layout.axes) in (0, len(shape)):
                return layout
            if not shape:
                return replace(layout, axes=())
        if shape and shape[0] in _experts(module):
            if len(shape) == 3:
                return Layout(axes=("stack", "out", "in"), kind="other", known=False)
            if len(shape) == 2 and local.endswith("bias"):
                return Layout(kind="bias", known=False)
        return Layout(axes=torch_layout(len(shape)), kind="other", known=False)

    def _listed(self, module: nn.Module, local: str, shape: Shape) -> Layout | None:
        cls = plain_class(module)
        if any(base.__name__ == "Conv1D" for base in cls.__mro__):
            entry = _entry(cls, local, _hugging_face(module, shape))
        elif (cls, local) in self._entries:
            entry = self._entries[cls, local]
        else:
            entry = self._entries[cls, local] = _entry(cls, local)
        try:
            return entry(module, shape) if callable(entry) else entry
        except AttributeError:
            return None  # a traced module keeps no numbers, so its groups are not known


def _entry(cls: type, local: str, of_conv1d: Mapping[str, Entry] = MappingProxyType({})) -> Entry | None:
    """What the nearest class has under a pattern that fits."""
    for base in cls.__mro__:
        entries = of_conv1d if base.__name__ == "Conv1D" else OWNERS.get(base, {})
        for pattern, entry in entries.items():
            if fnmatchcase(local, pattern):
                return entry
    return None


def _hugging_face(module: nn.Module, shape: Shape) -> Mapping[str, Entry]:
    """transformers' ``Conv1D``, told by its name and by its sizes ``nx`` and ``nf``: it computes x @ W."""
    sizes = vars(module).get("nx"), vars(module).get("nf")
    weight: Mapping[str, Entry] = {"weight": Layout(axes=("in", "out"), kind="weight")} if shape == sizes else {}
    return {**weight, "bias": BIAS} if None not in sizes else {}


def _experts(module: nn.Module) -> frozenset[int]:
    """The numbers of experts that the module speaks of: ``num_experts``, ``n_routed_experts`` …"""
    return frozenset(value for name, value in vars(module).items() if type(value) is int and _EXPERTS.fullmatch(name))
