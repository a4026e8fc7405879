"""The use cases, each as a table of contents: read, survey, plan, write, audit."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from initpolicy.apply import write
from initpolicy.audit import Audit, audit_of
from initpolicy.errors import PlanError, PolicyError, Problem
from initpolicy.facts.find import CannotTrace, Found, find_signals
from initpolicy.facts.survey import survey_model
from initpolicy.initializers.base import Initializer
from initpolicy.load import load_policy
from initpolicy.plan import Plan, make_plan
from initpolicy.policy import Policy
from initpolicy.records import AuditRow, ModelFacts
from initpolicy.render.numbers import short
from initpolicy.render.summary import verdict
from initpolicy.render.words import asked, shape

__all__ = ["apply_policy", "carry_out", "plan_found", "plan_policy", "survey"]

_log = logging.getLogger("initpolicy")

Source = str | os.PathLike[str] | Mapping[str, Any] | DictConfig | Policy


def survey(model: nn.Module, example_input: Any = None) -> ModelFacts:
    """What the model is: each parameter's owner, names, shape, fans, and the activations around it. Writes nothing.

    One forward pass of an isolated copy is traced, on tensors without values.

    Args:
        model: any module.
        example_input: what the model is called with: a tensor, a tuple of arguments, a dict of keyword arguments, a
            shape (``{"shape": [1, 3, 224, 224], "dtype": "float32"}``), or a function that makes one of these. Without
            it, one is made from what the model says of itself.

    Raises:
        PlanError: if the model does not run on the ``example_input``.
    """
    return _surveyed(model, _found(model, example_input, "survey"))


def plan_policy(
    model: nn.Module,
    policy: Source,
    *,
    example_input: Any = None,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    trusted: Sequence[str] = (),
) -> Plan:
    """Decide what every parameter would get. Writes nothing, and works on meta tensors.

    Args:
        model: any module.
        policy: a preset's name, the path of a YAML file, a mapping, a DictConfig (Hydra's ``cfg.init``) or a Policy.
        example_input: what the model is called with, for finding activations; see `survey`.
        seed: overrides the policy's; a whole number from 0 to 2**63 - 1.
        initializers: more of them, or others under the same names.
        trusted: packages whose functions the policy may ``call``.

    Raises:
        PolicyError: with every mistake in the policy.
        PlanError: with every place where it does not fit this model.
    """
    read = load_policy(policy)
    if not isinstance(model, nn.Module):
        raise PlanError(Problem(read.name, "model", f"must be a torch.nn.Module, not {type(model).__name__}"))
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63):
        raise PolicyError(Problem(read.name, "seed", f"must be a whole number from 0 to 2**63 - 1, not {seed!r}"))
    return plan_found(read, model, _found(model, example_input, read.name), seed, initializers, trusted)


def apply_policy(
    model: nn.Module,
    policy: Source,
    *,
    example_input: Any = None,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    trusted: Sequence[str] = (),
) -> Audit:
    """Initialize the model in place, as `plan_policy` decides, and say what was done.

    Parameters stay the same objects in the same storage; buffers, gradients, frozen and unclaimed parameters stay as
    they are. With a seed the process's random state is neither read nor changed; without one, one is drawn from
    torch's global generator and recorded. Summary and table go to the logger ``initpolicy`` at INFO, each row at DEBUG;
    where INFO is off, notes (what no rule claims, what is off) are warnings.

    Raises:
        PolicyError, PlanError: as `plan_policy`.
        ApplyError: where weights cannot be written, or would be left unusable. After any error the model's weights
            are what they were before.
    """
    return carry_out(
        plan_policy(model, policy, example_input=example_input, seed=seed, initializers=initializers, trusted=trusted),
        model,
    )


# --- the steps, for adapters that find signals in ways of their own -------------------------------


def plan_found(
    policy: Policy,
    model: nn.Module,
    found: Found,
    seed: int | None = None,
    initializers: Mapping[str, Initializer] | None = None,
    trusted: Sequence[str] = (),
) -> Plan:
    """`plan_policy` for a policy that is read and signals that are found."""
    return make_plan(
        policy,
        _surveyed(model, found),
        seed=None if seed is None else int(seed),
        initializers=initializers,
        trusted=(trusted,) if isinstance(trusted, str) else tuple(trusted),
    )


def carry_out(plan: Plan, model: nn.Module) -> Audit:
    """Write what was planned, measure it, and tell the logger."""
    before = torch.default_generator.get_state()
    seed = _drawn() if plan.seed is None else plan.seed
    try:
        measures = write(plan, model, seed)
    except BaseException:
        torch.default_generator.set_state(before)  # as if no seed had been drawn
        raise
    audit = audit_of(plan, measures, seed)
    _tell(audit)
    return audit


def _found(model: nn.Module, example_input: Any, source: str) -> Found:
    try:
        return find_signals(model, example_input)
    except CannotTrace as error:
        raise PlanError(Problem(source, "example_input", str(error))) from error


def _surveyed(model: nn.Module, found: Found) -> ModelFacts:
    return replace(survey_model(model, found.signals), finding=found.notes)


def _drawn() -> int:
    """63 bits of torch's global generator, as a DataLoader takes its seed; on the CPU, whatever the default device."""
    return int(torch.randint(2**63 - 1, (), device="cpu", generator=torch.default_generator).item())


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


def _line(row: AuditRow) -> str:
    """``fc.weight 64×3: initialized, rectified: kaiming_normal(…), std 0.8165, measured 0.8012, ok``."""
    done = f"{row.rule}: {asked(row)}" if row.initializer else row.rule
    expected = "" if row.expected_std is None else f"std {short(row.expected_std)}"
    measured = "" if row.std is None else f"measured {short(row.std)}"
    told = (row.status, done, expected, measured, row.verdict, row.reason)
    return f"{row.name} {shape(row.shape)}: {', '.join(filter(None, told))}"
