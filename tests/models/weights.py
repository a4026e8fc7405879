"""Weights that are computed, cut, shared, merged or stored in other ways."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from models.case import Answer, Case, data, ids

__all__ = ["CASES"]


class Normed(nn.Module):
    """conv, relu, head, with something done to the convolution's weight."""

    def __init__(self, change: Callable[[nn.Module], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old weight_norm asks for the new one
            change(self.conv)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.conv(x)))


class StandardizedConv(nn.Conv2d):
    """Each filter with mean 0 and deviation 1 (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Any:
        w = self.weight
        w = w - w.mean((1, 2, 3), keepdim=True)
        w = w / (w.pow(2).mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class StandardizedNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = StandardizedConv(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.conv(x)))


class Bare(nn.Module):
    """One bare parameter, what is made of it and the input, relu, head."""

    def __init__(self, shape: tuple[int, ...], product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.head = nn.Linear(6, 3)
        self.product = product

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.product(x, self.weight)))


class LoraMerged(nn.Module):
    """W + BA, then one product (Hu et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.lora_a = nn.Parameter(torch.randn(2, 4))
        self.lora_b = nn.Parameter(torch.zeros(6, 2))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        w = self.weight + self.lora_b @ self.lora_a * 0.5
        return self.head(F.relu(F.linear(x, w)))


class LoraBranch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 6)
        self.lora_a = nn.Linear(4, 2, bias=False)
        self.lora_b = nn.Linear(2, 6, bias=False)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(6, 3)
        self.base.requires_grad_(False)

    def forward(self, x: Tensor) -> Any:
        h = self.base(x) + self.lora_b(self.lora_a(self.drop(x))) * 2.0
        return self.head(F.relu(h))


class Dora(nn.Module):
    """Magnitude times the direction of W + BA (Liu et al. 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.lora_a = nn.Parameter(torch.randn(2, 4))
        self.lora_b = nn.Parameter(torch.zeros(6, 2))
        self.magnitude = nn.Parameter(self.weight.detach().norm(dim=1, keepdim=True))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        w = self.weight + self.lora_b @ self.lora_a
        w = self.magnitude * w / w.norm(dim=1, keepdim=True)
        return self.head(F.gelu(F.linear(x, w)))


class Ia3(nn.Module):
    """A learned scale on the hidden layer (Liu et al. 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.scale = nn.Parameter(torch.ones(1, 6))
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(F.relu(self.fc1(x) * self.scale))


class CondConv(nn.Module):
    """Every sample's kernel is a mixture of experts (Yang et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.routing = nn.Linear(3, 2)
        self.experts = nn.Parameter(torch.randn(2, 4 * 3 * 3 * 3))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        b, c, h, w = x.shape
        routing = torch.sigmoid(self.routing(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        weight = (routing @ self.experts).view(b * 4, c, 3, 3)
        out = F.conv2d(x.reshape(1, b * c, h, w), weight, padding=1, groups=b)
        return self.head(F.relu(out.view(b, 4, h, w)))


class TiedEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.fc2(F.relu(self.fc1(self.embed(tokens)))))


class Hypernetwork(nn.Module):
    """A small network of the input makes the main layer's weight (Ha et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper1 = nn.Linear(3, 5)
        self.hyper2 = nn.Linear(5, 24)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor, z: Tensor) -> Any:
        weight = self.hyper2(torch.tanh(self.hyper1(z))).view(6, 4)
        return self.head(F.relu(F.linear(x, weight)))


class MaskedLinear(nn.Linear):
    """MADE (Germain et al. 2015): the weight times a fixed mask."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.ones_like(self.weight).tril())

    def forward(self, x: Tensor) -> Any:
        return F.linear(x, self.weight * self.mask, self.bias)


class PixelCnnConv(nn.Conv2d):
    """Writes the mask into its own weight at every forward."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__(3, 4, 3, padding=1)
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 1:] = 0
        mask[:, :, 2:] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Any:
        self.weight.data *= self.mask
        return super().forward(x)


class PixelCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = PixelCnnConv()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        return self.head(F.relu(self.conv(x)))


class NoisyLinear(nn.Module):
    """w = μ + σ·ε (Fortunato et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.randn(6, 4))
        self.sigma = nn.Parameter(torch.full((6, 4), 0.1))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        rows, columns = torch.randn(6, 1), torch.randn(1, 4)
        return self.head(F.relu(F.linear(x, self.mu + self.sigma * (rows * columns))))


class ModulatedConv(nn.Module):
    """StyleGAN2: the weight is scaled by the style, demodulated, and used in one grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.affine = nn.Linear(5, 3)
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.rgb = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor, style: Tensor) -> Any:
        b, c, h, w = x.shape
        scale = self.affine(style) + 1.0
        weight = self.weight.unsqueeze(0) * scale.view(b, 1, c, 1, 1)
        demodulation = torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        weight = (weight * demodulation).view(b * 4, c, 3, 3)
        out = F.conv2d(x.reshape(1, b * c, h, w), weight, padding=1, groups=b).view(b, 4, h, w)
        return self.rgb(F.leaky_relu(out + 0.1 * torch.randn(b, 1, h, w), 0.2) * math.sqrt(2))


class Lists(nn.Module):
    """ParameterList and ParameterDict, addmm, matmul and bmm over stacked experts."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = nn.ParameterList([nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(6))])
        self.named = nn.ParameterDict({"w": nn.Parameter(torch.randn(6, 5))})
        self.experts = nn.Parameter(torch.randn(3, 5, 7))
        self.back = nn.Parameter(torch.randn(3, 7, 2))

    def forward(self, x: Tensor) -> Any:
        h = torch.addmm(self.listed[1], x, self.listed[0]).relu()
        h = torch.tanh(h.matmul(self.named["w"]))
        h = torch.bmm(h.expand(3, *h.shape), self.experts)
        return torch.baddbmm(h.new_zeros(1), F.silu(h), self.back)


class EqualizedLinear(nn.Module):
    """ProGAN: the constant of He applied at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.bias = nn.Parameter(torch.zeros(6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = F.linear(x, self.weight * (2 / 4) ** 0.5) + self.bias
        return self.head(F.leaky_relu(h, 0.2))


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.LazyLinear(6)
        self.fc2 = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc2(F.relu(self.fc1(x)))


class Symmetric(nn.Module):
    """A parametrization of the user's own."""

    def forward(self, w: Tensor) -> Any:
        return w.triu() + w.triu(1).transpose(-1, -2)


class SymmetricNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 3)
        parametrize.register_parametrization(self.fc1, "weight", Symmetric())

    def forward(self, x: Tensor) -> Any:
        return self.fc2(torch.tanh(self.fc1(x)))


class BilinearNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Bilinear(4, 3, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.fc(F.relu(self.pair(x, y)))


def normed(name: str, change: Callable[[nn.Module], object]) -> Case:
    return Case(
        name=name,
        make=lambda: Normed(change),
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "head.weight": "identity"},
        preceding={"conv.weight": "identity", "head.weight": "relu"},
    )


def bare(name: str, shape: tuple[int, ...], product: Callable[[Tensor, Tensor], Tensor]) -> Case:
    return Case(
        name=name,
        make=lambda: Bare(shape, product),
        input=data(2, 4),
        following={"weight": "relu", "head.weight": "identity"},
        preceding={"weight": "identity", "head.weight": "relu"},
    )


LORA: dict[str, Answer] = {"weight": "relu", "lora_a": "relu", "lora_b": "relu", "head.weight": "identity"}

CASES = (
    normed("weight_norm_old", nn.utils.weight_norm),
    normed("weight_norm", parametrizations.weight_norm),
    normed("spectral_norm", parametrizations.spectral_norm),
    normed("spectral_norm_old", nn.utils.spectral_norm),
    normed("orthogonal", parametrizations.orthogonal),
    Case(
        name="weight_standardization",
        make=StandardizedNet,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "head.weight": "identity"},
        preceding={"conv.weight": "identity", "head.weight": "relu"},
        flags={"conv.weight": frozenset({"-norm"})},
        norm_before={"conv.weight": False},
    ),
    bare("softplus_of_weight", (6, 4), lambda x, w: F.linear(x, F.softplus(w))),
    bare("transposed", (4, 6), lambda x, w: F.linear(x, w.t())),
    bare("sliced", (9, 5), lambda x, w: F.linear(x, w[2:8, 1:])),
    bare("einsum", (6, 4), lambda x, w: torch.einsum("bi,oi->bo", x, w)),
    bare("einsum_weight_first", (6, 4), lambda x, w: torch.einsum("oi,bi->bo", w, x)),
    bare("keyword_call", (6, 4), lambda x, w: F.linear(weight=w, input=x, bias=None)),
    bare("weight_on_the_left", (6, 4), lambda x, w: (w @ x.t()).t()),
    bare("tensordot", (4, 6), lambda x, w: torch.tensordot(x, w, dims=1)),
    bare("product_and_sum", (6, 4), lambda x, w: (x[:, None, :] * w).sum(-1)),
    bare("reshaped", (24,), lambda x, w: F.linear(x, w.view(6, 4).contiguous())),
    bare("conv_of_one", (6, 4, 1), lambda x, w: F.conv1d(x[:, :, None], w).squeeze(-1)),
    Case(
        name="lora_merged",
        make=LoraMerged,
        input=data(2, 4),
        following=LORA,
        preceding={"weight": "identity", "head.weight": "relu"},
    ),
    Case(
        name="lora_branch",
        make=LoraBranch,
        input=data(2, 4),
        following={
            "base.weight": "relu",
            "lora_a.weight": "identity",
            "lora_b.weight": "relu",
            "head.weight": "identity",
        },
        preceding={"lora_a.weight": "identity", "lora_b.weight": "identity", "head.weight": "relu"},
        flags={"base.weight": frozenset({"add"}), "lora_b.weight": frozenset({"add"})},
    ),
    Case(
        name="cond_conv",
        make=CondConv,
        input=data(2, 3, 6, 6),
        following={"experts": "relu", "routing.weight": "sigmoid", "head.weight": "identity"},
        preceding={"head.weight": "relu"},
    ),
    Case(
        name="tied_embedding",
        make=TiedEmbedding,
        input=ids(2, 5),
        following={
            "embed.weight": "identity",
            "head.weight": "identity",
            "fc1.weight": "relu",
            "fc2.weight": "identity",
        },
        preceding={"fc2.weight": "relu"},
    ),
    Case(name="lazy_linear", make=Lazy, input=data(2, 4), following={}, fails=("fc1.weight",), lazy=True),
    Case(
        name="dora",
        make=Dora,
        input=data(2, 4),
        following={
            "weight": "gelu",
            "lora_a": "gelu",
            "lora_b": "gelu",
            "magnitude": "gelu",
            "head.weight": "identity",
        },
        preceding={"head.weight": "gelu"},
    ),
    Case(
        name="ia3",
        make=Ia3,
        input=data(2, 4),
        following={"fc1.weight": "relu", "scale": "relu", "fc2.weight": "identity"},
        preceding={"fc2.weight": "relu"},
        flags={"fc1.weight": frozenset({"-gated"})},
    ),
    Case(
        name="hypernetwork",
        make=Hypernetwork,
        input=lambda: (data(2, 4)(), data(3)()),
        following={"hyper1.weight": "tanh", "hyper2.weight": "relu", "head.weight": "identity"},
        preceding={"hyper1.weight": "identity", "hyper2.weight": "tanh", "head.weight": "relu"},
    ),
    Case(
        name="masked_weight",
        make=lambda: nn.Sequential(MaskedLinear(4, 6), nn.ReLU(), MaskedLinear(6, 3)),
        input=data(2, 4),
        following={"0.weight": "relu", "2.weight": "identity"},
        preceding={"0.weight": "identity", "2.weight": "relu"},
    ),
    Case(
        name="weight_masked_in_place",
        make=PixelCnn,
        input=data(2, 3, 6, 6),
        following={"conv.weight": "relu", "head.weight": "identity"},
        preceding={"head.weight": "relu"},
    ),
    Case(
        name="noisy_linear",
        make=NoisyLinear,
        input=data(2, 4),
        following={"mu": "relu", "sigma": "relu", "head.weight": "identity"},
        preceding={"mu": "identity", "head.weight": "relu"},
    ),
    Case(
        name="modulated_conv",
        make=ModulatedConv,
        input=lambda: (data(2, 3, 6, 6)(), data(2, 5)()),
        following={
            "weight": "leaky_relu(slope=0.2)",
            "affine.weight": "leaky_relu(slope=0.2)",
            "rgb.weight": "identity",
        },
        preceding={"affine.weight": "identity", "rgb.weight": "leaky_relu"},
    ),
    Case(
        name="lists_and_matmuls",
        make=Lists,
        input=data(2, 4),
        following={
            "listed.0": "relu",
            "listed.1": "relu",
            "named.w": "tanh",
            "experts": "silu",
            "back": "identity",
        },
        preceding={"listed.0": "identity", "named.w": "relu", "experts": "tanh", "back": "silu"},
    ),
    Case(
        name="equalized_linear",
        make=EqualizedLinear,
        input=data(2, 4),
        following={
            "weight": "leaky_relu(slope=0.2)",
            "bias": "leaky_relu(slope=0.2)",
            "head.weight": "identity",
        },
        preceding={"head.weight": "leaky_relu(slope=0.2)"},
    ),
    Case(
        name="own_parametrization",
        make=SymmetricNet,
        input=data(2, 4),
        following={"fc1.weight": "tanh", "fc2.weight": "identity"},
        preceding={"fc2.weight": "tanh"},
    ),
    Case(
        name="bilinear",
        make=BilinearNet,
        input=lambda: (data(2, 4)(), data(2, 3)()),
        following={"pair.weight": "relu", "fc.weight": "identity"},
        preceding={"fc.weight": "relu"},
    ),
)
