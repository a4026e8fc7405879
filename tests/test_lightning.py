"""`InitPolicyCallback`: once, at the right moment of fit, under both names of Lightning. Threads: see PL#…"""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_parts import BATCH, POLICY, QUIET, UNSEEDED, Data, make_module, make_trainer, same, state_of
from omegaconf import OmegaConf
from torch import nn
from torch.optim.swa_utils import AveragedModel

from initpolicy import ApplyError, InitPolicyCallback, PlanError, PolicyError, apply_policy, load_policy
from initpolicy.integrations import namespaces

pytestmark = QUIET

NAMESPACES = ("pytorch_lightning", "lightning.pytorch")


@pytest.fixture(params=NAMESPACES)
def pl(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


def fit(trainer: Any, module: Any, **options: Any) -> Any:
    trainer.fit(module, Data(), **options)
    return module


def expected(pl: ModuleType, module: str | None = None, **options: Any) -> dict[str, torch.Tensor]:
    """The weights that one call of `apply_policy` gives a module like ours."""
    twin = make_module(pl)
    apply_policy(twin if module is None else twin.get_submodule(module), POLICY, **options)
    return state_of(twin)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Our own lines, without Lightning's."""
    return [record.getMessage() for record in caplog.records if record.name == "initpolicy"]


# --- both namespaces (PL#20797, nvitop#112) ------------------------------------------------------


def test_pl20797_a_trainer_of_either_namespace_takes_it(pl: ModuleType, tmp_path: Path) -> None:
    callback = InitPolicyCallback(POLICY)
    assert isinstance(callback, pl.Callback)
    alone = pl.Trainer(callbacks=callback, logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    assert callback in alone.callbacks


@pytest.mark.parametrize(
    ("before", "after", "used"),
    [
        ("lightning.pytorch", "math", "lightning.pytorch"),  # what the user imported, and nothing else
        ("math", "math", "pytorch_lightning"),  # the dependency, where the user imported neither
        ("math", "lightning.pytorch", "pytorch_lightning lightning.pytorch"),  # imported after our class was made
    ],
)
def test_pl20797_only_the_namespace_in_use_is_imported(before: str, after: str, used: str) -> None:
    code = f"""if True:
        import sys, {before}
        from initpolicy import InitPolicyCallback
        import {after}
        namespaces = [name for name in {NAMESPACES} if name in sys.modules]
        print(*namespaces)
        callback = InitPolicyCallback("he_relu")
        assert all(isinstance(callback, sys.modules[name].Callback) for name in namespaces)
        assert issubclass(InitPolicyCallback, sys.modules[namespaces[0]].Callback)
        sys.modules[namespaces[-1]].Trainer(callbacks=callback, accelerator="cpu", logger=False)
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, used), done.stderr


def test_without_lightning_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMESPACES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(namespaces, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Lightning; remedy: pip install pytorch-lightning$"):
        namespaces.callback_bases()


def test_an_instance_and_a_subclass_of_a_user_can_be_pickled_and_copied() -> None:
    for cls in (InitPolicyCallback, Mine):
        callback = cls(POLICY, module="net", seed=4, trusted="pkg", log=False)
        for twin in (pickle.loads(pickle.dumps(callback)), copy.deepcopy(callback)):
            assert type(twin) is type(callback)
            assert isinstance(twin, cls)
            assert (twin.policy, twin.module, twin.seed, twin.trusted) == (load_policy(POLICY), "net", 4, ("pkg",))


def test_a_callback_that_was_used_is_pickled_without_the_module(pl: ModuleType, tmp_path: Path) -> None:
    """Lightning hangs the module's own ``log`` on every callback; our module is of a class that no pickle finds."""
    callback = InitPolicyCallback(POLICY)
    module = fit(make_trainer(pl, tmp_path, callback), make_module(pl))
    twin = pickle.loads(pickle.dumps(callback))
    assert (twin.audit, twin.state_dict()) == (callback.audit, callback.state_dict())
    module = make_module(pl)  # one that the copy has not seen
    fit(make_trainer(pl, tmp_path, twin), module)
    assert same(module.at_start, expected(pl))


class Mine(InitPolicyCallback):
    """At the top of a module, so that pickle finds it."""


def test_a_class_defined_before_a_namespace_was_imported_pickles_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late:
        pass

    bases = (*namespaces.callback_bases(), Late)
    monkeypatch.setattr(namespaces, "callback_bases", lambda: bases)
    callback = Mine(POLICY)
    assert isinstance(callback, Late)
    assert callback.state_key == "Mine{'module': None}"
    assert b"Late" not in pickle.dumps(callback)
    assert type(pickle.loads(pickle.dumps(callback))) is type(callback)


# --- when ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("built_in", ["__init__", "setup", "configure_model"])
def test_pl16170_applied_after_the_layers_are_built_and_before_training(
    pl: ModuleType, tmp_path: Path, built_in: str
) -> None:
    """The optimizer is made before on_fit_start, so it must hold the very parameters (mmcv#1217, nncf#327)."""
    callback = InitPolicyCallback(POLICY)
    module = make_module(pl, built_in)
    trainer = make_trainer(pl, tmp_path, callback)
    fit(trainer, module)
    assert same(module.at_start, expected(pl))
    assert callback.audit is not None
    assert [row.name for row in callback.audit.rows] == [name for name, _ in module.named_parameters()]
    [group] = trainer.optimizers[0].param_groups
    for held, given, now in zip(group["params"], module.given, module.parameters(), strict=True):
        assert held is given is now
    assert not same(state_of(module), module.at_start)  # and so it trains


def test_mmcv1217_parameters_and_their_storage_stay(pl: ModuleType, tmp_path: Path) -> None:
    module = make_module(pl, lr=0.0)
    before = {name: (id(param), param.data_ptr()) for name, param in module.named_parameters()}
    fit(make_trainer(pl, tmp_path, InitPolicyCallback(POLICY)), module)
    assert {name: (id(param), param.data_ptr()) for name, param in module.named_parameters()} == before
    assert same(state_of(module), expected(pl))


def test_pl17040_a_learning_rate_finder_starts_from_the_initialized_weights(pl: ModuleType, tmp_path: Path) -> None:
    """It runs in on_fit_start, before other callbacks, on weights that it saves and restores."""

    class Finder(pl.callbacks.LearningRateFinder):  # type: ignore[name-defined,misc]
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            self.found = state_of(pl_module)
            super().on_fit_start(trainer, pl_module)

    finder = Finder(num_training_steps=2, update_attr=False)
    module = make_module(pl)
    callback = InitPolicyCallback(POLICY)
    trainer = make_trainer(pl, tmp_path, finder, callback, enable_checkpointing=True, max_epochs=3)
    trainer.fit(module, Data())
    assert same(finder.found, expected(pl))
    assert same(module.at_start, expected(pl))
    assert callback.audit is not None


def test_pl2620_fit_then_test_applies_once(pl: ModuleType, tmp_path: Path) -> None:
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(POLICY))
    module = fit(trainer, make_module(pl))
    trained = state_of(module)
    for evaluate in (trainer.validate, trainer.test):
        evaluate(module, Data(), verbose=False)
        assert same(state_of(module), trained)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_pl2620_evaluation_alone_applies_nothing(pl: ModuleType, tmp_path: Path, stage: str) -> None:
    callback = InitPolicyCallback(POLICY)
    module = make_module(pl)
    before = state_of(module)
    getattr(make_trainer(pl, tmp_path, callback), stage)(module, Data())
    assert same(state_of(module), before)
    assert callback.audit is None


def test_fit_twice_applies_once_to_each_module(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = InitPolicyCallback(POLICY)
    first, second = make_module(pl), make_module(pl)
    fit(make_trainer(pl, tmp_path, callback), first)
    fit(make_trainer(pl, tmp_path, callback), second)
    assert same(second.at_start, expected(pl))
    trained, audit = state_of(first), callback.audit
    with caplog.at_level(logging.INFO, "initpolicy"):
        fit(make_trainer(pl, tmp_path, callback), first)
    assert same(first.at_start, trained)
    assert callback.audit is audit
    assert said(caplog) == ["tiny: not applied: it was at an earlier fit of this module"]


def test_fast_dev_run_applies_and_leaves_no_file(pl: ModuleType, tmp_path: Path) -> None:
    module = fit(
        make_trainer(pl, tmp_path, InitPolicyCallback(POLICY), logger=True, fast_dev_run=True), make_module(pl)
    )
    assert same(module.at_start, expected(pl))
    assert list(tmp_path.rglob("init_audit*")) == []


# --- checkpoints (HF#46620, mmengine#1335) -------------------------------------------------------


@pytest.fixture
def trained(pl: ModuleType, tmp_path: Path) -> Path:
    """A checkpoint of a run that the policy initialized with another seed."""
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(POLICY, seed=8))
    fit(trainer, make_module(pl))
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    return tmp_path / "trained.ckpt"


class Late:
    """Mixed into a strategy, restores checkpoints after on_fit_start, as strategies that shard do."""

    restore_checkpoint_after_setup = True


def strategy(pl: ModuleType, late: bool) -> Any:
    bases = (Late, pl.strategies.SingleDeviceStrategy) if late else (pl.strategies.SingleDeviceStrategy,)
    return type("Strategy", bases, {})(torch.device("cpu"))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("through", ["argument", "attribute"])
def test_hf46620_a_checkpoint_is_never_overwritten(
    pl: ModuleType, tmp_path: Path, trained: Path, caplog: pytest.LogCaptureFixture, through: str, late: bool
) -> None:
    weights = torch.load(trained, weights_only=True)["state_dict"]
    callback = InitPolicyCallback(POLICY)
    trainer = make_trainer(pl, tmp_path, callback, max_epochs=2, strategy=strategy(pl, late))
    module = make_module(pl)
    caplog.clear()
    with caplog.at_level(logging.INFO, "initpolicy"):
        if through == "argument":
            fit(trainer, module, ckpt_path=trained)
        else:
            trainer.ckpt_path = str(trained)
            fit(trainer, module)
    assert same(module.at_start, weights)
    assert callback.audit is None
    assert said(caplog) == [f"tiny: not applied: fit was given the checkpoint {trained}"]
    # Nor when the same module is trained on without one.
    now = state_of(module)
    fit(make_trainer(pl, tmp_path, callback), module)
    assert same(module.at_start, now)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("sanity", [0, 1])
def test_a_strategy_that_restores_late_has_the_policy_applied_once_after_that(
    pl: ModuleType, tmp_path: Path, sanity: int, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    module = make_module(pl)
    trainer = make_trainer(
        pl, tmp_path, InitPolicyCallback(POLICY), strategy=strategy(pl, late), num_sanity_val_steps=sanity
    )
    with caplog.at_level(logging.INFO, "initpolicy"):
        trainer.fit(module, Data(), Data())
    assert same(module.at_start, expected(pl))
    assert not [message for message in said(caplog) if "not applied" in message]


def test_a_stale_checkpoint_path_does_not_count(pl: ModuleType, tmp_path: Path, trained: Path) -> None:
    callback = InitPolicyCallback(POLICY)
    trainer = make_trainer(pl, tmp_path, callback, max_epochs=2, strategy=strategy(pl, True))
    fit(trainer, make_module(pl), ckpt_path=trained)
    trainer.fit_loop.max_epochs = 3
    module = fit(trainer, make_module(pl))
    assert same(module.at_start, expected(pl))


@pytest.mark.parametrize("found", [True, False])
def test_the_last_checkpoint_counts_if_there_is_one(pl: ModuleType, tmp_path: Path, found: bool) -> None:
    last = pl.callbacks.ModelCheckpoint(tmp_path / "last", save_last=True)
    if found:
        fit(make_trainer(pl, tmp_path, last, enable_checkpointing=True), make_module(pl))
    last = pl.callbacks.ModelCheckpoint(tmp_path / "last", save_last=True)
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(POLICY), last, enable_checkpointing=True, max_epochs=2)
    module = make_module(pl)
    if found:
        with pytest.warns(UserWarning, match="exists and is not empty"):
            fit(trainer, module, ckpt_path="last")
    else:
        with pytest.warns(UserWarning, match="no last checkpoint available"):
            fit(trainer, module, ckpt_path="last")
    assert same(module.at_start, expected(pl)) is not found


def test_weights_loaded_for_a_test_are_not_for_fit_to_overwrite(
    pl: ModuleType, tmp_path: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(POLICY))
    module = make_module(pl)
    trainer.test(module, Data(), ckpt_path=trained, verbose=False)
    loaded = state_of(module)
    with caplog.at_level(logging.INFO, "initpolicy"):
        fit(trainer, module)
    assert same(module.at_start, loaded)
    assert said(caplog)[-1] == f"tiny: not applied: its weights were loaded from {trained}"


def test_the_checkpoint_holds_the_fingerprint_and_passes_it_on(pl: ModuleType, tmp_path: Path, trained: Path) -> None:
    audit = apply_policy(make_module(pl), POLICY, seed=8)
    record = {"policy": "tiny", "fingerprint": audit.fingerprint, "seed": 8}
    key = "InitPolicyCallback{'module': None}"
    assert torch.load(trained, weights_only=True)["callbacks"][key] == record
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(POLICY), max_epochs=2)
    fit(trainer, make_module(pl), ckpt_path=trained)
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    assert torch.load(tmp_path / "again.ckpt", weights_only=True)["callbacks"][key] == record


def test_a_checkpoint_that_no_policy_initialized_holds_none(pl: ModuleType, tmp_path: Path) -> None:
    plain = make_trainer(pl, tmp_path)
    fit(plain, make_module(pl))
    plain.save_checkpoint(tmp_path / "plain.ckpt")
    callback = InitPolicyCallback(POLICY)
    fit(make_trainer(pl, tmp_path, callback), make_module(pl))
    assert callback.state_dict()
    fit(make_trainer(pl, tmp_path, callback, max_epochs=2), make_module(pl), ckpt_path=tmp_path / "plain.ckpt")
    assert callback.state_dict() == {}
    assert callback.audit is None


# --- which part, which policy, which seed --------------------------------------------------------


@pytest.mark.parametrize("part", ["net", "net.2"])
def test_a_part_of_the_module(pl: ModuleType, tmp_path: Path, part: str) -> None:
    module = make_module(pl)
    before = state_of(module)
    callback = InitPolicyCallback(POLICY, module=part)
    fit(make_trainer(pl, tmp_path, callback), module)
    twin = expected(pl, part)
    for name, tensor in module.at_start.items():
        assert torch.equal(tensor, (twin if name.startswith(f"{part}.") else before)[name])
    assert callback.audit is not None
    assert [row.name for row in callback.audit.rows] == [n for n, _ in module.get_submodule(part).named_parameters()]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nte", "Net has no module 'nte'; did you mean 'net'?"),
        ("encoder", "Net has no module 'encoder'; it has net"),
        ("net.7", "Net.net has no module '7'; it has 0, 1, 2"),
        ("net.0.weight", "Net.net.0 has no module 'weight'; it has none"),
        ("", "Net has no module ''; it has net"),
    ],
)
def test_an_unknown_part_is_an_error(pl: ModuleType, tmp_path: Path, path: str, message: str) -> None:
    module = make_module(pl)
    before = state_of(module)
    with pytest.raises(PlanError) as caught:
        fit(make_trainer(pl, tmp_path, InitPolicyCallback(POLICY, module=path)), module)
    assert str(caught.value) == f"InitPolicyCallback: module={path!r}: {message}"
    assert same(state_of(module), before)


def test_two_callbacks_serve_two_parts_in_their_order(pl: ModuleType, tmp_path: Path) -> None:
    whole, head = InitPolicyCallback(POLICY), InitPolicyCallback(POLICY, module="net.2", seed=4)
    timer = pl.callbacks.Timer()
    trainer = make_trainer(pl, tmp_path, timer, whole, head)
    module = fit(trainer, make_module(pl))
    assert trainer.callbacks[:3] == [whole, head, timer]
    assert same({**expected(pl), **_only(expected(pl, "net.2", seed=4), "net.2.")}, module.at_start)
    assert {path.name for path in tmp_path.iterdir()} == {"init_audit.all.csv", "init_audit.net.2.csv"}


def _only(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _sources(folder: Path) -> Sequence[Any]:
    path = folder / "tiny.yaml"
    OmegaConf.save(OmegaConf.create(POLICY), path)
    interpolated = OmegaConf.create({"init": POLICY, "callback": {"policy": "${init}"}})
    return (path, str(path), POLICY, OmegaConf.create(POLICY), interpolated.callback.policy, load_policy(POLICY))


def test_a_policy_in_any_form(tmp_path: Path) -> None:
    for source in _sources(tmp_path):
        assert InitPolicyCallback(source).policy == load_policy(POLICY)
    assert InitPolicyCallback("he_relu").policy == load_policy("he_relu")


def test_a_wrong_policy_is_an_error_when_the_callback_is_made() -> None:
    with pytest.raises(PolicyError, match=r"rules\.all\.ini: unknown key; did you mean 'init'\?"):
        InitPolicyCallback({"name": "bad", "rules": {"all": {"ini": {}, "init": {"weight": 0}}}})


def test_pt73640_with_a_seed_the_global_random_state_is_untouched(pl: ModuleType, tmp_path: Path) -> None:
    """Users rely on seed_everything: fitting with the callback leaves the generator where fitting without does."""
    states = []
    for callbacks in ([], [InitPolicyCallback(POLICY)], [InitPolicyCallback(UNSEEDED, seed=5)]):
        module = make_module(pl)
        torch.manual_seed(9)
        fit(make_trainer(pl, tmp_path, *callbacks), module)
        states.append(torch.get_rng_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_without_a_seed_one_is_drawn_from_torch_and_recorded(pl: ModuleType, tmp_path: Path) -> None:
    seeds = []
    for start in (9, 9, 10):
        callback = InitPolicyCallback(UNSEEDED)
        module = make_module(pl)
        torch.manual_seed(start)
        fit(make_trainer(pl, tmp_path, callback), module)
        assert callback.audit is not None
        seeds.append(callback.audit.seed)
        assert same(module.at_start, expected(pl, seed=callback.audit.seed))
    assert seeds[0] == seeds[1] != seeds[2]


def test_every_rank_draws_and_the_seed_of_rank_zero_counts() -> None:
    """Each draws, so that generators which were in step stay so (two processes: test_lightning_ddp.py)."""
    rank_one: Any = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda seed: 7))
    before = torch.get_rng_state()
    assert InitPolicyCallback(UNSEEDED)._seed(rank_one) == 7
    assert not torch.equal(torch.get_rng_state(), before)
    assert InitPolicyCallback(UNSEEDED, seed=0)._seed(rank_one) == 0
    assert InitPolicyCallback(POLICY)._seed(rank_one) == 3


# --- averaged models -----------------------------------------------------------------------------


def averaging(pl: ModuleType, **options: Any) -> Any:
    if not hasattr(pl.callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    return pl.callbacks.EMAWeightAveraging(**options)


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that overrides")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("built_in", ["__init__", "configure_model"])
def test_an_average_starts_from_the_initialized_weights(
    pl: ModuleType, tmp_path: Path, first: bool, built_in: str
) -> None:
    """It copies the module in setup, before the policy is applied; one that never updates must still be right."""
    ema, init = averaging(pl, update_starting_at_step=10**6), InitPolicyCallback(POLICY)
    module = make_module(pl, built_in)
    fit(make_trainer(pl, tmp_path, *((ema, init) if first else (init, ema))), module)
    assert same(module.at_start, expected(pl))
    assert same(state_of(module), expected(pl))  # the average replaced the trained weights


def test_an_average_goes_on_from_there(pl: ModuleType, tmp_path: Path) -> None:
    decay = 0.75
    module = make_module(pl)
    trainer = make_trainer(pl, tmp_path, averaging(pl, decay=decay), InitPolicyCallback(POLICY), max_epochs=2)
    trainer.fit(module, Data())
    twin = make_module(pl)
    apply_policy(twin, POLICY)
    average = AveragedModel(twin, avg_fn=lambda mean, now, _: decay * mean + (1 - decay) * now)
    optimizer = twin.configure_optimizers()
    for _ in range(2):
        optimizer.zero_grad()
        twin.training_step(BATCH).backward()
        optimizer.step()
        average.update_parameters(twin)
    for name, param in module.named_parameters():
        torch.testing.assert_close(param, average.module.get_parameter(name))


def test_an_average_of_half_a_module_is_refused(pl: ModuleType, tmp_path: Path) -> None:
    """Layers that setup builds are not in the copy, which Lightning would go on to average wrongly."""
    with pytest.raises(ApplyError) as caught:
        fit(make_trainer(pl, tmp_path, averaging(pl), InitPolicyCallback(POLICY)), make_module(pl, "setup"))
    assert str(caught.value) == (
        "InitPolicyCallback: EMAWeightAveraging: "
        "copied the module before it was whole; build its layers in __init__ or configure_model"
    )


def test_another_averaged_model_is_left_alone(pl: ModuleType, tmp_path: Path) -> None:
    """A teacher, or an average with a history, is no copy to be renewed."""

    module = make_module(pl)

    class Holder(pl.Callback):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.teacher = AveragedModel(nn.Linear(4, 1))
            self.old = AveragedModel(module)
            self.old.n_averaged += 3

    holder = Holder()
    before = state_of(holder.teacher), state_of(holder.old)
    fit(make_trainer(pl, tmp_path, holder, InitPolicyCallback(POLICY)), module)
    assert same(state_of(holder.teacher), before[0])
    assert same(state_of(holder.old), before[1])


# --- weights nobody filled (PL#20490, PL#17627) --------------------------------------------------


def test_pl20490_layers_made_empty_are_filled(pl: ModuleType, tmp_path: Path) -> None:
    trainer = make_trainer(pl, tmp_path, InitPolicyCallback(POLICY))
    module = make_module(pl)
    with torch.no_grad():
        for param in module.parameters():
            param.fill_(torch.nan)
    fit(trainer, module)
    assert same(module.at_start, expected(pl))


def test_pl17627_empty_weights_that_no_rule_fills_are_an_error(pl: ModuleType, tmp_path: Path) -> None:
    module = make_module(pl)
    module.extra = nn.Parameter(torch.full((3,), torch.nan))
    with pytest.raises(ApplyError, match="extra"):
        fit(make_trainer(pl, tmp_path, InitPolicyCallback(POLICY)), module)
