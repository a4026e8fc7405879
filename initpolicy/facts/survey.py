"""nn.Module -> ModelFacts: every parameter tensor once, under every name it has. Reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy.collector import paused
from initpolicy.facts.attributes import NumberCache
from initpolicy.facts.classes import ClassCache, plain_class
from initpolicy.facts.owners import LayoutCache
from initpolicy.facts.parametrizations import Held, children_of, held_by
from initpolicy.facts.wrappers import unwrap
from initpolicy.records import ModelFacts, ModuleFacts, ParamFacts, Signal, Site

__all__ = ["DRAWN", "survey_model"]

DRAWN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""The dtypes that a parameter may have to be written."""


def survey_model(
    model: nn.Module, signals: Mapping[str, Signal] | None = None, otherwise: Signal | None = None
) -> ModelFacts:
    """One record for each parameter tensor and for each module, in order of registration.

    A module that is registered twice has a record under each name, and its parameters a site under each. Names leave
    wrappers out; the modules are what is wrapped. Works on meta tensors; no forward pass, no property is evaluated.

    Args:
        model: any module, wrapped or not.
        signals: what feeds and follows a parameter, by its path in the real tree (``0.weight``; for a parametrized one
            the name it is used under).
        otherwise: of parameters that have none among the signals; by default that it is unresolved.
    """
    with paused():
        walk = _Walk(signals or {}, otherwise or Signal())
        walk.visit(model, "", "", None)
        return ModelFacts(
            params=tuple(tensor.facts(walk.names) for tensor in walk.tensors.values()),
            modules=tuple(walk.modules),
            notes=tuple(dict.fromkeys(walk.notes)),
        )


@dataclass(slots=True, kw_only=True)
class _Tensor:
    """What has been seen so far of one tensor in use."""

    held: Held
    path: str
    sites: list[Site] = field(default_factory=list)
    padding_idx: int | None = None

    def facts(self, names: Mapping[str, str]) -> ParamFacts:
        held, stored = self.held, self.held.stored
        return ParamFacts(
            sites=tuple(_named_before(site, names) for site in self.sites),
            path=self.path,
            shape=held.shape,
            dtype=_named(held.dtype),
            device=str(stored[-1].device),
            trainable=any(tensor.requires_grad for tensor in stored),
            untouchable=_untouchable(held),
            padding_idx=self.padding_idx,
            parametrization=held.through,
        )


class _Walk:
    """One way through the module tree; a module that holds itself ends it."""

    def __init__(self, signals: Mapping[str, Signal], otherwise: Signal) -> None:
        self.modules: list[ModuleFacts] = []
        self.tensors: dict[tuple[object, ...], _Tensor] = {}
        self.notes: list[str] = []
        self.names: dict[str, str] = {}
        """Real path of a module -> its canonical name."""
        self._signals = signals
        self._unknown = otherwise
        self._classes, self._numbers, self._layouts = ClassCache(), NumberCache(), LayoutCache()
        self._above: set[int] = set()

    def visit(self, module: nn.Module, name: str, path: str, parent: ModuleFacts | None) -> None:
        """Record the module and all below it; ``name`` is canonical, ``path`` real."""
        module, way = unwrap(module)
        if id(module) in self._above:
            return
        path = ".".join(filter(None, (path, *way)))
        classes, numbers = self._classes.of(module), self._numbers.of(module)
        facts = ModuleFacts(name=name, classes=classes, parent=parent, attributes=numbers)
        self.modules.append(facts)
        self.names[path] = name
        for held in held_by(module):
            self._record(held, module, facts, path)
        self._above.add(id(module))
        for step, child in children_of(module):
            self.visit(child, _joined(name, step), _joined(path, step), facts)
        self._above.discard(id(module))

    def _record(self, held: Held, module: nn.Module, owner: ModuleFacts, path: str) -> None:
        path = _joined(path, held.local)
        key = (*map(id, held.stored), held.through)
        tensor = self.tensors.setdefault(key, _Tensor(held=held, path=path))
        site = Site(
            name=_joined(owner.name, held.local),
            owner=owner,
            local=held.local,
            layout=self._layouts.of(module, held.local, held.shape),
            signal=self._signals.get(path, self._unknown),
        )
        tensor.sites.append(site)
        if tensor.padding_idx is None:
            tensor.padding_idx = _padding_idx(module, held)
        if held.note:
            self.notes.append(f"{site.name}: {held.note}")


def _named_before(site: Site, names: Mapping[str, str]) -> Site:
    """The site, with the layer before it by its canonical name."""
    path = site.signal.previous
    if path is None or names.get(path, path) == path:
        return site
    return replace(site, signal=replace(site.signal, previous=names[path]))


def _joined(above: str, name: str) -> str:
    return f"{above}.{name}" if above else name


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _padding_idx(module: nn.Module, held: Held) -> int | None:
    """The row of a lookup table that stands for no input, counted from 0."""
    if held.local != "weight" or not held.shape or not issubclass(plain_class(module), (nn.Embedding, nn.EmbeddingBag)):
        return None
    row = getattr(module, "padding_idx", None)
    return None if row is None else int(row) % max(1, held.shape[0])


def _untouchable(held: Held) -> str:
    """Why the tensor must not be written, or nothing."""
    if any(getattr(tensor, "_no_reinit", False) for tensor in held.stored):
        return "marked _no_reinit"
    if held.dtype.is_complex:
        return "complex numbers are not drawn"
    if not held.dtype.is_floating_point:
        return "not floating point"
    if held.dtype not in DRAWN:
        return f"{_named(held.dtype)} is not drawn, only {', '.join(map(_named, DRAWN))}"
    if any(getattr(tensor, "_fsdp_flattened", False) for tensor in held.stored):
        remedy = "apply before wrapping, or inside initpolicy.integrations.distributed.gathered(model)"
        return f"flattened by FullyShardedDataParallel; {remedy}"
    return "lazy" if any(map(_is_lazy, held.stored)) else ""


def _is_lazy(tensor: Tensor) -> bool:
    return bool(is_lazy(tensor))
