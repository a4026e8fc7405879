"""Small real modules with the activations that follow and precede their weights: what the tracer is held against.

The answers are read off the modules' code by hand, never off the tracer.
"""

from __future__ import annotations

from models import (
    attention,
    basic,
    gates,
    generative,
    handwritten,
    machinery,
    norms,
    sequence,
    structured,
    topology,
    vision,
    weights,
)
from models.case import Answer, Case, call
from models.machinery import COMPILED

__all__ = ["CASES", "COMPILED", "Answer", "Case", "call"]

CASES: tuple[Case, ...] = (
    *basic.CASES,
    *handwritten.CASES,
    *topology.CASES,
    *gates.CASES,
    *norms.CASES,
    *attention.CASES,
    *weights.CASES,
    *machinery.CASES,
    *vision.CASES,
    *sequence.CASES,
    *generative.CASES,
    *structured.CASES,
)
