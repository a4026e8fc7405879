"""Does a match hold at a site? Asked once for each class, or for all that a module holds, where no more counts."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from initpolicy.facts.activations import normalise
from initpolicy.formula import parse
from initpolicy.policy import Match, Rule, Spec
from initpolicy.records import Hit, ModelFacts, ModuleFacts, ParamFacts, Site
from initpolicy.variables import Variables

__all__ = ["Matcher", "Patterns", "ancestors", "has_type", "nearest_name", "wanted_activations"]

_Condition = Callable[[Mapping[str, Any]], bool]
"""Known names -> whether it holds."""


def has_type(module: ModuleFacts, names: tuple[str, ...], exact: bool = False) -> bool:
    """Whether a class in the module's method resolution order (``exact``: its own) answers to one of the names.

    A glob without a dot is about the class's simple name: ``*norm*`` does not find what lies in a file of that name.
    """
    classes = module.classes.mro[:1] if exact else module.classes.mro
    return any(_answers(known, name) for name in names for known in classes)


def _answers(known: tuple[str, ...], name: str) -> bool:
    if not set("*?[").intersection(name):
        return name in known
    return any(fnmatchcase(one, name) for one in (known if "." in name else known[:1]))


def wanted_activations(names: tuple[str, ...]) -> frozenset[str]:
    """The words that an activation must have one of: each name as it is written, and its canonical name."""
    return frozenset(names) | {found for name in names if (found := normalise(name))}


class Matcher:
    """One match, compiled for one model."""

    def __init__(self, match: Match, model: ModelFacts) -> None:
        self.match = match
        self._model = model
        self._regexes = tuple(re.compile(text) for text in match.name)
        self._following = wanted_activations(match.activation)
        self._preceding = wanted_activations(match.input_activation)
        self._where = _condition(_tree(match.where)) if match.where else None
        self._asked = tuple(parse(match.where).names) if match.where else ()
        self._not = Matcher(match.not_, model) if match.not_ else None
        self._of_module_alone = not (match.activation or match.input_activation or match.where or match.not_)
        self._typed: dict[int, bool] = {}
        """By class, as `_around`."""
        self._around: dict[int, bool] = {}
        self._below: dict[int, bool] = {}
        """By parent, as `_covered`: one answer for all that it holds."""
        self._covered: dict[int, bool] = {}
        self._values: Mapping[str, int] | None = None

    def holds(self, param: ParamFacts, site: Site, variables: Variables) -> bool:
        """Every key given holds at this site. A ``where`` that has no value there raises FormulaError."""
        if not self.module_holds(site.owner):
            return False
        return self._of_module_alone or (
            self._holds_at(site.owner, param, site, variables) and self.not_holds(param, site, variables)
        )

    def holds_above(self, param: ParamFacts, site: Site, variables: Variables) -> bool:
        """It holds at the site, or would with some ancestor in the owner's place: descendants are covered.

        What ``not`` names is spared with its descendants.
        """
        if not self._covers(site.owner):
            return False
        if not any(self._holds_at(module, param, site, variables) for module in (site.owner, *ancestors(site.owner))):
            return False
        return self._not is None or not self._not.holds_above(param, site, variables)

    def _covers(self, module: ModuleFacts) -> bool:
        """Whether `module_holds` for it or for an ancestor."""
        if self.module_holds(module):
            return True
        above = module.parent
        if above is None:
            return False
        known = self._covered.get(id(above))
        if known is None:
            known = self._covered[id(above)] = self._covers(above)
        return known

    def _holds_at(self, module: ModuleFacts, param: ParamFacts, site: Site, variables: Variables) -> bool:
        """Every key but ``not``."""
        return self.module_holds(module) and (
            self.following_holds(site)
            and self.preceding_holds(site)
            and self.where_holds(param, site, variables, module)
        )

    # --- one key each ----------------------------------------------------------------------------

    def module_holds(self, module: ModuleFacts) -> bool:
        """The keys that ask about the module alone: type, name, inside."""
        return (
            (not self.match.type or self.type_holds(module))
            and (not self.match.inside or self.inside_holds(module))
            and (not self._regexes or self._search(module) is not None)
        )

    def type_holds(self, module: ModuleFacts) -> bool:
        """The ``type`` key alone."""
        return not self.match.type or _known(self._typed, module, self.match.type, self.match.exact)

    def name_holds(self, module: ModuleFacts) -> bool:
        """The ``name`` key alone."""
        return not self._regexes or self._search(module) is not None

    def inside_holds(self, module: ModuleFacts) -> bool:
        """The ``inside`` key alone."""
        if not self.match.inside:
            return True
        above = module.parent
        if above is None:
            return False
        known = self._below.get(id(above))
        if known is None:
            known = self._below[id(above)] = _known(self._around, above, self.match.inside) or self.inside_holds(above)
        return known

    def following_holds(self, site: Site) -> bool:
        """The ``activation`` key alone; what is not known is no activation, not even identity."""
        return not self._following or _met(site.signal.following, self._following)

    def preceding_holds(self, site: Site) -> bool:
        """The ``input_activation`` key alone."""
        return not self._preceding or _met(site.signal.preceding, self._preceding)

    def partly(self, site: Site) -> Iterator[str]:
        """``relu, one of relu | tanh that follow``: where several answers are known and it asks for some of them."""
        for hits, wanted, verb in (
            (site.signal.following, self._following, "follow"),
            (site.signal.preceding, self._preceding, "precede"),
        ):
            if not wanted:
                continue
            met = dict.fromkeys(str(hit.activation) for hit in hits if _met((hit,), wanted))
            known = dict.fromkeys(str(hit.activation) for hit in hits)
            if met and len(met) < len(known):
                yield f"{' and '.join(met)}, {'one' if len(met) == 1 else 'some'} of {' | '.join(known)} that {verb}"

    def where_holds(
        self, param: ParamFacts, site: Site, variables: Variables, module: ModuleFacts | None = None
    ) -> bool:
        """The ``where`` key alone; the regex's groups are those at ``module``, by default the owner.

        What asks for a fact that the tensor lacks is false by itself: a bias has no fan_in, so it has none above 100.

        Raises:
            FormulaError: if it has no value here.
        """
        if self._where is None:
            return True
        return self._where(variables.some(self._asked, param, site, self.groups(module or site.owner)))

    def not_holds(self, param: ParamFacts, site: Site, variables: Variables) -> bool:
        """The ``not`` key alone: what it holds does not hold."""
        return self._not is None or not self._not.holds(param, site, variables)

    # --- a regex's groups ------------------------------------------------------------------------

    def groups(self, module: ModuleFacts) -> Mapping[str, float]:
        """The digits that the regex's named groups captured here, and `counts`."""
        counts = self.counts()
        return {**counts, **_numbers(self._search(module))} if counts else counts

    def counts(self) -> Mapping[str, float]:
        """``n_<group>`` for each named group: how many different texts it captured in the model, digits or not."""
        if self._values is None:
            taken: dict[str, set[str]] = {name: set() for regex in self._regexes for name in regex.groupindex}
            for module in self._model.modules if taken else ():
                for name, text in _captured(self._search(module)).items():
                    taken[name].add(text)
            self._values = {f"n_{name}": len(texts) for name, texts in taken.items()}
        return self._values

    def _search(self, module: ModuleFacts) -> re.Match[str] | None:
        for regex in self._regexes:
            if found := regex.search(module.name):
                return found
        return None


def _known(known: dict[int, bool], module: ModuleFacts, names: tuple[str, ...], exact: bool = False) -> bool:
    """`has_type`, asked once for each class."""
    answer = known.get(id(module.classes))
    if answer is None:
        answer = known[id(module.classes)] = has_type(module, names, exact)
    return answer


def _met(hits: tuple[Hit, ...], wanted: frozenset[str]) -> bool:
    return any(not wanted.isdisjoint(hit.activation.words) for hit in hits)


def ancestors(module: ModuleFacts) -> Iterator[ModuleFacts]:
    """The modules that hold it, the nearest first."""
    above = module.parent
    while above is not None:
        yield above
        above = above.parent


def _captured(found: re.Match[str] | None) -> dict[str, str]:
    captured = found.groupdict() if found and found.re.groups else {}
    return {name: text.lstrip("0") or "0" if text.isdecimal() else text for name, text in captured.items() if text}


def _numbers(found: re.Match[str] | None) -> dict[str, int]:
    return {name: int(text) for name, text in _captured(found).items() if text.isdecimal()}


# --- where ---------------------------------------------------------------------------------------


def _tree(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a later Python may read otherwise; it was checked as a formula
        return ast.parse(text.strip(), mode="eval").body


def _condition(node: ast.expr) -> _Condition:
    """The formula cut at its ands, ors and nots: each piece is false where it asks for what the tensor lacks."""
    match node:
        case ast.BoolOp(op=op, values=values):
            parts, join = [_condition(value) for value in values], all if isinstance(op, ast.And) else any
            return lambda known: join(part(known) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _condition(operand)
            return lambda known: not inner(known)
    formula = parse(ast.unparse(node))
    names, answers = sorted(formula.names), dict[tuple[Any, ...], bool]()

    def holds(known: Mapping[str, Any]) -> bool:
        try:
            asked = tuple([known[name] for name in names])
        except KeyError:
            return False
        if asked not in answers:
            answers[asked] = bool(formula.evaluate(known))
        return answers[asked]

    return holds


# --- parameters of a module ----------------------------------------------------------------------


class Patterns:
    """A rule's patterns of local names; the last that fits wins."""

    def __init__(self, rule: Rule) -> None:
        self._specs = tuple(reversed(rule.init.items()))
        self._known: dict[str, Spec | None] = {}

    def find(self, local: str) -> Spec | None:
        """The spec for a parameter of this local name."""
        if local not in self._known:
            self._known[local] = next((s for pattern, s in self._specs if fnmatchcase(local, pattern)), None)
        return self._known[local]


def nearest_name(regex: str, names: Iterable[str]) -> str:
    """`` (nearest: 'x')``: the name that is most like the regex without its signs, by itself or in one segment."""
    plain = re.sub(r"\\[dwsDWSbB.]|\(\?P<\w+>|[\\^$*+?()\[\]{}|]", "", regex)
    known = [name for name in names if name]
    by_segment = {segment: name for name in reversed(known) for segment in name.split(".")}
    near = get_close_matches(plain, [*known, *by_segment], n=1, cutoff=0.5)
    return f" (nearest: {by_segment.get(near[0], near[0])!r})" if near else ""
