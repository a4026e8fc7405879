"""What a model on the meta device holds besides parameters: tensors whose values are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from initpolicy.facts.wrappers import unwrap

__all__ = ["Lost", "lost_tensors"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lost:
    """A buffer, or a tensor that is a plain attribute of a module, on the meta device."""

    tensor: Tensor
    owner: nn.Module
    """The first module that holds it."""
    local: str
    names: list[str] = field(default_factory=list)
    """Every name it has, wrappers left out."""

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def kind(self) -> str:
        return "buffer" if self.local in self.owner._buffers else "tensor"


def lost_tensors(model: nn.Module) -> list[Lost]:
    """Each once, in order of registration. What a weight's normalization leaves as an attribute is computed anew."""
    found: dict[int, Lost] = {}
    for name, module in _modules(model, "", frozenset()):
        computed = {getattr(hook, "name", "") for hook in module._forward_pre_hooks.values()}
        held = [*module._buffers.items(), *((key, value) for key, value in vars(module).items() if key not in computed)]
        for local, tensor in held:
            if isinstance(tensor, Tensor) and tensor.is_meta and not isinstance(tensor, nn.Parameter):
                entry = found.setdefault(id(tensor), Lost(tensor=tensor, owner=module, local=local))
                entry.names.append(f"{name}.{local}" if name else local)
    return list(found.values())


def _modules(module: nn.Module, name: str, above: frozenset[int]) -> Iterator[tuple[str, nn.Module]]:
    """Every module under each of its canonical names; one that holds itself ends the way."""
    if id(module) in above:
        return
    yield name, module
    inner, way = unwrap(module)
    children = [("", inner)] if way else list(module._modules.items())
    for step, child in children:
        if child is not None:
            yield from _modules(child, ".".join(filter(None, (name, step))), above | {id(module)})
