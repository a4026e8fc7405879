"""Where the audit of a Lightning run goes: its trackers, its folder and the console."""

from __future__ import annotations

import csv
import logging
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from lightning_parts import POLICY, QUIET, Data, make_module, make_trainer
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from initpolicy import Audit, InitPolicyCallback
from initpolicy.integrations.trackers import counts
from initpolicy.render import csv as as_csv
from initpolicy.render import markdown

pytestmark = QUIET
NAMES = ["net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"]


@pytest.fixture(params=["pytorch_lightning", "lightning.pytorch"])
def pl(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


def run(pl: ModuleType, folder: Path, logger: Any, *, module: Any = None, log: bool = True, **options: Any) -> Audit:
    callback = InitPolicyCallback(POLICY, log=log)
    make_trainer(pl, folder, callback, logger=logger, **options).fit(module or make_module(pl), Data())
    assert callback.audit is not None
    return callback.audit


def facts(audit: Audit) -> dict[str, Any]:
    found = {"name": "tiny", "fingerprint": audit.fingerprint, "seed": 3, "initialized": 4, "off": 0}
    return {f"init_policy/{key}": value for key, value in found.items()}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("init_audit*"))


# --- trackers that are there ---------------------------------------------------------------------


def test_counts_name_every_status_and_what_is_off(pl: ModuleType, tmp_path: Path) -> None:
    assert counts(run(pl, tmp_path, False)) == {"initialized": 4, "off": 0}


def test_tensorboard_gets_the_report_the_counts_and_the_hyperparameters(pl: ModuleType, tmp_path: Path) -> None:
    logger = pl.loggers.TensorBoardLogger(tmp_path)
    audit = run(pl, tmp_path, logger, module=make_module(pl, lr=0.125))
    events = EventAccumulator(logger.log_dir).Reload()
    [text] = events.Tensors("init_policy/text_summary")
    assert text.tensor_proto.string_val[0].decode() == markdown(audit.header, audit.rows)
    for key, count in counts(audit).items():
        assert [(event.step, event.value) for event in events.Scalars(f"init_policy/{key}")] == [(0, count)]
    # The first hyperparameters of a run are those that TensorBoard shows: the module's own must be among them.
    content = events.PluginTagToContent(metadata.PLUGIN_NAME)[metadata.SESSION_START_INFO_TAG]
    shown = metadata.parse_session_start_info_plugin_data(content).hparams
    values = {key: getattr(value, value.WhichOneof("kind")) for key, value in shown.items()}
    assert values == {"lr": 0.125, **facts(audit)}
    saved = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text())
    assert saved == {"lr": 0.125, **facts(audit)}
    assert files(tmp_path) == [f"lightning_logs/{Path(logger.log_dir).name}/init_audit.csv"]


def test_csv_gets_the_hyperparameters_and_keeps_its_metrics_clean(pl: ModuleType, tmp_path: Path) -> None:
    logger = pl.loggers.CSVLogger(tmp_path)
    module = make_module(pl, lr=0.125)
    module.on_train_batch_end = lambda *args: module.log("loss", 1.0)
    audit = run(pl, tmp_path, logger, module=module)
    folder = Path(logger.log_dir)
    assert yaml.safe_load((folder / "hparams.yaml").read_text()) == {"lr": 0.125, **facts(audit)}
    with (folder / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"epoch": "0", "loss": "1.0", "step": "0"}]
    with (folder / "init_audit.csv").open(newline="") as file:
        assert file.read() == as_csv(audit.header, audit.rows)
    assert [row.name for row in audit.rows] == NAMES


@pytest.mark.parametrize("saved", [True, False])
def test_hyperparameters_that_lightning_would_not_log_stay_private(pl: ModuleType, tmp_path: Path, saved: bool) -> None:
    """`save_hyperparameters(logger=False)`, and `Trainer(enable_autolog_hparams=False)`."""
    logger = pl.loggers.TensorBoardLogger(tmp_path)
    module = make_module(pl, secret=1)
    module._log_hyperparams = saved
    run(pl, tmp_path, logger, module=module, **({"enable_autolog_hparams": False} if saved else {}))
    assert set(logger.hparams) == (set() if saved else set(facts_of(logger)))
    assert "secret" not in logger.hparams


def facts_of(logger: Any) -> list[str]:
    return [key for key in logger.hparams if key.startswith("init_policy/")]


# --- trackers that are not installed: fakes of their interface -----------------------------------


def fake(pl: ModuleType, **members: Any) -> Any:
    """A custom logger, which is told metrics and hyperparameters; ``members`` are what it offers besides."""

    class Custom(pl.loggers.Logger):  # type: ignore[name-defined,misc]
        name = "custom"
        version = 0

        def __init__(self) -> None:
            super().__init__()
            self.told: list[Any] = []

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            pass

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            self.told.append(("hyperparameters", dict(params)))

    for name, member in members.items():
        setattr(Custom, name, member)
    return Custom()


def log_table(
    self: Any, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: Any = None
) -> None:
    """The signature of `WandbLogger.log_table`."""
    self.told.append((key, columns, data))


class MlflowClient:
    """What `MLFlowLogger.experiment` is: artifacts are logged to a run by its id."""

    def __init__(self) -> None:
        self.artifacts: dict[tuple[str, str], str] = {}

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        self.artifacts[run_id, artifact_file] = text


def test_wandb_gets_a_table_with_a_row_a_parameter(pl: ModuleType, tmp_path: Path) -> None:
    logger = fake(pl, log_table=log_table)
    audit = run(pl, tmp_path, logger)
    (key, columns, data), hyperparameters = logger.told[0], logger.told[1]
    assert (key, columns[:3]) == ("init_policy", ["name", "aliases", "shape"])
    assert [row[0] for row in data] == NAMES
    assert {len(row) for row in data} == {len(columns)}
    assert hyperparameters == ("hyperparameters", facts(audit))


def test_mlflow_gets_two_artifacts(pl: ModuleType, tmp_path: Path) -> None:
    client = MlflowClient()
    logger = fake(pl, experiment=client, run_id="run7")
    audit = run(pl, tmp_path, logger, module=make_module(pl, lr=0.125))
    assert client.artifacts == {
        ("run7", "init_policy.csv"): as_csv(audit.header, audit.rows),
        ("run7", "init_policy.md"): markdown(audit.header, audit.rows),
    }
    # Its parameters cannot be changed once logged, so each is told once by us and the module's own by Lightning.
    assert logger.told == [("hyperparameters", facts(audit)), ("hyperparameters", {"lr": 0.125})]


def test_any_other_logger_gets_the_hyperparameters(pl: ModuleType, tmp_path: Path) -> None:
    logger = fake(pl)
    assert logger.told == []
    audit = run(pl, tmp_path, logger)
    assert logger.told[0] == ("hyperparameters", facts(audit))
    assert files(tmp_path) == ["init_audit.csv"]


@pytest.mark.parametrize("number", [0, 1])
def test_loggers_that_log_nothing(pl: ModuleType, tmp_path: Path, number: int) -> None:
    logger = [False, pl.loggers.logger.DummyLogger()][number]
    run(pl, tmp_path, logger)
    assert files(tmp_path) == ["init_audit.csv"]


def test_a_tracker_that_fails_costs_a_warning_and_the_others_still_get_theirs(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(self: Any, *args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route to host")

    good = fake(pl)
    audit = run(pl, tmp_path, [fake(pl, log_table=unreachable), good])
    assert good.told[0] == ("hyperparameters", facts(audit))
    assert files(tmp_path) == ["init_audit.csv"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["Custom did not take the audit: ConnectionError: no route to host"]


def test_two_callbacks_on_one_run_are_told_apart(pl: ModuleType, tmp_path: Path) -> None:
    logger = fake(pl)
    both = InitPolicyCallback(POLICY, module="net.0"), InitPolicyCallback(POLICY, module="net.2")
    make_trainer(pl, tmp_path, *both, logger=logger).fit(make_module(pl), Data())
    told = [key for _, params in logger.told for key in params if key.endswith("/name")]
    assert told == ["init_policy.net.0/name", "init_policy.net.2/name"]
    assert files(tmp_path) == ["init_audit.net.0.csv", "init_audit.net.2.csv"]


# --- the folder (PL#11300, PL#11380) -------------------------------------------------------------


def test_pl11380_the_audit_lies_in_the_first_logger_s_folder(pl: ModuleType, tmp_path: Path) -> None:
    first = pl.loggers.CSVLogger(tmp_path / "first", name="a")
    second = pl.loggers.TensorBoardLogger(tmp_path / "second")
    run(pl, tmp_path / "root", [fake(pl), first, second])
    assert files(tmp_path) == ["first/a/version_0/init_audit.csv"]


def test_pl11300_in_a_hydra_job_the_audit_lies_in_the_run_s_folder(
    pl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.hydra_config import HydraConfig

    job = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(tmp_path / "job")}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", job)
    run(pl, tmp_path / "root", pl.loggers.CSVLogger(tmp_path / "logs"))
    assert files(tmp_path) == ["job/init_audit.csv"]
    # A process that the job spawns is no Hydra job of its own, and still knows the folder.
    sent = pickle.dumps(InitPolicyCallback(POLICY))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    (tmp_path / "job" / "init_audit.csv").unlink()
    make_trainer(pl, tmp_path / "root", pickle.loads(sent)).fit(make_module(pl), Data())
    assert files(tmp_path) == ["job/init_audit.csv"]
    # A configuration that was only composed has no folder.
    job.hydra.runtime.output_dir = "???"
    monkeypatch.setattr(HydraConfig.instance(), "cfg", job)
    run(pl, tmp_path / "root", False)
    assert files(tmp_path / "root") == ["init_audit.csv"]


def test_hydra_is_not_imported_to_look_for_its_folder(tmp_path: Path) -> None:
    code = """if True:
        import sys
        import pytorch_lightning as pl
        from initpolicy import InitPolicyCallback
        from initpolicy.integrations import lightning
        assert lightning._hydra_folder() is None
        assert "hydra" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_written_costs_a_warning(
    pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    run(pl, tmp_path / "file" / "under", False)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert warned[0].startswith("tiny: the audit could not be written: ")


def test_log_false_keeps_it_to_the_console(pl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = fake(pl)
    with caplog.at_level(logging.INFO, "initpolicy"):
        run(pl, tmp_path, logger, log=False)
    assert files(tmp_path) == []
    assert [name for name, *_ in logger.told if name != "hyperparameters"] == []
    assert all(not key.startswith("init_policy") for _, params in logger.told for key in params)
    assert [record for record in caplog.records if record.name == "initpolicy" and "tiny" in record.getMessage()]
