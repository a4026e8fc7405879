"""One of two processes that Lightning trains in: ``torchrun … -m distributed.fits FOLDER``.

What each saw goes to FOLDER/fits.RANK.json: strategy -> its weights at the start of training, gathered.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_parts import Data, make_trainer
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from distributed.bench import UNSEEDED, Mlp, sha, shas
from initpolicy import InitPolicyCallback


class Net(pl.LightningModule):
    """Builds its layers on meta, or on the CPU, where the strategy says so, and notes what it starts from."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.seen: dict[str, Any] = {}

    def configure_model(self) -> None:
        if hasattr(self, "net"):
            return
        with torch.device("cpu" if self.how == "FSDPStrategy" else "meta"):
            net = Mlp()
        if self.how == "FSDPStrategy":
            options: dict[str, Any] = {"device_id": torch.device("cpu"), "use_orig_params": True}
            net.up = FullyShardedDataParallel(net.up, **options)  # type: ignore[assignment]
            self.net: Any = FullyShardedDataParallel(net, **options)
            return
        mesh: Any = self.device_mesh
        if self.how == "tensor":
            parallelize_module(net, mesh["tensor_parallel"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        else:
            for layer in (net.up, net.down, net.head, net):
                fully_shard(layer, mesh=mesh["data_parallel"])
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(torch.cat([x, x], 1))
        return result

    def training_step(self, batch: Tensor) -> Tensor:
        loss: Tensor = self(batch).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_start(self) -> None:
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        [audit] = [callback.audit for callback in callbacks if isinstance(callback, InitPolicyCallback)]
        assert audit is not None
        if self.how == "FSDPStrategy":
            with FullyShardedDataParallel.summon_full_params(self.net):
                whole = {name: sha(param) for name, param in self.net.named_parameters()}
            whole = {name.replace("_fsdp_wrapped_module.", ""): value for name, value in whole.items()}
        else:
            whole = shas(self.net)
        self.seen = {
            "whole": whole,
            "seed": audit.seed,
            "fingerprint": audit.fingerprint,
            "rows": [(row.name, row.status, row.verdict, row.activation) for row in audit.rows],
        }


class OnCpu(FSDPStrategy):
    """Lightning takes its own FSDPStrategy for GPUs alone, by its very class."""


def fitted(how: str, strategy: Any, folder: Path) -> dict[str, Any]:
    torch.manual_seed(100 + dist.get_rank())
    net = Net(how)
    trainer = make_trainer(
        pl, folder / how, InitPolicyCallback(UNSEEDED), strategy=strategy, devices=2, enable_checkpointing=False
    )
    trainer.fit(net, Data())
    return net.seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    found: dict[str, Any] = {}
    for how, strategy in {
        "data": ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        "tensor": ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=2),
        "FSDPStrategy": OnCpu(),
    }.items():
        try:
            found[how] = fitted(how, strategy, folder)
        except Exception:
            found[how] = {"error": traceback.format_exc()}
    (folder / f"fits.{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    os._exit(0)  # gloo's threads do not always end well when Python takes them down
