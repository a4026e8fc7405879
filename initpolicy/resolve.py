"""A spec at one parameter -> the parts to fill, every formula a number, every gain decided, every law stated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from initpolicy.errors import meant, shown
from initpolicy.facts.layout import parse_layout, part_layout
from initpolicy.formula import FormulaError, parse
from initpolicy.gain import WHOSE, decide_gain
from initpolicy.initializers import ALIASES, INITIALIZERS
from initpolicy.initializers.base import Argument, Initializer, check_values, unset
from initpolicy.policy import Policy, Spec
from initpolicy.records import Activation, Block, Law, Layout, ParamFacts, Part, Signal, Site
from initpolicy.variables import Fans, Variables

__all__ = ["DIRECTIVES", "Resolution", "Resolver", "group_hint", "lookup", "reads_signal", "walk", "wants_signals"]

DIRECTIVES = ("blocks", "gates", "inherit", "keep")
"""Names that say which initializer goes where, and are none themselves."""

Region = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What one spec means for one parameter."""

    initializer: str
    arguments: Mapping[str, object]
    """Those of every part where they agree, else ``{"parts": [...]}``."""
    parts: tuple[Part, ...]
    layout: Layout
    """Of the whole tensor: stated, or the module's own."""
    fan_in: float | None = None
    fan_out: float | None = None
    gain: float | None = None
    gain_from: str = ""
    law: Law | None = None
    """Of the whole tensor; None where some part promises nothing."""
    source: str = ""
    """The parameter whose spec it is, where that was inherited."""


def lookup(name: str, table: Mapping[str, Initializer]) -> Initializer:
    """The initializer of this name or alias.

    Raises:
        ValueError: naming what was probably meant.
    """
    found = table.get(name) or table.get(ALIASES.get(name, ""))
    if found is None:
        known = [*table, *ALIASES, *DIRECTIVES]
        hint = meant(name, known) or f"; known are {', '.join(sorted({*table, *DIRECTIVES}))}"
        raise ValueError(f"unknown initializer {name!r}{hint}")
    return found


def walk(policy: Policy) -> Iterator[tuple[str, Spec]]:
    """Every spec of a policy, those inside others too, with its place."""
    for name, rule in policy.rules.items():
        for pattern, spec in rule.init.items():
            yield from _within(f"rules.{name}.init.{pattern}", spec)


def _within(place: str, spec: Spec) -> Iterator[tuple[str, Spec]]:
    yield place, spec
    for index, part in enumerate(spec.parts):
        yield from _within(f"{place}.parts.{index}", part)
    for gate, part in spec.gates.items():
        yield from _within(f"{place}.{gate}", part)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a spec is read: one parameter, at the site that decides, with what feeds and follows it."""

    param: ParamFacts
    site: Site
    signal: Signal
    groups: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A leaf of a spec and the box it fills."""

    spec: Spec
    owner: str
    """Class of the module that the tensor belongs to."""
    label: str = ""
    region: Region
    kept: tuple[int, ...]
    """The region's axes without those of stacked copies that it holds one of; ``layout`` has a word for each."""
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.region[axis][1] - self.region[axis][0] for axis in self.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reads:
    """What the meaning of a spec depends on at a parameter, besides its shape, dtype and layout."""

    spec: Spec
    variables: tuple[str, ...]
    """Names in its formulas."""
    signal: bool
    """What feeds and follows the parameter."""
    name: bool
    """Possibly anything, its name too: an initializer that is not ours, or that reads from outside."""


def _reads_of(spec: Spec, initializers: Mapping[str, Initializer]) -> _Reads:
    variables: set[str] = set()
    signal = name = False
    for _, leaf in _within("", spec):
        if leaf.name in DIRECTIVES:
            continue
        initializer = lookup(leaf.call or leaf.name, initializers)
        variables |= _variables(initializer, leaf.arguments)
        signal = signal or reads_signal(initializer, leaf.arguments)
        name = name or initializer.fallible or INITIALIZERS.get(initializer.name) is not initializer
    return _Reads(spec=spec, variables=tuple(sorted(variables)), signal=signal, name=name)


def _variables(initializer: Initializer, arguments: Mapping[str, Any]) -> frozenset[str]:
    """The names in the formulas among the arguments."""
    kinds = {argument.name: argument for argument in initializer.arguments}
    texts = (value for name, value in arguments.items() if _is_formula(kinds.get(name), value))
    return frozenset().union(*(parse(text).names for text in (*texts, *_elementwise(initializer, arguments))))


def reads_signal(initializer: Initializer, arguments: Mapping[str, Any]) -> bool:
    """Whether these arguments leave something to the activations around the parameter: see `gain.decide_gain`."""
    if "gain" in _variables(initializer, arguments):
        return True
    defaults = unset(initializer)
    if "gain" not in defaults:
        return False
    gain, word, slope = ({**defaults, **arguments}.get(name) for name in ("gain", "nonlinearity", "a"))
    if arguments.get("gain") not in (None, "auto"):
        return False
    if word is not None or slope is not None:
        return word in WHOSE
    return gain in (None, "auto")


def wants_signals(policy: Policy, initializers: Mapping[str, Initializer] | None = None) -> bool:
    """Whether anything in the policy depends on the activations around a parameter; ``initializers``: the user's."""
    table = {**INITIALIZERS, **(initializers or {})}
    matches = [*(rule.match for rule in policy.rules.values()), *policy.exclude]
    for match in matches:
        if match.activation or match.input_activation:
            return True
        if match.not_ is not None:
            matches.append(match.not_)
    return any(_wants(spec, table) for _, spec in walk(policy))


def _wants(spec: Spec, initializers: Mapping[str, Initializer]) -> bool:
    if spec.name in DIRECTIVES or spec.call:
        return spec.name == "inherit"
    try:
        initializer = lookup(spec.name, initializers)
        return isinstance(initializer, Initializer) and reads_signal(initializer, spec.arguments)
    except ValueError:  # refused while planning, as what is no initializer
        return False


def _renamed(found: Resolution, old: str, new: str) -> Resolution:
    """The same for a parameter of another name."""
    parts = tuple(
        replace(part, block=replace(part.block, name=new + part.block.name.removeprefix(old))) for part in found.parts
    )
    return replace(found, parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Everything a spec is read against."""

    policy: Policy
    initializers: Mapping[str, Initializer]
    """The table, and the user's functions under their paths."""
    variables: Variables
    activations: Mapping[str, Activation] = field(default_factory=dict)
    """Those that the program gave a name to."""
    _reads: dict[int, _Reads] = field(default_factory=dict, init=False, repr=False)
    """By the spec's id, which stays its own: each keeps its spec."""
    _known: dict[tuple[object, ...], tuple[str, Resolution]] = field(default_factory=dict, init=False, repr=False)
    """All that a resolution depends on -> the parameter that it was made for, and what it is."""

    def reads(self, spec: Spec) -> _Reads:
        """What the spec's meaning depends on, besides the tensor itself."""
        known = self._reads.get(id(spec))
        if known is None:
            known = self._reads[id(spec)] = _reads_of(spec, self.initializers)
        return known

    def resolve(
        self, spec: Spec, param: ParamFacts, site: Site, signal: Signal, groups: Mapping[str, float]
    ) -> Resolution:
        """Parts that cover the parameter, in order; what is to be kept is in none of them.

        What is alike in all that the spec reads is resolved once; the rest of a model of many layers is renamed.

        Raises:
            ValueError: with a reason that reads after ``rules.x → name:``.
        """
        reads = self.reads(spec)
        if reads.name:
            return self._resolved(spec, param, site, signal, groups)
        names = self.variables.told(reads.variables, param, site, groups) if reads.variables else {}
        key = (
            id(spec),
            param.shape,
            param.dtype,
            site.local,
            site.layout,
            tuple(names.items()),
            signal if reads.signal else None,
        )
        known = self._known.get(key)
        if known is not None:
            return _renamed(known[1], known[0], param.key)
        found = self._resolved(spec, param, site, signal, groups)
        self._known[key] = param.key, found
        return found

    def _resolved(
        self, spec: Spec, param: ParamFacts, site: Site, signal: Signal, groups: Mapping[str, float]
    ) -> Resolution:
        at = _Place(param=param, site=site, signal=signal, groups=groups)
        whole = _Piece(
            spec=spec,
            owner=site.owner.classes.simple,
            region=tuple((0, size) for size in param.shape),
            kept=tuple(range(len(param.shape))),
            layout=_stated(spec, site.layout, len(param.shape)),
        )
        pieces = list(_cut(whole))
        decided = [part for piece in pieces if piece.spec.name != "keep" for part in self._fill(piece, at)]
        parts = tuple(part for part, _, _ in decided)
        of = {(part.block.fan_in, part.block.fan_out) for part in parts}
        fans = of.pop() if len(of) == 1 else self.variables.fans(param.shape, whole.layout) or (None, None)
        gains = {(gain, why) for _, gain, why in decided}
        gain, why = gains.pop() if len(gains) == 1 else (None, "")
        names = {part.initializer for part in parts}
        return Resolution(
            initializer=names.pop() if len(names) == 1 else spec.name,
            arguments=_together([part.arguments for part in parts]),
            parts=parts,
            layout=whole.layout,
            fan_in=fans[0],
            fan_out=fans[1],
            gain=gain,
            gain_from=why,
            law=None if any(piece.spec.name == "keep" for piece in pieces) else _mixture(parts),
        )

    def _fill(self, piece: _Piece, at: _Place) -> Iterator[tuple[Part, float | None, str]]:
        """The piece as one part, or as a part for each stacked copy where its initializer makes whole matrices."""
        spec = piece.spec
        initializer = lookup(spec.call or spec.name, self.initializers)
        if initializer.make is None or initializer.whole or "stack" not in piece.layout.axes:
            yield self._part(initializer, piece, at)
            return
        place = piece.layout.axes.index("stack")
        axis, kept = piece.kept[place], (*piece.kept[:place], *piece.kept[place + 1 :])
        layout = replace(piece.layout, axes=(*piece.layout.axes[:place], *piece.layout.axes[place + 1 :]))
        start, stop = piece.region[axis]
        for index in range(start, stop):
            region = (*piece.region[:axis], (index, index + 1), *piece.region[axis + 1 :])
            label = f"{piece.label}[{index - start}]"
            yield from self._fill(replace(piece, label=label, region=region, kept=kept, layout=layout), at)

    def _part(self, initializer: Initializer, piece: _Piece, at: _Place) -> tuple[Part, float | None, str]:
        known = self.variables.block(at.site, piece.layout, piece.shape, at.groups)
        given, gain, why = self._numbers(initializer, piece.spec.arguments, at.signal, known)
        values, wrong = check_values(initializer, given)
        if wrong:
            written = piece.spec.arguments
            said = [f"{initializer.name}: {name} {reason}{_source(written.get(name))}" for name, reason in wrong]
            raise ValueError("; ".join(said))
        block = _block(initializer, piece, self.variables.fans(piece.shape, piece.layout), known, at)
        try:
            law = initializer.law(block, values)
        except ValueError as error:
            raise ValueError(f"{initializer.name} {error}") from None
        except ArithmeticError as error:
            raise ValueError(f"{initializer.name} has no finite moments with these arguments: {error}") from None
        given = {name: value for name, value in values.items() if value is not None}
        part = Part(region=piece.region, block=block, initializer=initializer.name, arguments=given, law=law)
        return part, gain, why

    def _numbers(
        self, initializer: Initializer, arguments: Mapping[str, Any], signal: Signal, known: dict[str, Any]
    ) -> tuple[dict[str, Any], float | None, str]:
        """The arguments with every formula computed and the gain decided; (arguments, gain, whose it is)."""
        kinds = {argument.name: argument for argument in initializer.arguments}
        given = {name: value for name, value in arguments.items() if value is not None}
        defaults = unset(initializer)
        late = {name: value for name, value in given.items() if _is_formula(kinds.get(name), value)}
        plain = {**defaults, **{name: value for name, value in given.items() if name not in late}}
        if any("gain" in parse(text).names for text in (*late.values(), *_elementwise(initializer, given))):
            asked = {**plain, "gain": "auto"}
            try:
                known["gain"] = decide_gain(asked, None, signal, self.policy, self.activations)[0]
            except ValueError as error:
                raise ValueError(f"'gain' is not known here: {error}") from None
        numbers = {**given, **{name: _computed(name, text, known) for name, text in late.items()}}
        if "gain" not in kinds:
            return numbers, None, ""
        asked = {**plain, **numbers, "gain": numbers.get("gain")}
        gain, why = decide_gain(asked, defaults["gain"], signal, self.policy, self.activations)
        return {**numbers, "gain": gain}, gain, why


def _is_formula(argument: Argument | None, value: object) -> bool:
    """Whether the value is text that stands for a number."""
    if argument is None or not isinstance(value, str) or argument.kind not in ("number", "integer", "gain"):
        return False
    return not (argument.kind == "gain" and value == "auto")


def _elementwise(initializer: Initializer, given: Mapping[str, Any]) -> Iterator[str]:
    """Formulas that are computed for each element, as far as they can be read."""
    for argument in initializer.arguments:
        text = given.get(argument.name)
        if argument.kind == "formula" and isinstance(text, str):
            yield text


def _computed(name: str, text: str, known: Mapping[str, Any]) -> float:
    try:
        return parse(text).evaluate(known)
    except FormulaError as error:
        raise ValueError(f"{name}: {error}{group_hint(text, known)}") from None


def _source(written: object) -> str:
    """``, the value of 'fan_in - 4'``: where a number comes from that a formula gave."""
    return f", the value of {shown(written)}" if isinstance(written, str) and parse(written).names else ""


def group_hint(text: str, known: Mapping[str, Any]) -> str:
    """What would give a formula its ``n_layer``, where nothing that is known is called almost so."""
    for name in sorted(parse(text).names - known.keys()):
        if name.startswith("n_") and not meant(name, known):
            return f"; a group (?P<{name[2:]}>\\d+) in the rule's match.name would give {name}"
    return ""


def _block(initializer: Initializer, piece: _Piece, fans: Fans, known: dict[str, Any], at: _Place) -> Block:
    fan_in, fan_out = fans or (None, None)
    return Block(
        name=at.param.key + piece.label,
        local=at.site.local,
        shape=piece.shape,
        dtype=at.param.dtype,
        fan_in=fan_in,
        fan_out=fan_out,
        groups=piece.layout.groups,
        variables=known if any(argument.kind == "formula" for argument in initializer.arguments) else {},
    )


# --- cutting a tensor ----------------------------------------------------------------------------


def _stated(spec: Spec, layout: Layout, ndim: int) -> Layout:
    """The layout that the spec states, with the module's groups, and its packed blocks if they are packed along the
    same axis; the module's own layout if the spec states none."""
    if not spec.layout:
        return layout
    axes = parse_layout(spec.layout, ndim).axes
    if axes == layout.axes:
        return layout
    blocks = layout.blocks if _outputs(axes) == _outputs(layout.axes) else ()
    return replace(layout, axes=axes, blocks=blocks, stride=1, one_hot=False, known=True)


def _outputs(axes: tuple[str, ...]) -> int:
    """The axis that blocks are packed along."""
    return axes.index("out") if "out" in axes else 0


def _cut(piece: _Piece) -> Iterator[_Piece]:
    """The leaves of the spec, each with the box it fills."""
    spec, blocks = piece.spec, piece.layout.blocks
    if spec.name == "blocks":
        yield from _equal(piece, spec.parts, spec.dim)
    elif spec.name == "gates":
        _check_gates(piece)
        yield from _equal(piece, tuple(spec.gates[name] for name in blocks), 0)
    elif spec.split == "gates" and not blocks:
        raise ValueError(f"split: gates, but {_no_gates(piece)}; give a number of blocks")
    elif spec.split is not None:
        count = len(blocks) if spec.split == "gates" else spec.split
        inner = spec.model_copy(update={"split": None, "dim": 0})
        yield from _equal(piece, (inner,) * count, 0 if spec.split == "gates" else spec.dim)
    else:
        yield piece


def _check_gates(piece: _Piece) -> None:
    """Raises ValueError unless each gate that the tensor has is named, and no other."""
    given, blocks = piece.spec.gates, piece.layout.blocks
    if not blocks:
        raise ValueError(f"gates: {_no_gates(piece)}; cut it with 'blocks' or 'split: <number>'")
    lacks = [name for name in blocks if name not in given]
    wrong = [f"{name!r}{meant(name, lacks)}" for name in given if name not in blocks]
    if lacks or wrong:
        what = [f"missing {', '.join(lacks)}"] * bool(lacks) + [f"unknown {', '.join(wrong)}"] * bool(wrong)
        raise ValueError(f"gates: {piece.owner} has {', '.join(blocks)}, each to be named once; {'; '.join(what)}")


def _no_gates(piece: _Piece) -> str:
    return f"{piece.owner} packs no gates into this {piece.shape}"


def _equal(piece: _Piece, specs: tuple[Spec, ...], dim: int) -> Iterator[_Piece]:
    """Equal boxes along ``dim``, one for each spec."""
    shape, region = piece.shape, piece.region
    if not -len(shape) <= dim < len(shape):
        raise ValueError(f"dim {dim} is no axis of the shape {shape}")
    axis, count = dim % len(shape), len(specs)
    if shape[axis] % count:
        raise ValueError(f"{count} equal blocks do not fit axis {axis} of {shape}")
    size, origin = shape[axis] // count, region[axis][0]
    layout = part_layout(piece.layout, count, axis)
    for index, spec in enumerate(specs):
        start = origin + index * size
        box = (*region[:axis], (start, start + size), *region[axis + 1 :])
        yield from _cut(
            replace(
                piece,
                spec=spec,
                label=f"{piece.label}[{index}]",
                region=box,
                layout=_stated(spec, layout, len(shape)),
            )
        )


# --- parts together ------------------------------------------------------------------------------


def _together(arguments: list[Mapping[str, object]]) -> Mapping[str, object]:
    """The arguments of all parts where they agree, else each part's."""
    if not arguments:
        return {}
    return arguments[0] if all(one == arguments[0] for one in arguments) else {"parts": list(arguments)}


def _mixture(parts: tuple[Part, ...]) -> Law | None:
    """The law of the whole tensor: with weights w = n/N,

    mean m = sum w m_i, variance v = sum w (v_i + m_i²) - m², standard error sqrt(sum w² e_i²), and the degrees of
    freedom that give v the variance it has: each part's measured (v_i, m_i) varies by 2 v_i²/f_i and e_i².
    """
    laws = [(part.law, math.prod(part.shape)) for part in parts]
    total = sum(count for _, count in laws)
    known = [(law, count / total if total else 1 / len(laws)) for law, count in laws if law is not None]
    if not known or len(known) < len(laws):
        return None
    if len(known) == 1:
        return known[0][0]
    mean = sum(w * law.mean for law, w in known)
    variance = sum(w * (law.std**2 + (law.mean - mean) ** 2) for law, w in known)
    wobble = sum(
        w**2 * (2 * law.std**4 / law.freedom + (2 * (law.mean - mean) * law.mean_error) ** 2) for law, w in known
    )
    kinds = {law.kind for law, _ in known}
    return Law(
        kind=kinds.pop() if len(kinds) == 1 else "mixture",
        mean=mean,
        std=math.sqrt(variance),
        low=min(_least(law) for law, _ in known),
        high=max(_most(law) for law, _ in known),
        mean_error=math.sqrt(sum((w * law.mean_error) ** 2 for law, w in known)),
        freedom=2 * variance**2 / wobble if wobble else math.inf,
    )


def _least(law: Law) -> float:
    """No value lies at or below it; a constant's own value is inside."""
    return math.nextafter(law.mean, -math.inf) if law.std == 0 else law.low


def _most(law: Law) -> float:
    return math.nextafter(law.mean, math.inf) if law.std == 0 else law.high
