"""Whole matrices: orthogonal, delta-orthogonal, sparse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from initpolicy import streams
from initpolicy.initializers.base import Argument, Arguments, Block, Float32, Initializer, fits
from initpolicy.initializers.distributions import FURTHEST
from initpolicy.initializers.scaled import GAIN
from initpolicy.records import Law
from initpolicy.streams import Recipe, Stream, backends

__all__ = ["MATRICES"]

_NORMAL = Recipe(law="normal")


def _orthonormal(stream: Stream, rows: int, columns: int, copies: int = 1) -> Float32:
    """(copies, rows, columns), each uniform (Haar) over matrices with orthonormal columns, or rows if wide.

    QR of a Gaussian with the signs of R's diagonal moved into Q (Mezzadri, "How to generate random
    matrices from the classical compact groups", 2007), in float32 and on one thread: the bytes that LAPACK gives
    depend on how many it has.
    """
    import torch

    gauss = backends.values(_NORMAL, stream, 0, copies * rows * columns).reshape(copies, rows, columns)
    tall = np.ascontiguousarray(gauss if rows >= columns else gauss.transpose(0, 2, 1))
    with _one_thread():
        q, r = (part.numpy() for part in torch.linalg.qr(torch.from_numpy(tall)))
    diagonal = np.diagonal(r, axis1=1, axis2=2)[:, None, :]
    q = np.where(diagonal < 0, -q, q)
    return np.asarray(q if rows >= columns else q.transpose(0, 2, 1), np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    q = _orthonormal(stream, *_flat(block))
    return (np.float32(a["gain"]) * q).reshape(block.shape)


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
    q = _orthonormal(stream, rows, columns, block.groups).reshape(block.shape[:2])
    out[centre] = np.float32(a["gain"]) * q
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
