"""The weight in use: read and set through whatever stands between it and what is stored.

torch.nn.utils.parametrizations   ``module.parametrizations[name]``, set by its ``right_inverse``
torch.nn.utils.weight_norm        w = g v/|v|, stored as ``name_g`` and ``name_v``
torch.nn.utils.spectral_norm      w = v/σ(v), stored as ``name_orig``
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["effective", "set_effective", "stored"]


def effective(owner: nn.Module, local: str) -> Tensor:
    """The weight as the next evaluation would use it; the parameter itself where nothing stands between.

    Buffers stay as they are: spectral normalization takes a step of its power iteration when it is read in training.
    """
    stored = owner._parameters.get(local)
    if stored is not None:
        return stored
    hook = _hook(owner, local)
    if hook is not None:
        computed: Tensor = _computed(hook, owner)
        return computed
    with _evaluating(owner, local):
        found: Tensor = getattr(owner, local)
        return found


def set_effective(owner: nn.Module, local: str, values: Tensor) -> None:
    """Store what makes ``values`` the weight in use, as far as the parametrization can. In place."""
    hook = _hook(owner, local)
    if hook is None:
        with _evaluating(owner, local), torch.no_grad():
            setattr(owner, local, values)
        return
    if hasattr(hook, "n_power_iterations"):
        owner.get_parameter(f"{local}_orig").copy_(values)
    else:
        owner.get_parameter(f"{local}_v").copy_(values)
        owner.get_parameter(f"{local}_g").copy_(torch.norm_except_dim(values, 2, hook.dim))
    setattr(owner, local, _computed(hook, owner))


def stored(owner: nn.Module, local: str) -> tuple[nn.Parameter, ...]:
    """The parameters that the weight in use is made of."""
    if parametrize.is_parametrized(owner, local):
        return tuple(owner.parametrizations[local].parameters())  # type: ignore[index,union-attr]  # a ModuleDict
    names = [local] if _hook(owner, local) is None else [f"{local}_{end}" for end in ("orig", "g", "v")]
    return tuple(param for name in names if (param := owner._parameters.get(name)) is not None)


def _hook(owner: nn.Module, local: str) -> Any:
    """The old-style normalization of this name, if it has one."""
    for hook in owner._forward_pre_hooks.values():
        if getattr(hook, "name", None) == local and hasattr(hook, "compute_weight"):
            return hook
    return None


def _computed(hook: Any, owner: nn.Module) -> Any:
    power_iteration = {"do_power_iteration": False} if hasattr(hook, "n_power_iterations") else {}
    return hook.compute_weight(owner, **power_iteration)


@contextmanager
def _evaluating(owner: nn.Module, local: str) -> Iterator[None]:
    """The parametrizations of one weight in evaluation mode."""
    modules = list(owner.parametrizations[local].modules()) if parametrize.is_parametrized(owner, local) else []  # type: ignore[index]  # a ModuleDict
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode
