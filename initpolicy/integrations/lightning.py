"""A policy, applied at the right moment of a Lightning run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim.swa_utils import AveragedModel

from initpolicy.api import carry_out, find_given, memory_on, plan_found
from initpolicy.audit import Audit
from initpolicy.errors import ApplyError, PlanError, Problem, meant
from initpolicy.facts.find import find_nothing
from initpolicy.facts.registered import register
from initpolicy.integrations.distributed import gathered
from initpolicy.integrations.namespaces import Callback
from initpolicy.integrations.signals import find_in_fit
from initpolicy.integrations.trackers import track
from initpolicy.load import load_policy
from initpolicy.meta.realize import Memory, has_meta, lend
from initpolicy.plan import Plan
from initpolicy.policy import Policy
from initpolicy.progress import Show
from initpolicy.resolve import wants_signals

__all__ = ["InitPolicyCallback"]

_log = logging.getLogger("initpolicy")


class InitPolicyCallback(Callback):
    """Applies a policy once to each module that is fitted, at the start of its first fit, in place.

    By then the layers are there, whether they were built in ``__init__``, ``setup`` or ``configure_model``, and the
    optimizer holds the very parameters that are written. It runs before all other callbacks, so that a learning-rate
    finder starts from the initialized weights, and an averaged model (``WeightAveraging``) that was copied earlier is
    copied again. Nothing is written, and one log line says why, when ``fit`` was given a checkpoint, and when the
    module was fitted before or had weights loaded for ``test``; ``validate``, ``test`` and ``predict`` write nothing.
    What was built on meta gets memory and values in one pass, as by `initpolicy.materialize`, right after
    ``configure_model``: a strategy that moves the module needs it there. One that shards it gives it memory itself.
    A strategy that restores checkpoints late (FSDP) has the policy applied right after that. Sharded parameters
    (``ModelParallelStrategy``) are written where they lie; those that FSDPStrategy or DeepSpeed (stage 3) flattened are
    gathered for it, all of the weights on every rank.

    Every rank computes the same values; rank zero alone logs, and writes ``init_audit.csv`` to the run's folder: of
    Hydra, else of the first logger that has one, else ``trainer.default_root_dir``. The checkpoint holds the policy's
    name, fingerprint and seed.

    The callback remembers modules for as long as its process lives: after a fit in processes that Lightning spawned
    or forked, continue with ``fit(ckpt_path=…)``, as Lightning asks.

    Args:
        policy: a preset's name, a path, a mapping, a DictConfig or a Policy; read at once, so mistakes show early.
        module: attribute path of the part to initialize (``"net.encoder"``); names in the policy and in the audit,
            and so the random values, are relative to it. Default: the whole LightningModule.
        example_input: what the module, or the part of it, is called with, to find activations: a tensor, a tuple, a
            dict, a shape (in YAML ``{shape: [1, 3, 224, 224], dtype: float32}``) or a function. Default: the module's
            ``example_input_array``, else, where anything in the policy depends on activations, the shapes of the first
            training batch.
        seed: overrides the policy's; where both are None, rank zero draws one and all ranks use it.
        activations: names for activations of your own: functions, classes of modules, or modules; see
            `initpolicy.survey`.
        trusted: packages whose functions the policy may call.
        log: whether the audit goes to the run's loggers and its folder. The ``initpolicy`` logger has it either way.
        progress: whether a bar shows how far writing is; see `initpolicy.apply_policy`.

    Raises:
        PolicyError: when made, with every mistake in the policy.
        PlanError: when made, if ``activations`` cannot have their names; when fit starts, if the policy does not fit
            the module, or the module has no such part.
        ApplyError: when fit starts, if the weights cannot be written or an averaged model cannot follow.
    """

    def __init__(
        self,
        policy: str | os.PathLike[str] | Mapping[str, Any] | DictConfig | Policy,
        *,
        module: str | None = None,
        example_input: Any = None,
        seed: int | None = None,
        activations: Mapping[str, Any] | None = None,
        trusted: Sequence[str] = (),
        log: bool = True,
        progress: Show = "auto",
    ) -> None:
        super().__init__()
        self.policy = load_policy(policy)
        self.module = module
        self.example_input = example_input
        self.seed = seed
        register(activations, self.policy.name)
        self.activations = activations
        self.trusted = (trusted,) if isinstance(trusted, str) else tuple(trusted)
        self.audit: Audit | None = None
        """What was done at the last fit that applied the policy; None where its weights came from a checkpoint."""
        self.progress = progress
        self._tracked = log  # `log` itself is a name that Lightning sets on every callback
        self._record: dict[str, Any] = {}
        self._pending = False
        self._ahead: Audit | None = None
        """Of a module on meta, which got its values with its memory, before the strategy took it."""
        self._settled: MutableMapping[nn.Module, str] = WeakKeyDictionary()
        self._folder: str | None = None

    # --- what the checkpoint holds ---------------------------------------------------------------

    @property
    def state_key(self) -> str:
        """Two of these may serve two parts of one module."""
        return self._generate_state_key(module=self.module)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._record)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._record = dict(state_dict)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._record = {}

    def __getstate__(self) -> dict[str, Any]:
        # Another process has other modules, gets Lightning's `log` anew, and does not know of this one's Hydra job.
        here = {"_settled", "log", "log_dict"}
        state = {name: value for name, value in super().__getstate__().items() if name not in here}
        return {**state, "_folder": _hydra_folder() or self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _settled=WeakKeyDictionary())

    # --- when ------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            first = [callback for callback in trainer.callbacks if isinstance(callback, InitPolicyCallback)]
            trainer.callbacks = first + [callback for callback in trainer.callbacks if callback not in first]
            if self is first[0] and not trainer.strategy.restore_checkpoint_after_setup:
                _after_configure_model(pl_module, lambda: _leave_meta(first, trainer, pl_module))

    def leave_meta(self, trainer: Any, pl_module: Any) -> None:
        """Give memory to what is on meta, before the strategy moves the module or loads a checkpoint into it."""
        self._ahead = None
        if not has_meta(pl_module) or not has_meta(part := _part(pl_module, self.module)):
            return
        memory = memory_on(self.policy.name, trainer.strategy.root_device)
        if trainer.ckpt_path:
            lend(part, memory, self.policy.name)
        else:
            self._ahead = self._applied(trainer, pl_module, part, memory)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        self._pending = True
        if not trainer.strategy.restore_checkpoint_after_setup:
            self._start(trainer, pl_module)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        self._start(trainer, pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._start(trainer, pl_module)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if trainer.ckpt_path:
            self._settled[pl_module] = f"its weights were loaded from {trainer.ckpt_path}"

    # --- what ------------------------------------------------------------------------------------

    def _start(self, trainer: Any, pl_module: Any) -> None:
        """Apply the policy, or say why not; once a fit, by when a checkpoint would have been restored."""
        if not self._pending:
            return
        self._pending = False
        if trainer.ckpt_path:
            self.audit = None
            self._settled[pl_module] = f"fit was given the checkpoint {trainer.ckpt_path}"
        if pl_module in self._settled:
            if trainer.is_global_zero:
                _log.info("%s: not applied: %s", self.policy.name, self._settled[pl_module])
            return
        part = _part(pl_module, self.module)
        memory = memory_on(self.policy.name, trainer.strategy.root_device) if has_meta(part) else None
        self.audit, self._ahead = self._ahead or self._applied(trainer, pl_module, part, memory), None
        header = self.audit.header
        self._record = {"policy": header.policy, "fingerprint": header.fingerprint, "seed": header.seed}
        self._settled[pl_module] = "it was at an earlier fit of this module"
        _restart_averages(trainer, pl_module)
        if self._tracked and trainer.is_global_zero and not trainer.fast_dev_run:
            self._report(self.audit, trainer, pl_module)

    def _applied(self, trainer: Any, pl_module: Any, part: nn.Module, memory: Memory | None) -> Audit:
        wrapped = trainer.strategy.model if isinstance(trainer.strategy.model, nn.Module) else pl_module
        with _only_rank_zero_logs(trainer), gathered(wrapped):
            return carry_out(self._plan(trainer, pl_module, part, memory), part, memory, self.progress)

    def _plan(self, trainer: Any, pl_module: Any, part: nn.Module, memory: Memory | None) -> Plan:
        seed = self._seed(trainer)
        if self.example_input is not None:
            found = find_given(part, self.example_input, self.policy.name, self.activations)
            return plan_found(self.policy, part, found, seed, trusted=self.trusted, memory=memory)
        own = register(self.activations, self.policy.name)
        given = getattr(pl_module, "example_input_array", None) is not None
        if given or wants_signals(self.policy):
            found = find_in_fit(trainer, pl_module, own).below(self.module or "")
        else:
            found = find_nothing(own)
        return plan_found(self.policy, part, found, seed, trusted=self.trusted, memory=memory)

    def _seed(self, trainer: Any) -> int:
        """The given seed, else the policy's, else one that rank zero drew."""
        for seed in (self.seed, self.policy.seed):
            if seed is not None:
                return seed
        # On every rank, so that their generators stay in step; on the CPU, whatever the default device.
        drawn = torch.randint(2**63 - 1, (), device="cpu", generator=torch.default_generator).item()
        return int(trainer.strategy.broadcast(drawn))

    def _report(self, audit: Audit, trainer: Any, pl_module: Any) -> None:
        several = sum(isinstance(callback, InitPolicyCallback) for callback in trainer.callbacks) > 1
        suffix = f".{self.module or 'all'}" if several else ""
        for logger in trainer.loggers:
            track(audit, logger, f"init_policy{suffix}", _hyperparameters(trainer, pl_module))
        folder = _hydra_folder() or self._folder or _log_folder(trainer)
        try:
            os.makedirs(folder, exist_ok=True)
            audit.save(Path(folder, f"init_audit{suffix}.csv"))
        except OSError as error:  # a run need not end because a disk is full
            _log.warning("%s: the audit could not be written: %s", self.policy.name, error)


def _part(root: nn.Module, path: str | None) -> nn.Module:
    """The module at an attribute path."""
    found = root
    done = [type(root).__name__]
    for name in path.split(".") if path is not None else ():
        inner = getattr(found, name, None)
        if not isinstance(inner, nn.Module):
            known = [child for child, _ in found.named_children()]
            hint = meant(name, known) or f"; it has {', '.join(known) or 'none'}"
            why = f"{'.'.join(done)} has no module {name!r}{hint}"
            raise PlanError(Problem("InitPolicyCallback", f"module={path!r}", why))
        found = inner
        done.append(name)
    return found


def _leave_meta(callbacks: list[InitPolicyCallback], trainer: Any, pl_module: Any) -> None:
    try:
        for callback in callbacks:
            callback.leave_meta(trainer, pl_module)
    except Exception:
        vars(pl_module)["cpu"] = partial(_stay_once, pl_module)  # Lightning cleans up; its error would hide this one
        raise


def _stay_once(module: nn.Module) -> nn.Module:
    vars(module).pop("cpu", None)
    return module


def _after_configure_model(module: Any, then: Callable[[], object]) -> None:
    """Have this done once, right after the module's ``configure_model``: no hook of a callback's lies there."""
    before = module.configure_model

    def configure_model() -> None:
        vars(module).pop("configure_model", None)
        before()
        then()

    vars(module)["configure_model"] = configure_model


def _restart_averages(trainer: Any, pl_module: nn.Module) -> None:
    """Averaged models that are copies of the module and have averaged nothing yet start from its weights of now."""
    for callback in trainer.callbacks:
        averages = [value for value in vars(callback).values() if isinstance(value, AveragedModel)]
        for average in averages:
            if type(average.module) is not type(pl_module) or average.n_averaged:
                continue
            try:
                average.module.load_state_dict(pl_module.state_dict())
            except RuntimeError as error:
                why = "copied the module before it was whole; build its layers in __init__ or configure_model"
                raise ApplyError(Problem("InitPolicyCallback", type(callback).__name__, why)) from error


def _hyperparameters(trainer: Any, pl_module: Any) -> dict[str, Any] | None:
    """Those that Lightning logs right after ``on_fit_start``; None where it is told to log none."""
    if not getattr(trainer, "enable_autolog_hparams", True):
        return None
    holders = [holder for holder in (pl_module, trainer.datamodule) if getattr(holder, "_log_hyperparams", False)]
    return {key: value for holder in holders for key, value in holder.hparams_initial.items() if key != "_class_path"}


def _hydra_folder() -> str | None:
    """The run folder of the Hydra job that this process is, if it is one; Hydra is not imported to find out."""
    hydra = sys.modules.get("hydra.core.hydra_config")
    if hydra is None or not hydra.HydraConfig.initialized():
        return None
    runtime = hydra.HydraConfig.get().runtime
    return None if OmegaConf.is_missing(runtime, "output_dir") else str(runtime.output_dir)


def _log_folder(trainer: Any) -> str:
    """The first folder that a logger writes to, else the trainer's."""
    folders = (getattr(logger, "log_dir", None) for logger in trainer.loggers)
    return next((folder for folder in folders if isinstance(folder, str)), trainer.default_root_dir)


@contextmanager
def _only_rank_zero_logs(trainer: Any) -> Iterator[None]:
    if trainer.is_global_zero:
        yield
        return
    _log.addFilter(_refuse)
    try:
        yield
    finally:
        _log.removeFilter(_refuse)


def _refuse(record: logging.LogRecord) -> bool:
    return False
