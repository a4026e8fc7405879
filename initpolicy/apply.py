"""Plan + model -> written tensors: the only verb that writes to a model, and what it read back.

check    nothing that would stay meta, empty, shared or not finite    no tensor touched yet
prepare  values from outside (files, functions, formulas), all made   no tensor touched yet
write    parametrized weights, which can refuse, then all others      in place, through views
measure  what lies in memory now, parameter by parameter
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from initpolicy.collector import paused
from initpolicy.errors import ApplyError, Problem
from initpolicy.measure import measure
from initpolicy.plan import Plan
from initpolicy.records import Measure, Part
from initpolicy.writing.fill import Held, fill
from initpolicy.writing.held import measured_here, sharded
from initpolicy.writing.pieces import pieces_of
from initpolicy.writing.prepare import Problems, prepare
from initpolicy.writing.targets import Target, targets_of
from initpolicy.writing.through import write_through
from initpolicy.writing.usable import blank_buffers, gathered, shared, unusable
from initpolicy.writing.watch import Watch

__all__ = ["write"]


def write(
    plan: Plan, model: nn.Module, seed: int, settle: Callable[[], None] = lambda: None, watch: Watch | None = None
) -> Mapping[str, Measure]:
    """Fill every parameter that the plan initializes, once each, and measure every parameter that holds numbers.

    Args:
        settle: called between the two, for what follows from parameters.
        watch: told of what is written as it is.

    Raises:
        ApplyError: naming all parameters that cannot be written or would stay unusable; nothing is written then.
    """

    def refuse(problems: Problems) -> None:
        if problems:
            raise ApplyError(*(Problem(plan.policy.name, place, why) for place, why in problems))

    with paused(), torch.no_grad(), _randomness_kept(targets := targets_of(plan, model)):
        refuse([*unusable(targets), *gathered(targets, model), *shared(targets, model), *blank_buffers(targets, model)])
        chosen = [target for target in targets if target.written]
        prepared, problems = prepare(chosen, plan.initializers, seed)
        refuse(problems)
        parametrized = [target for target in chosen if target.through]
        changed = write_through(parametrized, plan.initializers, prepared, seed, refuse)
        plain = (target for target in chosen if not target.through)
        held = [Held(assignment=target.assignment, pieces=pieces_of(target.tensor())) for target in plain]
        watch = watch or Watch()
        with watch.over(held, [target.name for target in parametrized]):
            filled = fill(held, plan.initializers, prepared, seed, watch.told)
        settle()
        measured = {target.name: found for target in targets if (found := _measured(target, filled)) is not None}
    return {**measured, **{name: replace(measured[name], reason=why) for name, why in changed.items()}}


@contextmanager
def _randomness_kept(targets: list[Target]) -> Iterator[None]:
    """Whatever is drawn by functions and parametrizations of the user's own, all generators end as they began."""
    devices = {tensor.device for target in targets for tensor in target.stored if tensor.device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


# --- measure -------------------------------------------------------------------------------------


def _measured(target: Target, filled: Mapping[str, Measure]) -> Measure | None:
    """What is in use now; None where there are no numbers (meta) or none that are measured (integers)."""
    if sharded(target):
        return measured_here(target)
    if target.name in filled:
        return filled[target.name]
    try:
        tensor = target.tensor()
    except Exception:  # a user's parametrization may raise anything; one that is to be written has been read before
        return None
    if tensor.is_meta or type(tensor) is not Tensor or tensor.layout is not torch.strided:
        return None
    if not tensor.is_floating_point():
        return None
    if not target.written:
        return measure(tensor)
    row, parts = target.assignment.facts.padding_idx, target.assignment.parts
    found = measure(tensor, without=row)
    if len(parts) == 1 and parts[0].shape == tuple(tensor.shape):
        return found
    return replace(found, parts=tuple(measure(_region(tensor, part), without=_row_in(part, row)) for part in parts))


def _region(tensor: Tensor, part: Part) -> Tensor:
    return tensor[tuple(slice(*bounds) for bounds in part.region)]


def _row_in(part: Part, row: int | None) -> int | None:
    """The row of the part that is this row of the tensor, if it has it."""
    if row is None:
        return None
    start, stop = part.region[0]
    return row - start if start <= row < stop else None
