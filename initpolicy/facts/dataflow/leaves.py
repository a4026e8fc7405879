"""Modules of torch.nn whose forward looks at shapes, which symbols lack: what each does, written into the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from initpolicy.facts.activations import keeps_forward
from initpolicy.facts.dataflow.graph import Ref, Taint, Value

if TYPE_CHECKING:
    from initpolicy.facts.dataflow.symbolic import Tracer

__all__ = ["leaf_of"]

Leaf = Callable[["Tracer", Any, tuple[Any, ...], dict[str, Any]], Any]


def leaf_of(module: nn.Module) -> Leaf | None:
    return next((leaf for kind, leaf in _LEAVES if isinstance(module, kind) and _own(module, kind)), None)


def _own(module: nn.Module, kind: type[nn.Module]) -> bool:
    torchs = next(cls for cls in type(module).__mro__ if cls.__module__.startswith("torch.nn.modules"))
    return issubclass(torchs, kind) and keeps_forward(module, torchs)


def _ref(tracer: Tracer, tensor: Any) -> Ref | None:
    if not isinstance(tensor, Tensor):
        return None
    param = tracer.recorded.params.get(id(tensor))
    return Ref(param if param is not None else tracer.source("buffer", Taint.CONST, tensor))


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else next(iter(kwargs.values()))


def _normalized(tracer: Tracer, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
    given = [_ref(tracer, module.__dict__["_parameters"].get(name)) for name in ("weight", "bias")]
    return tracer.write("batch_norm", F.batch_norm, (_first(args, kwargs), None, None, *given), {})


def _recurrent(tracer: Tracer, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    mode = module.mode.lower() if isinstance(module, nn.RNNBase) else _CELLS[_cell(module)]
    mode = mode if mode != "rnn" else f"rnn_{module.nonlinearity}"
    weights = [_ref(tracer, param) for param in module.__dict__["_parameters"].values()]
    name = mode if isinstance(module, nn.RNNBase) else f"{mode}_cell"
    value = tracer.write(name, getattr(torch, name), (_first(args, kwargs), *args[1:], *weights), {})
    state = (value, value) if mode == "lstm" else value
    if isinstance(module, nn.RNNBase):
        return value, state
    return state


def _cell(module: nn.Module) -> type:
    return next(cls for cls in type(module).__mro__ if cls in _CELLS)


_CELLS: dict[type, str] = {nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.RNNCell: "rnn"}


def _attention(tracer: Tracer, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Three projections, softmax(q·k)·v, one more projection."""
    own = module.__dict__["_parameters"]
    given = [args[i] if len(args) > i else kwargs.get(name) for i, name in enumerate(("query", "key", "value"))]
    packed = _ref(tracer, own.get("in_proj_weight"))
    weights = [packed or _ref(tracer, own.get(f"{name}_proj_weight")) for name in "qkv"]
    bias = _ref(tracer, own.get("in_proj_bias"))
    projected = [
        Ref(tracer.write("linear", F.linear, (part, weight, bias), {}))
        for part, weight in zip(given, weights, strict=True)
    ]
    for index, name in ((1, "bias_k"), (2, "bias_v")):
        more = _ref(tracer, own.get(name))
        if more is not None:
            projected[index] = Ref(tracer.write("cat", torch.cat, ([projected[index], more],), {}))
    attended = tracer.write("scaled_dot_product_attention", F.scaled_dot_product_attention, tuple(projected), {})
    out = module.out_proj.__dict__["_parameters"]
    last = (Ref(attended), _ref(tracer, out["weight"]), _ref(tracer, out["bias"]))
    return tracer.write("linear", F.linear, last, {}), None


_LEAVES: tuple[tuple[type[nn.Module], Leaf], ...] = (
    (_NormBase, _normalized),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent),
    (nn.MultiheadAttention, _attention),
)
