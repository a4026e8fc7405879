"""A Python function of the user's own, as an initializer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from initpolicy.initializers.base import Arguments, Block, Float32, Initializer
from initpolicy.streams import Stream

__all__ = ["called"]


def called(path: str, function: Callable[..., object]) -> Initializer:
    """The initializer that calls ``function(tensor, **arguments)`` on a float32 CPU tensor.

    What it returns counts if that is a tensor, else what it wrote. torch's CPU generator is seeded from the
    parameter's stream for the call and put back afterwards; other sources of randomness are the function's own.
    """

    def make(stream: Stream, block: Block, arguments: Arguments) -> Float32:
        import torch

        tensor = torch.zeros(block.shape, dtype=torch.float32, device="cpu")
        generator = torch.default_generator
        state = generator.get_state()
        try:
            generator.manual_seed(stream.key)
            with torch.no_grad():
                result = function(tensor, **arguments)
        finally:
            generator.set_state(state)
        values = result if isinstance(result, torch.Tensor) else tensor
        if tuple(values.shape) != block.shape:
            did = "returned" if values is result else "left"
            raise ValueError(f"{did} a tensor of shape {tuple(values.shape)}, not {block.shape}")
        return np.array(values.detach().to("cpu", torch.float32).numpy(), np.float32)

    return Initializer(
        name=path,
        law=lambda block, arguments: None,
        make=make,
        fallible=True,
        anything=True,
        doc="A function of yours.",
    )
