"""The names a formula may use, and their values at one place of the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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
        self._facts: dict[str, Mapping[str, Any]] = {}

    def at(self, param: ParamFacts, site: Site, groups: Mapping[str, float]) -> dict[str, Any]:
        """Every name known for a whole parameter."""
        return self.block(site, site.layout, param.shape, groups)

    def some(
        self, names: Iterable[str], param: ParamFacts, site: Site, groups: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Those of the names that are known for a whole parameter."""
        facts = self._facts.get(site.name)
        if facts is None:
            facts = self._facts[site.name] = self._facts_of(site, site.layout, param.shape)
        sources = (self._vars, groups, facts)
        return {name: source[name] for name in names for source in reversed(sources) if name in source}

    def block(self, site: Site, layout: Layout, shape: tuple[int, ...], groups: Mapping[str, float]) -> dict[str, Any]:
        """Every name known for one block of a parameter; ``gain`` is added where it is known."""
        return {**self._facts_of(site, layout, shape), **groups, **self._vars}

    def _facts_of(self, site: Site, layout: Layout, shape: tuple[int, ...]) -> dict[str, Any]:
        known: dict[str, Any] = dict(site.owner.attributes)
        known |= {"numel": math.prod(shape), "ndim": len(shape), "shape": shape, "groups": layout.groups}
        known["kernel"] = math.prod(n for axis, n in zip(layout.axes, shape, strict=False) if axis == "k")
        known |= _named("fan", self.fans(shape, layout))
        return known | _named("weight_fan", self._weight_fans(site.owner, site.local))

    def fans(self, shape: tuple[int, ...], layout: Layout) -> Fans:
        """The fans that this policy counts by."""
        return torch_fans(shape) if self._torch else fans(shape, layout)

    def _weight_fans(self, owner: ModuleFacts, local: str) -> Fans:
        """Fans of the weight that a bias belongs to: ``bias_hh_l0`` to ``weight_hh_l0``, ``up_bias`` to ``up``."""
        prefix = f"{owner.name}." if owner.name else ""
        for weight in (local.replace("bias", "weight"), local.removesuffix("_bias"), "weight"):
            if prefix + weight in self._shapes:
                return self.fans(*self._shapes[prefix + weight])
        return None


def _named(prefix: str, of: Fans) -> dict[str, float]:
    if of is None:
        return {}
    fan_in, fan_out = of
    named = {f"{prefix}_in": fan_in, f"{prefix}_out": fan_out}
    return named | {"fan_avg": (fan_in + fan_out) / 2} if prefix == "fan" else named
