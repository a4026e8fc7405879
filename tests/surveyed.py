"""What a survey found, in words that compare equal."""

from __future__ import annotations

from torch import nn

from initpolicy.facts.survey import survey_model
from initpolicy.records import ModelFacts, ParamFacts

__all__ = ["by_name", "module_names", "names", "seen"]


def names(model: nn.Module) -> list[str]:
    return [param.name for param in survey_model(model).params]


def by_name(facts: ModelFacts) -> dict[str, ParamFacts]:
    """Every parameter under every name it has."""
    return {site.name: param for param in facts.params for site in param.sites}


def module_names(model: nn.Module) -> list[tuple[str, str]]:
    return [(module.name, module.classes.simple) for module in survey_model(model).modules]


def seen(facts: ModelFacts) -> list[object]:
    """All that was found out, as values that compare equal."""
    rows: list[object] = [
        [(site.name, site.owner.name, site.local, site.layout, site.signal) for site in param.sites]
        + [param.path, param.shape, param.dtype, param.device, param.trainable, param.untouchable]
        + [param.padding_idx, param.parametrization]
        for param in facts.params
    ]
    for module in facts.modules:
        parent = module.parent.name if module.parent else None
        rows.append((module.name, module.classes, parent, dict(module.attributes)))
    return [*rows, *facts.notes]
