"""Real processes over gloo: every rank computes the same weights, rank zero alone speaks (PL#16694, PT#196562)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from lightning_parts import UNSEEDED, make_module, same, state_of

import initpolicy
from initpolicy import apply_policy

SCRIPT = Path(__file__).with_name("lightning_ddp.py")
SEARCH = os.pathsep.join([str(Path(initpolicy.__file__).parents[1]), str(SCRIPT.parent)])


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_pl16694_two_processes_agree_and_one_audit_is_written(tmp_path: Path, strategy: str) -> None:
    """``ddp`` runs the script once more for each further process; ``ddp_spawn`` sends the callback as a pickle."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), strategy, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": SEARCH, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["world"] == two["world"] == 2
    assert one["pid"] != two["pid"]
    assert one["seed"] == two["seed"]
    assert one["fingerprint"] == two["fingerprint"]
    assert same(one["at_start"], two["at_start"])
    assert same(one["at_end"], two["at_end"])
    # What one process would have given them.
    twin = make_module(pl)
    apply_policy(twin, UNSEEDED, seed=one["seed"])
    assert same(one["at_start"], state_of(twin))
    assert any("tiny" in line for line in one["lines"])
    assert two["lines"] == []
    audits = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("init_audit*")]
    assert audits == ["logs/lightning_logs/version_0/init_audit.csv"]
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 1
