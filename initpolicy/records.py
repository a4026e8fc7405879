"""The nouns that the stages hand to each other: frozen, slotted, keyword-only, free of torch.

survey -> ModelFacts,   plan -> Assignment,   apply -> Measure,   audit -> AuditRow
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Activation",
    "Assignment",
    "AuditRow",
    "Block",
    "ClassNames",
    "Header",
    "Hit",
    "Law",
    "Layout",
    "Measure",
    "ModelFacts",
    "ModuleFacts",
    "ParamFacts",
    "Part",
    "Signal",
    "Site",
    "Status",
    "Verdict",
]

Status = Literal["initialized", "kept", "tied", "frozen", "excluded", "skipped", "unmatched"]
Verdict = Literal["ok", "off", ""]


# --- what the model is ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassNames:
    """The names a class answers to, its own first, then each base's in method resolution order.

    Each entry holds the simple name (``Linear``), the defining one
    (``torch.nn.modules.linear.Linear``) and every public alias (``torch.nn.Linear``).
    """

    mro: tuple[tuple[str, ...], ...]

    @property
    def simple(self) -> str:
        return self.mro[0][0]

    @property
    def qualified(self) -> str:
        return self.mro[0][1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModuleFacts:
    """One module of the model: where it sits, what it is, and its public numbers."""

    name: str
    """Canonical dotted name; wrapper segments dropped; ``""`` for the root."""
    classes: ClassNames
    parent: ModuleFacts | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    """The module's public numeric attributes (``hidden_size``, ``num_heads``, ``out_features`` …)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What each axis of a stored weight means, so that fans need no guessing from the shape.

    ``axes`` has one word an axis: ``out``, ``in``, ``k`` (receptive field: summed over, or the
    position in a kernel), ``stack`` (independent copies, as experts). Empty: the tensor has no fans
    (a bias, a norm's scale). Axis 0 is the one stored undivided by ``groups``, in convolutions and in
    transposed ones alike.
    """

    axes: tuple[str, ...] = ()
    groups: int = 1
    stride: int = 1
    """Product of a transposed convolution's strides: only kernel/stride taps reach one output."""
    one_hot: bool = False
    """The input is an index (Embedding): one input is on at a time, so fan_in is 1."""
    blocks: tuple[str, ...] = ()
    """Names of the equal blocks packed along the ``out`` axis (or axis 0 of a bias): gates, q/k/v."""
    kind: str = ""
    """What the tensor is to its owner: weight, bias, scale (a norm's), shift, slope, table, other."""
    known: bool = True
    """False: the owner is unknown and torch's rule was used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An activation by canonical name (or the user's own class name) and its arguments."""

    name: str
    arguments: tuple[tuple[str, float], ...] = ()
    exact: tuple[float, float] | None = None
    """(1/sqrt(E[f(z)^2]), 1/sqrt(E[f'(z)^2])), z ~ N(0, 1), of one that no vocabulary has, computed when found."""
    class_name: str = ""
    """The user's own class that computes it, if one does."""

    @property
    def words(self) -> frozenset[str]:
        """What a match may call it: its name, its class, and ``custom`` where its gains are its own."""
        return frozenset({self.name, self.class_name, "custom" if self.exact else ""} - {""})

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={value:g}" for key, value in self.arguments)
        return f"{self.name}({inner})" if inner else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One nonlinearity that a parameter meets, and the way to it."""

    activation: Activation
    path: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """What lay on the way: norm, add, mul, cat, pool, gated, attention logit."""

    def __str__(self) -> str:
        way, through = " → ".join(self.path), ", ".join(self.flags)
        return f"{self.activation}{way and f': {way}'}{through and f' ({through})'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What feeds a parameter's product and what it feeds; no hits means *not known*, never identity."""

    following: tuple[Hit, ...] = ()
    """Primary answer first; these are what a match may claim."""
    preceding: tuple[Hit, ...] = ()
    further_following: tuple[Hit, ...] = ()
    """What else the walk met: past one merge more, behind a gate or a global pool, a layer beside an activation.
    The nearest first; to be seen, and for no match and no gain."""
    further_preceding: tuple[Hit, ...] = ()
    norm_before: bool = False
    """A norm directly feeds the layer: its input has unit variance, so its forward gain is 1."""
    found_by: str = "unresolved"
    previous: str | None = None
    """Canonical name of the weighted module whose output reaches this one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One place a parameter hangs at; a tied parameter has several."""

    name: str
    owner: ModuleFacts
    local: str
    layout: Layout
    signal: Signal = field(default_factory=Signal)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamFacts:
    """All that is known of one parameter tensor."""

    sites: tuple[Site, ...]
    """In order of registration; the first names the parameter."""
    path: str
    """The attribute path in the real module tree, wrappers included; only ``apply`` needs it."""
    shape: tuple[int, ...]
    """Global shape of the effective tensor."""
    dtype: str
    device: str
    trainable: bool
    untouchable: str = ""
    """Why it must not be written (not floating point, ``_no_reinit`` …), or empty."""
    padding_idx: int | None = None
    """A row that stays zero."""
    parametrization: tuple[str, ...] = ()
    """Class names of the parametrizations between the stored and the effective tensor."""

    @property
    def name(self) -> str:
        return self.sites[0].name

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(site.name for site in self.sites[1:])

    @property
    def key(self) -> str:
        """The name the random stream is keyed by: it must not depend on the order of registration."""
        return min(site.name for site in self.sites)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One record for each parameter and module, in order of registration."""

    params: tuple[ParamFacts, ...]
    modules: tuple[ModuleFacts, ...]
    notes: tuple[str, ...] = ()
    """What the survey wants said once."""
    finding: tuple[str, ...] = ()
    """How activations were found, where that must be said; of interest only to a policy that asks for them."""
    activations: Mapping[str, Activation] = field(default_factory=dict)
    """Those that the program gave a name to, by that name."""


# --- what is to be done --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What an initializer promises for one tensor: moments, open bounds, and how far chance may stray."""

    kind: str
    """normal, uniform, trunc_normal, constant, … : the family the density belongs to."""
    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf
    mean_error: float = 0.0
    """Standard error of the measured mean at this size."""
    freedom: float = math.inf
    """Effective degrees of freedom of the measured variance: inf where it does not vary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The tensor, or the part of one, that is to be filled: all an initializer may know of it."""

    name: str
    """The parameter's name and the part's label (``lstm.weight_hh_l0[1]``): what its stream is keyed by."""
    local: str
    shape: tuple[int, ...]
    dtype: str
    fan_in: float | None = None
    fan_out: float | None = None
    groups: int = 1
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Every name a formula may use here; empty where the initializer takes none."""

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A box of the tensor that one initializer fills by itself."""

    region: tuple[tuple[int, int], ...]
    """(start, stop) on each axis of the tensor."""
    block: Block
    """What the initializer is told; its shape is the box's, without the axes of stacked copies."""
    initializer: str
    """A name in the table, or the path of a user's function."""
    arguments: Mapping[str, object]
    """Resolved: every formula a number."""
    law: Law | None = None
    """None: nothing to compare with (a user's own function)."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The decision about one parameter, and why."""

    facts: ParamFacts
    site: Site
    """The place whose match decided."""
    status: Status
    reason: str = ""
    rule: str = ""
    shadowed: tuple[str, ...] = ()
    """Rules that matched and lost, in order."""
    initializer: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    fan_in: float | None = None
    fan_out: float | None = None
    gain: float | None = None
    gain_from: str = ""
    """Whose gain it is and why (``following relu``, ``given``, ``norm before``)."""
    law: Law | None = None
    tied_to: str = ""
    """The name that carries the decision, where this row is another name of the same tensor."""

    @property
    def name(self) -> str:
        return self.site.name if self.tied_to else self.facts.name

    @property
    def aliases(self) -> tuple[str, ...]:
        return () if self.tied_to else self.facts.aliases

    @property
    def shape(self) -> tuple[int, ...]:
        return self.facts.shape

    @property
    def dtype(self) -> str:
        return self.facts.dtype

    @property
    def device(self) -> str:
        return self.facts.device

    @property
    def module_type(self) -> str:
        return self.site.owner.classes.simple

    @property
    def activation(self) -> str:
        return _shown(self.site.signal.following)

    @property
    def input_activation(self) -> str:
        return _shown(self.site.signal.preceding)

    @property
    def found_by(self) -> str:
        return self.site.signal.found_by

    @property
    def path(self) -> tuple[str, ...]:
        return _primary(self.site.signal.following).path

    @property
    def flags(self) -> tuple[str, ...]:
        return _primary(self.site.signal.following).flags

    @property
    def other_hits(self) -> tuple[str, ...]:
        signal = self.site.signal
        return tuple(map(str, (*signal.following[1:], *signal.further_following)))

    @property
    def input_path(self) -> tuple[str, ...]:
        return _primary(self.site.signal.preceding).path

    @property
    def input_flags(self) -> tuple[str, ...]:
        return _primary(self.site.signal.preceding).flags

    @property
    def other_input_hits(self) -> tuple[str, ...]:
        signal = self.site.signal
        return tuple(map(str, (*signal.preceding[1:], *signal.further_preceding)))

    @property
    def expected_mean(self) -> float | None:
        return None if self.law is None else self.law.mean

    @property
    def expected_std(self) -> float | None:
        return None if self.law is None else self.law.std

    @property
    def low(self) -> float | None:
        return None if self.law is None else self.law.low

    @property
    def high(self) -> float | None:
        return None if self.law is None else self.law.high


def _shown(hits: tuple[Hit, ...]) -> str:
    """The primary answer, then the others."""
    return " | ".join(dict.fromkeys(str(hit.activation) for hit in hits))


def _primary(hits: tuple[Hit, ...]) -> Hit:
    """The first, or one of no way where nothing is known."""
    return hits[0] if hits else _NO_HIT


_NO_HIT = Hit(activation=Activation(name=""))


# --- what was done -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What lies in memory after writing, read back."""

    count: int
    mean: float
    std: float
    """Population standard deviation (divisor n)."""
    min: float
    max: float
    digest: str
    """XXH3-128 over the XXH3-128 digests of the 65,536-element blocks, 32 hex digits."""
    finite: bool = True
    reason: str = ""
    held: str = ""
    """Which part of a sharded tensor was measured (``rank 1 holds [32:64, :]``); empty: all of it."""
    parts: tuple[Measure, ...] = ()
    """Each part by itself, where a tensor is filled in several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One parameter: what was decided, what was expected, what was measured. None means blank."""

    name: str
    aliases: tuple[str, ...] = ()
    shape: tuple[int, ...]
    dtype: str
    device: str
    module_type: str
    status: Status
    reason: str = ""
    rule: str = ""
    shadowed: tuple[str, ...] = ()
    initializer: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    activation: str = ""
    input_activation: str = ""
    found_by: str = ""
    fan_in: float | None = None
    fan_out: float | None = None
    gain: float | None = None
    gain_from: str = ""
    expected_mean: float | None = None
    expected_std: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    verdict: Verdict = ""
    seed: int | None = None
    digest: str = ""
    path: tuple[str, ...] = ()
    """The way from the parameter to the activation that follows, each step a module's name or an operation."""
    flags: tuple[str, ...] = ()
    """What lay on that way: norm, add, mul, cat, pool, gated, attention logit."""
    other_hits: tuple[str, ...] = ()
    """What else it meets, ``identity: conv1 → add → fc (add)``: further answers first, then what no match takes."""
    input_path: tuple[str, ...] = ()
    """The same of the activation that precedes, its way in the order that the signal goes."""
    input_flags: tuple[str, ...] = ()
    other_input_hits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands above the rows."""

    policy: str
    description: str = ""
    seed: int | None = None
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    """Lines that must be said once: unmatched names, duplicates, how activations were found."""
