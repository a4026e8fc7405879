"""What the outputs of an operation depend on."""

from __future__ import annotations

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Node, Taint, Value
from initpolicy.facts.dataflow.roles import roles_of

__all__ = ["taint_of"]


def taint_of(node: Node) -> Taint:
    """The greatest taint of what goes in, but integers only pick, and a layer over constants makes a signal."""
    op = node.op
    if op in ops.CONSTANT or op in ops.DATA_SHAPE_ONLY:
        return Taint.CONST
    if op == "copy" and len(node.inputs) > 1:
        return node.inputs[1].taint
    if op in ops.EMBEDDINGS:
        return _embedded(node)
    if op in ops.SLOTTED:
        return _weighted(node)
    if op in ops.GATHERS:
        return _gathered(node)
    if op == "mul" and any(is_zero(value) for value in node.inputs):
        return Taint.CONST  # a recurrent net's first state
    taint = max((value.taint for value in node.inputs), default=Taint.CONST)
    if op in ops.MATMULS and taint and roles_of(node).kind == "contraction":
        return max(taint, Taint.DERIVED)
    return taint


def is_zero(value: Value) -> bool:
    """Made of zeros, whatever the shape."""
    while value.node is not None:
        node = value.node
        if node.op in ("zeros", "zeros_like", "new_zeros"):
            return True
        if node.op == "mul" and value.taint is Taint.CONST:
            return any(is_zero(part) for part in node.inputs)
        if node.op not in ops.SHAPE and node.op not in ops.CAST:
            return False
        value = node.inputs[0]
    return False


def _gathered(node: Node) -> Taint:
    base, *rest = node.inputs or (None,)
    if base is None:
        return Taint.CONST
    taint = base.taint
    for value in rest:
        if value.floating:
            taint = max(taint, value.taint)
        elif value.taint is Taint.DATA:
            taint = max(taint, Taint.GATHERED if taint in (Taint.PARAM, Taint.GATHERED) else Taint.DATA)
    return taint


def _embedded(node: Node) -> Taint:
    indices = [value for value in node.inputs if not value.floating]
    table = max((value.taint for value in node.inputs if value.floating), default=Taint.CONST)
    return max([table, *(value.taint for value in indices)])


def _weighted(node: Node) -> Taint:
    """linear and convolutions: constants and parameters through a layer are a signal of their own."""
    names, data, _, _ = ops.SLOTTED[node.op]
    given: list[Value] = [v for i in data if (v := node.value(i, names[i])) is not None]
    taint = max((value.taint for value in node.inputs), default=Taint.CONST)
    if any(value.taint.dataish for value in given) or taint < Taint.PARAM:
        return taint
    return max(taint, Taint.DERIVED)
