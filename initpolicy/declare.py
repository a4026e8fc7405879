"""Activations that the policy states, where its author knows better than any finder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from initpolicy.errors import meant
from initpolicy.facts.activations import VOCABULARY, normalise
from initpolicy.policy import Declared
from initpolicy.records import Activation, Hit, ModelFacts, ParamFacts, Site

__all__ = ["declare", "wrongly_declared"]


def declare(model: ModelFacts, declared: Mapping[str, Declared]) -> ModelFacts:
    """The facts, with what is stated following each module whose name the expression finds; the last one counts."""
    if not declared:
        return model
    stated = [(re.compile(text), _activation(entry)) for text, entry in reversed(declared.items())]
    return replace(model, params=tuple(_declared(param, stated) for param in model.params))


def _declared(param: ParamFacts, stated: list[tuple[re.Pattern[str], Activation]]) -> ParamFacts:
    return replace(param, sites=tuple(_at(site, stated) for site in param.sites))


def _at(site: Site, stated: list[tuple[re.Pattern[str], Activation]]) -> Site:
    for regex, activation in stated:
        if regex.search(site.owner.name):
            signal = replace(site.signal, following=(Hit(activation=activation),), found_by="declared")
            return replace(site, signal=signal)
    return site


def _activation(entry: Declared) -> Activation:
    return Activation(name=normalise(entry.name) or entry.name, arguments=tuple(sorted(entry.arguments.items())))


def wrongly_declared(model: ModelFacts, declared: Mapping[str, Declared]) -> Iterator[tuple[str, str]]:
    """(place, sentence) for names that no vocabulary and no class of the model has, and for what finds nothing."""
    classes = {module.classes.simple for module in model.modules}
    for text, entry in declared.items():
        if not normalise(entry.name) and entry.name not in classes:
            hint = meant(entry.name, [*VOCABULARY, *classes])
            yield f"activations.{text}", f"{entry.name!r} is no known activation and no class of this model{hint}"
        if not any(re.search(text, site.owner.name) for param in model.params for site in param.sites):
            yield f"activations.{text}", "finds no module with parameters"
