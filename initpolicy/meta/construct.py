"""A module's twin, built by its class from the arguments that the module still shows."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from initpolicy.facts.classes import plain_class
from initpolicy.meta.resets import seed_all
from initpolicy.render.words import listed
from initpolicy.skip import skip_default_init

__all__ = ["NotBuilt", "construct"]

_PLACE = ("device", "dtype")
"""Arguments that say where a module lies, not what it holds."""
_PLAIN = (bool, int, float, str, type(None))


class NotBuilt(Exception):
    """Why there is no twin."""


def construct(module: nn.Module, key: int) -> nn.Module:
    """The twin, on the CPU: every argument of the constructor is the module's attribute of that name.

    That an attribute is what the argument was is checked by its result: the twin shows the same numbers and words, and
    has buffers of the same shapes. To be called where random states are put back.

    Args:
        key: seeds whatever the constructor draws.

    Raises:
        NotBuilt: if an argument is not to be had, or the twin is no twin.
    """
    cls = plain_class(module)
    arguments = _arguments(cls, module)
    seed_all(key)
    try:
        with torch.device("cpu"), skip_default_init():
            twin: nn.Module = cls(**copy.deepcopy(arguments))
    except Exception as error:  # a user's constructor may raise anything
        raise NotBuilt(f"{cls.__name__}({', '.join(arguments)}) raises {type(error).__name__}: {error}") from error
    other = [name for name, value in _shown(module).items() if _shown(twin).get(name, twin) != value]
    if other:
        raise NotBuilt(f"a {cls.__name__} of the same {', '.join(arguments)} has another {listed(other, most=3)}")
    return twin


def _arguments(cls: type[nn.Module], module: nn.Module) -> dict[str, Any]:
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    found: dict[str, Any] = {}
    missing = []
    for parameter in parameters:
        name, held = parameter.name, vars(module)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            missing.append(str(parameter).partition(":")[0])
        elif name in _PLACE:
            if parameter.default is parameter.empty:
                found[name] = torch.device("cpu") if name == "device" else None
        elif name in held and not isinstance(held[name], Tensor):
            found[name] = held[name]
        else:
            missing.append(name)
    if missing:
        several = "arguments" if len(missing) > 1 else "argument"
        raise NotBuilt(f"{cls.__name__} does not show the {several} {listed(missing, most=5)} that it was built with")
    return found


def _shown(module: nn.Module) -> dict[str, object]:
    """What can be compared: numbers and words, tuples and lists of them, and the shapes of buffers."""
    plain = {name: value for name, value in vars(module).items() if name != "training" and _comparable(value)}
    return {**plain, **{f"{name}.shape": tuple(b.shape) for name, b in module._buffers.items() if b is not None}}


def _comparable(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, (tuple, list)) and all(isinstance(v, _PLAIN) for v in value))
