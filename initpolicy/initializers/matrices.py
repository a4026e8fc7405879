"""Whole matrices: orthogonal, delta-orthogonal, sparse."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from initpolicy import streams
from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer, fits
from initpolicy.initializers.distributions import FURTHEST
from initpolicy.initializers.scaled import GAIN
from initpolicy.records import Law
from initpolicy.streams import Recipe, Stream, backends

__all__ = ["MATRICES", "join_one_thread", "one_thread"]

_NORMAL = Recipe(law="normal")
_ALIGNED = 16
"""Numbers of four bytes in the 64 that torch aligns memory to."""


def _orthonormal(gauss: Float32, gain: float) -> Float32:
    """(copies, rows, columns) of Gaussians -> gain times matrices, each uniform (Haar) over those with orthonormal
    columns, or rows if wide.

    QR of a Gaussian with the signs of R's diagonal moved into Q (Mezzadri, "How to generate random
    matrices from the classical compact groups", 2007), in float32 and on one thread: the bytes that LAPACK gives
    depend on how many it has. `torch.linalg.qr` without its copies: R is never read but for its diagonal.
    """
    import torch

    copies, rows, columns = gauss.shape
    if not gauss.size:
        return np.zeros(gauss.shape, np.float32)
    given = torch.from_numpy(gauss[0] if copies == 1 else gauss)  # of two axes, a transpose is copied fast
    # LAPACK reads columns, each in one run, in memory as torch aligns it, on which the bytes depend.
    turned = given if rows < columns else given.mT
    tall = torch.empty(turned.shape, dtype=torch.float32).copy_(turned).mT
    scales = torch.empty(tall.shape[:-2] + tall.shape[-1:], dtype=torch.float32)
    size = torch.tensor(gain, dtype=torch.float32)
    with one_thread():
        torch.geqrf(tall, out=(tall, scales))  # reflections below R, in place
        factors = torch.where(tall.diagonal(dim1=-2, dim2=-1) < 0, -size, size)
        torch.linalg.householder_product(tall, scales, out=tall)  # Q
        tall *= factors.unsqueeze(-2)
        made = (tall.mT if rows < columns else tall).contiguous()
    found: Float32 = made.numpy()
    return found.reshape(gauss.shape)


_lapack = threading.Lock()


class _Inside(threading.local):
    held = False


_inside = _Inside()


@contextmanager
def one_thread() -> Iterator[None]:
    """LAPACK on one thread, for this thread and those that `join_one_thread`; by one such thread at a time, as torch's
    number of threads is the process's."""
    import torch

    if _inside.held:
        yield
        return
    with _lapack:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        _inside.held = True
        try:
            yield
        finally:
            _inside.held = False
            torch.set_num_threads(threads)


def join_one_thread() -> None:
    """Called first in a thread that works, and ends, while the thread that started it is inside `one_thread`."""
    import torch

    torch.set_num_threads(1)
    _inside.held = True


def _spread_law(kind: str, count: int, squares: float) -> Law:
    """Entries whose sum of squares is exact and whose signs are even.

    Only their mean varies, with variance σ²/n; the measured variance is σ² less its square, σ² χ²₁/n. A
    freedom of n²/19 puts a mean six standard errors off at the edge of six standard errors of the variance.
    """
    if not count:
        return Law(kind=kind, mean=0.0, std=0.0)
    std = math.sqrt(squares / count)
    return Law(kind=kind, mean=0.0, std=std, mean_error=std / math.sqrt(count), freedom=count**2 / 19)


def _flat(block: Block) -> tuple[int, int]:
    if len(block.shape) < 2:
        raise ValueError(f"needs two or more dimensions, this is {block.shape}")
    return block.shape[0], math.prod(block.shape[1:])


def _orthogonal_law(block: Block, a: Arguments) -> Law:
    fits(block, a["gain"])
    rows, columns = _flat(block)
    return _spread_law("orthogonal", block.numel, a["gain"] ** 2 * min(rows, columns))


def _orthogonal(stream: Stream, block: Block, a: Arguments) -> Float32:
    made: Float32 = _orthogonals([stream], block, a)[0]
    return made


def _orthogonals(known: Sequence[Stream], block: Block, a: Arguments) -> Float32:
    rows, columns = _flat(block)
    gauss = backends.values_of_many(_NORMAL, known, block.numel).reshape(len(known), rows, columns)
    # Side by side, a matrix must lie as it would by itself for its bytes to be the same.
    step = 1 if rows % _ALIGNED or columns % _ALIGNED else len(gauss)
    made = [_orthonormal(gauss[at : at + step], a["gain"]) for at in range(0, len(gauss), step)]
    return (made[0] if len(made) == 1 else np.concatenate(made)).reshape(len(known), *block.shape)


def _per_group(block: Block) -> tuple[int, int]:
    """(rows, columns) of the matrix that one group has at each position of the kernel."""
    if len(block.shape) < 3:
        raise ValueError(f"needs a convolution's weight, three or more dimensions, this is {block.shape}")
    if block.shape[0] % block.groups:
        raise ValueError(f"needs a first dimension that its {block.groups} groups divide, this is {block.shape}")
    return block.shape[0] // block.groups, block.shape[1]


def _delta_law(block: Block, a: Arguments) -> Law:
    fits(block, a["gain"])
    return _spread_law("delta_orthogonal", block.numel, a["gain"] ** 2 * min(_per_group(block)) * block.groups)


def _delta(stream: Stream, block: Block, a: Arguments) -> Float32:
    rows, columns = _per_group(block)
    out = np.zeros(block.shape, np.float32)
    centre: tuple[slice | int, ...] = (slice(None), slice(None), *(size // 2 for size in block.shape[2:]))
    gauss = backends.values(_NORMAL, stream, 0, block.groups * rows * columns)
    out[centre] = _orthonormal(gauss.reshape(block.groups, rows, columns), a["gain"]).reshape(block.shape[:2])
    return out


def _zeros(block: Block, a: Arguments) -> int:
    """How many of each column are zero."""
    if len(block.shape) != 2:
        raise ValueError(f"needs two dimensions, this is {block.shape}")
    return math.ceil(float(a["sparsity"]) * block.shape[0])


def _sparse_law(block: Block, a: Arguments) -> Law:
    """m of n entries are N(0, std²), the rest 0: variance std² m/n, of m degrees of freedom."""
    fits(block, FURTHEST * a["std"])
    kept = block.numel - _zeros(block, a) * block.shape[1]
    if not kept:
        return Law(kind="sparse", mean=0.0, std=0.0)
    std = a["std"] * math.sqrt(kept / block.numel)
    return Law(kind="sparse", mean=0.0, std=std, mean_error=std / math.sqrt(block.numel), freedom=kept)


def _sparse(stream: Stream, block: Block, a: Arguments) -> Float32:
    values = np.float32(a["std"]) * backends.values(_NORMAL, stream, 0, block.numel).reshape(block.shape)
    rows, columns = block.shape
    empty = streams.choose(stream, rows, columns, _zeros(block, a), draw=1)
    return np.where(empty, np.float32(0), values)


MATRICES: Final = (
    Initializer(
        name="orthogonal",
        arguments=(GAIN,),
        law=_orthogonal_law,
        make=_orthogonal,
        make_alike=_orthogonals,
        doc="gain times a random matrix with orthonormal rows or columns, dimensions after the first flattened: "
        "Saxe, McClelland, Ganguli 2013 (arXiv 1312.6120). Entries have standard deviation "
        "gain/sqrt(max(rows, columns)). Outputs have gain² times the inputs' second moment where rows <= columns; "
        "more rows need a gain of sqrt(rows/columns) besides.",
    ),
    Initializer(
        name="delta_orthogonal",
        arguments=(GAIN,),
        law=_delta_law,
        make=_delta,
        doc="A convolution's kernel that is 0 but at its centre (index size // 2), where each group holds gain times a "
        "random (semi-)orthogonal matrix: Xiao et al. 2018 (arXiv 1806.05393), algorithm 2. Norms are kept where "
        "out >= in, as the paper asks.",
    ),
    Initializer(
        name="sparse",
        arguments=(
            Argument(name="sparsity", low=0, high=1, open_high=True, doc="Fraction of each column that is 0."),
            Argument(name="std", default=0.01, low=0, open_low=True, doc="Standard deviation of the others."),
        ),
        law=_sparse_law,
        make=_sparse,
        doc="N(0, std²), of each column ceil(sparsity · rows) entries 0: Martens 2010, section 5.",
    ),
)
