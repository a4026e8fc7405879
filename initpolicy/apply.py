"""Plan + model -> written tensors: the only file that writes to a model, and what it read back.

check    nothing that would stay meta, empty, shared or not finite    no tensor touched yet
prepare  values from outside (files, functions, formulas), all made   no tensor touched yet
write    parametrized weights, which can refuse, then all others      in place, through views
measure  what lies in memory now, parameter by parameter
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy.effective import effective, remembered, set_effective, stored
from initpolicy.errors import ApplyError, Problem
from initpolicy.facts.locate import locate
from initpolicy.facts.memory import overlapping, overlaps_itself
from initpolicy.facts.survey import DRAWN
from initpolicy.initializers import INITIALIZERS
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

Problems = list[tuple[str, str]]
"""(parameter, what is wrong with it)."""

_KEPT = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2.0**-7, torch.bfloat16: 2.0**-4}
"""How far a parametrization's own arithmetic may move a value, as a share of the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A parameter of the plan, and where it hangs in the model."""

    assignment: Assignment
    owner: nn.Module
    local: str

    @property
    def name(self) -> str:
        return self.assignment.name

    @property
    def written(self) -> bool:
        return self.assignment.status == "initialized"

    @property
    def through(self) -> str:
        """What stands between the stored and the used tensor; empty for a plain parameter."""
        return ", ".join(self.assignment.facts.parametrization)

    @property
    def stored(self) -> tuple[Tensor, ...]:
        """What the model holds of it: a plain parameter holds itself."""
        return stored(self.owner, self.local)

    def tensor(self) -> Tensor:
        """The tensor in use, without side effects; of a plain parameter the very memory that is stored."""
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
    with torch.no_grad(), _randomness_kept(targets):
        _refuse(plan, [*_unusable(targets), *_shared(targets, model)])
        chosen = [target for target in targets if target.written]
        prepared = _prepare(plan, chosen, seed)
        changed = _write_through(plan, [target for target in chosen if target.through], prepared, seed)
        for target in chosen:
            if not target.through:
                _fill(target.tensor(), target, plan.initializers, prepared, seed)
        measured = {target.name: found for target in targets if (found := _measured(target)) is not None}
    return {name: replace(found, reason=changed.get(name, "")) for name, found in measured.items()}


def _refuse(plan: Plan, problems: Problems) -> None:
    if problems:
        raise ApplyError(*(Problem(plan.policy.name, place, why) for place, why in problems))


@contextmanager
def _randomness_kept(targets: list[_Target]) -> Iterator[None]:
    """Whatever is drawn by functions and parametrizations of the user's own, all generators end as they began."""
    devices = {tensor.device for target in targets for tensor in target.stored if tensor.device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


# --- check ---------------------------------------------------------------------------------------


def _unusable(targets: list[_Target]) -> Iterator[tuple[str, str]]:
    """(parameter, reason) for what cannot be written, and for what no rule writes and no one could train from."""
    for target in targets:
        why = _why_not_written(target) if target.written else _why_not_left(target)
        if why:
            yield target.name, why


def _why_not_written(target: _Target) -> str:
    """Why the parameter cannot be written, or nothing."""
    for tensor in target.stored:
        if tensor.is_meta:
            return "is on the meta device; give it memory first: model.to_empty(device='cpu')"
        if type(tensor.detach()) is not Tensor:
            kind, remedy = type(tensor.detach()).__name__, "apply before it is sharded or converted, or exclude it"
            return f"is a {kind}, whose elements cannot be written one by one; {remedy}"
        if hasattr(tensor, "ds_shape") and not tensor.numel():
            return "is partitioned by DeepSpeed (ZeRO-3) and empty here; apply before, or inside GatheredParameters"
        if tensor.layout is not torch.strided:
            return f"is stored as {tensor.layout}, whose elements cannot be written one by one; exclude it"
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            return "was made under torch.inference_mode, where alone it can be written; build the model outside"
        if overlaps_itself(tensor):
            return "has elements that share memory, as expand() makes them; give it a clone() first"
    try:
        shape = tuple(target.tensor().shape)
    except Exception as error:  # a user's parametrization may raise anything
        return f"cannot be read through {target.through} ({_said(error)}); exclude it"
    if shape != target.assignment.shape:
        return f"has shape {shape} now, but the plan was made for {target.assignment.shape}; plan again"
    return ""


def _why_not_left(target: _Target) -> str:
    """Why the parameter cannot stay as it is, or nothing."""
    status, spared = target.assignment.status, target.assignment.facts.untouchable
    for tensor in target.stored:
        if is_lazy(tensor):
            return ""
        if tensor.is_meta:
            return f"is on the meta device and would stay there: {status}; add a rule for it, or give it values first"
        if not spared and not _finite(tensor):
            return (
                f"holds values that are not finite and would keep them: {status}; add a rule for it, "
                "or, if they are meant, set its attribute _no_reinit to True"
            )
    return ""


def _finite(tensor: Tensor) -> bool:
    """Whether all are finite, as far as that can be told."""
    if type(tensor.detach()) is not Tensor or tensor.layout is not torch.strided or tensor.dtype not in DRAWN:
        return True
    return tensor.numel() == 0 or bool(torch.isfinite(tensor).all())


def _shared(targets: list[_Target], model: nn.Module) -> Iterator[tuple[str, str]]:
    """(parameter, reason) where a write would change another parameter or a buffer too."""
    held = [(target.name, tensor, target.written) for target in targets for tensor in target.stored]
    held += [(f"the buffer {name}", tensor, False) for name, tensor in model.named_buffers()]
    for pair in sorted(overlapping([tensor for _, tensor, _ in held])):
        one, other = sorted((held[index] for index in pair), key=lambda entry: not entry[2])  # a written one first
        if one[2] and one[0] != other[0]:
            yield one[0], f"shares memory with {other[0]}; make them one parameter, or give each its own by clone()"


# --- prepare -------------------------------------------------------------------------------------


def _prepare(plan: Plan, targets: list[_Target], seed: int) -> Prepared:
    """Values of every part whose making can fail, checked.

    Raises:
        ApplyError: with every failure.
    """
    prepared: dict[tuple[str, int], Float32] = {}
    problems: Problems = []
    for target in targets:
        for index, part in enumerate(target.assignment.parts):
            initializer = plan.initializers[part.initializer]
            if not initializer.fallible and INITIALIZERS.get(initializer.name) is initializer:
                continue
            try:
                prepared[target.name, index] = _checked(_values(initializer, part, seed), part)
            except Exception as error:  # a user's function may raise anything
                problems.append((target.name, f"{part.initializer}: {_said(error)}"))
    _refuse(plan, problems)
    return prepared


def _checked(values: Float32, part: Part) -> Float32:
    """The values, if they are as many as there are elements and each is finite once it is rounded to the dtype."""
    if values.size != part.block.numel:
        raise ValueError(f"gave {values.size} values for {part.block.numel} elements")
    values = np.require(values, np.float32, ["C", "W"])
    if not torch.isfinite(torch.from_numpy(values).to(getattr(torch, part.block.dtype))).all():
        beyond = f" in {part.block.dtype}" if np.isfinite(values).all() else ""
        raise ValueError(f"gave values that are not finite{beyond}")
    return values


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
    """Set the effective weights; if any is refused, put back all of them and raise.

    Returns:
        Parameter -> a remark, where the parametrization made something else of what it was given.

    Raises:
        ApplyError: with every refusal.
    """
    changed: dict[str, str] = {}
    problems: Problems = []
    with _undone_on_error([remembered(target.owner, target.local) for target in targets]):
        for target in targets:
            asked = target.tensor().clone()
            _fill(asked, target, plan.initializers, prepared, seed)
            _seed(target, seed)
            try:
                set_effective(target.owner, target.local, asked)
                made = target.tensor()
            except Exception as error:  # a user's right_inverse may raise anything
                problems.append((target.name, f"{target.through} takes no such values ({_said(error)}); exclude it"))
                continue
            if made.shape != asked.shape:
                why = f"{target.through} makes {tuple(made.shape)} of the {tuple(asked.shape)} it was given; exclude it"
                problems.append((target.name, why))
            elif not _finite(made):
                why = f"{target.through} makes values that are not finite of those it was given; exclude it"
                problems.append((target.name, why))
            elif not _alike(made, asked):
                changed[target.name] = "which makes another tensor of its values; measured is the one in use"
        _refuse(plan, problems)
    return changed


def _seed(target: _Target, seed: int) -> None:
    """Some parametrizations complete a basis by chance, with a generator that the parameter's stream determines."""
    key = stream_for(seed, target.assignment.facts.key).key
    torch.default_generator.manual_seed(key)
    for device in {tensor.device for tensor in target.stored if tensor.device.type == "cuda"}:
        torch.cuda.default_generators[device.index].manual_seed(key)


def _alike(made: Tensor, asked: Tensor) -> bool:
    return not asked.numel() or bool((made - asked).abs().max() <= _KEPT[asked.dtype] * asked.abs().max())


@contextmanager
def _undone_on_error(put_back: list[Callable[[], None]]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for restore in put_back:
            restore()
        raise


def _fill(
    tensor: Tensor, target: _Target, initializers: Mapping[str, Initializer], prepared: Prepared, seed: int
) -> None:
    """Every part of the tensor, in place, rounded to its dtype."""
    for index, part in enumerate(target.assignment.parts):
        region = _region(tensor, part)
        if not region.numel():
            continue
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


def _region(tensor: Tensor, part: Part) -> Tensor:
    return tensor[tuple(slice(*bounds) for bounds in part.region)]


def _draw(flat: Tensor, initializer: Initializer, part: Part, stream: Stream) -> None:
    assert initializer.draw is not None
    arguments = _arguments(initializer, part)
    for start in range(0, flat.numel(), CHUNK):
        stop = min(start + CHUNK, flat.numel())
        flat[start:stop].copy_(torch.from_numpy(initializer.draw(stream, part.block, arguments, start, stop)))


# --- measure -------------------------------------------------------------------------------------


def _measured(target: _Target) -> Measure | None:
    """What is in use now; None where there are no numbers (meta) or none that are measured (integers)."""
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


def _row_in(part: Part, row: int | None) -> int | None:
    """The row of the part that is this row of the tensor, if it has it."""
    if row is None:
        return None
    start, stop = part.region[0]
    return row - start if start <= row < stop else None
