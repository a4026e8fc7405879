"""One step of a walk, the state it carries, and the two things a step can find: an end, or ways on."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Node, Value
from initpolicy.records import Activation, Hit

__all__ = ["IDENTITY", "Found", "State", "Walker", "label"]

IDENTITY = Activation(name="identity")
_MOST_STEPS = 3000
_SLACK = 1
"""How many merges past the best hit a walk still looks, behind gates and global pools too."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a walk is and how it came there; lower ranks are walked first."""

    value: Value
    path: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    demoted: bool = False
    """It passed a global pool (forward) or a gate (backward)."""
    merges: int = 0
    depth: int = 0

    @property
    def level(self) -> tuple[bool, int]:
        return self.demoted, self.merges

    def through(self, value: Value, step: str = "", *flags: str, merges: int = 0, demoted: bool = False) -> State:
        path = self.path if not step or self.path[-1:] == (step,) else (*self.path, step)
        return replace(
            self, value=value, path=path, flags=self.flags | set(flags) if flags else self.flags,
            merges=self.merges + merges, demoted=self.demoted or demoted, depth=self.depth + 1,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A hit, with what ranks it."""

    hit: Hit
    demoted: bool
    merges: int
    depth: int
    node: Node | None = None

    @property
    def level(self) -> tuple[bool, int]:
        return self.demoted, self.merges

    @property
    def rank(self) -> tuple[bool, int, bool, int]:
        """At the best level an activation comes before a contraction, then the nearest."""
        return (*self.level, self.hit.activation.name == "identity", self.depth)


@dataclass(slots=True)
class Walker:
    """Best first from several states, until what is left is worse than what was found."""

    found: list[Found] = field(default_factory=list)
    _heap: list[tuple[bool, int, int, int, State]] = field(default_factory=list)
    _seen: dict[int, tuple[bool, int]] = field(default_factory=dict)
    _count: int = 0

    def push(self, states: Iterable[State]) -> None:
        for state in states:
            before = self._seen.get(state.value.index)
            if before is not None and before <= state.level:
                continue
            self._seen[state.value.index] = state.level
            self._count += 1
            heapq.heappush(self._heap, (state.demoted, state.merges, state.depth, self._count, state))

    def pop(self) -> State | None:
        while self._heap and self._count <= _MOST_STEPS:
            state = heapq.heappop(self._heap)[-1]
            if not self.found or state.merges <= min(found.level for found in self.found)[1] + _SLACK:
                return state
        return None

    def end(self, state: State, activation: Activation, step: str, *flags: str, node: Node | None = None) -> None:
        if node is not None and state.path[-1:] == (step,):
            step = node.op  # the activation of a module that has a step of its own already
        path = state.path if not step or state.path[-1:] == (step,) else (*state.path, step)
        hit = Hit(activation=activation, path=path, flags=_ordered(state.flags | set(flags)))
        self.found.append(Found(hit, state.demoted, state.merges, state.depth, node))


_FLAGS = ("norm", "add", "mul", "cat", "pool", "gated", "attention logit")


def _ordered(flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(flag for flag in _FLAGS if flag in set(flags))


def label(node: Node) -> str:
    """What a step is called: the leaf module that does it, else the operation; nothing for views and casts."""
    if node.call.leaf and node.call.path:
        return node.call.path
    return "" if node.op in ops.SHAPE or node.op in ops.CAST else node.op
