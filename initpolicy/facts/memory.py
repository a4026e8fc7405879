"""Where tensors lie: whether elements share memory, within one tensor or between several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy.facts.shards import local_of

__all__ = ["overlapping", "overlaps_itself"]

_WORK = 10_000
"""Candidates that the search for a common byte may try; beyond, tensors count as overlapping."""


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether elements share memory, as ``expand`` makes them: an axis, by rising stride, does not step past the last.

    A few layouts that weave without touching (``as_strided``) count as overlapping, too.
    """
    if tensor.is_contiguous():
        return False
    reached = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reached:
            return tensor.numel() > 0
        reached += stride * (size - 1)
    return False


def overlapping(tensors: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of different tensors that have bytes in common; those without bytes of their own have none.

    Of a sharded tensor, those of this process's shard.
    """
    spans: defaultdict[torch.device, list[tuple[int, int, int]]] = defaultdict(list)
    local = [local_of(tensor) for tensor in tensors]
    for index, tensor in enumerate(local):
        if _has_bytes(tensor):
            start = tensor.data_ptr()
            spans[tensor.device].append((start, start + _reach(tensor), index))
    for here in spans.values():
        open_: list[_Box] = []
        for index in _crowded(here):
            box = _Box.of(index, local[index])
            open_ = [other for other in open_ if other.stop > box.start]
            yield from (_ordered(other.index, box.index) for other in open_ if other.meets(box))
            open_.append(box)


def _reach(tensor: Tensor) -> int:
    """Bytes from the first to the end of the last, of a tensor that has some."""
    if tensor.is_contiguous():
        return tensor.nbytes
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (sum((n - 1) * step for n, step in steps) + 1) * tensor.element_size()


def _crowded(spans: list[tuple[int, int, int]]) -> list[int]:
    """Of (start, stop, index) the indices of those that meet another's span, by rising start."""
    table = np.array(spans, np.uint64)
    table = table[np.lexsort((table[:, 2], table[:, 0]))]
    reached = np.maximum.accumulate(table[:, 1])
    meets = table[1:, 0] < reached[:-1]
    met = np.zeros(len(table), bool)
    met[1:] = meets
    met[:-1] |= meets  # and so the first of each run, with all up to the last that any of it reaches
    return table[met, 2].tolist()  # type: ignore[no-any-return]  # a list of integers


def _ordered(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _has_bytes(tensor: Tensor) -> bool:
    if type(tensor) is not nn.Parameter and (is_lazy(tensor) or type(tensor.detach()) is not Tensor):
        return False
    return tensor.layout is torch.strided and not tensor.is_meta and tensor.numel() > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A tensor's place in its device's memory, in bytes."""

    index: int
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    """Of one element."""

    @classmethod
    def of(cls, index: int, tensor: Tensor) -> _Box:
        size = tensor.element_size()
        strides = tuple(stride * size for stride in tensor.stride())
        return cls(index=index, start=tensor.data_ptr(), shape=tuple(tensor.shape), strides=strides, size=size)

    @property
    def stop(self) -> int:
        return self.start + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)) + self.size

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """For NumPy to look at addresses; nothing is read from them."""
        data = (self.start, True)
        return {"version": 3, "data": data, "shape": self.shape, "strides": self.strides, "typestr": f"|V{self.size}"}

    def meets(self, other: _Box) -> bool:
        """Whether both have a byte in common, not only in the spans from their first to their last."""
        return np.may_share_memory(np.asarray(self), np.asarray(other), max_work=_WORK)  # type: ignore[arg-type]  # any number of tries
