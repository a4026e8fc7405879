"""Does a match hold at a site? Asked once for each module where only the module counts, else for each site."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from initpolicy.facts.activations import normalise
from initpolicy.formula import Formula, parse
from initpolicy.policy import Match
from initpolicy.records import Hit, ModelFacts, ModuleFacts, ParamFacts, Site
from initpolicy.variables import Variables

__all__ = ["Matcher", "has_type", "meets", "wanted_activations"]


def has_type(module: ModuleFacts, names: tuple[str, ...], exact: bool = False) -> bool:
    """Whether a class in the module's method resolution order (``exact``: its own) answers to one of the names."""
    classes = module.classes.mro[:1] if exact else module.classes.mro
    return any(
        known == name or (("*" in name or "?" in name or "[" in name) and fnmatchcase(known, name))
        for name in names
        for answers in classes
        for known in answers
    )


def wanted_activations(names: tuple[str, ...]) -> frozenset[str]:
    """The names as they are, which a user's own class may have, and the vocabulary's for them."""
    return frozenset((*names, *(normalise(name) for name in names))) - {""}


def meets(hits: tuple[Hit, ...], wanted: frozenset[str]) -> bool:
    """Whether one of the activations answers to one of the names."""
    return any(hit.activation.words & wanted for hit in hits)


class Matcher:
    """One match, compiled for one model."""

    def __init__(self, match: Match, model: ModelFacts) -> None:
        self.match = match
        self._model = model
        self._regexes = tuple(re.compile(text) for text in match.name)
        self._following = wanted_activations(match.activation)
        self._preceding = wanted_activations(match.input_activation)
        self._where: Formula | None = parse(match.where) if match.where else None
        self._not = Matcher(match.not_, model) if match.not_ else None
        self._of_class: dict[int, bool] = {}
        self._of_module: dict[int, bool] = {}

    def holds(self, param: ParamFacts, site: Site, variables: Variables) -> bool:
        """Every key given holds at this site. A ``where`` that cannot be computed raises FormulaError."""
        return self._holds_at(site.owner, param, site, variables)

    def holds_above(self, param: ParamFacts, site: Site, variables: Variables) -> bool:
        """It holds at the site, or would with some ancestor in the owner's place: descendants are covered."""
        module: ModuleFacts | None = site.owner
        while module is not None:
            if self._holds_at(module, param, site, variables):
                return True
            module = module.parent
        return False

    def _holds_at(self, module: ModuleFacts, param: ParamFacts, site: Site, variables: Variables) -> bool:
        return (
            self.module_holds(module)
            and (not self._following or meets(site.signal.following, self._following))
            and (not self._preceding or meets(site.signal.preceding, self._preceding))
            and (self._where is None or self._is_true(self._where, module, param, site, variables))
            and not (self._not is not None and self._not._holds_at(module, param, site, variables))
        )

    def module_holds(self, module: ModuleFacts) -> bool:
        """The keys that ask about the module alone: type, name, inside."""
        known = self._of_module.get(id(module))
        if known is None:
            known = self._of_module[id(module)] = (
                self.type_holds(module) and self.name_holds(module) and self.inside_holds(module)
            )
        return known

    def type_holds(self, module: ModuleFacts) -> bool:
        """The ``type`` key alone."""
        if not self.match.type:
            return True
        known = self._of_class.get(id(module.classes))
        if known is None:
            known = self._of_class[id(module.classes)] = has_type(module, self.match.type, self.match.exact)
        return known

    def name_holds(self, module: ModuleFacts) -> bool:
        """The ``name`` key alone."""
        return not self._regexes or self._search(module) is not None

    def inside_holds(self, module: ModuleFacts) -> bool:
        """The ``inside`` key alone."""
        return not self.match.inside or any(has_type(above, self.match.inside) for above in _ancestors(module))

    def groups(self, module: ModuleFacts) -> Mapping[str, float]:
        """What the regex's named groups captured here, and ``n_<group>``: how many values each took in the model."""
        found = self._search(module)
        captured = {} if found is None else found.groupdict()
        numbers = {name: int(text) for name, text in captured.items() if text is not None and text.isdecimal()}
        return numbers | {f"n_{name}": len(self._values().get(name, ())) for name in numbers}

    def _values(self) -> Mapping[str, frozenset[int]]:
        values: dict[str, set[int]] = {name: set() for regex in self._regexes for name in regex.groupindex}
        if not hasattr(self, "_seen"):
            for module in self._model.modules if values else ():
                found = self._search(module)
                for name, text in (found.groupdict() if found else {}).items():
                    if text is not None and text.isdecimal():
                        values[name].add(int(text))
            self._seen = {name: frozenset(taken) for name, taken in values.items()}
        return self._seen

    def _search(self, module: ModuleFacts) -> re.Match[str] | None:
        return next((found for regex in self._regexes if (found := regex.search(module.name))), None)

    def _is_true(
        self, where: Formula, module: ModuleFacts, param: ParamFacts, site: Site, variables: Variables
    ) -> bool:
        known = variables.at(param, site, self.groups(module))
        if not where.names <= known.keys():
            return False  # a bias has no fan_in: what has no such fact does not have it large
        return bool(where.evaluate(known))


def _ancestors(module: ModuleFacts) -> Iterator[ModuleFacts]:
    above = module.parent
    while above is not None:
        yield above
        above = above.parent
