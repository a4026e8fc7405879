"""Constructors that draw nothing: for models that are initialized right after they are built."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

__all__ = ["skip_default_init", "was_skipped"]

_MARK = "_initpolicy_skipped"
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""What a policy can write; the constructor fills all other parameters itself."""
_METHODS = (
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
)  # fmt: skip
_LAWS = (
    "kaiming_normal_", "kaiming_uniform_", "normal_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_",
    "xavier_normal_", "xavier_uniform_",
)  # fmt: skip
_DRAWS = frozenset(
    [getattr(Tensor, name) for name in _METHODS]
    + [getattr(nn.init, name) for name in _LAWS]  # those that ask for a mode by themselves
)
_IDLE = frozenset(
    getattr(Tensor, name) for name in ("add_", "clamp_", "clip_", "div_", "erfinv_", "mul_", "sub_")
)  # what a law does to its draws, and what leaves a NaN a NaN
_READS = frozenset(
    getattr(Tensor, name)
    for name in (
        "detach", "dim", "gt", "is_floating_point", "lt", "ndimension", "new_tensor", "numel", "requires_grad_", "size",
    )
)  # fmt: skip


@contextmanager
def skip_default_init() -> Iterator[None]:
    """Build models without drawing their parameters: what a constructor would draw in place is NaN instead.

        with initpolicy.skip_default_init():
            model = Net()
        audit = initpolicy.apply_policy(model, policy)

    Skipped are random fills of parameters, of a part of one, or of its ``.data``, by ``torch.nn.init`` or by a
    tensor's own methods (``normal_``, ``uniform_`` …), in this thread. They leave the process's random state alone.
    All else is as ever: constants, buffers, whatever is drawn outside of a parameter first
    (``Parameter(torch.randn(…))``, ``orthogonal_``), and parameters of a dtype that no policy writes.

    A parameter that no rule writes afterwards is an error of `apply_policy`, never uninitialized memory, and so is a
    buffer that the constructor computed from one. Contexts may be nested.
    """
    with _Skipping():
        yield


def was_skipped(tensor: Tensor) -> bool:
    """Whether some of the parameter's default values were left out; they may have been written since."""
    return bool(getattr(tensor, _MARK, False))


class _Skipping(TorchFunctionMode):
    """Sees every call of torch in one thread."""

    def __init__(self) -> None:
        super().__init__()
        self._parameters: dict[int, weakref.ref[nn.Parameter]] = {}
        """Memory -> the parameter that it belongs to."""
        self._blank: set[int] = set()
        """Memory of parameters that are NaN as a whole."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        target = args[0] if args else given.get("tensor")
        if isinstance(target, Tensor) and not is_lazy(target):
            self._note(target)
            if func in _DRAWS and target.dtype in _DTYPES and (param := self._owner(target)) is not None:
                return self._skip(target, param)
            if func in _IDLE and "out" not in given and _memory(target) in self._blank:
                return target
        if self._blank and func not in _READS and getattr(func, "__name__", "") != "__get__":
            self._may_change([*args, *given.values()])
        return func(*args, **given)

    def _note(self, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter) and (memory := _memory(tensor)) is not None:
            known = self._parameters.get(memory)
            if known is None or known() is None:
                self._parameters[memory] = weakref.ref(tensor)
                self._blank.discard(memory)

    def _owner(self, tensor: Tensor) -> nn.Parameter | None:
        """The parameter that the tensor is, or is a part of."""
        if isinstance(tensor, nn.Parameter):
            return tensor
        memory = _memory(tensor)
        known = self._parameters.get(memory) if memory is not None else None
        param = known() if known is not None else None
        return param if param is not None and _memory(param) == memory else None

    def _skip(self, target: Tensor, param: nn.Parameter) -> Tensor:
        with torch.no_grad():
            target.fill_(math.nan)
        setattr(param, _MARK, True)
        memory = _memory(target)
        if memory is not None and target.numel() == param.numel():
            self._blank.add(memory)
        return target

    def _may_change(self, given: list[Any]) -> None:
        for value in given:
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, Tensor) and not is_lazy(tensor):
                    self._blank.discard(_memory(tensor) or 0)


def _memory(tensor: Tensor) -> int | None:
    """What tensors have in common that lie in one piece of memory; None where that is not told."""
    if is_traceable_wrapper_subclass(tensor) or tensor.layout is not torch.strided:
        return None
    return int(tensor.untyped_storage()._cdata)
