"""What is gathered for a policy, what is left out of a copy, and what the memory is like afterwards, in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed._composable.replicate import replicate
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.utils.parametrizations import weight_norm

from distributed.bench import Mlp
from initpolicy import ApplyError, apply_policy, survey
from initpolicy.facts.dataflow.isolate import isolate
from initpolicy.integrations.distributed import gathered

POLICY = {"name": "x", "seed": 1, "unmatched": "keep", "rules": {"all": {"init": {"*": "normal"}}}}


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def parted() -> tuple[nn.Module, dict[nn.Parameter, Tensor]]:
    """A layer as DeepSpeed's ZeRO-3 leaves it, and what it would gather."""
    layer = nn.Linear(3, 2)
    kept: dict[nn.Parameter, Tensor] = {}
    for param in layer.parameters():
        kept[param] = param.data.clone()
        param.ds_shape = param.shape  # type: ignore[attr-defined]
        param.data = torch.empty(0)
    return layer, kept


def test_what_zero3_parted_is_planned_in_its_whole_shape_and_gathered_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, kept = parted()
    asked: list[tuple[list[nn.Parameter], int]] = []

    @contextmanager
    def gather(params: list[nn.Parameter], modifier_rank: int) -> Iterator[None]:
        asked.append((params, modifier_rank))
        for param in params:
            param.data = kept[param]
        yield
        for param in params:
            kept[param] = param.data
            param.data = torch.empty(0)

    deepspeed = SimpleNamespace(zero=SimpleNamespace(GatheredParameters=gather))
    monkeypatch.setitem(sys.modules, "deepspeed", deepspeed)
    assert [param.shape for param in survey(layer).params] == [(2, 3), (2,)]
    with gathered(layer):
        audit = apply_policy(layer, POLICY)
    assert audit.totals == {"initialized": 2}
    assert [([id(param) for param in params], rank) for params, rank in asked] == [
        (list(map(id, layer.parameters())), 0)
    ]
    twin = nn.Linear(3, 2)
    apply_policy(twin, POLICY)
    assert all(
        torch.equal(kept[param], other) for param, other in zip(layer.parameters(), twin.parameters(), strict=True)
    )


def test_zero3_without_deepspeed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, _ = parted()
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(ApplyError) as caught, gathered(layer):
        pass
    assert str(caught.value) == (
        "gathered: model: its parameters are partitioned (ZeRO-3), and DeepSpeed, which gathers them, cannot be "
        "imported: import of deepspeed halted; None in sys.modules; remedy: pip install deepspeed"
    )


def test_other_models_are_left_as_they_are() -> None:
    layer = nn.Linear(3, 2)
    weight = layer.weight
    with gathered(layer):
        assert layer.weight is weight


class Named(nn.Module):
    """Is called by another method than forward, too, and has a hook of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.calls = 0
        self.register_forward_hook(Named.count)

    def count(self, given: Any, result: Any) -> None:
        self.calls += 1

    def encode(self, x: Tensor) -> Tensor:
        result: Tensor = torch.relu(self.layer(x))
        return result

    forward = encode


@pytest.mark.usefixtures("one_process")
def test_a_copy_has_the_authors_classes_hooks_and_whole_tensors_and_none_of_the_wrappers() -> None:
    mesh = init_device_mesh("cpu", (1,))
    model = nn.Sequential(Named(), weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4), Mlp())
    parallelize_module(model[3], mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    for layer in (model[0], model[1]):
        fully_shard(layer, mesh=mesh)
    register_fsdp_forward_method(model[0], "encode")
    replicate(model[2])
    classes = [type(module).__name__ for module in model.modules()]
    assert "FSDPNamed" in classes
    assert "FSDPParametrizedLinear" in classes
    assert "DDPLinear" in classes
    made = isolate(model).model
    assert [type(module).__name__ for module in made[:3]] == ["Named", "ParametrizedLinear", "Linear"]  # type: ignore[index]
    assert [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in made.modules()][1] == 1
    assert not any("encode" in vars(module) for module in made.modules())
    assert not any(isinstance(param, DTensor) for param in made.parameters())
    assert [param.shape for param in made.parameters()] == [param.shape for param in model.parameters()]
    assert [type(module).__name__ for module in model.modules()] == classes
    assert "encode" in vars(model[0])


@pytest.mark.usefixtures("one_process")
def test_methods_that_fully_shard_wraps_are_traced_as_their_author_wrote_them() -> None:
    model = nn.Sequential(Named(), nn.Linear(4, 2))
    fully_shard(model[0], mesh=init_device_mesh("cpu", (1,)))
    register_fsdp_forward_method(model[0], "forward")
    found = {param.name: param.sites[0].signal for param in survey(model, {"shape": [1, 4]}).params}
    assert [str(hit.activation) for hit in found["0.layer.weight"].following] == ["relu"]
    assert model[0].calls == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_memory_can_still_be_resized(dtype: torch.dtype) -> None:
    """``Tensor.numpy()`` ends that, and FSDP frees what it gathered by resizing it to nothing."""
    model = nn.Linear(300, 300, dtype=dtype)
    apply_policy(model, {"name": "x", "rules": {"all": {"init": {"weight": "normal", "bias": 0}}}}, seed=1)
    assert all(param.untyped_storage().resizable() for param in model.parameters())


@pytest.mark.gpu
def test_shards_on_a_gpu_have_the_cpus_bytes() -> None:
    dist.init_process_group("nccl", store=HashStore(), rank=0, world_size=1, device_id=torch.device("cuda:0"))
    try:
        twin, model = Mlp(), Mlp().cuda()
        for layer in (model.up, model.down, model.head, model):
            fully_shard(layer, mesh=init_device_mesh("cuda", (1,)))
        asked, options = "he_relu", {"seed": 1, "example_input": {"shape": [2, 8]}}
        audit = apply_policy(model, asked, **options)  # type: ignore[arg-type]
        assert audit.fingerprint == apply_policy(twin, asked, **options).fingerprint  # type: ignore[arg-type]
        for param, other in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(param.full_tensor().cpu(), other)  # type: ignore[attr-defined]
    finally:
        dist.destroy_process_group()
