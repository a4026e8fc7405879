"""Models whose parameters are flattened or empty on each process: whole for as long as a policy is applied.

    with gathered(model):
        audit = apply_policy(model, policy, example_input=x)

Parameters that ``fully_shard`` or ``parallelize_module`` sharded (DTensors) need none of this.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from torch import nn

from initpolicy.errors import ApplyError, Problem

__all__ = ["gathered"]


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Make parameters whole that FullyShardedDataParallel or DeepSpeed ZeRO-3 hold in parts, and part them again.

    Every process must enter, has all of the weights meanwhile, and keeps its part of what it wrote. Does nothing for
    any other model.

    Raises:
        ApplyError: if DeepSpeed parted the parameters and cannot be imported to gather them.
    """
    with ExitStack() as stack:
        if any(isinstance(module, cls) for cls in _fsdp1() for module in model.modules()):
            stack.enter_context(_summoned(model))
        parted = [param for param in model.parameters() if hasattr(param, "ds_shape")]
        if parted:
            stack.enter_context(_deepspeed().zero.GatheredParameters(parted, modifier_rank=0))
        yield


@contextmanager
def _summoned(model: nn.Module) -> Iterator[None]:
    """All of FullyShardedDataParallel's parameters whole, and not marked as flattened."""
    (wrapper,) = _fsdp1()
    with wrapper.summon_full_params(model, writeback=True):
        marked = [param for param in model.parameters() if getattr(param, "_fsdp_flattened", False)]
        for param in marked:
            del param._fsdp_flattened  # type: ignore[attr-defined]  # FullyShardedDataParallel's
        try:
            yield
        finally:
            for param in marked:
                param._fsdp_flattened = True  # type: ignore[attr-defined]


def _fsdp1() -> tuple[Any, ...]:
    """FullyShardedDataParallel, if it has been imported: no module is one before."""
    found = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    return () if found is None else (found,)


def _deepspeed() -> Any:
    try:
        return import_module("deepspeed")
    except ImportError as error:
        why = f"its parameters are partitioned (ZeRO-3), and DeepSpeed, which gathers them, cannot be imported: {error}"
        raise ApplyError(Problem("gathered", "model", f"{why}; remedy: pip install deepspeed")) from error
