"""The names that a module's class answers to, and the class itself where torch has put another in its place."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import torch
from torch import nn

from initpolicy.records import ClassNames

__all__ = ["ClassCache", "plain_class", "undistributed_class"]

DERIVED = (
    ("torch.nn.utils.parametrize", "Parametrized"),
    ("torch.distributed", "FSDP"),
    ("torch.distributed", "Replicate"),
    ("torch.distributed", "DDP"),
)
"""(where, prefix) of classes that torch makes on the spot from a module's own, its last base, to hang methods on it:
register_parametrization, fully_shard, replicate (of two kinds)."""

_MANGLED = re.compile(r"\.___torch_mangle_\d+")


def plain_class(module: nn.Module) -> type:
    """The class that the module's author gave it: that of a parametrized, sharded or scripted module is another."""
    cls = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return _scripted(module) or cls
    while _is_derived(cls):
        cls = cls.__bases__[-1]
    return cls


def undistributed_class(cls: type) -> type:
    """The class under what torch.distributed made of it; a parametrized one stays so."""
    while _is_derived(cls) and not cls.__name__.startswith("Parametrized"):
        cls = cls.__bases__[-1]
    return cls


def _is_derived(cls: type) -> bool:
    base = cls.__bases__[-1].__name__
    return cls.__name__.endswith(base) and any(
        f"{cls.__module__}.".startswith(f"{where}.") and cls.__name__ == prefix + base for where, prefix in DERIVED
    )


def _scripted(module: torch.jit.ScriptModule) -> type | None:
    """The class that was compiled, where it is imported in this process."""
    path = _script_path(module)
    package, _, name = path.rpartition(".")
    found = _attributes_of(package or "__main__").get(name)
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def _script_path(module: torch.jit.ScriptModule) -> str:
    """``torch.nn.modules.linear.Linear`` for ``__torch__.torch.nn.modules.linear.___torch_mangle_0.Linear``."""
    return _MANGLED.sub("", str(module._c._type().qualified_name())).removeprefix("__torch__.")


class ClassCache:
    """One `ClassNames` for each class of a model: made once, and the same object wherever the class occurs."""

    def __init__(self) -> None:
        self._known: dict[tuple[type, str], ClassNames] = {}

    def of(self, module: nn.Module) -> ClassNames:
        """The names of the module's plain class and its bases, without ``object``."""
        cls = plain_class(module)
        path = _script_path(module) if isinstance(module, torch.jit.ScriptModule) and cls is type(module) else ""
        key = (cls, path)
        if key not in self._known:
            own = ((path.rpartition(".")[2], path),) if path else ()
            self._known[key] = ClassNames(mro=(*own, *(_names(base) for base in cls.__mro__ if base is not object)))
        return self._known[key]


def _names(cls: type) -> tuple[str, ...]:
    """Simple name, defining path, and where else in the packages above it the class is found; nothing is imported."""
    return tuple(dict.fromkeys((cls.__name__, f"{cls.__module__}.{cls.__qualname__}", *_aliases(cls))))


def _aliases(cls: type) -> Iterator[str]:
    packages = cls.__module__.split(".")
    for depth in range(1, len(packages)):
        package = ".".join(packages[:depth])
        if _attributes_of(package).get(cls.__name__) is cls:
            yield f"{package}.{cls.__name__}"


def _attributes_of(package: str) -> dict[str, object]:
    """What an imported module holds already: a lazy one is not asked to load more."""
    return getattr(sys.modules.get(package), "__dict__", {})
