"""Plan + model on the meta device -> memory and values in one pass: like `apply.write`, for tensors without memory.

check       what would stay on meta, what has no values     no tensor touched yet
exchange    memory for each tensor, inside the same object  taken back if anything fails from here on
write       as for any model
settle      what follows from the weights, and a last look
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from initpolicy.apply import write
from initpolicy.effective import effective
from initpolicy.errors import ApplyError, Problem
from initpolicy.facts.memory import overlaps_itself
from initpolicy.meta.buffers import Buffers, values_of_buffers
from initpolicy.meta.lost import Lost, lost_tensors
from initpolicy.meta.normalized import missing_bases, settle
from initpolicy.meta.storage import Exchange, memory_for
from initpolicy.plan import Plan
from initpolicy.records import Measure, ModelFacts
from initpolicy.writing.prepare import Problems
from initpolicy.writing.targets import Target, targets_of
from initpolicy.writing.usable import unusable
from initpolicy.writing.watch import Watch

__all__ = ["Memory", "has_meta", "lend", "realize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Where meta tensors get memory, and what their buffers are made by."""

    device: torch.device
    dtype: torch.dtype | None = None
    """Of floating-point parameters and buffers; None: each keeps its own."""
    buffers: Buffers = None

    def facts(self, model: ModelFacts) -> ModelFacts:
        """The model as it will be: what is on meta now is on the device, in the dtype."""
        return replace(
            model,
            params=tuple(
                replace(param, device=str(self.device), dtype=self._dtype(param.dtype))
                if param.device == "meta"
                else param
                for param in model.params
            ),
        )

    def _dtype(self, name: str) -> str:
        floating = getattr(torch, name).is_floating_point
        return str(self.dtype).removeprefix("torch.") if self.dtype is not None and floating else name


def has_meta(model: nn.Module) -> bool:
    """Whether a parameter or a buffer has no memory."""
    return any(tensor.is_meta for held in (model.parameters(), model.buffers()) for tensor in held)


def realize(
    plan: Plan, model: nn.Module, seed: int, memory: Memory, watch: Watch | None = None
) -> Mapping[str, Measure]:
    """Give every meta tensor memory and values. All others are treated as `write` treats them.

    Raises:
        ApplyError: naming all that would stay without values; the model is what it was.
    """
    targets, lost = targets_of(plan, model), lost_tensors(model)
    values, problems = values_of_buffers(model, lost, memory.buffers, seed)
    _refuse(plan.policy.name, [*_left(targets), *_shared(targets, lost), *problems])
    computed = [t for t in targets if t.written and isinstance(vars(t.owner).pop(t.local, None), Tensor)]
    exchange, bases = Exchange(), []
    try:
        _refuse(plan.policy.name, list(_exchanged(exchange, targets, lost, values, memory)))
        bases = missing_bases(model)
        for orthogonal, base in bases:
            orthogonal.base = base
        measured = write(plan, model, seed, lambda: _settle(model, lost), watch)
        _refuse(plan.policy.name, list(_unsound(model, measured)))
    except BaseException:
        exchange.undo()
        for orthogonal, _ in bases:
            orthogonal._buffers["base"] = None
        for target in computed:
            setattr(target.owner, target.local, effective(target.owner, target.local))
        raise
    return measured


def lend(model: nn.Module, memory: Memory, source: str) -> None:
    """Give every meta tensor memory, for a checkpoint to fill: parameters are NaN until then, buffers as for `realize`.

    Raises:
        ApplyError: naming what cannot have it; the model is what it was.
    """
    lost = lost_tensors(model)
    values, problems = values_of_buffers(model, lost, memory.buffers, 0)
    _refuse(source, problems)
    exchange = Exchange()
    for name, param in model.named_parameters():
        if param.is_meta:
            blank = memory_for(param, memory.device, memory.dtype, blank=True)
            why = exchange.give(param, blank.fill_(math.nan) if blank.is_floating_point() else blank)
            problems += [(name, why)] if why else []
    problems += _filled(exchange, lost, values, memory)
    if problems:
        exchange.undo()
    _refuse(source, problems)


def _settle(model: nn.Module, lost: Sequence[Lost]) -> None:
    settle(model, lost)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # one piece of memory, where a GPU wants that


def _refuse(source: str, problems: Problems) -> None:
    if problems:
        raise ApplyError(*(Problem(source, place, why) for place, why in dict.fromkeys(problems)))


def _left(targets: list[Target]) -> Iterator[tuple[str, str]]:
    """What cannot be written or stay, but for those that are about to get memory."""
    return unusable([t for t in targets if not (t.written and any(tensor.is_meta for tensor in t.stored))])


def _shared(targets: list[Target], lost: Sequence[Lost]) -> Iterator[tuple[str, str]]:
    """Meta tensors whose elements are views of one memory, and would not be if each got memory of its own."""
    held = [(t.name, tensor) for t in targets if t.written for tensor in t.stored]
    held += [(f"the {one.kind} {one.name}", one.tensor) for one in lost]
    together: defaultdict[int, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, tensor in held:
        if type(tensor.detach()) is Tensor and tensor.is_meta and tensor.numel():
            together[tensor.untyped_storage()._cdata].append((name, tensor))
            if overlaps_itself(tensor):
                yield name, "has elements that share memory, as expand() makes them; give it a clone() first"
    for group in together.values():
        for index, (name, tensor) in enumerate(group):
            for other, before in group[:index]:
                if _span(tensor)[0] < _span(before)[1] and _span(before)[0] < _span(tensor)[1]:
                    yield name, f"shares memory with {other}; make them one parameter, or give each its own by clone()"
                    break


def _span(tensor: Tensor) -> tuple[int, int]:
    """The bytes of its storage from the first that it holds to the last, and one."""
    first, size = int(tensor.storage_offset()), tensor.element_size()
    last = first + sum((n - 1) * step for n, step in zip(tuple(tensor.shape), tensor.stride(), strict=True))
    return first * size, (last + 1) * size


def _exchanged(
    exchange: Exchange, targets: list[Target], lost: Sequence[Lost], values: Mapping[int, Tensor], memory: Memory
) -> Iterator[tuple[str, str]]:
    """(name, why it could not get memory)."""
    for target in targets:
        for tensor in target.stored:
            if tensor.is_meta:
                why = exchange.give(tensor, memory_for(tensor, memory.device, memory.dtype, blank=bool(target.through)))
                if why:
                    yield target.name, why
    yield from _filled(exchange, lost, values, memory)


def _filled(
    exchange: Exchange, lost: Sequence[Lost], values: Mapping[int, Tensor], memory: Memory
) -> Iterator[tuple[str, str]]:
    for one in lost:
        fresh = memory_for(one.tensor, memory.device, memory.dtype)
        with torch.no_grad():
            fresh.copy_(values[id(one.tensor)])
        why = exchange.give(one.tensor, fresh)
        if why:
            yield one.name, why


def _unsound(model: nn.Module, measured: Mapping[str, Measure]) -> Iterator[tuple[str, str]]:
    """What has no memory or no numbers even now."""
    for name, found in measured.items():
        if not found.finite:
            yield name, "holds values that are not finite"
    for held in (model.named_parameters(), model.named_buffers()):
        for name, tensor in held:
            if tensor.is_meta:
                yield name, "is on the meta device still"
