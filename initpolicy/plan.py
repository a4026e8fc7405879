"""Policy + ModelFacts -> Plan: for every parameter, which rule wins and what exactly it asks for. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from initpolicy.calls import imported
from initpolicy.check import check_policy
from initpolicy.declare import declare, wrongly_declared
from initpolicy.diagnose import unknown_words, why_unused
from initpolicy.errors import PlanError, PolicyError, Problem
from initpolicy.formula import FormulaError, parse
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Initializer
from initpolicy.initializers.called import called
from initpolicy.matching import Matcher
from initpolicy.policy import Policy, Rule, Spec
from initpolicy.records import Assignment, AuditRow, Header, ModelFacts, ParamFacts, Signal, Site
from initpolicy.render import text
from initpolicy.render.words import counted, listed
from initpolicy.resolve import Resolver, walk
from initpolicy.variables import Variables

__all__ = ["Plan", "fingerprint", "make_plan", "row_of"]

_Holds = Callable[[ParamFacts, Site, Variables], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a policy means for one model: pure data, printable, valid for meta tensors."""

    policy: Policy
    seed: int | None
    """None: one is drawn when the plan is applied."""
    assignments: tuple[Assignment, ...]
    """One for every parameter name, in order of registration."""
    notes: tuple[str, ...] = ()
    initializers: Mapping[str, Initializer] = field(default_factory=dict, repr=False)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of BLAKE2b over policy name, seed, names, shapes and resolved arguments."""
        return fingerprint(self.policy.name, self.seed, self.assignments)

    @property
    def rows(self) -> tuple[AuditRow, ...]:
        """The audit's rows with nothing measured yet."""
        return tuple(row_of(assignment, self.seed) for assignment in self.assignments)

    @property
    def header(self) -> Header:
        """What stands above the rows."""
        return Header(
            policy=self.policy.name,
            description=self.policy.description,
            seed=self.seed,
            fingerprint=self.fingerprint,
            notes=self.notes,
        )

    def __str__(self) -> str:
        return text(self.header, self.rows)


def fingerprint(name: str, seed: int | None, assignments: tuple[Assignment, ...]) -> str:
    """16 hex digits that two plans share when they ask for the same values under the same seed."""
    asked = [
        [a.name, a.shape, a.status, [[p.region, p.initializer, dict(p.arguments)] for p in a.parts]]
        for a in assignments
    ]
    text = json.dumps([name, seed, sorted(asked, key=lambda entry: str(entry[0]))], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def row_of(assignment: Assignment, seed: int | None) -> AuditRow:
    """The row of one decision, measured columns blank."""
    a = assignment
    return AuditRow(
        name=a.name,
        aliases=a.aliases,
        shape=a.shape,
        dtype=a.dtype,
        device=a.device,
        module_type=a.module_type,
        status=a.status,
        reason=a.reason,
        rule=a.rule,
        shadowed=a.shadowed,
        initializer=a.initializer,
        arguments=a.arguments,
        activation=a.activation,
        input_activation=a.input_activation,
        found_by=a.found_by,
        fan_in=a.fan_in,
        fan_out=a.fan_out,
        gain=a.gain,
        gain_from=a.gain_from,
        expected_mean=a.expected_mean,
        expected_std=a.expected_std,
        low=a.low,
        high=a.high,
        seed=seed if a.status == "initialized" else None,
    )


def make_plan(
    policy: Policy,
    model: ModelFacts,
    *,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    trusted: tuple[str, ...] = (),
) -> Plan:
    """Decide every parameter.

    Raises:
        PolicyError: with every mistake of the policy itself.
        PlanError: with every place where it does not fit this model.
    """
    table = {**INITIALIZERS, **(initializers or {})}
    mistakes = check_policy(policy, table, trusted)
    if mistakes:
        raise PolicyError(*mistakes)
    table |= {call: called(call, imported(call, trusted)) for call in _calls(policy)}
    return _Planner(policy, model, table).plan(policy.seed if seed is None else seed)


def _calls(policy: Policy) -> Iterator[str]:
    return (spec.call for _, spec in walk(policy) if spec.call)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A rule that holds at a site, with the spec its pattern gives."""

    rule: str
    spec: Spec
    site: Site


class _Planner:
    """One policy against one model; collects problems as it goes."""

    def __init__(self, policy: Policy, model: ModelFacts, table: Mapping[str, Initializer]) -> None:
        self.policy, self.table = policy, table
        self.model = model = declare(model, policy.activations)
        self.variables = Variables(policy, model)
        self.matchers = {name: Matcher(rule.match, model) for name, rule in policy.rules.items()}
        self.excludes = tuple(Matcher(match, model) for match in policy.exclude)
        self.patterns = {name: _Patterns(rule) for name, rule in policy.rules.items()}
        self.resolver = Resolver(policy=policy, initializers=table, variables=self.variables)
        self.sites = {site.name: (param, site) for param in model.params for site in param.sites}
        self.problems: list[Problem] = []
        self.claimed: Counter[str] = Counter()
        self.lost: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Rule -> why parameters that it names were not its to claim."""
        self._claims: dict[int, tuple[_Claim, ...]] = {}

    def plan(self, seed: int | None) -> Plan:
        for place, why in (
            *unknown_words(self.policy, self.model),
            *wrongly_declared(self.model, self.policy.activations),
        ):
            self._problem(place, why)
        self._raise()
        assignments = tuple(a for param in self.model.params for a in self._decide(param))
        notes = [*self.model.notes, *self._unmatched(assignments), *self._unused(), *self._unresolved()]
        self._expected()
        self._raise()
        return Plan(policy=self.policy, seed=seed, assignments=assignments, notes=tuple(notes), initializers=self.table)

    def _raise(self) -> None:
        if self.problems:
            raise PlanError(*_folded(self.problems))

    def _problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(self.policy.name, place, message))

    # --- one parameter ---------------------------------------------------------------------------

    def _decide(self, param: ParamFacts) -> Iterator[Assignment]:
        decided = self._decide_tensor(param)
        yield decided
        for site in param.sites[1:]:
            reason = f"the same tensor as {param.name}"
            yield Assignment(facts=param, site=site, status="tied", reason=reason, tied_to=param.name)

    def _decide_tensor(self, param: ParamFacts) -> Assignment:
        site = param.sites[0]
        claims = self._claims_of(param)
        status, reason = self._off_limits(param)
        if status:
            for claim in claims:
                self.lost[claim.rule][status] += 1
            return Assignment(facts=param, site=site, status=status, reason=reason)
        if param.untouchable == "lazy":
            self._problem(param.name, "is an uninitialized lazy parameter; run one forward pass on a batch first")
            return Assignment(facts=param, site=site, status="skipped", reason="lazy")
        if not claims:
            return Assignment(facts=param, site=site, status="unmatched", reason="no rule claims it")
        self.claimed.update({claim.rule for claim in claims})
        winners = {claim.site.name: claim for claim in claims}  # the last at each site
        first = winners.get(site.name) or next(iter(winners.values()))
        for other in winners.values():
            if other.spec != first.spec:
                self._conflict(first, other)
                return Assignment(facts=param, site=site, status="unmatched")
        return self._assign(param, first, tuple(dict.fromkeys(c.rule for c in claims if c.rule != first.rule)))

    def _off_limits(self, param: ParamFacts) -> tuple[str, str]:
        """(status, reason) where no rule may write, or two empty strings."""
        for site in param.sites:
            for index, matcher in enumerate(self.excludes):
                if self._asks(matcher.holds_above, param, site, f"exclude.{index}.where"):
                    return "excluded", f"exclude.{index}"
        if param.untouchable and param.untouchable != "lazy":
            return "skipped", param.untouchable
        if not param.trainable and self.policy.frozen == "skip":
            return "frozen", "does not require gradients"
        return "", ""

    def _claims_of(self, param: ParamFacts) -> tuple[_Claim, ...]:
        known = self._claims.get(id(param))
        if known is None:
            known = self._claims[id(param)] = tuple(self._claim(param))
        return known

    def _claim(self, param: ParamFacts) -> Iterator[_Claim]:
        for site in param.sites:
            for name, matcher in self.matchers.items():
                spec = self.patterns[name].find(site.local)
                if spec is not None and self._asks(matcher.holds, param, site, f"rules.{name}.match.where"):
                    yield _Claim(rule=name, spec=spec, site=site)

    def _asks(self, holds: _Holds, param: ParamFacts, site: Site, place: str) -> bool:
        """Whether it holds; a formula that cannot be computed there is a problem, not a no."""
        try:
            return holds(param, site, self.variables)
        except FormulaError as error:
            self._problem(f"{place} → {site.name}", str(error))
            return False

    def _conflict(self, first: _Claim, other: _Claim) -> None:
        self._problem(
            f"rules.{first.rule} → {first.site.name}, rules.{other.rule} → {other.site.name}",
            f"one tied tensor is given two laws ({_brief(first.spec)}; {_brief(other.spec)}); "
            "exclude one of the names, or claim both with one rule placed last",
        )

    def _assign(self, param: ParamFacts, claim: _Claim, shadowed: tuple[str, ...]) -> Assignment:
        bare = Assignment(facts=param, site=claim.site, status="kept", rule=claim.rule, shadowed=shadowed)
        if claim.spec.name == "keep":
            return replace(bare, reason="keep")
        place = f"rules.{claim.rule} → {param.name}"
        try:
            spec, signal = self._inherited(claim)
            found = self.resolver.resolve(spec, param, claim.site, signal, self._groups(claim))
        except ValueError as error:
            self._problem(place, str(error))
            return bare
        return replace(
            bare,
            status="initialized",
            reason="; ".join(_remarks(param, claim.site, self.policy)),
            initializer=found.initializer,
            arguments=found.arguments,
            parts=found.parts,
            fan_in=found.fan_in,
            fan_out=found.fan_out,
            gain=found.gain,
            gain_from=found.gain_from,
            law=found.law,
        )

    def _groups(self, claim: _Claim) -> Mapping[str, float]:
        return self.matchers[claim.rule].groups(claim.site.owner)

    def _inherited(self, claim: _Claim) -> tuple[Spec, Signal]:
        """The spec itself, or that of the same parameter in the weighted layer before, as often as it inherits."""
        seen = {claim.site.name}
        signal = claim.site.signal
        while claim.spec.name == "inherit":
            previous = signal.previous
            if previous is None:
                raise ValueError(
                    f"inherit: the layer before {claim.site.owner.name or 'the model'} is not known "
                    f"({signal.found_by}); give an example_input, or name an initializer"
                )
            name = f"{previous}.{claim.site.local}" if previous else claim.site.local
            if name in seen or name not in self.sites:
                raise ValueError(
                    f"inherit: the layer before, {previous!r}, has no {claim.site.local!r} to inherit from"
                )
            seen.add(name)
            param, site = self.sites[name]
            claims = [c for c in self._claims_of(param) if c.site.name == name]
            if not claims or claims[-1].spec.name == "keep":
                raise ValueError(f"inherit: no rule initializes {name}, the layer before; name an initializer")
            claim, signal = claims[-1], site.signal
        return claim.spec, signal

    # --- the whole policy ------------------------------------------------------------------------

    def _unmatched(self, assignments: tuple[Assignment, ...]) -> Iterator[str]:
        names = [a.name for a in assignments if a.status == "unmatched"]
        if not names or self.problems:
            return
        line = f"{counted(len(names), 'parameter')} claimed by no rule: {listed(names, most=5)}"
        if self.policy.unmatched == "error":
            self._problem("unmatched", f"{line}; add a rule, 'keep' it, or exclude it")
        elif self.policy.unmatched == "warn":
            yield line

    def _unused(self) -> Iterator[str]:
        for name, rule in self.policy.rules.items():
            if self.claimed[name] or self.policy.unused == "ignore":
                continue
            why = why_unused(rule, self.matchers[name], self.model, self.lost[name])
            if self.policy.unused == "error":
                self._problem(f"rules.{name}", why)
            else:
                yield f"rules.{name}: {why}"

    def _expected(self) -> None:
        for name, rule in self.policy.rules.items():
            if rule.expect is None:
                continue
            try:
                number = self._expectation(name, rule)
            except FormulaError as error:
                self._problem(f"rules.{name}.expect", str(error))
                continue
            if number != self.claimed[name]:
                self._problem(
                    f"rules.{name}.expect",
                    f"{rule.expect} is {number:g}, but it claims {counted(self.claimed[name], 'parameter')}",
                )

    def _expectation(self, name: str, rule: Rule) -> float:
        if isinstance(rule.expect, int):
            return rule.expect
        matcher = self.matchers[name]
        groups: dict[str, float] = {}
        for module in self.model.modules:
            groups |= matcher.groups(module)
        return float(parse(str(rule.expect)).evaluate({**groups, **self.policy.vars}))

    def _unresolved(self) -> Iterator[str]:
        """Rules that asked for an activation where none is known, those that were blind alike in one line."""
        asking: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, rule in self.policy.rules.items():
            blind = tuple(self._blind(name)) if rule.match.activation else ()
            if blind:
                asking[blind].append(f"rules.{name}")
        for blind, rules in asking.items():
            ask = "asks" if len(rules) == 1 else "ask"
            yield (
                f"{', '.join(rules)} {ask} what follows, which is not known for {listed(list(blind), most=5)}; "
                "give an example_input, or state it under 'activations'"
            )

    def _blind(self, rule: str) -> Iterator[str]:
        """Weights that the rule would claim if it knew what follows them."""
        for param in self.model.params:
            for site in param.sites:
                if (
                    not site.signal.following
                    and site.layout.axes
                    and self.patterns[rule].find(site.local) is not None
                    and self.matchers[rule].module_holds(site.owner)
                ):
                    yield site.name


class _Patterns:
    """A rule's patterns of local names; the last that fits wins."""

    def __init__(self, rule: Rule) -> None:
        self._specs = tuple(reversed(rule.init.items()))
        self._known: dict[str, Spec | None] = {}

    def find(self, local: str) -> Spec | None:
        """The spec for a parameter of this local name."""
        if local not in self._known:
            self._known[local] = next((s for pattern, s in self._specs if fnmatchcase(local, pattern)), None)
        return self._known[local]


def _remarks(param: ParamFacts, site: Site, policy: Policy) -> Iterator[str]:
    """What a reader of the row must know besides."""
    if param.padding_idx is not None:
        yield f"row {param.padding_idx} (padding_idx) stays zero"
    if param.parametrization:
        yield f"set through {', '.join(param.parametrization)}"
    if not site.layout.known and site.layout.axes and policy.fans == "module":
        yield "unknown owner: fans by torch's rule" if "stack" not in site.layout.axes else "taken for stacked experts"


def _brief(spec: Spec) -> str:
    return ", ".join([spec.name or spec.call, *(f"{key}={value}" for key, value in spec.arguments.items())])


def _folded(problems: list[Problem], most: int = 5) -> Iterator[Problem]:
    """Problems in order; of one rule's, the first few and a count."""
    groups: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in dict.fromkeys(problems):
        groups[problem.place.partition(" → ")[0]].append(problem)
    for place, group in groups.items():
        yield from group[:most]
        if len(group) > most:
            yield Problem(group[0].source, place, f"{counted(len(group) - most, 'more parameter')} like these")
