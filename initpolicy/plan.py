"""Policy + ModelFacts -> Plan: for every parameter, which rule wins and what exactly it asks for. Writes nothing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from initpolicy.calls import imported
from initpolicy.check import check_policy
from initpolicy.collector import paused
from initpolicy.declare import declare, wrongly_declared, wrongly_registered
from initpolicy.diagnose import blind_rules, misspelt, unknown_words, why_unused
from initpolicy.errors import PlanError, PolicyError, Problem
from initpolicy.formula import FormulaError, parse
from initpolicy.gain import DEFAULT
from initpolicy.initializers import INITIALIZERS
from initpolicy.initializers.base import Initializer
from initpolicy.initializers.called import called
from initpolicy.matching import Matcher, Patterns
from initpolicy.policy import Match, Policy, Spec
from initpolicy.records import Assignment, AuditRow, Header, ModelFacts, ParamFacts, Signal, Site, Status
from initpolicy.render import explain, text
from initpolicy.render.words import counted, listed
from initpolicy.resolve import Resolution, Resolver, group_hint, walk
from initpolicy.rows import fingerprint, row_of, used
from initpolicy.variables import Variables

__all__ = ["Plan", "make_plan"]

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
        with paused():
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

    def explain(self, name: str, width: int | None = None) -> str:
        """Why one parameter gets what it gets: rules, initializer, gain, and the ways to what surrounds it.

        Raises:
            ValueError: for a name that no parameter has.
        """
        return explain(self.rows, name, width)

    def __str__(self) -> str:
        return text(self.header, self.rows)


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
    table = {**INITIALIZERS, **_own(policy, initializers or {})}
    mistakes = check_policy(policy, table, trusted, model.activations)
    if mistakes:
        raise PolicyError(*mistakes)
    table |= {call: called(call, imported(call, trusted)) for call in _calls(policy)}
    with paused():
        return _Planner(policy, model, table).plan(policy.seed if seed is None else seed)


def _own(policy: Policy, initializers: Mapping[str, Initializer]) -> dict[str, Initializer]:
    """The user's initializers, each called by the name that the policy calls it."""
    why = "must be an initpolicy.initializers.base.Initializer, not {}; for a plain function write 'call' in the policy"
    wrong = [
        Problem(policy.name, f"initializers.{name}", why.format(type(given).__name__))
        for name, given in initializers.items()
        if not isinstance(given, Initializer)
    ]
    if wrong:
        raise PlanError(*wrong)
    return {name: replace(given, name=name) for name, given in initializers.items()}


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
        self.policy, self.table, self.given = policy, table, model
        self.model = model = declare(model, policy.activations)
        self.variables = Variables(policy, model)
        self.matchers = {name: Matcher(rule.match, model) for name, rule in policy.rules.items()}
        self.excludes = tuple(Matcher(match, model) for match in policy.exclude)
        self.patterns = {name: Patterns(rule) for name, rule in policy.rules.items()}
        self.resolver = Resolver(
            policy=policy, initializers=table, variables=self.variables, activations=model.activations
        )
        self.sites = {site.name: (param, site) for param in model.params for site in param.sites}
        self.problems: dict[str, list[Problem]] = {name: [] for name in (*policy.rules, "")}
        """By rule, in the file's order; last, under no name, what is no one rule's."""
        self.blurred: set[str] = set()
        """Rules of which it is not known what they claim; with ``""`` that is known of none, but at most this."""
        self.lazy: list[str] = []
        self.claimed: defaultdict[str, list[str]] = defaultdict(list)
        """Rule -> parameters."""
        self.locals: defaultdict[str, set[str]] = defaultdict(set)
        """Rule -> local names of what it claims."""
        self.lost: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        """Rule -> (status, reason) of parameters that it names and may not touch."""
        self._claims: dict[int, tuple[_Claim, ...]] = {}
        self._candidates: dict[tuple[int, str], tuple[tuple[str, Spec], ...]] = {}

    def plan(self, seed: int | None) -> Plan:
        for rule, place, why in unknown_words(self.policy, self.model):
            self._problem(place, why, rule)
            self.blurred.add(rule)
        for place, why in wrongly_declared(self.given, self.policy.activations):
            self._problem(place, why)
            self.blurred.update(self._asking("activation"))
        for place, why in wrongly_registered(self.given):
            self._problem(place, why)
        assignments = tuple(a for param in self.model.params for a in self._decide(param))
        if self.lazy:
            self._problem("", _lazy(self.lazy))
            self.blurred.update(self._asking("where"), [""])
        notes = [
            *self.model.notes,
            *self._finding(assignments),
            *self._unmatched(assignments),
            *self._numbers(),
            *self._unseen(assignments),
        ]
        problems = [problem for group in self.problems.values() for problem in _folded(group)]
        if problems:
            raise PlanError(*problems)
        return Plan(policy=self.policy, seed=seed, assignments=assignments, notes=tuple(notes), initializers=self.table)

    def _finding(self, assignments: tuple[Assignment, ...]) -> tuple[str, ...]:
        """How activations were found, where the policy asks for any."""
        asked = [*self._asking("activation"), *self._asking("input_activation")]
        inherits = any(spec.name == "inherit" for _, spec in walk(self.policy))
        gains = any(a.gain_from and not a.gain_from.startswith(("given", DEFAULT)) for a in assignments)
        return self.model.finding if asked or inherits or gains else ()

    def _asking(self, key: str) -> Iterator[str]:
        """Rules whose match has this key."""
        for name, rule in self.policy.rules.items():
            match: Match | None = rule.match
            while match is not None:
                if getattr(match, key):
                    yield name
                match = match.not_

    def _problem(self, place: str, message: str, rule: str = "") -> None:
        self.problems[rule].append(Problem(self.policy.name, place, message))

    # --- one parameter ---------------------------------------------------------------------------

    def _decide(self, param: ParamFacts) -> Iterator[Assignment]:
        yield self._decide_tensor(param)
        for site in param.sites[1:]:
            reason = f"the same tensor as {param.name}"
            yield Assignment(facts=param, site=site, status="tied", reason=reason, tied_to=param.name)

    def _decide_tensor(self, param: ParamFacts) -> Assignment:
        site, claims = param.sites[0], self._claims_of(param)
        rules = {claim.rule: None for claim in claims}
        status, reason = self._off_limits(param)
        if status:
            for rule in rules:
                self.lost[rule][status, reason] += 1
            return Assignment(facts=param, site=site, status=status, reason=reason, shadowed=self._in_order(rules))
        for rule in rules:
            self.claimed[rule].append(param.name)
        for claim in claims:
            self.locals[claim.rule].add(claim.site.local)
        if param.untouchable == "lazy":
            self.lazy.append(param.name)
            return Assignment(facts=param, site=site, status="skipped", reason="lazy")
        if not claims:
            return Assignment(facts=param, site=site, status="unmatched", reason="no rule claims it")
        winners = {claim.site.name: claim for claim in claims}  # the last at each site
        first = winners[min(winners)]  # whichever is registered first
        lost = rules.keys() - {claim.rule for claim in winners.values()}
        return self._assigned(param, first, self._in_order(lost), self._agreed(param, first, winners.values()))

    def _agreed(self, param: ParamFacts, first: _Claim, winners: Collection[_Claim]) -> Resolution | None:
        """What the winners at all places of a tensor say; None if it is to be kept, or if there is a problem."""
        for other in winners:
            if other.spec != first.spec:
                self._conflict(first, other)
                return None
        if first.spec.name == "keep":
            return None
        if len(winners) == 1:
            return self._resolved(param, first)
        found = [(claim, self._resolved(param, claim)) for claim in winners]
        said = next(resolution for claim, resolution in found if claim is first)
        for claim, resolution in found:
            if said is None or resolution is None:
                return None
            if _law_of(resolution) != _law_of(said):
                self._ambiguous((first, said), (claim, resolution))
                return None
        return said

    def _in_order(self, rules: Iterable[str]) -> tuple[str, ...]:
        """The rules in the file's order."""
        wanted = set(rules)
        return tuple(rule for rule in self.policy.rules if rule in wanted)

    def _off_limits(self, param: ParamFacts) -> tuple[Status | None, str]:
        """(status, reason) where no rule may write."""
        for site in param.sites:
            for index, matcher in enumerate(self.excludes):
                if self._asks(matcher.holds_above, param, site, f"exclude.{index}"):
                    return "excluded", f"exclude.{index}"
        if param.untouchable and param.untouchable != "lazy":
            return "skipped", param.untouchable
        if not param.trainable and self.policy.frozen == "skip":
            return "frozen", "does not require gradients"
        return None, ""

    def _claims_of(self, param: ParamFacts) -> tuple[_Claim, ...]:
        known = self._claims.get(id(param))
        if known is None:
            known = self._claims[id(param)] = tuple(self._claim(param))
        return known

    def _claim(self, param: ParamFacts) -> Iterator[_Claim]:
        for site in param.sites:
            for name, spec in self._open(site):
                if self._asks(self.matchers[name].holds, param, site, f"rules.{name}", name):
                    yield _Claim(rule=name, spec=spec, site=site)

    def _open(self, site: Site) -> tuple[tuple[str, Spec], ...]:
        """The rules, each with its spec, that may take a parameter of this local name from a module of this class."""
        key = (id(site.owner.classes), site.local)
        known = self._candidates.get(key)
        if known is None:
            known = self._candidates[key] = tuple(
                (name, spec)
                for name, matcher in self.matchers.items()
                if (spec := self.patterns[name].find(site.local)) is not None and matcher.type_holds(site.owner)
            )
        return known

    def _asks(self, holds: _Holds, param: ParamFacts, site: Site, where: str, rule: str = "") -> bool:
        """Whether it holds; a formula that cannot be computed where it matters is a problem, not a no."""
        try:
            return holds(param, site, self.variables)
        except FormulaError as error:
            if not rule or self._off_limits(param)[0] is None:
                place = f"{where}.match.where" if rule else f"{where}.where"
                self._problem(f"{place} → {site.name}", str(error), rule)
                self.blurred.add(rule)
            return False

    def _conflict(self, first: _Claim, other: _Claim) -> None:
        self._problem(
            f"rules.{first.rule} → {first.site.name}, rules.{other.rule} → {other.site.name}",
            f"one tied tensor is given two laws, {_written(first.spec)} and {_written(other.spec)}; "
            f"{_one_law(first.site, other.site)}",
            first.rule,
        )

    def _ambiguous(self, first: tuple[_Claim, Resolution], other: tuple[_Claim, Resolution]) -> None:
        (claim, one), (rival, two) = first, other
        self._problem(
            f"rules.{claim.rule} → {claim.site.name}, {rival.site.name}",
            f"one tied tensor is given two laws, {_told(one)} as {claim.site.name} and {_told(two)} as "
            f"{rival.site.name}; {_one_law(claim.site, rival.site)}",
            claim.rule,
        )

    def _resolved(self, param: ParamFacts, claim: _Claim) -> Resolution | None:
        """What the claim's spec means here; None if it means nothing, which is a problem."""
        try:
            source, signal = self._inherited(claim)
            reads = self.resolver.reads(source.spec)
            groups = self.matchers[source.rule].groups(source.site.owner) if reads.variables or reads.name else {}
            found = self.resolver.resolve(source.spec, param, claim.site, signal, groups)
            return found if source is claim else replace(found, source=source.site.name)
        except ValueError as error:
            self._problem(f"rules.{claim.rule} → {claim.site.name}", str(error), claim.rule)
            return None

    def _assigned(
        self, param: ParamFacts, claim: _Claim, lost: tuple[str, ...], found: Resolution | None
    ) -> Assignment:
        if found is None or not found.parts:
            why = "; ".join(["keep", *self._partly(claim)])
            return Assignment(facts=param, site=claim.site, status="kept", rule=claim.rule, shadowed=lost, reason=why)
        return Assignment(
            facts=param,
            site=claim.site,
            status="initialized",
            rule=claim.rule,
            shadowed=lost,
            reason="; ".join([*self._partly(claim), *_remarks(param, found, self.policy)]),
            initializer=found.initializer,
            arguments=found.arguments,
            parts=found.parts,
            fan_in=found.fan_in,
            fan_out=found.fan_out,
            gain=found.gain,
            gain_from=found.gain_from,
            law=found.law,
        )

    def _partly(self, claim: _Claim) -> Iterator[str]:
        """Where the rule asks for one of several answers, and holds."""
        return (f"{claim.rule} asks for {which}" for which in self.matchers[claim.rule].partly(claim.site))

    def _inherited(self, claim: _Claim) -> tuple[_Claim, Signal]:
        """The claim itself, or that on the same parameter of the weighted layer before, as often as it inherits."""
        passed = [claim.site.name]
        while claim.spec.name == "inherit":
            owner, local, signal = claim.site.owner.name, claim.site.local, claim.site.signal
            if signal.previous is None:
                raise ValueError(
                    f"inherit: no layer before {owner or 'the model'} is known ({signal.found_by}); "
                    "give an example_input, or name an initializer"
                )
            name = f"{signal.previous}.{local}" if signal.previous else local
            if name in passed:
                raise ValueError(f"inherit: {' → '.join(passed)} lead back to {name}; name an initializer")
            if name not in self.sites:
                raise ValueError(
                    f"inherit: {signal.previous!r}, the layer before, has no {local!r}; name an initializer"
                )
            passed.append(name)
            claims = self._claims_of(self.sites[name][0])
            here = [claim for claim in claims if claim.site.name == name] or list(claims)
            if not here or here[-1].spec.name == "keep":
                raise ValueError(f"inherit: no rule initializes {name}, the layer before; name an initializer")
            claim = here[-1]
        return claim, claim.site.signal

    # --- the whole policy ------------------------------------------------------------------------

    def _unmatched(self, assignments: tuple[Assignment, ...]) -> Iterator[str]:
        names = [a.name for a in assignments if a.status == "unmatched"]
        if not names or self.blurred:
            return
        line = f"{counted(len(names), 'parameter')} claimed by no rule: "
        if self.policy.unmatched == "error":
            remedy = "add a rule, 'keep' what is to stay, or exclude it"
            self._problem("unmatched", f"{line}{listed(names, most=20)}; {remedy}")
        elif self.policy.unmatched == "warn":
            yield line + listed(names, most=5)

    def _numbers(self) -> Iterator[str]:
        """How many parameters each rule claims, against what is expected of it."""
        for name, rule in self.policy.rules.items():
            if name in self.blurred:
                continue
            found, matcher = self.claimed[name], self.matchers[name]
            if rule.expect is None and (rule.unused or self.policy.unused) == "ignore":
                continue
            why = "" if found else why_unused(rule, matcher, self.model, self.variables, self.lost[name])
            if rule.expect is not None:
                if not self.blurred:
                    self._expected(name, rule.expect, why)
            elif not found:
                yield from self._useless(name, f"rules.{name}", f"claims no parameter. {_sentence(why)}")
            complete = all(any(fnmatchcase(local, pattern) for local in self.locals[name]) for pattern in rule.init)
            for pattern, reason in misspelt(rule, matcher, self.model) if found and not complete else ():
                yield from self._useless(name, f"rules.{name}.init.{pattern}", reason)

    def _useless(self, rule: str, place: str, why: str) -> Iterator[str]:
        """A part of the policy that does nothing: an error, a note, or nothing, as the policy says."""
        unused = self.policy.rules[rule].unused or self.policy.unused
        if unused == "error":
            self._problem(place, why, rule)
        elif unused == "warn":
            yield f"{place}: {why}"

    def _expected(self, name: str, expect: int | str, why: str) -> None:
        place, found = f"rules.{name}.expect", self.claimed[name]
        variables = {**self.matchers[name].counts(), **self.policy.vars}
        try:
            number = expect if isinstance(expect, int) else parse(expect).evaluate(variables)
        except FormulaError as error:
            self._problem(place, f"{error}{group_hint(str(expect), variables)}", name)
            return
        if number != len(found):
            says = f"is {number}" if isinstance(expect, int) else f"{expect} is {number:g}"
            what = f": {listed(found, most=10)}" if found else f". {_sentence(why)}"
            self._problem(place, f"{says}, but the rule claims {counted(len(found), 'parameter')}{what}", name)

    def _unseen(self, assignments: tuple[Assignment, ...]) -> Iterator[str]:
        """Rules that asked for an activation where none is known, at parameters that may be written."""
        open_ = (a for a in assignments if not a.tied_to and a.status not in ("excluded", "frozen", "skipped"))
        return blind_rules(self.policy, self.matchers, [site for a in open_ for site in a.facts.sites])


def _one_law(one: Site, other: Site) -> str:
    """How to give one law to a tensor that hangs at two places."""
    names = [re.escape(site.owner.name) for site in (one, other)]
    both = f"^({'|'.join(names)})$" if one.owner is not other.owner else f"^{names[0]}$"
    return (
        f"claim both with one last rule, of match {{name: '{both}'}} and a law that is the same at both, "
        f"or spare one with not: {{name: '^{names[0]}$'}}"
    )


def _law_of(found: Resolution) -> list[object]:
    """What two resolutions share that give one tensor the same values."""
    return [(part.region, part.initializer, part.arguments, part.law, used(part)) for part in found.parts]


def _told(found: Resolution) -> str:
    if found.law is not None:
        return f"{found.initializer} of mean {found.law.mean:.4g} and std {found.law.std:.4g}"
    known = {name: value for part in found.parts for name, value in used(part).items() if name != "shape"}
    return f"{found.initializer} with {', '.join(f'{name}={value:g}' for name, value in known.items())}"


def _written(spec: Spec) -> str:
    """The spec as YAML would have it on one line."""
    return str(spec.model_dump(mode="json")).replace("'", "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lazy(names: list[str]) -> str:
    are, them = ("are lazy parameters", "them") if len(names) > 1 else ("is a lazy parameter", "it")
    return f"{listed(names, most=5)} {are} without a shape; call the model once on a batch first, or exclude {them}"


def _remarks(param: ParamFacts, found: Resolution, policy: Policy) -> Iterator[str]:
    """What a reader of the row must know besides."""
    if found.source:
        yield f"as {found.source}, the layer before"
    if param.padding_idx is not None:
        yield f"row {param.padding_idx} (padding_idx) stays zero"
    if param.parametrization:
        yield f"set through {', '.join(param.parametrization)}"
    if not found.layout.known and found.layout.axes and policy.fans == "module":
        stacked = "stack" in found.layout.axes
        yield "taken for stacked experts" if stacked else "unknown owner: fans by torch's rule"


def _folded(problems: list[Problem], most: int = 5) -> Iterator[Problem]:
    """Problems in order; of those that differ in no more than their parameter and its numbers, the first few."""
    alike: defaultdict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in dict.fromkeys(problems):
        alike[problem.place.partition(" → ")[0], re.sub(r"\d+", "#", problem.message)].append(problem)
    for (place, _), group in alike.items():
        yield from group[:most]
        if len(group) > most:
            yield Problem(group[0].source, place, f"{counted(len(group) - most, 'more parameter')} like these")
