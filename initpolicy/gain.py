"""Which gain a law takes, whose it is, and why: a number given, an activation named, or one that was found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from initpolicy.errors import meant
from initpolicy.facts.activations import VOCABULARY, named, normalise
from initpolicy.facts.gains import gain as gain_of
from initpolicy.policy import Policy
from initpolicy.records import Activation, Hit, Signal

__all__ = ["DEFAULT", "REMEDY", "WHOSE", "decide_gain", "found_gain"]

REMEDY = "give an example_input, or state it under 'activations'"
DEFAULT = "the initializer's default"
"""Whose gain it is where nothing is said of one."""
_DEFAULT = math.sqrt(2.0)
"""What torch.nn.init.kaiming_* takes when nothing is said: leaky_relu of slope 0."""
_GUESSED = frozenset({"sequential", "torch.fx"})
"""How an activation was found where several answers leave the gain open; a trace ranks them."""

Whose = Literal["following", "preceding", "theory"]
WHOSE = ("following", "preceding", "theory")


def decide_gain(
    given: Mapping[str, Any],
    default: float | None,
    signal: Signal,
    policy: Policy,
    own: Mapping[str, Activation] | None = None,
) -> tuple[float, str]:
    """The gain and where it comes from, in this order.

    1. a number given as ``gain`` beats all (torch issue 54030);
    2. ``nonlinearity``: an activation's name (a rectifier's slope in ``a``), one of the program's ``own`` too, or
       ``following | preceding | theory``;
    3. ``a`` alone: leaky_relu of that slope, as in torch.nn.init.kaiming_*;
    4. ``gain: auto``: what the policy's ``nonlinearity`` asks for;
    5. the initializer's ``default``, or where it has none, as 4, and torch's own default of √2 where that fails.

    Raises:
        ValueError: where an activation was asked for outright, and it is unknown, has no gain, or was not found.
    """
    number, word, slope, mode = given.get("gain"), given.get("nonlinearity"), given.get("a"), given.get("mode")
    if number is not None and number != "auto":
        return float(number), "given"
    if word in WHOSE:
        return found_gain(word, mode, signal, policy)
    if word is not None or slope is not None:
        activation = (own or {}).get(str(word)) or _stated("leaky_relu" if word is None else str(word), slope, own)
        return gain_of(activation, mode=policy.gains), f"given {activation}"
    if number == "auto":
        return found_gain(policy.nonlinearity, mode, signal, policy)
    if default is not None:
        return default, DEFAULT
    try:
        return found_gain(policy.nonlinearity, mode, signal, policy)
    except ValueError as error:
        return _DEFAULT, f"torch's default: {_brief(error)}"


def _stated(word: str, slope: object, own: Mapping[str, Activation] | None) -> Activation:
    """The activation of this name.

    As in torch.nn.init, a leaky_relu of no stated slope has slope 0, and only rectifiers heed ``a``.
    """
    if not normalise(word):
        aliases = [alias for known in VOCABULARY.values() for alias in known.aliases]
        hint = meant(word, [*VOCABULARY, *aliases, *(own or {}), *WHOSE])
        raise ValueError(f"nonlinearity {word!r} is no known activation, nor one of {', '.join(WHOSE)}{hint}")
    activation = named(word)
    if activation.name == "prelu" and slope is None:
        return activation
    if activation.name in ("leaky_relu", "prelu"):
        return named(activation.name, {"slope": float(slope or 0.0)})  # type: ignore[arg-type]  # checked to be a number
    return activation


def found_gain(whose: Whose, mode: object, signal: Signal, policy: Policy) -> tuple[float, str]:
    """The gain of the activation that was found, and whose it is.

    ``following`` and ``preceding`` take 1/sqrt(E[f(z)^2]) of that activation, or torch's number for it. ``theory``
    keeps the forward signal with the preceding one's, and for fan_out the backward signal with the following one's
    1/sqrt(E[f'(z)^2]): He et al. 2015, section 2.2, forward and backward case. What a norm feeds has unit variance,
    so there the forward gain is 1.

    Raises:
        ValueError: where none is known, several leave it open, or it has no gain.
    """
    backward = whose == "theory" and mode == "fan_out"
    side = "following" if whose == "following" or backward else "preceding"
    if side == "preceding" and signal.norm_before:
        return 1.0, "norm before"
    hits = signal.following if side == "following" else signal.preceding
    if not hits:
        raise ValueError(f"no {side} activation is known ({signal.found_by}); {REMEDY}")
    gains = [_gain(hit, policy, backward) for hit in (hits if signal.found_by in _GUESSED else hits[:1])]
    if len(set(gains)) > 1:
        raise ValueError(f"the {side} activation is ambiguous: {_names(hits)}; {REMEDY}")
    if isinstance(gains[0], str):
        raise ValueError(gains[0])
    several = list(dict.fromkeys(str(hit.activation) for hit in hits))
    first = f", first of {' | '.join(several)}" if len(several) > 1 else ""
    return gains[0], f"{side} {several[0]}{', backward' if backward else ''}{first}"


def _gain(hit: Hit, policy: Policy, backward: bool) -> float | str:
    """Its gain, or why it has none."""
    try:
        return gain_of(hit.activation, mode=policy.gains, direction="backward" if backward else "forward")
    except ValueError as error:
        return str(error)


def _names(hits: tuple[Hit, ...]) -> str:
    return ", ".join(dict.fromkeys(str(hit.activation) for hit in hits))


def _brief(error: ValueError) -> str:
    """What is the matter, without reasons and remedies."""
    return str(error).partition(";")[0].partition(":")[0]
