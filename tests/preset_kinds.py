"""Which presets are ways to initialize any model, and which are what one library, paper or program does."""

from __future__ import annotations

import initpolicy as ip

__all__ = ["GENERIC", "REFERENCE"]

GENERIC = (
    "constant", "he_leaky_relu", "he_relu", "he_uniform", "keras_default", "lecun_normal", "lecun_selu", "orthogonal",
    "orthogonal_rnn", "recommended", "signal", "signal_backward", "simple_normal", "simple_uniform", "sparse",
    "torch_default", "xavier_normal", "xavier_tanh", "xavier_uniform",
)  # fmt: skip
"""Each fits every layer of torch.nn; `test_presets` holds each against its law."""

REFERENCE = tuple(name for name in ip.list_policies() if name not in GENERIC)
"""`parity` holds each against its reference."""
