"""What follows: from the operation that consumes a weight to the first nonlinearity its product meets."""

from __future__ import annotations

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Graph, Node, Value
from initpolicy.facts.dataflow.norms import Norms
from initpolicy.facts.dataflow.regions import Region, Regions
from initpolicy.facts.dataflow.roles import Roles, roles_of
from initpolicy.facts.dataflow.walk import IDENTITY, Found, State, Walker, label
from initpolicy.records import Activation

__all__ = ["Forward"]

_SOFT = frozenset(("softmax", "softmin"))
_AFTER_LOGITS = 24
_MOST_MAXIMA = 2000


class Forward:
    """Walks from values to what they meet first."""

    def __init__(self, graph: Graph, regions: Regions, norms: Norms) -> None:
        self._graph = graph
        self._regions = regions
        self._norms = norms
        self._logits: dict[int, bool] = {}
        self._activated: dict[int, str] = {}
        self._stable: dict[int, bool] = {}

    def from_values(self, values: list[Value], path: tuple[str, ...]) -> list[Found]:
        walker = Walker()
        walker.push(State(value, path) for value in values)
        return self._walk(walker)

    def from_node(self, node: Node, value: Value) -> list[Found]:
        """As if the value had just come to the node: what a bare parameter meets there."""
        walker = Walker()
        state = State(value)
        self._at(node, state, walker)
        return self._walk(walker)

    def _walk(self, walker: Walker) -> list[Found]:
        while (state := walker.pop()) is not None:
            self._leave(state, walker)
        return walker.found

    def _leave(self, state: State, walker: Walker) -> None:
        value = state.value
        if value.output:
            walker.end(state, IDENTITY, "output")
        covered: set[int] = set()
        for region in self._regions.starting_at(value):
            covered |= region.nodes
            self._region(region, state, walker)
        for node in dict.fromkeys(value.users):
            if node.index not in covered:
                self._at(node, state, walker)

    def _region(self, region: Region, state: State, walker: Walker) -> None:
        if region.activation is None:
            return  # a square that feeds only reductions
        node = region.exit.node
        assert node is not None
        walker.end(state, region.activation, label(node), node=node)

    def _at(self, node: Node, state: State, walker: Walker) -> None:
        call = self._norms.outermost(node, state.value)
        if call is not None:
            walker.push(state.through(v, call.path or "", "norm") for v in call.outputs if v.floating)
            return
        roles = roles_of(node)
        handler = getattr(self, f"_{roles.kind}", self._open)
        handler(node, roles, state, walker)

    # --- ends ---

    def _contraction(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if state.value in roles.data and state.value not in roles.weights:
            walker.end(state, IDENTITY, label(node), node=node)
        else:  # a weight that was made: its layer's output is what it makes
            walker.push(state.through(value, label(node)) for value in _results(node))

    def _recurrent(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        walker.end(state, Activation(name=roles.name) if state.value in roles.weights else IDENTITY, label(node))

    def _loss(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        walker.end(state, IDENTITY, label(node), node=node)

    def _activation(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if roles.name in _SOFT and "attention logit" in state.flags:
            walker.end(state, IDENTITY, label(node), node=node)
        else:
            walker.end(state, self._regions.named(node), label(node), node=node)

    def _maximum(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if self.stabilizes(node):
            return
        if all(self._projected(value) for value in roles.data):
            walker.end(state, Activation(name="maxout"), label(node), node=node)
        else:  # a running maximum and the like
            walker.push(state.through(value, label(node), merges=1) for value in _results(node))

    def stabilizes(self, node: Node) -> bool:
        """A maximum that is only subtracted under an exp (log-sum-exp, a running one too): it cancels out."""
        if node.index not in self._stable:
            seen, wait, stable = {node.index}, [node], True
            while wait and stable and len(seen) < _MOST_MAXIMA:
                for user in [user for value in _results(wait.pop()) for user in value.users]:
                    roles = roles_of(user)
                    if user.op == "sub" and roles.kind == "sum":
                        stable = stable and all(_under_exp(after) for value in _results(user) for after in value.users)
                    elif roles.kind not in ("maximum", "open") or any(value.output for value in user.outputs):
                        stable = False
                    elif user.index not in seen:
                        seen.add(user.index)
                        wait.append(user)
            self._stable |= dict.fromkeys(seen if stable else [node.index], stable and not wait)
        return self._stable[node.index]

    def _projected(self, value: Value) -> bool:
        """A layer's product, through open steps alone."""
        for _ in range(16):
            roles = None if value.node is None else roles_of(value.node)
            if roles is None or roles.kind not in ("open", "norm", "pool"):
                return roles is not None and roles.kind == "contraction"
            signals = [part for part in roles.data if part.taint.dataish]
            if not signals:
                return False
            value = signals[0]
        return False

    def _attention(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if state.value in roles.data[2:]:
            walker.push(state.through(value, label(node)) for value in _results(node))
        if state.value in roles.data[:2]:
            walker.end(state, IDENTITY, label(node), "attention logit", node=node)
        elif state.value not in roles.data:
            walker.end(state, Activation(name="softmax"), label(node), node=node)

    def _pairing(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if self._are_logits(node):
            walker.end(state, IDENTITY, label(node), "attention logit", node=node)
        else:
            others = [other for other in roles.data if other is not state.value]
            merges = 0 if any(self.activated(other) in _SOFT for other in others) else 1  # softmax(q·k)·v is open
            walker.push(state.through(value, label(node), merges=merges) for value in _results(node))

    # --- ways on ---

    def _constant(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        return

    def _norm(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        walker.push(state.through(value, label(node), "norm") for value in _results(node)[:1])

    def _pool(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        walker.push(state.through(v, label(node), "pool", demoted=roles.whole) for v in _results(node)[:1])

    def _reduction(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if node.op in ("max", "amax") and self.over_pieces(node, state.value):
            walker.end(state, Activation(name="maxout"), label(node), node=node)
            return
        if self._only_statistics(node):
            return
        flags = ("pool",) if node.op in ("mean", "max", "amax") else ()
        for value in _results(node)[:1]:
            walker.push([state.through(value, label(node), *flags, demoted=roles.whole)])

    def _join(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        flags = ("cat",) if len(set(roles.data)) > 1 else ()
        walker.push(state.through(value, label(node), *flags) for value in _results(node))

    def _scatter(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        walker.push(state.through(value, label(node)) for value in _results(node))

    def _sum(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if self._statistical(roles, state.value):
            walker.push(state.through(value, label(node)) for value in _results(node))
        elif not self._is_statistic(roles, state.value):
            walker.push(state.through(value, label(node), "add", merges=1) for value in _results(node))

    def _product(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        if self._statistical(roles, state.value):
            walker.push(state.through(value, label(node), "norm") for value in _results(node))
        elif self._is_statistic(roles, state.value):
            return
        elif self._summed_to_logits(node):
            walker.end(state, IDENTITY, label(node), "attention logit", node=node)
        else:
            gate = self._gate(node, state.value)
            walker.push(state.through(value, label(node), "mul", *gate, merges=1) for value in _results(node))

    def _open(self, node: Node, roles: Roles, state: State, walker: Walker) -> None:
        for value in _results(node):
            walker.push([state.through(value, label(node))])

    # --- what surrounds a step ---

    def _statistical(self, roles: Roles, value: Value) -> bool:
        """The other operand is a statistic of this one: a norm's arithmetic."""
        others = [other for other in roles.data if other is not value]
        return bool(others) and all(self._norms.is_statistic(other, value) for other in others)

    def _is_statistic(self, roles: Roles, value: Value) -> bool:
        others = [other for other in roles.data if other is not value]
        return bool(others) and all(self._norms.is_statistic(value, other) for other in others)

    def _only_statistics(self, node: Node) -> bool:
        """A reduction whose result comes back as a statistic of what was reduced."""
        value = node.result
        if value is None or not value.users:
            return False
        source = roles_of(node).data[0] if roles_of(node).data else None
        return source is not None and all(self._back_to(user, value, source, 8) for user in value.users)

    def _back_to(self, node: Node, value: Value, source: Value, depth: int) -> bool:
        roles = roles_of(node)
        if roles.kind in ("sum", "product"):
            others = [other for other in roles.data if other is not value]
            if others and all(self._norms.is_statistic(value, other) for other in others):
                return True
        if depth and (node.op in ops.ELEMENTWISE or node.op in ops.SHAPE) and roles.kind == "open":
            result = node.result
            return (
                result is not None
                and bool(result.users)
                and all(self._back_to(user, result, source, depth - 1) for user in result.users)
            )
        return False

    def _gate(self, node: Node, value: Value) -> tuple[str, ...]:
        """Gated: another factor has been through an activation."""
        others = [other for other in roles_of(node).data if other is not value]
        return ("gated",) if any(self.activated(other) for other in others) else ()

    def activated(self, value: Value, depth: int = 12) -> str:
        """The activation a value comes from, through open steps alone; "" where none."""
        found = self._activated.get(value.index)
        if found is None:
            self._activated[value.index] = ""
            found = self._activated[value.index] = self._find_activated(value, depth)
        return found

    def _find_activated(self, value: Value, depth: int) -> str:
        region = self._regions.ending_at(value)
        if region is not None and region.activation is not None:
            return region.activation.name
        node = value.node
        if node is None or depth == 0:
            return ""
        roles = roles_of(node)
        if roles.kind == "activation":
            return roles.name
        if roles.kind in ("open", "norm", "pool", "reduction", "join", "scatter"):
            for part in roles.data:
                if part.taint.dataish and (name := self.activated(part, depth - 1)):
                    return name
        if roles.kind in ("sum", "product"):  # divided by a sum of it
            own = [part for part in roles.data if not self._is_statistic(roles, part)]
            return self.activated(own[0], depth - 1) if len(own) == 1 else ""
        return ""

    def _are_logits(self, node: Node) -> bool:
        """A softmax follows (after scale, mask, cast, softcap), before any layer."""
        found = self._logits.get(node.index)
        if found is None:
            found = self._logits[node.index] = self._meets_softmax(node)
        return found

    def _meets_softmax(self, node: Node) -> bool:
        seen: set[int] = set()
        wait = list(_results(node))
        while wait and len(seen) < _AFTER_LOGITS:
            value = wait.pop(0)
            if value.index in seen:
                continue
            seen.add(value.index)
            for user in value.users:
                roles = roles_of(user)
                if roles.kind == "activation" and roles.name in _SOFT:
                    return True
                if any(
                    r.activation is not None and r.activation.name in _SOFT for r in self._regions.starting_at(value)
                ):
                    return True
                if roles.kind in ("open", "sum", "norm", "join", "scatter") or user.op in ("tanh", "mul", "div", "exp"):
                    wait.extend(_results(user))
        return False

    def _summed_to_logits(self, node: Node) -> bool:
        """(q·k).sum(-1), then softmax."""
        value = node.result
        if value is None or len(value.users) != 1 or value.users[0].op != "sum" or node.op != "mul":
            return False
        result = value.users[0].result
        return (
            result is not None and (result.numel < value.numel or not value.shape) and self._are_logits(value.users[0])
        )

    def over_pieces(self, node: Node, value: Value) -> bool:
        """max over an axis that a view split off the channels: the pieces of maxout."""
        axes = node.argument(1, "dim")
        if not isinstance(axes, int) or value.node is None or value.node.op not in _SPLITS or not value.shape:
            return False
        before = value.node.inputs[0].shape
        axis = axes % len(value.shape)
        channel = 1 if len(before) > 2 and _spatial(before, value.shape) else len(before) - 1
        return (
            len(value.shape) == len(before) + 1
            and axis in (channel, channel + 1)
            and value.shape[:channel] == before[:channel]
        )


def _under_exp(node: Node) -> bool:
    while node.op in ops.CAST and node.result is not None and len(node.result.users) == 1:
        node = node.result.users[0]
    return node.op in ("exp", "exp2")


_SPLITS = frozenset(("view", "reshape", "unflatten", "unsafe_view"))


def _spatial(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return len(before) >= 4 and before[2:] == after[3:]


def _results(node: Node) -> list[Value]:
    return [value for value in node.outputs if value.floating]
