"""Lightning: what surrounds each parameter is found with the first training batch, and nothing of the user's moves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_parts import QUIET, make_trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from initpolicy import InitPolicyCallback, PlanError
from initpolicy.facts.find import Found, find_signals
from initpolicy.integrations import signals

pytestmark = [*QUIET, pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")]

POLICY = {
    "name": "feeds_relu",
    "seed": 1,
    "unmatched": "keep",
    "unused": "ignore",
    "rules": {"relu": {"match": {"activation": "relu"}, "init": {"weight": {"name": "kaiming_normal"}}}},
}
BATCH = "trace of the first training batch"


class Net(pl.LightningModule):
    """Two layers whose activation is in ``forward``, where registration order tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 3)
        self.trained_on: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))  # type: ignore[no-any-return]

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.trained_on.append(batch)
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class StepOnly(Net):
    """Has no forward of its own."""

    forward = pl.LightningModule.forward

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.two(torch.relu(self.one(batch["x"]))), batch["y"])
        self.log("loss", loss)
        return loss


class Rows(Dataset[Any]):
    """Samples that draw noise, from all three generators."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(4) + random.random() + float(np.random.rand()), index % 3


class Stream(IterableDataset[Any]):
    """Remembers how far it was read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for index in range(6):
            self.read += 1
            yield torch.full((4,), float(index)), index % 3


def fit(net: Net, data: Any, tmp_path: Path, **options: Any) -> dict[str, tuple[str, str]]:
    callback = InitPolicyCallback(POLICY, **options)
    make_trainer(pl, tmp_path, callback).fit(net, data)
    assert callback.audit is not None
    return {row.name: (row.activation, row.found_by) for row in callback.audit.rows if row.name.endswith("weight")}


def test_forward_takes_the_first_part_of_the_batch(tmp_path: Path) -> None:
    found = fit(Net(), DataLoader(Rows(), batch_size=2), tmp_path)
    assert found == {"one.weight": ("relu", BATCH), "two.weight": ("identity", BATCH)}


def test_no_more_is_traced_than_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole batch does not fit this forward, its first part does and answers for everything."""
    asked: list[str] = []

    def counted(module: nn.Module, arguments: Any, **rest: Any) -> Found:
        asked.append(rest["method"])
        return find_signals(module, arguments, **rest)

    monkeypatch.setattr(signals, "find_signals", counted)
    fit(Net(), DataLoader(Rows(), batch_size=2), tmp_path)
    assert asked == ["", ""]


def test_training_step_answers_for_what_forward_leaves_unused(tmp_path: Path) -> None:
    class Encoder(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.one(x))

        def training_step(self, batch: Any, index: int) -> Tensor:
            return nn.functional.cross_entropy(self.two(self(batch[0])), batch[1])

    found = fit(Encoder(), DataLoader(Rows(), batch_size=2), tmp_path)
    assert found == {"one.weight": ("relu", BATCH), "two.weight": ("identity", BATCH)}


def test_training_step_where_forward_does_not_take_it(tmp_path: Path) -> None:
    samples = [{"x": torch.rand(4), "y": index % 3} for index in range(4)]
    found = fit(StepOnly(), DataLoader(samples, batch_size=2), tmp_path)  # type: ignore[arg-type]  # a list is map-style
    assert found == {"one.weight": ("relu", BATCH), "two.weight": ("identity", BATCH)}


def test_an_example_input_array_comes_first(tmp_path: Path) -> None:
    module = Net()
    module.example_input_array = torch.zeros(2, 4)
    by = "trace of example_input_array"
    found = fit(module, DataLoader(Rows(), batch_size=2), tmp_path)
    assert found == {"one.weight": ("relu", by), "two.weight": ("identity", by)}


def test_a_shape_as_yaml_gives_it(tmp_path: Path) -> None:
    found = fit(Net(), DataLoader(Rows(), batch_size=2), tmp_path, example_input={"shape": [2, 4], "dtype": "float32"})
    assert found["one.weight"] == ("relu", "trace of your example_input")


def test_an_example_input_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"^feeds_relu: example_input: trace of your example_input: "):
        fit(Net(), DataLoader(Rows(), batch_size=2), tmp_path, example_input={"shape": [2, 7]})


def test_a_part_is_seen_within_the_whole(tmp_path: Path) -> None:
    """Alone, its output would be an end; in the module, relu follows."""
    found = fit(Net(), DataLoader(Rows(), batch_size=2), tmp_path, module="one")
    assert found == {"weight": ("relu", BATCH)}


@pytest.mark.parametrize("shuffle", [False, True])
def test_neither_loader_nor_random_state_moves(tmp_path: Path, shuffle: bool) -> None:
    """Training sees the very batches, and leaves the very states, that it does without the callback."""
    seen = []
    for callbacks in ([], [InitPolicyCallback(POLICY)]):
        module = Net()
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        make_trainer(pl, tmp_path, *callbacks).fit(module, DataLoader(Rows(), batch_size=2, shuffle=shuffle))
        states = (torch.rand(3), random.random(), float(np.random.rand()))
        seen.append(([batch[0] for batch in module.trained_on], states))
    (plain, after_plain), (ours, after_ours) = seen
    assert all(torch.equal(one, two) for one, two in zip(plain, ours, strict=True))
    assert torch.equal(after_plain[0], after_ours[0])
    assert after_plain[1:] == after_ours[1:]


def test_a_stream_is_not_read_ahead(tmp_path: Path) -> None:
    stream = Stream()
    found = fit(Net(), DataLoader(stream, batch_size=2), tmp_path)
    assert found["one.weight"] == ("relu", BATCH)
    assert stream.read == 6


def test_a_generator_is_left_alone(tmp_path: Path) -> None:
    """It can be read once, so the input is made from the first layer instead."""
    module = Net()
    batches = ((torch.full((2, 4), float(index)), torch.tensor([0, 1])) for index in range(3))
    found = fit(module, batches, tmp_path)
    assert found["one.weight"] == ("relu", "trace of a guessed input")
    assert [float(batch[0][0, 0]) for batch in module.trained_on] == [0.0, 1.0, 2.0]
