"""Recorded operations run again on real numbers: hand-written activations on a grid, constants for Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from initpolicy.facts.activations import VOCABULARY, Array, Function
from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Graph, Node, Ref, Taint, Value
from initpolicy.facts.gains import exact_gains
from initpolicy.facts.own import by_element
from initpolicy.facts.recognize import POINTS, described
from initpolicy.records import Activation

__all__ = ["Replay"]


class Replay:
    """Runs slices of the graph on numbers; remembers what equal slices were."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[Any, Activation | None] = {}
        self._values: dict[Any, Array | None] = {}
        self._gains: dict[Any, tuple[float, float] | None] = {}

    # --- activations ---

    def named(self, node: Node, source: Value, nodes: Sequence[Node]) -> Activation:
        """An operation that is an activation itself, with its arguments."""
        key = (node.op, _plain(node.args), _plain(node.kwargs), tuple(self._number(v) for v in node.inputs[1:]))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._by_table(node, source, nodes)
        return found

    def _by_table(self, node: Node, source: Value, nodes: Sequence[Node]) -> Activation:
        name = ops.ACTIVATIONS[node.op]
        if isinstance(node.func, torch._ops.OpOverload) and node.op not in ops.NOT_ELEMENTWISE:
            found = self.recognise(source, node.outputs[0], nodes)  # ATen's elu is selu too, its hardtanh relu6
            if found is not None and found.name != "custom":
                return found
        args, named = self._arguments(node)
        if name == "gelu" and "tanh" in (named.get("approximate"), *args):
            return Activation(name="gelu_tanh")
        given = []
        for index, one in enumerate(VOCABULARY[name].arguments):
            number = named.get(one.attribute, args[index] if index < len(args) else None)
            given.append((one.name, float(number) if isinstance(number, (int, float)) else one.default))
        return _proper(Activation(name=name, arguments=tuple(given)))

    def _arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def plain(part: Any) -> Any:
            if isinstance(part, Ref):
                return self._number(part.value)
            return part

        return tuple(plain(part) for part in node.args[1:]), {
            name: plain(part) for name, part in node.kwargs.items() if name != "input"
        }

    def _number(self, value: Value) -> float | None:
        if value.taint.dataish:
            return None
        scalar = self.scalar(value)
        return None if scalar is None else float(scalar)

    def recognise(self, source: Value, result: Value, nodes: Sequence[Node]) -> Activation | None:
        """Name the function from source to result; None where it cannot be run."""
        key = self._key(source, nodes)
        if key not in self._known:
            run = self._function(source, result, nodes)
            self._known[key] = None if run is None else _described(run)
        return self._known[key]

    def values(self, source: Value, result: Value, nodes: Sequence[Node]) -> Array | None:
        """The function from source to result at `POINTS`; None where it cannot be run."""
        key = self._key(source, nodes)
        if key not in self._values:
            run = self._function(source, result, nodes)
            self._values[key] = None if run is None else _tried(run)
        return self._values[key]

    def gains(self, source: Value, result: Value, nodes: Sequence[Node]) -> tuple[float, float] | None:
        """The exact gains of the function from source to result; None where it is not elementwise or has none."""
        key = self._key(source, nodes)
        if key not in self._gains:
            run = self._function(source, result, nodes)
            self._gains[key] = None if run is None else _integrated(run)
        return self._gains[key]

    def _function(self, source: Value, result: Value, nodes: Sequence[Node]) -> Function | None:
        """From source to result, on arrays of any shape; None where a constant in it is not known."""
        constants: dict[int, Tensor] = {}
        for node in nodes:
            for value in node.inputs:
                if not value.taint.dataish and value.index not in constants:
                    scalar = self.scalar(value)
                    if scalar is None:
                        return None
                    constants[value.index] = scalar

        def run(z: Any) -> Any:
            x = torch.from_numpy(np.array(z, dtype=np.float64))
            held = {source.index: x}
            for node in nodes:
                self._step(node, held, constants, x)
            return np.broadcast_to(held[result.index].double().numpy(), z.shape)

        return run

    def _step(self, node: Node, held: dict[int, Tensor], constants: Mapping[int, Tensor], x: Tensor) -> None:
        def look(value: Value) -> Tensor:
            if value.index in held:
                return held[value.index]
            return constants[value.index].to(x.dtype) if value.floating else constants[value.index]

        if node.op in ops.CAST or node.wide:
            held[node.outputs[0].index] = look(node.inputs[0])
            return
        args = _fill(node.args, look)
        named = {name: _fill(part, look) for name, part in node.kwargs.items() if name not in ("inplace", "dtype")}
        args = _out_of_place(node, args)
        result = node.func(*args, **named)
        outputs = [result] if isinstance(result, Tensor) else [part for part in result if isinstance(part, Tensor)]
        for value, tensor in zip(node.outputs, outputs, strict=False):
            held[value.index] = tensor

    def _key(self, source: Value, nodes: Sequence[Node]) -> Any:
        names = {source.index: 0}
        key: list[Any] = []
        for node in nodes:
            places: list[Any] = []
            for value in node.inputs:
                if value.index in names:
                    places.append(names[value.index])
                else:
                    places.append((str(value.taint), self._number(value)))
            for value in node.outputs:
                names[value.index] = len(names)
            key.append((node.op, tuple(places), _plain(node.args), _plain(node.kwargs), node.swapped))
        return tuple(key)

    # --- constants ---

    def scalar(self, value: Value) -> Tensor | None:
        """A constant or parameter as one number (a parameter's mean, where its values differ)."""
        if value.node is None:
            tensor = self._graph.originals.get(value.index)
            if tensor is None or tensor.device.type == "meta" or tensor.numel() == 0:
                return None
            tensor = tensor.detach().to("cpu")
            return tensor.double().mean() if tensor.dtype.is_floating_point else tensor.flatten()[0]
        node = value.node
        if node.op in _FILLS:
            filled: Tensor | None = _FILLS[node.op](node)
            return filled
        parts: dict[int, Tensor] = {}
        for part in node.inputs:
            number = self.scalar(part)
            if number is None:
                return None
            parts[part.index] = number
        if node.op in ops.SHAPE or node.op in ops.CAST:
            return parts[node.inputs[0].index]
        try:
            args = _out_of_place(node, _fill(node.args, lambda v: parts[v.index]))
            named = {name: _fill(p, lambda v: parts[v.index]) for name, p in node.kwargs.items() if name != "device"}
            result = node.func(*args, **named)
        except Exception:  # whatever the user's operation does with single numbers
            return None
        if not isinstance(result, Tensor) or result.numel() != 1:
            return None
        return result.reshape(()).double() if result.dtype.is_floating_point else result.reshape(())

    def exact(self, value: Value) -> Tensor | None:
        """A small value computed from the user's own buffers, inputs and constants; None where it needs a layer."""
        held: dict[int, Tensor | None] = {}
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return self._exact(value, held, [256])

    def _exact(self, value: Value, held: dict[int, Tensor | None], budget: list[int]) -> Tensor | None:
        if value.index in held:
            return held[value.index]
        budget[0] -= 1
        made: Tensor | None = None
        node = value.node
        if budget[0] > 0 and value.numel <= _LARGEST:
            if node is None:
                made = self._graph.originals.get(value.index) if value.source != "param" else None
                made = None if made is None or made.device.type == "meta" else made.detach().to("cpu")
            elif node.op not in _RANDOM and value.taint is not Taint.PARAM:
                parts = {v.index: self._exact(v, held, budget) for v in node.inputs}
                if all(part is not None for part in parts.values()):
                    made = self._again(node, value, parts)
        held[value.index] = made
        return made

    def _again(self, node: Node, value: Value, parts: Mapping[int, Tensor | None]) -> Tensor | None:
        def look(wanted: Value) -> Any:
            part = parts[wanted.index]
            return None if part is None else part.clone()

        try:
            args, named = _fill(node.args, look), {name: _fill(part, look) for name, part in node.kwargs.items()}
            named = {name: "cpu" if name == "device" else part for name, part in named.items()}
            result = node.func(*args, **named)
        except Exception:  # an operation that needs what the replay does not have
            return None
        if node.op == "setitem":
            result = args[0]
        outputs = [result] if isinstance(result, Tensor) else [p for p in result or () if isinstance(p, Tensor)]
        index = node.outputs.index(value)
        return outputs[index] if index < len(outputs) else None


def _proper(activation: Activation) -> Activation:
    """The usual name of a special case."""
    given = tuple(number for _, number in activation.arguments)
    if activation.name == "hardtanh" and given == (0.0, 6.0):
        return Activation(name="relu6")
    if activation.name == "threshold" and given == (0.0, 0.0):
        return Activation(name="relu")
    return activation


def _described(run: Function) -> Activation | None:
    try:
        found = described(run)
        if found.exact is None and found.name in VOCABULARY:
            own = VOCABULARY[found.name].values(dict(found.arguments))
            return Activation(name=found.name, arguments=tuple({**own, **dict(found.arguments)}.items()))
        return found
    except ValueError:  # like no entry, and no gains: an activation all the same
        return Activation(name="custom")
    except Exception:  # a replay may fail in any way the user's code may
        return None


def _tried(run: Function) -> Array | None:
    try:
        with np.errstate(all="ignore"):
            return np.array(run(POINTS), dtype=np.float64)
    except Exception:  # a replay may fail in any way the user's code may
        return None


def _integrated(run: Function) -> tuple[float, float] | None:
    try:
        return exact_gains(run) if by_element(run) else None
    except Exception:  # a replay may fail in any way the user's code may
        return None


_LARGEST = 1 << 16
_RANDOM = frozenset(("bernoulli", "rand", "randn", "rand_like", "randn_like", "normal", "uniform", "empty", "random"))


def _full(node: Node) -> Tensor | None:
    value = node.argument(1, "fill_value")
    return torch.tensor(float(value), dtype=torch.float64) if isinstance(value, (int, float)) else None


def _filled(number: float) -> Any:
    return lambda node: torch.tensor(number, dtype=torch.float64)


_FILLS = {
    "zeros": _filled(0.0), "zeros_like": _filled(0.0), "new_zeros": _filled(0.0), "ones": _filled(1.0),
    "ones_like": _filled(1.0), "new_ones": _filled(1.0), "full": _full, "full_like": _full, "new_full": _full,
    "zero": _filled(0.0),
}  # fmt: skip


def _fill(structure: Any, look: Any) -> Any:
    if isinstance(structure, Ref):
        return look(structure.value)
    if isinstance(structure, (tuple, list)):
        return type(structure)([_fill(part, look) for part in structure])
    if isinstance(structure, dict):
        return {name: _fill(part, look) for name, part in structure.items()}
    return structure


def _out_of_place(node: Node, args: Any) -> Any:
    """Fresh copies, for an operation that may write into its first argument."""
    return tuple(part.clone() if isinstance(part, Tensor) and index == 0 else part for index, part in enumerate(args))


def _plain(structure: Any) -> Any:
    """Arguments without references, hashable."""
    if isinstance(structure, Ref):
        return "·"
    if isinstance(structure, (tuple, list)):
        return tuple(_plain(part) for part in structure)
    if isinstance(structure, dict):
        return tuple((name, _plain(part)) for name, part in structure.items())
    return structure if isinstance(structure, (int, float, str, bool, type(None))) else str(structure)
