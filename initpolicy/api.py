"""The use cases, each as a table of contents: read, survey, plan, write, audit."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

import torch
from omegaconf import DictConfig
from torch import nn

from initpolicy.apply import write
from initpolicy.audit import Audit, audit_of
from initpolicy.errors import PlanError, PolicyError, Problem
from initpolicy.facts.find import CannotTrace, Found, find_in_order, find_nothing, find_signals
from initpolicy.facts.registered import register
from initpolicy.facts.survey import DRAWN, survey_model
from initpolicy.initializers.base import Initializer
from initpolicy.load import load_policy
from initpolicy.meta.buffers import Buffers
from initpolicy.meta.realize import Memory, realize
from initpolicy.plan import Plan, make_plan
from initpolicy.policy import Policy
from initpolicy.progress import Show
from initpolicy.records import AuditRow, ModelFacts
from initpolicy.render.numbers import short
from initpolicy.render.summary import verdict
from initpolicy.render.words import asked, shape
from initpolicy.resolve import wants_signals
from initpolicy.writing.ranks import agreed
from initpolicy.writing.watch import Watch

__all__ = ["apply_policy", "carry_out", "find_given", "materialize", "memory_on", "plan_found", "plan_policy", "survey"]

_log = logging.getLogger("initpolicy")

Source = str | os.PathLike[str] | Mapping[str, Any] | DictConfig | Policy


def survey(model: nn.Module, example_input: Any = None, *, activations: Mapping[str, Any] | None = None) -> ModelFacts:
    """What the model is: each parameter's owner, names, shape, fans, and the activations around it. Writes nothing.

    One forward pass of an isolated copy is traced, on tensors without values.

    Args:
        model: any module.
        example_input: what the model is called with: a tensor, a tuple of arguments, a dict of keyword arguments, a
            shape (``{"shape": [1, 3, 224, 224], "dtype": "float32"}``), or a function that makes one of these. Without
            it, one is made from what the model says of itself.
        activations: names for activations of your own, each of a function, a class of modules, or a module. A class
            stands for all its modules, a module for its class, a function for whatever computes the same.

    Raises:
        PlanError: if the model does not run on the ``example_input``, or a name cannot be given.
    """
    return _surveyed(model, find_given(model, example_input, "survey", activations))


def plan_policy(
    model: nn.Module,
    policy: Source,
    *,
    example_input: Any = None,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    activations: Mapping[str, Any] | None = None,
    trusted: Sequence[str] = (),
    trace: bool | Literal["auto"] = "auto",
) -> Plan:
    """Decide what every parameter would get. Writes nothing, and works on meta tensors.

    Args:
        model: any module.
        policy: a preset's name, the path of a YAML file, a mapping, a DictConfig (Hydra's ``cfg.init``) or a Policy.
        example_input: what the model is called with, for finding activations; see `survey`.
        seed: overrides the policy's; a whole number from 0 to 2**63 - 1.
        initializers: more of them, or others under the same names.
        activations: names for activations of your own; see `survey`.
        trusted: packages whose functions the policy may ``call``.
        trace: whether the model is traced for the activations around its parameters. ``"auto"``: if an
            ``example_input`` is given, or anything in the policy depends on them: a match, a gain that is found,
            ``inherit``. False: never; order inside nn.Sequential and what the policy declares must do.

    Raises:
        PolicyError: with every mistake in the policy.
        PlanError: with every place where it does not fit this model.
    """
    read = _read(model, policy, seed)
    found = _wanted(model, read, example_input, activations, initializers, trace)
    return plan_found(read, model, found, seed, initializers, trusted)


def _read(model: nn.Module, policy: Source, seed: int | None) -> Policy:
    """The policy, and nothing wrong with what goes with it."""
    read = load_policy(policy)
    if not isinstance(model, nn.Module):
        raise PlanError(Problem(read.name, "model", f"must be a torch.nn.Module, not {type(model).__name__}"))
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63):
        raise PolicyError(Problem(read.name, "seed", f"must be a whole number from 0 to 2**63 - 1, not {seed!r}"))
    return read


def apply_policy(
    model: nn.Module,
    policy: Source,
    *,
    example_input: Any = None,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    activations: Mapping[str, Any] | None = None,
    trusted: Sequence[str] = (),
    trace: bool | Literal["auto"] = "auto",
    progress: Show = "auto",
) -> Audit:
    """Initialize the model in place, as `plan_policy` decides, and say what was done.

    Parameters stay the same objects in the same storage; buffers, gradients, frozen and unclaimed parameters stay as
    they are. With a seed the process's random state is neither read nor changed; without one, one is drawn from
    torch's global generator and recorded. Summary and table go to the logger ``initpolicy`` at INFO, each row at DEBUG;
    where INFO is off, notes (what no rule claims, what is off) are warnings.

    A sharded model (DTensors: ``fully_shard``, ``parallelize_module``) gets what one process would have given it, each
    process writing and measuring its own shards. Under torch.distributed and without a seed, process 0's is used, and
    every process must call this; nothing else is asked of other processes.

    Args:
        model, policy, example_input, seed, initializers, activations, trusted, trace: as for `plan_policy`.
        progress: a bar on stderr while weights are written, if that is a terminal, on process 0: ``"auto"`` after two
            seconds, True at once, False never.

    Raises:
        PolicyError, PlanError: as `plan_policy`.
        ApplyError: where weights cannot be written, or would be left unusable. After any error the model's weights
            are what they were before.
        KeyboardInterrupt: when interrupted; the logger ``initpolicy`` has then, at ERROR, how many and which parameters
            are written and which are not, and at DEBUG each by name.
    """
    return carry_out(
        plan_policy(
            model,
            policy,
            example_input=example_input,
            seed=seed,
            initializers=initializers,
            activations=activations,
            trusted=trusted,
            trace=trace,
        ),
        model,
        progress=progress,
    )


def materialize(
    model: nn.Module,
    policy: Source,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    example_input: Any = None,
    seed: int | None = None,
    buffers: Buffers = None,
    initializers: Mapping[str, Initializer] | None = None,
    activations: Mapping[str, Any] | None = None,
    trusted: Sequence[str] = (),
    trace: bool | Literal["auto"] = "auto",
    progress: Show = "auto",
) -> Audit:
    """Initialize a model that was built under ``torch.device("meta")``: memory and values in one pass.

    The values are those that `apply_policy` gives the same model built as usual. Each meta parameter gets memory on
    the device, and the rule's values straight into it; every object, and so every tie and every optimizer's reference,
    stays the same, with its class, attributes, hooks and ``requires_grad``. What is not on meta is treated as
    `apply_policy` treats it, and stays where it is.

    Meta buffers, and plain tensors on modules, get the values that ``reset_parameters()`` or ``_reset_parameters()``
    of their module, or of one above it, gives them; the buffers of torch's ``spectral_norm`` and ``orthogonal`` follow
    from their weights. For others ``buffers`` must say what to do; infinities in them are taken as meant.

    Args:
        model: built on meta, wholly or in part.
        policy, example_input, seed, initializers, activations, trusted, trace: as for `plan_policy`.
        device: where memory is taken.
        dtype: of all that is on meta and floating-point, buffers included, as ``model.to(dtype)``; None: as built.
        buffers: for those that no reset makes: ``"construct"`` builds the owner anew on the CPU, where every argument
            of its constructor is an attribute of that name, and takes its buffer; a mapping of names to tensors; or
            f(name, owner, meta buffer) -> tensor, called before parameters have values. Values are cast to the dtype.
        progress: as for `apply_policy`.

    Raises:
        PolicyError, PlanError: as `plan_policy`.
        ApplyError: naming every parameter and buffer that would be left without values. After any error the model is
            what it was, and where it was.
    """
    read = _read(model, policy, seed)
    memory = memory_on(read.name, device, dtype, buffers)
    found = _wanted(model, read, example_input, activations, initializers, trace)
    return carry_out(plan_found(read, model, found, seed, initializers, trusted, memory), model, memory, progress)


# --- the steps, for adapters that find signals in ways of their own -------------------------------


def plan_found(
    policy: Policy,
    model: nn.Module,
    found: Found,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    trusted: Sequence[str] = (),
    memory: Memory | None = None,
) -> Plan:
    """`plan_policy` for a policy that is read and signals that are found; meta tensors as they will be in memory."""
    facts = _surveyed(model, found)
    return make_plan(
        policy,
        facts if memory is None else memory.facts(facts),
        seed=None if seed is None else int(seed),
        initializers=initializers,
        trusted=(trusted,) if isinstance(trusted, str) else tuple(trusted),
    )


def memory_on(
    source: str, device: torch.device | str, dtype: torch.dtype | None = None, buffers: Buffers = None
) -> Memory:
    """Where meta tensors are to get memory, if that is a place where they can."""
    try:
        place = torch.empty(0, device=device).device
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        why = f"no memory can be had on {device!r}: {str(error).splitlines()[0]}"
        raise PlanError(Problem(source, "device", why)) from error
    if place.type == "meta":
        raise PlanError(Problem(source, "device", "meta has no memory; name the device that the model is to run on"))
    if dtype is not None and dtype not in DRAWN:
        names = ", ".join(str(one) for one in DRAWN)
        raise PlanError(Problem(source, "dtype", f"must be one that can be drawn ({names}), not {dtype!r}"))
    return Memory(device=place, dtype=dtype, buffers=buffers)


def carry_out(plan: Plan, model: nn.Module, memory: Memory | None = None, progress: Show = "auto") -> Audit:
    """Write what was planned, with memory for meta tensors if there is a place for it; measure, and tell the logger."""
    if progress not in (True, False, "auto"):
        raise PlanError(Problem(plan.policy.name, "progress", f"must be True, False or 'auto', not {progress!r}"))
    before, watch = torch.default_generator.get_state(), Watch(plan.policy.name, progress)
    seed = _drawn() if plan.seed is None else plan.seed
    try:
        if memory is None:
            measures = write(plan, model, seed, watch=watch)
        else:
            measures = realize(plan, model, seed, memory, watch)
    except BaseException as error:
        torch.default_generator.set_state(before)  # as if no seed had been drawn
        if isinstance(error, KeyboardInterrupt):
            _tell_broken_off(plan.policy.name, watch, undone=memory is not None)
        raise
    audit = audit_of(plan, measures, seed)
    _tell(audit)
    return audit


def _wanted(
    model: nn.Module,
    policy: Policy,
    example_input: Any,
    activations: Mapping[str, Any] | None,
    initializers: Mapping[str, Initializer] | None,
    trace: bool | Literal["auto"],
) -> Found:
    """The signals that a plan needs: no more is traced."""
    if trace not in (True, False, "auto"):
        raise PlanError(Problem(policy.name, "trace", f"must be True, False or 'auto', not {trace!r}"))
    if trace is False and example_input is not None:
        raise PlanError(Problem(policy.name, "trace", "is False, which leaves no use for the example_input; drop one"))
    if trace is False:
        return find_in_order(model, register(activations, policy.name))
    if trace is True or example_input is not None or wants_signals(policy, initializers):
        return find_given(model, example_input, policy.name, activations)
    return find_nothing(register(activations, policy.name))


def find_given(model: nn.Module, example_input: Any, source: str, activations: Mapping[str, Any] | None) -> Found:
    own = register(activations, source)
    try:
        return find_signals(model, example_input, own=own)
    except CannotTrace as error:
        raise PlanError(Problem(source, "example_input", str(error))) from error


def _surveyed(model: nn.Module, found: Found) -> ModelFacts:
    facts = survey_model(model, found.signals, found.otherwise)
    return replace(facts, finding=found.notes, activations=found.activations)


def _drawn() -> int:
    """63 bits of torch's global generator, as a DataLoader takes its seed; on the CPU, whatever the default device.

    Under torch.distributed every process draws, so that generators that are in step stay so; process 0's is taken.
    """
    return agreed(int(torch.randint(2**63 - 1, (), device="cpu", generator=torch.default_generator).item()))


def _tell(audit: Audit) -> None:
    """Everything at INFO and each row at DEBUG; what wants attention as a warning, unless it is in the former."""
    if _log.isEnabledFor(logging.INFO):
        _log.info("%s", audit)
    else:
        for note in audit.header.notes:
            _log.warning("%s: %s", audit.header.policy, note)
        if not audit.ok:
            _log.warning("%s: %s", audit.header.policy, verdict(audit.rows))
    if _log.isEnabledFor(logging.DEBUG):
        for row in audit.rows:
            _log.debug("%s", _line(row))


def _tell_broken_off(name: str, watch: Watch, *, undone: bool) -> None:
    """What an interruption has left behind."""
    if undone:
        _log.error("%s: interrupted: the model is what it was, and where it was", name)
        return
    _log.error("%s: interrupted: %s", name, watch.said())
    for parameter, state in watch.states.items():
        _log.debug("%s: %s", parameter, state)


def _line(row: AuditRow) -> str:
    """``fc.weight 64×3: initialized, rectified: kaiming_normal(…), std 0.8165, measured 0.8012, ok``."""
    done = f"{row.rule}: {asked(row)}" if row.initializer else row.rule
    expected = "" if row.expected_std is None else f"std {short(row.expected_std)}"
    measured = "" if row.std is None else f"measured {short(row.std)}"
    told = (row.status, done, expected, measured, row.verdict, row.reason)
    return f"{row.name} {shape(row.shape)}: {', '.join(filter(None, told))}"
