"""Memory for meta tensors: every object stays the same object, and all go back if something fails."""

from __future__ import annotations

import gc
import math
import weakref

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

__all__ = ["Exchange", "memory_for"]


class Exchange:
    """Gives tensors of the model other memory in place, and takes it back.

    Assigning to ``.data`` cannot lead off the meta device; `torch.utils.swap_tensors` can, and keeps the identity of
    the object, so that ties, optimizers and attributes follow.
    """

    def __init__(self) -> None:
        self._done: list[tuple[Tensor, Tensor]] = []
        self._collected = False

    def give(self, tensor: Tensor, values: Tensor) -> str:
        """Let the tensor have this memory; class, attributes, hooks and ``requires_grad`` stay.

        Returns:
            Why that cannot be, or nothing.
        """
        twin = _like(tensor, values)
        try:
            self._swap(tensor, twin)
        except RuntimeError:
            return "cannot get memory and stay the same object while something holds a view or a graph of it; drop that"
        self._done.append((tensor, twin))
        return ""

    def _swap(self, tensor: Tensor, twin: Tensor) -> None:
        try:
            _swap(tensor, twin)
        except RuntimeError:
            if self._collected:
                raise
            self._collected = True
            gc.collect()  # a graph that nobody can reach any more may hold it, too
            _swap(tensor, twin)

    def undo(self) -> None:
        """Put back everything, the last first."""
        while self._done:
            _swap(*self._done.pop())


def memory_for(tensor: Tensor, device: torch.device, dtype: torch.dtype | None, *, blank: bool = False) -> Tensor:
    """Memory of the tensor's shape and strides, zero if ``blank``; the dtype is for floating-point ones."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    with torch.inference_mode(False), torch.no_grad():
        if is_traceable_wrapper_subclass(tensor) or tensor.layout is not torch.strided:
            made = torch.empty_like(tensor.detach(), device=device, dtype=wanted)
        else:  # torch.empty_like of a meta tensor loads sympy, and is slow
            strides = tensor.stride() if _dense(tensor) else _contiguous(tensor)
            made = torch.empty_strided(tensor.shape, strides, device=device, dtype=wanted)
        return made.zero_() if blank else made


def _dense(tensor: Tensor) -> bool:
    """Whether the elements lie side by side, in some order of the axes."""
    reached = 1
    for stride, size in sorted(zip(tensor.stride(), tuple(tensor.shape), strict=True)):
        if size > 1 and stride != reached:
            return False
        reached *= size
    return True


def _contiguous(tensor: Tensor) -> tuple[int, ...]:
    sizes = tuple(tensor.shape)
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    """The values as a tensor of the same class with the same attributes."""
    twin: Tensor
    with torch.inference_mode(False):
        if isinstance(tensor, nn.Parameter) and type(values) is not Tensor:  # a DTensor
            twin = nn.Parameter(values, requires_grad=tensor.requires_grad)
        else:
            twin = Tensor._make_subclass(type(tensor), values, tensor.requires_grad)
    for name, value in vars(tensor).items():
        vars(twin).setdefault(name, value)
    return twin


def _swap(tensor: Tensor, twin: Tensor) -> None:
    if weakref.getweakrefs(tensor) and type(tensor.detach()) is Tensor and tensor._use_count() == 1:  # type: ignore[attr-defined]
        # As an RNN holds its weights. torch.utils.swap_tensors refuses, but the object stays, and with it they do;
        # class and attributes are the twin's as well.
        torch._C._swap_tensor_impl(tensor, twin)
    else:
        torch.utils.swap_tensors(tensor, twin)  # type: ignore[no-untyped-call]
    for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):  # the object keeps them, its new inside has none
        if getattr(tensor, hooks, None):
            setattr(tensor, hooks, getattr(tensor, hooks))
