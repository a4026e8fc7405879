"""A world in which code of the user's can run and leave no mark on the process."""

from __future__ import annotations

import logging
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """No gradients, no warnings, no compilation, no fused attention module, and the random states put back."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.no_grad())
        log = logging.getLogger("torch._subclasses.fake_tensor")  # tells of every input that does not fit
        stack.callback(setattr, log, "disabled", log.disabled)
        log.disabled = True
        _put_back(stack, random.getstate, random.setstate)
        _put_back(stack, np.random.get_state, np.random.set_state)
        stack.enter_context(torch.random.fork_rng(devices=_devices()))
        _put_back(stack, torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled)
        torch.backends.mha.set_fastpath_enabled(False)
        if hasattr(torch.compiler, "set_stance"):
            _eagerly(stack)
        _put_back(stack, torch.is_grad_enabled, torch.set_grad_enabled)
        yield


def _eagerly(stack: ExitStack) -> None:
    """What compiles has loaded dynamo, or calls torch.compile for the first time; loading it here takes a second."""
    if "torch._dynamo" in sys.modules:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        return
    first = torch.compile

    def compile_(*args: Any, **kwargs: Any) -> Any:
        if torch.compile is compile_:
            with _disable_current_modes(), torch._C.DisableTorchFunction():
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            torch.compile = first
        return first(*args, **kwargs)

    stack.callback(setattr, torch, "compile", first)
    torch.compile = compile_


def _put_back(stack: ExitStack, get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
    stack.callback(put, get())


def _devices() -> list[int]:
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return list(range(torch.cuda.device_count())) if initialized else []
