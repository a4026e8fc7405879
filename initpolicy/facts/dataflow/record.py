"""Two modes that write down a forward pass: torch's functions, and what reaches ATen outside of any function.

A function call is one operation; what it dispatches inside is not recorded again. Functions written in Python
that no table has are seen through: what they dispatch is recorded instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Call, Graph, Node, Ref, Taint, Value, refs
from initpolicy.facts.dataflow.taint import taint_of
from initpolicy.facts.dataflow.tensors import Tensors

__all__ = ["DispatchRecord", "FunctionRecord", "Recorder"]

_C_TYPES = (BuiltinFunctionType, type(str.join), type(int.__add__), type(object().__str__), torch._ops.OpOverload)


class Recorder:
    """Turns calls into nodes of a graph; knows the module that is executing."""

    def __init__(self, twins: Mapping[int, Tensor], kind: str, mode: FakeTensorMode | None = None) -> None:
        self.graph = Graph()
        self.tensors = Tensors(self.graph, self._alias)
        self.tensors.strange = self._strange
        self.twins = twins
        """By identity of the user's own tensor: its twin, put in its place wherever the forward reaches it."""
        self.trespassed = False
        """A user's own tensor was reached past the copy."""
        self.kind = kind
        self.mode = mode
        self.depth = 0
        self.scopes: list[str] = []
        """Names of the functions that are being seen through."""
        self.answer: Callable[[Value], Any] | None = None
        """Computes a value for real, for data-dependent Python; None: it cannot."""
        self._thread = threading.get_ident()
        self._call = Call(0, "", nn.Module, None, 0)
        self._stack: list[Call] = []

    # --- sources ---

    def bind(self, tensor: Tensor, kind: str, taint: Taint) -> Value:
        value = self.graph.source(kind, taint, tuple(tensor.shape), tensor.dtype)
        self.tensors.bind(tensor, value)
        return value

    def _strange(self, tensor: Tensor) -> Value:
        if self.kind == "real":
            foreign = self.graph.escaped or bool(self.graph.elsewhere)
        else:
            foreign = isinstance(tensor, FakeTensor) or tensor.is_meta
        if foreign and isinstance(tensor, nn.Parameter):
            foreign = False
        if not foreign:
            taint = Taint.PARAM if isinstance(tensor, nn.Parameter) else Taint.CONST
            value = self.graph.source("const", taint, tuple(tensor.shape), tensor.dtype)
            if not isinstance(tensor, FakeTensor) and not tensor.is_meta:
                self.graph.originals[value.index] = tensor
            return value
        self.graph.foreign = True
        return self.graph.source("foreign", Taint.DATA, tuple(tensor.shape), tensor.dtype)

    # --- modules ---

    def enter(self, path: str | None, kind: type, given: Any) -> None:
        if threading.get_ident() != self._thread:
            self.graph.elsewhere.add(path or "")
            return
        call = Call(len(self.graph.calls), path, kind, self._stack[-1] if self._stack else None, len(self.graph.nodes))
        call.inputs = frozenset(self.tensors.value(tensor).index for tensor in tensors_in(given))
        if self._stack:
            self._stack[-1].leaf = False
        self._stack.append(call)
        self.graph.calls.append(call)
        self._call = call
        if path is not None:
            self.graph.executed.add(path)

    def leave(self, path: str | None, kind: type, given: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        while self._stack:
            call = self._stack.pop()
            call.stop = len(self.graph.nodes)
            if call.path == path and call.kind is kind:
                call.outputs = tuple(self.tensors.value(tensor) for tensor in tensors_in(given))
                break
        self._call = self._stack[-1] if self._stack else self.graph.calls[0]

    # --- operations ---

    def own(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments with the user's own tensors replaced by their twins."""
        return _map(args, self._twin), _map(kwargs, self._twin) if kwargs else kwargs

    def _twin(self, tensor: Tensor) -> Tensor:
        twin = self.twins.get(id(tensor))
        if twin is None:
            return tensor
        self.trespassed = True
        return twin

    def note(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Write down one call that has been made."""
        name, swapped, writes = ops.canonical(func)
        if name in ops.ESCAPES and not isinstance(result, Tensor):
            if any(self.tensors.value(t).floating for t in tensors_in(args)):
                self.graph.escaped = True
            self._node(name, func, args, kwargs, swapped)
            return
        if name in ("max", "min") and len(args) > 1 and isinstance(args[1], Tensor):
            name += "imum"
        outs = [result] if isinstance(result, Tensor) else list(tensors_in(result))
        if name == "setitem" and isinstance(args[0], Tensor):
            outs, writes = [args[0]], True
        elif name == "data" and writes:
            self.tensors.write(args[0], self.tensors.value(args[1]))
            return
        if not outs:
            return
        out = kwargs.get("out")
        if out is not None:
            kwargs = {key: value for key, value in kwargs.items() if key != "out"}
            writes = True
        given = {id(tensor) for tensor in tensors_in((args, kwargs))}
        if not writes and len(outs) == 1 and id(outs[0]) in given and (name in ops.CAST or name in ops.SHAPE):
            return
        node = self._node(name, func, args, kwargs, swapped)
        taint = taint_of(node)
        if not node.inputs and self.graph.escaped and name in ops.FROM_HOST:
            taint, self.graph.foreign = Taint.DATA, True
        for tensor in outs:
            value = self.graph.result_of(node, taint, tuple(tensor.shape), tensor.dtype)
            if writes or id(tensor) in given:
                self.tensors.write(tensor, value)
            else:
                self.tensors.bind(tensor, value)

    def _node(self, name: str, func: Any, args: Any, kwargs: Any, swapped: bool) -> Node:
        kept = _map(args, self._ref)
        named = _map(kwargs, self._ref)
        inputs = tuple(refs((kept, named)))
        return self.graph.add(
            Node(len(self.graph.nodes), name, func, kept, named, inputs, self._call, [], swapped, *self.scopes[-1:])
        )

    def _ref(self, tensor: Tensor) -> Ref:
        return Ref(self.tensors.value(tensor))

    def _alias(self, written: Value, old: Value | None, tensor: Tensor) -> Value:
        """A view after a write to its storage: the written value, beside the old one where it covers a part."""
        inputs = (written,) if old is None else (old, written)
        name = "alias" if old is None else "setitem"
        kept = tuple(map(Ref, inputs))
        node = self.graph.add(Node(len(self.graph.nodes), name, _nothing, kept, {}, inputs, self._call))
        return self.graph.result_of(node, max(v.taint for v in inputs), tuple(tensor.shape), tensor.dtype)


class FunctionRecord(TorchFunctionMode):
    """Outer mode: torch's functions and tensor methods, as the program calls them."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        recorder = self._recorder
        args, named = recorder.own(args, kwargs or {})
        if not _atomic(func):
            recorder.scopes.append(getattr(func, "__name__", ""))
            try:
                return func(*args, **named)
            finally:
                recorder.scopes.pop()
        recorder.depth += 1
        try:
            result = _computed(recorder, func, args)
            if result is NotImplemented:
                try:
                    result = func(*args, **named)
                except (DynamicOutputShapeException, DataDependentOutputException, RuntimeError) as error:
                    if type(error) is RuntimeError and ops.canonical(func)[0] not in ops.FROM_HOST:
                        raise  # a list of tensors is read number by number
                    result = _known(recorder, func, args, named)
                    if result is NotImplemented:
                        raise
        finally:
            recorder.depth -= 1
        if recorder.depth == 0:
            recorder.note(func, args, named, result)
        return result


class DispatchRecord(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own __init_subclass__
    """Inner mode: ATen operations that no recorded function stands for (TorchScript, packed functions)."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        recorder = self._recorder
        if func is torch.ops.aten._local_scalar_dense.default and recorder.answer and recorder.tensors.known(args[0]):
            known = recorder.answer(recorder.tensors.value(args[0])) if recorder.kind != "real" else None
            if known is not None:
                with _disable_current_modes(), torch._C.DisableTorchFunction():
                    return known.item()
        if recorder.depth or func.namespace == "prim":
            return func(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunction():
            args, named = recorder.own(args, kwargs or {})
            result = func(*args, **named)
            recorder.note(func, args, named, result)
        return result


def _atomic(func: Any) -> bool:
    if isinstance(func, _C_TYPES) or type(func).__name__ in ("method-wrapper", "OpOverloadPacket"):
        return True
    return (
        getattr(func, "__name__", "").strip("_") in ops.ATOMIC
        or type(func).__name__ != "function"
        or (getattr(func, "__module__", "") == "torch._tensor")
    )


def _computed(recorder: Recorder, func: Any, args: tuple[Any, ...]) -> Any:
    """What Python asks a fake tensor for, computed from its origins where these are known; else NotImplemented."""
    if recorder.kind == "real" or recorder.answer is None or not args or not isinstance(args[0], Tensor):
        return NotImplemented
    if getattr(func, "__name__", "") not in _ASKS or not (isinstance(args[0], FakeTensor) or args[0].is_meta):
        return NotImplemented
    known = recorder.answer(recorder.tensors.value(args[0]))
    if known is None:
        return NotImplemented
    with _disable_current_modes():
        return getattr(known, func.__name__)(*args[1:])


def _known(recorder: Recorder, func: Any, args: Any, named: Any) -> Any:
    """What depends on data, where the data is known: computed for real, its shape kept."""
    answer, mode = recorder.answer, recorder.mode
    if answer is None or mode is None:
        return NotImplemented
    given = list(tensors_in((args, named)))
    real = [answer(recorder.tensors.value(tensor)) for tensor in given]
    if (
        real
        and real[0] is None
        and given[0].is_floating_point()
        and ops.canonical(func)[0] in ("getitem", "masked_select")
    ):
        with _disable_current_modes():
            real[0] = torch.zeros(tuple(given[0].shape), dtype=given[0].dtype)  # a known mask gives the shape
    if any(part is None for part in real):
        return NotImplemented
    with _disable_current_modes(), torch._C.DisableTorchFunction():
        rest = iter(real)
        result = func(*_map(args, lambda _: next(rest)), **_map(named, lambda _: next(rest)))
    return _map(result, lambda tensor: mode.from_tensor(tensor, static_shapes=True))


_ASKS = frozenset(("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__format__"))


def tensors_in(structure: Any) -> Iterable[Tensor]:
    """Every tensor in nested arguments, in order."""
    if isinstance(structure, Tensor):
        yield structure
    elif isinstance(structure, (tuple, list)):
        for part in structure:
            if isinstance(part, (Tensor, tuple, list, dict, slice)):
                yield from tensors_in(part)
    elif isinstance(structure, dict):
        for part in structure.values():
            yield from tensors_in(part)
    elif isinstance(structure, slice):
        yield from tensors_in((structure.start, structure.stop, structure.step))


def _map(structure: Any, change: Callable[[Tensor], Any]) -> Any:
    """Nested arguments with each tensor changed."""
    if isinstance(structure, Tensor):
        return change(structure)
    if type(structure) is tuple:
        return tuple([_map(part, change) for part in structure])
    if isinstance(structure, list):
        return [_map(part, change) for part in structure]
    if isinstance(structure, dict):
        return {key: _map(part, change) for key, part in structure.items()}
    if isinstance(structure, tuple):
        return _map(tuple(structure), change) if any(True for _ in tensors_in(structure)) else structure
    return structure


def _nothing(*values: Any) -> Any:
    return values[0]
