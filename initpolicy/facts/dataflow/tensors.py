"""Which value each tensor object holds now: through views, writes in place, aliases and functorch's wrappers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from initpolicy.facts.dataflow.graph import Graph, Taint, Value

__all__ = ["Box", "Tensors", "storage_of"]


@dataclass(slots=True, eq=False)
class _Write:
    """One write into a storage: where, and the value it left there."""

    serial: int
    box: Box
    value: Value


@dataclass(frozen=True, slots=True)
class Box:
    """The elements of a storage that a strided tensor covers."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Box:
        return cls(int(tensor.storage_offset()), tuple(map(int, tensor.shape)), tuple(map(int, tensor.stride())))

    @property
    def span(self) -> tuple[int, int]:
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return self.offset, self.offset + max(last, 0) + 1

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def dense(self) -> bool:
        low, high = self.span
        return high - low == self.numel

    def covers(self, other: Box) -> bool:
        """Surely every element of the other (may be False where it does)."""
        if self.dense:
            low, high = self.span
            return low <= other.span[0] and other.span[1] <= high
        return self == other

    def misses(self, other: Box) -> bool:
        """Surely no element of the other: spans apart, or slices of one grid side by side."""
        low, high = self.span
        if other.span[1] <= low or high <= other.span[0]:
            return True
        first, second = (self, other) if self.offset <= other.offset else (other, self)
        if len(first.shape) != len(second.shape):
            return False
        axes = [
            (step if size > 1 else step_too, size, size_too)
            for size, size_too, step, step_too in zip(
                first.shape, second.shape, first.stride, second.stride, strict=True
            )
            if size > 1 or size_too > 1
            if step == step_too or min(size, size_too) == 1
        ]
        if len(axes) < sum(size > 1 or size_too > 1 for size, size_too in zip(first.shape, second.shape, strict=True)):
            return False
        return _apart(sorted(axes, reverse=True), second.offset - first.offset)


def _apart(axes: list[tuple[int, int, int]], gap: int) -> bool:
    """Whether boxes (step, size, other's size) in one grid, the second ``gap`` elements on, lie side by side."""
    outer = None
    for index, (step, size, size_too) in enumerate(axes):
        if step <= 0:
            return False
        count, gap = divmod(gap, step)
        inside = axes[index + 1 :]
        reach = sum((n - 1) * s for s, n, _ in inside)
        reach_too = gap + sum((n - 1) * s for s, _, n in inside)
        fits = outer is None or count + size_too <= outer // step
        if count >= size and fits and reach < step and reach_too < step:
            return True
        outer = step
    return False


def storage_of(tensor: Tensor) -> int | None:
    """Which memory the tensor lies in; None for one that has none: sparse, or a wrapper of others."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError, AttributeError, TypeError):
        return None


class Tensors:
    """Identity of tensor objects -> values. Holds every tensor it has seen, so that no identity is reused."""

    def __init__(self, graph: Graph, alias: Callable[[Value, Value | None, Tensor], Value]) -> None:
        self.graph = graph
        self._alias = alias
        self._current: dict[int, tuple[Value, int]] = {}
        self._kept: list[Tensor] = []
        self._by_storage: dict[int, Tensor] = {}
        self._writes: dict[int, list[_Write]] = {}
        self._serial = 0
        self.made: list[weakref.ref[Tensor]] = []
        """Every tensor that an operation gave."""
        self.strange: Callable[[Tensor], Value] = self._constant

    def release(self) -> None:
        """Let go of every tensor."""
        self._kept.clear()
        self._by_storage.clear()
        self.strange = self._constant

    def known(self, tensor: Tensor) -> bool:
        return id(tensor) in self._current

    def bind(self, tensor: Tensor, value: Value) -> None:
        """The tensor object holds this value from now on."""
        if id(tensor) not in self._current:
            self._kept.append(tensor)
            if value.node is not None:
                self.made.append(weakref.ref(tensor))
        self._current[id(tensor)] = (value, self._serial)
        storage = storage_of(tensor)
        if storage is not None:
            self._by_storage.setdefault(storage, tensor)
        inner = _unwrapped(tensor)
        if inner is not None:
            self.bind(inner, value)

    def write(self, tensor: Tensor, value: Value) -> None:
        """The tensor was written in place: all that shares its storage sees it."""
        self._serial += 1
        self.bind(tensor, value)
        inner = tensor
        while (deeper := _unwrapped(inner)) is not None:
            inner = deeper
        storage = storage_of(inner)
        if storage is not None:
            self._writes.setdefault(storage, []).append(_Write(self._serial, Box.of(inner), value))

    def value(self, tensor: Tensor) -> Value:
        """The value the tensor holds now."""
        found = self._current.get(id(tensor))
        if found is None:
            return self._unknown(tensor)
        value, serial = found
        if self._writes and serial < self._serial:
            value = self._refresh(tensor, value, serial)
        return value

    def _refresh(self, tensor: Tensor, value: Value, serial: int) -> Value:
        storage = storage_of(tensor)
        writes = self._writes.get(storage) if storage is not None else None
        if writes:
            box = Box.of(tensor)
            for write in writes:
                if write.serial > serial and not write.box.misses(box):
                    value = self._alias(write.value, None if write.box.covers(box) else value, tensor)
        self._current[id(tensor)] = (value, self._serial)
        return value

    def _unknown(self, tensor: Tensor) -> Value:
        inner = _unwrapped(tensor)
        if inner is not None:
            value = self.value(inner)
        else:
            storage = storage_of(tensor)
            other = self._by_storage.get(storage) if storage is not None else None
            value = self.strange(tensor) if other is None else self._alias(self.value(other), None, tensor)
        self.bind(tensor, value)
        return value

    def _constant(self, tensor: Tensor) -> Value:
        return self.graph.source("const", Taint.CONST, tuple(tensor.shape), tensor.dtype)


def _unwrapped(tensor: Tensor) -> Tensor | None:
    """What functorch wrapped (vmap, grad), if it did."""
    functorch: Any = torch._C._functorch
    if functorch.is_functorch_wrapped_tensor(tensor):
        inner: Tensor = functorch.get_unwrapped(tensor)
        return inner
    return None
