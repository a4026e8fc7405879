"""Buffers of torch's own normalizations of weights, whose values follow from the weight.

spectral_norm, old and new    the vectors u and v of the power iteration
orthogonal                    ``base``, which setting the weight sets
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _Orthogonal, _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from initpolicy.meta.lost import Lost
from initpolicy.streams import normal, stream_for

__all__ = ["first_values", "missing_bases", "settle"]

_STEPS = 15
"""Steps of the power iteration from random vectors, as torch takes them."""


def first_values(one: Lost, seed: int) -> Tensor | None:
    """What the buffer holds until its weight is set; None where it is none of these."""
    if isinstance(one.owner, _Orthogonal) and one.local == "base":
        return torch.zeros(one.tensor.shape, dtype=one.tensor.dtype, device="cpu")
    if isinstance(one.owner, _SpectralNorm) and one.local in ("_u", "_v"):
        return _direction(one, seed, one.owner.eps)
    for hook in _hooks(one.owner):
        if one.local in (f"{hook.name}_u", f"{hook.name}_v"):
            return _direction(one, seed, hook.eps)
    return None


def missing_bases(model: nn.Module) -> list[tuple[_Orthogonal, Tensor]]:
    """Orthogonal parametrizations that were built on meta without their buffer ``base``, and something in its place."""
    return [
        (each, torch.zeros((*original.shape[:-2], *[max(original.shape[-2:])] * 2)).to(original))
        for module in model.modules()
        if isinstance(module, ParametrizationList) and (original := module._parameters.get("original")) is not None
        for each in module
        if isinstance(each, _Orthogonal) and each._buffers.get("base", original) is None
    ]


def settle(model: nn.Module, lost: Sequence[Lost]) -> None:
    """Let every power iteration that began anew find its vectors, now that the weight is there."""
    began = {id(one.owner) for one in lost}
    for module in model.modules():
        if isinstance(module, ParametrizationList):
            _settle_listed(module, [each for each in module if isinstance(each, _SpectralNorm) and id(each) in began])
        if id(module) in began:
            for hook in _hooks(module):
                for _ in range(_rounds(hook.n_power_iterations)):
                    hook.compute_weight(module, do_power_iteration=True)
                setattr(module, hook.name, hook.compute_weight(module, do_power_iteration=False))


def _settle_listed(listed: ParametrizationList, began: list[_SpectralNorm]) -> None:
    """Evaluations of the weight in which just these are in training, and so take steps."""
    modes = [(module, module.training) for module in listed.modules()]
    try:
        for module, _ in modes:
            module.training = module in began
        for _ in range(max((_rounds(each.n_power_iterations) for each in began), default=0)):
            listed()
    finally:
        for module, mode in modes:
            module.training = mode


def _rounds(steps: int) -> int:
    return -(-_STEPS // steps)


def _direction(one: Lost, seed: int, eps: float) -> Tensor:
    drawn = torch.from_numpy(normal(stream_for(seed, one.name), 0, one.tensor.numel()))
    return nn.functional.normalize(drawn, dim=0, eps=eps).reshape(one.tensor.shape)


def _hooks(module: nn.Module) -> Iterator[SpectralNorm]:
    return (hook for hook in module._forward_pre_hooks.values() if isinstance(hook, SpectralNorm))
