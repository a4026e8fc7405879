"""`normalized`: rows of one length; and what formulas know of the modules around."""

from __future__ import annotations

import math

import numpy as np
import pytest
from initializer_parts import block_of, fill, law
from scipy import stats
from torch import nn

import initpolicy as ip
from initpolicy.facts.survey import survey_model
from initpolicy.matching import Matcher
from initpolicy.policy import Match


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("shape", [(40, 30), (16, 8, 3, 3), (5, 1)])
def test_every_row_has_the_length(shape: tuple[int, ...], distribution: str) -> None:
    values = fill("normalized", block_of(shape), 3, norm=1.4, distribution=distribution)
    lengths = np.sqrt((values.reshape(shape[0], -1).astype(np.float64) ** 2).sum(axis=1))
    np.testing.assert_allclose(lengths, 1.4, rtol=1e-6)


def test_the_law_is_exact() -> None:
    stated = law("normalized", block_of((40, 30)), norm=2.0, distribution="normal")
    assert stated is not None
    assert stated.std == pytest.approx(2 / math.sqrt(30))
    assert stated.low < -2
    assert stated.high > 2


def test_normal_draws_have_directions_that_are_uniform() -> None:
    """A coordinate t of a random direction has (t + 1)/2 ~ Beta(k, k), k = (n - 1)/2; false alarms 1e-4."""
    values = fill("normalized", block_of((4000, 5)), 1, norm=1.0, distribution="normal")
    expected = stats.beta(2, 2, loc=-1, scale=2)
    assert stats.kstest(values[:, 0], expected.cdf).pvalue > 1e-4
    other = fill("normalized", block_of((4000, 5)), 1, norm=1.0, distribution="uniform")
    assert stats.kstest(other[:, 0], expected.cdf).pvalue < 1e-4


def test_a_vector_has_no_rows() -> None:
    with pytest.raises(ValueError, match=r"^needs two or more dimensions, this is \(5,\)$"):
        law("normalized", block_of((5,)), norm=1.0, distribution="normal")


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_audit_of_rows_is_ok(distribution: str) -> None:
    model = nn.Sequential(nn.Linear(7, 3), nn.Conv2d(4, 4, 3), nn.Linear(300, 200))
    spec = {"name": "normalized", "norm": 0.1, "distribution": distribution}
    policy = {"rules": {"all": {"init": {"weight": spec, "bias": 0}}}}
    assert all(ip.apply_policy(model, policy, seed=seed).ok for seed in range(50))


class Attention(nn.Module):
    """A projection inside of a module that knows the number of heads, inside of one that knows another."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(16, 16)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads, self.depth = 7, 3
        self.attention = Attention(4)


AROUND = {"all": {"init": {"weight": {"name": "normal", "std": "depth / heads"}, "bias": "keep"}}}


def test_formulas_know_the_numbers_of_the_modules_around_the_nearest_first() -> None:
    plan = ip.plan_policy(Layer(), {"rules": AROUND})
    assert plan.assignments[0].expected_std == 0.75


def test_the_owner_and_vars_come_before_what_is_around() -> None:
    rules = {"all": {"init": {"weight": {"name": "normal", "std": "depth / in_features"}, "bias": "keep"}}}
    layer = Layer()
    setattr(layer, "in_features", 99)  # noqa: B010 - no attribute of its class
    assert ip.plan_policy(layer, {"rules": rules}).assignments[0].expected_std == 3 / 16
    assert ip.plan_policy(layer, {"rules": rules, "vars": {"depth": 4}}).assignments[0].expected_std == 4 / 16


def test_a_condition_is_about_the_owner_alone() -> None:
    rules = {"some": {"match": {"where": "heads >= 1"}, "init": {"weight": 0}}}
    with pytest.raises(ip.PlanError):
        ip.plan_policy(Layer(), {"rules": rules})


def test_a_group_of_any_text_counts_the_texts_over_the_model() -> None:
    """Blocks of stages of unequal length: their number is no product."""
    stages = [nn.Sequential(*(nn.Linear(2, 2) for _ in range(count))) for count in (2, 1, 3)]
    model = nn.ModuleDict({f"layer{index}": stage for index, stage in enumerate(stages)})
    matcher = Matcher(Match.model_validate({"name": [r"^(?P<block>layer\d\.(?P<index>\d))$"]}), survey_model(model))
    assert matcher.counts() == {"n_block": 6, "n_index": 3}
