"""Plan + weights -> whether they follow it: a statistical test for each parameter, one rate of false alarms for all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initpolicy.audit import judge
from initpolicy.measure import measure
from initpolicy.plan import Plan
from initpolicy.records import Assignment, Law, Part
from initpolicy.render.numbers import short
from initpolicy.streams import truncated_moments

__all__ = ["Check", "kolmogorov", "verify"]

MOST = 2**20
"""Values of a part that the distribution test looks at, evenly spread; its moments are of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One parameter, held against its law."""

    name: str
    verdict: Literal["ok", "off", "missing", ""]
    """Blank where the plan says nothing of its values."""
    reason: str = ""
    p: float | None = None
    """Least p-value of its parts; None where nothing was left to chance."""


def verify(plan: Plan, weights: Mapping[str, Tensor], *, false_alarms: float = 1e-3) -> tuple[Check, ...]:
    """One check for each parameter of the plan, tied names left out.

    Normal, uniform and truncated laws by Kolmogorov and Smirnov's test of the values against the law's own
    distribution, and by their extremes; every law by its moments (six standard errors, as the audit does). With m
    tests each is held to ``false_alarms``/m (Bonferroni), so right weights fail anywhere with at most that chance.
    """
    asked = [a for a in plan.assignments if not a.tied_to]
    tests = max(1, sum(len(a.parts) for a in asked if a.status == "initialized"))
    return tuple(_check(a, weights, false_alarms / tests) for a in asked)


def _check(a: Assignment, weights: Mapping[str, Tensor], level: float) -> Check:
    held = next((weights[site.name] for site in a.facts.sites if site.name in weights), None)
    if held is None:
        return Check(name=a.name, verdict="missing", reason="the weights have no tensor of this name")
    if tuple(held.shape) != a.shape:
        return Check(name=a.name, verdict="off", reason=f"has shape {tuple(held.shape)}, the model's has {a.shape}")
    if a.status != "initialized":
        return Check(name=a.name, verdict="", reason=a.status)
    strange = _strange(held)
    if strange:
        return Check(name=a.name, verdict="off", reason=f"is {strange}, which is not compared with a law")
    least: float | None = None
    for part in a.parts:
        here = held.detach()[tuple(slice(*bounds) for bounds in part.region)]
        here = _without(here, part, a.facts.padding_idx)
        if part.law is None or not here.numel():
            continue
        p, why = _held_against(part, part.law, here, drawn=a.dtype)
        least = p if least is None else min(least, 1.0 if p is None else p)
        if why or (p is not None and p < level):
            shown = why or f"not distributed as {part.law.kind} (p = {p:.2g})"
            return Check(name=a.name, verdict="off", reason=f"{_label(a, part)}{shown}", p=p)
    judged = any(part.law is not None for part in a.parts)
    return Check(
        name=a.name, verdict="ok" if judged else "", reason="" if judged else "no law to compare with", p=least
    )


def _strange(held: Tensor) -> str:
    """What keeps a tensor from being read number by number."""
    if held.is_quantized:
        return "quantized"
    if held.layout != torch.strided:
        return str(held.layout).removeprefix("torch.")
    if held.is_meta:
        return "on the meta device"
    return "" if held.is_floating_point() else str(held.dtype).removeprefix("torch.")


def _coarser(held: torch.dtype, drawn: str) -> tuple[str, bool]:
    """(The coarser of the file's dtype and that of the draw, whether it was rounded to once more, past its bounds)."""
    kept = str(held).removeprefix("torch.")
    coarse = next((dtype for dtype in ("bfloat16", "float16") if dtype in (kept, drawn)), drawn)
    return coarse, coarse != drawn


def _without(here: Tensor, part: Part, row: int | None) -> Tensor:
    """The values that the law speaks of: all but a padding row."""
    if row is None or not part.region[0][0] <= row < part.region[0][1]:
        return here
    at = row - part.region[0][0]
    return torch.cat([here[:at], here[at + 1 :]])


def _label(a: Assignment, part: Part) -> str:
    return f"part {part.block.name.removeprefix(a.facts.key)}: " if len(a.parts) > 1 else ""


def _held_against(part: Part, law: Law, here: Tensor, *, drawn: str) -> tuple[float | None, str]:
    """(p-value of the distribution test, what is off about moments and bounds)."""
    found = measure(here)
    scaled = law if here.numel() == part.block.numel else _thinned(law, part.block.numel, here.numel())
    dtype, again = _coarser(here.dtype, drawn)
    if judge(scaled, found, dtype, through=again) == "off":
        return None, (
            f"mean {short(found.mean)}, std {short(found.std)}, from {short(found.min)} to {short(found.max)} "
            f"where mean {short(law.mean)}, std {short(law.std)} is asked"
        )
    if law.kind not in ("normal", "uniform", "trunc_normal") or not law.std:
        return None, ""
    flat = here.reshape(-1)
    # A copy: after ``numpy()`` torch never resizes memory again, and this may be the user's.
    values = flat[:: -(-flat.numel() // MOST)].to(torch.float64, copy=True).cpu().numpy()
    return kolmogorov(values, law, parent=_parent(part, law)), ""


def _thinned(law: Law, count: int, left: int) -> Law:
    """The law's error and freedom for fewer values."""
    share = left / count
    return replace(law, mean_error=law.mean_error / math.sqrt(share), freedom=law.freedom * share)


def _parent(part: Part, law: Law) -> tuple[float, float]:
    """Mean and standard deviation of the normal law before truncation: found from the truncated one's.

    The bounds in parent's sigmas are the root of a monotone equation where they are symmetric, which all presets' are;
    elsewhere the arguments say them.
    """
    mean, std = part.arguments.get("mean"), part.arguments.get("std")
    if law.kind != "trunc_normal":
        return law.mean, law.std
    if isinstance(mean, (int, float)) and isinstance(std, (int, float)):
        return float(mean), float(std)
    return law.mean, law.std / math.sqrt(truncated_moments(-2.0, 2.0)[1])


def kolmogorov(values: NDArray[np.float64], law: Law, *, parent: tuple[float, float] | None = None) -> float:
    """p-value of the one-sample Kolmogorov-Smirnov test.

    D = sup |F_n - F|; p = 2 Σ (-1)^(k-1) exp(-2 k² λ²), λ = (sqrt(n) + 0.12 + 0.11/sqrt(n)) D (Stephens, "EDF
    statistics for goodness of fit", JASA 69, 1974). Rounding to a coarse dtype makes steps: D is taken over the middles
    of ties, which only lowers it.
    """
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    above = np.cumsum(counts)
    empirical = (above - counts / 2) / n
    cumulative = _cumulative(distinct, law, parent or (law.mean, law.std))
    d = float(np.abs(empirical - cumulative).max()) + (0.5 / n if counts.max() == 1 else 0.0)
    scaled = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * d
    if scaled < 0.2:
        return 1.0
    series = sum((-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return float(min(1.0, max(0.0, 2 * series)))


def _cumulative(at: NDArray[np.float64], law: Law, parent: tuple[float, float]) -> NDArray[np.float64]:
    if law.kind == "uniform":
        return np.clip((at - law.low) / (law.high - law.low), 0, 1)
    mean, std = parent
    below, here, above = (
        torch.special.ndtr((torch.as_tensor(x, dtype=torch.float64) - mean) / std).numpy()
        for x in (law.low, at, law.high)
    )
    return np.asarray(np.clip((here - below) / (above - below), 0, 1))
