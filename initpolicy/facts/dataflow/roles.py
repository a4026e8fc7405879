"""What an operation is to its arguments: which carry the signal, which are weights, and what happens to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Node, Ref, Taint, Value, refs

__all__ = ["Kind", "Roles", "roles_of"]

Kind = Literal[
    "open", "sum", "product", "contraction", "pairing", "attention", "recurrent", "activation", "norm", "pool",
    "reduction", "join", "scatter", "loss", "maximum", "constant",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Roles:
    """``pairing`` is a matrix product of two signals; ``sum`` and ``product`` are elementwise ones."""

    kind: Kind
    data: tuple[Value, ...] = ()
    weights: tuple[Value, ...] = ()
    biases: tuple[Value, ...] = ()
    name: str = ""
    """Of the activation."""
    whole: bool = False
    """A pool or reduction over a whole axis of positions."""


def roles_of(node: Node) -> Roles:
    """Found once a node."""
    if node.roles is None:
        node.roles = _roles(node)
    found: Roles = node.roles
    return found


def _roles(node: Node) -> Roles:
    op = node.op
    if op in ops.CONSTANT or op in ops.DATA_SHAPE_ONLY:
        return Roles("constant")
    if op in ops.SLOTTED:
        return _slotted(node)
    if op in ops.MATMULS:
        return _product(node)
    if op in ops.EMBEDDINGS:
        tables = tuple(value for value in node.inputs if value.floating)
        return Roles("contraction", tuple(v for v in node.inputs if not v.floating), tables[:1])
    if op in ops.ATTENTION:
        slots = [node.value(i, name) for i, name in enumerate(("query", "key", "value"))]
        return Roles("attention", tuple(v for v in slots if v is not None))
    if op in ops.RECURRENT:
        return _recurrent(node)
    if op.endswith(("_loss", "_loss_forward", "loss_nd")) or op in ops.LOSSES:
        return Roles("loss", _floats(node))
    if op in ops.ACTIVATIONS:
        return Roles("activation", _floats(node)[:1], _floats(node)[1:], name=ops.ACTIVATIONS[op])
    if op in ops.NORMS:
        floats = _floats(node)
        return Roles("norm", floats[:1], floats[1:])
    return _arithmetic(node)


def _arithmetic(node: Node) -> Roles:
    op, floats = node.op, _floats(node)
    signals = tuple(value for value in floats if value.taint.dataish)
    if op in ops.POOLS:
        return Roles("pool", floats[:1], whole=_to_one(node))
    if op in ops.REDUCTIONS and not (op in ("max", "min") and len(node.inputs) > 1):
        return Roles("reduction", floats[:1], whole=op not in ("sum", "nansum", "max", "min", "logsumexp"))
    if op in ops.JOINS:
        return Roles("join", signals or floats)
    if op in ops.SCATTERS:
        return Roles("scatter", signals or floats)
    if op in ("maximum", "minimum", "max", "min", "fmax", "fmin") and len(set(signals)) > 1:
        return Roles("maximum", signals, name="maxout")
    if op in ops.ELEMENTWISE or op in ("remainder", "baddcmul"):
        kind: Kind = "open"
        if len(set(signals)) > 1:
            kind = "product" if op in ("mul", "div", "pow", "addcmul", "addcdiv", "lerp") else "sum"
        return Roles(kind, signals or floats)
    return Roles("open", signals or floats)


def _floats(node: Node) -> tuple[Value, ...]:
    return tuple(value for value in node.inputs if value.floating)


def _slotted(node: Node) -> Roles:
    names, data, weights, biases = ops.SLOTTED[node.op]

    def at(positions: tuple[int, ...]) -> tuple[Value, ...]:
        return tuple(v for i in positions if (v := node.value(i, names[i])) is not None)

    return Roles("contraction", at(data), at(weights), at(biases))


def _product(node: Node) -> Roles:
    """A matrix product: the parameter side is the weight; two signals pair; two parameters make a weight."""
    operands, biases = _floats(node), _floats(node)[:0]
    if node.op in ops.ADDENDS and len(operands) > 2:
        biases, operands = operands[:1], operands[1:3]
    signals = tuple(value for value in operands if value.taint.dataish)
    others = tuple(value for value in operands if not value.taint.dataish)
    weights = tuple(value for value in others if value.taint >= Taint.PARAM)
    if not signals:
        if len(weights) == len(operands) == 2 and (node.inside == _MHA or _raw(weights[1]) != _raw(weights[0])):
            last = node.inside == _MHA or _raw(weights[1])
            return Roles(
                "contraction", weights[:1] if last else weights[1:], weights[1:] if last else weights[:1], biases
            )
        if weights and len(weights) < len(operands) and node.op in ops.ADDENDS:  # constants through a layer
            return Roles("contraction", tuple(v for v in others if v.taint is Taint.CONST), weights, biases)
        return Roles("open", operands, (), biases)
    if not weights:
        if len(signals) > 1:
            return Roles("pairing", signals, (), biases)
        return Roles("open", signals, (), biases)
    if node.op == "einsum" and not any(_summed(node, value) for value in weights):
        return Roles("open" if len(signals) == 1 else "product", signals, (), weights)
    if len(signals) > 1:
        return Roles("pairing", signals, weights, biases)
    return Roles("contraction", signals, weights, biases)


_MHA = "multi_head_attention_forward"


def _raw(value: Value) -> bool:
    """A parameter itself, in another view or dtype."""
    while value.node is not None:
        if value.node.op not in ops.SHAPE and value.node.op not in ops.CAST:
            return False
        value = value.node.inputs[0]
    return value.source == "param"


def _summed(node: Node, value: Value) -> bool:
    """Whether einsum sums over an axis of this operand."""
    equation = next((part for part in node.args if isinstance(part, str)), node.kwargs.get("equation"))
    if not isinstance(equation, str) or "->" not in equation:
        return True
    left, right = equation.replace(" ", "").split("->")
    terms = left.split(",")
    operands = list(refs(node.args))
    return any(set(term) - set(right) - {"."} for term, v in zip(terms, operands, strict=False) if v is value)


def _recurrent(node: Node) -> Roles:
    """The input comes first; hidden states are signals or constants, the rest parameters."""
    floats = _floats(node)
    weights = tuple(v for v in floats[1:] if Taint.PARAM <= v.taint <= Taint.GATHERED and v.numel and len(v.shape) > 0)
    states = [v for v in floats[1:] if v not in weights]
    return Roles("recurrent", floats[:1], weights, tuple(v for v in states if v.taint.dataish), _cell(node))


def _cell(node: Node) -> str:
    if node.op == "mkldnn_rnn_layer":
        mode = next((part for part in node.args if isinstance(part, int) and not isinstance(part, bool)), 2)
        return {0: "relu", 1: "tanh", 2: "lstm", 3: "gru"}.get(mode, "lstm")
    return ops.RECURRENT[node.op]


def _to_one(node: Node) -> bool:
    """A pool that leaves a single position (or is so asked)."""
    result = node.result
    size: Any = node.argument(1, "output_size")
    if result is not None and not result.shape:  # of a symbol
        return node.op.startswith("adaptive") and all(
            part == 1 for part in (size if isinstance(size, (tuple, list)) else (size,))
        )
    if result is None or len(result.shape) < 3:
        return False
    spatial = 1 if "1d" in node.op else 3 if "3d" in node.op else 2
    if node.op.startswith("adaptive") and not isinstance(size, Ref):
        return all(part == 1 for part in result.shape[-spatial:])
    given = node.inputs[0].shape
    return all(part == 1 for part in result.shape[-spatial:]) and any(part > 1 for part in given[-spatial:])
