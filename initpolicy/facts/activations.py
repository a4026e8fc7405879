"""The vocabulary of activations, one table of names, arguments and functions; and telling which a module computes.

Importing this imports no torch: the table holds names and NumPy functions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initpolicy.errors import meant
from initpolicy.records import Activation

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "VOCABULARY",
    "Argument",
    "Known",
    "activation_of",
    "keeps_forward",
    "named",
    "normalise",
    "phi",
]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A number that an activation takes."""

    name: str
    default: float
    torch: str = ""
    """What torch calls it, as a module's attribute and a function's keyword; the same name where empty."""

    @property
    def attribute(self) -> str:
        return self.torch or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One activation: what it is called, what it computes, what it takes.

    Every elementwise f stands for ``scale f(z) + shift`` too: ``scale`` and ``shift`` may be given beside its own
    arguments, and are 1 and 0 where they are not.
    """

    name: str
    function: Callable[..., Array] | None = None
    """f(z, **arguments) on float64, element by element; None where each output depends on several inputs."""
    arguments: tuple[Argument, ...] = ()
    """In the order of the function in torch.nn.functional."""
    kinks: Callable[..., tuple[float, ...]] | None = None
    """Where f or one of its derivatives jumps, given the arguments."""
    aliases: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    """Classes of torch.nn."""
    functions: tuple[str, ...] = ()
    """Functions of torch.nn.functional, torch, torch.special and Tensor; their in-place twins end in ``_``."""
    gate: str = ""
    """Of a gated unit a g(b), the name of g."""
    why: str = ""
    """Why it has no gain, where it has none."""

    def values(self, given: Mapping[str, float]) -> dict[str, float]:
        """Its own arguments, defaults filled in.

        Raises:
            ValueError: for an argument that it does not take.
        """
        known = {argument.name: argument.default for argument in self.arguments}
        for name in given:
            if name not in known and not (name in ("scale", "shift") and self.function is not None):
                takes = f"takes {', '.join(known)}" if known else "takes no arguments"
                raise ValueError(f"{self.name} {takes}, not {name!r}{meant(name, known)}")
        return {name: float(given.get(name, default)) for name, default in known.items()}

    def bound(self, given: Mapping[str, float]) -> Function | None:
        """z -> scale f(z, **arguments) + shift."""
        if self.function is None:
            return None
        f, own = self.function, self.values(given)
        scale, shift = given.get("scale", 1.0), given.get("shift", 0.0)
        return lambda z: scale * f(z, **own) + shift

    def kinks_at(self, given: Mapping[str, float]) -> tuple[float, ...]:
        """Where it or one of its derivatives jumps, with these arguments."""
        return self.kinks(**self.values(given)) if self.kinks else ()


# --- the functions -------------------------------------------------------------------------------

_erfc = np.frompyfunc(math.erfc, 1, 1)  # NumPy has none


def phi(z: Array) -> Array:
    """Φ(z), the standard normal distribution function of each element."""
    return 0.5 * np.asarray(_erfc(-z / math.sqrt(2.0)), dtype=np.float64)


def _relu(z: Array) -> Array:
    return np.maximum(z, 0.0)


def _leaky_relu(z: Array, slope: float) -> Array:
    return np.where(z > 0, z, slope * z)


def _rrelu(z: Array, lower: float, upper: float) -> Array:
    """As in evaluation; in training the slope is drawn from U(lower, upper) for each element."""
    return _leaky_relu(z, (lower + upper) / 2)


def _threshold(z: Array, threshold: float, value: float) -> Array:
    return np.where(z > threshold, z, value)


def _elu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def _celu(z: Array, alpha: float) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0) / alpha))


def _selu(z: Array) -> Array:
    return SELU_SCALE * _elu(z, SELU_ALPHA)


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def _softplus(z: Array, beta: float, threshold: float) -> Array:
    return np.where(beta * z > threshold, z, np.logaddexp(0.0, beta * z) / beta)


def _logsigmoid(z: Array) -> Array:
    return -np.logaddexp(0.0, -z)


def _gelu(z: Array) -> Array:
    return z * phi(z)


def _gelu_tanh(z: Array) -> Array:
    return 0.5 * z * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z**3)))


def _swish(z: Array, beta: float) -> Array:
    return z * _sigmoid(beta * z)


def _mish(z: Array) -> Array:
    return z * np.tanh(np.logaddexp(0.0, z))


def _hardsigmoid(z: Array) -> Array:
    return np.clip(z + 3.0, 0.0, 6.0) / 6.0


def _hardswish(z: Array) -> Array:
    return z * _hardsigmoid(z)


def _hardtanh(z: Array, min_val: float, max_val: float) -> Array:
    return np.clip(z, min_val, max_val)


def _sin(z: Array, frequency: float) -> Array:
    return np.sin(frequency * z)


def _hardshrink(z: Array, lambd: float) -> Array:
    return np.where(np.abs(z) > lambd, z, 0.0)


def _softshrink(z: Array, lambd: float) -> Array:
    return np.sign(z) * np.maximum(np.abs(z) - lambd, 0.0)


# --- the table -----------------------------------------------------------------------------------

Kinks = Callable[..., tuple[float, ...]]


def _torch(name: str, cls: str, function: Callable[..., Array] | None = None, **rest: Any) -> Known:
    """An entry that torch has a class for, and a function of its name."""
    return Known(name=name, function=function, classes=(cls,), functions=(name,), **rest)


def _takes(**defaults: float) -> tuple[Argument, ...]:
    return tuple(Argument(name=name, default=default) for name, default in defaults.items())


def _at(*points: float) -> Kinks:
    return lambda **_: points


def _start(threshold: float, value: float) -> tuple[float, ...]:
    return (threshold,)


def _switch(beta: float, threshold: float) -> tuple[float, ...]:
    return (threshold / beta,)


def _ends(min_val: float, max_val: float) -> tuple[float, ...]:
    return min_val, max_val


def _either_side(lambd: float) -> tuple[float, ...]:
    return -lambd, lambd


_SLOPE = (Argument(name="slope", default=0.01, torch="negative_slope"),)
_LEARNED = (Argument(name="slope", default=0.25, torch="weight"),)
_STEP = _takes(threshold=0.0, value=0.0)
_BENT = _takes(beta=1.0, threshold=20.0)
_BOUNDS = _takes(min_val=-1.0, max_val=1.0)
_NORMALIZED = "its outputs sum to a constant whatever the scale of its inputs"
_LOGARITHMS = "its outputs are the logarithms of numbers that sum to one"
_RECURRENT = "its gates and its state are sigmoids and tanhs of sums over two inputs and time"
_UNNAMED = "it stands for any function that has no name here"

_CONVOLUTIONS = tuple(f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3))
"""calculate_gain's other words for no activation."""

_TABLE = (
    Known(name="identity", function=lambda z: 1.0 * z, aliases=("linear", *_CONVOLUTIONS)),
    # Rectifiers. PReLU: He et al. 2015, arXiv:1502.01852. RReLU: Xu et al. 2015, arXiv:1505.00853. torch's threshold
    # has no defaults; (0, 0) is relu. Squared: So et al. 2021, arXiv:2109.08668; StarReLU, Yu et al. 2022,
    # arXiv:2210.13452, is that scaled and shifted.
    _torch("relu", "ReLU", _relu, kinks=_at(0.0)),
    _torch("relu6", "ReLU6", lambda z: np.clip(z, 0.0, 6.0), kinks=_at(0.0, 6.0)),
    _torch("leaky_relu", "LeakyReLU", _leaky_relu, arguments=_SLOPE, kinks=_at(0.0)),
    _torch("prelu", "PReLU", _leaky_relu, arguments=_LEARNED, kinks=_at(0.0)),
    _torch("rrelu", "RReLU", _rrelu, arguments=_takes(lower=1 / 8, upper=1 / 3), kinks=_at(0.0)),
    _torch("threshold", "Threshold", _threshold, arguments=_STEP, kinks=_start),
    Known(name="relu_squared", function=lambda z: _relu(z) ** 2, kinks=_at(0.0), aliases=("squared_relu", "star_relu")),
    # Exponential units: Clevert et al. 2016, arXiv:1511.07289; Barron 2017, arXiv:1704.07483; Klambauer et al. 2017,
    # arXiv:1706.02515.
    _torch("elu", "ELU", _elu, arguments=_takes(alpha=1.0), kinks=_at(0.0)),
    _torch("celu", "CELU", _celu, arguments=_takes(alpha=1.0), kinks=_at(0.0)),
    _torch("selu", "SELU", _selu, kinks=_at(0.0)),
    # Units that gate themselves. GELU: Hendrycks and Gimpel 2016, arXiv:1606.08415. Swish: Ramachandran et al. 2017,
    # arXiv:1710.05941; silu is swish of beta 1. Mish: Misra 2019, arXiv:1908.08681. Hard: Howard et al. 2019,
    # arXiv:1905.02244.
    _torch("gelu", "GELU", _gelu, aliases=("gelu_erf",)),
    Known(name="gelu_tanh", function=_gelu_tanh, aliases=("gelu_new", "gelu_pytorch_tanh")),
    Known(name="quick_gelu", function=lambda z: z * _sigmoid(1.702 * z), aliases=("gelu_quick",)),
    _torch("silu", "SiLU", lambda z: z * _sigmoid(z), aliases=("swish",)),
    Known(name="swish", function=_swish, arguments=_takes(beta=1.0)),
    _torch("mish", "Mish", _mish),
    _torch("hardswish", "Hardswish", _hardswish, kinks=_at(-3.0, 3.0), aliases=("h_swish", "hard_silu")),
    # Saturating units, and a periodic one: Sitzmann et al. 2020, arXiv:2006.09661.
    _torch("sigmoid", "Sigmoid", _sigmoid, aliases=("expit",)),
    _torch("hardsigmoid", "Hardsigmoid", _hardsigmoid, kinks=_at(-3.0, 3.0), aliases=("h_sigmoid",)),
    _torch("logsigmoid", "LogSigmoid", _logsigmoid),
    _torch("softplus", "Softplus", _softplus, arguments=_BENT, kinks=_switch),
    _torch("tanh", "Tanh", np.tanh),
    _torch("hardtanh", "Hardtanh", _hardtanh, arguments=_BOUNDS, kinks=_ends),
    _torch("softsign", "Softsign", lambda z: z / (1.0 + np.abs(z)), kinks=_at(0.0)),
    Known(name="sin", function=_sin, arguments=_takes(frequency=1.0), aliases=("sine",), functions=("sin",)),
    # Shrinkage.
    _torch("tanhshrink", "Tanhshrink", lambda z: z - np.tanh(z)),
    _torch("softshrink", "Softshrink", _softshrink, arguments=_takes(lambd=0.5), kinks=_either_side),
    _torch("hardshrink", "Hardshrink", _hardshrink, arguments=_takes(lambd=0.5), kinks=_either_side),
    # Gated units a g(b): Dauphin et al. 2017, arXiv:1612.08083; Shazeer 2020, arXiv:2002.05202. Maxout: Goodfellow et
    # al. 2013, arXiv:1302.4389.
    _torch("glu", "GLU", gate="sigmoid"),
    Known(name="swiglu", gate="silu"),
    Known(name="geglu", gate="gelu"),
    Known(name="reglu", gate="relu"),
    Known(name="maxout", arguments=_takes(pieces=2.0)),
    # What has no gain: normalizers, and where a way ends in a recurrent layer (that of nn.RNN is its tanh or relu).
    Known(name="softmax", classes=("Softmax", "Softmax2d"), functions=("softmax",), why=_NORMALIZED),
    _torch("softmin", "Softmin", why=_NORMALIZED),
    _torch("log_softmax", "LogSoftmax", why=_LOGARITHMS),
    Known(name="gumbel_softmax", functions=("gumbel_softmax",), why=_NORMALIZED),
    Known(name="lstm", why=_RECURRENT),
    Known(name="gru", why=_RECURRENT),
    # What is elementwise and like nothing above: its gain is computed where it is found.
    Known(name="custom", why=_UNNAMED),
)

VOCABULARY: Mapping[str, Known] = MappingProxyType({known.name: known for known in _TABLE})
"""Canonical name -> what it is."""

_PREFIXES = frozenset(
    [
        "", "F", "Tensor", "functional", "nn", "nn.functional", "torch", "torch.Tensor", "torch.nn",
        "torch.nn.functional", "torch.nn.modules.activation", "torch.special",
    ]
)  # fmt: skip
"""Where torch keeps activations; a name with any other before its last dot is someone's own."""

_CLASSES: Mapping[str, Known] = {name: known for known in _TABLE for name in known.classes}


def _folded(name: str) -> str:
    """Spelling apart: ``LeakyReLU``, ``leaky_relu_``, ``leaky-relu`` are one word."""
    return name.replace("_", "").replace("-", "").casefold()


@functools.cache
def _words() -> Mapping[str, str]:
    """Folded word -> canonical name. Aliases come before names: swish of no stated beta is silu."""
    words: dict[str, str] = {}
    for pick in ("aliases", "classes", "functions"):
        for known in _TABLE:
            words |= {_folded(word): known.name for word in getattr(known, pick)}
    return {_folded(known.name): known.name for known in _TABLE} | words


def normalise(name: str) -> str:
    """The canonical name of an activation by any of its names, ``""`` for an unknown one.

    ``ReLU``, ``nn.ReLU``, ``torch.nn.functional.relu``, ``relu_`` are relu; ``swish`` is silu, ``linear`` identity.
    """
    prefix, _, last = name.strip().rpartition(".")
    return _words().get(_folded(last), "") if prefix in _PREFIXES else ""


def named(name: str, arguments: Mapping[str, float] | None = None) -> Activation:
    """The activation that a user writes, by any of its names, its arguments by ours or torch's.

    Raises:
        ValueError: for a name or an argument that is unknown, naming what was probably meant.
    """
    given = dict(arguments or {})
    canonical = "swish" if _folded(name) == "swish" and "beta" in given else normalise(name)
    if not canonical:
        words = {*VOCABULARY, *(word for known in _TABLE for word in (*known.aliases, *known.classes))}
        raise ValueError(f"unknown activation {name!r}{meant(name, sorted(words))}")
    known = VOCABULARY[canonical]
    ours = {argument.attribute: argument.name for argument in known.arguments}
    given = {ours.get(key, key): float(value) for key, value in given.items()}
    known.values(given)
    return Activation(name=canonical, arguments=tuple(given.items()))


# --- from a module of torch.nn -------------------------------------------------------------------


def activation_of(module: nn.Module) -> Activation | None:
    """What an activation module of torch.nn computes, its arguments read from the instance; None for any other.

    A subclass counts as long as it keeps the forward of its torch class; its own name is then the ``class_name``.
    """
    from initpolicy.facts.classes import plain_class

    own = plain_class(module)
    for cls in own.__mro__:
        known = _CLASSES.get(cls.__name__) if cls.__module__ == "torch.nn.modules.activation" else None
        if known is not None:
            if not keeps_forward(module, cls):
                return None
            if known.name == "gelu" and getattr(module, "approximate", "none") == "tanh":
                known = VOCABULARY["gelu_tanh"]
            try:
                arguments = tuple((one.name, _read(module, one)) for one in known.arguments)
            except AttributeError:
                return None  # a traced module keeps no numbers
            return Activation(name=known.name, arguments=arguments, class_name="" if own is cls else own.__name__)
    return None


def keeps_forward(module: nn.Module, cls: type) -> bool:
    """Whether what the module runs is the forward of this class, a base of its own."""
    import torch

    from initpolicy.facts.classes import plain_class

    same = getattr(plain_class(module), "forward", None) is getattr(cls, "forward", None)
    return same and (isinstance(module, torch.jit.ScriptModule) or "forward" not in vars(module))


def _read(module: nn.Module, argument: Argument) -> float:
    """The argument's value in this module; its default where that is no number yet (a meta or unfilled tensor)."""
    value = getattr(module, argument.attribute)
    if not hasattr(value, "is_meta"):
        return float(value)
    mean = math.nan if value.is_meta else _mean(value)
    return mean if math.isfinite(mean) else argument.default


def _mean(tensor: Tensor) -> float:
    """Over all elements (PReLU's channels), computed on the CPU."""
    whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return float(whole.detach().cpu().double().mean())
