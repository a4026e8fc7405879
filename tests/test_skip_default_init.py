"""`skip_default_init`: constructors that draw nothing, and nothing that stays without values."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from applying_parts import NORMAL, everything, policy, refusal
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from initpolicy import ApplyError, apply_policy, materialize, skip_default_init
from initpolicy.skip import was_skipped

BUILT: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
    "convolutions": lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ConvTranspose2d(3, 2, 3, groups=1)),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2),
    "lstm": lambda: nn.LSTM(3, 4),
    "embedding": lambda: nn.Embedding(5, 3, padding_idx=1),
    "bilinear": lambda: nn.Bilinear(2, 3, 4, dtype=torch.bfloat16),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 2)),
}


def nan(tensor: Tensor) -> bool:
    return bool(torch.isnan(tensor).all())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("make", BUILT.values(), ids=BUILT.keys())
def test_a_model_built_inside_gets_the_same_values(make: Callable[[], nn.Module]) -> None:
    usual = make()
    state = torch.get_rng_state()
    with skip_default_init():
        model = make()
    assert torch.equal(torch.get_rng_state(), state)
    assert any(torch.isnan(param).any() for param in model.parameters() if param.ndim > 1)
    audit = apply_policy(model, policy())
    assert audit == apply_policy(usual, policy())
    assert everything(model) == everything(usual)


LAWS: dict[str, Callable[[Tensor], object]] = {
    **{
        name: getattr(nn.init, name)
        for name in (
            "uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_",
            "kaiming_normal_",
        )
    },
    **{name: getattr(Tensor, name) for name in ("normal_", "uniform_", "exponential_", "cauchy_", "log_normal_")},
    "bernoulli_": lambda w: w.bernoulli_(0.5),
    "geometric_": lambda w: w.geometric_(0.5),
    "random_": lambda w: w.random_(3),
    "inverse": lambda w: w.uniform_(-0.9, 0.9).erfinv_().mul_(0.02).add_(1).sub_(1).div_(3).clamp_(min=-2).clip_(0, 1),
    ".data": lambda w: w.data.normal_(),
    ".detach()": lambda w: nn.init.normal_(w.detach()),
    "a view": lambda w: w.view(-1).normal_(),
    "its parts": lambda w: [nn.init.xavier_uniform_(part) for part in w.chunk(2)],
    "a transposed view": lambda w: nn.init.kaiming_normal_(w.t()),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_every_random_fill_of_a_parameter_is_skipped(law: Callable[[Tensor], object], dtype: torch.dtype) -> None:
    state = torch.get_rng_state()
    with skip_default_init(), torch.no_grad():
        weight = nn.Parameter(torch.empty(4, 3, dtype=dtype))
        law(weight)
    assert nan(weight.detach())
    assert was_skipped(weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_no_parameter_is_drawn() -> None:
    with skip_default_init():
        torch.manual_seed(3)
        buffer = torch.empty(3).normal_()
        from_numbers = nn.Parameter(torch.randn(3))
        integers = nn.Parameter(torch.empty(3, dtype=torch.int64), requires_grad=False)
        integers.random_(9)
        numbers = nn.Parameter(torch.empty(3, dtype=torch.complex64), requires_grad=False)
        numbers.normal_()
        nn.init.normal_(buffer[1:])
        orthogonal = nn.init.orthogonal_(nn.Parameter(torch.empty(3, 3)))
    torch.manual_seed(3)
    expected = torch.empty(3).normal_()
    assert torch.equal(from_numbers.detach(), torch.randn(3))
    assert torch.equal(integers, torch.empty(3, dtype=torch.int64).random_(9))
    assert torch.equal(numbers, torch.empty(3, dtype=torch.complex64).normal_())
    nn.init.normal_(expected[1:])
    assert torch.equal(buffer, expected)
    assert torch.allclose(orthogonal @ orthogonal.T, torch.eye(3), atol=1e-6)
    assert not any(was_skipped(tensor) for tensor in (buffer, from_numbers, integers, numbers, orthogonal))


class Ordered(nn.Module):
    """What a constructor does to a weight after it drew it."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.empty(3))
        self.scaled = nn.Parameter(torch.empty(3))
        self.parts = nn.Parameter(torch.empty(4))
        self.tail = nn.Parameter(torch.ones(4))
        self.copied = nn.Parameter(torch.empty(3))
        self.set = nn.Parameter(torch.empty(3))
        self.out = nn.Parameter(torch.empty(3))
        with torch.no_grad():
            self.constant.normal_().fill_(2).mul_(2)
            nn.init.normal_(self.scaled).add_(1)
            self.parts[:2].normal_()
            self.parts[2:] = 1
            self.parts.mul_(3)
            self.tail[:2].normal_()
            self.tail.mul_(5)
            nn.init.ones_(self.copied.normal_())
            self.copied.copy_(self.copied * 5).mul_(2)
            self.set.normal_()
            self.set.data = torch.ones(3)
            self.set.mul_(7)
            self.out.normal_()
            torch.add(torch.ones(3), 1, out=self.out.detach())
            self.out.mul_(2)


def test_what_follows_a_skipped_draw_counts() -> None:
    with skip_default_init():
        model = Ordered()
    values = {name: param.tolist() for name, param in model.named_parameters()}
    assert nan(model.scaled.detach())
    assert nan(model.parts[:2].detach())
    del values["scaled"]
    assert values.pop("parts")[2:] == [3, 3]
    assert values.pop("tail")[2:] == [5, 5]
    assert values == {"constant": [4] * 3, "copied": [10] * 3, "set": [7] * 3, "out": [4] * 3}


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own __init_subclass__
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func.__name__.partition(".")[0])
        return func(*args, **(kwargs or {}))


def test_what_a_law_does_to_its_draws_costs_nothing() -> None:
    """The inverse of the error function of 86 million NaN takes as long as drawing them does."""
    weight = nn.Parameter(torch.empty(4, 3))
    with skip_default_init(), torch.no_grad(), Operations() as operations:
        LAWS["inverse"](weight)
    assert [name for name in operations.seen if name != "detach"] == ["fill_"]


# --- nothing stays without values ----------------------------------------------------------------

WHY = "has no values, as skip_default_init() left them out: {}; {}"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"exclude": [{"type": "Linear"}]}, "excluded"),
        ({"rules": {"all": {"init": {"*": "keep"}}}}, "kept"),
        ({"rules": {"none": {"init": {"nothing": 0}}}}, "unmatched"),
        ({}, "frozen"),
        ({}, "skipped"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_parameter_that_no_rule_writes_is_an_error(options: dict[str, Any], status: str) -> None:
    with skip_default_init():
        model = nn.Linear(3, 2)
    model.requires_grad_(status != "frozen")
    if status == "skipped":
        for param in model.parameters():
            param._no_reinit = True  # type: ignore[attr-defined]
    remedy = "set frozen: init in the policy" if status == "frozen" else "add a rule for it"
    message = "\n".join(f"test: {name}: {WHY.format(status, remedy)}" for name in ("weight", "bias"))
    assert refusal(model, policy(**options)) == message
    with pytest.raises(ApplyError) as caught:
        materialize(model, policy(**options))
    assert str(caught.value) == message
    usual = nn.Linear(3, 2)
    model.load_state_dict(usual.state_dict())  # values from elsewhere are values
    apply_policy(model, policy(**options))
    assert everything(model) == everything(usual)


def test_a_copy_of_a_skipped_parameter_is_no_way_out() -> None:
    with skip_default_init():
        model = copy.deepcopy(nn.Linear(3, 2, bias=False))
    assert refusal(model, policy("keep")) == (
        "test: weight: holds values that are not finite and would keep them: kept; add a rule for it, "
        "or, if they are meant, set its attribute _no_reinit to True"
    )


def test_a_buffer_that_follows_from_a_skipped_parameter_is_an_error() -> None:
    class Averaged(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("average", self.weight.detach().clone())

    with skip_default_init():
        model = nn.Sequential(Averaged())
    assert refusal(model, policy()) == (
        "test: the buffer 0.average: holds NaN: it was computed from a parameter without values; "
        "build the model without skip_default_init()"
    )
    model[0].get_buffer("average").zero_()
    assert apply_policy(model, policy()).ok


# --- the scope -----------------------------------------------------------------------------------


def drawn() -> bool:
    return not nan(nn.Linear(3, 2).weight.detach())


def test_it_ends_with_its_block_however_that_ends() -> None:
    with skip_default_init():
        assert not drawn()
        with skip_default_init():
            assert not drawn()
        assert not drawn()
    assert drawn()

    def fails() -> None:
        with skip_default_init():
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert drawn()


def test_other_threads_draw() -> None:
    found: list[bool] = []
    with skip_default_init():
        thread = threading.Thread(target=lambda: found.append(drawn()))
        thread.start()
        thread.join()
        assert not drawn()
    assert found == [True]


def test_as_a_decorator_and_with_a_device() -> None:
    @skip_default_init()
    def build() -> nn.Module:
        return nn.Linear(3, 2)

    for _ in range(2):
        assert nan(build().get_parameter("weight").detach())
    with torch.device("meta"), skip_default_init():
        model = nn.Linear(3, 2)
    assert model.weight.is_meta
    assert materialize(model, policy()).ok


def test_lazy_modules_and_scripted_functions_can_be_built_inside() -> None:
    with skip_default_init():
        lazy = nn.LazyLinear(3)
        nn.init.normal_(nn.Parameter(torch.empty(0, 3)))
    lazy(torch.zeros(1, 2))
    assert not nan(lazy.weight.detach())


def test_nothing_is_left_behind_on_the_parameters() -> None:
    """`torch.utils.swap_tensors` takes no tensor that has weak references."""
    with skip_default_init():
        model = nn.Linear(3, 2, bias=False)
    torch.utils.swap_tensors(model.weight, nn.Parameter(torch.ones(2, 3)))  # type: ignore[no-untyped-call]
    assert model.weight.tolist() == [[1.0] * 3] * 2
    assert apply_policy(model, policy(NORMAL)).ok
