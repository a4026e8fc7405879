"""Which activation follows, and which precedes, every parameter of a model: one recorded forward pass of a copy.

isolate -> run (record) -> graph -> resolve (regions, forward and backward walks) -> Signal
"""

from __future__ import annotations

from initpolicy.facts.dataflow.isolate import CannotTrace
from initpolicy.facts.dataflow.trace import Traced, trace, trace_on_symbols

__all__ = ["CannotTrace", "Traced", "trace", "trace_on_symbols"]
