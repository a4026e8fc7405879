"""What one forward pass was: operations, the values between them, and the module calls around them.

A value is one version of a tensor: an operation in place gives the tensor a new value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import torch

__all__ = ["Call", "Graph", "Node", "Ref", "Taint", "Value", "refs"]


class Taint(IntEnum):
    """What a value depends on; the greater one wins where values mix."""

    CONST = 0
    PARAM = 1
    """Parameters alone, whatever their product (LoRA's B·A)."""
    GATHERED = 2
    """Parameters picked by integer data: still a weight."""
    DERIVED = 3
    """What a layer made of constants or parameters (a learned query's projection)."""
    DATA = 4

    @property
    def dataish(self) -> bool:
        return self >= Taint.DERIVED


@dataclass(slots=True, eq=False)
class Call:
    """One call of a module; the root's comes first."""

    index: int
    path: str | None
    """None: a module that is not in the tree."""
    kind: type
    parent: Call | None
    start: int
    """Number of nodes recorded when it began, and when it ended."""
    stop: int = -1
    leaf: bool = True
    inputs: frozenset[int] = frozenset()
    """Indices of the values it was given, and of those it gave back."""
    outputs: tuple[Value, ...] = ()
    norm: bool | None = None
    """Whether it is a norm written by hand; None: not asked yet."""

    def chain(self) -> Iterator[Call]:
        call: Call | None = self
        while call is not None:
            yield call
            call = call.parent


@dataclass(slots=True, eq=False)
class Value:
    """One version of one tensor."""

    index: int
    node: Node | None
    """What made it; None: it was there before."""
    taint: Taint
    shape: tuple[int, ...]
    dtype: torch.dtype
    source: str = ""
    """Of a value no node made: input, param, buffer, const, foreign."""
    output: bool = False
    """The model gives it back."""
    users: list[Node] = field(default_factory=list)

    @property
    def floating(self) -> bool:
        return self.dtype.is_floating_point or self.dtype.is_complex

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(slots=True, eq=False)
class Node:
    """One operation: its arguments as given, each tensor replaced by a reference to its value."""

    index: int
    op: str
    """Name without namespace, underscores of in-place forms and r- and i- prefixes (``add``)."""
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]
    call: Call
    outputs: list[Value] = field(default_factory=list)
    swapped: bool = False
    """``1 - x`` and the like: the arguments come in the other order."""
    inside: str = ""
    """The function that it was seen through."""
    roles: Any = None

    @property
    def taint(self) -> Taint:
        return max((value.taint for value in self.outputs), default=Taint.CONST)

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument as it was given, by position or by name."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if 0 <= position < len(self.args) else default

    def value(self, position: int, name: str) -> Value | None:
        found = self.argument(position, name)
        return found.value if isinstance(found, Ref) else None

    @property
    def wide(self) -> bool:
        """A clamp out of reach of a signal of unit variance: it guards against overflow and bends nothing."""
        if self.op not in ("clamp", "clamp_min", "clamp_max"):
            return False
        given = (*self.args[1:], *(part for name, part in self.kwargs.items() if name in ("min", "max")))
        return all(part is None or (isinstance(part, (int, float)) and abs(part) > _REACH) for part in given)

    @property
    def result(self) -> Value | None:
        """The first output that is a number with a fraction: the one that carries the signal."""
        return next((value for value in self.outputs if value.floating), None)


_REACH = 6.0


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for a tensor among a node's arguments."""

    value: Value


def refs(structure: Any) -> Iterator[Value]:
    """Every value referred to in nested arguments, in order."""
    if isinstance(structure, Ref):
        yield structure.value
    elif isinstance(structure, (tuple, list)):
        for part in structure:
            yield from refs(part)
    elif isinstance(structure, dict):
        for part in structure.values():
            yield from refs(part)


@dataclass(slots=True, eq=False)
class Graph:
    """All that was recorded."""

    nodes: list[Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    params: dict[int, Value] = field(default_factory=dict)
    """By identity of the twin: its value before the pass."""
    originals: dict[int, torch.Tensor] = field(default_factory=dict)
    """By index of a source value: the user's own tensor, for replay; read only."""
    executed: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    """Paths of modules that another thread ran."""
    foreign: bool = False
    """A tensor came from outside of what was seen."""
    opaque: bool = False
    """The model gave back an object that cannot be looked into."""
    escaped: bool = False
    """Data left torch (NumPy, lists)."""
    size: int = 0

    def source(self, kind: str, taint: Taint, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        value = Value(self.size, None, taint, shape, dtype, kind)
        self.size += 1
        return value

    def result_of(self, node: Node, taint: Taint, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        value = Value(self.size, node, taint, shape, dtype)
        self.size += 1
        node.outputs.append(value)
        return value

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        for value in dict.fromkeys(node.inputs):
            value.users.append(node)
        return node
