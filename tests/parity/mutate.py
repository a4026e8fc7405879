"""Wrong constants, made from a right policy: each must be caught by the comparison that the right one passes."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

import initpolicy as ip
from initpolicy.initializers import ALIASES
from initpolicy.plan import Plan
from initpolicy.policy import Policy

__all__ = ["merged", "mutants"]

MORE = 1.1
CORRECTED = 0.8796256610342398
GAINS = {"relu": math.sqrt(2), "linear": 1.0, "identity": 1.0, "tanh": 5 / 3, "sigmoid": 1.0}


def merged(policy: Policy, overrides: Mapping[str, Any]) -> Policy:
    """The policy with a part of it replaced, as a child file would."""
    return ip.load_policy(OmegaConf.merge(policy.dump(), dict(overrides)))


def mutants(policy: Policy, plan: Plan) -> Iterator[tuple[str, str, Policy]]:
    """(kind, what was changed, the policy), for each rule that the model makes use of, the last first, then for all
    rules at once: where a tied tensor has two, one alone cannot be changed."""
    used = [rule for rule in reversed(policy.rules) if rule in {a.rule for a in plan.assignments if a.rule}]
    for kind, change in (("spread", scaled), ("truncation", untruncated)):
        for name, rules in (*((rule, [rule]) for rule in used), ("all", list(policy.rules))):
            if wrong := _changed(policy, change, rules):
                yield kind, name, wrong
    for rule, entry in policy.rules.items():
        groups = {name for regex in entry.match.name for name in re.compile(regex).groupindex}
        words = set(re.findall(r"[^\W\d]\w*", str(policy.dump()["rules"][rule]["init"])))
        if rule in used and words & (groups | {f"n_{name}" for name in groups}) and len(policy.rules) > 1:
            dumped = copy.deepcopy(policy.dump())
            del dumped["rules"][rule]
            yield "depth", rule, ip.load_policy(dumped)


def _changed(policy: Policy, change: Callable[[Any], Any], rules: list[str]) -> Policy | None:
    """The policy with the specs of these rules changed; None if none of them can be."""
    dumped, any_ = copy.deepcopy(policy.dump()), False
    for rule in rules:
        init = dumped["rules"][rule]["init"]
        changed = {pattern: new for pattern, spec in init.items() if (new := change(spec))}
        init |= changed
        any_ = any_ or bool(changed)
    return ip.load_policy(dumped) if any_ else None


def _by_name(spec: Any) -> dict[str, Any]:
    return {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {"name": ""}


def _parts(spec: dict[str, Any], change: Callable[[Any], Any]) -> Any:
    """A spec made of specs, with those changed that can be."""
    if spec["name"] == "blocks":
        parts = [change(part) for part in spec["parts"]]
        return (
            {**spec, "parts": [new or old for new, old in zip(parts, spec["parts"], strict=True)]} if any(parts) else {}
        )
    gates = {key: change(value) for key, value in spec.items() if key not in ("name", "layout")}
    return {**spec, **{key: value for key, value in gates.items() if value}} if any(gates.values()) else {}


def _times(value: Any, by: float) -> Any:
    return value * by if isinstance(value, (int, float)) else f"{by} * ({value})"


def scaled(spec: Any) -> Any:
    """The spec with MORE times the spread; empty where it has none, or where it cannot be told."""
    spec = _by_name(spec)
    name = spec["name"] = ALIASES.get(spec.get("name", ""), spec.get("name", ""))
    if name in ("blocks", "gates"):
        return _parts(spec, scaled)
    if name in ("uniform",):
        return {**spec, "a": _times(spec["a"], MORE), "b": _times(spec["b"], MORE)}
    if name in ("normal", "trunc_normal", "sparse", "log_normal"):
        return {**spec, "std": _times(spec.get("std", 0.01 if name == "sparse" else 1.0), MORE)}
    if name in ("xavier_normal", "xavier_uniform", "orthogonal", "delta_orthogonal"):
        return {**spec, "gain": _times(spec.get("gain", 1.0), MORE)}
    if name in ("kaiming_normal", "kaiming_uniform", "icnr"):
        return _kaiming(spec)
    if name == "variance_scaling":
        return {**spec, "scale": _times(spec.get("scale", 1.0), MORE**2)}
    if name in ("lecun_normal", "lecun_uniform"):
        distribution = "uniform" if name == "lecun_uniform" else "untruncated_normal"
        return {"name": "variance_scaling", "scale": MORE**2, "distribution": distribution, **_own(spec)}
    if name == "formula" and set(re.findall(r"[^\W\d]\w*", str(spec["value"]))) & {"u", "z"}:
        return {**spec, "value": _times(spec["value"], MORE)}
    if name in ("exponential", "log_uniform"):
        key = {"exponential": "rate", "log_uniform": "high"}[name]
        return {**spec, key: _times(spec.get(key, 1.0), MORE)}
    known = next((key for key in ("std", "gain", "scale", "bound", "norm") if key in spec), "")
    return {**spec, known: _times(spec[known], MORE)} if known else {}


def _own(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: spec[key] for key in ("split", "dim", "layout") if key in spec}


def _kaiming(spec: dict[str, Any]) -> Any:
    """By the number of its gain, where that is stated."""
    gain = spec.get("gain")
    if gain is None and "a" in spec:
        gain = f"sqrt(2 / (1 + ({spec['a']}) ** 2))"
    elif gain is None:
        gain = GAINS.get(str(spec.get("nonlinearity")))
    rest = {key: value for key, value in spec.items() if key not in ("a", "nonlinearity")}
    return {} if gain is None or gain == "auto" else {**rest, "gain": _times(gain, MORE)}


def untruncated(spec: Any) -> Any:
    """The normal law of the same spread; empty where the spec is not cut at about two standard deviations."""
    spec = _by_name(spec)
    if spec["name"] in ("blocks", "gates"):
        return _parts(spec, untruncated)
    if spec["name"] == "variance_scaling" and spec.get("distribution", "truncated_normal") == "truncated_normal":
        scale = spec.get("scale", 1.0)
        kept = scale if spec.get("corrected", True) else _times(scale, CORRECTED**2)
        return {**spec, "distribution": "untruncated_normal", "corrected": True, "scale": kept}
    at_two = spec.get("a", -2) in (-2, -2.0) and spec.get("b", 2) in (2, 2.0)
    if spec["name"] == "trunc_normal" and spec.get("bounds", "sigma") == "sigma" and at_two:
        std = _times(spec.get("std", 1.0), CORRECTED)
        return {"name": "normal", "mean": spec.get("mean", 0.0), "std": std, **_own(spec)}
    return {}
