"""What surrounds each parameter, from the strongest finder that has an answer.

trace of your example_input -> trace of an input made for the model -> torch.fx without input -> order in nn.Sequential
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from initpolicy.facts.dataflow import CannotTrace, trace, trace_on_symbols
from initpolicy.facts.registered import NONE, Registered
from initpolicy.facts.sequential import find_in_sequentials
from initpolicy.facts.wrappers import unwrap
from initpolicy.records import Activation, Signal

__all__ = ["CannotTrace", "Found", "find_in_order", "find_nothing", "find_signals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of the signals, and what must be said of how."""

    signals: Mapping[str, Signal]
    """By path in the real module tree."""
    notes: tuple[str, ...] = ()
    activations: Mapping[str, Activation] = field(default_factory=dict)
    """Those that the program gave a name to."""
    otherwise: Signal = field(default_factory=Signal)
    """Of parameters without an answer."""

    def below(self, path: str) -> Found:
        """What concerns one module, by paths from there; a layer before that lies outside is not named."""
        start = f"{path}." if path else ""
        inside = {name: signal for name, signal in self.signals.items() if name.startswith(start)}
        return replace(
            self, signals={name.removeprefix(start): _moved(signal, start, "") for name, signal in inside.items()}
        )


def find_signals(
    model: nn.Module,
    example_input: Any = None,
    *,
    method: str = "",
    found_by: str = "trace of your example_input",
    own: Registered = NONE,
) -> Found:
    """Trace what the model wraps; where that cannot be, fall back on order, and say so.

    ``method`` is called in place of the module itself (Lightning's ``training_step``); ``found_by`` says in the audit
    where the ``example_input`` is from; ``own`` are activations that the program gave a name to.

    Raises:
        CannotTrace: where an ``example_input`` was given and the model does not run on it.
    """
    found = _find(model, example_input, method, found_by, own)
    return replace(found, activations=own.known(found.signals.values()))


def find_in_order(model: nn.Module, own: Registered = NONE) -> Found:
    """What order inside nn.Sequential tells, where no trace is wanted."""
    signals = find_in_sequentials(model, own)
    said = "activations are known by order inside nn.Sequential only: trace is False"
    return replace(_untraced(own, signals), notes=(said,))


def find_nothing(own: Registered = NONE) -> Found:
    """What is known where no one asks."""
    return _untraced(own, {})


def _untraced(own: Registered, signals: Mapping[str, Signal]) -> Found:
    return Found(signals=signals, activations=own.known(signals.values()), otherwise=Signal(found_by="not traced"))


def _find(model: nn.Module, example_input: Any, method: str, found_by: str, own: Registered) -> Found:
    inner, way = unwrap(model)
    if any(is_lazy(param) for param in model.parameters()):
        return Found(signals=find_in_sequentials(model, own))  # planning refuses these by name
    try:
        traced = trace(inner, example_input, method=method, found_by=found_by, own=own)
    except CannotTrace as error:
        if example_input is not None:
            raise
        reason = f"the model was not traced: {error}"
        try:
            traced = trace_on_symbols(inner, own)
        except CannotTrace as other:
            said = (
                f"activations are known by order inside nn.Sequential only; {reason}; nor does torch.fx run it: {other}"
            )
            return Found(signals=find_in_sequentials(model, own), notes=(said,))
        said = f"activations are those that torch.fx finds without running the model, which is weaker; {reason}"
        traced = replace(traced, notes=(said,))
    start = "".join(f"{name}." for name in way)
    signals = {f"{start}{path}": _moved(signal, "", start) for path, signal in traced.signals.items()}
    return Found(signals=signals, notes=traced.notes)


def _moved(signal: Signal, old: str, new: str) -> Signal:
    """The signal with the layer before it named from elsewhere."""
    if signal.previous is None or old == new:
        return signal
    inside = signal.previous.startswith(old)
    return replace(signal, previous=new + signal.previous.removeprefix(old) if inside else None)
