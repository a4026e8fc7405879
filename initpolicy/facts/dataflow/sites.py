"""Names of parameters: what a parametrized one is called in use, and who its siblings are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from initpolicy.records import Signal

__all__ = ["effective_names", "sibling_of"]

_ORIGINAL = re.compile(r"^(?P<owner>(?:.*\.)?)parametrizations\.(?P<name>[^.]+)\.original\d*$")


def effective_names(model: nn.Module) -> dict[str, str]:
    """Path of each parameter -> path of the tensor in use (``conv.weight`` for ``conv.weight_v``)."""
    hooked: dict[str, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        stem = f"{path}." if path else ""
        for hook in getattr(module, "_forward_pre_hooks", {}).values():
            if isinstance(hook, (WeightNorm, SpectralNorm)):
                for suffix in ("_g", "_v", "_orig"):
                    hooked[f"{stem}{hook.name}{suffix}"] = f"{stem}{hook.name}"
    names = {}
    for path, _ in model.named_parameters(remove_duplicate=False):
        match = _ORIGINAL.match(path)
        names[path] = f"{match['owner']}{match['name']}" if match else hooked.get(path, path)
    return names


def sibling_of(site: str, signals: Mapping[str, Signal], model: nn.Module) -> str | None:
    """The same parameter of an executed sibling in the same ModuleList (or ModuleDict)."""
    parts = site.split(".")
    for index in range(len(parts) - 1, 0, -1):
        try:
            holder = model.get_submodule(".".join(parts[: index - 1])) if index > 1 else model
        except AttributeError:
            continue
        if not isinstance(holder, (nn.ModuleList, nn.ModuleDict)):
            continue
        for name, _ in holder.named_children():
            other = ".".join((*parts[: index - 1], name, *parts[index:]))
            if other != site and other in signals and signals[other].following:
                return other
    return None
