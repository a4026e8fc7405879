"""A wheel, an editable install and a plain checkout: in each, a Hydra program in an empty folder finds the presets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGES = Path(sysconfig.get_path("purelib"))
"""Where the dependencies are; the environments that are made here see them, and nothing is downloaded."""

PROGRAM = """
import json
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

import initpolicy
from initpolicy.files import conf_folder


@hydra.main(version_base="1.3", config_path={folder}, config_name={name})
def main(cfg):
    imported = "torch" in sys.modules
    callbacks = {{key: type(instantiate(entry)).__name__ for key, entry in cfg.get("callbacks", {{}}).items()}}
    print(json.dumps({{
        "policy": initpolicy.load_policy(cfg.init).name,
        "policies": initpolicy.list_policies(),
        "schema": json.loads((conf_folder() / "init" / ".." / "schema.json").read_text())["title"],
        "callbacks": callbacks,
        "torch": imported,
        "package": initpolicy.__file__,
        "sources": [entry.path for entry in HydraConfig.get().runtime.config_sources if entry.provider == "initpolicy"],
    }}))


main()
"""


@dataclass(frozen=True)
class Install:
    """A Python that can import initpolicy, and where it must find it."""

    python: Path
    package: Path
    presets: Path
    environment: Mapping[str, str]

    def run(self, program: Path, *overrides: str) -> dict[str, Any]:
        """What the program prints, run beside itself."""
        done = subprocess.run(
            [str(self.python), str(program), *overrides],
            cwd=program.parent, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def environment(**more: str) -> dict[str, str]:
    """This process's, without anything that would show Python or pip another initpolicy or another index."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    return {**inherited, "PYTHONNOUSERSITE": "1", **more}


def run(*command: str | os.PathLike[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, root, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


def made(folder: Path, *packages: str | os.PathLike[str]) -> tuple[Path, Path]:
    """A new environment with these installed by pip: its Python, and where its packages are.

    It sees this environment's dependencies, but no initpolicy that is installed there: the paths that .pth files hold
    are not followed a second time. ``--ignore-installed``, because pip would take it for its own.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    site = Path(done.stdout.strip())
    (site / "dependencies.pth").write_text(f"{PACKAGES}\n")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
    pip = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--python", python)
    if packages:
        run(*pip, "install", *options, *packages, cwd=folder)
    return python, site


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    python, site = made(tmp_path_factory.mktemp("wheel") / "venv", wheel)
    return Install(python, site / "initpolicy", site / "initpolicy" / "conf", environment())


@pytest.fixture(scope="module")
def editable(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    python, _ = made(tmp_path_factory.mktemp("editable") / "venv", "--editable", root)
    return Install(python, root / "initpolicy", root / "conf", environment())


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    python, _ = made(tmp_path_factory.mktemp("checkout") / "venv")
    return Install(python, root / "initpolicy", root / "conf", environment(PYTHONPATH=str(root)))


@pytest.fixture(params=["from_wheel", "editable", "checkout"])
def install(request: pytest.FixtureRequest) -> Install:
    found: Install = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Hydra program, and its configuration if it is to have one, into an empty folder."""

    def write(config: str | None = None) -> Path:
        folder, name = (None, None) if config is None else ("conf", "main")
        path = tmp_path / "program.py"
        path.write_text(PROGRAM.format(folder=repr(folder), name=repr(name)))
        if config is not None:
            (tmp_path / "conf").mkdir()
            (tmp_path / "conf" / "main.yaml").write_text(config)
        return path

    return write


def presets(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "conf" / "init").glob("*.yaml"))


def test_plus_init_in_a_program_without_configuration(
    install: Install, program: Callable[..., Path], root: Path
) -> None:
    assert install.run(program(), "+init=he_relu") == {
        "policy": "he_relu",
        "policies": presets(root),
        "schema": "initpolicy",
        "callbacks": {},
        "torch": False,
        "package": str(install.package / "__init__.py"),
        "sources": [str(install.presets)],
    }


def test_one_line_in_the_defaults_list_and_one_for_the_callback(
    install: Install, program: Callable[..., Path], root: Path
) -> None:
    found = install.run(program("defaults: [init: he_relu, callbacks: init_policy]"), "init=lecun_selu")
    assert (found["policy"], found["callbacks"]) == ("lecun_selu", {"init_policy": "InitPolicyCallback"})


EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "train.py": ("init=he_relu", "model=mlp", "trainer.max_epochs=1"),
    "standalone.py": (),
    "existing_lightning_project/main.py": ("trainer.max_epochs=1",),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_run_with_an_installed_wheel(name: str, from_wheel: Install, root: Path, tmp_path: Path) -> None:
    """As they stand, copied away from the checkout, from an empty folder."""
    shutil.copytree(root / "examples", tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "empty").mkdir()
    command = [str(from_wheel.python), str(tmp_path / "copy" / name), *EXAMPLES[name]]
    done = subprocess.run(
        command, cwd=tmp_path / "empty", env=from_wheel.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "empty").rglob("init_audit.csv"))) == 1


def test_without_an_install_there_is_none(tmp_path: Path) -> None:
    """What the environments here see of this one holds no initpolicy: the tests above find the one they install."""
    python, _ = made(tmp_path / "venv")
    done = subprocess.run(
        [python, "-c", "import hydra, torch; import initpolicy.load"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: No module named 'initpolicy")


# --- what is in the files ------------------------------------------------------------------------


def listed(root: Path, *folders: str) -> set[str]:
    """The files of a checkout's folders, without what tools leave there."""
    found = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_the_plugin_and_the_presets_and_no_more(wheel: Path, root: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    own = {name for name in names if ".dist-info/" not in name}
    code = listed(root, "initpolicy", "hydra_plugins")
    assert own == code | {f"initpolicy/{name}" for name in listed(root, "conf")}
    assert {"initpolicy/py.typed", "initpolicy/conf/schema.json", "initpolicy/conf/callbacks/init_policy.yaml"} <= own
    assert len(names) == len(set(names))
    metadata = {name.rpartition("/")[2] for name in names} - {name.rpartition("/")[2] for name in own}
    assert metadata == {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt"}


def test_the_sdist_holds_what_the_tests_need(built: Path, root: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    top = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml"}
    assert names >= top | listed(root, "conf", "examples", "hydra_plugins", "initpolicy", "tests")
    assert not {name for name in names if name.startswith((".venv", "outputs", "multirun", ".git/"))}


# --- what is pinned ------------------------------------------------------------------------------


def needed(project: Mapping[str, Any], extra: str) -> set[str]:
    """Names of all packages that the project with this extra installs here, however far down."""
    wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    found: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name == project["name"]:
            wanted += [text for inner in requirement.extras for text in project["optional-dependencies"][inner]]
        elif name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            wanted += requires(name) or []
    return found


def test_every_package_that_make_installs_is_pinned_to_one_version(root: Path) -> None:
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins: dict[str, str] = {}
    for requirement in map(Requirement, lines):
        assert [only.operator for only in requirement.specifier] == ["=="], str(requirement)
        if requirement.marker is None or requirement.marker.evaluate():
            pins[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = needed(project, "dev") | {"editables", "pip", "setuptools", "wheel"}
    assert {"torch", "hydra-core", "sympy", "mypy", "scikit-learn"} < names
    assert names - pins.keys() == set()
    assert pins["torch"] == "2.13.0"


RANGES = {"torch": "2.4", "pytorch-lightning": "2.2", "hydra-core": "1.3.2", "omegaconf": "2.3"}


def test_ranges_are_open_upwards_and_nothing_is_required_that_is_not_imported(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    required = {str(one.name): one for one in map(Requirement, project["dependencies"])}
    assert {only.operator for one in required.values() for only in one.specifier} == {">="}
    assert RANGES.items() <= {name: str(one.specifier)[2:] for name, one in required.items()}.items()
    sources = [path.read_text() for path in root.glob("initpolicy/**/*.py")] + [
        path.read_text() for path in root.glob("hydra_plugins/**/*.py")
    ]
    imported = {found for text in sources for found in re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE)}
    modules = {"hydra-core": "hydra", "PyYAML": "yaml"}
    assert {modules.get(name, name.replace("-", "_")) for name in required} - imported == set()
