"""Names, ancestors and classes are those of what is wrapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from surveyed import module_names, names, seen
from torch import nn
from torch._C._distributed_c10d import HashStore
from torch.distributed._composable.replicate import replicate
from torch.distributed._composable.replicate_with_fsdp import replicate as replicate_sharded
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper, offload_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

from initpolicy.facts.locate import locate
from initpolicy.facts.survey import survey_model

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
"""torch.compile imports scripted functions of torch's own."""


@pytest.fixture(scope="module")
def one_process() -> Iterator[None]:
    """A process group of one, so that distributed wrappers can be made."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Embedding(5, 2))


def fsdp(module: nn.Module) -> nn.Module:
    """The wrapper without its constructor, which needs an accelerator."""
    wrapper = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper._fsdp_wrapped_module = module
    return wrapper


WRAPPED: dict[str, Callable[[nn.Module], Any]] = {
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "FullyShardedDataParallel": fsdp,
    "CheckpointWrapper": checkpoint_wrapper,
    "OffloadWrapper": offload_wrapper,
    "OptimizedModule": torch.compile,  # compiles when it is called
    "AveragedModel": AveragedModel,
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("place", ["", "1", "1.0"])
def test_peft2962_modalities460_a_wrapper_changes_no_name_and_no_ancestor(wrapper: str, place: str) -> None:
    model = plain()
    expected = seen(survey_model(model))
    wrapped = WRAPPED[wrapper](model.get_submodule(place))
    assert type(wrapped).__name__ == wrapper
    if place:
        model.set_submodule(place, wrapped)
    else:
        model = wrapped
    facts = survey_model(model)
    assert seen(replace(facts, params=tuple(replace(p, path=p.name) for p in facts.params))) == expected
    for param in facts.params:
        assert locate(model, param.path)[0].get_parameter(param.sites[0].local) is model.get_parameter(param.path)


@pytest.mark.usefixtures("one_process")
def test_wrappers_of_wrappers_go_too() -> None:
    model = plain()
    expected = names(model), module_names(model)
    model.set_submodule("1", checkpoint_wrapper(offload_wrapper(model.get_submodule("1"))))
    wrapped = nn.parallel.DistributedDataParallel(torch.compile(model))
    assert (names(wrapped), module_names(wrapped)) == expected
    path = "module._orig_mod.1._checkpoint_wrapped_module._checkpoint_wrapped_module.0.weight"
    assert survey_model(wrapped).params[2].path == path


def test_compiling_in_place_changes_nothing() -> None:
    model = plain()
    expected = seen(survey_model(model))
    model.compile()
    assert seen(survey_model(model)) == expected


class Net(nn.Module):
    """Children that are named like wrappers' are children."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)
        self._orig_mod = nn.ModuleDict({"module": nn.Linear(2, 2, bias=False)})


def test_mup_strip_only_a_wrappers_class_drops_a_segment() -> None:
    """A child named ``module`` keeps its name, and so does one whose name is made of the prefix's letters."""
    model = nn.Sequential()
    model.add_module("model", Net())
    expected = ["model.module.weight", "model.module.bias", "model._orig_mod.module.weight"]
    assert names(model) == expected
    assert names(nn.DataParallel(model)) == expected


class WithHead(nn.DataParallel[nn.Module]):
    """A wrapper that holds more than it wraps: two names would be one without its segment."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.weight = nn.Linear(2, 2, bias=False)


class Silent(nn.DataParallel[nn.Module]):
    """A wrapper by descent."""


def test_a_wrapper_that_holds_more_than_it_wraps_is_a_module_of_its_own() -> None:
    assert names(Silent(nn.Linear(2, 2))) == ["weight", "bias"]
    assert names(WithHead(nn.Linear(2, 2))) == ["module.weight", "module.bias", "weight.weight"]


@pytest.mark.usefixtures("one_process")
def test_fsdp2_a_sharded_module_keeps_its_class_and_a_parameter_its_global_shape() -> None:
    model = plain()
    expected = [(m.name, m.classes) for m in survey_model(model).modules]
    parametrizations.weight_norm(model.get_submodule("0"))
    mesh = init_device_mesh("cpu", (1,))
    for module in (model.get_submodule("0"), model.get_submodule("1.0"), model):
        fully_shard(module, mesh=mesh)
    assert type(model.get_submodule("0")).__name__ == "FSDPParametrizedLinear"
    facts = survey_model(model)
    assert [(m.name, m.classes) for m in facts.modules] == expected
    assert [(p.name, p.shape) for p in facts.params] == [
        ("0.weight", (4, 3)), ("0.bias", (4,)), ("1.0.weight", (4, 4, 3, 3)), ("1.0.bias", (4,)), ("2.weight", (5, 2)),
    ]  # fmt: skip
    assert facts.params[0].sites[0].layout.known


@pytest.mark.usefixtures("one_process")
def test_a_replicated_module_keeps_its_class() -> None:
    """Of two kinds, each of which puts a class of its own in the place of the module's."""
    plain, copied, sharded = (nn.Linear(2, 2) for _ in range(3))
    replicate(copied)
    replicate_sharded(sharded, mesh=init_device_mesh("cpu", (1,)))
    assert [type(layer).__name__ for layer in (copied, sharded)] == ["DDPLinear", "ReplicateLinear"]
    found = [survey_model(layer).modules[0].classes for layer in (plain, copied, sharded)]
    assert found == [found[0]] * 3


def test_what_fsdp1_flattened_is_refused_with_the_remedy() -> None:
    layer = nn.Linear(2, 2)
    layer.weight._fsdp_flattened = True  # type: ignore[attr-defined]  # as FullyShardedDataParallel does
    weight, bias = survey_model(fsdp(layer)).params
    remedy = "apply before wrapping, or inside initpolicy.integrations.distributed.gathered(model)"
    assert weight.untouchable == f"flattened by FullyShardedDataParallel; {remedy}"
    assert bias.untouchable == ""
