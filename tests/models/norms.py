"""Norms of every make, by module, by function and by hand, and scales of the residual stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.case import Case, data

__all__ = ["CASES"]

NORM = frozenset({"norm"})


class Between(nn.Module):
    """conv, a norm, relu, conv: the norm is open, and the second convolution is fed by relu."""

    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.norm = norm

    def forward(self, x: Tensor) -> Any:
        return self.conv2(F.relu(self.norm(self.conv1(x))))


class Directly(nn.Module):
    """conv, relu, a norm, conv: the norm feeds the second convolution."""

    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.norm = norm

    def forward(self, x: Tensor) -> Any:
        return self.conv2(self.norm(F.relu(self.conv1(x))))


class FrozenBatchNorm(nn.Module):
    """Detectron's: an affine map by buffers, folded into one scale and one shift."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.full((channels,), 0.1))
        self.register_buffer("running_var", torch.full((channels,), 0.8))

    def forward(self, x: Tensor) -> Any:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class FrozenNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.conv2 = nn.Conv2d(3, 4, 3, bias=False), FrozenBatchNorm(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.conv2(F.relu_(self.bn1(self.conv1(x))))


class ResponseNormBlock(nn.Module):
    """ConvNeXt V2: global response norm between GELU and the second Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.LayerNorm(4)
        self.pwconv1, self.pwconv2 = nn.Linear(4, 12), nn.Linear(12, 4)
        self.gamma, self.beta = nn.Parameter(torch.ones(1, 1, 1, 12)), nn.Parameter(torch.zeros(1, 1, 1, 12))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        h = F.gelu(self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1))))
        size = torch.norm(h, p=2, dim=(1, 2), keepdim=True)
        ratio = size / (size.mean(dim=-1, keepdim=True) + 1e-6)
        h = self.gamma * (h * ratio) + self.beta + h
        return self.head(x + self.pwconv2(h).permute(0, 3, 1, 2))


class ReZero(nn.Module):
    """x + a·f(x), a learned from zero (Bachlechner et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.alpha = nn.Linear(4, 6), nn.Linear(6, 4), nn.Parameter(torch.zeros(1))
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(x + self.alpha * self.fc2(F.relu(self.fc1(x))))


class DeepNorm(nn.Module):
    """LayerNorm(a·x + f(x)) (Wang et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.norm = nn.Linear(4, 6), nn.Linear(6, 4), nn.LayerNorm(4)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        h = F.dropout(self.fc2(F.gelu(self.fc1(x))), 0.1, self.training)
        return self.out(self.norm(x * 1.8 + h))


class NormFree(nn.Module):
    """NFNet: scaled relu, standardized weights, skip gain (Brock et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight1 = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.weight2 = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.gain1, self.gain2 = nn.Parameter(torch.ones(4, 1, 1, 1)), nn.Parameter(torch.ones(4, 1, 1, 1))
        self.skip_gain = nn.Parameter(torch.zeros(()))
        self.last = nn.Conv2d(4, 6, 1)

    def standardized(self, weight: Tensor, gain: Tensor) -> Tensor:
        variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
        scale = torch.rsqrt(torch.clamp(variance * weight[0].numel(), min=1e-4)) * gain
        return weight * scale - mean * scale

    def forward(self, x: Tensor) -> Any:
        h = F.relu(x) * 1.7139588594436646 * 0.97
        h = F.conv2d(h, self.standardized(self.weight1, self.gain1), padding=1)
        h = F.relu(h) * 1.7139588594436646
        h = F.conv2d(h, self.standardized(self.weight2, self.gain2), padding=1)
        x = h * self.skip_gain * 0.2 + x
        return F.relu(self.last(x)) * 1.7139588594436646


def standardize(x: Tensor) -> Tensor:
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-5)


def var_mean(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, unbiased=False)
    return (x - mean) * torch.rsqrt(variance + 1e-6)


def pixel_norm(x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(dim=1, keepdim=True) + 1e-8)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "instance_norm": F.instance_norm,
    "group_norm": lambda x: F.group_norm(x, 2),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:]),
    "standardize": standardize,
    "var_mean": var_mean,
    "pixel_norm": pixel_norm,
}
"""Norms without parameters, torch's functions first."""


def between(name: str, norm: Callable[[Tensor], Tensor]) -> Case:
    return Case(
        name=f"norm_{name}",
        make=lambda: Between(norm),
        input=data(2, 3, 6, 6),
        following={"conv1.weight": "relu", "conv2.weight": "identity"},
        preceding={"conv1.weight": "identity", "conv2.weight": "relu"},
        flags={"conv1.weight": NORM},
        norm_before={"conv1.weight": False, "conv2.weight": False},
        previous={"conv1.weight": None, "conv2.weight": "conv1"},
    )


def directly(name: str, norm: Callable[[Tensor], Tensor]) -> Case:
    return Case(
        name=f"norm_directly_{name}",
        make=lambda: Directly(norm),
        input=data(2, 3, 6, 6),
        following={"conv1.weight": "relu", "conv2.weight": "identity"},
        preceding={"conv2.weight": "relu"},
        flags={"conv1.weight": frozenset({"-norm"})},
        norm_before={"conv1.weight": False, "conv2.weight": True},
        previous={"conv2.weight": "conv1"},
    )


CASES = (
    *(between(name, norm) for name, norm in NORMS.items()),
    *(directly(name, norm) for name, norm in NORMS.items()),
    between("local_response", lambda x: F.local_response_norm(x, 2)),
    Case(
        name="frozen_batch_norm",
        make=FrozenNet,
        input=data(2, 3, 6, 6),
        following={"conv1.weight": "relu", "conv2.weight": "identity"},
        preceding={"conv1.weight": "identity", "conv2.weight": "relu"},
        flags={"conv1.weight": frozenset({"-add", "-mul"})},
    ),
    Case(
        name="global_response_norm",
        make=ResponseNormBlock,
        input=data(2, 4, 5, 5),
        following={
            "dwconv.weight": "identity",
            "pwconv1.weight": "gelu",
            "gamma": "identity",
            "beta": "identity",
            "pwconv2.weight": "identity",
            "head.weight": "identity",
        },
        preceding={"pwconv2.weight": "gelu"},
        norm_before={"pwconv1.weight": True},
    ),
    Case(
        name="re_zero",
        make=ReZero,
        input=data(2, 4),
        following={"fc1.weight": "relu", "fc2.weight": "identity", "alpha": "identity", "out.weight": "identity"},
        preceding={"fc2.weight": "relu"},
        flags={"fc2.weight": frozenset({"add", "-gated"})},
    ),
    Case(
        name="deep_norm",
        make=DeepNorm,
        input=data(2, 4),
        following={"fc1.weight": "gelu", "fc2.weight": "identity", "out.weight": "identity"},
        preceding={"fc2.weight": "gelu"},
        flags={"fc2.weight": frozenset({"add", "norm"})},
        norm_before={"out.weight": True, "fc2.weight": False},
    ),
    Case(
        name="norm_free",
        make=NormFree,
        input=data(2, 4, 6, 6),
        following={
            "weight1": "relu",
            "gain1": "relu",
            "weight2": "identity",
            "gain2": "identity",
            "last.weight": "relu",
        },
        preceding={"weight1": "relu", "weight2": "relu"},
        flags={"weight1": frozenset({"-norm"}), "weight2": frozenset({"add"})},
        norm_before={"weight2": False},
    ),
)
