"""Generators, flows, fields, diffusion."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from models.case import Case, data

__all__ = ["CASES"]


def generator() -> nn.Sequential:
    """DCGAN (Radford et al. 2016)."""
    return nn.Sequential(
        nn.ConvTranspose2d(5, 8, 4, 1, 0, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(True),
        nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 4, 4, 2, 1)),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(4, 8, 4, 2, 1, bias=False),
        nn.InstanceNorm2d(8),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 1, 4),
        nn.Sigmoid(),
    )


class Vae(nn.Module):
    """The reparameterization: z = mean + exp(logvar/2)·ε."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.mean, self.logvar = nn.Linear(9, 6), nn.Linear(6, 3), nn.Linear(6, 3)
        self.fc3, self.fc4 = nn.Linear(3, 6), nn.Linear(6, 9)

    def forward(self, x: Tensor) -> Any:
        h = F.relu(self.fc1(x.view(-1, 9)))
        mean, logvar = self.mean(h), self.logvar(h)
        std = torch.exp(0.5 * logvar)
        z = mean + torch.randn_like(std) * std
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mean, logvar


class SineLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, omega: float = 30.0) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.omega = omega

    def forward(self, x: Tensor) -> Any:
        return torch.sin(self.omega * self.linear(x))


class NeRF(nn.Module):
    """Positional encoding, a skip in the middle, density by relu, colour by sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.pts = nn.ModuleList([nn.Linear(15, 8), nn.Linear(8, 8), nn.Linear(23, 8)])
        self.feature, self.alpha = nn.Linear(8, 8), nn.Linear(8, 1)
        self.views, self.rgb = nn.Linear(11, 4), nn.Linear(4, 3)

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(f(x * 2.0**i) for i in range(2) for f in (torch.sin, torch.cos))], -1)

    def forward(self, points: Tensor, views: Tensor) -> Any:
        encoded = self.encode(points)
        h = encoded
        for i, layer in enumerate(self.pts):
            h = F.relu(layer(h))
            if i == 1:
                h = torch.cat([encoded, h], -1)
        density = F.relu(self.alpha(h))
        h = F.relu(self.views(torch.cat([self.feature(h), views], -1)))
        return torch.cat([torch.sigmoid(self.rgb(h)), density], -1)


class DiffusionBlock(nn.Module):
    """ADM's residual block with scale and shift from the time embedding (Dhariwal and Nichol 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.time1, self.time2 = nn.Linear(6, 8), nn.Linear(8, 8)
        self.in_norm, self.in_conv = nn.GroupNorm(2, 4), nn.Conv2d(4, 6, 3, padding=1)
        self.emb = nn.Linear(8, 12)
        self.out_norm, self.out_conv = nn.GroupNorm(2, 6), nn.Conv2d(6, 6, 3, padding=1)
        self.skip = nn.Conv2d(4, 6, 1)
        self.final_norm, self.final = nn.GroupNorm(2, 6), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Any:
        angles = t[:, None].float() * torch.exp(-torch.arange(3).float())[None]
        emb = self.time2(F.silu(self.time1(torch.cat([angles.cos(), angles.sin()], -1))))
        h = self.in_conv(F.silu(self.in_norm(x)))
        scale, shift = self.emb(F.silu(emb))[..., None, None].chunk(2, dim=1)
        h = self.out_norm(h) * (1 + scale) + shift
        h = self.skip(x) + self.out_conv(F.dropout(F.silu(h), 0.1, self.training))
        return self.final(F.silu(self.final_norm(h)))


class DiT(nn.Module):
    """adaLN-Zero (Peebles and Xie 2023): six modulations from one linear."""

    def __init__(self) -> None:
        super().__init__()
        self.t1, self.t2, self.label = nn.Linear(6, 8), nn.Linear(8, 8), nn.Embedding(4, 8)
        self.norm1 = nn.LayerNorm(8, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(8, elementwise_affine=False)
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.fc1, self.fc2 = nn.Linear(8, 16), nn.Linear(16, 8)
        self.ada = nn.Sequential(nn.SiLU(), nn.Linear(8, 48))
        self.final = nn.Linear(8, 3)

    def attention(self, x: Tensor) -> Any:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Any:
        c = self.t2(F.silu(self.t1(t))) + self.label(y)
        shift1, scale1, gate1, shift2, scale2, gate2 = self.ada(c).unsqueeze(1).chunk(6, dim=-1)
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        h = F.gelu(self.fc1(self.norm2(x) * (1 + scale2) + shift2), approximate="tanh")
        return self.final(x + gate2 * self.fc2(h))


class VectorQuantizer(nn.Module):
    """VQ-VAE: nearest code, straight-through gradient, losses beside the output."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 4, 1))
        self.codes = nn.Embedding(7, 4)
        self.decoder = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 3, 1))

    def forward(self, x: Tensor) -> Any:
        z = self.encoder(x).transpose(1, 2)
        flat = z.reshape(-1, 4)
        distance = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.codes.weight.t() + self.codes.weight.pow(2).sum(1)
        q = self.codes(distance.argmin(1)).view_as(z)
        loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        q = z + (q - z).detach()
        return self.decoder(q.transpose(1, 2)), loss


class Coupling(nn.Module):
    """RealNVP: y₂ = x₂·exp(tanh s(x₁)) + t(x₁)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 3), nn.Tanh())
        self.shift = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Any:
        a, b = x.chunk(2, dim=-1)
        s, t = self.scale(a), self.shift(a)
        return torch.cat([a, b * s.exp() + t], -1), s.sum(-1)


class SoftActor(nn.Module):
    """A squashed Gaussian (Haarnoja et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())
        self.mean, self.log_std = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        h = self.trunk(x)
        std = self.log_std(h).clamp(-5.0, 2.0).exp()
        mean = self.mean(h)
        return torch.tanh(mean + std * torch.randn_like(mean))


class Dueling(nn.Module):
    """Q = V + A − mean A (Wang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.ReLU())
        self.value1, self.value2 = nn.Linear(6, 5), nn.Linear(5, 1)
        self.advantage1, self.advantage2 = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        h = self.body(x)
        value = self.value2(F.relu(self.value1(h)))
        advantage = self.advantage2(F.relu(self.advantage1(h)))
        return value + advantage - advantage.mean(1, keepdim=True)


CASES = (
    Case(
        name="dcgan_generator",
        make=generator,
        input=data(2, 5, 1, 1),
        following={"0.weight": "relu", "1.weight": "relu", "3.weight": "relu", "6.weight": "tanh"},
        preceding={"0.weight": "identity", "3.weight": "relu", "6.weight": "relu"},
    ),
    Case(
        name="discriminator",
        make=discriminator,
        input=data(2, 3, 16, 16),
        following={
            "0.weight": "leaky_relu(slope=0.2)",
            "2.weight": "leaky_relu(slope=0.2)",
            "5.weight": "sigmoid",
        },
        preceding={"2.weight": "leaky_relu(slope=0.2)", "5.weight": "leaky_relu(slope=0.2)"},
        flags={"0.weight": frozenset({"-norm"}), "2.weight": frozenset({"norm"})},
    ),
    Case(
        name="vae",
        make=Vae,
        input=data(2, 3, 3),
        following={
            "fc1.weight": "relu",
            "mean.weight": "identity",
            "logvar.weight": "custom|exp",
            "fc3.weight": "relu",
            "fc4.weight": "sigmoid",
        },
        preceding={"mean.weight": "relu", "logvar.weight": "relu", "fc4.weight": "relu"},
        flags={"fc3.weight": frozenset({"-add"})},
    ),
    Case(
        name="siren",
        make=lambda: nn.Sequential(SineLayer(2, 6), SineLayer(6, 6, 1.0), nn.Linear(6, 3)),
        input=data(2, 2),
        following={"0.linear.weight": "sin", "1.linear.weight": "sin", "2.weight": "identity"},
        preceding={"0.linear.weight": "identity", "1.linear.weight": "sin", "2.weight": "sin"},
    ),
    Case(
        name="nerf",
        make=NeRF,
        input=lambda: (data(2, 3)(), data(2, 3)()),
        following={
            **{f"pts.{i}.weight": "relu" for i in range(3)},
            "feature.weight": "identity",
            "alpha.weight": "relu",
            "views.weight": "relu",
            "rgb.weight": "sigmoid",
        },
        preceding={
            "pts.1.weight": "relu",
            "pts.2.weight": "relu",
            "feature.weight": "relu",
            "alpha.weight": "relu",
            "rgb.weight": "relu",
        },
        flags={"feature.weight": frozenset({"cat"})},
    ),
    Case(
        name="diffusion_block",
        make=DiffusionBlock,
        input=lambda: (data(2, 4, 6, 6)(), torch.tensor([3, 40])),
        following={
            "time1.weight": "silu",
            "time2.weight": "silu",
            "in_conv.weight": "silu",
            "emb.weight": "silu",
            "out_conv.weight": "silu",
            "skip.weight": "silu",
            "final.weight": "identity",
        },
        preceding={
            "time2.weight": "silu",
            "in_conv.weight": "silu",
            "emb.weight": "silu",
            "out_conv.weight": "silu",
            "skip.weight": "identity",
            "final.weight": "silu",
        },
        flags={"out_conv.weight": frozenset({"add", "norm"}), "in_conv.weight": frozenset({"norm"})},
    ),
    Case(
        name="dit",
        make=DiT,
        input=lambda: (data(2, 4, 8)(), data(2, 6)(), torch.tensor([1, 3])),
        following={
            "t1.weight": "silu",
            "t2.weight": "silu",
            "label.weight": "silu",
            "qkv.weight": "identity",
            "proj.weight": "identity",
            "fc1.weight": "gelu_tanh",
            "fc2.weight": "identity",
            "ada.1.weight": "identity",
            "final.weight": "identity",
        },
        preceding={"t2.weight": "silu", "ada.1.weight": "silu", "fc2.weight": "gelu_tanh"},
        flags={"t2.weight": frozenset({"add"})},
    ),
    Case(
        name="vector_quantizer",
        make=VectorQuantizer,
        input=data(2, 3, 5),
        following={
            "encoder.0.weight": "relu",
            "encoder.2.weight": "identity",
            "codes.weight": "identity",
            "decoder.0.weight": "relu",
            "decoder.2.weight": "identity",
        },
        preceding={"encoder.2.weight": "relu", "decoder.2.weight": "relu"},
    ),
    Case(
        name="coupling",
        make=Coupling,
        input=data(2, 6),
        following={
            "scale.0.weight": "leaky_relu(slope=0.01)",
            "scale.2.weight": "tanh",
            "shift.0.weight": "leaky_relu(slope=0.01)",
            "shift.2.weight": "identity",
        },
        preceding={"scale.2.weight": "leaky_relu", "shift.2.weight": "leaky_relu"},
    ),
    Case(
        name="soft_actor",
        make=SoftActor,
        input=data(2, 4),
        following={
            "trunk.0.weight": "relu",
            "trunk.2.weight": "relu",
            "mean.weight": "tanh",
            "log_std.weight": "hardtanh|custom",
        },
        preceding={"mean.weight": "relu", "log_std.weight": "relu"},
        flags={"mean.weight": frozenset({"add"})},
    ),
    Case(
        name="dueling",
        make=Dueling,
        input=data(2, 3, 6, 6),
        following={
            "body.0.weight": "relu",
            "body.3.weight": "relu",
            "value1.weight": "relu",
            "value2.weight": "identity",
            "advantage1.weight": "relu",
            "advantage2.weight": "identity",
        },
        preceding={"body.3.weight": "relu", "value2.weight": "relu", "advantage1.weight": "relu"},
    ),
)
