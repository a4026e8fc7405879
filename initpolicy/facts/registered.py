"""Activations that the program gives a name to: what ``activations=`` of the use cases says, checked and computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from initpolicy.errors import PlanError, Problem
from initpolicy.facts.activations import Array, Function, activation_of, normalise
from initpolicy.facts.classes import plain_class
from initpolicy.facts.gains import exact_gains
from initpolicy.facts.own import by_element, elementwise, on_arrays, trial
from initpolicy.facts.quiet import quiet
from initpolicy.facts.recognize import POINTS, alike, recognise
from initpolicy.records import Activation, Signal

__all__ = ["NONE", "Registered", "register"]

_TAKEN = ("auto", "custom", "following", "preceding", "theory")
"""Words that a policy has another use for."""
_WHAT = "a function of one tensor, a class of torch.nn.Module, or a module"
_INSTEAD = "give it a class of torch.nn.Module that computes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What was registered, by name."""

    activations: Mapping[str, Activation] = field(default_factory=dict)
    """With the gains of the function, the module, or what the class makes without arguments; or else without."""
    classes: Mapping[type, str] = field(default_factory=dict)
    curves: Mapping[str, Array] = field(default_factory=dict)
    """Of functions, their values at `POINTS`."""

    def name_of(self, kind: type) -> str:
        """The name of a class or of the nearest of its bases; "" where none has one."""
        return next((self.classes[cls] for cls in kind.__mro__ if cls in self.classes), "") if self.classes else ""

    def of_module(self, module: nn.Module) -> Activation | None:
        """The module's activation, if its class has a name or it computes a function that has; with its own gains."""
        kind = plain_class(module)
        name = self.name_of(kind)
        if name:
            f = elementwise(module)
            return Activation(name=name, exact=None if f is None else _gains(f), class_name=kind.__name__)
        f = elementwise(module) if self.curves else None
        found = None if f is None else self.computing(f(POINTS))
        return None if found is None else replace(found, class_name=kind.__name__)

    def computing(self, values: Array) -> Activation | None:
        """The function that has these values at `POINTS`."""
        name = _like(values, self.curves)
        return self.activations[name] if name else None

    def known(self, signals: Iterable[Signal]) -> Mapping[str, Activation]:
        """All by name; where a class alone tells no gains, with those of the first of it that was found."""
        lacking = {name for name, activation in self.activations.items() if activation.exact is None}
        hits = (hit for signal in signals if lacking for hit in (*signal.following, *signal.preceding))
        found: dict[str, Activation] = {}
        for hit in hits:
            if hit.activation.name in lacking and hit.activation.exact is not None:
                found.setdefault(hit.activation.name, hit.activation)
        return {**self.activations, **found}


NONE = Registered()


def _like(values: Array, curves: Mapping[str, Array]) -> str:
    return next((name for name, curve in curves.items() if alike(values, curve)), "")


def register(activations: Mapping[str, Any] | None, source: str) -> Registered:
    """Read ``name -> function, class or module``.

    A class stands for all its modules, a module of the user's own for its class; a function, or a module that is
    made of torch.nn's, for whatever computes the same. Functions and modules are run on a grid, as a class is if it
    can be made without arguments.

    Raises:
        PlanError: with every entry that cannot be, in order.
    """
    if not activations:
        return NONE
    if not isinstance(activations, Mapping):
        kind = type(activations).__name__
        raise PlanError(Problem(source, "activations", f"must map names to activations, not be of type {kind}"))
    made = _Entries()
    problems = [
        Problem(source, f"activations[{name!r}]", why)
        for name, given in activations.items()
        if (why := _misnamed(name, given) or _entered(made, name, given))
    ]
    if problems:
        raise PlanError(*problems)
    return Registered(activations=made.activations, classes=made.classes, curves=made.curves)


@dataclass(slots=True, kw_only=True)
class _Entries:
    """What has been read so far."""

    activations: dict[str, Activation] = field(default_factory=dict)
    classes: dict[type, str] = field(default_factory=dict)
    curves: dict[str, Array] = field(default_factory=dict)


def _misnamed(name: object, given: object) -> str:
    if not isinstance(name, str) or not name or name != name.strip():
        return "a name must be a text, without blanks around it"
    if name in _TAKEN:
        return f"{name!r} means something else in a policy; choose another name for {_called(given)}"
    known = normalise(name)
    if known:
        same = name == known
        whose = "the vocabulary has an activation of this name" if same else f"the vocabulary calls {known} so"
        return f"{whose}; choose another name for {_called(given)}"
    return ""


def _called(given: object) -> str:
    own = getattr(given, "__name__", "")
    return own if isinstance(own, str) and own.isidentifier() else type(given).__name__


def _entered(made: _Entries, name: str, given: Any) -> str:
    """Put it there, or say why not."""
    if isinstance(given, type) and not issubclass(given, nn.Module):
        return f"must be {_WHAT}, not the class {given.__name__}"
    if isinstance(given, nn.Module) and not _of_torch(plain_class(given)):
        return _enter_class(made, name, plain_class(given), given)
    if isinstance(given, nn.Module):
        try:
            run = trial(given)
        except Exception as error:  # whatever a copy of the user's module may raise
            return f"cannot be copied: {_brief(error)}; {_INSTEAD}"
        if run is None:
            return f"has more than single numbers for parameters; {_INSTEAD}"
        return _enter_curve(made, name, run)
    if isinstance(given, type):
        return _named_already(given) if _of_torch(given) else _enter_class(made, name, given, None)
    if not callable(given):
        return f"must be {_WHAT}, not {given!r}"
    return _enter_curve(made, name, on_arrays(given))


def _of_torch(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn.")


def _named_already(kind: type) -> str:
    known = activation_of(kind()) if kind.__module__ == "torch.nn.modules.activation" and _plain(kind) else None
    return f"{kind.__name__} is torch's own, and {f'{known.name} in the vocabulary' if known else 'nothing of yours'}"


def _plain(kind: Callable[[], Any]) -> bool:
    try:
        kind()
    except TypeError:  # it takes arguments
        return False
    return True


def _enter_class(made: _Entries, name: str, kind: type, module: nn.Module | None) -> str:
    if kind in made.classes:
        return f"{kind.__name__} has the name {made.classes[kind]!r} already; give it one"
    f = elementwise(module) if module is not None else _made_without_arguments(kind)
    exact = None if f is None else _gains(f)
    made.classes[kind] = name
    made.activations[name] = Activation(name=name, exact=exact, class_name=kind.__name__)
    return ""


def _made_without_arguments(kind: type) -> Function | None:
    try:
        with quiet():
            module = kind()
    except Exception:  # it takes arguments, or does whatever the user's code may
        return None
    return elementwise(module)


def _gains(f: Function) -> tuple[float, float] | None:
    try:
        return exact_gains(f)
    except Exception:  # whatever the user's code may raise
        return None


def _enter_curve(made: _Entries, name: str, run: Function) -> str:
    try:
        with np.errstate(all="ignore"):
            values = np.array(run(POINTS), dtype=np.float64)
    except Exception as error:  # whatever the user's code may raise
        return f"cannot be run on a tensor of float64: {_brief(error)}; {_INSTEAD}"
    if np.isnan(values).any() and values.shape == POINTS.shape:
        at = float(POINTS[np.isnan(values)][0])
        return f"gives NaN, as at {at:.4g}: an activation is called with every number; {_INSTEAD}"
    try:
        alone = values.shape == POINTS.shape and by_element(run)
    except Exception:  # it takes one shape, and not another
        alone = False
    if not alone:
        return f"is not elementwise: it must give one number for each, by that number alone; {_INSTEAD}"
    known = recognise(lambda _: values)
    if known is not None:
        return f"computes {known}, which the vocabulary names; ask for {known.name}, or {_INSTEAD}"
    same = _like(values, made.curves)
    if same:
        return f"computes what {same!r} does; give that one name"
    try:
        exact = exact_gains(run)
    except ValueError as error:
        return f"has no gain that can be computed: {error}; {_INSTEAD}"
    made.curves[name] = values
    made.activations[name] = Activation(name=name, exact=exact)
    return ""


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
