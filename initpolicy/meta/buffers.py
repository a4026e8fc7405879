"""Where the values of a meta buffer come from: the program, torch's normalizations, a reset, or a twin of its owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from initpolicy.errors import meant
from initpolicy.facts.quiet import quiet
from initpolicy.meta.construct import NotBuilt, construct
from initpolicy.meta.lost import Lost
from initpolicy.meta.normalized import first_values
from initpolicy.meta.resets import METHODS, reset, resets_of, value_in
from initpolicy.streams import stream_for
from initpolicy.writing.prepare import Problems, said

__all__ = ["Buffers", "values_of_buffers"]

Buffers = Literal["construct"] | Mapping[str, Tensor] | Callable[[str, nn.Module, Tensor], Tensor | None] | None
"""What makes buffers that their modules cannot: twins of these, given tensors, or f(name, owner, meta buffer)."""


def values_of_buffers(
    model: nn.Module, lost: Sequence[Lost], asked: Buffers, seed: int
) -> tuple[dict[int, Tensor], Problems]:
    """(identity of a meta tensor -> its values on the CPU or where the program gave them, what has none and why).

    In this order: a mapping; torch's normalizations of weights; a reset of the owner, then of the modules above it;
    then ``"construct"`` or the callable. The model is only read, and random states are put back.
    """
    if not lost and asked in (None, "construct"):
        return {}, []
    return _Search(model, lost, asked, seed).run()


class _Search:
    def __init__(self, model: nn.Module, lost: Sequence[Lost], asked: Buffers, seed: int) -> None:
        self.lost, self.asked, self.seed = lost, asked, seed
        self.given = asked if isinstance(asked, Mapping) else {}
        self.by_owner: defaultdict[int, list[Lost]] = defaultdict(list)
        for one in lost:
            self.by_owner[id(one.owner)].append(one)
        self.chains = _chains(model, self.by_owner.keys())
        self.values: dict[int, Tensor] = {}
        self.problems: Problems = []
        self.why: dict[int, str] = {}
        """Identity of a meta tensor -> why it was not rebuilt."""
        self._resets: dict[int, dict[int, Tensor] | str] = {}
        self._twins: dict[int, nn.Module | str] = {}

    def run(self) -> tuple[dict[int, Tensor], Problems]:
        self._check_asked()
        with quiet():
            for one in self.lost:
                try:
                    values = self._of(one)
                except Exception as error:  # a user's function may raise anything
                    self.why.pop(id(one.tensor), None)
                    self.problems.append((one.name, f"buffers: {said(error)}"))
                    continue
                if values is not None:
                    self._take(one, values)
        missing = [one for one in self.lost if id(one.tensor) in self.why]
        self.problems += [(one.name, self.why[id(one.tensor)]) for one in missing]
        if missing:
            self.problems.append(("buffers", _remedy(missing, self.asked)))
        return self.values, self.problems

    def _check_asked(self) -> None:
        if not (self.asked is None or self.asked == "construct" or callable(self.asked) or self._is_mapping()):
            why = f"must be 'construct', a mapping of names to tensors or a callable, not {self.asked!r}"
            self.problems.append(("buffers", why))
        known = [name for one in self.lost for name in one.names]
        for name in self.given:
            if name not in known:
                self.problems.append((f"buffers.{name}", f"the model has no such meta buffer{meant(name, known)}"))

    def _is_mapping(self) -> bool:
        return isinstance(self.asked, Mapping)

    def _of(self, one: Lost) -> Any:
        for name in one.names:
            if name in self.given:
                return self.given[name]
        values: Any = first_values(one, self.seed)
        if values is None:
            values = self._reset(one)
        if values is None and callable(self.asked):
            values = self.asked(one.name, one.owner, one.tensor)
            if values is None:
                self.why[id(one.tensor)] += ", and for which your callable gives none"
        elif values is None and self.asked == "construct":
            values = self._constructed(one)
        return values

    def _take(self, one: Lost, values: Any) -> None:
        self.why.pop(id(one.tensor), None)
        wrong = _wrong(values, one.tensor)
        if wrong:
            self.problems.append((one.name, f"{wrong} for this {one.kind}"))
        else:
            self.values[id(one.tensor)] = values.detach()

    # --- resets ----------------------------------------------------------------------------------

    def _reset(self, one: Lost) -> Tensor | None:
        """By the owner, else by the nearest module above it that determines it."""
        raised = ""
        tried: list[str] = []
        for module in self.chains[id(one.owner)]:
            if not resets_of(module):
                continue
            tried.append(type(module).__name__)
            made = self._after(module)
            if isinstance(made, str):
                raised = raised or made
            elif id(one.tensor) in made:
                return made[id(one.tensor)]
        owner = type(one.owner).__name__
        if raised:
            why = f"which {tried[0]} does not rebuild: {raised}"
        elif tried:
            why = f"which resetting {' and '.join(dict.fromkeys(tried))} does not determine"
        else:
            why = f"which {owner} cannot rebuild: it has no {METHODS[0]}()"
        self.why[id(one.tensor)] = f"is a {one.kind} on the meta device {why}"
        return None

    def _after(self, module: nn.Module) -> dict[int, Tensor] | str:
        if id(module) not in self._resets:
            try:
                self._resets[id(module)] = reset(module, self.by_owner, self._key(module))
            except Exception as error:  # a user's reset may raise anything
                self._resets[id(module)] = f"its reset raises {type(error).__name__}: {error}"
        return self._resets[id(module)]

    # --- twins -----------------------------------------------------------------------------------

    def _constructed(self, one: Lost) -> Tensor | None:
        twin = self._twin(one.owner)
        if isinstance(twin, str):
            self.why[id(one.tensor)] += f", and {twin}"
            return None
        values = value_in(twin, one)
        if values is None:
            self.why[id(one.tensor)] += f", and a new {type(one.owner).__name__} has no such {one.kind}"
        return values

    def _twin(self, owner: nn.Module) -> nn.Module | str:
        if id(owner) not in self._twins:
            try:
                self._twins[id(owner)] = construct(owner, self._key(owner))
            except NotBuilt as why:
                self._twins[id(owner)] = str(why)
        return self._twins[id(owner)]

    def _key(self, module: nn.Module) -> int:
        own = self.by_owner.get(id(module), ())
        return stream_for(self.seed, own[0].name if own else "").key


def _chains(model: nn.Module, wanted: Collection[int]) -> dict[int, list[nn.Module]]:
    """Of each wanted module itself and the modules above it, the nearest first; along the first way to it."""
    chains: dict[int, list[nn.Module]] = {}
    open_: list[list[nn.Module]] = [[model]]
    while open_:
        chain = open_.pop()
        if id(chain[0]) in wanted:
            chains.setdefault(id(chain[0]), chain)
        open_ += [[child, *chain] for child in chain[0].children() if child not in chain]
    return chains


def _wrong(values: Any, tensor: Tensor) -> str:
    """What is wrong with the values, or nothing."""
    if not isinstance(values, Tensor):
        return f"gave {type(values).__name__}, not a tensor,"
    if values.is_meta:
        return "gave a tensor on the meta device"
    if values.shape != tensor.shape:
        return f"gave shape {tuple(values.shape)}, not {tuple(tensor.shape)},"
    if values.is_floating_point() != tensor.is_floating_point() or values.is_complex() != tensor.is_complex():
        return f"gave {values.dtype}, not {tensor.dtype},"
    if bool(torch.isnan(values).any()):
        return "gave NaN"
    return ""


def _remedy(missing: list[Lost], asked: Buffers) -> str:
    name = missing[0].name
    ways = [
        "buffers='construct' to build each owner anew on the CPU, where it shows the arguments it was built with",
        f"buffers={{{name!r}: tensor, …}}, or buffers=f with f(name, owner, buffer) giving a tensor",
        "or build the model under initpolicy.skip_default_init() in place of the meta device",
    ]
    return f"give what the modules cannot rebuild: {'; '.join(ways[asked == 'construct' :])}"
