"""torchrun, as the tests start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import initpolicy

__all__ = ["run_on"]

SEARCH = [str(Path(__file__).parents[1]), str(Path(initpolicy.__file__).parents[1])]
LIMIT = 240
"""Seconds, several times what a launch takes; processes that wait for each other give up after 60."""


def run_on(world: int, script: str, folder: Path) -> None:
    """Run a script of this folder in so many processes, which leave in ``folder`` what they saw."""
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    search = os.pathsep.join([*SEARCH, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*torchrun, f"--nproc-per-node={world}", "-m", f"distributed.{script}", str(folder)],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
