"""A model with a layer for each initializer, a policy that gives each its own, and the ways in which it is sharded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

__all__ = ["STYLES", "UNSEEDED", "Bench", "Mlp", "file_of", "one_of", "policy_of", "sha", "shas"]

SPECS: Mapping[str, Any] = {
    "constant": {"name": "constant", "value": 0.1},
    "zeros": "zeros",
    "ones": "ones",
    "normal": {"name": "normal", "mean": 0.5, "std": 0.25},
    "uniform": {"name": "uniform", "a": -1, "b": 2},
    "trunc_normal": {"name": "trunc_normal", "std": 0.02, "a": -2, "b": 2, "bounds": "sigma"},
    "bernoulli": {"name": "bernoulli", "p": 0.3},
    "poisson": {"name": "poisson", "rate": 2.5},
    "exponential": "exponential",
    "log_normal": "log_normal",
    "log_uniform": {"name": "log_uniform", "low": 0.001, "high": 0.1},
    "xavier_normal": "xavier_normal",
    "xavier_uniform": "xavier_uniform",
    "kaiming_normal": "kaiming_normal",
    "kaiming_uniform": "kaiming_uniform",
    "lecun_normal": "lecun_normal",
    "lecun_uniform": "lecun_uniform",
    "variance_scaling": "variance_scaling",
    "orthogonal": "orthogonal",
    "delta_orthogonal": "delta_orthogonal",
    "sparse": {"name": "sparse", "sparsity": 0.3},
    "normalized": "normalized",
    "eye": "eye",
    "dirac": "dirac",
    "bilinear": "bilinear",
    "icnr": {"name": "icnr", "scale": 2},
    "formula": {"name": "formula", "value": "z / (1 + i) + j"},
    "pretrained": "pretrained",
}
"""By initializer, each under its own name."""

LAYERS: Mapping[str, Callable[[], nn.Module]] = {
    "delta_orthogonal": lambda: nn.Conv2d(5, 7, 3, bias=False),
    "dirac": lambda: nn.Conv1d(6, 7, 3, bias=False),
    "bilinear": lambda: nn.ConvTranspose2d(5, 5, 4, bias=False),
    "icnr": lambda: nn.Conv2d(3, 12, 3, bias=False),
}
"""Those that need another shape than 23×19, which no world size but one divides."""


class Table(nn.Module):
    """One tensor under two names, a row of which stays zero."""

    def __init__(self) -> None:
        super().__init__()
        self.padded = nn.Embedding(10, 4, padding_idx=7)
        self.tied = nn.Linear(4, 10, bias=False)
        self.tied.weight = self.padded.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.tied(self.padded(x))
        return result


class Bench(nn.Module):
    """A layer for each initializer, each dtype, and each way in which a tensor is filled in parts."""

    def __init__(self) -> None:
        super().__init__()
        for name in SPECS:
            self.add_module(name, LAYERS.get(name, lambda: nn.Linear(19, 23, bias=False))())
        for dtype in (torch.float64, torch.bfloat16, torch.float16):
            self.add_module(f"in_{dtype}".replace("torch.", ""), nn.Linear(19, 23, dtype=dtype))
        self.large = nn.Linear(301, 457)  # three blocks of the stream
        self.gates = nn.LSTM(5, 3)
        self.packed = nn.MultiheadAttention(6, 2)
        self.table = Table()
        self.frozen = nn.Linear(3, 2).requires_grad_(False)
        self.small = nn.Linear(2, 1)  # empty on all processes but one


def policy_of(path: str) -> dict[str, Any]:
    """``path``: of what `file_of` wrote."""
    named = {**SPECS, "pretrained": {"name": "pretrained", "path": path}}
    rules: dict[str, Any] = {
        "rest": {"match": {}, "init": {"*": "xavier_normal", "*bias*": {"name": "normal", "std": 0.1}}},
        "gates": {"match": {"type": "LSTM"}, "init": {"weight_*": {"name": "orthogonal", "split": "gates"}}},
        "packed": {"match": {"name": "^packed$"}, "init": {"in_proj_weight": {"name": "xavier_uniform", "split": 3}}},
    }
    rules["table"] = {"match": {"inside": "Table"}, "init": {"weight": {"name": "normal", "std": 0.02}}}
    rules |= {name: {"match": {"name": f"^{name}$"}, "init": {"*": spec}} for name, spec in named.items()}
    return {"name": "bench", "seed": 11, "unmatched": "keep", "rules": rules}


def file_of(folder: Any) -> str:
    """A file that has the weight of the layer that takes its own from one."""
    path = str(folder / "weights.pt")
    torch.save({"pretrained.weight": torch.arange(23.0 * 19).reshape(23, 19)}, path)
    return path


UNSEEDED: Mapping[str, Any] = {
    "name": "tiny",
    "unmatched": "keep",
    "rules": {
        "all": {"match": {"type": "Linear"}, "init": {"weight": "xavier_normal", "bias": 0.25}},
        "rectified": {"match": {"activation": "relu"}, "init": {"weight": "kaiming_normal"}},
    },
}
"""For the fits, which differ in their seeds."""


class Mlp(nn.Module):
    """What tensor parallelism is made for, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 12)
        self.act = nn.ReLU()
        self.down = nn.Linear(12, 8)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.down(self.act(self.up(x))))
        return result


def sha(tensor: Tensor) -> str:
    flat = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)  # numpy() would pin the memory
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"").hexdigest()


def shas(model: nn.Module) -> dict[str, str]:
    """Of each whole parameter, gathered from all processes."""
    return {name: sha(whole(param)) for name, param in model.named_parameters()}


def whole(param: Tensor) -> Tensor:
    return param.full_tensor() if isinstance(param, DTensor) else param


# --- ways of sharding ----------------------------------------------------------------------------


def fsdp(model: nn.Module, *shape: int) -> None:
    """Every layer by itself, as dtypes of a group may not be mixed; with two axes, replicas of shards."""
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "shards")[-len(shape) :])
    for layer in model.children():
        fully_shard(layer, mesh=mesh)


def placed(*placements: Placement) -> Callable[..., None]:
    """Every parameter by itself, on the axes that it has."""

    def shard(model: nn.Module, *shape: int) -> None:
        mesh, done = init_device_mesh("cpu", shape), {}

        def partition(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
            for local, param in list(module._parameters.items()):
                if param is not None and not isinstance(param, DTensor):
                    if param not in done:
                        on = [_fitted(each, param.ndim) for each in placements]
                        done[param] = nn.Parameter(distribute_tensor(param.detach(), mesh, on), param.requires_grad)
                    module.register_parameter(local, done[param])

        distribute_module(model, mesh, partition)

    return shard


def _fitted(placement: Any, ndim: int) -> Placement:
    if isinstance(placement, Shard) and placement.dim >= ndim:
        return Shard(ndim - 1)
    result: Placement = placement
    return result


def parallel(model: nn.Module, *shape: int) -> None:
    """Linear layers by columns and rows in turn; with two axes, what that made is fully sharded over the first."""
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("data", "tensor")[-len(shape) :])
    styles = [ColwiseParallel(), RowwiseParallel()]
    linear = [name for name, layer in model.named_children() if isinstance(layer, nn.Linear)]
    inner = mesh if len(shape) == 1 else mesh["tensor"]
    parallelize_module(model, inner, {name: styles[index % 2] for index, name in enumerate(linear)})
    if len(shape) == 2:
        for layer in model.children():
            fully_shard(layer, mesh=mesh["data"])


STYLES: Mapping[str, tuple[Callable[..., None], tuple[int, ...]]] = {
    "FSDP2 on 1": (fsdp, (1,)),
    "replicated": (placed(Replicate()), (2,)),
    "FSDP2 on 2": (fsdp, (2,)),
    "rows on 2": (placed(Shard(0)), (2,)),
    "columns on 2": (placed(Shard(1)), (2,)),
    "TP on 2": (parallel, (2,)),
    "FSDP2 on 3": (fsdp, (3,)),
    "columns on 3": (placed(Shard(1)), (3,)),
    "FSDP2 on 4": (fsdp, (4,)),
    "HSDP 2×2": (fsdp, (2, 2)),
    "FSDP2 × TP": (parallel, (2, 2)),
    "rows, then columns": (placed(Shard(0), Shard(1)), (2, 2)),
    "rows, then rows": (placed(Shard(0), Shard(0)), (2, 2)),
    "replicas of columns": (placed(Replicate(), Shard(1)), (2, 2)),
}
"""How, and the mesh."""


def one_of(style: str) -> Bench:
    """The model, sharded."""
    torch.manual_seed(0)
    model = Bench()
    how, shape = STYLES[style]
    how(model, *shape)
    return model
