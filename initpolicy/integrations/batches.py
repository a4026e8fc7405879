"""The first training batch of a Lightning run, taken so that nothing of the user's moves: for its shapes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

__all__ = ["first_batch"]


def first_batch(trainer: Any) -> Any:
    """What the training loop is about to see first, or something of its shapes; None where there is no telling.

    A map-style DataLoader's samples 0, 1, … are collated without its sampler or workers; any other loader is asked for
    one batch of a copy. What can neither be indexed nor copied (a generator) is left alone. The caller keeps the
    random states.
    """
    try:
        return _of(trainer.fit_loop._data_source.dataloader())
    except Exception:  # the user's data may raise anything; then there is no batch to look at
        return None


def _of(loader: Any) -> Any:
    """One batch, in the structure that the loaders are given in."""
    if isinstance(loader, DataLoader):
        return _collated(loader)
    if isinstance(loader, Mapping):
        return {name: _of(each) for name, each in loader.items()}
    if isinstance(loader, (list, tuple)) and loader and all(isinstance(each, DataLoader) for each in loader):
        return type(loader)(_of(each) for each in loader)
    return next(_fresh(loader), None)


def _collated(loader: DataLoader[Any]) -> Any:
    size = loader.batch_size
    if size is None and loader.batch_sampler is not None:
        size = len(next(_fresh(loader.batch_sampler)))
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset):
        samples = list(islice(_fresh(dataset), size or 1))
    else:
        samples = [dataset[index] for index in range(min(size or 1, len(dataset)))]  # type: ignore[arg-type]  # map-style
    return samples[0] if size is None else loader.collate_fn(samples)


def _fresh(iterable: Any) -> Iterator[Any]:
    """An iterator over a copy; of what is an iterator itself there is no copy to be had without moving it."""
    return iter(()) if hasattr(iterable, "__next__") else iter(copy.deepcopy(iterable))
