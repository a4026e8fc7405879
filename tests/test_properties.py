"""What holds for any model and any policy: values follow from seed, name, shape and law, and from nothing else."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import bits, everything, policy, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from initpolicy import apply_policy, load_policy, plan_policy
from initpolicy.streams import inside

LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda n: nn.Linear(n, n + 1),
    "conv": lambda n: nn.Conv2d(n, 4, 3),
    "transposed": lambda n: nn.ConvTranspose1d(n, 2, 4, stride=2),
    "lstm": lambda n: nn.LSTM(n, 3),
    "attention": lambda n: nn.MultiheadAttention(2 * n, 2),
    "embedding": lambda n: nn.Embedding(5, n, padding_idx=1),
    "norm": lambda n: nn.LayerNorm(n),
    "normed": lambda n: nn.utils.parametrizations.weight_norm(nn.Linear(n, 3)),
    "nested": lambda n: nn.Sequential(nn.Linear(n, 2), nn.ReLU(), nn.Linear(2, n)),
}
WEIGHTS: list[Any] = [
    "xavier_normal", "xavier_uniform", "lecun_normal", "variance_scaling", "orthogonal",
    {"name": "kaiming_normal", "gain": 2},
    {"name": "normal", "std": 0.02}, {"name": "uniform", "a": -1, "b": 1}, {"name": "trunc_normal", "std": 0.02},
    {"name": "formula", "value": "z * sqrt(2 / numel) + i"}, {"name": "exponential"},
]  # fmt: skip
VECTORS: list[Any] = [
    {"name": "normal", "std": 0.1}, {"name": "uniform", "a": 1, "b": 2}, {"name": "log_normal"},
    {"name": "log_uniform", "low": 0.1, "high": 2},
]  # fmt: skip

FEW = settings(max_examples=15)
"""Each example builds and fills models."""
Kinds = Sequence[tuple[str, int]]
models = st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.integers(2, 4)), min_size=1, max_size=3)
seeds = st.integers(0, 2**63 - 1)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Every matrix by one law, every vector by another; so no value leaves room for chance."""
    return {
        "name": "drawn",
        "seed": draw(seeds),
        "unused": "ignore",
        "rules": {
            "vectors": {"init": {"*": draw(st.sampled_from(VECTORS))}},
            "matrices": {"match": {"where": "ndim >= 2"}, "init": {"*": draw(st.sampled_from(WEIGHTS))}},
        },
    }


def build(kinds: Kinds, order: Sequence[int] | None = None) -> nn.ModuleDict:
    """Layers under names that do not depend on their order."""
    order = range(len(kinds)) if order is None else order
    return nn.ModuleDict({f"layer{n}": LAYERS[kinds[n][0]](kinds[n][1]) for n in order})


def applied(model: nn.Module, asked: Mapping[str, Any], **options: Any) -> dict[str, Tensor]:
    apply_policy(model, asked, **options)
    return values_of(model)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bits(one[name]) == bits(other[name]) for name in one)


@FEW
@given(models, policies(), st.randoms(use_true_random=False))
def test_not_on_the_order_of_modules(kinds: Kinds, asked: dict[str, Any], chance: random.Random) -> None:
    order = list(range(len(kinds)))
    chance.shuffle(order)
    one, other = build(kinds), build(kinds, order)
    assert same(applied(one, asked), applied(other, asked))
    assert plan_policy(one, asked).fingerprint == plan_policy(other, asked).fingerprint


@FEW
@given(models, policies(), st.sampled_from(sorted(LAYERS)))
def test_pt46149_not_on_other_layers(kinds: Kinds, asked: dict[str, Any], more: str) -> None:
    """Under torch's global generator, a layer that is never used shifts every result after it."""
    larger = build([(more, 3), *kinds])
    smaller = nn.ModuleDict({f"layer{n + 1}": LAYERS[kind](size) for n, (kind, size) in enumerate(kinds)})
    alone, beside = applied(smaller, asked), applied(larger, asked)
    assert same(alone, {name: beside[name] for name in alone})


@FEW
@given(models, policies(), st.integers(0, 2**32 - 1))
def test_pt65049_not_on_the_global_seed(kinds: Kinds, asked: dict[str, Any], seed: int) -> None:
    first = applied(build(kinds), asked)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    assert same(first, applied(build(kinds), asked))


@FEW
@given(models, policies())
def test_not_on_what_was_there_before_nor_on_the_mode(kinds: Kinds, asked: dict[str, Any]) -> None:
    model = build(kinds)
    first = applied(model, asked)
    model.eval()
    for param in model.parameters():
        param.data.fill_(9.0)
    assert same(first, applied(model, asked))


@FEW
@given(models, policies())
def test_applying_twice_is_applying_once(kinds: Kinds, asked: dict[str, Any]) -> None:
    model = build(kinds)
    once = apply_policy(model, asked)
    after = everything(model)
    twice = apply_policy(model, asked)
    assert everything(model) == after
    assert twice == once
    assert once.ok


@FEW
@given(models, policies())
def test_deep_copies_are_equal(kinds: Kinds, asked: dict[str, Any]) -> None:
    model = build(kinds)
    twin = copy.deepcopy(model)
    assert apply_policy(model, asked) == apply_policy(twin, asked)
    assert everything(model) == everything(twin)


@FEW
@given(models, policies())
def test_the_plan_writes_nothing_and_repeats_itself(kinds: Kinds, asked: dict[str, Any]) -> None:
    model = build(kinds)
    before = everything(model)
    versions = [tensor._version for tensor in model.state_dict(keep_vars=True).values()]
    first, second = plan_policy(model, asked), plan_policy(model, asked)
    assert everything(model) == before
    assert versions == [tensor._version for tensor in model.state_dict(keep_vars=True).values()]
    assert (first.rows, first.header, first.notes) == (second.rows, second.header, second.notes)
    assert plan_policy(model, load_policy(asked)).rows == first.rows


def compiled(model: nn.Module) -> nn.Module:
    made: Any = torch.compile(model)
    return made  # type: ignore[no-any-return]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "torch.compile": compiled,
    "checkpoint": checkpoint_wrapper,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "several": lambda model: compiled(nn.DataParallel(checkpoint_wrapper(model))),
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # what torch.compile loads
@FEW
@given(models, policies(), st.sampled_from(sorted(WRAPPERS)))
def test_modalities460_peft2962_not_on_wrappers(kinds: Kinds, asked: dict[str, Any], wrapper: str) -> None:
    plain = build(kinds)
    wrapped = WRAPPERS[wrapper](copy.deepcopy(plain))
    assert apply_policy(wrapped, asked) == apply_policy(plain, asked)
    assert [bits(param) for param in wrapped.parameters()] == [bits(param) for param in plain.parameters()]


@FEW
@given(models, policies(), st.sampled_from(["float64", "bfloat16", "float16"]))
def test_on_the_dtype_by_rounding_alone(kinds: Kinds, asked: dict[str, Any], dtype: str) -> None:
    """Bit for bit the rounded float32 value; at an open bound the last number inside it, so half a step further."""
    kinds = [(kind, size) for kind, size in kinds if kind != "normed"]  # which computes with what it holds
    single, other = build(kinds), build(kinds).to(getattr(torch, dtype))
    rows = {row.name: row for row in apply_policy(single, asked).rows}
    apply_policy(other, asked)
    for name, value in values_of(other).items():
        rounded, row = values_of(single)[name].to(value.dtype), rows[name]
        if row.low in (None, -np.inf) and row.high in (None, np.inf):
            assert bits(value) == bits(rounded)
        else:
            assert row.low is not None
            assert row.high is not None
            least, most = inside(row.low, row.high, dtype)
            kept = torch.where(rounded == 0, 0.0, rounded.double().clamp(least, most))  # a padding row stays zero
            assert torch.equal(value.double(), kept)


@FEW
@given(st.integers(2, 5), policies(), st.sampled_from(sorted(LAYERS)))
def test_netket241_kerashub352_parameters_of_one_shape_differ(size: int, asked: dict[str, Any], kind: str) -> None:
    model = build([(kind, size)] * 3)
    values = applied(model, asked)
    for name, value in values.items():
        for other in values:
            if other > name and values[other].shape == value.shape and value.numel() > 3 and "original0" not in name:
                assert not torch.equal(value, values[other]), (name, other)


@FEW
@given(policies(), policies(), st.sampled_from(sorted(LAYERS)), st.booleans())
def test_the_fingerprint_is_equal_where_the_values_are(
    one: dict[str, Any], two: dict[str, Any], kind: str, alike: bool
) -> None:
    if alike:
        two["seed"] = one["seed"]
    model = build([(kind, 3)])
    first, second = plan_policy(model, one), plan_policy(model, two)
    asked = [
        (plan.seed, [(row.name, row.shape, row.status, row.initializer, row.arguments) for row in plan.rows])
        for plan in (first, second)
    ]
    assert (first.fingerprint == second.fingerprint) == (asked[0] == asked[1])
    if first.fingerprint == second.fingerprint:
        assert same(applied(model, one), applied(copy.deepcopy(model), two))


@FEW
@given(seeds, seeds)
def test_other_seeds_other_values(one: int, other: int) -> None:
    model = nn.Linear(8, 8)
    first, second = applied(model, policy(), seed=one), applied(model, policy(), seed=other)
    assert same(first, second) == (one == other)


def test_he_and_xavier_of_one_seed_are_one_direction_at_two_scales() -> None:
    """The key holds no initializer's name: comparisons of laws compare scales, not luck."""
    model = nn.Linear(50, 40)
    he = applied(model, policy({"weight": {"name": "kaiming_normal", "gain": 2}}))["weight"]
    xavier = applied(model, policy({"weight": "xavier_normal"}))["weight"]
    assert torch.allclose(he / he.norm(), xavier / xavier.norm(), atol=1e-6)
    uniform = applied(model, policy({"weight": "xavier_uniform"}))["weight"]
    wider = applied(model, policy({"weight": {"name": "uniform", "a": -9, "b": 9}}))["weight"]
    assert torch.allclose(uniform / uniform.norm(), wider / wider.norm(), atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_not_on_the_number_of_threads(threads: int) -> None:
    model = nn.Sequential(nn.Linear(300, 200), nn.Conv2d(16, 32, 3))
    asked = policy({"weight": "orthogonal", "bias": {"name": "normal", "std": 0.1}})
    expected = applied(model, asked)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert same(expected, applied(model, asked))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
