"""Weight initialization for PyTorch as a policy in YAML: planned, applied and audited, parameter by parameter.

Names are loaded when they are first used: importing this package imports no torch, so Hydra's plugins start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initpolicy.api import apply_policy, materialize, plan_policy, survey
    from initpolicy.audit import Audit
    from initpolicy.errors import ApplyError, InitPolicyError, PlanError, PolicyError
    from initpolicy.files import list_policies
    from initpolicy.integrations.lightning import InitPolicyCallback
    from initpolicy.load import load_policy
    from initpolicy.plan import Plan
    from initpolicy.policy import Policy
    from initpolicy.records import AuditRow
    from initpolicy.skip import skip_default_init

__all__ = [
    "ApplyError",
    "Audit",
    "AuditRow",
    "InitPolicyCallback",
    "InitPolicyError",
    "Plan",
    "PlanError",
    "Policy",
    "PolicyError",
    "apply_policy",
    "list_policies",
    "load_policy",
    "materialize",
    "plan_policy",
    "skip_default_init",
    "survey",
]

_WHERE = {
    "ApplyError": "errors",
    "Audit": "audit",
    "AuditRow": "records",
    "InitPolicyCallback": "integrations.lightning",
    "InitPolicyError": "errors",
    "Plan": "plan",
    "PlanError": "errors",
    "Policy": "policy",
    "PolicyError": "errors",
    "apply_policy": "api",
    "list_policies": "files",
    "load_policy": "load",
    "materialize": "api",
    "plan_policy": "api",
    "skip_default_init": "skip",
    "survey": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
