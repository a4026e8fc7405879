"""Parity's own set-up: libraries that can be imported on a CPU build, and nothing downloaded."""

from __future__ import annotations

import pytest
from zoo.operators import declare

declare()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "parity: presets against their references (INITPOLICY_PARITY=1 runs all)")
