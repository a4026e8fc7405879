"""Models that can be built on the meta device, and what tests of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from applying_parts import bits
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from initpolicy import ApplyError, InitPolicyError, materialize

__all__ = ["MODELS", "OR_ELSE", "REMEDY", "Rotary", "on_meta", "refused", "tensors_of"]

OR_ELSE = (
    "buffers={{{0!r}: tensor, …}}, or buffers=f with f(name, owner, buffer) giving a tensor; or build the model under "
    "initpolicy.skip_default_init() in place of the meta device"
)
REMEDY = (
    "give what the modules cannot rebuild: buffers='construct' to build each owner anew on the CPU, where it shows the "
    f"arguments it was built with; {OR_ELSE}"
)


class Rotary(nn.Module):
    """A buffer that no reset makes, whose constructor's arguments are all there to be seen."""

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.dim, self.base = dim, base
        self.register_buffer("inv_freq", base ** -(torch.arange(0, dim, 2).float() / dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("inv_freq").sum()


def tied() -> nn.Module:
    model = nn.ModuleDict({"embed": nn.Embedding(10, 4, padding_idx=2), "head": nn.Linear(4, 10, bias=False)})
    model["head"].weight = model["embed"].weight
    model["layer"] = model["again"] = nn.Linear(4, 4)
    return model


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        self.wide = nn.Parameter(torch.empty(2, 3, 4, 4).to(memory_format=torch.channels_last))
        self.inner = nn.ParameterList([torch.zeros(2, 5), torch.zeros(7, dtype=torch.float64)])


def old_weight_norm(layer: nn.Module) -> nn.Module:
    made: nn.Module = nn.utils.weight_norm(layer)
    return made


MODELS: dict[str, Callable[[], Any]] = {
    "norms": lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.InstanceNorm2d(3, affine=True, track_running_stats=True), nn.ConvTranspose2d(3, 2, 3)
    ),
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "attention": lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2),
    "tied": tied,
    "bare": Bare,
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU()),
    "old weight norm": lambda: nn.Sequential(old_weight_norm(nn.Linear(4, 3)), nn.ReLU()),
}


def on_meta(make: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return make()


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _state(model: nn.Module) -> dict[str, tuple[int, type, str, bytes]]:
    return {
        name: (id(tensor), type(tensor), str(tensor.device), b"" if tensor.is_meta else bits(tensor))
        for name, tensor in tensors_of(model).items()
    }


def refused(model: nn.Module, asked: Any, error: type[InitPolicyError] = ApplyError, **options: Any) -> str:
    """The message, once it is certain that every tensor is the object it was, where it was, as it was."""
    before, state = _state(model), torch.get_rng_state()
    with pytest.raises(error) as caught:
        materialize(model, asked, **options)
    assert type(caught.value) is error
    assert _state(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    return str(caught.value)
