"""Small Lightning modules and trainers, under either of its two names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

POLICY = {
    "name": "tiny",
    "seed": 3,
    "unmatched": "keep",
    "rules": {
        "linear": {"match": {"type": "Linear"}, "init": {"weight": {"name": "normal", "std": 0.5}, "bias": 0.25}}
    },
}
UNSEEDED = {**POLICY, "seed": None}
QUIET = [
    # Lightning 2.6 asks torch 2.13 in a way that torch will drop.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    # Advice about tiny runs.
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]
"""What Lightning warns of that no test here is about."""
BATCH = torch.linspace(-1, 1, 8).reshape(2, 4)


class Data:
    """One batch; a list of tensors would be several loaders to Lightning, and a DataLoader has it give advice."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        yield BATCH


State = dict[str, Tensor]


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1))


def state_of(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def make_module(pl: ModuleType, built_in: str = "__init__", **hparams: Any) -> Any:
    """A module that notes its weights at the start of training, and the parameters its optimizer was given.

    ``built_in`` names the hook that builds its layers. ``hparams`` are saved as hyperparameters.
    """

    class Net(pl.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self, **kwargs: Any) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net: Any = None
            self.at_start: State = {}
            if built_in == "__init__":
                self.build()

        def build(self, stage: str = "") -> None:
            if self.net is None:
                self.net = layers()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)  # type: ignore[no-any-return]

        def training_step(self, batch: Tensor) -> Tensor:
            return self(batch).square().mean()  # type: ignore[no-any-return]

        def test_step(self, batch: Tensor) -> None:
            self.log("test_loss", self(batch).square().mean(), batch_size=len(batch))

        validation_step = test_step

        def predict_step(self, batch: Tensor) -> Tensor:
            return self(batch)  # type: ignore[no-any-return]

        def configure_optimizers(self) -> torch.optim.Optimizer:
            self.given = list(self.parameters())
            return torch.optim.SGD(self.given, lr=self.hparams.get("lr", 0.1))

        def on_train_start(self) -> None:
            self.at_start = state_of(self)

    if built_in != "__init__":
        setattr(Net, built_in, Net.build)
    return Net(**hparams)


def make_trainer(pl: ModuleType, folder: Path, *callbacks: object, **options: Any) -> Any:
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(callbacks=list(callbacks), **{**quiet, **options})
