"""What surrounds each parameter of a LightningModule, found with what the run itself is about to feed it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from initpolicy.facts.find import CannotTrace, Found, find_signals
from initpolicy.facts.quiet import quiet
from initpolicy.facts.registered import NONE, Registered
from initpolicy.integrations.batches import first_batch

__all__ = ["find_in_fit"]

FOUND_BY = "trace of the first training batch"
_SILENT = ("unresolved", "unused")


def find_in_fit(trainer: Any, module: nn.Module, own: Registered = NONE) -> Found:
    """By the module's ``example_input_array``; without one, by the shapes of the first training batch.

    The batch goes through ``forward``, whole or its first part; where that does not take it, or leaves parameters
    without an answer, through ``training_step``, with no trainer to log to. An isolated copy runs, on tensors without
    values. Neither the user's data nor any random state moves.
    """
    if getattr(module, "example_input_array", None) is None:
        with quiet():
            batch = first_batch(trainer)
        best: Found | None = None
        for arguments, method in _calls(batch):
            found = _tried(module, arguments, method, own)
            if found is not None and (best is None or _unanswered(found) < _unanswered(best)):
                best = found
            if best is not None and not _unanswered(best):
                break
        if best is not None:
            return best
    return find_signals(module, own=own)


def _calls(batch: Any) -> Iterator[tuple[Any, str]]:
    """(arguments, method) in order of preference."""
    if batch is None:
        return
    yield (batch,), ""
    if isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], Tensor):
        yield (batch[0],), ""
    if isinstance(batch, Mapping):
        yield dict(batch), ""
    yield (batch, 0), "training_step"
    yield (batch,), "training_step"


def _tried(module: nn.Module, arguments: Any, method: str, own: Registered) -> Found | None:
    try:
        return find_signals(module, arguments, method=method, found_by=FOUND_BY, own=own)
    except CannotTrace:
        return None


def _unanswered(found: Found) -> int:
    return sum(signal.found_by in _SILENT for signal in found.signals.values())
