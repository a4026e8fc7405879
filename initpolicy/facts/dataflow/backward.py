"""What precedes: from the data that meets a weight back to the last nonlinearity it came from."""

from __future__ import annotations

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.forward import Forward
from initpolicy.facts.dataflow.graph import Graph, Node, Value
from initpolicy.facts.dataflow.norms import Norms
from initpolicy.facts.dataflow.regions import Regions
from initpolicy.facts.dataflow.roles import Roles, roles_of
from initpolicy.facts.dataflow.walk import IDENTITY, Found, State, Walker, label
from initpolicy.records import Activation

__all__ = ["Backward"]

_GATES = frozenset(("sigmoid", "hardsigmoid", "softmax", "softmin"))


class Backward:
    """Walks from values to what they came from."""

    def __init__(self, graph: Graph, regions: Regions, norms: Norms, forward: Forward) -> None:
        self._graph = graph
        self._regions = regions
        self._norms = norms
        self._forward = forward

    def from_values(self, values: list[Value]) -> list[Found]:
        walker = Walker()
        walker.push(State(value) for value in values)
        while (state := walker.pop()) is not None:
            self._step(state, walker, False)
        return walker.found

    def layer_before(self, values: list[Value]) -> Node | None:
        """The last weighted operation to reach these values, through the fewest merges and any activation."""
        walker = Walker()
        walker.push(State(value) for value in values)
        while (state := walker.pop()) is not None:
            self._step(state, walker, True)
        hits = [(found.level, -found.node.index, found.node) for found in walker.found if found.node is not None]
        return min(hits, key=lambda hit: hit[:2])[2] if hits else None

    def norm_before(self, values: list[Value]) -> bool:
        """A norm feeds them, with nothing but views, casts and dropout between."""
        for value in values:
            here: Value | None = value
            while here is not None:
                node = here.node
                if node is None:
                    return False
                if self._norms.producer(here) is not None or roles_of(node).kind == "norm":
                    return True
                if not (node.op in ops.SHAPE or node.op in ops.CAST):
                    if self._divided(node):
                        return True
                    signals = [v for v in roles_of(node).data if v.taint.dataish]
                    if node.op not in ("add", "sub", "mul") or len(set(signals)) != 1:
                        return False
                here = next((v for v in node.inputs if v.floating and v.taint.dataish), None)
            return False
        return False

    def _divided(self, node: Node) -> bool:
        roles = roles_of(node)
        if roles.kind != "product":
            return False
        return any(
            all(self._norms.is_statistic(other, value) for other in roles.data if other is not value)
            for value in roles.data
        )

    def _step(self, state: State, walker: Walker, layers: bool) -> None:
        """Look at what made the state's value. ``layers``: go on through activations, to the layer before."""
        value, node = state.value, state.value.node
        if node is None:
            if not layers:
                self._source(state, walker)
            return
        region = self._regions.ending_at(value)
        if region is not None and region.activation is not None:
            if layers:
                walker.push([state.through(region.source, label(node))])
            else:
                walker.end(state, region.activation, label(node), node=node)
            return
        call = self._norms.producer(value)
        if call is not None:
            inputs = [v for n in self._graph.nodes[call.start : call.stop] for v in n.inputs if v.index in call.inputs]
            signals = [v for v in dict.fromkeys(inputs) if v.floating and v.taint.dataish]
            walker.push(state.through(v, call.path or "", "norm") for v in signals)
            return
        roles = roles_of(node)
        if roles.kind in ("contraction", "recurrent"):
            if not roles.weights or not any(v.taint.dataish or v.taint > 0 for v in roles.weights):
                walker.push(state.through(v, label(node)) for v in roles.data)
            else:
                named = Activation(name=roles.name) if roles.kind == "recurrent" else IDENTITY
                walker.end(state, named, label(node), node=node)
            return
        if not layers and node.op in ("max", "amax") and roles.data and self._forward.over_pieces(node, roles.data[0]):
            walker.end(state, Activation(name="maxout"), label(node), node=node)
            return
        if roles.kind == "maximum" and self._forward.stabilizes(node):
            return
        if roles.kind in ("activation", "maximum") and not layers:
            named = self._regions.named(node) if roles.kind == "activation" else Activation(name="maxout")
            walker.end(state, named, label(node), node=node)
            return
        self._on(node, roles, state, walker)

    def _source(self, state: State, walker: Walker) -> None:
        source = state.value.source
        if source == "input":
            walker.end(state, IDENTITY, "input")
        elif source == "param":
            walker.end(state, IDENTITY, "parameter")
        elif source in ("buffer", "const"):
            walker.end(state, IDENTITY, "constant")

    def _on(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        signals = [value for value in dict.fromkeys(roles.data) if value.taint.dataish]
        step = label(node)
        if not signals:
            if node.taint.dataish:
                others = [v for v in node.inputs if v.taint.dataish]
                walker.push(state.through(v, step) for v in others)
                if not others:
                    walker.end(state, IDENTITY, "constant")
            else:
                walker.end(state, IDENTITY, "constant" if node.taint == 0 else "parameter")
            return
        if roles.kind == "attention":
            walker.push(state.through(v, step) for v in roles.data[2:3])
        elif roles.kind in ("sum", "product", "pairing"):
            self._mix(node, roles, signals, state, walker)
        elif roles.kind == "norm":
            walker.push([state.through(signals[0], step, "norm")])
        elif roles.kind == "pool":
            walker.push([state.through(signals[0], step, "pool")])
        elif roles.kind == "reduction":
            flags = ("pool",) if node.op in ("mean", "max", "amax") else ()
            walker.push([state.through(signals[0], step, *flags)])
        elif roles.kind == "join":
            flags = ("cat",) if len(signals) > 1 else ()
            walker.push(state.through(v, step, *flags) for v in signals)
        else:
            walker.push(state.through(v, step) for v in signals)

    def _gates(self, value: Value, signals: list[Value]) -> bool:
        """A factor out of a sigmoid or softmax, or one activated number for many of the other's."""
        name = self._forward.activated(value)
        return name in _GATES or (bool(name) and any(_spread(value.shape, other.shape) for other in signals))

    def _mix(self, node: Node, roles: Roles, signals: list[Value], state: State, walker: Walker) -> None:
        step = label(node)
        flags = {"sum": ("add",), "product": ("mul",)}.get(roles.kind, ())
        statistics = [
            v for v in signals if any(self._norms.is_statistic(v, other) for other in signals if other is not v)
        ]
        if statistics and len(statistics) < len(signals):
            norm = ("norm",) if roles.kind == "product" else ()
            walker.push(state.through(v, step, *norm) for v in signals if v not in statistics)
            return
        gates = [v for v in signals if roles.kind != "sum" and self._gates(v, signals)]
        if len(gates) == len(signals):
            gates = []
        merges = 0 if roles.kind == "pairing" and gates else 1  # softmax(q·k)·v is open
        for value in signals:
            gated = (
                ("gated",)
                if roles.kind != "sum"
                and any(self._forward.activated(other) for other in signals if other is not value)
                else ()
            )
            walker.push([state.through(value, step, *flags, *gated, merges=merges, demoted=value in gates)])


def _spread(shape: tuple[int, ...], over: tuple[int, ...]) -> bool:
    """Some axes of the other are met by a single number, and none the other way round."""
    padded = (1,) * (len(over) - len(shape)) + shape
    return len(shape) <= len(over) and padded != over and all(a in (1, b) for a, b in zip(padded, over, strict=True))
