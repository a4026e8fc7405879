"""A private copy of the model, whose tensors are twins of the user's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from initpolicy.errors import CannotTrace
from initpolicy.facts.dataflow.undistributed import copy_undistributed
from initpolicy.facts.shards import is_sharded, whole_on_meta, whole_shape

__all__ = ["CannotTrace", "Isolated", "Kind", "isolate"]


Kind = Literal["fake", "real", "meta"]


@dataclass(slots=True, eq=False)
class Isolated:
    """The copy, and how its tensors correspond to the user's."""

    model: nn.Module
    kind: Kind
    mode: FakeTensorMode | None
    """Of a fake copy."""
    twins: dict[int, Tensor] = field(default_factory=dict)
    """By identity of the user's tensor."""
    originals: dict[int, Tensor] = field(default_factory=dict)
    """By identity of the twin."""
    paths: dict[int, str] = field(default_factory=dict)
    """By identity of a module of the copy."""


def isolate(model: nn.Module, kind: Kind = "fake") -> Isolated:
    """A deep copy in eval mode whose tensors are fake twins, clones on the CPU (real), or meta tensors.

    Sharded tensors have plain twins of the whole shape, and what distributed wrappers hang on modules is left out.

    Raises:
        CannotTrace: the model cannot be copied, or its copy shares modules with it.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True) if kind == "fake" else None
    made = Isolated(model, kind, mode)
    memo: dict[int, Any] = {}
    for tensor in _tensors_of(model):
        if id(tensor) in memo:
            continue
        twin = _real_twin(tensor) if kind == "real" else _fake_twin(tensor, mode)
        memo[id(tensor)] = twin
        made.twins[id(tensor)] = twin
        made.originals[id(twin)] = tensor
    for module in model.modules():
        for thing in module.__dict__.values():
            if isinstance(thing, torch.jit.ScriptFunction):  # immutable, and without a copy
                memo[id(thing)] = thing
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            made.model = copy_undistributed(model, memo)
    except Exception as error:
        raise CannotTrace(
            f"the model cannot be copied ({type(error).__name__}: {error}); it is never traced itself: "
            "give its modules a __deepcopy__, or state the activations"
        ) from error
    own = {id(module) for module in model.modules()}
    shared = next((path for path, module in made.model.named_modules() if id(module) in own), None)
    if shared is not None:
        raise CannotTrace(f"copying the model gives back its own module {shared!r}; it is never traced itself")
    made.model.eval()
    made.paths = {id(module): path for path, module in made.model.named_modules()}
    return made


def _tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors kept as plain attributes or in containers of them."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for held in module.__dict__.values():
            yield from _held(held, 3)


def _held(thing: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif depth and isinstance(thing, Mapping):
        for part in list(thing.values()):
            yield from _held(part, depth - 1)
    elif depth and isinstance(thing, (list, tuple)):
        for part in thing:
            yield from _held(part, depth - 1)


def _fake_twin(tensor: Tensor, mode: FakeTensorMode | None) -> Tensor:
    try:
        if (type(tensor) in _PLAIN or is_sharded(tensor)) and tensor.layout is torch.strided:
            device = torch.device("cpu") if tensor.device.type == "meta" else tensor.device
            meta = whole_on_meta(tensor)
            meta.requires_grad_(tensor.requires_grad)
            twin: Tensor = meta if mode is None else FakeTensor(mode, meta, device)
            twin._is_param = isinstance(tensor, nn.Parameter)  # what isinstance asks
            return twin
        if mode is None:
            raise TypeError("it has no meta twin")
        twin = mode.from_tensor(tensor.detach(), static_shapes=True)
    except Exception as error:
        raise CannotTrace(f"a tensor of type {type(tensor).__name__} has no fake twin ({error})") from error
    return _as(tensor, twin)


_PLAIN = (Tensor, nn.Parameter, nn.Buffer) if hasattr(nn, "Buffer") else (Tensor, nn.Parameter)


def _real_twin(tensor: Tensor) -> Tensor:
    if tensor.device.type == "meta":
        raise CannotTrace("the forward needs real numbers, and the model is on meta")
    if is_sharded(tensor) or whole_shape(tensor) != tuple(tensor.shape):
        raise CannotTrace("the forward needs real numbers, and the model is sharded: each process has but a part")
    return _as(tensor, tensor.detach().to("cpu", copy=True))


def _as(tensor: Tensor, twin: Tensor) -> Tensor:
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(twin, requires_grad=tensor.requires_grad)
    return twin
