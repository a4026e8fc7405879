"""Lightning's strategies that shard, in two real processes on the CPU: Lightning has FSDPStrategy on GPUs alone, its
subclass anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from distributed.bench import UNSEEDED, Mlp, shas
from distributed.launch import run_on
from initpolicy import apply_policy


class Whole(nn.Module):
    """The layers under the name they have in the LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fits")
    run_on(2, "fits", path)
    return path


@pytest.mark.parametrize("how", ["data", "tensor", "FSDPStrategy"])
def test_each_strategy_starts_from_one_processs_weights_and_one_audit_is_written(folder: Path, how: str) -> None:
    """ModelParallelStrategy on layers made on meta, fully sharded and tensor parallel; FSDPStrategy, gathered."""
    found: list[dict[str, Any]] = [
        json.loads((folder / f"fits.{rank}.json").read_text(encoding="utf-8"))[how] for rank in (0, 1)
    ]
    for each in found:
        assert "error" not in each, each["error"]
    assert found[0] == found[1]
    twin = Whole()
    apply_policy(twin, UNSEEDED, seed=found[0]["seed"], example_input={"shape": [2, 8]})
    expected = {name: value for name, value in shas(twin.net).items() if not name.startswith("head.0")}
    whole = {name: value for name, value in found[0]["whole"].items() if not name.startswith("head.0")}
    assert whole == expected
    assert [row[1:] for row in found[0]["rows"] if row[0] == "net.up.weight"] == [["initialized", "ok", "relu"]]
    assert [path.relative_to(folder).as_posix() for path in folder.rglob(f"{how}/**/init_audit*")] == [
        f"{how}/init_audit.csv"
    ]
