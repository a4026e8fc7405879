"""What one case gives: samples from both sides, compared; and the same with wrong constants."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn
from torch.nn.utils import parametrize

import initpolicy as ip
from initpolicy.api import carry_out, plan_found, plan_policy
from initpolicy.facts.find import Found
from initpolicy.plan import Plan
from initpolicy.policy import Policy
from initpolicy.records import Assignment, Part
from parity.case import Blocks, Case, Orthogonal, Rows
from parity.compare import ENOUGH, FEW, LEVEL, SEEDS, Finding, Values, equal, same, spectrum
from parity.mutate import merged, mutants

__all__ = ["Outcome", "caught", "outcome"]

MARK = 1234.5
"""What lies in the copy before the preset is applied."""
VALUES = 20_000_000
"""Most that are kept of one side: fewer seeds where a model is large."""
ORTHOGONAL = ("orthogonal", "delta_orthogonal")

Sample = Mapping[str, NDArray[np.float32]]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One case's comparisons."""

    findings: tuple[Finding, ...]
    parameters: int
    left_alone: int
    seeds: int
    missing: tuple[str, ...]
    """What is written by one side alone."""
    on_meta: bool
    """The copy was built on the meta device."""

    @property
    def level(self) -> float:
        """Below it a p-value is a failure."""
        return LEVEL / max(1, len(self.findings))

    @property
    def failures(self) -> tuple[str, ...]:
        found = [f"{f.name}: {f.how}, p = {f.p:.3g}" for f in self.findings if f.p < self.level]
        return (*self.missing, *found)

    @property
    def worst(self) -> float:
        """The smallest p-value, corrected for their number."""
        return min([1.0, *(f.p * len(self.findings) for f in self.findings)])


def policy_of(case: Case) -> Policy:
    policy = ip.load_policy(case.preset)
    return merged(policy, case.overrides) if case.overrides else policy


@lru_cache(maxsize=1)
def _prepared(case: Case) -> tuple[nn.Module, bool, Plan, int, tuple[Sample, ...]]:
    blank, on_meta = _blank(case)
    plan = _planned(case, policy_of(case), blank)
    seeds = case.seeds or _seeds(plan)
    reference = () if case.stated else tuple(_built(case, seed) for seed in range(seeds))
    return blank, on_meta, plan, seeds, reference


@cache
def outcome(case: Case) -> Outcome:
    """The preset against the reference."""
    blank, on_meta, plan, seeds, reference = _prepared(case)
    ours = _drawn(plan, blank, seeds)
    alone = [name for name in ours[0] if case.left_alone and re.fullmatch(case.left_alone, name)]
    missing = tuple(_missing(case, plan, blank, ours, reference, alone))
    compared = [a for a in plan.assignments if a.status == "initialized" and a.name not in alone]
    findings = tuple(_findings(case, blank, compared, ours, reference))
    return Outcome(
        findings=findings,
        parameters=len(compared),
        left_alone=len(alone),
        seeds=seeds,
        missing=missing,
        on_meta=on_meta,
    )


def caught(case: Case, every: bool) -> Iterator[tuple[str, bool]]:
    """Each wrong policy that changes anything here, and whether the comparison sees it."""
    blank, _, plan, seeds, reference = _prepared(case)
    policy, level, tried = policy_of(case), outcome(case).level, set[str]()
    stated = [("stated", name, merged(policy, overrides)) for name, overrides in case.mutations.items()]
    for kind, name, wrong in (*stated, *mutants(policy, plan)):
        if kind in tried and not every and kind != "stated":
            continue
        try:
            mutant = _planned(case, wrong, blank)
        except ip.PlanError:  # a tied tensor would have two laws
            continue
        pairs = list(zip(plan.assignments, mutant.assignments, strict=True))
        changed = [new for old, new in pairs if _asked(old) != _asked(new) and old.status != "tied"]
        if not changed:
            continue
        tried.add(kind)
        if any(a.status != "initialized" for a in changed):
            yield f"{kind}: {name}", True  # something is not written at all
            continue
        findings = _findings(
            case, blank, changed, _drawn(replace(mutant, assignments=tuple(changed)), blank, seeds), reference
        )
        yield f"{kind}: {name}", any(finding.p < level for finding in findings)


# --- the samples ----------------------------------------------------------------------------------


def _quietly(made: Callable[[], Made]) -> Made:
    """Without what libraries say while models are made, and without the audit's own lines."""
    log = logging.getLogger("initpolicy")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return made()
    finally:
        log.disabled = before


def _planned(case: Case, policy: Policy, blank: nn.Module) -> Plan:
    """Traced only for a policy that asks for activations."""
    if case.traced:
        return _quietly(lambda: plan_policy(blank, policy, seed=0))
    return _quietly(lambda: plan_found(policy, blank, Found(signals={}), seed=0))


def _effective(model: nn.Module) -> dict[str, torch.Tensor]:
    """By name, what the model computes with: of a parametrized weight the weight itself, of a tied one the first."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        if "parametrizations" in path.split("."):
            continue
        for name, value in module.named_parameters(recurse=False):
            if id(value) not in seen:
                found[f"{path}.{name}".removeprefix(".")] = value.detach()
                seen.add(id(value))
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            for name in module.parametrizations:
                found[f"{path}.{name}".removeprefix(".")] = getattr(module, name).detach()
    return found


def _values(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: value.float().numpy().copy() for name, value in _effective(model).items()}


def _built(case: Case, seed: int) -> Sample:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _values(_quietly(case.build))


def _blank(case: Case) -> tuple[nn.Module, bool]:
    """A copy that holds nothing but marks, built on the meta device where its constructor can be."""
    try:
        with torch.device("meta"):
            model, on_meta = _quietly(case.build), True
    except (NotImplementedError, RuntimeError, ValueError):
        model, on_meta = _quietly(case.build), False
    places: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False, remove_duplicate=False):
            places[id(value)].append((module, name))
    for (module, name), *others in places.values():  # tied ones stay tied
        old = module._parameters[name]
        assert old is not None
        new = nn.Parameter(torch.full_like(old, MARK, device="cpu"), requires_grad=old.requires_grad)
        vars(new).update(vars(old))
        for place, local in ((module, name), *others):
            place._parameters[local] = new
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                module._buffers[name] = torch.zeros_like(buffer, device="cpu")
    return model, on_meta


def _drawn(plan: Plan, blank: nn.Module, seeds: int) -> tuple[Sample, ...]:
    with torch.no_grad():
        for value in blank.parameters():
            value.fill_(MARK)
    found = []
    for seed in range(seeds):
        audit = _quietly(partial(carry_out, replace(plan, seed=1_000 + seed), blank))
        assert audit.ok, [row.name for row in audit.rows if row.verdict == "off"]
        found.append(_values(blank))
    return tuple(found)


def _seeds(plan: Plan) -> int:
    """So many that the smallest pool, of one rule and one law, has ENOUGH values: 2 to SEEDS, as memory goes."""
    sizes: dict[str, int] = defaultdict(int)
    for assignment in plan.assignments:
        for part in assignment.parts:
            if _random(part):
                sizes[f"{assignment.rule} {_law(part)}"] += math.prod(part.shape)
    wanted = max((-(-ENOUGH // size) for size in sizes.values()), default=2)
    memory = VALUES // max(1, sum(a.facts.numel for a in plan.assignments if a.status != "tied"))
    return max(2, min(wanted, SEEDS, memory))


# --- the comparison -------------------------------------------------------------------------------


def _missing(
    case: Case, plan: Plan, blank: nn.Module, ours: Sequence[Sample], reference: Sequence[Sample], alone: list[str]
) -> Iterator[str]:
    """Parameters that one side alone sets."""
    status = {a.name: a for a in plan.assignments}
    for name in ours[0]:
        written = status[name].status == "initialized"
        if name in alone:
            if written:
                yield f"{name}: is to be left alone, and {status[name].rule} writes it"
            elif not (ours[0][name] == MARK).all():
                yield f"{name}: was changed though nothing claims it"
            if reference and any((sample[name] != reference[0][name]).any() for sample in reference):
                yield f"{name}: is to be left alone, and the reference draws it"
        elif not written:
            yield f"{name}: {status[name].status} ({status[name].reason}), and the reference sets it"
    if reference and reference[0].keys() != ours[0].keys():
        yield f"other parameters: {sorted(reference[0].keys() ^ ours[0].keys())}"


def _findings(
    case: Case,
    blank: nn.Module,
    compared: Sequence[Assignment],
    ours: Sequence[Sample],
    reference: Sequence[Sample],
) -> Iterator[Finding]:
    pools: dict[str, list[tuple[str, list[Values], Any]]] = defaultdict(list)
    for assignment in compared:
        whole = _stated(case, blank, assignment.name) if case.stated else None
        for number, part in enumerate(assignment.parts):
            label = assignment.name if len(assignment.parts) == 1 else f"{assignment.name}[{number}]"
            mine = [_cut(sample[assignment.name], part, assignment.facts.padding_idx) for sample in ours]
            if case.stated:
                theirs = _stated_part(whole, part, assignment)
            else:
                theirs = [_cut(sample[assignment.name], part, assignment.facts.padding_idx) for sample in reference]
            if (row := assignment.facts.padding_idx) is not None:
                yield Finding(f"{label}[{row}]", "equal", float(all(not s[assignment.name][row].any() for s in ours)))
            if isinstance(theirs, Rows):
                theirs = _rows(theirs, mine)
            if isinstance(theirs, Blocks):
                yield from _straddled(label, mine, theirs)
                continue
            if not _random(part):
                yield from _fixed(label, mine, theirs)
                continue
            if part.initializer in ORTHOGONAL:
                yield from _orthogonal(label, part, mine, theirs)
                if isinstance(theirs, Orthogonal):
                    continue
            elif isinstance(theirs, (Orthogonal, int, float, np.ndarray)):
                yield Finding(label, f"random where the law is {theirs}", 0.0)
                continue
            pools[_law(part) + ("" if isinstance(theirs, list) else str(_frozen(theirs)))].append((label, mine, theirs))
            if part.initializer == "icnr":
                mine = [np.unique(one) for one in mine]
                theirs = [np.unique(one) for one in theirs] if isinstance(theirs, list) else theirs
            if mine[0].size * len(mine) >= FEW:
                yield from same(label, _flat(mine), _flat(theirs) if isinstance(theirs, list) else theirs)
    for law, members in pools.items():
        size = sum(mine[0].size * len(mine) for _, mine, _ in members)
        if len(members) > 1 and size >= FEW:
            label, theirs = f"all {len(members)} of {law}", members[0][2]
            if isinstance(theirs, list):
                theirs = _flat(
                    [value for seed in zip(*(m[2] for m in members), strict=True) for value in _distinct(seed)]
                )
            yield from same(label, _flat([value for _, mine, _ in members for value in mine]), theirs)


def _fixed(label: str, mine: Sequence[Values], theirs: Any) -> Iterator[Finding]:
    """Not random: equal to the reference with every seed."""
    if isinstance(theirs, list):
        yield Finding(label, "equal", min(equal(label, one, other).p for one, other in zip(mine, theirs, strict=True)))
    elif isinstance(theirs, (int, float, np.ndarray)):
        yield equal(label, mine[0], np.broadcast_to(np.float32(theirs), mine[0].shape).astype(np.float64))
    else:
        yield Finding(label, "equal", 0.0)


def _orthogonal(label: str, part: Part, mine: Sequence[Values], theirs: Any) -> Iterator[Finding]:
    shape = part.block.shape
    for one, other in zip(mine, theirs if isinstance(theirs, list) else [theirs] * len(mine), strict=True):
        if isinstance(other, Orthogonal):
            other = np.eye(shape[0], math.prod(shape[1:])) * other.gain
        elif not isinstance(other, np.ndarray):
            yield Finding(label, f"orthogonal where the law is {other}", 0.0)
            return
        yield spectrum(label, one.reshape(shape[0], -1), other.reshape(shape[0], -1))


def _straddled(label: str, mine: Sequence[Values], laws: Blocks) -> Iterator[Finding]:
    """One part over several blocks, each of which is held against its own law."""
    for number, law in enumerate(laws.laws):
        blocks = [np.split(one, len(laws.laws))[number] for one in mine]
        name = f"{label}, block {number}"
        if isinstance(law, Orthogonal):
            for block in blocks:
                flat = block.reshape(len(block), -1)
                yield spectrum(name, flat, np.eye(*flat.shape) * law.gain)
        elif isinstance(law, (int, float, np.ndarray)):
            yield from _fixed(name, blocks, law)
        else:
            yield from same(name, _flat(blocks), law)


def _rows(law: Rows, like: Sequence[Values]) -> list[Values]:
    """As many draws from the law as there are of the other side."""
    generator = np.random.default_rng(0)
    drawn = [law.law.rvs(size=one.shape, random_state=generator) for one in like]
    lengths = [np.sqrt((one**2).sum(axis=tuple(range(1, one.ndim)), keepdims=True)) for one in drawn]
    return [law.length * one / length for one, length in zip(drawn, lengths, strict=True)]


def _random(part: Part) -> bool:
    words = set(re.findall(r"[^\W\d]\w*", str(part.arguments.get("value", ""))))
    if part.initializer == "formula":
        return bool(words & {"u", "z"})
    return part.law is None or (part.law.std > 0 and part.initializer not in ("dirac", "eye", "bilinear"))


def _asked(assignment: Assignment) -> object:
    return assignment.status, [(part.region, _law(part)) for part in assignment.parts]


def _law(part: Part) -> str:
    """Equal for parts of one law."""
    law = part.law
    if law is None:
        return f"{part.initializer} {dict(part.arguments)}"
    moments = ", ".join(f"{value:.6g}" for value in (law.mean, law.std, law.low, law.high))
    text = f" {part.arguments['value']}" if part.initializer == "formula" else ""
    return f"{law.kind}({moments}){text}"


def _frozen(law: Any) -> tuple[Any, ...]:
    return (law.dist.name, law.args, sorted(law.kwds.items())) if isinstance(law, stats.distributions.rv_frozen) else ()


def _cut(values: NDArray[np.float32], part: Part, padding: int | None) -> Values:
    """The part's own values; a padding row is compared by itself."""
    cut: Values = values[tuple(slice(start, stop) for start, stop in part.region)].astype(np.float64)
    return cut if padding is None else np.delete(cut, padding, axis=0)


def _flat(values: Sequence[Values]) -> Values:
    return np.concatenate([value.ravel() for value in values])


def _distinct(values: Sequence[Values]) -> list[Values]:
    """Once each: layers that were cloned count as one."""
    return list({value.tobytes(): value for value in values}.values())


def _stated(case: Case, blank: nn.Module, name: str) -> Any:
    assert case.stated is not None
    path = name.rpartition(".")[0]
    return case.stated(name, _effective(blank)[name].float().numpy(), blank.get_submodule(path))


def _stated_part(law: Any, part: Part, assignment: Assignment) -> Any:
    """Of the whole parameter's law, what is said of a part."""
    if isinstance(law, np.ndarray):
        return _cut(law.astype(np.float32), part, assignment.facts.padding_idx)
    if isinstance(law, Blocks):
        (start, stop), *_ = part.region
        size = assignment.shape[0] // len(law.laws)
        inside = law.laws[start // size : -(-stop // size)]
        return inside[0] if len(inside) == 1 else Blocks(*inside)
    return law
