"""Sharded tensors (DTensor): the memory that this process has of one, and which elements of the whole lie there.

All of it is read off the tensor's placements and this process's place in its mesh: no process is asked for anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "Runs",
    "gathered_for_forward",
    "held",
    "is_sharded",
    "local_of",
    "run_on",
    "shard_text",
    "whole_on_meta",
    "whole_shape",
]

Runs = tuple[tuple[int, int], ...]
"""(start, stop) of stretches along one axis of the whole tensor, in the order in which they lie in memory."""

_HOMES = ("torch.distributed.tensor", "torch.distributed._tensor")
"""Where torch keeps DTensor, the second before 2.5; until one is imported no tensor is one."""


def is_sharded(tensor: Tensor) -> bool:
    """Whether the tensor is a DTensor, replicated ones included."""
    if type(tensor) is Tensor or type(tensor) is nn.Parameter:
        return False
    return any(isinstance(tensor, cls) for home in _HOMES if (cls := getattr(sys.modules.get(home), "DTensor", None)))


def local_of(tensor: Tensor) -> Tensor:
    """The memory that this process has of the tensor; any other tensor is its own."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        local: Tensor = tensor.to_local().detach()  # type: ignore[attr-defined]  # a DTensor's
    return local


def whole_shape(tensor: Tensor) -> tuple[int, ...]:
    """Of the tensor, whatever part of it is here: a DTensor's, and what DeepSpeed (ZeRO-3) notes on an empty one."""
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def whole_on_meta(tensor: Tensor) -> Tensor:
    """A plain tensor without values, of the whole tensor's shape, strides and dtype."""
    shape = whole_shape(tensor)
    if shape != tuple(tensor.shape):
        return torch.empty(shape, dtype=tensor.dtype, device="meta")
    return torch.empty_strided(shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def held(tensor: Tensor) -> tuple[Runs, ...] | None:
    """For each axis the stretches that this process holds of a DTensor; None where it is not in the mesh.

    ``Shard(d)`` over n processes cuts axis d into n chunks of ceil(size/n), the last ones shorter or empty, one mesh
    axis after the other. ``_StridedShard(d, split_factor=s)`` first cuts it into s, then each into n, and takes one of
    each; ``fully_shard`` over tensor parallelism writes so what it cut the other way round, last mesh axis first.
    Where sizes are uneven these two differ, and it is the second that made the parameter.

    Raises:
        ValueError: for placements that hold no elements of the whole (``Partial``), or that do not explain the memory.
    """
    mesh: Any = tensor.device_mesh  # type: ignore[attr-defined]  # a DTensor's
    placements: Sequence[Any] = tensor.placements  # type: ignore[attr-defined]
    place = mesh.get_coordinate()
    if place is None:
        return None
    cuts = list(_in_order(tensor, placements))
    size = dict(enumerate(mesh.shape))
    for order in _readings(cuts, placements, size):
        runs: list[Runs] = [((0, length),) if length else () for length in tensor.shape]
        for at, split in order:
            axis = placements[at].dim
            runs[axis] = _cut(runs[axis], size[at], place[at], split)
        if tuple(map(_length, runs)) == tuple(local_of(tensor).shape):
            return tuple(runs)
    raise ValueError(
        f"holds {tuple(local_of(tensor).shape)} of {tuple(tensor.shape)} here, which its placements "
        f"{', '.join(map(str, placements))} do not explain"
    )


def run_on(runs: Runs, row: int) -> int | None:
    """Where in memory, counted along the axis, the whole tensor's row lies; None if it does not."""
    offset = 0
    for start, stop in runs:
        if start <= row < stop:
            return offset + row - start
        offset += stop - start
    return None


def shard_text(tensor: Tensor) -> str:
    """What this process holds of a DTensor (``rank 1 holds [32:64, :]``); nothing where that is all of it."""
    runs = held(tensor)
    if runs is None or not all(map(_length, runs)):
        return f"rank {_rank()} holds none of it" if tensor.numel() else ""
    if all(each == ((0, size),) for each, size in zip(runs, tensor.shape, strict=True)):
        return ""
    axes = (_sliced(each, size) for each, size in zip(runs, tensor.shape, strict=True))
    return f"rank {_rank()} holds [{', '.join(axes)}]"


def gathered_for_forward(model: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that fully_shard has put in the place of the sharded ones for a forward pass, and will throw away."""
    for module in model.modules():
        state: Any = getattr(module, "_get_fsdp_state", None)  # of the class that fully_shard gives the module
        if state is None:
            continue
        state = state()
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for param in (param for group in groups if group is not None for param in group.fsdp_params):
            if param.sharded_state.name != "SHARDED":
                info = param._module_info
                yield info.module._parameters[info.param_name]


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _sliced(runs: Runs, size: int) -> str:
    return ":" if runs == ((0, size),) else " + ".join(f"{start}:{stop}" for start, stop in runs)


# --- how an axis is cut --------------------------------------------------------------------------


def _in_order(tensor: Tensor, placements: Sequence[Any]) -> Iterator[int]:
    """The axes of the mesh that cut the tensor, in the order in which they do."""
    for placement in placements:
        known = placement.is_replicate() or (hasattr(placement, "dim") and not placement.is_partial())
        if not known:
            raise ValueError(f"has the placement {placement}, under which no process holds its elements")
    order = getattr(getattr(tensor, "_spec", None), "shard_order", None)
    if order:
        yield from (at for entry in order for at in entry.mesh_dims)
    else:
        yield from (at for at, placement in enumerate(placements) if hasattr(placement, "dim"))


def _readings(cuts: list[int], placements: Sequence[Any], size: dict[int, int]) -> Iterator[list[tuple[int, int]]]:
    """(mesh axis, into how many it is cut before) in order; as fully_shard cuts, then as torch's own words have it."""
    split = {at: int(getattr(placements[at], "split_factor", 1)) for at in cuts}
    last: list[int] = []
    for at in reversed(cuts):
        after = [other for other in last if placements[other].dim == placements[at].dim]
        several = 1
        for other in after:
            several *= size[other]
        if split[at] > 1 and several != split[at]:
            break
        last = [*last, at] if split[at] > 1 else [at, *last]
    else:
        yield [(at, 1) for at in last]
    yield [(at, split[at]) for at in cuts]


def _cut(runs: Runs, parts: int, part: int, split: int) -> Runs:
    """One of ``parts`` chunks; with ``split``, one of each of so many chunks."""
    taken: list[tuple[int, int]] = []
    for index in range(split):
        taken += _chunk(_chunk(runs, split, index), parts, part)
    merged: list[tuple[int, int]] = []
    for start, stop in taken:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)


def _chunk(runs: Runs, parts: int, part: int) -> Runs:
    """The elements from part·c to (part+1)·c of the stretches one after the other, with c = ceil(length/parts)."""
    length = -(-_length(runs) // parts)
    first, last = part * length, (part + 1) * length
    taken, offset = [], 0
    for start, stop in runs:
        low, high = max(start, start + first - offset), min(stop, start + last - offset)
        if low < high:
            taken.append((low, high))
        offset += stop - start
    return tuple(taken)


def _length(runs: Runs) -> int:
    return sum(stop - start for start, stop in runs)
