"""model + example input -> what is known of the signal at each parameter's site."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from initpolicy.facts.dataflow.symbolic import symbolic_graph
from initpolicy.facts.quiet import quiet
from initpolicy.facts.registered import NONE, Registered
from initpolicy.records import Signal

__all__ = ["Traced", "trace", "trace_on_symbols"]


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
    model: nn.Module,
    example_input: Any = None,
    *,
    method: str = "",
    found_by: str = "trace of your example_input",
    own: Registered = NONE,
) -> Traced:
    """Record one forward pass of an isolated copy and answer for every parameter.

    Args:
        example_input: a tensor, a tuple of arguments, a dict of keyword arguments, or a function that makes one;
            None: what the model says of itself (see ``inputs``).
        method: what is called with the example input in place of the module itself.
        found_by: what the answers say of where that input is from.
        own: activations that the program gave a name to.

    Raises:
        CannotTrace: with the reason, and what to do.
    """
    lazy = [name for name, param in model.named_parameters() if is_lazy(param)]
    if lazy:
        raise CannotTrace(
            f"uninitialized (lazy) parameters: {', '.join(lazy)}; run the model once on real data before tracing it"
        )
    failures: list[_Failure] = []
    kinds: tuple[Kind, ...] = ("meta", "fake") if _on_meta(model) else ("fake", "real")
    traces: list[weakref.ref[Tensor]] = []
    with quiet():
        try:
            inputs = list(candidates(model, example_input, method, found_by))
            return _first_that_runs(model, inputs, kinds, traces, failures, given=example_input is not None, own=own)
        finally:
            forget(traces)


def _first_that_runs(
    model: nn.Module,
    inputs: list[Given],
    kinds: tuple[Kind, ...],
    traces: list[weakref.ref[Tensor]],
    failures: list[_Failure],
    *,
    given: bool,
    own: Registered,
) -> Traced:
    tries = [(each, kinds[0]) for each in inputs] + [
        (each, kinds[1]) for each in [one for one in inputs if one.real][:_REAL]
    ]
    done: dict[tuple[int, Kind], Given] = {}  # which holds each input, so that no other one gets its identity
    while tries:
        each, kind = tries.pop(0)
        if (id(each), kind) in done:
            continue
        done[id(each), kind] = each
        try:
            return _once(model, each, kind, traces, own)
        except CannotTrace as error:
            if kind != "real":
                raise
            failures.append(_Failure(each.found_by, "", str(error)))
        except Exception as error:  # the user's forward may raise anything
            failures.append(_Failure(each.found_by, kind, f"{type(error).__name__}: {_short(error)}"))
            another = None if each.again is None or kind == "real" else each.again(error)
            if another is not None:
                tries.insert(0, (another, kind))
            elif isinstance(error, _NEEDS_VALUES) and each.real:
                tries.insert(0, (each, kinds[1]))
    if not failures:
        raise CannotTrace("nothing says what the model takes: give an example_input")
    raise CannotTrace(_said(failures) + ("" if given else "; give an example_input"))


@dataclass(frozen=True, slots=True)
class _Failure:
    found_by: str
    kind: str
    """Of the tensors; empty: it is no fault of the input."""
    reason: str


def _said(failures: list[_Failure]) -> str:
    """One reason for each way to an input: the first on real tensors, which say most, else the first."""
    ways: dict[str, list[_Failure]] = {}
    for failure in failures:
        ways.setdefault(failure.found_by.partition(" (")[0] if failure.kind else "", []).append(failure)
    if len(ways) > 1:
        ways.pop("", None)
    told: dict[str, str] = {}
    for way, group in ways.items():
        best = next((failure for failure in group if failure.kind == "real"), group[0])
        told.setdefault(best.reason, f"{way}: {best.reason}" if way else best.reason)
    return "; ".join(told.values())


_NEEDS_VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"""The input fits: what the forward lacks is numbers."""
_REAL = 8
"""Inputs that are tried on real tensors, where none of them ran on fake ones."""


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _on_meta(model: nn.Module) -> bool:
    tensors = (*model.parameters(), *model.buffers())
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def _once(model: nn.Module, given: Given, kind: Kind, traces: list[weakref.ref[Tensor]], own: Registered) -> Traced:
    graph, paths, recorder = run(isolate(model, kind), given, traces)
    signals = _answers(model, graph, paths, given.found_by, own)
    unresolved = any(signal.found_by == "unresolved" for signal in signals.values())
    return Traced(
        signals=signals,
        found_by=given.found_by,
        notes=tuple(_notes(graph, kind, recorder.trespassed, given, unresolved)),
        operations=len(graph.nodes),
    )


def trace_on_symbols(model: nn.Module, own: Registered = NONE) -> Traced:
    """What torch.fx reads off the forward of an isolated copy, without an input.

    Raises:
        CannotTrace: with the reason.
    """
    kinds: tuple[Kind, ...] = ("meta",) if _on_meta(model) else ("fake", "real")
    traces: list[weakref.ref[Any]] = []
    with quiet():
        try:
            for kind in kinds:
                try:
                    graph, paths = symbolic_graph(isolate(model, kind), traces)
                    signals = _answers(model, graph, paths, "torch.fx", own)
                    return Traced(signals=signals, found_by="torch.fx", operations=len(graph.nodes))
                except CannotTrace:
                    raise
                except Exception as error:  # the user's forward may raise anything
                    reason = f"{type(error).__name__}: {_short(error)}"
                    if not isinstance(error, _NEEDS_VALUES):
                        break
            raise CannotTrace(reason)
        finally:
            forget(traces)


def _answers(
    model: nn.Module, graph: Graph, paths: Mapping[int, tuple[str, ...]], found_by: str, own: Registered
) -> dict[str, Signal]:
    """By site: what the graph says; what tied or sibling parameters have, for those that did not run."""
    names = effective_names(model)
    resolver = Resolver(graph, {index: tuple(names[path] for path in sites) for index, sites in paths.items()}, own)
    sites = tuple(dict.fromkeys(names.values()))
    signals: dict[str, Signal] = {}
    for site in sites:
        found = resolver.signal(site, found_by)
        if found is not None:
            signals[site] = found
    tied = {name: group for group in paths.values() if len(group) > 1 for name in dict.fromkeys(map(names.get, group))}
    executed = dict(signals)
    for site in sites:
        if site not in signals:
            other = next((one for path in tied.get(site, ()) if (one := names[path]) in executed), None)
            signals[site] = signals[other] if other is not None else _unexecuted(site, executed, graph, model)
    return {site: signals[site] for site in sites}


def _unexecuted(site: str, signals: Mapping[str, Signal], graph: Graph, model: nn.Module) -> Signal:
    owner = site.rpartition(".")[0]
    if any(owner == path or owner.startswith(f"{path}.") or path.startswith(f"{owner}.") for path in graph.elsewhere):
        return Signal(found_by="unresolved")
    sibling = sibling_of(site, signals, model)
    if sibling is not None:
        return replace(signals[sibling], found_by=f"sibling {sibling}")
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
