"""Hand-written activations: elementwise regions of one source, replayed on numbers and named by comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Graph, Node, Value
from initpolicy.facts.dataflow.replay import Replay
from initpolicy.facts.dataflow.roles import roles_of
from initpolicy.facts.registered import NONE, Registered
from initpolicy.records import Activation

__all__ = ["Region", "Regions"]

_LIMIT = 48
"""Nodes of one region at most."""
_SQUARES = frozenset(("square", "pow", "mul", "float_power"))


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """From one value to another through elementwise operations alone."""

    source: Value
    exit: Value
    nodes: frozenset[int]
    """Indices of its nodes."""
    activation: Activation | None
    """None: it is a statistic (a square that feeds only reductions)."""


class Regions:
    """The regions that begin at a value, found once a value."""

    def __init__(self, graph: Graph, replay: Replay, own: Registered = NONE) -> None:
        self._graph = graph
        self._replay = replay
        self._own = own
        self._from: dict[int, tuple[Region, ...]] = {}
        self._until: dict[int, Region] = {}
        self._taken: set[int] = set()
        """Nodes of modules whose class the program gave a name to."""
        self._called = self._calls_of_own() if own.classes else {}
        for node in graph.nodes:
            for value in (*(given for given in node.inputs if given.node is None), *node.outputs):
                self.starting_at(value)

    def starting_at(self, value: Value) -> tuple[Region, ...]:
        found = self._from.get(value.index)
        if found is None:
            found = self._from[value.index] = self._find(value) if value.floating and value.taint.dataish else ()
            found = self._from[value.index] = (*self._called.get(value.index, ()), *map(_of_module, found))
            for region in found:
                if region.activation is not None:
                    self._until.setdefault(region.exit.index, region)
        return found

    def ending_at(self, value: Value) -> Region | None:
        return self._until.get(value.index)

    def named(self, node: Node) -> Activation:
        """Of an operation that is an activation by itself (softmax, glu)."""
        data = roles_of(node).data
        return self._replay.named(node, data[0] if data else node.inputs[0], [node])

    # --- what the program gave a name to ---

    def _calls_of_own(self) -> dict[int, list[Region]]:
        """By what they are given, the calls of modules whose class has a name: all that is inside is the activation."""
        found: dict[int, list[Region]] = {}
        for call in self._graph.calls:
            name = self._own.name_of(call.kind)
            nodes = self._graph.nodes[call.start : call.stop] if name and call.start not in self._taken else []
            exits = [v for v in call.outputs if v.floating and v.node is not None and v.index not in call.inputs]
            given = dict.fromkeys(v for node in nodes for v in node.inputs if v.index in call.inputs)
            for source in given:
                if not (source.floating and source.taint.dataish):
                    continue
                for exit_ in exits:
                    gains = self._replay.gains(source, exit_, _reached(source, nodes)) if len(exits) == 1 else None
                    activation = Activation(name=name, exact=gains, class_name=call.kind.__name__)
                    region = Region(source, exit_, frozenset(node.index for node in nodes), activation)
                    found.setdefault(source.index, []).append(region)
            self._taken |= {node.index for node in nodes}
        return found

    def _free(self, node: Node) -> bool:
        return node.op in ops.ELEMENTWISE and node.index not in self._taken

    def _computing_own(self, source: Value) -> Region | None:
        """The largest region that computes a function which has a name."""
        inside, nodes = self._closure(source)
        for last in reversed(nodes):
            slice_ = self._slice(last, inside, source)
            if last.result is None or not self._closed(slice_, last, source):
                continue
            values = self._replay.values(source, last.result, [slice_[index] for index in sorted(slice_)])
            activation = None if values is None else self._own.computing(values)
            if activation is not None:
                return Region(source, last.result, frozenset(slice_), activation)
        return None

    def _before_own(self, source: Value) -> bool:
        """A scale or a shift, and then such a region: the walk goes on to that."""
        value = source
        for _ in range(4):
            users = list(dict.fromkeys(value.users))
            node = users[0] if len(users) == 1 else None
            if node is None or value.output or node.op not in ops.AFFINE | ops.CAST or _bends(node):
                return False
            if not self._free(node) or node.result is None:
                return False
            value = node.result
            if self._computing_own(value) is not None:
                return True
        return False

    # --- what is found by its form ---

    def _find(self, source: Value) -> tuple[Region, ...]:
        users = [node for node in dict.fromkeys(source.users) if self._free(node) and node.outputs]
        curved = [node for node in users if self._leads_to_curve(node, source)]
        if not curved:
            return ()
        whole = self._computing_own(source) if self._own.curves else None
        if whole is None and self._own.curves and self._before_own(source):
            return ()
        whole = whole or self._reconverging(source)
        if whole is not None:
            rest = [node for node in curved if node.index not in whole.nodes]
            return (whole, *(r for node in rest if (r := self._chain(node, source)) is not None))
        return tuple(r for node in curved if (r := self._chain(node, source)) is not None)

    def _leads_to_curve(self, node: Node, source: Value) -> bool:
        """The node bends, or is on a straight way (scale, shift, cast, comparison) to one that does."""
        seen: set[int] = set()
        wait = [node]
        while wait and len(seen) < _LIMIT:
            here = wait.pop()
            if here.index in seen or not self._free(here):
                continue
            seen.add(here.index)
            if _bends(here) or here.op in ops.COMPARE or here.op in ("where", "masked_fill"):
                return True
            for value in here.outputs:
                wait.extend(value.users)
        return False

    def _reconverging(self, source: Value) -> Region | None:
        """The largest region whose ways from the source meet again, and that nothing leaves on its way."""
        inside, nodes = self._closure(source)
        parents = {node.index: [v for v in dict.fromkeys(node.inputs) if v.index in inside] for node in nodes}
        for last in reversed(nodes):
            if last.result is None or not (len(parents[last.index]) > 1 or _twice(last)):
                continue
            slice_ = self._slice(last, inside, source)
            if not self._closed(slice_, last, source) or not self._forks_first(slice_, source):
                continue
            region = self._named(source, last, slice_)
            if region is not None:
                return region
        return None

    def _closure(self, source: Value) -> tuple[dict[int, Value], list[Node]]:
        inside, wait = {source.index: source}, list(source.users)
        nodes: list[Node] = []
        seen: set[int] = set()
        while wait and len(nodes) < _LIMIT:
            wait.sort(key=lambda node: -node.index)
            node = wait.pop()
            if node.index in seen:
                continue
            seen.add(node.index)
            if not self._free(node) or not node.outputs:
                continue
            if any(v.index not in inside for v in node.inputs if v.taint.dataish):
                continue
            if node.outputs[0].numel != source.numel:
                continue
            nodes.append(node)
            for value in node.outputs:
                inside[value.index] = value
                wait.extend(value.users)
        return inside, sorted(nodes, key=lambda node: node.index)

    def _slice(self, last: Node, inside: dict[int, Value], source: Value) -> dict[int, Node]:
        """The region's nodes on ways from the source to the last one."""
        found: dict[int, Node] = {}
        wait = [last]
        while wait:
            node = wait.pop()
            if node.index in found:
                continue
            found[node.index] = node
            wait.extend(v.node for v in node.inputs if v.node is not None and v.index in inside and v is not source)
        return found

    def _closed(self, nodes: dict[int, Node], last: Node, source: Value) -> bool:
        return all(
            user.index in nodes
            for node in nodes.values()
            if node is not last
            for value in node.outputs
            for user in value.users
        ) and not any(value.output for node in nodes.values() if node is not last for value in node.outputs)

    def _forks_first(self, nodes: dict[int, Node], source: Value) -> bool:
        """No named activation between the source and the point where the ways part: that one comes first."""
        value = source
        while True:
            users = [node for node in dict.fromkeys(value.users) if node.index in nodes]
            if len(users) != 1 or _twice(users[0]):
                return True
            node = users[0]
            if node.op in ops.ACTIVATIONS:
                return False
            if node.result is None:
                return True
            value = node.result

    def _named(self, source: Value, last: Node, nodes: dict[int, Node]) -> Region | None:
        result = last.result
        assert result is not None
        span = frozenset(nodes)
        ordered = [nodes[index] for index in sorted(nodes)]
        activation = self._replay.recognise(source, result, ordered)
        if _feeds_reductions(result) and not (activation is not None and activation.name in _KNOWN_BENDS):
            return Region(source, result, span, None)
        if activation is None:
            return None
        if activation.name == "identity":
            return None
        strange = activation.exact is not None or activation.name == "custom" or "scale" in dict(activation.arguments)
        if strange and last.op in ("add", "sub") and self._skip(source, last, nodes):
            return None
        return Region(source, result, span, activation)

    def _skip(self, source: Value, last: Node, nodes: dict[int, Node]) -> bool:
        """x + f(x) with f in the vocabulary: a residual, not an activation of its own."""
        straight = [v for v in last.inputs if v.taint.dataish and self._straight(v, source)]
        others = [v for v in last.inputs if v.taint.dataish and v not in straight]
        if not straight or len(others) != 1 or others[0].node is None:
            return False
        inner = self._slice(others[0].node, {v.index: v for n in nodes.values() for v in n.outputs}, source)
        found = self._replay.recognise(source, others[0], [inner[index] for index in sorted(inner)])
        return found is not None and found.exact is None and found.name not in ("custom", "sin", "square", "abs")

    def _straight(self, value: Value, source: Value) -> bool:
        while value is not source:
            node = value.node
            if node is None or node.op not in ops.CAST | frozenset(("mul", "div", "neg")):
                return False
            signals = [v for v in node.inputs if v.taint.dataish]
            if len(signals) != 1:
                return False
            value = signals[0]
        return True

    def _chain(self, node: Node, source: Value, named: bool = True) -> Region | None:
        """One way without a fork: up to a named activation, or through unnamed curves to the last of them.

        ``named``: False stops before a named one.
        """
        nodes: list[Node] = []
        end: int | None = None
        here: Node | None = node
        while here is not None and len(nodes) < _LIMIT:
            if not self._free(here) or here.op in ops.COMPARE or here.result is None:
                break
            if len({v.index for v in here.inputs if v.taint.dataish and v.floating}) > 1:
                break
            if here.op in ops.ACTIVATIONS and not named:
                break
            nodes.append(here)
            value = here.result
            if _bends(here):
                end = len(nodes)
            if here.op in ops.ACTIVATIONS:
                break
            users = dict.fromkeys(value.users)
            here = next(iter(users)) if len(users) == 1 and not value.output else None
        if end is None:
            return None
        nodes = nodes[:end]
        result = nodes[-1].result
        assert result is not None
        if nodes[-1].op in ops.ACTIVATIONS:
            around = self._around(nodes, source)
            if around is not None:
                return around
            if any(_bends(node) for node in nodes[:-1]):
                return self._chain(node, source, named=False)  # the curve before it comes first
            activation = self._replay.named(nodes[-1], source, nodes)
            exit_, more = self._squared(result, activation)
            if more is not None:
                activation = Activation(name="relu_squared")
                nodes = [*nodes, *more]
            return Region(source, exit_, frozenset(n.index for n in nodes), activation)
        if _feeds_reductions(result) and all(n.op in _STATISTICS or n.op in ops.CAST for n in nodes):
            return Region(source, result, frozenset(n.index for n in nodes), None)
        soft = _normalized(nodes[-1]) if nodes[-1].op == "exp" else None
        if soft is not None and soft.result is not None:
            return Region(source, soft.result, frozenset((*(n.index for n in nodes), soft.index)), _SOFTMAX)
        activation_ = self._replay.recognise(source, result, nodes)
        if activation_ is None or activation_.name == "identity":
            return None
        exit_, more = self._squared(result, activation_)
        if more is not None:
            activation_, nodes = Activation(name="relu_squared"), [*nodes, *more]
        return Region(source, exit_, frozenset(n.index for n in nodes), activation_)

    def _around(self, nodes: list[Node], source: Value) -> Region | None:
        """Another activation that a named one makes with the scales and shifts around it: relu6(x + 3)/6."""
        if all(node.op in ops.CAST for node in nodes[:-1]):
            return None
        longer = list(nodes)
        while (value := longer[-1].result) is not None and not value.output:
            users = list(dict.fromkeys(value.users))
            signals = [] if len(users) != 1 else [v for v in users[0].inputs if v.taint.dataish]
            if len(signals) != 1 or users[0].op not in ops.AFFINE | ops.CAST or _bends(users[0]):
                break
            longer.append(users[0])
        while len(longer) >= len(nodes):
            result = longer[-1].result
            found = None if result is None else self._replay.recognise(source, result, longer)
            if result is not None and found is not None and found.name not in ("custom", "identity", longer[-1].op):
                given = dict(found.arguments)
                if "scale" not in given and "shift" not in given and found.name != nodes[-1].op:
                    return Region(source, result, frozenset(n.index for n in longer), found)
            longer.pop()
        return None

    def _squared(self, value: Value, activation: Activation) -> tuple[Value, list[Node] | None]:
        """The nodes of a square that is all that follows a relu."""
        if activation.name != "relu":
            return value, None
        passed: list[Node] = []
        while True:
            users = list(dict.fromkeys(value.users))
            if len(users) != 1 or value.output:
                return value, None
            node = users[0]
            if _twice(node) or node.op == "square" or (node.op in ("pow", "float_power") and _exponent(node) == 2):
                assert node.result is not None
                return node.result, [*passed, node]
            if node.op not in ops.CAST or node.result is None:
                return value, None
            passed.append(node)
            value = node.result


_STATISTICS = _SQUARES | frozenset(("abs", "sqrt", "rsqrt", "reciprocal", "add", "sub", "div", "clamp", "clamp_min"))
_KNOWN_BENDS = frozenset(("relu", "silu", "gelu", "tanh", "sigmoid", "mish", "softplus", "elu", "hardswish"))


def _of_module(region: Region) -> Region:
    """The region with the class that computes it, where that is a module of the user's own."""
    node, found = region.exit.node, region.activation
    if node is None or found is None:
        return region
    for call in node.call.chain():
        if region.exit in call.outputs and region.source.index in call.inputs:
            if call.kind.__module__.startswith("torch.nn.") or call.path is None:
                return region
            name = call.kind.__name__ if found.name == "custom" else found.name
            return replace(region, activation=replace(found, name=name, class_name=call.kind.__name__))
    return region


def _reached(source: Value, nodes: list[Node]) -> list[Node]:
    """Those that depend on the value."""
    inside, found = {source.index}, []
    for node in nodes:
        if any(value.index in inside for value in node.inputs):
            found.append(node)
            inside |= {value.index for value in node.outputs}
    return found


_SOFTMAX = Activation(name="softmax")


def _normalized(node: Node) -> Node | None:
    """The division of exp(x) by a sum of it, if that is what follows."""
    value = node.result
    sums = {v.index for user in (value.users if value else ()) if user.op == "sum" for v in user.outputs}
    for user in value.users if value and sums else ():
        if user.op == "div" and any(_from(v, sums) for v in user.inputs):
            return user
    return None


def _from(value: Value, sums: set[int]) -> bool:
    while value.index not in sums:
        node = value.node
        if node is None or node.op not in ops.AFFINE | ops.SHAPE | frozenset(("clamp", "clamp_min")) | ops.CAST:
            return False
        value = node.inputs[0]
    return True


def _twice(node: Node) -> bool:
    """x·x: one value in two places."""
    signals = [v for v in node.inputs if v.taint.dataish]
    return node.op in ("mul", "div") and len(signals) == 2 and signals[0] is signals[1]


def _bends(node: Node) -> bool:
    """Not a straight line in the values that go through."""
    if node.op in ops.PRIMITIVES or node.op in ops.ACTIVATIONS or _twice(node):
        return not node.wide
    if node.op != "div":
        return False
    below = node.value(1, "other")
    return node.swapped or (below is not None and below.taint.dataish)


def _exponent(node: Node) -> object:
    return node.argument(1, "exponent")


def _feeds_reductions(value: Value) -> bool:
    """All that uses it averages or sums (through casts)."""
    if value.output or not value.users:
        return False
    return all(
        roles_of(user).kind == "reduction"
        or (user.op in ops.CAST and user.result is not None and _feeds_reductions(user.result))
        for user in value.users
    )
