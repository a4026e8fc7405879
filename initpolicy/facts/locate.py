"""From a path to the place in the model."""

from __future__ import annotations

from torch import nn

__all__ = ["locate"]


def locate(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The owner and the local name of the parameter at ``path``, as `ParamFacts.path` gives it.

    Raises:
        LookupError: if the model has no module there.
    """
    owner, local = model, path.rpartition(".")[2]
    for name in path.split(".")[:-1]:
        children = owner._modules
        child = (children if isinstance(children, dict) else dict(children.items())).get(name)  # a scripted module's
        if child is None:
            raise LookupError(f"the model has no module at {path.rpartition('.')[0]!r}; plan again")
        owner = child
    return owner, local
