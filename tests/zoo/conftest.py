"""The zoo's own set-up: nothing is downloaded, and timm can be imported."""

from __future__ import annotations

import os

import pytest

from zoo.operators import declare

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
declare()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "zoo: models of timm and transformers (INITPOLICY_ZOO=1 runs all of them)")
