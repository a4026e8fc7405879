"""The same graph without a forward pass: torch.fx runs an isolated copy on symbols, where no input is known.

Symbols have no shapes and no numbers, so what asks for either in Python cannot be traced, and what a table decides
by shapes is left undecided. Parameters keep theirs.
"""

from __future__ import annotations

import inspect
import operator
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from initpolicy.errors import CannotTrace
from initpolicy.facts.dataflow import operations as ops
from initpolicy.facts.dataflow.graph import Call, Graph, Node, Ref, Taint, Value, refs
from initpolicy.facts.dataflow.isolate import Isolated
from initpolicy.facts.dataflow.leaves import leaf_of
from initpolicy.facts.dataflow.taint import taint_of

__all__ = ["symbolic_graph"]


def symbolic_graph(made: Isolated, traces: list[weakref.ref[Any]]) -> tuple[Graph, dict[int, tuple[str, ...]]]:
    """The graph of one symbolic pass, and the sites of each parameter's value; ``traces`` gets all that was made.

    Raises:
        CannotTrace: what runs is not the forward of the model's class alone, which is all that torch.fx runs.

    And whatever the forward raises on symbols.
    """
    model = made.model
    if "forward" in vars(model) or model._forward_hooks or model._forward_pre_hooks:
        raise CannotTrace("the model runs more than the forward of its class")
    tracer = Tracer(made, traces)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(model).forward).parameters.items()
        if parameter.default is not parameter.empty
    }
    tracer.recorded.foreign = bool(defaults)  # what hangs on another argument than its default is not seen
    torch.overrides.get_overridable_functions()  # torch lists its functions once: not while these are ours
    with ExitStack() as stack:
        stack.enter_context(made.mode or torch.device("cpu" if made.kind == "real" else "meta"))
        stack.enter_context(_Kept(traces))
        stack.callback(tracer.release)
        tracer.trace(model, concrete_args=defaults)
    return tracer.recorded, tracer.sites


class _Kept(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own __init_subclass__
    """Remembers every tensor that is made beside the symbols."""

    def __init__(self, traces: list[weakref.ref[Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._traces = traces

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._traces += [weakref.ref(part) for part in _parts(result) if isinstance(part, Tensor)]
        return result


def _parts(thing: Any) -> Iterator[Any]:
    if isinstance(thing, (tuple, list)):
        for part in thing:
            yield from _parts(part)
    elif isinstance(thing, dict):
        yield from _parts(list(thing.values()))
    else:
        yield thing


class _Symbol(fx.Proxy):
    """A tensor of the copy's forward; it can be written into."""

    def __getattr__(self, name: str) -> Any:
        if name in _PLAIN:
            return _PLAIN[name]
        return super().__getattr__(name)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


_PLAIN: dict[str, Any] = {
    "is_nested": False, "is_sparse": False, "is_quantized": False, "is_cuda": False, "is_meta": False,
    "requires_grad": False, "device": torch.device("cpu"), "dtype": torch.float32,
}  # fmt: skip
"""What Python asks a tensor for before it looks at a number."""


class Tracer(fx.Tracer):
    """Writes each node of torch.fx into our own graph as it is made, and knows the module that is executing."""

    def __init__(self, made: Isolated, traces: list[weakref.ref[Any]]) -> None:
        super().__init__(param_shapes_constant=True)
        self.trace_asserts = True
        self.recorded = Graph()
        self.sites: dict[int, tuple[str, ...]] = {}
        self._made = made
        self._traces = traces
        self._held: dict[fx.Node, Any] = {}
        """What a node of torch.fx stands for now: a value, a tuple of them by its node, or None: no tensor."""
        self._symbols: dict[str, Any] = {}
        """Of parameters."""
        self._consts: dict[int, Value] = {}
        root = Call(0, "", type(made.model), None, 0)
        self._stack = [root]
        self.recorded.calls.append(root)
        self.recorded.executed.add("")
        for path, param in made.model.named_parameters(remove_duplicate=False):
            value = self.recorded.params.get(id(param))
            if value is None:
                value = self.recorded.params[id(param)] = self.source("param", Taint.PARAM, param)
            self.sites[value.index] = (*self.sites.get(value.index, ()), path)

    def source(self, kind: str, taint: Taint, tensor: Tensor) -> Value:
        value = self.recorded.source(kind, taint, tuple(tensor.shape), tensor.dtype)
        original = self._made.originals.get(id(tensor), tensor)
        if not isinstance(original, FakeTensor):
            self.recorded.originals[value.index] = original
        return value

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        self._symbols = parameter_proxy_cache
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def release(self) -> None:
        """Let go of the symbols, which torch.fx leaves in a ring."""
        self._symbols.clear()

    # --- what torch.fx asks ---

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return self._noted(_Symbol(node, self))

    def _noted(self, symbol: fx.Proxy) -> fx.Proxy:
        self._traces.append(weakref.ref(symbol))
        return symbol

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Over what gives a stated number of tensors."""
        held = self._held.get(obj.node)
        count = _count(held) if isinstance(held, Node) else None
        if count is None:
            return super().iter(obj)
        return iter([operator.getitem(obj, index) for index in range(count)])

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Only what looks at shapes before it computes."""
        return leaf_of(m) is not None

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if isinstance(m, torch.jit.ScriptModule):
            raise NotImplementedError("a ScriptModule cannot be seen through")
        path = self._made.paths.get(id(m))
        call = Call(len(self.recorded.calls), path, type(m), self._stack[-1], len(self.recorded.nodes))
        call.inputs = frozenset(value.index for value in self._values((args, kwargs)))
        self._stack[-1].leaf = False
        self._stack.append(call)
        self.recorded.calls.append(call)
        if path is not None:
            self.recorded.executed.add(path)
        out = super().call_module(m, forward, args, kwargs)
        self._stack.pop()
        call.stop = len(self.recorded.nodes)
        call.outputs = tuple(self._values(out))
        return out

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        symbol = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        self._noted(symbol)
        return symbol

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, *rest, **more)
        writer = getattr(self, f"_{kind}")
        self._held[node] = writer(target, args, kwargs)
        return node

    # --- what each kind of node is ---

    def _placeholder(self, target: str, args: Any, kwargs: Any) -> Value:
        return self.recorded.source("input", Taint.DATA, (), torch.float32)

    def _get_attr(self, target: str, args: Any, kwargs: Any) -> Any:
        owner, _, name = target.rpartition(".")
        module: nn.Module = self.root.get_submodule(owner)
        tensor = {**vars(module), **module._buffers, **module._parameters}.get(name)
        if not isinstance(tensor, Tensor):
            return None
        param = self.recorded.params.get(id(tensor))
        if param is None and id(tensor) not in self._consts:
            kind = "buffer" if id(tensor) in self._made.originals else "const"
            self._consts[id(tensor)] = self.source(kind, Taint.CONST, tensor)
        return param or self._consts[id(tensor)]

    def _output(self, target: str, args: Any, kwargs: Any) -> None:
        for value in refs(self._kept(args)):
            value.output = True

    def _call_method(self, target: str, args: Any, kwargs: Any) -> Any:
        func = getattr(Tensor, target, None) or _unknown
        return None if target in _ASKS else self._operation(func, args, kwargs, python=True)

    def _call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is getattr:
            held = self._held.get(args[0])
            if isinstance(held, Node) and held.op in _ORDERED and args[1] in ("values", "indices"):
                return self._part(held, int(args[1] == "indices"))
            func = getattr(getattr(Tensor, args[1], None), "__get__", None)
            if args[1] in _ASKS or func is None or not isinstance(held, Value):
                return None
            return self._operation(func, args[:1], {})
        if target is operator.getitem and isinstance(args[0], fx.Node):
            held = self._held[args[0]]
            if held is None:
                return None
            if isinstance(held, (tuple, Node)):
                return self._part(held, args[1])
        return self._operation(target, args, kwargs, python=_module(target) in _PYTHON)

    def _call_module(self, target: str, args: Any, kwargs: Any) -> Any:
        module = self.root.get_submodule(target)
        leaf = leaf_of(module)
        assert leaf is not None  # is_leaf_module says so
        return leaf(self, module, self._kept(args), self._kept(kwargs))

    def _operation(self, func: Any, args: Any, kwargs: Any, *, python: bool = False) -> Any:
        """One operation; None where nothing of it is a tensor (``python``: it makes none of its own)."""
        kept, named = self._kept(args), self._kept(kwargs)
        name, swapped, writes = ops.canonical(func)
        name = _SPELLED.get(name, name)
        if name in ("max", "min") and len(kept) > 1 and isinstance(kept[1], Ref):
            name += "imum"
        inputs = tuple(refs((kept, named)))
        if python and not inputs:
            return None
        if _module(func) not in (*_PYTHON, "torch"):
            return self.recorded.source("foreign", Taint.DATA, (), torch.float32)
        if name == "multi_head_attention_forward":
            raise NotImplementedError("multi_head_attention_forward is not taken apart on symbols")
        if name in ops.EMBEDDINGS:
            _integral(kept[0] if kept else named.get("input"))
        value = self.write(name, func, kept, named, swapped=swapped)
        if writes or named.get("inplace") is True or name == "setitem":
            first = args[0] if args else next(iter(kwargs.values()), None)
            if isinstance(first, fx.Node):
                self._wrote(first, value)
        node = value.node
        return node if name in _SEVERAL and node is not None and _gives_several(node) else value

    def write(self, name: str, func: Any, args: Any, kwargs: Any, *, swapped: bool = False) -> Value:
        """Add an operation; its first result."""
        inputs = tuple(refs((args, kwargs)))
        graph = self.recorded
        node = graph.add(Node(len(graph.nodes), name, func, args, kwargs, inputs, self._stack[-1], [], swapped))
        taint = taint_of(node)
        dtype = torch.int64 if name in _INTEGRAL or _casts_to_integers(node) else torch.float32
        if name in ops.SHAPE and inputs and not inputs[0].floating:
            dtype = inputs[0].dtype
        return graph.result_of(node, taint, (), dtype)

    def _wrote(self, written: fx.Node, value: Value) -> None:
        """A tensor holds another value now, and so does what it is a view of."""
        self._held[written] = value
        whole = True
        while written.op in ("call_function", "call_method") and isinstance(base := (*written.args, None)[0], fx.Node):
            func = written.target if callable(written.target) else getattr(Tensor, written.target, _unknown)
            old, name = self._held.get(base), ops.canonical(func)[0]
            if name not in ops.SHAPE or old is None:
                return
            whole = whole and name in _WHOLE
            if isinstance(old, Value):
                args = (Ref(value),) if whole else (Ref(old), Ref(value))
                self._held[base] = value = self.write("alias" if whole else "setitem", _unknown, args, {})
            written = base

    def _part(self, held: Any, index: Any) -> Any:
        """An element of what gives several; a slice of them is several again."""
        count = len(held) if isinstance(held, tuple) else _count(held)
        if isinstance(index, slice) and count is not None:
            return tuple(self._part(held, i) for i in range(*index.indices(count)))
        if not isinstance(index, int) or (index < 0 and count is None):
            raise NotImplementedError(f"element {index} of {getattr(held, 'op', 'a tuple')}, whose length is not known")
        if index < 0:
            index += count or 0
        return held[index] if isinstance(held, tuple) else self._result(held, index)

    def _result(self, node: Node, index: int) -> Value:
        """The result of this index of an operation that gives several."""
        while len(node.outputs) <= index:
            whole = node.op in ops.SHAPE or not node.outputs[0].floating
            dtype = node.outputs[0].dtype if whole or node.op not in _WITH_INDICES else torch.int64
            self.recorded.result_of(node, node.outputs[0].taint, (), dtype)
        return node.outputs[index]

    # --- values ---

    def _kept(self, structure: Any) -> Any:
        """Arguments with a reference in place of each tensor, None in place of what only symbols know."""
        if isinstance(structure, fx.Node):
            held = self._held.get(structure)
            if isinstance(held, Node):
                return tuple(map(Ref, held.outputs))
            if isinstance(held, tuple):
                return tuple(Ref(part) for part in held if isinstance(part, Value))
            return Ref(held) if isinstance(held, Value) else None
        if isinstance(structure, (tuple, list)):
            parts = [self._kept(part) for part in structure]
            return tuple(parts) if isinstance(structure, tuple) else parts
        if isinstance(structure, dict):
            return {name: self._kept(part) for name, part in structure.items()}
        if isinstance(structure, slice):
            return slice(*map(self._kept, (structure.start, structure.stop, structure.step)))
        return structure

    def _values(self, structure: Any) -> Iterator[Value]:
        for part in _parts(structure):
            if isinstance(part, fx.Proxy):
                yield from refs(self._kept(part.node))


def _count(node: Node) -> int | None:
    """How many tensors an operation gives, where that is stated."""
    if node.op in _WITH_INDICES or node.op in ("var_mean", "std_mean", "aminmax"):
        return 2
    asked = node.argument(1, {"chunk": "chunks", "tensor_split": "indices_or_sections"}.get(node.op, "split_size"))
    if node.op in ("chunk", "unsafe_chunk", "tensor_split") and isinstance(asked, int):
        return asked
    return len(asked) if node.op in ("split", "split_with_sizes") and isinstance(asked, (tuple, list)) else None


def _unknown(*args: Any) -> Any:
    """Stands for a method that tensors do not have: of a dictionary or an object that was given."""
    return args[0]


_unknown.__name__ = "getitem"


def _module(func: Any) -> str:
    """The package that a function is of; what others than torch's and Python's own do inside is not seen."""
    owner = getattr(func, "__module__", None) or getattr(getattr(func, "__objclass__", None), "__module__", None)
    return "torch" if owner is None or func is _unknown else str(owner).partition(".")[0]


_PYTHON = ("_operator", "operator", "math", "builtins")


def _integral(part: Any) -> None:
    """What picks rows is made of integers, and so is what it is a view of."""
    value = part.value if isinstance(part, Ref) else None
    while value is not None and value.taint is Taint.DATA and value.floating:
        value.dtype = torch.int64
        node = value.node
        value = node.inputs[0] if node is not None and node.op in ops.SHAPE and node.op != "getitem" else None


def _casts_to_integers(node: Node) -> bool:
    given = (*node.args[1:], *node.kwargs.values())
    return any(isinstance(part, torch.dtype) and not part.is_floating_point for part in given)


def _gives_several(node: Node) -> bool:
    """max, min and median give indices too, but not of everything."""
    return node.op not in ("max", "min", "median") or len(node.args) > 1 or "dim" in node.kwargs


_ASKS = frozenset(
    (
        "size",
        "dim",
        "shape",
        "ndim",
        "numel",
        "stride",
        "item",
        "tolist",
        "get_device",
        "nelement",
        "is_contiguous",
        "is_floating_point",
        "data_ptr",
        "element_size",
    )
)
"""What gives no tensor."""
_WHOLE = frozenset(
    (
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "permute",
        "transpose",
        "t",
        "squeeze",
        "unsqueeze",
        "view_as",
        "movedim",
    )
)
"""Views of all that there is."""
_SPELLED = {"floordiv": "floor_divide", "mod": "remainder"}
_INTEGRAL = ops.COMPARE | frozenset(
    ("argmax", "argmin", "argsort", "long", "int", "bool", "searchsorted", "bucketize", "nonzero", "arange", "short")
)
_WITH_INDICES = frozenset(("topk", "sort", "max", "min", "median", "mode", "kthvalue", "cummax", "cummin"))
_ORDERED = frozenset(("topk", "sort", "kthvalue"))
_SEVERAL = _WITH_INDICES | frozenset(
    (
        "chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split", "unbind", "hsplit",
        "vsplit", "dsplit", "var_mean", "std_mean", "aminmax", "meshgrid",
    )
)  # fmt: skip
"""What gives several tensors."""
