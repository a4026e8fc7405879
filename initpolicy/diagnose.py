"""Why a rule claims nothing, and which of its words no one knows: the sentences a user needs to mend it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from initpolicy.errors import meant
from initpolicy.facts.activations import VOCABULARY, normalise
from initpolicy.formula import parse
from initpolicy.matching import Matcher, Patterns, ancestors, nearest_name
from initpolicy.policy import FACTS, Match, Policy, Rule
from initpolicy.records import Hit, ModelFacts, ModuleFacts, ParamFacts, Site
from initpolicy.render.words import counted, listed
from initpolicy.variables import Variables

__all__ = ["blind_rules", "misspelt", "unknown_words", "why_unused"]

_REMEDY = "give an example_input, or state it under 'activations'"

Named = list[tuple[ParamFacts, Site]]
"""Parameters, each at one place."""


# --- words ---------------------------------------------------------------------------------------


def unknown_words(policy: Policy, model: ModelFacts) -> Iterator[tuple[str, str, str]]:
    """(rule, place, sentence) for activations that no one knows and variables that nothing in the model has."""
    classes = {module.classes.simple for module in model.modules}
    words = {
        *VOCABULARY,
        *classes,
        *model.activations,
        *(word for known in VOCABULARY.values() for word in (*known.aliases, *known.classes)),
    }
    attributes = {name for module in model.modules for name in module.attributes}
    for rule, place, match in _matches(policy):
        for key, names in (("activation", match.activation), ("input_activation", match.input_activation)):
            for name in names:
                if not normalise(name) and name not in classes and name not in model.activations:
                    hint = meant(name, words)
                    yield rule, f"{place}.{key}", f"{name!r} is no known activation and no class of this model{hint}"
        if match.where is None or not any(map(Matcher(match, model).module_holds, model.modules)):
            continue
        groups = {group for text in match.name for group in re.compile(text).groupindex}
        known = {*FACTS, *policy.vars, *attributes, *groups, *(f"n_{group}" for group in groups)} - {"gain"}
        for name in sorted(parse(match.where).names - known):
            why = (
                "'gain' is known where an initializer is resolved, not while matching"
                if name == "gain"
                else f"no parameter of this model has a {name!r}{meant(name, known)}"
            )
            yield rule, f"{place}.where", why


def _matches(policy: Policy) -> Iterator[tuple[str, str, Match]]:
    for name, rule in policy.rules.items():
        yield from ((name, *found) for found in _with_not(f"rules.{name}.match", rule.match))
    for index, match in enumerate(policy.exclude):
        yield from (("", *found) for found in _with_not(f"exclude.{index}", match))


def _with_not(place: str, match: Match) -> Iterator[tuple[str, Match]]:
    yield place, match
    if match.not_ is not None:
        yield from _with_not(f"{place}.not", match.not_)


def misspelt(rule: Rule, matcher: Matcher, model: ModelFacts) -> Iterator[tuple[str, str]]:
    """(pattern, sentence) for those that fit nothing, where a parameter that no pattern fits is named almost so."""
    locals_ = {site.local for param in model.params for site in param.sites if matcher.module_holds(site.owner)}
    patterns = Patterns(rule)
    left = [local for local in locals_ if patterns.find(local) is None]
    for pattern in rule.init:
        hint = meant(pattern, left)
        if hint and not any(fnmatchcase(local, pattern) for local in locals_):
            yield pattern, f"fits no parameter of the modules that the rule matches{hint}"


# --- rules without effect ------------------------------------------------------------------------


def why_unused(
    rule: Rule, matcher: Matcher, model: ModelFacts, variables: Variables, lost: Mapping[tuple[str, str], int]
) -> str:
    """One sentence: how far the match got, and which key stopped it; ``lost``: what it names that is off limits."""
    match = rule.match
    if not model.params:
        return "the model has no parameters"
    if lost:
        return _off_limits(lost)
    typed = [module for module in model.modules if matcher.type_holds(module)]
    if not typed:
        return _no_type(match, model)
    subject = _subject(match, len(typed))
    named = [module for module in typed if matcher.name_holds(module)]
    if not named:
        return f"{subject}; none is named like {_either(map(repr, match.name))}{_elsewhere(matcher, typed, model)}"
    if match.name:
        subject += f", {len(named)} named so"
    if not any(map(matcher.inside_holds, named)):
        around = sorted({above.classes.simple for module in named for above in ancestors(module)})
        return f"{subject}; none is inside {_either(match.inside)}{_nearest(match.inside, around, 'they are inside')}"
    held = [module for module in named if matcher.inside_holds(module)]
    sites = [(param, s) for param in model.params for s in param.sites if matcher.module_holds(s.owner)]
    return f"{subject}; {_of_sites(rule, matcher, variables, sites) if sites else _empty(match, held, model)}"


def _off_limits(lost: Mapping[tuple[str, str], int]) -> str:
    """What is the matter with all that a rule names."""
    total = sum(lost.values())
    whose = "the one parameter that it names is" if total == 1 else f"the {total} parameters that it names are"
    several = len(lost) > 1
    return f"{whose} {', '.join(_out(status, why, number if several else 0) for (status, why), number in lost.items())}"


def _out(status: str, why: str, number: int) -> str:
    words = {
        "excluded": f"excluded by {why}",
        "frozen": "frozen ('frozen: init' takes those too)",
        "skipped": f"skipped: {why}",
    }
    return f"{f'{number} ' if number else ''}{words[status]}"


def _subject(match: Match, number: int) -> str:
    if not match.type:
        return f"the model has {counted(number, 'module')}"
    return f"{'1 module has' if number == 1 else f'{number} modules have'} type {_either(match.type)}"


def _no_type(match: Match, model: ModelFacts) -> str:
    own = sorted({module.classes.simple for module in model.modules})
    if match.exact:
        loose = Matcher(match.model_copy(update={"exact": False}), model)
        derived = sorted({module.classes.simple for module in model.modules if loose.type_holds(module)})
        if derived:
            of_derived = f"of classes derived from it are {', '.join(derived)}"
            return f"no module has exactly the type {_either(match.type)}; {of_derived}"
    return f"no module has type {_either(match.type)}{_nearest(match.type, own, 'the model has')}"


def _nearest(words: Iterable[str], known: list[str], there: str) -> str:
    """The class that was probably meant, or those that there are."""
    for word in words:
        near = get_close_matches(word.rpartition(".")[2], known, n=1, cutoff=0.6)
        if near:
            return f" (nearest: {near[0]!r})"
    return f" ({there} {listed(known, most=8)})" if known else ""


def _elsewhere(matcher: Matcher, typed: list[ModuleFacts], model: ModelFacts) -> str:
    """A module that has the name and another type, or else the nearest name."""
    other = next((module for module in model.modules if matcher.name_holds(module)), None)
    if other is not None:
        return f" ({other.name!r} is, of type {other.classes.simple})"
    return nearest_name(matcher.match.name[0], [module.name for module in typed])


def _empty(match: Match, modules: list[ModuleFacts], model: ModelFacts) -> str:
    """Of modules that hold no parameter themselves, as they only hold modules that do."""
    below = {site.owner.name: None for param in model.params for site in param.sites}
    inner = next((name for name in below if any(name.startswith(f"{module.name}.") for module in modules)), "")
    remedy = f"; 'inside: {match.type[0]}' takes what is in it" if match.type else ""
    if inner and not match.type:
        remedy = f"; what is in it has a longer name, such as {inner!r}"
    return (
        f"{'it holds no parameter' if len(modules) == 1 else 'none holds a parameter'} itself{remedy if inner else ''}"
    )


def _of_sites(rule: Rule, matcher: Matcher, variables: Variables, sites: Named) -> str:
    """Which key leaves none of the parameters of the modules that match."""
    match, patterns = rule.match, Patterns(rule)
    left = [(param, site) for param, site in sites if patterns.find(site.local) is not None]
    if not left:
        locals_ = sorted({site.local for _, site in sites})
        hint = next((hint for pattern in rule.init if (hint := meant(pattern, locals_))), "")
        return f"none has a parameter named like {_either(rule.init)}, only {', '.join(locals_)}{hint}"
    fit, left = left, [(param, site) for param, site in left if matcher.following_holds(site)]
    if not left:
        found = _tally("follows", (site.signal.following for _, site in fit))
        return f"{_none_of(fit)} followed by {_either(match.activation)}{found}"
    fit, left = left, [(param, site) for param, site in left if matcher.preceding_holds(site)]
    if not left:
        found = _tally("precedes", (site.signal.preceding for _, site in fit))
        return f"{_none_of(fit)} preceded by {_either(match.input_activation)}{found}"
    fit, left = left, [(param, site) for param, site in left if matcher.where_holds(param, site, variables)]
    if not left:
        return f"{match.where!r} is false for {_all_of(fit)}{_ranges(matcher, variables, fit)}"
    return f"'not' takes away {_all_of(left)}"


def _none_of(fit: Named) -> str:
    return "the one parameter that fits is not" if len(fit) == 1 else f"none of the {len(fit)} parameters that fit is"


def _all_of(fit: Named) -> str:
    return "the one parameter that fits" if len(fit) == 1 else f"all {len(fit)} parameters that fit"


def _tally(verb: str, signals: Iterable[tuple[Hit, ...]]) -> str:
    """What was found instead, and how often."""
    counts = Counter(hits[0].activation.name if hits else "" for hits in signals)
    unknown = counts.pop("", 0)
    if not counts:
        return f"; what {verb} is not known: {_REMEDY}"
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = [f"unknown ×{unknown}"] if unknown else []
    return f"; found: {', '.join([*(f'{name} ×{number}' for name, number in found), *rest])}"


def _ranges(matcher: Matcher, variables: Variables, sites: Named) -> str:
    """``; fan_in is 3 to 512``: what the formula's variables are at these parameters."""
    assert matcher.match.where is not None, "it stopped them all"
    values: defaultdict[str, list[float]] = defaultdict(list)
    for param, site in sites:
        for name, value in variables.at(param, site, matcher.groups(site.owner)).items():
            if isinstance(value, (int, float)):
                values[name].append(value)
    shown = [
        f"{name} is {_span(values[name])}" if name in values else f"none has a {name}"
        for name in sorted(parse(matcher.match.where).names - {"shape"})
    ]
    return f"; {', '.join(shown)}" if shown else ""


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)


# --- rules that cannot see -----------------------------------------------------------------------


def blind_rules(policy: Policy, matchers: Mapping[str, Matcher], sites: Iterable[Site]) -> Iterator[str]:
    """A line for the rules that ask for an activation where none is known; those that are blind alike share one.

    Args:
        policy: whose rules.
        matchers: of each rule.
        sites: where parameters may be written.
    """
    weights = [site for site in sites if site.layout.axes]
    for key, verb in (("activation", "follows"), ("input_activation", "precedes")):
        asking: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, rule in policy.rules.items():
            if getattr(rule.match, key):
                asking[tuple(_unseen(rule, matchers[name], weights, key))].append(f"rules.{name}")
        for unseen, rules in asking.items():
            if unseen:
                ask = "asks" if len(rules) == 1 else "ask"
                yield (
                    f"{', '.join(rules)} {ask} what {verb}, which is not known for {listed(list(unseen), most=5)}; "
                    f"{_REMEDY}"
                )


def _unseen(rule: Rule, matcher: Matcher, weights: Iterable[Site], key: str) -> Iterator[str]:
    """Weights that the rule would claim if it knew what is around them."""
    patterns = Patterns(rule)
    for site in weights:
        known = site.signal.following if key == "activation" else site.signal.preceding
        if not known and patterns.find(site.local) is not None and matcher.module_holds(site.owner):
            yield site.name
