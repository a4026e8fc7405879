"""The comparison itself: how often it is wrong where nothing is, and that it sees what it is to see."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import initpolicy as ip
from parity.case import Array, Blocks, Case, Orthogonal, Stated, normal, truncated, uniform
from parity.compare import ENOUGH, LEVEL, Finding, Values, equal, same, spectrum
from parity.libraries import timm
from parity.outcome import caught, outcome

LAWS = {
    "normal": stats.norm(),
    "uniform": stats.uniform(-1, 2),
    "truncated": stats.truncnorm(-2, 2),
    "exponential": stats.expon(),
}
WORST = LEVEL / 300
"""A model of 300 comparisons: what a p-value must be below."""


def drawn(law: Any, size: int, seed: int) -> Values:
    values: Values = law.rvs(size=size, random_state=np.random.default_rng(seed))
    return values


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("name", LAWS)
def test_false_alarms_are_as_rare_as_stated(name: str, stated: bool) -> None:
    """Of 300 comparisons at 1 % each 3 are expected; 15 or more has a chance of 1e-6."""
    law = LAWS[name]
    low: dict[str, int] = {}
    for seed in range(300):
        other = law if stated else drawn(law, 400, 10_000 + seed)
        for found in same("", drawn(law, 400, seed), other):
            low[found.how] = low.get(found.how, 0) + (found.p < 0.01)
    assert low.keys() == {"KS", "mean", "spread", "extremes"}
    assert max(low.values()) < 15, low


def wide(law: Any) -> Values:
    """A tenth more spread."""
    return 1.1 * drawn(law, ENOUGH, 1)


def cut(law: Any) -> Values:
    """Cut at two standard deviations, widened to the spread of before."""
    return drawn(truncated(1, corrected=True), ENOUGH, 1)


def shifted(law: Any) -> Values:
    """By a seventh of the spread."""
    values: Values = drawn(law, ENOUGH, 1) + 1 / 7 * law.std()
    return values


def other(law: Any) -> Values:
    """Uniform of the same mean and spread."""
    values: Values = drawn(stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)), ENOUGH, 1) * law.std() + law.mean()
    return values


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize(
    ("wrong", "law", "by"),
    [
        (wide, "normal", "spread"),
        (wide, "uniform", "spread"),
        (wide, "truncated", "spread"),
        (wide, "exponential", "spread"),
        (cut, "normal", "extremes"),
        (shifted, "normal", "mean"),
        (other, "normal", "KS"),
        (other, "normal", "extremes"),
    ],
)
def test_what_is_wrong_is_seen(wrong: Callable[[Any], Values], law: str, by: str, stated: bool) -> None:
    right = LAWS[law]
    found = {f.how: f.p for f in same("", wrong(right), right if stated else drawn(right, ENOUGH, 2))}
    assert found[by] < WORST


def test_too_wide_for_a_stated_support() -> None:
    values = drawn(stats.uniform(-1, 2), ENOUGH, 1)
    assert min(f.p for f in same("", 1.001 * values, stats.uniform(-1, 2))) == 0


def test_constants() -> None:
    one = np.full((3, 2), 0.1)
    assert equal("a", one, one * (1 + 1e-7)) == Finding("a", "equal", 1.0)
    assert equal("a", one, one * 1.0001).p == 0
    assert equal("a", one, one[:2]).p == 0
    assert equal("a", np.zeros(3), np.zeros(3)).p == 1


def test_orthogonal_matrices() -> None:
    matrix = stats.ortho_group(8, seed=np.random.default_rng(0)).rvs()[:, :5]
    assert spectrum("a", matrix, np.eye(8, 5)).p == 1
    assert spectrum("a", 1.001 * matrix, np.eye(8, 5)).p == 0
    assert spectrum("a", drawn(stats.norm(0, 8**-0.5), 40, 0).reshape(8, 5), np.eye(8, 5)).p == 0


# --- whole cases ----------------------------------------------------------------------------------


def policy(folder: Path, rules: str) -> str:
    path = folder / "tried.yaml"
    path.write_text(f"name: tried\nunused: ignore\nunmatched: keep\nrules:\n{rules}")
    return str(path)


RIGHT = """\
  linear: {match: {type: Linear}, init: {weight: {name: normal, std: 0.02}, bias: 0}}
  norm: {match: {type: LayerNorm}, init: {weight: 1, bias: 0}}
  lstm: {match: {type: LSTM}, init: {"weight*": {name: orthogonal, split: gates}, "bias*": 0}}
"""


def model() -> nn.Module:
    return nn.ModuleDict(
        {"one": nn.Linear(80, 90), "two": nn.Linear(90, 50), "norm": nn.LayerNorm(8), "lstm": nn.LSTM(16, 16)}
    )


def law(name: str, value: Array, owner: nn.Module) -> Stated:
    if isinstance(owner, nn.LSTM):
        return Blocks(*[Orthogonal()] * 4) if value.ndim == 2 else 0.0
    if value.ndim == 2:
        return normal(0.02)
    return float(name == "norm.weight")


def tried(folder: Path, rules: str, **given: Any) -> Case:
    return Case(preset=policy(folder, rules), model="tried", build=model, **{"stated": law, **given})


def test_a_right_policy_passes_and_is_told_from_wrong_ones(tmp_path: Path) -> None:
    case = tried(tmp_path, RIGHT, mutations={"bias of 1": {"rules": {"linear": {"init": {"bias": 1}}}}})
    found = outcome(case)
    assert found.failures == ()
    assert (found.parameters, found.left_alone, found.on_meta) == (10, 0, True)
    assert dict(caught(case, every=True)) == {
        "stated: bias of 1": True,
        "spread: lstm": True,
        "spread: linear": True,
        "spread: all": True,
    }


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("std: 0.02", "std: 0.022", "one.weight"),
        ("bias: 0}}\n  norm", "bias: 0.001}}\n  norm", "two.bias"),
        ("split: gates", "split: 2", "lstm.weight_ih_l0"),
        ("{name: orthogonal, split: gates}", "{name: normal, std: 0.25}", "lstm.weight_hh_l0"),
        ("{name: normal, std: 0.02}", "0.02", "one.weight"),
        ('"bias*": 0', '"bias*": {name: normal, std: 0.01}', "lstm.bias_ih_l0"),
    ],
)
def test_a_wrong_policy_fails_at_the_parameter(old: str, new: str, name: str, tmp_path: Path) -> None:
    assert old in RIGHT
    failures = outcome(tried(tmp_path, RIGHT.replace(old, new))).failures
    assert any(failure.startswith(name) for failure in failures), failures


def test_one_layer_among_others_is_seen(tmp_path: Path) -> None:
    """By itself, though its values are few among those of its law."""
    rules = f"{RIGHT}  two: {{match: {{name: two}}, init: {{weight: {{name: trunc_normal, std: 0.02}}}}}}\n"
    failures = outcome(tried(tmp_path, rules)).failures
    assert {failure.partition(":")[0] for failure in failures} == {"two.weight"}


def test_what_one_side_leaves_alone_is_named(tmp_path: Path) -> None:
    missing = RIGHT.replace(", bias: 0}}\n  norm", "}}\n  norm")
    assert outcome(tried(tmp_path, missing)).missing == (
        "one.bias: unmatched (no rule claims it), and the reference sets it",
        "two.bias: unmatched (no rule claims it), and the reference sets it",
    )
    alone = outcome(tried(tmp_path, missing, left_alone=r".*\.bias"))
    assert (alone.failures, alone.parameters, alone.left_alone) == (
        ("norm.bias: is to be left alone, and norm writes it",),
        7,
        3,
    )


def test_what_a_library_draws_is_not_left_alone(tmp_path: Path) -> None:
    case = tried(
        tmp_path, RIGHT.replace(", bias: 0}}\n  norm", "}}\n  norm"), stated=None, left_alone=r"(one|two)\.bias"
    )
    assert outcome(case).missing == (
        "one.bias: is to be left alone, and the reference draws it",
        "two.bias: is to be left alone, and the reference draws it",
    )


def test_a_library_is_a_reference(tmp_path: Path) -> None:
    """torch's own layers are not the policy's, and say so for each."""
    failures = outcome(tried(tmp_path, RIGHT, stated=None)).failures
    assert {failure.partition(":")[0] for failure in failures} >= {"one.weight", "two.weight", "one.bias", "two.bias"}


def test_tied_weights_stay_tied_in_the_copy(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        made = nn.ModuleDict({"one": nn.Linear(60, 70), "two": nn.Linear(60, 70)})
        made["two"].weight = made["one"].weight
        return made

    rules = "  linear: {match: {type: Linear}, init: {weight: {name: normal, std: 0.02}, bias: 0}}\n"
    found = outcome(Case(preset=policy(tmp_path, rules), model="tied", build=tied, stated=law))
    assert (found.failures, found.parameters) == ((), 3)


def test_a_stated_law_of_uniform_numbers(tmp_path: Path) -> None:
    rules = "  linear: {match: {type: Linear}, init: {'*': {name: uniform, a: -0.1, b: 0.1}}}\n"
    build = partial(nn.Linear, 100, 120)
    right = Case(preset=policy(tmp_path, rules), model="right", build=build, stated=lambda *_: uniform(0.1))
    wrong = Case(preset=policy(tmp_path, rules), model="wrong", build=build, stated=lambda *_: uniform(0.1005))
    assert outcome(right).failures == ()
    assert any("extremes" in failure for failure in outcome(wrong).failures)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_a_model_of_timm_just_works() -> None:
    """As a user would call it: no overrides, no example, nothing left over."""
    built = timm("vit_base_patch16_224", depth=1)()
    audit = ip.apply_policy(built, "vit_timm", seed=1)
    assert audit.ok
    assert audit.totals == {"initialized": len(audit.rows)}
    assert audit.header.notes == ()
    head = built.get_parameter("head.weight")
    assert float(head.detach().std()) == pytest.approx(0.02, rel=0.01)
    assert torch.equal(built.get_parameter("head.bias"), torch.zeros(1000))
