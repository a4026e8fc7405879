"""Norms that are written by hand: as modules, and as arithmetic with statistics of the same source."""

from __future__ import annotations

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Call, Graph, Node, Value
from initpolicy.facts.dataflow.roles import roles_of

__all__ = ["Norms"]

_ROOTS = frozenset(("rsqrt", "sqrt", "div", "reciprocal", "pow", "std", "norm", "vector_norm", "linalg_vector_norm"))
_ALLOWED = frozenset(
    ("rsqrt", "sqrt", "pow", "square", "reciprocal", "abs", "clamp", "clamp_min", "maximum", "max", "float_power")
)
_STEPS = 64


class Norms:
    """Which calls are norms, and which operands are statistics."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._statistic: dict[tuple[int, int], bool] = {}

    def is_norm(self, call: Call) -> bool:
        """A module that divides what it is given by a statistic of it, with no layer and no activation inside."""
        if call.norm is None:
            call.norm = call.stop >= 0 and self._divides(call)
        return call.norm

    def _divides(self, call: Call) -> bool:
        nodes = self._graph.nodes[call.start : call.stop]
        if not nodes or len(nodes) > _STEPS or call.path is None:
            return False
        reduced = rooted = False
        for node in nodes:
            kind = roles_of(node).kind
            if not node.taint.dataish:
                continue
            if kind in ("contraction", "pairing", "attention", "recurrent", "activation", "loss"):
                return False
            if node.op in ops.PRIMITIVES and node.op not in _ALLOWED:
                return False
            reduced |= kind in ("reduction", "norm")
            rooted |= node.op in _ROOTS or kind == "norm"
        outputs = [value for value in call.outputs if value.floating]
        given = [v for node in nodes for v in node.inputs if v.index in call.inputs and v.floating and v.taint.dataish]
        return (
            reduced
            and rooted
            and len(outputs) == 1
            and bool(given)
            and len(set(given)) == 1
            and outputs[0].numel == given[0].numel
            and outputs[0] is not given[0]
        )

    def outermost(self, node: Node, value: Value) -> Call | None:
        """The norm's call that this node is in and that the value enters."""
        found = None
        for call in node.call.chain():
            if value.index in call.inputs and self.is_norm(call):
                found = call
        return found

    def producer(self, value: Value) -> Call | None:
        """The norm's call that gave the value out."""
        found = None
        if value.node is not None:
            for call in value.node.call.chain():
                if value in call.outputs and self.is_norm(call):
                    found = call
        return found

    def is_statistic(self, operand: Value, of: Value) -> bool:
        """Every way to the operand is a reduction, elementwise otherwise, of what the other comes from."""
        key = (operand.index, of.index)
        found = self._statistic.get(key)
        if found is None:
            reduced, plain = self._roots(operand)
            found = self._statistic[key] = bool(reduced) and not plain and reduced <= set().union(*self._roots(of))
        return found

    def _roots(self, value: Value) -> tuple[set[int], set[int]]:
        """Where a value comes from through elementwise operations and casts: through a reduction too, and without."""
        roots: tuple[set[int], set[int]] = set(), set()
        seen: set[tuple[int, bool]] = set()
        wait = [(value, False)]
        while wait and len(seen) < _STEPS:
            here, reduced = wait.pop()
            if (here.index, reduced) in seen or not here.taint.dataish:
                continue
            seen.add((here.index, reduced))
            node = here.node
            kind = "" if node is None else roles_of(node).kind
            if node is None or not (
                kind == "reduction" or (node.op in ops.ELEMENTWISE and kind != "activation") or node.op in ops.SHAPE
            ):
                roots[0 if reduced else 1].add(here.index)
                continue
            wait.extend((v, reduced or kind == "reduction") for v in node.inputs if v.floating)
        return roots
