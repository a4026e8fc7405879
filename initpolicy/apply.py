"""Plan + model -> written tensors: the only file that writes to a model, and what it read back.

check    nothing that would stay meta, empty or not finite            no tensor touched yet
prepare  values from outside (files, functions, formulas), all made   no tensor touched yet
write    parametrized weights, which can refuse, then all others      in place, through views
measure  what lies in memory now, parameter by parameter
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from initpolicy.effective import effective, set_effective, stored
from initpolicy.errors import ApplyError, Problem
from initpolicy.facts.locate import locate
from initpolicy.initializers.base import Arguments, Float32, Initializer, unset
from initpolicy.measure import measure
from initpolicy.plan import Plan
from initpolicy.records import Assignment, Measure, Part
from initpolicy.streams import BLOCK, Stream, stream_for

__all__ = ["write"]

CHUNK = 16 * BLOCK
"""Elements that are drawn and written at a time: bounds the memory, and no value depends on it."""

Prepared = Mapping[tuple[str, int], Float32]
"""(parameter, index of the part) -> its values, made before anything is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A parameter to be written, and where it hangs in the model."""

    assignment: Assignment
    owner: nn.Module
    local: str

    @property
    def name(self) -> str:
        return self.assignment.name

    @property
    def through(self) -> bool:
        """Whether a parametrization stands between what is stored and what is used."""
        return bool(self.assignment.facts.parametrization)

    def tensor(self) -> Tensor:
        """The tensor in use, without side effects; for a plain parameter the very one that is stored."""
        return effective(self.owner, self.local).detach()


def write(plan: Plan, model: nn.Module, seed: int) -> Mapping[str, Measure]:
    """Fill every parameter that the plan initializes, once each, and measure every parameter that holds numbers.

    Raises:
        ApplyError: naming all parameters that cannot be written or would stay unusable; nothing is written then.
    """
    targets = [
        _Target(assignment=a, owner=owner, local=local)
        for a in plan.assignments
        if not a.tied_to
        for owner, local in [locate(model, a.facts.path)]
    ]
    with torch.no_grad():
        _refuse(plan, list(_unusable(targets)))
        chosen = [target for target in targets if target.assignment.status == "initialized"]
        prepared = _prepare(plan, chosen, seed)
        changed = _write_through(plan, [target for target in chosen if target.through], prepared, seed)
        for target in chosen:
            if not target.through:
                _fill(target.tensor(), target, plan.initializers, prepared, seed)
        measured = {target.name: found for target in targets if (found := _measured(target)) is not None}
    return {name: replace(found, reason=changed.get(name, "")) for name, found in measured.items()}


def _refuse(plan: Plan, problems: list[tuple[str, str]]) -> None:
    if problems:
        raise ApplyError(*(Problem(plan.policy.name, place, why) for place, why in problems))


# --- check ---------------------------------------------------------------------------------------


def _unusable(targets: list[_Target]) -> Iterator[tuple[str, str]]:
    """(parameter, reason) for what cannot be written, and for what no rule writes and no one could train from."""
    for target in targets:
        a, tensor = target.assignment, target.tensor()
        if tuple(tensor.shape) != a.shape:
            yield a.name, f"has shape {tuple(tensor.shape)} now, but the plan was made for {a.shape}; plan again"
        elif a.status == "initialized":
            if tensor.is_meta:
                yield a.name, "is on the meta device; give it memory first: model.to_empty(device='cpu')"
            elif type(tensor) is not Tensor:
                yield a.name, f"is a {type(tensor).__name__}, which cannot be written; apply before it is sharded"
        elif a.status == "skipped":
            continue
        elif tensor.is_meta:
            yield a.name, f"is on the meta device and stays there: {a.status}; add a rule, or load weights after"
        elif type(tensor) is Tensor and not _finite(tensor):
            yield a.name, f"holds values that are not finite and stays as it is: {a.status}; add a rule for it"


def _finite(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or bool(torch.isfinite(tensor).all())


# --- prepare -------------------------------------------------------------------------------------


def _prepare(plan: Plan, targets: list[_Target], seed: int) -> Prepared:
    """Values of every part whose making can fail, checked.

    Raises:
        ApplyError: with every failure.
    """
    prepared: dict[tuple[str, int], Float32] = {}
    problems = []
    for target in targets:
        for index, part in enumerate(target.assignment.parts):
            initializer = plan.initializers[part.initializer]
            if not initializer.fallible:
                continue
            try:
                values = _values(initializer, part, seed)
                if not np.isfinite(values).all():
                    raise ValueError("gave values that are not finite")
            except Exception as error:  # a user's function may raise anything
                problems.append((target.name, f"{part.initializer}: {_said(error)}"))
            else:
                prepared[target.name, index] = values
    _refuse(plan, problems)
    return prepared


def _said(error: Exception) -> str:
    """A reason of ours as it stands, anything else with its class."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _values(initializer: Initializer, part: Part, seed: int) -> Float32:
    """The whole part, flattened."""
    stream, block = stream_for(seed, part.block.name), part.block
    if initializer.make is not None:
        return initializer.make(stream, block, _arguments(initializer, part)).reshape(-1)
    assert initializer.draw is not None, f"{initializer.name} neither draws nor makes"
    return initializer.draw(stream, block, _arguments(initializer, part), 0, block.numel)


def _arguments(initializer: Initializer, part: Part) -> Arguments:
    return {**unset(initializer), **part.arguments}


# --- write ---------------------------------------------------------------------------------------


def _write_through(plan: Plan, targets: list[_Target], prepared: Prepared, seed: int) -> dict[str, str]:
    """Set the effective weights; if one is refused, put back those that were set and raise.

    Returns:
        Parameter -> a remark, where the parametrization made something else of what it was given.

    Raises:
        ApplyError: with the first refusal.
    """
    changed = {}
    with _restored_on_error(targets):
        for target in targets:
            values = target.tensor().clone()
            _fill(values, target, plan.initializers, prepared, seed)
            try:
                set_effective(target.owner, target.local, values)
            except Exception as error:  # a user's right_inverse may raise anything
                through = ", ".join(target.assignment.facts.parametrization)
                why = f"{through} takes no such value ({type(error).__name__}: {error}); exclude it"
                raise ApplyError(Problem(plan.policy.name, target.name, why)) from error
            if not torch.allclose(target.tensor(), values, rtol=1e-2, atol=1e-2 * float(values.abs().max())):
                changed[target.name] = "which makes another tensor of it; measured is the one in use"
    return changed


@contextmanager
def _restored_on_error(targets: list[_Target]) -> Iterator[None]:
    saved = [(param, param.detach().clone()) for target in targets for param in stored(target.owner, target.local)]
    try:
        yield
    except ApplyError:
        for param, before in saved:
            param.copy_(before)
        raise


def _fill(
    tensor: Tensor, target: _Target, initializers: Mapping[str, Initializer], prepared: Prepared, seed: int
) -> None:
    """Every part of the tensor, in place, rounded to its dtype."""
    for index, part in enumerate(target.assignment.parts):
        region = tensor[tuple(slice(*bounds) for bounds in part.region)]
        initializer = initializers[part.initializer]
        values = prepared.get((target.name, index))
        if values is None and initializer.draw is not None and region.is_contiguous():
            _draw(region.view(-1), initializer, part, stream_for(seed, part.block.name))
        else:
            values = _values(initializer, part, seed) if values is None else values
            region.copy_(torch.from_numpy(values).reshape(region.shape))
    row = target.assignment.facts.padding_idx
    if row is not None:
        tensor[row] = 0


def _draw(flat: Tensor, initializer: Initializer, part: Part, stream: Stream) -> None:
    assert initializer.draw is not None
    arguments = _arguments(initializer, part)
    for start in range(0, flat.numel(), CHUNK):
        stop = min(start + CHUNK, flat.numel())
        flat[start:stop].copy_(torch.from_numpy(initializer.draw(stream, part.block, arguments, start, stop)))


# --- measure -------------------------------------------------------------------------------------


def _measured(target: _Target) -> Measure | None:
    """What is in use now; None where there are no numbers (meta) or none that are measured (integers)."""
    tensor = target.tensor()
    if tensor.is_meta or type(tensor) is not Tensor or not tensor.is_floating_point():
        return None
    row = target.assignment.facts.padding_idx if target.assignment.status == "initialized" else None
    return measure(tensor, without=row)
