"""Why a rule claims nothing, and which of its words no one knows: the sentences a user needs to mend it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from initpolicy.errors import meant
from initpolicy.facts.activations import VOCABULARY
from initpolicy.formula import parse
from initpolicy.matching import Matcher, wanted_activations
from initpolicy.policy import Match, Policy, Rule
from initpolicy.records import ModelFacts, ModuleFacts, Site

__all__ = ["unknown_words", "why_unused"]


def unknown_words(policy: Policy, model: ModelFacts) -> Iterator[tuple[str, str]]:
    """(place, sentence) for activations that are in no vocabulary and variables that nothing in the model has."""
    classes = {names[0] for module in model.modules for names in module.classes.mro[:1]}
    known = set(VOCABULARY) | classes
    attributes = {name for module in model.modules for name in module.attributes}
    facts = {"fan_in", "fan_out", "fan_avg", "numel", "ndim", "shape", "groups", "kernel", "pi", "e"}
    facts |= {"weight_fan_in", "weight_fan_out", *policy.vars}
    for place, match in _matches(policy):
        for key, names in (("activation", match.activation), ("input_activation", match.input_activation)):
            for name in sorted(wanted_activations(names) - known):
                yield (
                    f"{place}.{key}",
                    f"{name!r} is no known activation and no class of this model{meant(name, known)}",
                )
        if match.where is not None and any(map(Matcher(match, model).module_holds, model.modules)):
            groups = {group for text in match.name for group in re.compile(text).groupindex}
            names_here = facts | attributes | groups | {f"n_{group}" for group in groups}
            for name in sorted(parse(match.where).names - names_here):
                yield f"{place}.where", f"no parameter of this model has a {name!r}{meant(name, names_here)}"


def _matches(policy: Policy) -> Iterator[tuple[str, Match]]:
    for name, rule in policy.rules.items():
        yield from _with_not(f"rules.{name}.match", rule.match)
    for index, match in enumerate(policy.exclude):
        yield from _with_not(f"exclude.{index}", match)


def _with_not(place: str, match: Match) -> Iterator[tuple[str, Match]]:
    yield place, match
    if match.not_ is not None:
        yield from _with_not(f"{place}.not", match.not_)


def why_unused(rule: Rule, matcher: Matcher, model: ModelFacts, lost: Mapping[str, int]) -> str:
    """One sentence: how far the match got, and which key stopped it."""
    return f"claims no parameter. {_why(rule, matcher, model, lost)}"


def _why(rule: Rule, matcher: Matcher, model: ModelFacts, lost: Mapping[str, int]) -> str:
    match = rule.match
    if lost:
        return "; ".join(f"{number} that it names are {status}" for status, number in lost.items())
    typed = [module for module in model.modules if matcher.type_holds(module)]
    types = " or ".join(match.type)
    if not typed:
        own = sorted({module.classes.simple for module in model.modules})
        return f"no module has type {types}{_nearest(match.type[0], own)}"
    subject = f"{_modules(len(typed))} type {types}" if match.type else f"the model has {len(typed)} modules"
    named = [module for module in typed if matcher.name_holds(module)]
    if not named:
        return f"{subject}; none is named like {_quoted(match.name)}{_near_name(match.name, typed)}"
    inside = [module for module in named if matcher.inside_holds(module)]
    if not inside:
        return f"{subject}; none is inside a {' or '.join(match.inside)}"
    sites = [site for param in model.params for site in param.sites if matcher.module_holds(site.owner)]
    return f"{subject}; {_of_sites(rule, sites)}"


def _of_sites(rule: Rule, sites: list[Site]) -> str:
    patterns = ", ".join(rule.init)
    locals_ = sorted({site.local for site in sites})
    if not locals_:
        return "none of them holds a parameter"
    if not any(re.fullmatch(_glob(pattern), local) for pattern in rule.init for local in locals_):
        return f"none has a parameter named like {patterns}; they have {', '.join(locals_)}"
    if rule.match.activation:
        following = Counter(site.signal.following[0].activation.name if site.signal.following else "unknown"
                            for site in sites if site.layout.axes)  # fmt: skip
        if not wanted_activations(rule.match.activation) & set(following):
            return f"none is followed by {' or '.join(rule.match.activation)}; found: {_tally(following)}"
    if rule.match.input_activation:
        before = Counter(site.signal.preceding[0].activation.name if site.signal.preceding else "unknown"
                         for site in sites if site.layout.axes)  # fmt: skip
        if not wanted_activations(rule.match.input_activation) & set(before):
            return f"none is preceded by {' or '.join(rule.match.input_activation)}; found: {_tally(before)}"
    if rule.match.where is not None:
        return f"for none of their parameters {rule.match.where!r} holds"
    return "'not' takes them all away"


def _glob(pattern: str) -> str:
    from fnmatch import translate

    return translate(pattern)


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ×{number}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))


def _modules(number: int) -> str:
    return "1 module has" if number == 1 else f"{number} modules have"


def _quoted(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)


def _near_name(regexes: tuple[str, ...], modules: list[ModuleFacts]) -> str:
    """The module whose name, or last segment, is most like the regex without its signs."""
    plain = re.sub(r"\\[dws.]|\(\?P<\w+>|[\\^$*+?()\[\]{}|]", "", regexes[0])
    names = [module.name for module in modules if module.name]
    by_last = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = get_close_matches(plain, [*names, *by_last], n=1, cutoff=0.5)
    return f" (nearest: {by_last.get(near[0], near[0])!r})" if near else ""


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word.rpartition(".")[2], known, n=1, cutoff=0.5)
    return f" (nearest: {near[0]!r})" if near else f"; the model has {', '.join(known[:8])}"
