"""Modules that only pass a call on to another: they have no place in a parameter's name."""

from __future__ import annotations

from torch import nn

__all__ = ["WRAPPERS", "unwrap", "wrapped_name"]

WRAPPERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": "_fsdp_wrapped_module",
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.ActivationWrapper": "_checkpoint_wrapped_module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.optim.swa_utils.AveragedModel": "module",
}
"""Class -> the name under which it keeps what it wraps. Looked up by path, so that none has to be imported or to exist.
An averaged model is its model's twin: under the same names it gets the same values, from which the average starts."""


def unwrap(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The innermost module that is no wrapper, and the attributes that lead to it.

    A descendant of a wrapper that holds more than what it wraps is a model of its own, and stays.
    """
    way: list[str] = []
    while (name := wrapped_name(module)) is not None:
        way.append(name)
        module = module._modules[name]  # type: ignore[assignment]  # not None, as just checked
    return module, tuple(way)


def wrapped_name(module: nn.Module) -> str | None:
    """The attribute that holds what a wrapper wraps; None for any other module."""
    for cls in type(module).__mro__:
        name = WRAPPERS.get(f"{cls.__module__}.{cls.__qualname__}")
        if name is not None:
            alone = list(module._modules) == [name] and module._modules[name] is not None and not module._parameters
            return name if alone else None
    return None
