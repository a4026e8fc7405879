"""Functions as a user would write them, and what is none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BOUND = 0.1
"""No function."""


class Filler:
    """No function either."""


def fancy_(tensor: Tensor, alpha: float = 1.0) -> None:
    """U(-alpha, alpha), in place."""
    tensor.uniform_(-alpha, alpha)


def ramp(tensor: Tensor) -> Tensor:
    """0, 1, 2 …, as a tensor of its own."""
    return torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape)


def raises_(tensor: Tensor) -> None:
    """What a mistake in it looks like."""
    raise KeyError("alpha")


def flattens(tensor: Tensor) -> Tensor:
    """A tensor of another shape."""
    return tensor.reshape(-1)


def spoils_(tensor: Tensor) -> None:
    """What is no number."""
    tensor.fill_(math.nan)
