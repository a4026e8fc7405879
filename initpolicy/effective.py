"""The weight in use: read and set through whatever stands between it and what is stored.

torch.nn.utils.parametrizations   ``module.parametrizations[name]``, set by its ``right_inverse``
torch.nn.utils.weight_norm        w = g v/|v|, stored as ``name_g`` and ``name_v``
torch.nn.utils.spectral_norm      w = v/σ(v), stored as ``name_orig``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["effective", "remembered", "set_effective", "stored"]


def effective(owner: nn.Module, local: str) -> Tensor:
    """The weight as the next evaluation would use it; the parameter itself where nothing stands between.

    Buffers stay as they are: spectral normalization takes a step of its power iteration when it is read in training.
    """
    plain = _plain(owner, local)
    if plain is not None:
        return plain
    hook = _hook(owner, local)
    if hook is not None:
        return _computed(hook, owner)
    listed = _listed(owner, local)
    with _evaluating(listed):
        found: Tensor = listed()
        return found


def set_effective(owner: nn.Module, local: str, values: Tensor) -> None:
    """Store what makes ``values`` the weight in use, as far as the parametrization can.

    In place: parameters, and the buffers in which an orthogonal parametrization keeps a part of the weight, stay the
    same objects in the same storage, which ``setattr`` would not do.

    Raises:
        ValueError: if there is no way back, or it gives something of another shape.
        Exception: whatever a ``right_inverse`` raises.
    """
    hook = _hook(owner, local)
    with torch.no_grad():
        if hook is None:
            listed = _listed(owner, local)
            with _evaluating(listed):
                _invert(listed, values.clone())
        elif _is_spectral(hook):
            owner.get_parameter(f"{local}_orig").copy_(values)
        else:
            owner.get_parameter(f"{local}_v").copy_(values)
            owner.get_parameter(f"{local}_g").copy_(torch.norm_except_dim(values, 2, hook.dim))
        if hook is not None:
            setattr(owner, local, _computed(hook, owner))


def stored(owner: nn.Module, local: str) -> tuple[Tensor, ...]:
    """The parameters that the weight in use is made of."""
    plain = _plain(owner, local)
    if plain is not None:
        return (plain,)
    if _hook(owner, local) is None:
        return tuple(_originals(_listed(owner, local)))
    held = (owner._parameters.get(f"{local}_{end}") for end in ("orig", "g", "v"))
    return tuple(param for param in held if param is not None)


def remembered(owner: nn.Module, local: str) -> Callable[[], None]:
    """What puts everything that a parametrized weight is made of back as it is now: same objects, same bytes."""
    holders: list[MutableMapping[str, Any]]
    if _hook(owner, local) is None:
        holders = [held for module in _listed(owner, local).modules() for held in (module._parameters, module._buffers)]
        before = [(held, name, tensor) for held in holders for name, tensor in held.items()]
    else:
        ends = ("", "_orig", "_g", "_v")
        before = [
            (held, f"{local}{end}", held[f"{local}{end}"])
            for held in (owner._parameters, vars(owner))
            for end in ends
            if f"{local}{end}" in held
        ]
    saved = [(*entry, None if entry[2] is None else entry[2].detach().clone()) for entry in before]

    def put_back() -> None:
        for held, name, tensor, values in saved:
            if values is not None:
                tensor.detach().copy_(values)
            held[name] = tensor

    return put_back


def _plain(owner: nn.Module, local: str) -> Tensor | None:
    held = owner._parameters
    return (held if isinstance(held, dict) else dict(held.items())).get(local)  # a scripted module's are no dictionary


# --- parametrizations ----------------------------------------------------------------------------


def _listed(owner: nn.Module, local: str) -> ParametrizationList:
    listed: ParametrizationList = owner.parametrizations[local]  # type: ignore[index,assignment]  # a ModuleDict
    return listed


def _originals(listed: ParametrizationList) -> Iterator[Tensor]:
    """What is stored, in the order in which ``right_inverse`` gives it."""
    names = ["original"] if listed.is_tensor else [f"original{index}" for index in range(listed.ntensors)]
    for name in names:
        yield getattr(listed, name)


def _invert(listed: ParametrizationList, values: Tensor) -> None:
    made: Any = values
    buffers = [(module, name, old) for module in listed.modules() for name, old in module._buffers.items()]
    for module in reversed(list(listed)):
        back: Any = getattr(module, "right_inverse", None)
        if back is None:
            raise ValueError(f"{type(module).__name__} has no right_inverse")
        made = back(made)
    given = (made,) if listed.is_tensor else tuple(made)
    for original, new in zip(_originals(listed), given, strict=True):
        if new.shape != original.shape:
            raise ValueError(f"right_inverse gives {tuple(new.shape)} where {tuple(original.shape)} is stored")
        original.copy_(new)
    for module, name, old in buffers:
        new = module._buffers[name]
        if old is not None and new is not None and new is not old and (new.shape, new.dtype) == (old.shape, old.dtype):
            module._buffers[name] = old.copy_(new)


@contextmanager
def _evaluating(listed: ParametrizationList) -> Iterator[None]:
    """The parametrizations of one weight in evaluation mode."""
    modules = list(listed.modules())
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode


# --- hooks of the old style ----------------------------------------------------------------------


def _hook(owner: nn.Module, local: str) -> Any:
    """The old-style normalization of this name, if it has one."""
    for hook in owner._forward_pre_hooks.values():
        if getattr(hook, "name", None) == local and hasattr(hook, "compute_weight"):
            return hook
    return None


def _is_spectral(hook: Any) -> bool:
    return hasattr(hook, "n_power_iterations")


def _computed(hook: Any, owner: nn.Module) -> Tensor:
    power_iteration = {"do_power_iteration": False} if _is_spectral(hook) else {}
    computed: Tensor = hook.compute_weight(owner, **power_iteration)
    return computed
