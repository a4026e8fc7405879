"""The names a formula may use, and their values at one place of the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from initpolicy.facts.layout import fans, torch_fans
from initpolicy.policy import Policy
from initpolicy.records import Layout, ModelFacts, ModuleFacts, ParamFacts, Site

__all__ = ["Fans", "Variables"]

Fans = tuple[float, float] | None


_OF_WEIGHT = frozenset({"weight_fan_in", "weight_fan_out"})


class Variables:
    """Looks up, nearest meaning first: the policy's ``vars``, a regex's groups, facts, the owner's attributes; for a
    spec, then those of the modules around the owner, the nearest first (a condition is about the owner alone)."""

    def __init__(self, policy: Policy, model: ModelFacts) -> None:
        self._vars: Mapping[str, float] = policy.vars
        self._torch = policy.fans == "torch"
        self._model = model
        self._tensors: dict[tuple[Layout, tuple[int, ...]], Mapping[str, Any]] = {}

    def at(self, param: ParamFacts, site: Site, groups: Mapping[str, float]) -> dict[str, Any]:
        """Every name known for a whole parameter."""
        return self.block(site, site.layout, param.shape, groups)

    def some(
        self, names: Iterable[str], param: ParamFacts, site: Site, groups: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Those of the names that are known for a whole parameter, to a condition."""
        sources = [self._vars, groups, self._of_tensor(site.layout, param.shape), site.owner.attributes]
        if not _OF_WEIGHT.isdisjoint(names):
            sources.insert(2, self._of_weight(site))
        return {name: source[name] for name in names for source in reversed(sources) if name in source}

    def told(
        self, names: Iterable[str], param: ParamFacts, site: Site, groups: Mapping[str, float]
    ) -> Mapping[str, Any]:
        """Those of the names that are known for a whole parameter, to a spec."""
        known = self.some(names, param, site, groups)
        around = {} if all(name in known for name in names) else _around(site.owner)
        return {**{name: around[name] for name in names if name in around}, **known}

    def block(self, site: Site, layout: Layout, shape: tuple[int, ...], groups: Mapping[str, float]) -> dict[str, Any]:
        """Every name known for one block of a parameter; ``gain`` is added where it is known."""
        facts = {**self._of_tensor(layout, shape), **self._of_weight(site)}
        return {**_around(site.owner), **site.owner.attributes, **facts, **groups, **self._vars}

    def _of_tensor(self, layout: Layout, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """The facts of a tensor of this shape."""
        known = self._tensors.get((layout, shape))
        if known is None:
            kernel = math.prod(n for axis, n in zip(layout.axes, shape, strict=False) if axis == "k")
            known = self._tensors[layout, shape] = {
                "numel": math.prod(shape),
                "ndim": len(shape),
                "shape": shape,
                "groups": layout.groups,
                "kernel": kernel,
                **_named("fan", self.fans(shape, layout)),
            }
        return known

    def fans(self, shape: tuple[int, ...], layout: Layout) -> Fans:
        """The fans that this policy counts by."""
        return torch_fans(shape) if self._torch else fans(shape, layout)

    def _of_weight(self, site: Site) -> Mapping[str, float]:
        """Fans of the weight that a bias belongs to: ``bias_hh_l0`` to ``weight_hh_l0``, ``up_bias`` to ``up``."""
        prefix, local = f"{site.owner.name}." if site.owner.name else "", site.local
        for weight in (local.replace("bias", "weight"), local.removesuffix("_bias"), "weight"):
            if prefix + weight in self._shapes:
                return _named("weight_fan", self.fans(*self._shapes[prefix + weight]))
        return {}

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[tuple[int, ...], Layout]]:
        """By name; not every policy asks."""
        return {site.name: (param.shape, site.layout) for param in self._model.params for site in param.sites}


def _around(module: ModuleFacts) -> dict[str, float]:
    """The numbers of the modules that hold it."""
    above = module.parent
    return {} if above is None else {**_around(above), **above.attributes}


def _named(prefix: str, of: Fans) -> dict[str, float]:
    if of is None:
        return {}
    fan_in, fan_out = of
    named = {f"{prefix}_in": fan_in, f"{prefix}_out": fan_out}
    return named | {"fan_avg": (fan_in + fan_out) / 2} if prefix == "fan" else named
