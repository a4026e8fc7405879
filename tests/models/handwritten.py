"""Activations written out by hand: named by what they compute, or custom."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.basic import inline, sequential
from models.case import Case, data

__all__ = ["CASES", "tanh_gelu"]


def erf_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / 2.0**0.5))


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(0.7978845608028654 * (x + 0.044715 * torch.pow(x, 3.0))))


def snake(x: Tensor) -> Tensor:
    """x + sin²(2x)/2 (Ziyin et al. 2020)."""
    return x + torch.sin(2.0 * x) ** 2 / 2.0


def old_fashioned_tanh(x: Tensor) -> Tensor:
    return (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())


class SwishFunction(torch.autograd.Function):
    """The memory-saving swish of EfficientNet ports."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grads[0] * (s * (1 + x * (1 - s)))


def swish_function(x: Tensor) -> Tensor:
    result: Tensor = SwishFunction.apply(x)  # type: ignore[no-untyped-call]
    return result


class LearnableSwish(nn.Module):
    def __init__(self, beta: float = 1.5) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(beta))

    def forward(self, x: Tensor) -> Any:
        return x * torch.sigmoid(self.beta * x)


class Maxout(nn.Module):
    """The largest of three pieces (Goodfellow et al. 2013)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 18)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.fc1(x).view(-1, 6, 3).max(dim=-1).values)


class Bump(nn.Module):
    """exp(−x²), a user's own activation module."""

    def forward(self, x: Tensor) -> Any:
        return torch.exp(-(x**2))


class NewGelu(nn.Module):
    """The tanh GELU as a module, as in GPT-2's ports."""

    def forward(self, x: Tensor) -> Any:
        return tanh_gelu(x)


CASES = (
    inline("x_times_sigmoid", lambda x: x * torch.sigmoid(x), "silu"),
    inline("x_times_sigmoid_1702", lambda x: x * torch.sigmoid(1.702 * x), "quick_gelu"),
    inline("erf_gelu", erf_gelu, "gelu"),
    inline("tanh_gelu", tanh_gelu, "gelu_tanh"),
    inline("x_tanh_softplus", lambda x: x * torch.tanh(F.softplus(x)), "mish"),
    inline("x_relu6_over_6", lambda x: x * F.relu6(x + 3.0) / 6.0, "hardswish"),
    inline("where_leaky", lambda x: torch.where(x > 0, x, 0.25 * x), "leaky_relu(slope=0.25)"),
    inline("snake", snake, "custom"),
    inline("autograd_function_swish", swish_function, "silu"),
    sequential("learnable_beta", LearnableSwish, "swish(beta=1.5)"),
    Case(
        name="maxout",
        make=Maxout,
        input=data(2, 4),
        following={"fc1.weight": "maxout", "fc2.weight": "identity"},
        preceding={"fc2.weight": "maxout"},
    ),
    inline("relu6_over_6", lambda x: F.relu6(x + 3.0) / 6.0, "hardsigmoid"),
    inline("sigmoid_by_exp", lambda x: 1.0 / (1.0 + torch.exp(-x)), "sigmoid"),
    inline("softplus_by_log1p", lambda x: torch.log1p(torch.exp(x)), "softplus"),
    inline("softsign_by_abs", lambda x: x / (1.0 + x.abs()), "softsign"),
    inline("tanh_by_exp", old_fashioned_tanh, "tanh"),
    inline("max_leaky", lambda x: torch.max(0.2 * x, x), "leaky_relu(slope=0.2)"),
    inline("relu_minus_relu", lambda x: F.relu(x) - 0.1 * F.relu(-x), "leaky_relu(slope=0.1)"),
    inline("elu_by_where", lambda x: torch.where(x > 0, x, torch.exp(x) - 1.0), "elu(alpha=1)"),
    inline("masked_in_place", lambda x: x.masked_fill(x < 0, 0.0), "relu"),
    inline("square_of_relu_by_product", lambda x: F.relu(x) * F.relu(x), "relu_squared"),
    inline("gelu_by_ndtr", lambda x: x * torch.special.ndtr(x), "gelu"),
    inline("square_plus", lambda x: (x + torch.sqrt(x * x + 4.0)) / 2.0, "custom"),
    inline("gaussian", lambda x: torch.exp(-0.5 * x.pow(2)), "custom"),
    inline("hardtanh_0_6", lambda x: F.hardtanh(x, 0.0, 6.0), "relu6|hardtanh"),
    inline("softplus_minus_log2", lambda x: F.softplus(x) - 0.6931471805599453, "softplus"),
    inline("scaled_tanh", lambda x: 1.7159 * torch.tanh(2.0 / 3.0 * x), "tanh|custom"),
    inline("affine_before_relu", lambda x: F.relu(2.0 * x + 1.0), "relu"),
    inline("affine_only", lambda x: 3.0 * (x - 1.0) / 2.0, "identity"),
    sequential("own_module", Bump, "Bump|custom"),
    sequential("own_gelu_module", NewGelu, "gelu_tanh"),
)
