"""What is wrong with a policy's specs, whatever the model: initializers, their arguments, functions to call."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from initpolicy.calls import imported
from initpolicy.errors import Problem, meant
from initpolicy.facts.activations import VOCABULARY, normalise
from initpolicy.initializers.base import Initializer, check_names
from initpolicy.policy import Policy, Spec
from initpolicy.resolve import DIRECTIVES, lookup, walk

__all__ = ["check_policy"]

WHOSE = ("following", "preceding", "theory")


def check_policy(
    policy: Policy, table: Mapping[str, Initializer], trusted: tuple[str, ...], own: Collection[str] = ()
) -> tuple[Problem, ...]:
    """Every mistake, in order of place; ``own`` are names that the program gave to activations."""
    return tuple(
        Problem(policy.name, where, why)
        for place, spec in walk(policy)
        for where, why in _check(place, spec, table, trusted, own)
    )


def _check(
    place: str, spec: Spec, table: Mapping[str, Initializer], trusted: tuple[str, ...], own: Collection[str]
) -> Iterator[tuple[str, str]]:
    if spec.name in DIRECTIVES:
        if any(part.name == "inherit" for part in (*spec.parts, *spec.gates.values())):
            yield place, "inherit takes the whole spec of the layer before, so it cannot be one block of several"
        return
    try:
        if spec.call:
            imported(spec.call, trusted)
            return
        initializer = lookup(spec.name, table)
    except ValueError as error:
        yield place, str(error)
        return
    yield from ((f"{place}.{name}", reason) for name, reason in check_names(initializer, spec.arguments))
    takes = any(argument.name == "nonlinearity" for argument in initializer.arguments)
    asked = spec.arguments.get("nonlinearity") if takes else None
    if isinstance(asked, str) and asked not in WHOSE and asked not in own and not normalise(asked):
        aliases = [alias for known in VOCABULARY.values() for alias in known.aliases]
        hint = meant(asked, [*VOCABULARY, *aliases, *own, *WHOSE])
        yield f"{place}.nonlinearity", f"{asked!r} is no known activation, nor one of {', '.join(WHOSE)}{hint}"
