"""One forward pass of an isolated copy, recorded."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from initpolicy.facts.dataflow.graph import Graph, Taint
from initpolicy.facts.dataflow.inputs import Given
from initpolicy.facts.dataflow.isolate import Isolated
from initpolicy.facts.dataflow.record import DispatchRecord, FunctionRecord, Recorder
from initpolicy.facts.dataflow.replay import Replay

__all__ = ["run"]


def run(
    made: Isolated, given: Given, traces: list[weakref.ref[Tensor]]
) -> tuple[Graph, dict[int, tuple[str, ...]], Recorder]:
    """The graph of one forward pass, and the sites of each parameter's value; ``traces`` gets all that was made.

    Raises whatever the forward raises.
    """
    recorder = Recorder(made.twins, made.kind, made.mode)
    graph = recorder.graph
    paths: dict[int, tuple[str, ...]] = {}
    for path, param in made.model.named_parameters(remove_duplicate=False):
        value = graph.params.get(id(param))
        if value is None:
            value = graph.params[id(param)] = recorder.bind(param, "param", Taint.PARAM)
            graph.originals[value.index] = made.originals.get(id(param), param)
        paths[value.index] = (*paths.get(value.index, ()), path)
    for buffer in made.model.buffers():
        if not recorder.tensors.known(buffer):
            value = recorder.bind(buffer, "buffer", Taint.CONST)
            graph.originals[value.index] = made.originals.get(id(buffer), buffer)
    for twin in made.twins.values():  # tensors kept as plain attributes
        if not recorder.tensors.known(twin):
            is_param = isinstance(twin, nn.Parameter)
            value = recorder.bind(twin, "const" if is_param else "buffer", Taint.PARAM if is_param else Taint.CONST)
            graph.originals[value.index] = made.originals.get(id(twin), twin)
    device = next((p.device for p in made.model.parameters()), torch.device("cpu"))

    def enter(tensor: Tensor) -> Tensor:
        twin = _input_twin(made, tensor, device)
        value = recorder.bind(twin, "input", Taint.DATA)
        graph.originals[value.index] = tensor
        return twin

    args, kwargs = mapped(given.args, enter), mapped(dict(given.kwargs), enter)
    replay = Replay(graph)
    recorder.answer = replay.exact
    hooks = [handle for module in made.model.modules() for handle in _watch(module, made, recorder)]
    try:
        with ExitStack() as stack:
            stack.enter_context(made.mode or torch.device("cpu" if made.kind == "real" else "meta"))
            stack.enter_context(DispatchRecord(recorder))
            stack.enter_context(FunctionRecord(recorder))
            stack.enter_context(torch.jit.optimized_execution(False))  # type: ignore[attr-defined]
            called = getattr(made.model, given.method) if given.method else made.model
            result = called(*args, **kwargs)
            _mark(result, recorder)
    finally:
        for hook in hooks:
            hook.remove()
        traces += recorder.tensors.made
        recorder.tensors.release()
        recorder.answer = None
    return graph, paths, recorder


def _watch(module: nn.Module, made: Isolated, recorder: Recorder) -> tuple[Any, ...]:
    path, kind = made.paths.get(id(module)), type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return ()

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        recorder.enter(path, kind, (args, kwargs))

    def after(_: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        recorder.leave(path, kind, out)

    return (
        module.register_forward_pre_hook(before, prepend=True, with_kwargs=True),
        module.register_forward_hook(after, with_kwargs=True),
    )


def _input_twin(made: Isolated, tensor: Tensor, device: torch.device) -> Tensor:
    source = tensor.detach()
    if made.mode is None:
        return torch.empty_like(source, device="meta") if made.kind == "meta" else source.to("cpu", copy=True)
    if source.device.type == "meta":
        with made.mode:
            return torch.empty_strided(source.shape, source.stride(), dtype=source.dtype, device=device)
    twin: Tensor = made.mode.from_tensor(source, static_shapes=True)
    if twin.device != device:
        with made.mode:
            twin = twin.to(device)
    return twin


def mapped(structure: Any, change: Callable[[Tensor], Any]) -> Any:
    """A copy of nested inputs with each tensor changed; objects of other kinds stay as they are."""
    if isinstance(structure, Tensor):
        return change(structure)
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(mapped(part, change) for part in structure))
    if isinstance(structure, (list, tuple)):
        return type(structure)([mapped(part, change) for part in structure])
    if isinstance(structure, Mapping):
        pairs = {name: mapped(part, change) for name, part in structure.items()}
        return pairs if type(structure) is dict else type(structure)(pairs)  # type: ignore[call-arg]
    if dataclasses.is_dataclass(structure) and not isinstance(structure, type):
        fields = {f.name: mapped(getattr(structure, f.name), change) for f in dataclasses.fields(structure) if f.init}
        return dataclasses.replace(structure, **fields)
    return structure


def _mark(result: Any, recorder: Recorder, depth: int = 6) -> None:
    """What the model gives back is output; what cannot be looked into is not."""
    if isinstance(result, Tensor):
        recorder.tensors.value(result).output = True
    elif depth == 0 or result is None or isinstance(result, (str, bytes, int, float, bool)):
        return
    elif isinstance(result, Mapping):
        for part in result.values():
            _mark(part, recorder, depth - 1)
    elif isinstance(result, (tuple, list, set, frozenset)):
        for part in result:
            _mark(part, recorder, depth - 1)
    elif dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            _mark(getattr(result, field.name, None), recorder, depth - 1)
    else:
        recorder.graph.opaque = True
