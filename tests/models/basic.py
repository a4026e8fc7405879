"""Activations of torch in the ways they are called, and what stands at the end of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.case import Answer, Case, data

__all__ = ["CASES", "FunctionalRelu", "inline", "sequential"]


class FunctionalRelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(F.relu(self.fc1(x)))


class ConvBnRelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, bias=False)
        self.bn = nn.BatchNorm2d(5)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.bn(self.conv(x)).relu_())


class InPlaceOnView(nn.Module):
    """What is read afterwards is the base, not the view that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        h.view(-1).relu_()
        return self.fc2(h)


class Inline(nn.Module):
    """fc1, a function, fc2: what most cases of one activation need."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.function(self.fc1(x)))


class StarRelu(nn.Module):
    """scale · relu(x)² + bias, both learned (Yu et al. 2022, MetaFormer baselines, section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.8944))
        self.bias = nn.Parameter(torch.tensor(-0.4472))

    def forward(self, x: Tensor) -> Any:
        return self.scale * F.relu(x) ** 2 + self.bias


class LossAtTheEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor, target: Tensor) -> Any:
        return F.cross_entropy(self.fc2(torch.tanh(self.fc1(x))), target)


class LogSoftmaxAtTheEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=-1)


def between(module: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), module, nn.Linear(6, 3))


def sine(x: Tensor) -> Tensor:
    return torch.sin(30.0 * x)


def inline(name: str, function: Callable[[Tensor], Tensor], answer: Answer) -> Case:
    """fc1 meets the function and fc2 the output."""
    return Case(
        name=name,
        make=lambda: Inline(function),
        input=data(2, 4),
        following={"fc1.weight": answer, "fc2.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": answer},
        norm_before={"fc1.weight": False, "fc2.weight": False},
        previous={"fc1.weight": None, "fc2.weight": "fc1"},
    )


def sequential(name: str, module: Callable[[], nn.Module], answer: Answer) -> Case:
    return Case(
        name=name,
        make=lambda: between(module()),
        input=data(2, 4),
        following={"0.weight": answer, "2.weight": "identity"},
        preceding={"0.weight": "identity", "2.weight": answer},
        previous={"0.weight": None},
    )


MODULES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "relu6": (nn.ReLU6, "relu6"),
    "leaky_default": (nn.LeakyReLU, "leaky_relu(slope=0.01)"),
    "leaky_02": (lambda: nn.LeakyReLU(0.2, inplace=True), "leaky_relu(slope=0.2)"),
    "elu_2": (lambda: nn.ELU(2.0), "elu(alpha=2)"),
    "celu": (lambda: nn.CELU(0.5), "celu(alpha=0.5)"),
    "selu": (nn.SELU, "selu"),
    "gelu": (nn.GELU, "gelu"),
    "gelu_tanh": (lambda: nn.GELU(approximate="tanh"), "gelu_tanh"),
    "silu": (lambda: nn.SiLU(inplace=True), "silu"),
    "mish": (nn.Mish, "mish"),
    "hardswish": (lambda: nn.Hardswish(inplace=True), "hardswish"),
    "hardtanh": (nn.Hardtanh, "hardtanh"),
    "hardsigmoid": (nn.Hardsigmoid, "hardsigmoid"),
    "sigmoid": (nn.Sigmoid, "sigmoid"),
    "logsigmoid": (nn.LogSigmoid, "logsigmoid"),
    "tanh": (nn.Tanh, "tanh"),
    "softplus": (nn.Softplus, "softplus"),
    "softsign": (nn.Softsign, "softsign"),
    "tanhshrink": (nn.Tanhshrink, "tanhshrink"),
    "softshrink": (nn.Softshrink, "softshrink"),
    "hardshrink": (nn.Hardshrink, "hardshrink"),
    "softmax": (lambda: nn.Softmax(dim=-1), "softmax"),
    "log_softmax": (lambda: nn.LogSoftmax(dim=-1), "log_softmax"),
}
"""Activation modules of torch.nn, and their answers with the arguments they were given."""

FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "torch_relu": (torch.relu, "relu"),
    "tensor_relu": (lambda x: x.relu(), "relu"),
    "relu_in_place": (torch.relu_, "relu"),
    "functional_inplace": (lambda x: F.relu(x, inplace=True), "relu"),
    "out_argument": (lambda x: torch.tanh(x, out=torch.empty_like(x)), "tanh"),
    "leaky_functional": (lambda x: F.leaky_relu(x, 0.1), "leaky_relu(slope=0.1)"),
    "leaky_keyword": (lambda x: F.leaky_relu(input=x, negative_slope=0.05), "leaky_relu(slope=0.05)"),
    "elu_keyword": (lambda x: F.elu(x, alpha=0.7), "elu(alpha=0.7)"),
    "gelu_keyword": (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh"),
    "tensor_sigmoid_": (lambda x: x.sigmoid_(), "sigmoid"),
    "special_expit": (torch.special.expit, "sigmoid"),
    "clamp_min": (lambda x: x.clamp_min(0.0), "relu"),
    "clip": (lambda x: torch.clip(x, 0.0, 6.0), "relu6"),
    "clamp_both": (lambda x: x.clamp(-1.0, 1.0), "hardtanh"),
    "threshold": (lambda x: F.threshold(x, 0.0, 0.0), "relu|threshold"),
    "times_mask": (lambda x: x * (x > 0), "relu"),
    "relu_by_abs": (lambda x: 0.5 * (x + x.abs()), "relu"),
    "scaled_first": (lambda x: F.silu(x / 2.0**0.5), "silu"),
}
"""One activation, many ways to call it."""

CASES = (
    Case(
        name="functional_relu",
        make=FunctionalRelu,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": "relu"},
        flags={"fc1.weight": frozenset({"-norm", "-add", "-mul", "-cat", "-pool", "-gated", "-attention logit"})},
        previous={"fc1.weight": None, "fc2.weight": "fc1"},
    ),
    Case(
        name="conv_bn_relu_in_place",
        make=ConvBnRelu,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "bn.weight": "relu", "head.weight": "identity"},
        preceding={"conv.weight": "identity", "head.weight": "relu"},
        flags={"conv.weight": frozenset({"norm", "-add"}), "bn.weight": frozenset({"-add"})},
        norm_before={"conv.weight": False, "head.weight": False},
    ),
    Case(
        name="in_place_on_a_view",
        make=InPlaceOnView,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity"},
        preceding={"fc2.weight": "relu"},
    ),
    inline("clamp_at_zero", lambda x: x.clamp(min=0), "relu"),
    inline("maximum_with_zeros", lambda x: torch.maximum(x, torch.zeros_like(x)), "relu"),
    sequential("leaky_relu_slope", lambda: nn.LeakyReLU(0.3), "leaky_relu(slope=0.3)"),
    sequential("elu_alpha", lambda: nn.ELU(0.5), "elu(alpha=0.5)"),
    sequential("prelu", nn.PReLU, "prelu"),
    inline("relu_squared", lambda x: F.relu(x) ** 2, "relu_squared"),
    sequential("star_relu", StarRelu, "relu_squared"),
    inline("sine_30", sine, "sin"),
    Case(
        name="log_softmax_at_the_end",
        make=LogSoftmaxAtTheEnd,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "log_softmax"},
        preceding={"fc2.weight": "relu"},
    ),
    Case(
        name="cross_entropy_at_the_end",
        make=LossAtTheEnd,
        input=lambda: (data(2, 4)(), torch.tensor([0, 2])),
        following={"fc1.weight": "tanh", "fc2.weight": "identity"},
        preceding={"fc2.weight": "tanh"},
    ),
    Case(
        name="deep_linear",
        make=lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3)),
        input=data(2, 4),
        following={"0.weight": "identity", "1.weight": "identity", "2.weight": "identity"},
        preceding={"0.weight": "identity", "1.weight": "identity", "2.weight": "identity"},
        previous={"0.weight": None, "1.weight": "0", "2.weight": "1"},
    ),
    *(sequential(f"module_{name}", module, answer) for name, (module, answer) in MODULES.items()),
    *(inline(f"function_{name}", function, answer) for name, (function, answer) in FUNCTIONS.items()),
)
