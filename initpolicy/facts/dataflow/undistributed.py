"""What torch.distributed has put around, into and onto the modules of a model, left out of a copy of it.

DistributedDataParallel, FullyShardedDataParallel  a module around a module: the copy has one that only passes calls on
fully_shard, replicate                             a class of their own, state, hooks and methods on the module
parallelize_module, distribute_module              hooks that move inputs and outputs between processes
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from initpolicy.facts.classes import undistributed_class
from initpolicy.facts.wrappers import wrapped_name

__all__ = ["copy_undistributed"]

_HOMES = ("torch.distributed", "deepspeed")
"""Whose hooks are left out."""
_AROUND = ("torch.nn.parallel.distributed", "torch.distributed.fsdp")
"""Where the wrappers live whose own copy would ask for a process group."""


def copy_undistributed(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy, with ``memo`` as `copy.deepcopy` has it, that asks nothing of other processes when it is called."""
    later: list[tuple[Any, Any]] = []
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for key, held in vars(module).items():
            if key in _states():
                memo[id(held)] = type(held)()
            elif key.endswith("_hooks") and isinstance(held, dict) and any(map(_is_torchs, held.values())):
                memo[id(held)] = type(held)()
                later.append((held, memo[id(held)]))
        cls = undistributed_class(type(module))
        name = wrapped_name(module)
        if name is not None and any(_in(base.__module__, home) for base in type(module).__mro__ for home in _AROUND):
            memo[id(module)] = _Through(name)
            later.append((module._modules[name], memo[id(module)]))
        elif cls is not type(module):
            memo[id(module)] = object.__new__(cls)
            later.append((module, memo[id(module)]))
    for original, twin in later:
        if isinstance(twin, _Through):
            twin.add_module(twin.inner, copy.deepcopy(original, memo))
        elif isinstance(twin, nn.Module):
            state = {key: held for key, held in vars(original).items() if not _is_torchs(held)}
            twin.__dict__.update({key: copy.deepcopy(held, memo) for key, held in state.items()})
        else:
            kept = {key: hook for key, hook in original.items() if not _is_torchs(hook)}
            twin.update({key: copy.deepcopy(hook, memo) for key, hook in kept.items()})
    return copy.deepcopy(model, memo)


class _Through(nn.Module):
    """Passes calls, and questions for attributes, on to its one child."""

    def __init__(self, inner: str) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._modules[self.inner](*args, **kwargs)  # type: ignore[misc]  # not None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__(self.inner), name)


def _states() -> Iterator[str]:
    """The names under which composable functions (fully_shard, replicate) keep their state on a module."""
    contract = sys.modules.get("torch.distributed._composable.contract")
    for name in ("STATE_KEY", "REGISTRY_KEY"):
        if (key := getattr(contract, name, None)) is not None:
            yield key


def _is_torchs(hook: Any) -> bool:
    """Whether a hook, or a method set on a module itself, is code of theirs, whatever it is bound to."""
    while True:
        if isinstance(hook, functools.partial):
            hook = hook.func
        elif callable(inner := getattr(hook, "hook", None)):  # torch's own holder of a state-dict hook
            hook = inner
        elif hasattr(hook, "__func__"):
            hook = hook.__func__
        else:
            break
    home = getattr(hook, "__globals__", {}).get("__name__")  # functools.wraps copies __module__, not these
    return isinstance(home, str) and any(_in(home, package) for package in _HOMES)


def _in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")
