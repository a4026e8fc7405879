"""Every parameter's uses in the graph, and the signal that each of its sites has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from initpolicy.facts.dataflow.backward import Backward
from initpolicy.facts.dataflow.forward import Forward
from initpolicy.facts.dataflow.graph import Graph, Node, Taint, Value
from initpolicy.facts.dataflow.norms import Norms
from initpolicy.facts.dataflow.regions import Regions
from initpolicy.facts.dataflow.replay import Replay
from initpolicy.facts.dataflow.roles import roles_of
from initpolicy.facts.dataflow.walk import Found, label
from initpolicy.facts.registered import NONE, Registered
from initpolicy.records import Hit, Signal

__all__ = ["Resolver", "Use"]

_DEEP = 400


@dataclass(frozen=True, slots=True)
class Use:
    """Where a parameter is consumed: by which operation, through which value."""

    node: Node
    value: Value
    slot: str
    """weight, bias, data (of a layer), or mix."""

    @property
    def weighted(self) -> bool:
        return self.slot in ("weight", "bias")


class Resolver:
    """Answers for one recorded graph."""

    def __init__(self, graph: Graph, paths: Mapping[int, tuple[str, ...]], own: Registered = NONE) -> None:
        """``paths``: by index of a parameter's value, every site it hangs at; ``own``: activations with names."""
        self.graph = graph
        self._paths = paths
        self._norms = Norms(graph)
        self._regions = Regions(graph, Replay(graph), own)
        self._forward = Forward(graph, self._regions, self._norms)
        self._backward = Backward(graph, self._regions, self._norms, self._forward)
        self._following: dict[tuple[int, int, bool], list[Found]] = {}
        self._preceding: dict[tuple[int, ...], list[Found]] = {}
        self.uses: dict[str, list[Use]] = {}
        for value in graph.params.values():
            self._assign(value)

    # --- uses ---

    def _assign(self, value: Value) -> None:
        """Each use goes to the site whose owner is executing, else to all the sites."""
        sites = self._paths.get(value.index, ())
        for use in self._consumed(value):
            owners = {site.rpartition(".")[0]: site for site in sites}
            running = next((call.path for call in use.node.call.chain() if call.path in owners), None)
            chosen = (
                sites
                if running is None or len(sites) == 1
                else tuple(site for site in sites if site.rpartition(".")[0] == running)
            )
            for site in chosen:
                self.uses.setdefault(site, []).append(use)

    def _consumed(self, value: Value) -> list[Use]:
        """Through operations on parameters alone to a weight slot, or to the first mix with data."""
        found: dict[tuple[int, str], Use] = {}
        seen: set[int] = set()
        wait = [value]
        while wait and len(seen) < _DEEP:
            here = wait.pop()
            if here.index in seen:
                continue
            seen.add(here.index)
            for node in dict.fromkeys(here.users):
                slot = _slot(node, here)
                if slot == "through":
                    wait.extend(v for v in node.outputs if v.floating)
                elif slot:
                    found.setdefault((node.index, slot), Use(node, here, slot))
        return sorted(found.values(), key=lambda use: use.node.index)

    # --- answers ---

    def signal(self, site: str, found_by: str) -> Signal | None:
        """What is known at the site; None where it was not executed."""
        uses = self.uses.get(site, [])
        if not uses:
            return None
        if any(use.weighted for use in uses):
            uses = [use for use in uses if use.weighted]
        following, beyond = _answer([f for use in uses for f in self._follow(use)])
        data = [self._data(use) for use in uses]
        preceding, before = _answer([f for values in data for f in self._precede(values)])
        previous = next((path for values in data if (path := self._layer_before(values)) is not None), None)
        return Signal(
            following=following,
            preceding=_turned(preceding),
            further_following=beyond,
            further_preceding=_turned(before),
            norm_before=all(self._backward.norm_before(list(values)) for values in data) and bool(data),
            found_by=found_by if following else "unresolved",
            previous=previous,
        )

    def _follow(self, use: Use) -> list[Found]:
        key = (use.node.index, use.value.index, use.weighted)
        found = self._following.get(key)
        if found is None:
            if roles_of(use.node).kind == "recurrent":
                found = self._forward.from_node(use.node, use.value)
            elif use.weighted:
                outputs = [v for v in use.node.outputs if v.floating]
                if roles_of(use.node).kind == "norm":
                    outputs = outputs[:1]
                found = self._forward.from_values(outputs, (label(use.node),))
            else:
                found = self._forward.from_node(use.node, use.value)
            self._following[key] = found
        return found

    def _data(self, use: Use) -> tuple[Value, ...]:
        """The signal that meets the parameter; past layers whose product is a weight."""
        node, seen = use.node, 0
        while seen < 8:
            values = [v for v in roles_of(node).data if v is not use.value]
            signals = tuple(v for v in values if v.taint.dataish) or tuple(v for v in values if not v.floating)
            further = None if any(v.taint is Taint.DATA for v in signals) else self._as_weight(node)
            if further is None:
                return signals or tuple(v for v in node.inputs if v.taint.dataish and v is not use.value)
            node, seen = further, seen + 1
        return ()

    def _as_weight(self, node: Node) -> Node | None:
        """The layer whose weight this operation's output becomes."""
        values = [v for v in node.outputs if v.floating]
        for _ in range(16):
            if not values:
                return None
            users = [user for value in values for user in value.users]
            for user in users:
                if roles_of(user).kind == "contraction" and any(v in values for v in roles_of(user).weights):
                    return user
            straight = [user for user in users if roles_of(user).kind in ("open", "sum") and user.taint.dataish]
            if len(straight) != 1 or len(users) != 1:
                return None
            values = [v for v in straight[0].outputs if v.floating]
        return None

    def _precede(self, values: tuple[Value, ...]) -> list[Found]:
        key = tuple(value.index for value in values)
        found = self._preceding.get(key)
        if found is None:
            found = self._preceding[key] = self._backward.from_values(list(values))
        return found

    def _layer_before(self, values: tuple[Value, ...]) -> str | None:
        node = self._backward.layer_before(list(values))
        if node is None:
            return None
        weights = roles_of(node).weights
        sites = [site for value in weights for param in _sources(value) for site in self._paths.get(param.index, ())]
        owners = [site.rpartition(".")[0] for site in sites]
        running = {call.path for call in node.call.chain()}
        return next((owner for owner in owners if owner in running), owners[0] if owners else None)


def _slot(node: Node, value: Value) -> str:
    """How an operation takes the value: weight, bias, data, mix; "through" where the result is still a weight."""
    roles = roles_of(node)
    if roles.kind == "constant":
        return ""
    if value in roles.weights:
        if roles.kind == "norm" and node.taint < Taint.DERIVED:
            return "through"
        return "weight"
    if value in roles.biases and roles.kind != "recurrent" and (node.taint.dataish or roles.kind == "contraction"):
        return "bias"
    if roles.kind == "contraction" and value in roles.data:
        return "data"
    if not any(v.floating for v in node.outputs):
        return ""
    if node.taint.dataish and any(v.taint.dataish for v in node.inputs):
        return "mix"
    return "through"


def _sources(value: Value) -> Iterable[Value]:
    """The parameters a weight was made of."""
    seen: set[int] = set()
    wait = [value]
    while wait and len(seen) < _DEEP:
        here = wait.pop()
        if here.index in seen:
            continue
        seen.add(here.index)
        if here.node is None:
            if here.source == "param":
                yield here
        elif not here.taint.dataish:
            wait.extend(here.node.inputs)


def _answer(found: list[Found]) -> tuple[tuple[Hit, ...], tuple[Hit, ...]]:
    """The hits at the best level: activations, or identity where there are none; and the others. The nearest first."""
    if not found:
        return (), ()
    ranked = sorted(found, key=lambda each: each.rank)
    best = ranked[0]
    plain = best.hit.activation.name == "identity"
    chosen = dict.fromkeys(
        f.hit
        for f in ranked
        if (f.level == best.level and (f.hit.activation.name == "identity") == plain)
        or (not plain and not f.demoted and "attention logit" in f.hit.flags)  # another part of its rows
    )
    others = dict.fromkeys(f.hit for f in ranked if f.hit not in chosen)
    return tuple(chosen), tuple(islice(others, _MOST))


_MOST = 16
"""Weaker hits that are kept; the walk ends one merge past the best, and seldom meets so many."""


def _turned(hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
    """The same ways as the signal goes: towards the parameter."""
    return tuple(replace(hit, path=hit.path[::-1]) for hit in hits)
