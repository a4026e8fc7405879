"""The words: Philox4x32-10, keyed by seed and name, laid out over the flattened tensor in blocks and planes.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "PLANE", "Stream", "Word32", "draw_table", "first_words", "philox", "stream_for", "words"]

Word32 = NDArray[np.uint32]

BLOCK = 65536
"""Elements that share a block number."""
PLANE = BLOCK // 4
"""Elements that share an output word: plane p of a block takes word p of its 16,384 counters."""

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Stream:
    """One parameter's random numbers: 64 bits, split into the two key words low half first."""

    key: int


def stream_for(seed: int, name: str) -> Stream:
    """The stream of ``name`` under ``seed``: 64 bits of BLAKE2b over the seed and the name.

    The hash reads the seed as 8 little-endian bytes, then the name in UTF-8, personalised with
    ``initpolicy``; its digest is read little-endian. ValueError unless 0 <= seed < 2**63.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"a seed is a whole number from 0 to 2**63 - 1, not {seed}")
    data = seed.to_bytes(8, "little") + name.encode()
    return Stream(int.from_bytes(blake2b(data, digest_size=8, person=b"initpolicy").digest(), "little"))


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Word32, Word32, Word32, Word32]:
    """Philox4x32-10 of four counter words and two key words (integers, or arrays that broadcast).

    A round maps (c0, c1, c2, c3) to (hi(B c2) ^ c1 ^ k0, lo(B c2), hi(A c0) ^ c3 ^ k1, lo(A c0)) with
    A = 0xD2511F53, B = 0xCD9E8D57; the key words then grow by 0x9E3779B9 and 0xBB67AE85, modulo 2**32.
    """
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(word, np.uint32) for word in counter))
    k0, k1 = key
    for _ in range(_ROUNDS):
        even = c0.astype(np.uint64) * _MULTIPLIERS[0]
        odd = c2.astype(np.uint64) * _MULTIPLIERS[1]
        c0 = (odd >> _HALF).astype(np.uint32) ^ c1 ^ np.asarray(k0, np.uint32)
        c2 = (even >> _HALF).astype(np.uint32) ^ c3 ^ np.asarray(k1, np.uint32)
        c1, c3 = odd.astype(np.uint32), even.astype(np.uint32)
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def words(stream: Stream, start: int, stop: int, draw: int = 0) -> Word32:
    """The 32-bit words of the flattened elements [start, stop), the same however the range is cut.

    Element e lies in block e // BLOCK, plane (e % BLOCK) // PLANE, position e % PLANE. Its word is
    output ``plane`` of the counter (position, low half of block, high half of block, draw).
    """
    return draw_table(stream, start, stop, draw, lambda table: table, np.uint32)


def draw_table(
    stream: Stream, start: int, stop: int, draw: int, law: Callable[[Word32], NDArray[Any]], dtype: Any
) -> NDArray[Any]:
    """``law`` of the words of [start, stop): it takes a (4, n) table, planes by positions, and gives one.

    Block by block; of a block that gives fewer than PLANE elements only their positions are made.
    """
    if not 0 <= start <= stop:
        raise ValueError(f"a range of elements needs 0 <= start <= stop, not [{start}, {stop})")
    if not 0 <= draw <= _LOW:
        raise ValueError(f"draw is a 32-bit word, not {draw}")
    out = np.empty(stop - start, dtype)
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first, last = max(start - block * BLOCK, 0), min(stop - block * BLOCK, BLOCK)
        here = slice(block * BLOCK + first - start, block * BLOCK + last - start)
        whole = last - first >= PLANE
        places = np.arange(PLANE) if whole else np.arange(first, last)
        table = law(_table(stream, block, places % PLANE, draw))
        # Fewer than PLANE elements never meet a position twice: each takes its own plane's row.
        out[here] = table.reshape(-1)[first:last] if whole else table[places // PLANE, np.arange(len(places))]
    return out


def first_words(keys: NDArray[np.uint64], positions: NDArray[Any], draw: int, planes: int) -> Word32:
    """(planes, n): the words of block 0 at these positions below PLANE, each under a key of its own."""
    low, high = keys & np.uint64(_LOW), keys >> _HALF
    return np.stack(philox((positions, 0, 0, draw), (low, high))[:planes])


def _table(stream: Stream, block: int, positions: NDArray[Any], draw: int) -> Word32:
    counter = (positions, block & _LOW, block >> 32, draw)
    return np.stack(philox(counter, (stream.key & _LOW, stream.key >> 32)))
