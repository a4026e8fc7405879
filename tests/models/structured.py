"""Graphs, sets, splines, spectra."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.case import Case, data

__all__ = ["CASES"]


class Gcn(nn.Module):
    """Messages along edges, summed where they arrive, rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)
        self.bias1 = nn.Parameter(torch.zeros(6))

    def spread(self, x: Tensor, edges: Tensor) -> Tensor:
        degree = torch.zeros(x.shape[0]).scatter_add_(0, edges[1], torch.ones(edges.shape[1]))
        scale = degree.clamp(min=1).rsqrt()
        messages = x[edges[0]] * (scale[edges[0]] * scale[edges[1]])[:, None]
        return torch.zeros_like(x).index_add_(0, edges[1], messages)

    def forward(self, x: Tensor, edges: Tensor) -> Any:
        x = F.relu(self.spread(self.lin1(x), edges) + self.bias1)
        return F.log_softmax(self.spread(self.lin2(x), edges), dim=-1)


class Gin(nn.Module):
    """An MLP of the node and the sum of its neighbours, gathered by scatter_add (Xu et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.fc1, self.bn, self.fc2 = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Any:
        index = edges[1][:, None].expand(-1, x.shape[1])
        around = torch.zeros_like(x).scatter_add(0, index, x[edges[0]])
        x = self.fc2(F.relu(self.bn(self.fc1((1 + self.eps) * x + around))))
        return self.out(F.elu(x).sum(0))


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
        self.rho = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1))

    def forward(self, x: Tensor) -> Any:
        return self.rho(self.phi(x).sum(1))


class PointNet(nn.Module):
    """Shared MLP by 1×1 convolutions, max over points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(3, 6, 1), nn.BatchNorm1d(6)
        self.conv2, self.bn2 = nn.Conv1d(6, 8, 1), nn.BatchNorm1d(8)
        self.fc1, self.fc2 = nn.Linear(8, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x = torch.max(x, 2, keepdim=True)[0].view(-1, 8)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


class KanLayer(nn.Module):
    """A SiLU base and a sum of radial functions, each with its own weight (FastKAN)."""

    grid: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base_weight = nn.Parameter(torch.randn(outputs, inputs))
        self.spline_weight = nn.Parameter(torch.randn(outputs, inputs * 5))
        self.register_buffer("grid", torch.linspace(-2, 2, 5))

    def forward(self, x: Tensor) -> Any:
        bases = torch.exp(-(x[..., None] - self.grid).square()).flatten(-2)
        return F.linear(F.silu(x), self.base_weight) + F.linear(bases, self.spline_weight)


class SpectralBlock(nn.Module):
    """Fourier neural operator: complex weights on the low modes, a pointwise way beside them, GELU of the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(2, 4)
        self.modes = nn.Parameter(torch.randn(4, 4, 3, dtype=torch.cfloat))
        self.pointwise = nn.Conv1d(4, 4, 1)
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Any:
        h = self.lift(x).permute(0, 2, 1)
        spectrum = torch.fft.rfft(h)
        out = torch.zeros_like(spectrum)
        out[:, :, :3] = torch.einsum("bix,iox->box", spectrum[:, :, :3], self.modes)
        h = F.gelu(torch.fft.irfft(out, n=h.shape[-1]) + self.pointwise(h))
        return self.fc2(F.gelu(self.fc1(h.permute(0, 2, 1))))


class GlobalFilter(nn.Module):
    """GFNet: a learned filter stored as pairs of reals, multiplied in the frequency domain."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.filter = nn.Parameter(torch.randn(4, 3, 4, 2) * 0.02)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        spectrum = torch.fft.rfft2(self.norm(x), dim=(1, 2), norm="ortho")
        h = torch.fft.irfft2(spectrum * torch.view_as_complex(self.filter), s=(4, 4), dim=(1, 2), norm="ortho")
        return torch.tanh(self.fc(h.flatten(1, 2)))


class CrossNetwork(nn.Module):
    """DCN: x₀·(wᵀx) + b + x beside a deep tower."""

    def __init__(self) -> None:
        super().__init__()
        self.cross = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.deep1, self.deep2 = nn.Linear(4, 6), nn.Linear(6, 5)
        self.out = nn.Linear(9, 1)

    def forward(self, x: Tensor) -> Any:
        h = x
        for layer in self.cross:
            h = x * layer(h) + h
        deep = F.relu(self.deep2(F.relu(self.deep1(x))))
        return torch.sigmoid(self.out(torch.cat([h, deep], -1)))


class EdgeUpdate(nn.Module):
    """SchNet: continuous filters from distances through shifted softplus."""

    def __init__(self) -> None:
        super().__init__()
        self.filter1, self.filter2 = nn.Linear(5, 6), nn.Linear(6, 6)
        self.lin, self.out = nn.Linear(4, 6, bias=False), nn.Linear(6, 4)

    def shifted(self, x: Tensor) -> Tensor:
        return F.softplus(x) - 0.6931471805599453

    def forward(self, x: Tensor, edges: Tensor, distance: Tensor) -> Any:
        basis = torch.exp(-10.0 * (distance[:, None] - torch.linspace(0, 1, 5)) ** 2)
        w = self.filter2(self.shifted(self.filter1(basis)))
        messages = self.lin(x)[edges[0]] * w
        h = torch.zeros(x.shape[0], 6).index_add(0, edges[1], messages)
        return x + self.out(self.shifted(h))


EDGES = torch.tensor([[0, 1, 2, 2, 3], [1, 0, 3, 1, 2]])

CASES = (
    Case(
        name="gcn",
        make=Gcn,
        input=lambda: (data(4, 4)(), EDGES.clone()),
        following={"lin1.weight": "relu", "bias1": "relu", "lin2.weight": "log_softmax"},
        preceding={"lin1.weight": "identity", "lin2.weight": "relu"},
    ),
    Case(
        name="gin",
        make=Gin,
        input=lambda: (data(4, 4)(), EDGES.clone()),
        following={"fc1.weight": "relu", "fc2.weight": "elu", "out.weight": "identity"},
        preceding={"fc1.weight": "identity", "fc2.weight": "relu", "out.weight": "elu"},
        flags={"fc1.weight": frozenset({"norm"})},
    ),
    Case(
        name="deep_sets",
        make=DeepSets,
        input=data(2, 5, 4),
        following={
            "phi.0.weight": "relu",
            "phi.2.weight": "identity",
            "rho.0.weight": "relu",
            "rho.2.weight": "identity",
        },
        preceding={"phi.2.weight": "relu", "rho.0.weight": "identity", "rho.2.weight": "relu"},
    ),
    Case(
        name="point_net",
        make=PointNet,
        input=data(2, 3, 5),
        following={
            "conv1.weight": "relu",
            "conv2.weight": "identity",
            "bn2.weight": "identity",
            "fc1.weight": "relu",
            "fc2.weight": "log_softmax",
        },
        preceding={"conv2.weight": "relu", "fc1.weight": "identity", "fc2.weight": "relu"},
        flags={"conv2.weight": frozenset({"norm", "pool"})},
    ),
    Case(
        name="kan",
        make=lambda: nn.Sequential(KanLayer(3, 4), KanLayer(4, 2)),
        input=data(2, 3),
        following={
            "0.base_weight": "silu|custom",
            "0.spline_weight": "silu|custom",
            "1.base_weight": "identity",
            "1.spline_weight": "identity",
        },
        preceding={"0.base_weight": "silu", "1.base_weight": "silu", "1.spline_weight": "custom"},
        flags={"0.base_weight": frozenset({"add"})},
        also=("silu", "custom"),
    ),
    Case(
        name="fourier_operator",
        make=SpectralBlock,
        input=data(2, 8, 2),
        following={
            "lift.weight": "identity",
            "modes": "gelu",
            "pointwise.weight": "gelu",
            "fc1.weight": "gelu",
            "fc2.weight": "identity",
        },
        preceding={"modes": "identity", "pointwise.weight": "identity", "fc1.weight": "gelu", "fc2.weight": "gelu"},
        flags={"pointwise.weight": frozenset({"add"})},
    ),
    Case(
        name="global_filter",
        make=GlobalFilter,
        input=data(2, 4, 4, 4),
        following={"filter": "identity", "fc.weight": "tanh"},
        preceding={"fc.weight": "identity"},
    ),
    Case(
        name="cross_network",
        make=CrossNetwork,
        input=data(2, 4),
        following={
            "cross.0.weight": "identity",
            "cross.1.weight": "identity",
            "deep1.weight": "relu",
            "deep2.weight": "relu",
            "out.weight": "sigmoid",
        },
        preceding={"deep2.weight": "relu", "out.weight": "relu"},
    ),
    Case(
        name="continuous_filters",
        make=EdgeUpdate,
        input=lambda: (data(4, 4)(), EDGES.clone(), torch.linspace(0.1, 0.9, 5)),
        following={
            "filter1.weight": "softplus",
            "filter2.weight": "softplus",
            "lin.weight": "softplus",
            "out.weight": "identity",
        },
        preceding={"filter2.weight": "softplus", "lin.weight": "identity", "out.weight": "softplus"},
        flags={"filter2.weight": frozenset({"mul"}), "lin.weight": frozenset({"mul"})},
    ),
)
