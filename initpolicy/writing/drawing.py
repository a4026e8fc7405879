"""Recipes -> values in memory, by whichever backend pays: what is drawn, in what order, on how many threads.

No value and no measure depends on the order or on the number of threads: of a tensor in several blocks, each is
measured by itself right after it was written, and they are put together in their order.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from initpolicy import streams
from initpolicy.initializers.base import Float32
from initpolicy.measure import Moments, digest_of, measure, raw
from initpolicy.records import Measure
from initpolicy.streams import BLOCK, Recipe, Stream, tensors
from initpolicy.streams.backends import compiled
from initpolicy.writing.pieces import Piece, flat_indices, run_of

__all__ = ["CHUNK", "Order", "Told", "draw_all", "in_order", "read_small", "workers"]

CHUNK = 16 * BLOCK
"""Elements that are drawn at a time: bounds the memory, and no value depends on it."""
_SMALL = 4096
"""Tensors of up to so many elements are drawn several at a time,"""
_BATCH = 2**17
"""up to so many elements."""
_READ = 256
"""Tensors that are read back at a time, where all were made already."""

_log = logging.getLogger("initpolicy")

Told = Callable[[str, int], None]
"""Called with (parameter, elements) as they are written."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """A part, or what of it lies in one piece of memory, to be drawn by its recipe."""

    name: str
    """The parameter's."""
    piece: Piece
    """Counted from the part's corner."""
    shape: tuple[int, ...]
    """The part's."""
    recipe: Recipe
    stream: Stream
    measured: bool
    """Whether it is all of the parameter, so that what is measured here is the parameter's."""

    @property
    def memory(self) -> Tensor:
        return self.piece.memory


def draw_all(orders: Sequence[Order], told: Told = lambda name, count: None) -> dict[str, Measure]:
    """Write all, and measure those that lie in one run of this machine's memory as they are written."""
    random = sum(order.piece.memory.numel() for order in orders if order.recipe.law != "constant")
    backend = compiled(random)
    found: dict[str, Measure] = {}
    direct: list[Order] = []
    others: list[Order] = []
    for order in orders:
        memory = order.piece.memory
        (direct if memory.is_cpu and memory.is_contiguous() else others).append(order)
    with workers() as (pool, threads):
        if backend is None:
            found.update(_by_reference(direct, pool, threads, told))
        else:
            found.update(_by_kernels(backend, direct, pool, told))
        for order in others:
            _elsewhere(order, backend)
            told(order.name, order.memory.numel())
    return found


@contextmanager
def workers(first: Callable[[], None] | None = None) -> Iterator[tuple[ThreadPoolExecutor | None, int]]:
    """As many threads as torch may use, none beside this one if that is one; on errors what waits is dropped.

    ``first`` is called in each of them.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield None, 1
        return
    pool = ThreadPoolExecutor(threads, "initpolicy", first)  # starts no thread before there is work
    try:
        yield pool, threads
    finally:
        pool.shutdown(cancel_futures=True)


def _starts(order: Order) -> tuple[NDArray[np.int64], int]:
    """(where in the flattened part each run begins, how long each is) of the runs that the memory is made of."""
    box, shape = order.piece.box, order.shape
    run = run_of(box, shape)
    if run is not None:
        return np.array([run[0]]), run[1] - run[0]
    axis = max(at for at, bounds in enumerate(box) if bounds != (0, shape[at]))  # inside it, all lies side by side
    length = order.memory.numel()
    for low, high in box[:axis]:
        length //= high - low
    outer = [np.arange(low, high) for low, high in box[:axis]]
    inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
    starts = np.array([box[axis][0] * inner])
    stride = inner * shape[axis]
    for places, size in zip(reversed(outer), reversed(shape[:axis]), strict=True):
        starts = (places[:, None] * stride + starts[None, :]).reshape(-1)
        stride *= size
    return starts, length


# --- Numba ---------------------------------------------------------------------------------------


def _by_kernels(
    backend: ModuleType, orders: Sequence[Order], pool: ThreadPoolExecutor | None, told: Told
) -> Iterator[tuple[str, Measure]]:
    """Straight into memory, block by block on all threads, and small tensors by the hundred."""
    rows: dict[tuple[int, torch.dtype], int] = {}  # one recipe may stand in many orders
    recipes: list[tuple[Recipe, str]] = []
    small: list[tuple[int, Order]] = []
    large: list[tuple[int, Order]] = []
    for order in orders:
        memory = order.piece.memory
        key = id(order.recipe), memory.dtype
        row = rows.get(key, -1)
        if row < 0:
            row = rows[key] = len(recipes)
            recipes.append((order.recipe, _dtype(memory)))
        (small if order.measured and memory.numel() <= _SMALL else large).append((row, order))
    known = backend.tables(recipes)
    joined = [_Joined(backend, known, row, order) for row, order in large]
    chunks = [partial(each.draw, first) for each in joined for first in range(0, len(each.jobs), CHUNK // BLOCK)]
    for each, count in in_order(pool, chunks):
        told(each.order.name, count)
        each.left -= 1
        if not each.left:
            _written([each.order.memory])
            if each.order.measured:
                yield each.order.name, each.result()
    for batch in in_order(pool, [partial(_small, backend, known, batch) for batch in _batches(small)]):
        _written([order.piece.memory for order, _ in batch])
        for order, measured in batch:
            told(order.name, order.memory.numel())
            yield order.name, measured


def _written(memories: Iterable[Tensor]) -> None:
    torch.autograd.graph.increment_version([m for m in memories if not m.is_inference()])  # those have no counter


class _Joined:
    """A tensor of several blocks, that several threads may draw at once."""

    def __init__(self, backend: Any, known: Any, row: int, order: Order) -> None:
        self.backend, self.known, self.order = backend, known, order
        size, (starts, length) = order.memory.element_size(), _starts(order)
        self.jobs = backend.jobs_for(order.memory.data_ptr(), size, starts, length, order.stream.key, row)
        self.rows = np.empty((len(self.jobs), 5))
        self.digests: list[bytes] = [b""] * len(self.jobs)
        self.left = -(-len(self.jobs) // (CHUNK // BLOCK))

    def draw(self, first: int) -> tuple[_Joined, int]:
        last = min(first + CHUNK // BLOCK, len(self.jobs))
        if not self.order.measured:
            self.backend.draw(self.jobs, self.known, first, last)
            return self, int(self.jobs[first:last, 2].sum())
        size = BLOCK * self.order.memory.element_size()
        whole = raw(self.order.memory.view(-1))
        for job in range(first, last):
            self.backend.draw_and_measure(self.jobs, self.known, job, job + 1, self.rows)
            self.digests[job] = xxhash.xxh3_128_digest(whole[job * size : (job + 1) * size])
        return self, int(self.jobs[first:last, 2].sum())

    def result(self) -> Measure:
        if not self.rows[:, 4].all():
            return measure(self.order.memory)
        moments = Moments()
        for count, row, digest in zip(self.jobs[:, 2].tolist(), self.rows[:, :4].tolist(), self.digests, strict=True):
            moments.add(count, row[0], row[1], row[2], row[3], digest)
        return moments.result()


def _batches(small: Sequence[tuple[int, Order]]) -> Iterator[list[tuple[int, Order]]]:
    """Runs of tensors of one size of element, of some _BATCH elements together."""
    for _, alike in groupby(small, lambda entry: entry[1].piece.memory.itemsize):
        batch: list[tuple[int, Order]] = []
        count = 0
        for entry in alike:
            batch.append(entry)
            count += entry[1].piece.memory.numel()
            if count >= _BATCH:
                yield batch
                batch, count = [], 0
        if batch:
            yield batch


def _small(backend: Any, known: Any, batch: list[tuple[int, Order]]) -> list[tuple[Order, Measure]]:
    memories = [order.piece.memory for _, order in batch]
    jobs = np.array(
        [(m.data_ptr(), 0, m.numel(), o.stream.key, row) for m, (row, o) in zip(memories, batch, strict=True)],
        np.uint64,
    )
    rows = np.empty((len(jobs), 5))
    backend.draw_and_measure(jobs, known, 0, len(jobs), rows)
    size = batch[0][1].memory.element_size()
    back = memoryview(backend.read_back(jobs, size, 0, len(jobs)))
    found: list[tuple[Order, Measure]] = []
    at = 0
    for (_, order), count, (mean, squares, low, high, finite) in zip(
        batch, jobs[:, 2].tolist(), rows.tolist(), strict=True
    ):
        if finite:
            digest = digest_of([xxhash.xxh3_128_digest(back[at : at + count * size])])
            std = (squares / count) ** 0.5
            result = Measure(count=count, mean=mean, std=std, min=low, max=high, digest=digest)
        else:
            result = measure(order.memory)
        found.append((order, result))
        at += count * size
    return found


def in_order(pool: ThreadPoolExecutor | None, work: Sequence[Callable[[], _Result]]) -> Iterator[_Result]:
    """The results, of work that runs ahead where there are threads for it."""
    if pool is None or len(work) < 2:
        for task in work:
            yield task()
        return
    for future in [pool.submit(task) for task in work]:
        yield future.result()


# --- NumPy ---------------------------------------------------------------------------------------


def _by_reference(
    orders: Sequence[Order], pool: ThreadPoolExecutor | None, threads: int, told: Told
) -> Iterator[tuple[str, Measure]]:
    """Large ones chunk by chunk, drawn ahead on all threads and written by this one; small ones of one law together."""
    small: dict[Any, list[Order]] = {}
    for order in orders:
        if order.memory.numel() <= _SMALL and order.measured:
            r = order.recipe
            like = (r.law, r.exp, r.interval, r.thresholds, r.rate, r.draw, order.memory.dtype)
            small.setdefault(like, []).append(order)
            continue
        flat, moments = order.memory.view(-1), Moments()
        edges = range(0, flat.numel(), CHUNK)
        chunks = [partial(_elements, order, start) for start in edges]
        for start, values in zip(edges, _ahead(pool, threads, chunks), strict=True):
            here = flat[start : start + CHUNK]
            here.copy_(torch.from_numpy(values))
            if order.measured:
                for first in range(0, len(values), BLOCK):
                    moments.read(here[first : first + BLOCK])
            told(order.name, len(values))
        if order.measured:
            yield order.name, moments.result()
    for alike in small.values():
        for batch in _batches(list(enumerate(alike))):
            yield from _few([order for _, order in batch], told)


def _few(batch: Sequence[Order], told: Told) -> Iterator[tuple[str, Measure]]:
    """Several small tensors of one law and dtype."""
    counts = [order.memory.numel() for order in batch]
    if batch[0].recipe.law == "constant":
        values = np.repeat(np.array([order.recipe.shift for order in batch], np.float32), counts)
    else:
        values = streams.values_of_many([o.recipe for o in batch], [o.stream for o in batch], counts)
    flats = [order.memory.view(-1) for order in batch]
    rounded = torch.from_numpy(values).to(flats[0].dtype)
    for flat, part in zip(flats, torch.split(rounded, counts), strict=True):
        flat.copy_(part)
    for order, (count, found) in zip(batch, zip(counts, _read(flats), strict=True), strict=True):
        told(order.name, count)
        yield order.name, found


def read_small(tensors_: Mapping[str, Tensor]) -> Iterator[tuple[str, Measure]]:
    """What `measure` gives of those among them that are small and in this machine's memory, many at a time."""
    alike: dict[torch.dtype, list[str]] = {}
    for name, tensor in tensors_.items():
        if tensor.is_cpu and tensor.is_contiguous() and 0 < tensor.numel() <= _SMALL:
            alike.setdefault(tensor.dtype, []).append(name)
    for names in alike.values():
        for at in range(0, len(names), _READ):
            few = names[at : at + _READ]
            yield from zip(few, _read([tensors_[name].view(-1) for name in few]), strict=True)


def _read(flats: Sequence[Tensor]) -> Iterator[Measure]:
    """Of small tensors of one dtype."""
    counts, back = [flat.numel() for flat in flats], torch.cat(list(flats))
    with np.errstate(over="ignore", invalid="ignore"):
        wide = back.to(torch.float64).numpy()
        edges = np.cumsum([0, *counts])
        means = np.add.reduceat(wide, edges[:-1]) / counts
        squares = np.add.reduceat(np.square(wide - np.repeat(means, counts)), edges[:-1])
        lows, highs = np.minimum.reduceat(wide, edges[:-1]), np.maximum.reduceat(wide, edges[:-1])
    buffer, size = raw(back), back.element_size()
    for count, at, mean, square, low, high in zip(
        counts, edges.tolist(), means.tolist(), squares.tolist(), lows.tolist(), highs.tolist(), strict=False
    ):
        moments = Moments()
        moments.add(count, mean, square, low, high, xxhash.xxh3_128_digest(buffer[at * size : (at + count) * size]))
        yield moments.result()


def _ahead(pool: ThreadPoolExecutor | None, threads: int, work: Iterable[Callable[[], Float32]]) -> Iterator[Float32]:
    """The results in order, few more of them at a time than there are threads."""
    waiting: deque[Future[Float32]] = deque()
    for task in work:
        if pool is None:
            yield task()
            continue
        waiting.append(pool.submit(task))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _elements(order: Order, start: int) -> Float32:
    """Those of the piece's own elements [start, start + CHUNK) that there are."""
    stop = min(start + CHUNK, order.memory.numel())
    run = run_of(order.piece.box, order.shape)
    if run is not None:
        return streams.values(order.recipe, order.stream, run[0] + start, run[0] + stop)
    wanted = flat_indices(order.piece.box, order.shape, start, stop)
    out = np.empty(stop - start, np.float32)
    for block in np.unique(wanted // BLOCK).tolist():
        first, last = np.searchsorted(wanted, (block * BLOCK, (block + 1) * BLOCK))
        low, high = int(wanted[first]), int(wanted[last - 1]) + 1
        out[first:last] = streams.values(order.recipe, order.stream, low, high)[wanted[first:last] - low]
    return out


# --- memory of other kinds -----------------------------------------------------------------------


def _elsewhere(order: Order, backend: ModuleType | None) -> None:
    """On a CUDA device by torch, where that gives the same bytes; else drawn here and copied there.

    The copy takes as much memory as the tensor.
    """
    memory, run = order.memory, run_of(order.piece.box, order.shape)
    if memory.device.type == "cuda" and run is not None and _exact(memory.device):
        flat = memory.view(-1) if memory.is_contiguous() else memory.new_empty(memory.numel())
        tensors.fill(flat, order.recipe, order.stream, run[0])
        if not memory.is_contiguous():
            memory.copy_(flat.view(memory.shape))
        return
    known = None if backend is None else backend.tables([(order.recipe, _dtype(memory))])
    flat = torch.empty(memory.numel(), dtype=memory.dtype, device="cpu")
    if backend is None:
        for start in range(0, flat.numel(), CHUNK):
            flat[start : start + CHUNK] = torch.from_numpy(_elements(order, start))
    else:
        jobs = backend.jobs_for(flat.data_ptr(), flat.element_size(), *_starts(order), order.stream.key, 0)
        backend.draw(jobs, known, 0, len(jobs))
    memory.copy_(flat.view(memory.shape))


def _exact(device: torch.device) -> bool:
    """One line says where it is not."""
    exact = tensors.exact(device)
    if not exact:
        _log.info("%s does not round as it should: values are drawn on the CPU and copied", device)
    return exact


def _dtype(memory: Tensor) -> str:
    return str(memory.dtype).removeprefix("torch.")
