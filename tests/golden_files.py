"""Reviewed outputs in tests/golden/: compared to the byte, rewritten when INITPOLICY_UPDATE_GOLDEN=1."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["GOLDEN", "UPDATE", "check_golden"]

GOLDEN = Path(__file__).parent / "golden"
UPDATE = "INITPOLICY_UPDATE_GOLDEN"


def check_golden(name: str, text: str) -> None:
    """Assert that ``text`` is what tests/golden/``name`` holds; first write it there if asked to."""
    path = GOLDEN / name
    if os.environ.get(UPDATE) == "1":
        path.write_bytes(text.encode())
    assert path.exists(), f"{path.name} is missing; write it with {UPDATE}=1 and read it before it is committed"
    assert text == path.read_bytes().decode(), f"{path.name} differs; if that is wanted, rewrite it with {UPDATE}=1"
