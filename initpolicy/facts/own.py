"""A user's own module -> the activation it computes: an isolated copy is run on a grid."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from initpolicy.facts.activations import Array, Function
from initpolicy.facts.classes import plain_class
from initpolicy.facts.quiet import quiet
from initpolicy.facts.recognize import described
from initpolicy.records import Activation

__all__ = ["by_element", "elementwise", "on_arrays", "own_activation", "trial"]

_MOST = 65_536
"""Elements of buffers that are copied for a trial; no activation needs more."""


def own_activation(module: nn.Module) -> Activation | None:
    """What a user's own module computes, if that is an activation: found by running an isolated copy on a grid.

    The vocabulary's entry where it is like one, else an activation of the class's name with its gains from its own
    forward. None for what is not elementwise, for an affine function, and for whatever cannot be run or integrated.
    """
    f = elementwise(module)
    if f is None:
        return None
    name = plain_class(module).__name__
    try:
        found = described(f, name, class_name=name)
    except Exception:  # whatever the user's code may raise: then it is not understood
        return None
    return None if found.name == "identity" else found


def elementwise(module: nn.Module) -> Function | None:
    """The function that the module applies to each element by itself, or None if it does anything else.

    Asked of `trial`: the same values in any shape and order, and whatever their neighbours are.
    """
    try:
        run = trial(module)
        return run if run is not None and by_element(run) else None
    except Exception:  # whatever the user's code may raise: then it is not understood
        return None


def trial(module: nn.Module) -> Function | None:
    """A function on float64 arrays of any shape that runs an isolated copy of the module, and raises what that raises.

    The copy is in evaluation mode, in float64 on the CPU, and leaves hooks behind; it runs without gradients, and the
    random state is put back. None for modules with more than single numbers for parameters, or with large buffers:
    they are not copied.
    """
    if any(parameter.numel() != 1 for parameter in module.parameters()):
        return None
    if sum(buffer.numel() for buffer in module.buffers()) > _MOST:
        return None
    return on_arrays(_isolated(module).eval())


def on_arrays(function: Callable[[Tensor], Any]) -> Function:
    """A function of tensors as one of float64 arrays, run without gradients; the random state is put back."""

    def run(z: Array) -> Array:
        with quiet(), torch.device("cpu"):
            out = function(torch.from_numpy(np.array(z, dtype=np.float64)))
            if not isinstance(out, torch.Tensor) or not out.is_floating_point():
                raise TypeError("an activation gives a tensor of real numbers")
            return out.detach().double().numpy()

    return run


def _isolated(module: nn.Module) -> nn.Module:
    """A copy that shares nothing with the module: tensors are float64 twins on the CPU, hooks are left out."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        twin = tensor.detach().cpu().clone()
        twin = twin.double() if twin.is_floating_point() else twin
        memo[id(tensor)] = nn.Parameter(twin, requires_grad=False) if isinstance(tensor, nn.Parameter) else twin
    for part in module.modules():
        for name, value in vars(part).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                memo[id(value)] = OrderedDict()
    return copy.deepcopy(module, memo)


def by_element(run: Function) -> bool:
    """The same values whatever the shape, the order, and the neighbours."""
    z = np.linspace(-5.9, 6.1, 60)
    order = np.random.default_rng(0).permutation(60)
    values = run(z)
    others = (
        (z[order].reshape(10, 6), values[order].reshape(10, 6)),
        (z[order].reshape(2, 3, 10), values[order].reshape(2, 3, 10)),
        (z[::-1].reshape(1, 2, 5, 6), values[::-1].reshape(1, 2, 5, 6)),
        (z[::4].reshape(5, 3), values[::4].reshape(5, 3)),
    )
    return all(_same(run(given), expected) for given, expected in others)


def _same(found: Array, expected: Array) -> bool:
    """Equal but for the rounding of float32."""
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-5, atol=1e-6)
