"""Two processes on this machine's CPU: ``python lightning_ddp.py STRATEGY FOLDER``.

Each leaves what it saw in FOLDER/rankN.pt. The processes start from different global seeds, and the policy has none.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_parts import UNSEEDED, Data, State, layers, make_trainer, state_of
from torch import Tensor

from initpolicy import InitPolicyCallback


class Net(pl.LightningModule):
    """Notes its weights and its generator's at the start of training."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.net = layers()

    def setup(self, stage: str) -> None:
        torch.manual_seed(100 + self.global_rank)
        self.lines: list[str] = []
        log = logging.getLogger("initpolicy")
        log.setLevel(logging.DEBUG)
        log.addHandler(Lines(self.lines))

    def training_step(self, batch: Tensor) -> Tensor:
        return self.net(batch).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_start(self) -> None:
        self.at_start: State = state_of(self)

    def on_train_end(self) -> None:
        trainer: Any = self.trainer
        [audit] = [callback.audit for callback in trainer.callbacks if isinstance(callback, InitPolicyCallback)]
        assert audit is not None
        seen = {
            "pid": os.getpid(),
            "world": trainer.world_size,
            "at_start": self.at_start,
            "at_end": state_of(self),
            "seed": audit.seed,
            "fingerprint": audit.fingerprint,
            "lines": self.lines,
        }
        torch.save(seen, self.folder / f"rank{self.global_rank}.pt")


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


if __name__ == "__main__":
    strategy, folder = sys.argv[1], Path(sys.argv[2])
    trainer = make_trainer(
        pl,
        folder,
        InitPolicyCallback(UNSEEDED),
        devices=2,
        strategy=strategy,
        logger=[pl.loggers.CSVLogger(folder / "logs"), pl.loggers.TensorBoardLogger(folder / "board")],
    )
    trainer.fit(Net(folder), Data())
