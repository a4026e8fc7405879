"""`InitPolicyCallback` and modules on the meta device (PL#20490, PL#17627)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning_parts import POLICY, QUIET, Data, make_module, make_trainer, same, state_of
from meta_parts import Rotary
from torch import nn

from initpolicy import ApplyError, InitPolicyCallback, apply_policy

pytestmark = QUIET

NAMESPACES = ("pytorch_lightning", "lightning.pytorch")
EVERYTHING = {**POLICY, "rules": {"all": {"init": {"weight": {"name": "normal", "std": 0.5}, "bias": 0.25}}}}


@pytest.fixture(params=NAMESPACES)
def pl(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))


def meta_module(pl: ModuleType, built_in: str = "configure_model", make: Callable[[], nn.Module] = layers) -> Any:
    """One whose layers come on meta from ``__init__`` or the named hook."""
    module = make_module(pl, built_in="unused")

    class Net(type(module)):  # type: ignore[misc]
        net: Any

        def build(self, stage: str = "") -> None:
            if self.net is None:
                with torch.device("meta"):
                    self.net = make()
            self.builds = getattr(self, "builds", 0) + 1

    setattr(Net, built_in, Net.build)
    net = Net()
    if built_in == "unused":
        net.build()
    return net


def expected(policy: Any = EVERYTHING) -> dict[str, torch.Tensor]:
    """What `apply_policy` gives a module that was built as usual."""
    usual = nn.ModuleDict({"net": layers()})
    apply_policy(usual, policy)
    return state_of(usual)


@pytest.mark.parametrize("built_in", ["configure_model", "setup", "unused"])
def test_a_module_on_meta_is_fitted_from_the_policys_values(pl: ModuleType, tmp_path: Path, built_in: str) -> None:
    callback = InitPolicyCallback(EVERYTHING)
    module = meta_module(pl, built_in)
    make_trainer(pl, tmp_path, callback).fit(module, Data())
    assert same(module.at_start, expected())
    assert callback.audit is not None
    assert callback.audit.totals == {"initialized": 6}
    assert [param is given for param, given in zip(module.parameters(), module.given, strict=True)] == [True] * 6
    assert not same(module.at_start, state_of(module))  # it was trained
    assert "configure_model" not in vars(module)


def test_it_is_applied_once_and_a_second_fit_goes_on(pl: ModuleType, tmp_path: Path, caplog: Any) -> None:
    callback = InitPolicyCallback(EVERYTHING)
    module = meta_module(pl)
    with caplog.at_level(logging.INFO, "initpolicy"):
        make_trainer(pl, tmp_path, callback).fit(module, Data())
        after = state_of(module)
        make_trainer(pl, tmp_path, callback).fit(module, Data())
    assert same(module.at_start, after)
    said = [record.getMessage().splitlines()[0] for record in caplog.records if record.name == "initpolicy"]
    assert len(said) == 2
    assert said[0].startswith("tiny: seed 3, fingerprint ")
    assert said[1] == "tiny: not applied: it was at an earlier fit of this module"


def test_two_callbacks_take_a_part_each(pl: ModuleType, tmp_path: Path) -> None:
    callbacks = [InitPolicyCallback(EVERYTHING, module=f"net.{index}", seed=index) for index in range(3)]
    module = meta_module(pl)
    make_trainer(pl, tmp_path, *callbacks).fit(module, Data())
    usual = layers()
    for index in range(3):
        apply_policy(usual[index], EVERYTHING, seed=index)
    assert same(module.at_start, {f"net.{name}": value for name, value in state_of(usual).items()})


def test_a_checkpoint_is_loaded_into_a_module_on_meta(pl: ModuleType, tmp_path: Path) -> None:
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(EVERYTHING))
    module = meta_module(pl)
    trainer.fit(module, Data())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    callback, again = InitPolicyCallback(EVERYTHING, seed=9), meta_module(pl)
    make_trainer(pl, tmp_path, callback, max_epochs=2).fit(
        again, Data(), ckpt_path=tmp_path / "one.ckpt", weights_only=False
    )
    assert callback.audit is None
    assert same(again.at_start, state_of(module))


def test_a_buffer_that_cannot_be_rebuilt_ends_the_fit_with_its_name(pl: ModuleType, tmp_path: Path) -> None:
    module = meta_module(pl, make=lambda: nn.Sequential(nn.Linear(4, 4), Rotary(4)))
    with pytest.raises(ApplyError) as caught:
        make_trainer(pl, tmp_path, InitPolicyCallback(POLICY)).fit(module, Data())
    assert str(caught.value).splitlines()[0] == (
        "tiny: net.1.inv_freq: is a buffer on the meta device which Rotary cannot rebuild: it has no reset_parameters()"
    )
    assert all(param.is_meta for param in module.parameters())
    assert not {"cpu", "configure_model"} & vars(module).keys()


def test_a_module_that_is_not_on_meta_is_applied_to_when_fit_starts(pl: ModuleType, tmp_path: Path) -> None:
    seen: list[bool] = []

    class Looks(pl.Callback):  # type: ignore[name-defined,misc]
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append(bool((pl_module.net[2].bias == 0.25).all()))

    module = make_module(pl, built_in="configure_model")
    before: list[torch.Tensor] = []
    build = type(module).configure_model

    def configure_model(self: Any) -> None:
        build(self)
        before.append(self.net[2].bias.detach().clone())

    type(module).configure_model = configure_model
    make_trainer(pl, tmp_path, Looks(), InitPolicyCallback(POLICY)).fit(module, Data())
    assert seen == [True]
    assert float(before[0]) != 0.25
