"""Buffers on meta: rebuilt by a reset, by a new owner, or by what the program gives; else an error that names them."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import everything, policy
from meta_parts import OR_ELSE, REMEDY, Rotary, on_meta, refused, tensors_of
from torch import Tensor, nn

from initpolicy import apply_policy, materialize
from initpolicy.meta.resets import METHODS

ASKED = policy()


class Masked(nn.Module):
    """Rebuilds its buffers, with a weight, a child and a random buffer of its own."""

    mask: Tensor
    index: Tensor
    flags: Tensor

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)
        self.weight = nn.Parameter(torch.empty(size, size))
        self.register_buffer("mask", torch.empty(size, size))
        self.register_buffer("index", torch.empty(size, dtype=torch.int64), persistent=False)
        self.register_buffer("flags", torch.empty(size, dtype=torch.bool))
        self.table = torch.empty(2, size)
        self.resets = 0
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.resets += 1
        self.inner.reset_parameters()
        nn.init.trunc_normal_(self.weight)
        nn.init.zeros_(self.weight[0].detach())
        with torch.no_grad():
            self.weight[1] = 3
        self.mask.copy_(torch.full(self.mask.shape, float("-inf"), device=self.weight.device).triu(1))
        self.index = torch.arange(len(self.index), device=self.weight.device)
        self.flags.fill_(True)
        self.table.copy_(torch.ones(2, len(self.index)))


def test_a_reset_makes_buffers_again_and_touches_nothing_else() -> None:
    model, usual = nn.Sequential(on_meta(Masked), nn.Linear(3, 3)), nn.Sequential(Masked(), nn.Linear(3, 3))
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    materialize(model, ASKED)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]
    apply_policy(usual, ASKED)
    assert everything(model) == everything(usual)
    assert model[0].resets == 1
    assert set(model[0]._non_persistent_buffers_set) == {"index"}


def test_a_reset_runs_on_the_cpu_whatever_the_default_device() -> None:
    model, usual = on_meta(Masked), Masked()
    with torch.device("meta"):
        materialize(model, ASKED)
    apply_policy(usual, ASKED)
    assert everything(model) == everything(usual)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_that_resets(method: str) -> None:
    class Resets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.empty((), dtype=torch.int64))

    setattr(Resets, method, lambda self, value=5: self.steps.fill_(value))
    model = on_meta(Resets)
    materialize(model, ASKED)
    assert int(model.get_buffer("steps")) == 5


def test_a_module_above_may_reset_what_its_parts_cannot() -> None:
    class Above(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rotary = nn.Sequential(Rotary(4))

        def reset_parameters(self) -> None:
            self.rotary[0].get_buffer("inv_freq").fill_(0.25)

    model: Any = nn.Sequential(on_meta(Above))
    materialize(model, ASKED)
    assert model[0].rotary[0].inv_freq.tolist() == [0.25, 0.25]


def test_a_random_buffer_follows_from_the_seed_and_its_name_alone() -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("noise", torch.empty(4))
            self.reset_parameters()

        def reset_parameters(self) -> None:
            self.get_buffer("noise").normal_()

    def noise(seed: int, *others: nn.Module) -> list[Any]:
        model = on_meta(
            lambda: nn.ModuleDict({**{str(i): m for i, m in enumerate(others)}, "a": Noise(), "b": Noise()})
        )
        torch.manual_seed(len(others))
        materialize(model, ASKED, seed=seed)
        return [model.get_buffer(f"{name}.noise").tolist() for name in "ab"]

    assert noise(1) == noise(1, Noise(), nn.Linear(2, 2))
    one, other = noise(1)
    assert one != other
    assert noise(2)[0] != one


class Follows(nn.Module):
    """A buffer that follows from a parameter, and one that counts on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("average", self.weight.detach().clone())
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def reset_parameters(self) -> None:
        self.get_buffer("average").copy_(self.weight.detach())
        self.get_buffer("calls").add_(1)


def test_what_a_reset_does_not_determine_is_an_error() -> None:
    why = "is a buffer on the meta device which resetting Follows does not determine"
    assert refused(on_meta(Follows), ASKED) == (
        f"test: average: {why}\ntest: calls: {why}\ntest: buffers: {REMEDY.format('average')}"
    )


def test_a_reset_that_raises_is_quoted() -> None:
    class Fails(Rotary):
        def reset_parameters(self) -> None:
            raise RuntimeError("not today")

    model = on_meta(lambda: nn.Sequential(Fails(4)))
    assert refused(model, ASKED) == (
        "test: 0.inv_freq: is a buffer on the meta device which Fails does not rebuild: "
        f"its reset raises RuntimeError: not today\ntest: buffers: {REMEDY.format('0.inv_freq')}"
    )


def test_a_reset_that_needs_arguments_is_not_called() -> None:
    class Needs(Rotary):
        def reset_parameters(self, base: float) -> None:
            raise AssertionError

    cannot = "is a buffer on the meta device which Needs cannot rebuild: it has no reset_parameters()"
    assert refused(on_meta(lambda: Needs(4)), ASKED) == (
        f"test: inv_freq: {cannot}\ntest: buffers: {REMEDY.format('inv_freq')}"
    )


# --- built anew ----------------------------------------------------------------------------------


def test_construct_builds_the_owner_anew() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), Rotary(8, base=500.0), nn.ModuleDict({"deep": Rotary(2)}))

    model, usual = on_meta(make), make()
    state = torch.get_rng_state()
    audit = materialize(model, ASKED, buffers="construct")
    assert torch.equal(torch.get_rng_state(), state)
    apply_policy(usual, ASKED)
    assert everything(model) == everything(usual)
    assert audit.ok
    assert not any(isinstance(module, Rotary) and "inv_freq" in module.state_dict() for module in model.modules())


class Config:
    width = 3


class Configured(nn.Module):
    def __init__(self, config: Config, *, scale: float = 2.0, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.config, self.scale = config, scale
        self.proj = nn.Linear(config.width, config.width, device=device, dtype=dtype)
        self.register_buffer("ramp", torch.arange(config.width, device=device, dtype=dtype) * scale)


def test_a_config_counts_and_where_a_module_lies_does_not() -> None:
    model = Configured(Config(), scale=0.5, device="meta")
    materialize(model, ASKED, buffers="construct")
    assert model.get_buffer("ramp").tolist() == [0, 0.5, 1]
    assert model.config.width == 3


class Spends(nn.Module):
    """A constructor that uses up what it is given, and draws."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("noise", torch.randn(config.sizes.pop()))


def test_the_module_keeps_its_arguments_and_random_buffers_follow_from_the_seed() -> None:
    made: list[list[float]] = []
    for seed in (1, 1, 2):
        model = on_meta(lambda: Spends(SimpleNamespace(sizes=[3])))
        model.config.sizes.append(3)
        torch.manual_seed(len(made))
        materialize(model, ASKED, buffers="construct", seed=seed)
        assert model.config.sizes == [3]
        made.append(model.noise.tolist())
    assert made[0] == made[1] != made[2]


class Hides(Rotary):
    def __init__(self, dim: int, theta: float = 1.0, *more: int, **others: Any) -> None:
        super().__init__(dim)


class Halves(Rotary):
    def __init__(self, dim: int) -> None:
        super().__init__(dim // 2)


class Once(Rotary):
    built = False

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        if Once.built:
            raise RuntimeError("one is enough")
        Once.built = True


NOT_BUILT: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "arguments that are not shown": (
        lambda: Hides(4),
        "inv_freq",
        "Hides does not show the arguments theta, *more, **others that it was built with",
    ),
    "an argument that became another": (
        lambda: Halves(8),
        "inv_freq",
        "a Halves of the same dim has another dim, inv_freq.shape",
    ),
    "a constructor that raises": (lambda: Once(4), "inv_freq", "Once(dim) raises RuntimeError: one is enough"),
}


@pytest.mark.parametrize(("make", "name", "why"), NOT_BUILT.values(), ids=NOT_BUILT.keys())
def test_what_cannot_be_built_anew_is_named_with_the_reason(make: Callable[[], nn.Module], name: str, why: str) -> None:
    Once.built = False
    model = nn.Sequential(on_meta(make))
    cls = type(model[0]).__name__
    cannot = f"is a buffer on the meta device which {cls} cannot rebuild: it has no reset_parameters()"
    assert refused(model, ASKED, buffers="construct") == (
        f"test: 0.{name}: {cannot}, and {why}\n"
        f"test: buffers: give what the modules cannot rebuild: {OR_ELSE.format(f'0.{name}')}"
    )


def test_a_tensor_that_was_hung_on_later_is_not_in_a_new_module() -> None:
    model = on_meta(lambda: Rotary(4))
    model.scratch = torch.ones(3, device="meta")
    assert refused(model, ASKED, buffers="construct") == (
        "test: scratch: is a tensor on the meta device which Rotary cannot rebuild: it has no reset_parameters(), "
        "and a new Rotary has no such tensor\n"
        f"test: buffers: give what the modules cannot rebuild: {OR_ELSE.format('scratch')}"
    )


# --- given by the program ------------------------------------------------------------------------


def test_a_mapping_gives_values_under_any_name() -> None:
    shared = on_meta(lambda: Rotary(4))
    model: Any = nn.ModuleDict({"one": shared, "other": shared, "last": on_meta(lambda: Rotary(2))})
    given = {"other.inv_freq": torch.tensor([1.0, 2.0], dtype=torch.float64), "last.inv_freq": torch.tensor([3.0])}
    materialize(model, ASKED, buffers=given)
    assert model["one"].inv_freq.tolist() == [1, 2]
    assert model["one"].inv_freq.dtype is torch.float32
    assert model["last"].inv_freq.data_ptr() != given["last.inv_freq"].data_ptr()


def test_a_callable_is_asked_for_what_no_reset_makes() -> None:
    model = on_meta(lambda: nn.Sequential(nn.BatchNorm1d(3), Rotary(4), Rotary(2)))
    asked: list[tuple[str, str, bool]] = []

    def give(name: str, owner: nn.Module, buffer: Tensor) -> Tensor:
        asked.append((name, type(owner).__name__, buffer.is_meta))
        return torch.full(buffer.shape, 0.5)

    materialize(model, ASKED, buffers=give)
    assert asked == [("1.inv_freq", "Rotary", True), ("2.inv_freq", "Rotary", True)]
    assert model[1].inv_freq.tolist() == [0.5, 0.5]


def raises(name: str, owner: nn.Module, buffer: Tensor) -> Tensor:
    raise RuntimeError(f"no {name}")


CANNOT = "is a buffer on the meta device which Rotary cannot rebuild: it has no reset_parameters()"
GIVEN: dict[str, tuple[Any, str]] = {
    "nothing": (
        lambda *_: None,
        f"inv_freq: {CANNOT}, and for which your callable gives none\ntest: buffers: {REMEDY.format('inv_freq')}",
    ),
    "an error": (raises, "inv_freq: buffers: RuntimeError: no inv_freq"),
    "no tensor": (lambda *_: [1.0, 2.0], "inv_freq: gave list, not a tensor, for this buffer"),
    "another shape": (lambda *_: torch.ones(3), "inv_freq: gave shape (3,), not (2,), for this buffer"),
    "another kind": (
        lambda *_: torch.ones(2, dtype=torch.int64),
        "inv_freq: gave torch.int64, not torch.float32, for this buffer",
    ),
    "meta": (lambda *_: torch.ones(2, device="meta"), "inv_freq: gave a tensor on the meta device for this buffer"),
    "not a number": (lambda *_: torch.tensor([1.0, float("nan")]), "inv_freq: gave NaN for this buffer"),
    "a name that is not there": (
        {"inv_freq": torch.ones(2), "inv_frq": torch.ones(2)},
        "buffers.inv_frq: the model has no such meta buffer; did you mean 'inv_freq'?",
    ),
}


@pytest.mark.parametrize(("given", "message"), GIVEN.values(), ids=GIVEN.keys())
def test_what_is_given_must_fit(given: Any, message: str) -> None:
    assert refused(on_meta(lambda: Rotary(4)), ASKED, buffers=given) == f"test: {message}"


def test_infinities_are_meant() -> None:
    model = on_meta(lambda: Rotary(4))
    materialize(model, ASKED, buffers=lambda *_: torch.tensor([float("-inf"), 1.0]))
    assert model.get_buffer("inv_freq").tolist() == [float("-inf"), 1]


def test_buffers_stay_the_same_objects_and_shared_ones_shared() -> None:
    model = on_meta(lambda: nn.Sequential(Rotary(4), nn.BatchNorm1d(2)))
    model[0].alias = model[0].inv_freq
    model.register_buffer("third", model[0].inv_freq)
    before = {name: id(tensor) for name, tensor in tensors_of(model).items()}
    materialize(model, ASKED, buffers={"third": torch.ones(2)})
    assert {name: id(tensor) for name, tensor in tensors_of(model).items()} == before
    assert model[0].alias is model[0].inv_freq is model.third
    assert not any(tensor.is_meta for tensor in tensors_of(model).values())
