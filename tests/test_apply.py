"""The only writer: in place, once, all or nothing, and touching nothing else."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from applying_parts import NORMAL, bits, by_name, everything, policy, refusal
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from initpolicy import apply_policy, plan_policy
from initpolicy.apply import write
from initpolicy.errors import ApplyError
from initpolicy.initializers.base import Initializer
from initpolicy.streams import BLOCK, backends
from initpolicy.writing.drawing import CHUNK

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Holder(nn.Module):
    """A model of bare parameters."""

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name, tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor))


# --- in place, once ------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[torch.dtype], tuple[Tensor, Tensor]]] = {
    # what makes (the memory, the parameter in it)
    "contiguous": lambda dtype: (whole := torch.zeros(6, 5, dtype=dtype), whole),
    "transposed": lambda dtype: (whole := torch.zeros(5, 6, dtype=dtype), whole.T),
    "columns": lambda dtype: (whole := torch.zeros(6, 12, dtype=dtype), whole[:, 2:7]),
    "every other row": lambda dtype: (whole := torch.zeros(12, 5, dtype=dtype), whole[::2]),
    "at an offset": lambda dtype: (whole := torch.zeros(50, dtype=dtype), whole[7:37].view(6, 5)),
    "scalar": lambda dtype: (whole := torch.zeros((), dtype=dtype), whole),
    "scalar in a vector": lambda dtype: (whole := torch.zeros(3, dtype=dtype), whole[1]),
    "one element": lambda dtype: (whole := torch.zeros(1, dtype=dtype), whole),
    "channels last": lambda dtype: (
        whole := torch.zeros(4, 3, 5, 5, dtype=dtype).to(memory_format=torch.channels_last), whole
    ),
    "size one, expanded": lambda dtype: (whole := torch.zeros(3, 1, dtype=dtype), whole.expand(3, 1)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_any_layout_is_written_where_it_lies(make: Callable[[torch.dtype], Any], dtype: torch.dtype) -> None:
    whole, view = make(dtype)
    model = Holder(weight=nn.Parameter(view))
    param = model.get_parameter("weight")
    place = (id(param), param.data_ptr(), param.stride(), param.storage_offset(), param.untyped_storage().data_ptr())
    audit = apply_policy(model, policy())
    now = model.get_parameter("weight")
    assert place == (id(now), now.data_ptr(), now.stride(), now.storage_offset(), now.untyped_storage().data_ptr())
    assert param.requires_grad
    assert param.is_leaf
    assert param.grad is None
    assert param.dtype == dtype
    twin = Holder(weight=torch.zeros(view.shape))
    apply_policy(twin, policy())
    assert torch.equal(param.detach(), twin.get_parameter("weight").detach().to(dtype))
    outside = whole.clone()
    torch.as_strided(outside, view.shape, view.stride(), view.storage_offset()).zero_()
    assert not outside.any()  # nothing beside the parameter was written
    assert by_name(audit)["weight"].verdict == "ok"


def test_drawn_in_float32_then_cast() -> None:
    single = Holder(weight=torch.zeros(400, 30))
    apply_policy(single, policy())
    drawn = single.get_parameter("weight").detach()
    for dtype in DTYPES:
        model = Holder(weight=torch.zeros(400, 30, dtype=dtype))
        apply_policy(model, policy())
        assert torch.equal(model.get_parameter("weight").detach(), drawn.to(dtype))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3)])
@pytest.mark.parametrize("spec", [NORMAL, 0.5, {"name": "eye"}, {"name": "orthogonal"}, {"name": "normal", "split": 2}])
def test_nothing_to_write_in_an_empty_tensor(shape: tuple[int, ...], spec: Any) -> None:
    model = Holder(weight=torch.zeros(shape))
    if isinstance(spec, dict) and spec["name"] in ("eye", "orthogonal") and len(shape) != 2:
        return
    audit = apply_policy(model, policy(spec))
    assert audit.ok
    [row] = audit.rows
    assert (row.status, row.mean, row.verdict) == ("initialized", None, "")


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own has no types
    """Counts the elements of given tensors that are written in place, and refuses any other operation that mutates."""

    def __init__(self, watched: dict[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.where = {name: (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for name, t in watched.items()}
        self.count = dict.fromkeys(watched, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument, given in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(given, Tensor):
                for name, (start, stop) in self.where.items():
                    if start <= given.data_ptr() < stop:
                        assert func is torch.ops.aten.copy_.default, func
                        self.count[name] += given.numel()
        return func(*args, **(kwargs or {}))


def test_hf21431_one_write_a_parameter() -> None:
    """Each element of what is initialized once, by an in-place copy; nothing of the others."""
    model = nn.Sequential(
        nn.Linear(40, 30), nn.LSTM(6, 5), nn.MultiheadAttention(8, 2), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
    )
    model[4].requires_grad_(False)
    asked = policy(
        {"*": NORMAL, "weight_*": {"name": "orthogonal", "split": "gates"}, "in_proj*": {**NORMAL, "split": 3}}
    )
    watched = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with Writes(watched) as writes:
        audit = apply_policy(model, asked)
    rows = by_name(audit)
    assert writes.count == {
        name: tensor.numel() if name in rows and rows[name].status == "initialized" else 0
        for name, tensor in watched.items()
    }


def test_mmengine_log_version_counters_tell_one_write_and_none() -> None:
    """A change of the mean is a guess; torch's own counter knows, equal values or not."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[1].requires_grad_(False)
    versions = {name: tensor._version for name, tensor in model.state_dict(keep_vars=True).items()}
    for _ in range(2):
        apply_policy(model, policy(0.5, exclude=[{"name": "^2$"}]))
    now = {name: tensor._version - versions[name] for name, tensor in model.state_dict(keep_vars=True).items()}
    assert now == {name: 2 * name.startswith("0.") for name in versions}


@pytest.mark.parametrize(("many", "writes"), [(10**9, 3), (0, 1)], ids=["NumPy, chunk by chunk", "Numba, in place"])
def test_a_large_tensor_is_filled_piece_by_piece(many: int, writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MANY", many)
    model = Holder(weight=torch.zeros(2 * CHUNK + BLOCK + 5))
    before = model.get_parameter("weight")._version
    apply_policy(model, policy({"name": "uniform", "a": -1, "b": 1}))
    values = model.get_parameter("weight").detach()
    assert model.get_parameter("weight")._version - before == writes
    assert float(values.abs().min()) > 0  # zeros are no uniform draws, so every element was reached
    short = Holder(weight=torch.zeros(BLOCK + 9))
    apply_policy(short, policy({"name": "uniform", "a": -1, "b": 1}))
    assert torch.equal(values[: BLOCK + 9], short.get_parameter("weight").detach())


def test_mmcv1217_nncf327_gradients_and_the_optimizers_parameters_stay() -> None:
    """The optimizer holds the very parameters that are written."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.ones(1, 3)).sum().backward()
    grads = {name: (param.grad, bits(param.grad)) for name, param in model.named_parameters() if param.grad is not None}
    apply_policy(model, policy(0.5))
    for name, param in model.named_parameters():
        assert param.grad is grads[name][0]
        assert bits(param.grad) == grads[name][1]
        assert param.grad_fn is None
    optimizer.step()
    assert torch.equal(model.weight.detach(), torch.full((2, 3), -0.5))


def test_a_graph_from_before_the_write_is_not_used_in_silence() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    loss = model(torch.ones(1, 3)).sum()
    apply_policy(model, policy())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inside_other_modes_of_torch() -> None:
    expected = nn.Linear(3, 2)
    apply_policy(expected, policy())
    modes: list[Callable[[], Any]] = [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.device("meta"),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.enable_grad,
    ]
    for mode in modes:
        model = nn.Linear(3, 2)
        with mode():
            apply_policy(model, policy())
        assert everything(model) == everything(expected)
    with torch.inference_mode():
        made_inside = nn.Linear(3, 2)
        apply_policy(made_inside, policy())
        assert everything(made_inside) == everything(expected)


def test_the_default_dtype_and_device_change_nothing() -> None:
    expected = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10))
    asked = policy({"*": {"name": "orthogonal"}, "bias": {"name": "formula", "value": "z * 0.1"}})
    audit = apply_policy(expected, asked)
    model = copy.deepcopy(expected)
    for param in model.parameters():
        param.data.zero_()
    torch.set_default_dtype(torch.float64)
    try:
        assert apply_policy(model, asked) == audit
    finally:
        torch.set_default_dtype(torch.float32)
    assert everything(model) == everything(expected)


# --- what stays as it is -------------------------------------------------------------------------


class Odd(nn.Module):
    """One parameter of each kind that is not to be written, and one that is."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.randn(3))
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.integers = nn.Parameter(torch.arange(3, dtype=torch.int8), requires_grad=False)
        self.complex = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.eight = nn.Parameter(torch.randn(3).to(torch.float8_e4m3fn), requires_grad=False)
        self.marked = nn.Parameter(torch.tensor([1.0, float("-inf"), 2.0]))
        self.marked._no_reinit = True  # type: ignore[attr-defined]
        self.spared = nn.Linear(2, 2)
        self.register_buffer("mean", torch.randn(3))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("scratch", torch.randn(3), persistent=False)


def test_hf39366_hf45591_flashlinearattention754_what_stays_and_why() -> None:
    model = Odd()
    before = everything(model)
    audit = apply_policy(model, policy(exclude=[{"name": "^spared$"}]))
    assert {row.name: (row.status, row.reason) for row in audit.rows} == {
        "free": ("initialized", ""),
        "frozen": ("frozen", "does not require gradients"),
        "integers": ("skipped", "not floating point"),
        "complex": ("skipped", "complex numbers are not drawn"),
        "eight": ("skipped", "float8_e4m3fn is not drawn, only float64, float32, bfloat16, float16"),
        "marked": ("skipped", "marked _no_reinit"),
        "spared.weight": ("excluded", "exclude.0"),
        "spared.bias": ("excluded", "exclude.0"),
    }
    after = everything(model)
    assert {name for name in before if before[name] != after[name]} == {".free"}


def test_frozen_parameters_are_written_where_the_policy_says_so() -> None:
    model = nn.Linear(3, 2).requires_grad_(False)
    audit = apply_policy(model, policy(0.5, frozen="init"))
    assert audit.totals == {"initialized": 2}
    assert torch.equal(model.weight, torch.full((2, 3), 0.5))
    assert not model.weight.requires_grad


def test_buffers_are_never_touched() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 4))
    for tensor in model.buffers():
        tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(9))
    before = {name: (id(tensor), tensor._version, bits(tensor)) for name, tensor in model.named_buffers()}
    apply_policy(model, policy())
    assert before == {name: (id(tensor), tensor._version, bits(tensor)) for name, tensor in model.named_buffers()}


def test_a_kept_block_of_a_tensor_stays() -> None:
    model = Holder(weight=torch.randn(4, 3))
    before = model.get_parameter("weight").detach().clone()
    audit = apply_policy(model, policy({"name": "blocks", "parts": [0.5, "keep"]}))
    after = model.get_parameter("weight").detach()
    assert torch.equal(after[:2], torch.full((2, 3), 0.5))
    assert torch.equal(after[2:], before[2:])
    assert by_name(audit)["weight"].verdict == "ok"


def test_a_part_of_a_model_by_itself() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(3, 3), "head": nn.Linear(3, 2)})
    head = {name: bits(param) for name, param in model["head"].named_parameters()}
    audit = apply_policy(model["encoder"], policy())
    assert [row.name for row in audit.rows] == ["weight", "bias"]
    assert head == {name: bits(param) for name, param in model["head"].named_parameters()}
    alone = nn.Linear(3, 3)
    apply_policy(alone, policy())
    assert everything(alone) == everything(model["encoder"])


# --- tied, aliased, shared -----------------------------------------------------------------------


def test_a_tied_tensor_is_written_once_under_all_its_names() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10, bias=False)})
    model["head"].weight = model["embed"].weight
    before = model["head"].weight._version
    audit = apply_policy(model, policy())
    assert model["head"].weight._version == before + 1
    assert [(row.name, row.status, row.aliases) for row in audit.rows] == [
        ("embed.weight", "initialized", ("head.weight",)),
        ("head.weight", "tied", ()),
    ]
    assert model["head"].weight is model["embed"].weight


def test_a_tied_tensors_values_do_not_depend_on_which_name_comes_first() -> None:
    def tied(*order: str) -> nn.ModuleDict:
        layers = {"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10, bias=False)}
        layers["head"].weight = layers["embed"].weight
        return nn.ModuleDict({name: layers[name] for name in order})

    one, other = tied("embed", "head"), tied("head", "embed")
    apply_policy(one, policy())
    apply_policy(other, policy())
    assert bits(one.get_parameter("embed.weight")) == bits(other.get_parameter("embed.weight"))


def test_a_module_that_is_used_twice_is_written_once() -> None:
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    before = layer.weight._version
    audit = apply_policy(model, policy())
    assert layer.weight._version == before + 1
    assert audit.totals == {"initialized": 2, "tied": 2}


ONE_OR = "make them one parameter, or give each its own by clone()"


def test_memory_shared_behind_torchs_back_is_refused() -> None:
    """Two parameters over one storage would be written twice, and the second law would win in silence."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight.data = model[0].weight.data
    assert refusal(model, policy()) == f"test: 0.weight: shares memory with 1.weight; {ONE_OR}"
    model[1].weight.requires_grad_(False)  # the frozen one would change too
    assert refusal(model, policy()) == f"test: 0.weight: shares memory with 1.weight; {ONE_OR}"
    model[0].requires_grad_(False)
    assert apply_policy(model, policy({"bias": 0}, frozen="skip")).totals == {"frozen": 3, "initialized": 1}


def test_memory_shared_with_a_buffer_is_refused() -> None:
    model = nn.Linear(4, 4)
    model.register_buffer("start", model.weight.data[1:3])
    assert refusal(model, policy()) == f"test: weight: shares memory with the buffer start; {ONE_OR}"


def test_neighbours_in_one_storage_are_fine() -> None:
    """Flattened parameters (optimizers, RNNs on a GPU), and columns that lie between each other."""
    flat = torch.zeros(24)
    table = torch.zeros(4, 6)
    model = Holder(a=flat[:12].view(3, 4), b=flat[12:], c=table[:, :3], d=table[:, 3:], e=torch.zeros(0))
    assert apply_policy(model, policy()).ok
    for name, param in model.named_parameters():
        alone = Holder(**{name: torch.zeros(param.shape)})
        apply_policy(alone, policy())
        assert bits(param) == bits(alone.get_parameter(name))


# --- what is refused -----------------------------------------------------------------------------


class Wrapped(Tensor):
    """A tensor class of a user's own."""

    @staticmethod
    def __new__(cls, tensor: Tensor) -> Wrapped:
        made: Wrapped = Tensor._make_subclass(cls, tensor)
        return made


def inference() -> Tensor:
    with torch.inference_mode():
        return nn.Parameter(torch.zeros(3))


ONE_BY_ONE = "whose elements cannot be written one by one"
EXPANDED = "has elements that share memory, as expand() makes them; give it a clone() first"
META = "is on the meta device; initpolicy.materialize gives it memory and values in one pass"
REFUSED: dict[str, tuple[Callable[[], Tensor], str]] = {
    "meta": (
        lambda: torch.zeros(3, device="meta"),
        META,
    ),
    "expanded": (
        lambda: torch.zeros(1).expand(3),
        EXPANDED,
    ),
    "expanded rows": (
        lambda: torch.zeros(4, 1).expand(4, 3),
        EXPANDED,
    ),
    "windows": (
        lambda: torch.zeros(9).unfold(0, 3, 2),
        EXPANDED,
    ),
    "subclass": (
        lambda: Wrapped(torch.zeros(3)),
        f"is a Wrapped, {ONE_BY_ONE}; apply before it is sharded or converted, or exclude it",
    ),
    "sparse": (
        lambda: torch.zeros(3).to_sparse(),
        f"is stored as torch.sparse_coo, {ONE_BY_ONE}; exclude it",
    ),
    "inference": (
        inference,
        "was made under torch.inference_mode, where alone it can be written; build the model outside",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_written_is_refused_before_anything_is(make: Callable[[], Tensor], message: str) -> None:
    model = Holder(first=torch.randn(5), odd=make(), last=torch.randn(5))
    first, last = bits(model.get_parameter("first")), bits(model.get_parameter("last"))
    with pytest.raises(ApplyError) as caught:
        apply_policy(model, policy())
    assert str(caught.value) == f"test: odd: {message}"
    assert (first, last) == (bits(model.get_parameter("first")), bits(model.get_parameter("last")))
    audit = apply_policy(Holder(first=torch.randn(5)), policy())
    assert audit.ok


def test_all_that_cannot_be_written_is_named_at_once() -> None:
    model = Holder(a=torch.zeros(3, device="meta"), b=torch.zeros(2), c=torch.zeros(1).expand(3))
    model.b.requires_grad_(False)[0] = float("nan")  # type: ignore[operator]
    assert refusal(model, policy()) == (
        f"test: a: {META}\n"
        "test: b: holds values that are not finite and would keep them: frozen; set frozen: init in the policy, "
        "or, if they are meant, set its attribute _no_reinit to True\n"
        f"test: c: {EXPANDED}"
    )


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"exclude": [{"type": "Holder"}]}, "excluded"),
        ({"rules": {"all": {"init": {"*": "keep"}}}}, "kept"),
        ({"rules": {"none": {"init": {"bias": 0}}}}, "unmatched"),
        ({}, "frozen"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pl20490_pl17627_what_would_stay_unusable_is_refused(options: dict[str, Any], status: str) -> None:
    """Memory that to_empty left and no rule fills ends as NaN in training; and no one trains on meta."""
    remedy = "set frozen: init in the policy" if status == "frozen" else "add a rule for it"
    for value in ("nan", "inf", "-inf"):
        model = Holder(weight=torch.tensor([0.0, float(value)]))
        model.requires_grad_(status != "frozen")
        assert refusal(model, policy(**options)) == (
            f"test: weight: holds values that are not finite and would keep them: {status}; {remedy}, "
            "or, if they are meant, set its attribute _no_reinit to True"
        )
        model.get_parameter("weight")._no_reinit = True  # type: ignore[attr-defined]
        assert apply_policy(model, policy(**options)).ok
    model = Holder(weight=torch.zeros(2, device="meta"))
    model.requires_grad_(status != "frozen")
    assert refusal(model, policy(**options)) == (
        f"test: weight: is on the meta device and would stay there: {status}; {remedy}, or give it values first"
    )


def test_what_is_not_finite_is_written_over() -> None:
    model = Holder(weight=torch.full((5,), float("nan")))
    assert apply_policy(model, policy()).ok


def test_excluded_lazy_parameters_and_subclasses_stay_what_they_are() -> None:
    model = nn.ModuleDict({"lazy": nn.LazyLinear(3), "odd": Holder(w=nn.Parameter(Wrapped(torch.zeros(3))))})
    model["sparse"] = Holder(w=nn.Parameter(torch.zeros(3).to_sparse()))
    model["plain"] = nn.Linear(2, 2)
    audit = apply_policy(model, policy(exclude=[{"name": "lazy|odd|sparse"}]))
    assert audit.totals == {"excluded": 4, "initialized": 2}


def test_a_model_that_changed_since_it_was_planned() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    plan = plan_policy(model, policy())
    model[0].weight = nn.Parameter(torch.zeros(5, 5))
    with pytest.raises(ApplyError) as caught:
        write(plan, model, 1)
    assert str(caught.value) == "test: 0.weight: has shape (5, 5) now, but the plan was made for (2, 3); plan again"
    with pytest.raises(LookupError, match=r"^the model has no module at '0'; plan again$"):
        write(plan, nn.Sequential(), 1)


# --- errors from outside leave every byte --------------------------------------------------------


def user_initializer(**parts: Any) -> dict[str, Initializer]:
    return {"mine": Initializer(name="mine", law=lambda block, arguments: None, **parts)}


MAKERS: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
    "our own reason": (lambda *_: next(_raise(ValueError("needs luck"))), "needs luck"),
    "nan": (lambda s, b, a: np.full(b.shape, np.nan, np.float32), "gave values that are not finite"),
    "too few": (lambda s, b, a: np.zeros(2, np.float32), "gave 2 values for 6 elements"),
    "no array": (lambda *_: None, "AttributeError: 'NoneType' object has no attribute 'reshape'"),
}


def _raise(error: Exception) -> Iterator[None]:
    raise error
    yield


@pytest.mark.parametrize(("make", "message"), MAKERS.values(), ids=MAKERS.keys())
def test_a_users_initializer_that_fails_leaves_every_byte(make: Callable[..., Any], message: str) -> None:
    """It need not say that it is fallible: what is not ours is made before anything is written."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))
    asked = policy({"*": 0.5, "weight": {"name": "mine"}})
    assert refusal(model, asked, initializers=user_initializer(make=make)) == (
        f"test: 0.weight: mine: {message}\ntest: 1.weight: mine: {message}"
    )


def test_a_users_initializer_may_give_any_array() -> None:
    model = nn.Linear(3, 2)
    read_only = np.broadcast_to(np.float64(2.0), (2, 3))
    apply_policy(model, policy({"weight": {"name": "mine"}}), initializers=user_initializer(make=lambda *_: read_only))
    assert torch.equal(model.weight.detach(), torch.full((2, 3), 2.0))
    drawn = user_initializer(draw=lambda s, b, a, start, stop: np.arange(start, stop)[::-1])
    apply_policy(model, policy({"weight": {"name": "mine"}}), initializers=drawn)
    assert model.weight.tolist() == [[5, 4, 3], [2, 1, 0]]


def test_values_that_the_dtype_cannot_hold_are_refused(tmp_path: Path) -> None:
    model = Holder(weight=torch.zeros(2, 2, dtype=torch.float16), other=torch.zeros(2, 2))
    save_file({"weight": torch.full((2, 2), 1e6), "other": torch.full((2, 2), 1e6)}, tmp_path / "w.safetensors")
    asked = policy({"name": "pretrained", "path": str(tmp_path / "w.safetensors")})
    assert refusal(model, asked) == "test: weight: pretrained: gave values that are not finite in float16"
    model.weight = nn.Parameter(torch.zeros(2, 2))
    apply_policy(model, asked)
    assert torch.equal(model.weight.detach(), torch.full((2, 2), 1e6))


def test_a_users_function_that_fails_leaves_every_byte() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    asked = policy({"weight": {"call": f"{__name__}.only_wide_"}, "bias": NORMAL})
    assert refusal(model, asked, trusted=[__name__]) == f"test: 1.weight: {__name__}.only_wide_: ValueError: not wide"
    with pytest.raises(ApplyError) as caught:
        apply_policy(model, asked, trusted=__name__)
    assert len(caught.value.problems) == 1


class _OwnError(ValueError):
    pass


def only_wide_(tensor: Tensor) -> None:
    if tensor.shape[1] < 3:
        raise type("ValueError", (_OwnError,), {})("not wide")
    tensor.fill_(1)


# --- random state --------------------------------------------------------------------------------


def states() -> tuple[Any, ...]:
    numpy = np.random.get_state(legacy=False)
    return random.getstate(), repr(numpy), torch.get_rng_state().tolist()


def greedy_(tensor: Tensor) -> None:
    """Draws from every generator there is."""
    tensor.normal_().add_(random.random()).add_(float(np.random.rand()))


ASKED: dict[str, Any] = {
    "normal": NORMAL,
    "orthogonal": {"*": 0, "weight": {"name": "orthogonal"}},
    "formula": {"name": "formula", "value": "z"},
    "function": {"call": f"{__name__}.greedy_"},
}


@pytest.mark.parametrize("init", ASKED.values(), ids=ASKED.keys())
def test_pt73640_pt65049_the_global_random_state_is_untouched(init: Any) -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.orthogonal(nn.Linear(6, 3)),  # completes its basis with torch.randn
        nn.Linear(3, 3),
    )
    before = states()
    plan_policy(model, policy(init), trusted=[__name__])
    assert states() == before
    apply_policy(model, policy(init), trusted=[__name__])
    assert states() == before
    apply_policy(model, policy(init, seed=None), seed=5, trusted=[__name__])
    assert states() == before


def test_without_a_seed_one_number_is_drawn_and_recorded() -> None:
    models = [nn.Linear(4, 3) for _ in range(3)]
    python, numpy, _ = states()
    torch.manual_seed(11)
    first = apply_policy(models[0], policy(seed=None))
    state = torch.get_rng_state()
    torch.manual_seed(11)
    assert int(torch.randint(2**63 - 1, ())) == first.seed
    assert torch.equal(torch.get_rng_state(), state)
    assert (python, numpy) == states()[:2]
    assert {row.seed for row in first.rows} == {first.seed}
    second = apply_policy(models[1], policy(seed=None))
    assert second.seed != first.seed
    assert everything(models[1]) != everything(models[0])
    assert first.seed is not None
    again = apply_policy(models[2], policy(seed=first.seed))
    assert everything(models[2]) == everything(models[0])
    assert again == first


def test_a_seed_is_drawn_on_the_cpu_whatever_the_default_device() -> None:
    seeds = []
    for device in ("cpu", "meta"):
        model = nn.Linear(4, 3)
        torch.manual_seed(11)
        with torch.device(device):
            seeds.append(apply_policy(model, policy(seed=None)).seed)
    assert seeds[0] == seeds[1]


def test_the_plan_draws_no_seed() -> None:
    model = nn.Linear(3, 2)
    before = states()
    assert plan_policy(model, policy(seed=None)).seed is None
    assert states() == before


def test_a_seed_is_any_whole_number() -> None:
    models = [nn.Linear(4, 3) for _ in range(2)]
    apply_policy(models[0], policy(), seed=7)
    apply_policy(models[1], policy(), seed=np.int64(7))  # type: ignore[arg-type]  # as NumPy's own functions give it
    assert everything(models[0]) == everything(models[1])


# --- padding rows --------------------------------------------------------------------------------

SPLITS: dict[str, Any] = {
    "whole": NORMAL,
    "by rows": {**NORMAL, "split": 2},
    "by columns": {**NORMAL, "split": 2, "dim": 1},
    "blocks": {"name": "blocks", "parts": [0.5, NORMAL]},
    "orthogonal": {"name": "orthogonal"},
    "eye": {"name": "eye"},
    "formula": {"name": "formula", "value": "1 + i"},
}


@pytest.mark.parametrize("init", SPLITS.values(), ids=SPLITS.keys())
@pytest.mark.parametrize("row", [0, 5, -1])
def test_pt6411_fairseq4076_the_padding_row_stays_zero(init: Any, row: int) -> None:
    model = nn.ModuleList([nn.Embedding(8, 6, padding_idx=row), nn.EmbeddingBag(8, 6, padding_idx=row)])
    audit = apply_policy(model, policy(init))
    for weight in model.parameters():
        filled = weight.detach().any(dim=1)
        assert not filled[row]
        assert int(filled.sum()) == (len(filled) - 1 if init != SPLITS["eye"] else 6 - (row in range(6)))
    assert audit.ok
    assert {row_.reason for row_ in audit.rows} == {f"row {row % 8} (padding_idx) stays zero"}


def test_the_other_rows_are_what_they_would_be_without_a_padding_row() -> None:
    with_row, without = nn.Embedding(5, 4, padding_idx=2), nn.Embedding(5, 4)
    apply_policy(with_row, policy())
    apply_policy(without, policy())
    others = [0, 1, 3, 4]
    assert torch.equal(with_row.weight.detach()[others], without.weight.detach()[others])


# --- models of other kinds -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # old models are scripted
def test_the_same_values_scripted_compiled_or_wrapped() -> None:
    plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    scripted = torch.jit.script(copy.deepcopy(plain))
    compiled: Any = torch.compile(copy.deepcopy(plain))
    parallel = nn.DataParallel(copy.deepcopy(plain))
    apply_policy(plain, policy())
    for model in (scripted, compiled, parallel):
        apply_policy(model, policy())
        assert [bits(param) for param in model.parameters()] == [bits(param) for param in plain.parameters()]


class Noisy(nn.Module):
    """Draws from every generator on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        noise = random.random() + float(np.random.rand())
        return torch.relu(self.layer(x)) + torch.randn(4) + noise


def test_finding_activations_leaves_the_random_state_too() -> None:
    """Where the model is run to see what follows what."""
    model = Noisy()
    before = states()
    apply_policy(model, policy({"weight": "kaiming_normal"}), example_input=torch.zeros(2, 4))
    assert states() == before
    apply_policy(model, policy({"weight": "kaiming_normal"}))
    assert states() == before
