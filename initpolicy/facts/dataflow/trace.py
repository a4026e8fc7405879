"""model + example input -> what is known of the signal at each parameter's site."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn.parameter import is_lazy

from initpolicy.facts.dataflow.graph import Graph
from initpolicy.facts.dataflow.inputs import Given, candidates
from initpolicy.facts.dataflow.isolate import CannotTrace, Kind, isolate
from initpolicy.facts.dataflow.leaks import forget
from initpolicy.facts.dataflow.resolve import Resolver
from initpolicy.facts.dataflow.run import run
from initpolicy.facts.dataflow.sites import effective_names, sibling_of
from initpolicy.facts.quiet import quiet
from initpolicy.records import Signal

__all__ = ["Traced", "trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What one recorded forward pass tells."""

    signals: Mapping[str, Signal]
    """By path in the real module tree, every name of a tied parameter; parametrized ones under the name in use."""
    found_by: str
    """Where the input came from."""
    notes: tuple[str, ...] = ()
    """What must be said once."""
    operations: int = 0
    """How many were recorded."""


def trace(
    model: nn.Module, example_input: Any = None, *, method: str = "", found_by: str = "trace of your example_input"
) -> Traced:
    """Record one forward pass of an isolated copy and answer for every parameter.

    Args:
        example_input: a tensor, a tuple of arguments, a dict of keyword arguments, or a function that makes one;
            None: what the model says of itself (see ``inputs``).
        method: what is called with the example input in place of the module itself.
        found_by: what the answers say of where that input is from.

    Raises:
        CannotTrace: with the reason, and what to do.
    """
    lazy = [name for name, param in model.named_parameters() if is_lazy(param)]
    if lazy:
        raise CannotTrace(
            f"uninitialized (lazy) parameters: {', '.join(lazy)}; run the model once on real data before tracing it"
        )
    failures: list[str] = []
    kinds: tuple[Kind, ...] = ("meta", "fake") if _on_meta(model) else ("fake", "real")
    traces: list[weakref.ref[Tensor]] = []
    with quiet():
        try:
            inputs = list(candidates(model, example_input, method, found_by))
            return _first_that_runs(model, inputs, kinds, traces, failures, given=example_input is not None)
        finally:
            forget(traces)


def _first_that_runs(
    model: nn.Module,
    inputs: list[Given],
    kinds: tuple[Kind, ...],
    traces: list[weakref.ref[Tensor]],
    failures: list[str],
    *,
    given: bool,
) -> Traced:
    tries = [(each, kinds[0]) for each in inputs] + [(each, kinds[1]) for each in inputs[:_REAL]]
    done: set[tuple[int, Kind]] = set()
    while tries:
        each, kind = tries.pop(0)
        if (id(each), kind) in done:
            continue
        done.add((id(each), kind))
        try:
            return _once(model, each, kind, traces)
        except CannotTrace as error:
            if kind != "real":
                raise
            failures.append(str(error))
        except Exception as error:  # the user's forward may raise anything
            failures.append(f"{each.found_by} on {kind} tensors: {type(error).__name__}: {_short(error)}")
            if isinstance(error, _NEEDS_VALUES):
                tries.insert(0, (each, kinds[1]))
    if not failures:
        raise CannotTrace("nothing says what the model takes: give an example_input")
    remedy = "" if given else "; give an example_input"
    raise CannotTrace("; ".join(dict.fromkeys(failures)) + remedy)


_NEEDS_VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"""The input fits: what the forward lacks is numbers."""
_REAL = 8
"""Inputs that are tried on real tensors, where none of them ran on fake ones."""


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _on_meta(model: nn.Module) -> bool:
    tensors = (*model.parameters(), *model.buffers())
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def _once(model: nn.Module, given: Given, kind: Kind, traces: list[weakref.ref[Tensor]]) -> Traced:
    graph, paths, recorder = run(isolate(model, kind), given, traces)
    names = effective_names(model)
    resolver = Resolver(graph, {index: tuple(names[path] for path in sites) for index, sites in paths.items()})
    sites = tuple(dict.fromkeys(names.values()))
    signals: dict[str, Signal] = {}
    for site in sites:
        found = resolver.signal(site, given.found_by)
        if found is not None:
            signals[site] = found
    tied = {name: group for group in paths.values() if len(group) > 1 for name in dict.fromkeys(map(names.get, group))}
    executed = dict(signals)
    for site in sites:
        if site not in signals:
            other = next((one for path in tied.get(site, ()) if (one := names[path]) in executed), None)
            signals[site] = signals[other] if other is not None else _unexecuted(site, executed, graph, model)
    unresolved = any(signal.found_by == "unresolved" for signal in signals.values())
    return Traced(
        signals={site: signals[site] for site in sites},
        found_by=given.found_by,
        notes=tuple(_notes(graph, kind, recorder.trespassed, given, unresolved)),
        operations=len(graph.nodes),
    )


def _unexecuted(site: str, signals: Mapping[str, Signal], graph: Graph, model: nn.Module) -> Signal:
    owner = site.rpartition(".")[0]
    if any(owner == path or owner.startswith(f"{path}.") or path.startswith(f"{owner}.") for path in graph.elsewhere):
        return Signal(found_by="unresolved")
    sibling = sibling_of(site, signals, model)
    if sibling is not None:
        other = signals[sibling]
        return Signal(
            following=other.following, preceding=other.preceding, norm_before=other.norm_before,
            found_by=f"sibling {sibling}", previous=other.previous,
        )  # fmt: skip
    return Signal(found_by="unresolved" if graph.elsewhere or graph.foreign else "unused")


def _notes(graph: Graph, kind: Kind, trespassed: bool, given: Given, unresolved: bool) -> list[str]:
    notes = [given.said] if given.said else []
    if kind == "real":
        notes.append("fake tensors could not run the forward: a full copy ran for real")
    if graph.elsewhere:
        where = ", ".join(sorted(path or "the model" for path in graph.elsewhere))
        notes.append(f"part of the forward ran in another thread, where it cannot be seen ({where})")
    elif graph.foreign:
        notes.append("part of the forward ran outside of torch or in another thread, where it cannot be seen")
    if graph.opaque and unresolved:
        notes.append("the output is an object that cannot be looked into")
    if trespassed:
        notes.append("the forward reached the model's own tensors past the copy; copies were put in their place")
    return notes
