"""Small models with the module and parameter names of a reference that cannot be installed, and tables of its laws."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special, stats
from torch import nn

from parity.case import Stated, glorot, normal, uniform

__all__ = [
    "blocks",
    "folded",
    "he",
    "inverse_softplus",
    "kind",
    "laws",
    "lecun",
    "log_of_uniform",
    "on_sphere",
    "tie",
    "torch_default",
    "tree",
]

Law = Stated | Callable[..., Stated]
"""A law, or what gives it: (shape, match of the name, owner) -> law."""
Shape = tuple[int, ...]

# --- models ---------------------------------------------------------------------------------------


def kind(name: str, base: type[nn.Module] = nn.Module, numbers: Mapping[str, float] | None = None, **given: Any) -> Any:
    """A module of a class of this name: without a base its parameters' shapes are given, else the base's arguments.

    ``numbers`` are attributes of it, which formulas may name.
    """
    made = type(name, (base,), {})
    module: Any = made() if base is nn.Module else made(**given)
    if base is nn.Module:
        for local, shape in given.items():
            module.register_parameter(local, nn.Parameter(torch.zeros(shape)))
    for number, value in (numbers or {}).items():
        setattr(module, number, value)
    return module


def tree(parts: Mapping[str, nn.Module], root: nn.Module | None = None) -> nn.Module:
    """The parts, hung under their dotted names; what lies between is a plain module."""
    model = nn.Module() if root is None else root
    for path, part in parts.items():
        *above, last = path.split(".")
        at = model
        for name in above:
            if name not in at._modules:
                at.add_module(name, nn.Module())
            at = at.get_submodule(name)
        at.add_module(last, part)
    return model


def blocks(prefix: str, count: int, block: Callable[[], Mapping[str, nn.Module]]) -> dict[str, nn.Module]:
    """``prefix.0.x``, ``prefix.1.x`` … of so many blocks."""
    return {f"{prefix}.{index}.{name}": part for index in range(count) for name, part in block().items()}


def tie(model: nn.Module, name: str, to: str) -> nn.Module:
    """One tensor under both names."""
    path, _, local = name.rpartition(".")
    model.get_submodule(path)._parameters[local] = model.get_parameter(to)
    return model


# --- laws -----------------------------------------------------------------------------------------


def laws(table: Mapping[str, Law]) -> Callable[[str, NDArray[np.float32], nn.Module], Stated]:
    """Regular expression of a parameter's name -> law; the first that is found counts, and one has to be."""

    def stated(name: str, value: NDArray[np.float32], owner: nn.Module) -> Stated:
        for regex, law in table.items():
            if found := re.search(regex, name):
                plain = isinstance(law, (int, float, np.ndarray)) or not callable(law)
                return law if plain or hasattr(law, "cdf") else law(value.shape, found, owner)
        raise LookupError(f"no law is stated for {name}")

    return stated


def lecun(shape: Shape, *_: Any) -> Stated:
    """N(0, 1 / fan_in)."""
    return normal(1 / math.sqrt(math.prod(shape[1:])))


def he(shape: Shape, *_: Any) -> Stated:
    """N(0, 2 / fan_in)."""
    return normal(math.sqrt(2 / math.prod(shape[1:])))


def torch_default(shape: Shape, found: re.Match[str], owner: Any) -> Stated:
    """What torch's constructors do, by their documentation."""
    local = found.string.rpartition(".")[2]
    match owner:
        case nn.modules.linear.NonDynamicallyQuantizableLinear() if local == "bias":
            return 0.0
        case nn.Linear() | nn.modules.conv._ConvNd():
            return uniform(1 / math.sqrt(math.prod(owner.weight.shape[1:])))
        case nn.Embedding():
            return normal(1.0)
        case nn.RNNBase() | nn.RNNCellBase():
            return uniform(1 / math.sqrt(owner.hidden_size))
        case nn.MultiheadAttention():
            return glorot(shape[1], shape[0]) if local == "in_proj_weight" else 0.0
        case _:  # norms
            return float(local == "weight")


class _InverseSoftplus(stats.rv_continuous):  # type: ignore[misc]
    """x with softplus(x) log-uniform."""

    def _cdf(self, x: Any, low: float, high: float) -> Any:
        return np.log(np.log1p(np.exp(x)) / low) / np.log(high / low)

    def _pdf(self, x: Any, low: float, high: float) -> Any:
        return special.expit(x) / np.log1p(np.exp(x)) / np.log(high / low)

    def _get_support(self, low: float, high: float) -> Any:
        return low + np.log(-np.expm1(-low)), high + np.log(-np.expm1(-high))

    def _argcheck(self, low: float, high: float) -> Any:
        return np.asarray(low > 0) & np.asarray(high > low)


class _LogOfUniform(stats.rv_continuous):  # type: ignore[misc]
    """log of U(1, high)."""

    def _cdf(self, x: Any, high: float) -> Any:
        return np.expm1(x) / (high - 1)

    def _pdf(self, x: Any, high: float) -> Any:
        return np.exp(x) / (high - 1)

    def _get_support(self, high: float) -> Any:
        return 0.0, np.log(high)


class _Folded(stats.rv_continuous):  # type: ignore[misc]
    """fmod(z, 2) of a standard normal."""

    def _cdf(self, x: Any) -> Any:
        inside = sum(stats.norm.cdf(2 * k + np.abs(x)) - stats.norm.cdf(2 * k) for k in range(5))
        return 0.5 + np.sign(x) * inside

    def _pdf(self, x: Any) -> Any:
        return sum(stats.norm.pdf(2 * k + np.abs(x)) for k in range(5))


inverse_softplus = _InverseSoftplus(name="inverse_softplus", shapes="low, high")
log_of_uniform = _LogOfUniform(name="log_of_uniform", shapes="high")
folded = _Folded(name="folded", a=-2, b=2)


def on_sphere(norm: float, dimensions: int) -> Stated:
    """A coordinate of a random point on the sphere of radius ``norm``: (x/norm + 1)/2 is Beta(k, k), k = (n - 1)/2."""
    return stats.beta((dimensions - 1) / 2, (dimensions - 1) / 2, loc=-norm, scale=2 * norm)
