"""Tells Hydra where the presets lie, so that ``init: he_relu`` resolves in any program. Imports nothing heavy."""

from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

__all__ = ["InitPolicySearchPath"]


class InitPolicySearchPath(SearchPathPlugin):
    """Appends the presets' folder last: files of the same name in the user's own folders come first."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Installed, the folder is inside the package; in a checkout it is beside it."""
        spec = find_spec("initpolicy")
        package = Path(spec.origin).parent if spec and spec.origin else Path()
        for folder in (package / "conf", package.parent / "conf"):
            if folder.is_dir():
                search_path.append(provider="initpolicy", path=f"file://{folder}")
                return
