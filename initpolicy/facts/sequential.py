"""Activations by registration order, inside nn.Sequential only.

    modules in a row -> for each layer, the first nonlinearity after it and the last one before it

What a plain Sequential holds runs in the order of registration. Anywhere else the order is not known, and what is not
known is left out: it is never taken for identity. The model is not run; only a copy of a user's own activation is.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from initpolicy.facts.activations import activation_of, keeps_forward
from initpolicy.facts.classes import plain_class
from initpolicy.facts.own import elementwise, own_activation, trial
from initpolicy.facts.registered import NONE, Registered
from initpolicy.facts.wrappers import unwrap
from initpolicy.records import Activation, Hit, Signal

__all__ = ["LAYERS", "OPEN", "find_in_sequentials"]

Way = Literal["norm", "rescale", "dropout", "shape", "pool", "resize"]
Kind = Literal["norm", "rescale", "dropout", "shape", "pool", "resize", "layer", "activation", "unknown"]

LAYERS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.RNN,
    nn.LSTM,
    nn.GRU,
    nn.RNNCell,
    nn.LSTMCell,
    nn.GRUCell,
)
"""What multiplies by a weight: there a way ends in ``identity``."""

OPEN: Mapping[Way, tuple[type[nn.Module], ...]] = {
    "norm": (_BatchNorm, nn.SyncBatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
    "rescale": (nn.LocalResponseNorm, nn.CrossMapLRN2d),
    "dropout": (
        nn.Dropout,
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
        nn.AlphaDropout,
        nn.FeatureAlphaDropout,
    ),
    "shape": (
        nn.Identity,
        nn.Flatten,
        nn.Unflatten,
        nn.PixelShuffle,
        nn.PixelUnshuffle,
        nn.ChannelShuffle,
        nn.Unfold,
    ),
    "pool": (
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.MaxPool3d,
        nn.AvgPool1d,
        nn.AvgPool2d,
        nn.AvgPool3d,
        nn.LPPool1d,
        nn.LPPool2d,
        nn.LPPool3d,
        nn.FractionalMaxPool2d,
        nn.FractionalMaxPool3d,
        nn.AdaptiveMaxPool1d,
        nn.AdaptiveMaxPool2d,
        nn.AdaptiveMaxPool3d,
        nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveAvgPool3d,
    ),
    "resize": (
        nn.Fold,
        nn.Upsample,
        nn.UpsamplingNearest2d,
        nn.UpsamplingBilinear2d,
        nn.CircularPad1d,
        nn.CircularPad2d,
        nn.CircularPad3d,
        nn.ConstantPad1d,
        nn.ConstantPad2d,
        nn.ConstantPad3d,
        nn.ReflectionPad1d,
        nn.ReflectionPad2d,
        nn.ReflectionPad3d,
        nn.ReplicationPad1d,
        nn.ReplicationPad2d,
        nn.ReplicationPad3d,
        nn.ZeroPad1d,
        nn.ZeroPad2d,
        nn.ZeroPad3d,
    ),
}
"""What a way goes through. After a norm the signal has unit variance; dropout and changes of shape leave it so."""

_FLAGS: Mapping[str, str] = {"norm": "norm", "rescale": "norm", "pool": "pool"}
_WAYS: Mapping[type, Way] = {cls: way for way, classes in OPEN.items() for cls in classes}
_GATES: Mapping[type, str] = {nn.LSTM: "lstm", nn.LSTMCell: "lstm", nn.GRU: "gru", nn.GRUCell: "gru"}
_IDENTITY = Activation(name="identity")


def find_in_sequentials(model: nn.Module, own: Registered = NONE) -> dict[str, Signal]:
    """What follows and precedes each parameter, by its path in the real module tree (a parametrized one's own name).

    Within plain Sequentials, nested ones included: through norms, dropout, pooling and changes of shape, to an
    activation; or to ``identity``, which is the next or previous layer, or the end or start of the model where the
    Sequential is the whole of it. A module that is not understood ends the way, with no answer. A module used at
    several places has the answers of all, its own place's first. ``found_by`` is ``sequential``.

    And what a module of torch.nn does by itself, wherever it is: a recurrent layer's weights feed its gates, an
    attention's queries and keys its logits. ``found_by`` is ``module``.

    ``own`` are activations that the program gave a name to.
    """
    walk = _Walk(own)
    walk.visit(model, "", whole=True)
    found = {
        _joined(path, local): _within(module, path, local, walk.around(path))
        for path, module in walk.places.items()
        for local in _locals(module)
    }
    return {name: signal for name, signal in found.items() if _says_something(signal)}


def _says_something(signal: Signal) -> bool:
    return bool(signal.following or signal.preceding or signal.norm_before or signal.previous is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a module hangs, and the ids of what it hangs in."""

    path: str
    module: nn.Module
    above: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What one module of a row is to a way."""

    path: str
    kind: Kind
    activation: Activation | None = None


class _Walk:
    """Every place of a module in the tree, and what is around it there."""

    def __init__(self, own: Registered) -> None:
        self.places: dict[str, nn.Module] = {}
        self._own = own
        self._signals: dict[str, Signal] = {}
        self._uses: defaultdict[int, list[Signal]] = defaultdict(list)
        self._kinds: dict[int, tuple[Kind, Activation | None]] = {}

    def around(self, path: str) -> Signal:
        """What the rows say of the module at this place, then of its other places."""
        own = self._signals.get(path)
        return Signal() if own is None else _together([own, *self._uses[id(self.places[path])]])

    def visit(self, module: nn.Module, path: str, above: tuple[int, ...] = (), *, whole: bool = False) -> None:
        """A module that stands in no row, and all below it; ``whole``: it is the model."""
        module, way = unwrap(module)
        path = _joined(path, *way)
        if id(module) in above:
            return
        if self._is_row(module):
            self._row(list(self._flat(module, path, above)), whole)
        elif whole and self._kind(module)[0] == "layer":
            self._row([_Place(path=path, module=module, above=above)], whole)
        else:
            self._inside(_Place(path=path, module=module, above=above))

    def _row(self, places: list[_Place], whole: bool) -> None:
        steps = []
        for place in places:
            kind, activation = self._kind(place.module)
            steps.append(_Step(path=place.path, kind=kind, activation=activation))
            self._inside(place)
        for index, (step, place) in enumerate(zip(steps, places, strict=True)):
            if step.kind in ("layer", "norm"):
                signal = self._signals[place.path] = _signal(steps, index, whole)
                self._uses[id(place.module)].append(signal)

    def _inside(self, place: _Place) -> None:
        self.places[place.path] = place.module
        for name, child in place.module._modules.items():
            if child is not None:
                self.visit(child, _joined(place.path, name), (*place.above, id(place.module)))

    def _kind(self, module: nn.Module) -> tuple[Kind, Activation | None]:
        if id(module) not in self._kinds:
            own = self._own.of_module(module)
            self._kinds[id(module)] = _kind(module) if own is None else ("activation", own)
        return self._kinds[id(module)]

    def _is_row(self, module: nn.Module) -> bool:
        """Whether it runs what it holds in order of registration: a Sequential, or a descendant with its forward."""
        row = issubclass(plain_class(module), nn.Sequential) and keeps_forward(module, nn.Sequential)
        return row and self._own.of_module(module) is None

    def _flat(self, row: nn.Module, path: str, above: tuple[int, ...]) -> Iterator[_Place]:
        """The modules of a row and of the rows in it, in order; a module that holds itself ends there."""
        above = (*above, id(row))
        for name, child in row._modules.items():
            if child is not None:
                inner, way = unwrap(child)
                here = _joined(path, name, *way)
                if id(inner) in above:
                    continue
                if self._is_row(inner):
                    yield from self._flat(inner, here, above)
                else:
                    yield _Place(path=here, module=inner, above=above)


def _kind(module: nn.Module) -> tuple[Kind, Activation | None]:
    """What the module is to a way, and the activation that it is."""
    activation = activation_of(module)
    if activation is not None:
        return "activation", activation
    for cls in plain_class(module).__mro__:
        if cls in _WAYS or cls in LAYERS:
            if keeps_forward(module, cls):
                return _WAYS.get(cls, "layer"), None
            break
    activation = own_activation(module)
    if activation is not None:
        return "activation", activation
    if _rearranges(module):
        return "shape", None
    return ("unknown" if elementwise(module) is None else "resize"), None


def _rearranges(module: nn.Module) -> bool:
    """Whether a module of the user's own gives its input's numbers as they are, in some order and shape.

    Tried on two, three and four axes; what it refuses does not count, unless it refuses all.
    """
    done = 0
    for shape in ((4, 6), (4, 6, 2), (2, 4, 6, 2)):
        given = np.arange(math.prod(shape), dtype=np.float64).reshape(shape) / 7 - 3
        try:
            run = trial(module)
            if run is None or not np.array_equal(np.sort(run(given), axis=None), given.ravel()):
                return False
        except Exception:  # whatever the user's code may raise: then it is not understood
            continue
        done += 1
    return done > 0


# --- ways ----------------------------------------------------------------------------------------


def _signal(steps: list[_Step], index: int, whole: bool) -> Signal:
    """What follows and precedes one step of a row."""
    before, after = steps[:index][::-1], steps[index + 1 :]
    nearest = next((step for step in before if step.kind in ("layer", "unknown")), None)
    following = _met(after, steps[index].path, "output" if whole else "")
    preceding = _met(before, steps[index].path, "input" if whole else "")
    return Signal(
        following=following,
        preceding=tuple(replace(hit, path=hit.path[::-1]) for hit in preceding),
        norm_before=next((step.kind == "norm" for step in before if step.kind not in ("dropout", "shape")), False),
        found_by="sequential",
        previous=nearest.path if nearest is not None and nearest.kind == "layer" else None,
    )


def _met(steps: list[_Step], start: str, end: str) -> tuple[Hit, ...]:
    """The first nonlinearity on the way; ``end`` names what lies behind the last step, if that is known."""
    path, flags = [start], dict[str, None]()
    for step in steps:
        path.append(step.path)
        if step.kind == "unknown":
            return ()
        if step.kind in ("activation", "layer"):
            return (Hit(activation=step.activation or _IDENTITY, path=tuple(path), flags=tuple(flags)),)
        if step.kind in _FLAGS:
            flags[_FLAGS[step.kind]] = None
    return (Hit(activation=_IDENTITY, path=(*path, end), flags=tuple(flags)),) if end else ()


def _together(signals: list[Signal]) -> Signal:
    """The answers of several places of one module, the first place's first."""
    return replace(
        signals[0],
        following=tuple(dict.fromkeys(hit for signal in signals for hit in signal.following)),
        preceding=tuple(dict.fromkeys(hit for signal in signals for hit in signal.preceding)),
        norm_before=all(signal.norm_before for signal in signals),
    )


# --- what a module of torch.nn does by itself ----------------------------------------------------

_RECURRENT = re.compile(r"(?:weight|bias)_(?P<which>ih|hh|hr)(?:_l(?P<layer>\d+)(?:_reverse)?)?")


def _within(module: nn.Module, path: str, local: str, around: Signal) -> Signal:
    """The signal of one parameter, where the module's own inside decides some of it."""
    for cls in plain_class(module).__mro__:
        if cls in _GATES or cls in (nn.RNN, nn.RNNCell):
            state = _GATES.get(cls, "") or str(getattr(module, "nonlinearity", ""))
            known = keeps_forward(module, cls) and state != ""
            return _recurrent(Activation(name=state), module, path, local, around) if known else Signal()
        if cls is nn.MultiheadAttention and keeps_forward(module, cls):
            flags = () if local.startswith("v_") or local == "bias_v" else ("attention logit",)
            return Signal(following=(Hit(activation=_IDENTITY, path=(path,), flags=flags),), found_by="module")
    return around


def _recurrent(state: Activation, module: nn.Module, path: str, local: str, around: Signal) -> Signal:
    """``weight_ih`` of layer 0 takes the input, of the others the state below; ``weight_hh`` takes the state before."""
    found = _RECURRENT.fullmatch(local)
    if found is None:
        return Signal()
    projected = getattr(module, "proj_size", 0) > 0
    end = Hit(activation=state, path=(path,))
    begin = Hit(activation=_IDENTITY, path=(path,)) if projected else end
    if found["which"] == "hr":
        return Signal(following=(replace(end, activation=_IDENTITY),), preceding=(end,), found_by="module")
    if found["which"] == "hh" or found["layer"] not in (None, "0"):
        return Signal(following=(end,), preceding=(begin,), found_by="module")
    return replace(around, following=(end,), found_by="sequential" if around.preceding else "module")


def _locals(module: nn.Module) -> tuple[str, ...]:
    """Names of the module's own tensors, as they are used: parametrized ones, old style too, under their own name."""
    lists = module._modules["parametrizations"] if is_parametrized(module) else None
    made = lists._modules if lists is not None else ()
    hooked = [hook.name for hook in module._forward_pre_hooks.values() if isinstance(hook, (WeightNorm, SpectralNorm))]
    plain = [name for name, param in module._parameters.items() if param is not None]
    return tuple(dict.fromkeys((*made, *hooked, *plain)))


def _joined(*names: str) -> str:
    return ".".join(filter(None, names))
