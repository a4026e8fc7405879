"""The names a formula may use, and their values at one place of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from initpolicy.facts.layout import fans, torch_fans
from initpolicy.policy import Policy
from initpolicy.records import Layout, ModelFacts, ModuleFacts, ParamFacts, Site

__all__ = ["Fans", "Variables"]

Fans = tuple[float, float] | None


class Variables:
    """Looks up, nearest meaning first: the policy's ``vars``, a regex's groups, facts, the owner's attributes."""

    def __init__(self, policy: Policy, model: ModelFacts) -> None:
        self._vars: Mapping[str, float] = policy.vars
        self._torch = policy.fans == "torch"
        self._shapes = {site.name: (param.shape, site.layout) for param in model.params for site in param.sites}

    def at(self, param: ParamFacts, site: Site, groups: Mapping[str, float]) -> dict[str, Any]:
        """Every name known for a whole parameter."""
        return self.block(site, param.shape, self.fans(param.shape, site.layout), groups)

    def block(self, site: Site, shape: tuple[int, ...], of: Fans, groups: Mapping[str, float]) -> dict[str, Any]:
        """Every name known for one block of a parameter, whose fans are ``of``; ``gain`` is added where it is known."""
        known: dict[str, Any] = dict(site.owner.attributes)
        known |= {"numel": math.prod(shape), "ndim": len(shape), "shape": shape, "groups": site.layout.groups}
        known["kernel"] = math.prod(n for axis, n in zip(site.layout.axes, shape, strict=False) if axis == "k")
        known |= _named("fan", of)
        known |= _named("weight_fan", self._weight_fans(site.owner, site.local))
        return known | dict(groups) | dict(self._vars)

    def fans(self, shape: tuple[int, ...], layout: Layout) -> Fans:
        """The fans that this policy counts by."""
        return torch_fans(shape) if self._torch else fans(shape, layout)

    def _weight_fans(self, owner: ModuleFacts, local: str) -> Fans:
        """Fans of the weight that a bias belongs to: ``bias_hh_l0`` belongs to ``weight_hh_l0``."""
        prefix = f"{owner.name}." if owner.name else ""
        for weight in (local.replace("bias", "weight"), "weight"):
            if prefix + weight in self._shapes:
                return self.fans(*self._shapes[prefix + weight])
        return None


def _named(prefix: str, of: Fans) -> dict[str, float]:
    if of is None:
        return {}
    fan_in, fan_out = of
    named = {f"{prefix}_in": fan_in, f"{prefix}_out": fan_out}
    return named | {"fan_avg": (fan_in + fan_out) / 2} if prefix == "fan" else named
