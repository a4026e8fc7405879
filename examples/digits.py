"""1,797 scanned digits of 8 x 8 pixels, which scikit-learn ships, and a classifier of them for Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

__all__ = ["Batches", "Classifier", "load"]

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Batches:
    """Images (N, 1, 8, 8) and labels (N,), cut into batches; in a new order each time where ``shuffle`` is set.

    All of it fits in memory, so there is nothing for a DataLoader's workers to do.
    """

    images: Tensor
    labels: Tensor
    size: int
    shuffle: bool = False

    def __len__(self) -> int:
        return -(-len(self.images) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.images)) if self.shuffle else torch.arange(len(self.images))
        for chosen in order.split(self.size):
            yield self.images[chosen], self.labels[chosen]


def load(batch_size: int) -> tuple[Batches, Batches]:
    """Training (1,437) and test (360) digits, pixels of mean 0 and variance 1, the same split every time."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    images = (images - images.mean()) / images.std()
    labels = torch.tensor(digits.target)
    train, test = train_test_split(torch.arange(len(labels)), test_size=0.2, random_state=0, stratify=digits.target)
    return (
        Batches(images[train], labels[train], batch_size, shuffle=True),
        Batches(images[test], labels[test], len(test)),
    )


class Classifier(pl.LightningModule):
    """Any model of digits, with cross-entropy and accuracy."""

    def __init__(self, model: nn.Module, optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.example_input_array = torch.zeros(2, 1, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def test_step(self, batch: Batch) -> None:
        images, labels = batch
        right = self(images).argmax(dim=1) == labels
        self.log("test_accuracy", right.float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())
