"""Why a parameter cannot be written, or cannot stay as it is. Reads, and touches nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy.facts.memory import overlapping, overlaps_itself
from initpolicy.facts.shards import gathered_for_forward, held, is_sharded, local_of
from initpolicy.facts.survey import DRAWN
from initpolicy.skip import was_skipped
from initpolicy.writing.prepare import said
from initpolicy.writing.targets import Target

__all__ = ["all_finite", "blank_buffers", "gathered", "shared", "unusable"]


def unusable(targets: list[Target]) -> Iterator[tuple[str, str]]:
    """(parameter, reason) for what cannot be written, and for what no rule writes and no one could train from."""
    for target in targets:
        why = _why_not_written(target) if target.written else _why_not_left(target)
        if why:
            yield target.name, why


def _why_not_written(target: Target) -> str:
    """Why the parameter cannot be written, or nothing."""
    for whole in target.stored:
        if whole.is_meta:
            return "is on the meta device; initpolicy.materialize gives it memory and values in one pass"
        plain = type(whole) is nn.Parameter
        if not plain and is_sharded(whole):
            if target.through:
                remedy = "apply before it is sharded, or exclude it"
                return f"is sharded under {target.through}, which needs the whole; {remedy}"
            if why := _why_not_held(whole):
                return why
        tensor = whole if plain else local_of(whole)
        if not plain and type(tensor.detach()) is not Tensor:
            kind, remedy = type(tensor.detach()).__name__, "apply before it is sharded or converted, or exclude it"
            return f"is a {kind}, whose elements cannot be written one by one; {remedy}"
        if hasattr(tensor, "ds_shape") and tuple(tensor.shape) != tuple(tensor.ds_shape):
            remedy = "apply before, or inside initpolicy.integrations.distributed.gathered(model)"
            return f"is partitioned by DeepSpeed (ZeRO-3) and empty here; {remedy}"
        if tensor.layout is not torch.strided:
            return f"is stored as {tensor.layout}, whose elements cannot be written one by one; exclude it"
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            return "was made under torch.inference_mode, where alone it can be written; build the model outside"
        if overlaps_itself(tensor):
            return "has elements that share memory, as expand() makes them; give it a clone() first"
    try:
        shape = tuple(target.tensor().shape if target.through else target.stored[0].shape)
    except Exception as error:  # a user's parametrization may raise anything
        return f"cannot be read through {target.through} ({said(error)}); exclude it"
    if shape != target.assignment.shape:
        return f"has shape {shape} now, but the plan was made for {target.assignment.shape}; plan again"
    return ""


def _why_not_held(tensor: Tensor) -> str:
    try:
        held(tensor)
    except ValueError as error:
        return f"is sharded and {error}; apply before it is sharded, or exclude it"
    return ""


def _why_not_left(target: Target) -> str:
    """Why the parameter cannot stay as it is, or nothing."""
    status, spared = target.assignment.status, target.assignment.facts.untouchable
    remedy = "set frozen: init in the policy" if status == "frozen" else "add a rule for it"
    for tensor in target.stored:
        if is_lazy(tensor):
            return ""
        if tensor.is_meta:
            return f"is on the meta device and would stay there: {status}; {remedy}, or give it values first"
        if was_skipped(tensor) and not all_finite(tensor):
            return f"has no values, as skip_default_init() left them out: {status}; {remedy}"
        if not spared and not all_finite(tensor):
            return (
                f"holds values that are not finite and would keep them: {status}; {remedy}, "
                "or, if they are meant, set its attribute _no_reinit to True"
            )
    return ""


def all_finite(tensor: Tensor) -> bool:
    """Whether all are finite, as far as that can be told; of a sharded tensor, all that are here."""
    tensor = local_of(tensor)
    plain = type(tensor) is nn.Parameter or type(tensor.detach()) is Tensor
    if not plain or tensor.layout is not torch.strided or tensor.dtype not in DRAWN:
        return True
    return tensor.numel() == 0 or bool(torch.isfinite(tensor).all())


def blank_buffers(targets: list[Target], model: nn.Module) -> Iterator[tuple[str, str]]:
    """(buffer, reason) where a constructor computed it from values that it was kept from drawing."""
    if any(was_skipped(tensor) for target in targets for tensor in target.stored):
        for name, buffer in model.named_buffers():
            if not buffer.is_meta and bool(torch.isnan(buffer).any()):
                why = "holds NaN: it was computed from a parameter without values; build the model without"
                yield f"the buffer {name}", f"{why} skip_default_init()"


def gathered(targets: list[Target], model: nn.Module) -> Iterator[tuple[str, str]]:
    """(parameter, reason) where what would be written is a copy that fully_shard will throw away."""
    copies = {id(param) for param in gathered_for_forward(model)}
    if not copies:
        return
    for target in targets:
        if target.written and any(id(tensor) in copies for tensor in target.stored):
            why = "is gathered for a forward pass, and what is written now would be lost; call reshard() on the module"
            yield target.name, f"{why} that fully_shard was given"


def shared(targets: list[Target], model: nn.Module) -> Iterator[tuple[str, str]]:
    """(parameter, reason) where a write would change another parameter or a buffer too."""
    held = [(target.name, tensor, target.written) for target in targets for tensor in target.stored]
    held += [(f"the buffer {name}", tensor, False) for name, tensor in model.named_buffers()]
    for pair in sorted(overlapping([tensor for _, tensor, _ in held])):
        one, other = sorted((held[index] for index in pair), key=lambda entry: not entry[2])  # a written one first
        if one[2] and one[0] != other[0]:
            yield one[0], f"shares memory with {other[0]}; make them one parameter, or give each its own by clone()"
