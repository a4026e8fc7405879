"""Plan + model -> where each parameter hangs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from initpolicy.effective import effective, stored
from initpolicy.facts.locate import locate
from initpolicy.facts.shards import is_sharded
from initpolicy.plan import Plan
from initpolicy.records import Assignment

__all__ = ["Target", "targets_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parameter of the plan, and where it hangs in the model."""

    assignment: Assignment
    name: str
    owner: nn.Module
    local: str
    stored: tuple[Tensor, ...]
    """What the model holds of it: a plain parameter holds itself."""

    @property
    def written(self) -> bool:
        return self.assignment.status == "initialized"

    @property
    def through(self) -> str:
        """What stands between the stored and the used tensor; empty for a plain parameter."""
        return ", ".join(self.assignment.facts.parametrization)

    def tensor(self) -> Tensor:
        """The tensor in use, without side effects; of a plain parameter the very memory that is stored."""
        used = effective(self.owner, self.local) if self.assignment.facts.parametrization else self.stored[0]
        return used if is_sharded(used) else used.detach()  # which a DTensor would dispatch


def targets_of(plan: Plan, model: nn.Module) -> list[Target]:
    """Every tensor of the plan once, in its order."""
    owners: dict[str, nn.Module] = {}
    targets = []
    for a in plan.assignments:
        if a.tied_to:
            continue
        place, _, local = a.facts.path.rpartition(".")
        owner = owners.get(place)
        if owner is None:
            owner, _ = locate(model, a.facts.path)
            owners[place] = owner
        targets.append(Target(assignment=a, name=a.name, owner=owner, local=local, stored=stored(owner, local)))
    return targets
