"""``init: he_relu`` resolves in any Hydra program, beside the user's own files, which come first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hydra import compose, initialize, initialize_config_dir
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import instantiate
from omegaconf import DictConfig

from hydra_plugins.initpolicy_searchpath import InitPolicySearchPath
from initpolicy import InitPolicyCallback, load_policy


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A user's configuration folder, which Hydra composes from."""
    (tmp_path / "init").mkdir()
    (tmp_path / "callbacks").mkdir()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(dedent(text))


def test_hydra_discovers_the_plugin() -> None:
    # By name: Hydra's scan runs the module once more, which defines the class anew.
    found = [f"{cls.__module__}.{cls.__qualname__}" for cls in Plugins.instance().discover(SearchPathPlugin)]
    assert f"{InitPolicySearchPath.__module__}.{InitPolicySearchPath.__qualname__}" in found


def test_the_plugin_is_light_because_every_hydra_program_imports_it() -> None:
    code = "import hydra_plugins.initpolicy_searchpath as p, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"initpolicy", "lightning", "numpy", "pydantic", "pytorch_lightning", "rich", "torch"} & set(
        done.stdout.split()
    )


def test_without_the_package_the_search_path_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hydra_plugins.initpolicy_searchpath.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    search_path = ConfigSearchPathImpl()
    InitPolicySearchPath().manipulate_search_path(search_path)
    assert search_path.get_path() == []


def test_plus_init_without_any_configuration() -> None:
    with initialize(config_path=None, version_base="1.3"):
        cfg = compose(overrides=["+init=he_relu"])
    assert cfg.init.name == "he_relu"


def test_one_line_in_the_defaults_list(project: Path) -> None:
    write(project / "main.yaml", "defaults: [init: he_relu]")
    assert load_policy(compose("main").init) == load_policy("he_relu")
    assert load_policy(compose("main", ["init=lecun_selu"]).init) == load_policy("lecun_selu")


def test_a_file_of_the_user_extends_a_preset(project: Path) -> None:
    write(project / "main.yaml", "defaults: [init: mine]")
    write(
        project / "init" / "mine.yaml",
        """
        defaults: [he_relu, _self_]
        name: mine
        rules:
          head: {match: {name: head}, init: {weight: 0}}
        """,
    )
    composed = load_policy(compose("main").init)
    assert list(composed.rules) == [*load_policy("he_relu").rules, "head"]
    assert composed == load_policy(project / "init" / "mine.yaml")


def test_a_file_of_the_user_comes_before_ours_of_the_same_name(project: Path) -> None:
    write(project / "main.yaml", "defaults: [init: he_relu]")
    write(project / "init" / "he_relu.yaml", "{name: theirs, rules: {all: {init: {weight: 0}}}}")
    assert compose("main").init.name == "theirs"


def test_any_field_from_the_command_line(project: Path) -> None:
    write(project / "main.yaml", "defaults: [init: he_relu]")
    overrides = ["init.rules.rectified.init.weight.mode=fan_out", "~init.rules.lstm", "+init.seed=7"]
    policy = load_policy(compose("main", overrides).init)
    assert policy.rules["rectified"].init["weight"].arguments == {"mode": "fan_out"}
    assert "lstm" not in policy.rules
    assert "lstm" in load_policy("he_relu").rules
    assert policy.seed == 7


def test_an_unknown_preset_is_refused_with_those_there_are(project: Path) -> None:
    write(project / "main.yaml", "defaults: [init: he_rellu]")
    with pytest.raises(MissingConfigException, match=r"(?s)init/he_rellu.*he_relu"):
        compose("main")


def test_a_key_that_no_preset_has_is_refused(project: Path) -> None:
    write(project / "main.yaml", "defaults: [init: he_relu]")
    with pytest.raises(ConfigCompositionException, match="rectifid"):
        compose("main", ["init.rules.rectifid.init.weight=0"])


CALLBACKS = {
    "[init: he_relu, callbacks: init_policy]": {"init_policy"},
    "[init: he_relu, callbacks: [default, init_policy]]": {"timer", "init_policy"},
    "[init: he_relu, callbacks: ours]": {"timer", "init_policy"},
}


@pytest.mark.parametrize(("defaults", "names"), CALLBACKS.items(), ids=["alone", "in a list", "from the group"])
def test_a_callbacks_group_gets_the_callback(project: Path, defaults: str, names: set[str]) -> None:
    write(project / "main.yaml", f"defaults: {defaults}")
    write(project / "callbacks" / "default.yaml", "timer: {_target_: pytorch_lightning.callbacks.Timer}")
    write(project / "callbacks" / "ours.yaml", "defaults: [default, init_policy]")
    cfg = compose("main")
    all_at_once = instantiate(cfg.callbacks)
    one_by_one = {name: instantiate(callback) for name, callback in cfg.callbacks.items()}
    for callbacks in (all_at_once, one_by_one):
        assert set(callbacks) == names
        assert isinstance(callbacks["init_policy"], InitPolicyCallback)


def test_the_policy_reaches_the_callback_as_data(project: Path) -> None:
    """Nothing in it is instantiated on the way, not even what looks like a target (threads HY#3258, HY#3409)."""
    write(project / "main.yaml", "defaults: [init: mine, callbacks: init_policy]")
    write(
        project / "init" / "mine.yaml",
        "{name: mine, rules: {all: {init: {weight: {_target_: torch.nn.init.kaiming_normal_, mode: fan_out}}}}}",
    )
    cfg = compose("main")
    cfg.callbacks.init_policy._target_ = f"{__name__}.Spy"
    policy = load_policy(instantiate(cfg.callbacks.init_policy).policy)
    assert policy.rules["all"].init["weight"].name == "kaiming_normal"


class Spy:
    def __init__(self, policy: DictConfig) -> None:
        self.policy = policy
