"""What fills a tensor: one visible table, and the names it also answers to.

`inherit`, `keep`, `blocks` and `gates` say which initializer goes where; the planner resolves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from initpolicy.initializers.base import Initializer
from initpolicy.initializers.constants import CONSTANTS
from initpolicy.initializers.directions import DIRECTIONS
from initpolicy.initializers.distributions import DISTRIBUTIONS
from initpolicy.initializers.files import FILES
from initpolicy.initializers.formulas import FORMULAS
from initpolicy.initializers.matrices import MATRICES
from initpolicy.initializers.patterns import PATTERNS
from initpolicy.initializers.scaled import SCALED
from initpolicy.initializers.subpixel import SUBPIXEL

__all__ = ["ALIASES", "INITIALIZERS"]

_ALL = (*CONSTANTS, *DISTRIBUTIONS, *SCALED, *MATRICES, *DIRECTIONS, *PATTERNS, *SUBPIXEL, *FORMULAS, *FILES)

INITIALIZERS: Final[Mapping[str, Initializer]] = MappingProxyType({entry.name: entry for entry in _ALL})
"""Every initializer by its name."""

_TORCH = (
    "constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "ones", "orthogonal", "sparse",
    "trunc_normal", "uniform", "xavier_normal", "xavier_uniform", "zeros",
)  # fmt: skip

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{f"{name}_": name for name in _TORCH},
        **{f"glorot_{law}": f"xavier_{law}" for law in ("normal", "uniform")},
        **{f"he_{law}": f"kaiming_{law}" for law in ("normal", "uniform")},
    }
)
"""Keras' names, and torch.nn.init's own spelling with an underscore."""
