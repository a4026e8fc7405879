"""What the tests of writing and auditing share: short policies, and models as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from initpolicy import ApplyError, Audit, AuditRow, InitPolicyError, apply_policy

__all__ = ["NORMAL", "bits", "by_name", "everything", "policy", "refusal", "values_of"]

NORMAL = {"name": "normal", "mean": 0.5, "std": 0.25}


def policy(init: Any = NORMAL, *, seed: int | None = 1, **more: Any) -> dict[str, Any]:
    """One rule: a spec for everything, or a mapping of patterns to specs. What nothing claims is kept in silence."""
    patterns = init if isinstance(init, Mapping) and not {"name", "call"} & init.keys() else {"*": init}
    rules = {"all": {"init": dict(patterns)}}
    return {"name": "test", "seed": seed, "unmatched": "keep", "unused": "ignore", "rules": rules, **more}


def bits(tensor: Tensor) -> bytes:
    """The elements' bytes, in order of the indices, whatever the memory's layout."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def everything(model: nn.Module) -> dict[str, bytes]:
    """Every tensor that hangs on a module: parameters, buffers, and what old-style hooks leave as plain attributes."""
    return {
        f"{name}.{key}": bits(tensor)
        for name, module in model.named_modules()
        for held in (module._parameters, module._buffers, vars(module))
        for key, tensor in held.items()
        if isinstance(tensor, Tensor) and not tensor.is_meta
    }


def by_name(audit: Audit) -> dict[str, AuditRow]:
    return {row.name: row for row in audit.rows}


def refusal(model: nn.Module, asked: Any, error: type[InitPolicyError] = ApplyError, **options: Any) -> str:
    """The message, once it is certain that no byte changed."""
    before = everything(model)
    with pytest.raises(error) as caught:
        apply_policy(model, asked, **options)
    assert type(caught.value) is error
    assert everything(model) == before
    return str(caught.value)


def values_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters()}
