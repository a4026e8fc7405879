"""The tensors that a module computes with, and what each is made of. Nothing is computed that could change the model.

torch.nn.utils.parametrize    ``module.parametrizations[name]`` over ``original`` or ``original0``, ``original1`` …
torch.nn.utils.weight_norm    a hook that makes ``name`` of ``name_g`` and ``name_v``      (old style)
torch.nn.utils.spectral_norm  a hook that makes ``name`` of ``name_orig``                  (old style)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrizations import _Orthogonal, _SpectralNorm, _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from initpolicy.facts.shards import is_sharded, whole_on_meta, whole_shape

__all__ = ["Held", "children_of", "held_by"]

LIKE_ORIGINAL = (_Orthogonal, _SpectralNorm)
"""Parametrizations of one original whose result has its shape and dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One tensor of a module, by the name it is used under, and the parameters that it is made of."""

    local: str
    stored: tuple[Tensor, ...]
    """A plain parameter is made of itself."""
    shape: tuple[int, ...]
    """Of the tensor in use; ``()`` where it has none yet."""
    dtype: torch.dtype
    through: tuple[str, ...] = ()
    """Class names of what stands between, in order of application."""
    note: str = ""
    """What could not be found out."""


def held_by(module: nn.Module) -> Iterator[Held]:
    """The module's own tensors: first those that are made of parameters, then the parameters that make nothing else."""
    for local, parametrizations in _lists(module).items():
        made = _parametrized(local, parametrizations)
        if made is not None:
            yield made
    hidden: set[str] = set()
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            names = [f"{hook.name}_g", f"{hook.name}_v"]
        elif isinstance(hook, SpectralNorm):
            names = [f"{hook.name}_orig"]
        else:
            continue
        stored = [param for name in names if (param := module._parameters.get(name)) is not None]
        if len(stored) == len(names):
            hidden.update(names)
            yield _like(stored[-1], hook.name, tuple(stored), (type(hook).__name__,))
    for local, param in module._parameters.items():
        if param is not None and local not in hidden:
            yield _like(param, local, (param,))


def children_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path from here, child); of the parametrizations those with parameters of their own, without their containers."""
    lists = _lists(module)
    for name, child in module._modules.items():
        if child is None:
            continue
        if name != "parametrizations" or not lists:
            yield name, child
            continue
        for local, parametrizations in lists.items():
            for index, inner in parametrizations._modules.items():
                if inner is not None and next(inner.parameters(), None) is not None:
                    yield f"parametrizations.{local}.{index}", inner


def _lists(module: nn.Module) -> dict[str, ParametrizationList]:
    """The parametrizations that torch put on the module, by the tensor they make."""
    held = module._modules
    container = (held if isinstance(held, dict) else dict(held.items())).get("parametrizations")  # a scripted module's
    if not isinstance(container, nn.ModuleDict):
        return {}
    return {name: child for name, child in container._modules.items() if isinstance(child, ParametrizationList)}


def _like(tensor: Tensor, local: str, stored: tuple[Tensor, ...], through: tuple[str, ...] = ()) -> Held:
    shape = () if is_lazy(tensor) else whole_shape(tensor)
    return Held(local=local, stored=stored, shape=shape, dtype=tensor.dtype, through=through)


def _parametrized(local: str, parametrizations: ParametrizationList) -> Held | None:
    """None where what is parametrized is a buffer."""
    stored = tuple(param for param in parametrizations._parameters.values() if param is not None)
    if not stored:
        return None
    inner = [module for module in parametrizations._modules.values() if module is not None]
    through = tuple(type(module).__name__ for module in inner)
    taken = _like(stored[-1], local, stored, through)
    if type(inner[0]) in (_WeightNorm, *LIKE_ORIGINAL) and all(type(module) in LIKE_ORIGINAL for module in inner[1:]):
        return taken
    try:
        shape, dtype = _tried(parametrizations)
    except Exception as error:  # a user's own module may raise anything
        note = f"{', '.join(through)} could not be tried ({type(error).__name__}: {error}); shape taken as stored"
        return replace(taken, note=note)
    return replace(taken, shape=shape, dtype=dtype)


def _tried(parametrizations: ParametrizationList) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape and dtype of what comes out, from a copy that is free to change itself, in evaluation mode.

    The copy computes on the meta device if it can, else on the parameters themselves, with buffers of its own.
    """
    params = {id(param): param for param in parametrizations.parameters()}
    buffers = {id(buffer): buffer for buffer in parametrizations.buffers()}
    devices = {param.device for param in params.values() if param.device.type == "cuda"}
    with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
        try:
            return _outcome(parametrizations, {key: _on_meta(each) for key, each in {**params, **buffers}.items()})
        except Exception:  # meta tensors have no values to look at
            if any(map(is_sharded, params.values())):
                raise  # nor have shards, without asking the other processes
            return _outcome(parametrizations, params)


def _on_meta(tensor: Tensor) -> Tensor:
    twin = whole_on_meta(tensor) if is_sharded(tensor) else torch.empty_like(tensor, device="meta")
    return nn.Parameter(twin, requires_grad=False) if isinstance(tensor, nn.Parameter) else twin


def _outcome(parametrizations: ParametrizationList, twins: Mapping[int, Tensor]) -> tuple[tuple[int, ...], torch.dtype]:
    """What a copy gives that has these tensors in place of those with the ids."""
    memo: dict[int, object] = dict(twins)
    result = copy.deepcopy(parametrizations, memo).eval()()
    return tuple(result.shape), result.dtype
