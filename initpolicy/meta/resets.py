"""Values of buffers that a module, or one above it, makes again when it is asked to reset itself."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from initpolicy.meta.lost import Lost

__all__ = ["METHODS", "reset", "resets_of", "seed_all", "value_in"]

METHODS = ("reset_parameters", "_reset_parameters", "init_non_persistent_buffers")
"""Names of methods that make a module's buffers again; the last is timm's."""


def resets_of(module: nn.Module) -> tuple[str, ...]:
    """The methods that can be called to reset the module: with no argument."""
    return tuple(name for name in METHODS if callable(method := getattr(module, name, None)) and _free(method))


def _free(method: Callable[..., object]) -> bool:
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):
        return False
    return True


def reset(module: nn.Module, lost: Mapping[int, Sequence[Lost]], key: int) -> dict[int, Tensor]:
    """What the module's reset leaves in the tensors lost by it and below, by identity; on the CPU.

    A deep copy is reset, twice, from different contents: what comes out the same was determined, the rest is left
    out, such as a buffer that follows from a parameter. The copy's parameters take no memory and no writes, so that
    none is drawn. To be called where random states are put back.

    Args:
        lost: by identity of the owner.
        key: seeds whatever is drawn, to the same effect in both.

    Raises:
        Exception: whatever the reset raises.
    """
    here = [(path, one) for path, each in module.named_modules() for one in lost.get(id(each), ())]
    twins = [_after_reset(module, content, key) for content in (0, 1)]
    found: dict[int, Tensor] = {}
    for path, one in here:
        made = [value_in(twin.get_submodule(path), one) for twin in twins]
        if made[0] is not None and made[1] is not None and _equal(made[0], made[1]):
            found[id(one.tensor)] = made[0]
    return found


def value_in(twin: nn.Module, one: Lost) -> Tensor | None:
    """The tensor that the owner's twin holds in its place, if it is one that can stand there."""
    value = twin._buffers.get(one.local, vars(twin).get(one.local))
    if not isinstance(value, Tensor) or value.is_meta or value.shape != one.tensor.shape:
        return None
    return value.detach()


def seed_all(key: int) -> None:
    """The CPU's generators: torch's, Python's and NumPy's."""
    torch.default_generator.manual_seed(key)
    random.seed(key)
    np.random.seed(key % 2**32)


def _after_reset(module: nn.Module, content: int, key: int) -> nn.Module:
    twins = {id(tensor): _twin(tensor, content) for tensor in _tensors_of(module)}
    copied: nn.Module = copy.deepcopy(module, dict[int, Any](twins))
    spared = [twin for twin in twins.values() if isinstance(twin, nn.Parameter)]
    seed_all(key)
    with torch.device("cpu"), _Unwritten(spared):
        for name in resets_of(copied):
            getattr(copied, name)()
    return copied


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    for each in module.modules():
        for held in (each._parameters, each._buffers, vars(each)):
            yield from (value for value in held.values() if isinstance(value, Tensor))


def _twin(tensor: Tensor, content: int) -> Tensor:
    """Of a parameter one element, repeated; a buffer's values are those it has, or all the same."""
    if isinstance(tensor, nn.Parameter):
        value = torch.full((), content * 2.0**-10, device="cpu").to(tensor.dtype)
        return nn.Parameter(value.expand(tensor.shape), requires_grad=tensor.requires_grad)
    if not tensor.is_meta:
        return tensor.detach().clone()
    return torch.full(tensor.shape, content, dtype=tensor.dtype, device="cpu")


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | ((one != one) & (other != other))).all())


class _Unwritten(TorchFunctionMode):
    """Whatever would change these parameters in place does nothing."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__()
        self._memory = {param.untyped_storage()._cdata for param in params}

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        target = args[0] if args else given.get("tensor")
        name = getattr(func, "__name__", "")
        writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__") and name != "requires_grad_")
        if writes and isinstance(target, Tensor) and target.untyped_storage()._cdata in self._memory:
            return target
        return func(*args, **given)
