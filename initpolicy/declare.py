"""Activations that the policy states, where its author knows better than any finder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from initpolicy.errors import meant
from initpolicy.facts.activations import VOCABULARY, named, normalise
from initpolicy.matching import nearest_name
from initpolicy.policy import Declared
from initpolicy.records import Activation, Hit, ModelFacts, Signal, Site

__all__ = ["declare", "wrongly_declared", "wrongly_registered"]


def declare(model: ModelFacts, declared: Mapping[str, Declared]) -> ModelFacts:
    """The facts, with what is stated following each module whose name the expression finds; the last one counts."""
    stated = [
        (re.compile(text), activation)
        for text, entry in reversed(list(declared.items()))
        if (activation := _activation(entry, model)) is not None
    ]
    if not stated:
        return model
    params = (replace(param, sites=tuple(_at(site, stated) for site in param.sites)) for param in model.params)
    return replace(model, params=tuple(params))


def _at(site: Site, stated: list[tuple[re.Pattern[str], Activation]]) -> Site:
    for regex, activation in stated:
        if regex.search(site.owner.name):
            hit = Hit(activation=activation)
            signal = replace(site.signal, following=(hit,), further_following=(), found_by="declared")
            return replace(site, signal=signal)
    return site


def _activation(entry: Declared, model: ModelFacts) -> Activation | None:
    """The vocabulary's, the program's own, or a class of the model's with the gains that were found for it; or None."""
    if normalise(entry.name):
        try:
            return named(entry.name, entry.arguments)
        except ValueError:
            return None
    if entry.arguments:
        return None
    if entry.name in model.activations:
        return model.activations[entry.name]
    if entry.name not in _classes(model):
        return None
    found = (hit.activation for signal in _signals(model) for hit in (*signal.following, *signal.preceding))
    own = (activation for activation in found if activation.class_name == entry.name)
    return next(own, Activation(name=entry.name, class_name=entry.name))


def _signals(model: ModelFacts) -> Iterator[Signal]:
    return (site.signal for param in model.params for site in param.sites)


def _classes(model: ModelFacts) -> set[str]:
    return {module.classes.simple for module in model.modules}


def wrongly_declared(model: ModelFacts, declared: Mapping[str, Declared]) -> Iterator[tuple[str, str]]:
    """(place, sentence) for names and arguments that no one knows, and for expressions that find nothing."""
    owners = {site.owner.name: None for param in model.params for site in param.sites}
    for text, entry in declared.items():
        why = _mistake(entry, model)
        if why:
            yield f"activations.{text}", why
        if not any(re.search(text, name) for name in owners):
            yield f"activations.{text}", f"finds no module with parameters{nearest_name(text, owners)}"


def _mistake(entry: Declared, model: ModelFacts) -> str:
    if normalise(entry.name):
        try:
            named(entry.name, entry.arguments)
        except ValueError as error:
            return str(error)
        return ""
    classes = _classes(model)
    if entry.name in model.activations:
        return f"{entry.name} takes no arguments, not {', '.join(entry.arguments)}" if entry.arguments else ""
    if entry.name not in classes:
        words = {
            *VOCABULARY,
            *classes,
            *model.activations,
            *(alias for known in VOCABULARY.values() for alias in known.aliases),
        }
        return f"{entry.name!r} is no known activation and no class of this model{meant(entry.name, words)}"
    if entry.arguments:
        return f"{entry.name} is a class of this model, which takes no arguments here, not {', '.join(entry.arguments)}"
    return ""


def wrongly_registered(model: ModelFacts) -> Iterator[tuple[str, str]]:
    """(place, sentence) for names given to activations that are the names of other classes of the model."""
    for name in sorted(_classes(model) & model.activations.keys()):
        own = model.activations[name].class_name
        if own != name:
            what = f"the class {own}" if own else "a function"
            yield f"activations[{name!r}]", f"the model has a class of this name; choose another name for {what}"
