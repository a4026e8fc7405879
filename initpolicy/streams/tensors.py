"""Recipes in torch's own operations, for a CUDA device: integers in int64, numbers in float32, one kernel an operation.

Separate kernels cannot be fused across a product and a sum, and torch builds CUDA's division and square root exactly
rounded, so that the bytes are those of `recipes.values`. On a CPU torch's square root is not (MKL): never used there
but in tests, which put NumPy's in its place.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initpolicy.streams import arithmetic, inverse
from initpolicy.streams.blocks import BLOCK, PLANE, Stream
from initpolicy.streams.recipes import Recipe
from initpolicy.streams.trials import same_bytes

__all__ = ["exact", "fill"]

_LOW = 0xFFFFFFFF


def fill(memory: Tensor, recipe: Recipe, stream: Stream, start: int) -> None:
    """Write the elements [start, start + n) into flat contiguous memory of n elements, block by block."""
    stop = start + memory.numel()
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first, last = max(start - block * BLOCK, 0), min(stop - block * BLOCK, BLOCK)
        here = memory[block * BLOCK + first - start : block * BLOCK + last - start]
        if recipe.law == "constant":
            here.fill_(_single(recipe.shift))
            continue
        # Of a short run only its own positions are made; it meets none of them twice.
        whole = last - first >= PLANE
        places = torch.arange(0 if whole else first, PLANE if whole else last, device=memory.device)
        table = _values(recipe, _words(stream, block, places % PLANE, recipe.draw))
        flat = table.reshape(-1)[first:last] if whole else table.gather(0, (places // PLANE)[None])[0]
        here.copy_(flat)


@lru_cache
def exact(device: torch.device) -> bool:
    """Whether the device gives the reference's bytes: tried once."""

    def made(recipe: Recipe, stream: Stream, count: int) -> NDArray[Any]:
        memory = torch.empty(count, dtype=torch.float32, device=device)
        fill(memory, recipe, stream, 0)
        return memory.cpu().numpy()

    return same_bytes(made)


def _single(number: float) -> float:
    """Rounded to float32."""
    return float(np.float32(number))


def _at(x: Tensor, number: float) -> Tensor:
    return torch.full((), _single(number), dtype=torch.float32, device=x.device)


# --- words, as int64 from 0 to 2**32 - 1 -----------------------------------------------------------


def _words(stream: Stream, block: int, positions: Tensor, draw: int) -> Tensor:
    """(4, n), as `blocks.philox` gives them."""
    c0, c2 = positions, torch.full_like(positions, block >> 32)
    c1, c3 = torch.full_like(positions, block & _LOW), torch.full_like(positions, draw)
    k0, k1 = stream.key & _LOW, stream.key >> 32
    for _ in range(10):
        even, odd = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # modulo 2**64
        c0 = (odd >> 32 & _LOW) ^ c1 ^ k0
        c2 = (even >> 32 & _LOW) ^ c3 ^ k1
        c1, c3 = odd & _LOW, even & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return torch.stack([c0, c1, c2, c3])


def _signed(words: Tensor) -> Tensor:
    """The same 32 bits as int32."""
    return ((words ^ 0x80000000) - 0x80000000).to(torch.int32)


def _float(words: Tensor) -> Tensor:
    return words.to(torch.float32)


# --- arithmetic.py, operation by operation ---------------------------------------------------------


def _horner(x: Tensor, coefficients: tuple[np.float32, ...]) -> Tensor:
    *rest, last = map(float, coefficients)
    total = torch.full_like(x, last)
    for coefficient in reversed(rest):
        total = total * x + coefficient
    return total


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    root = int(arithmetic.ROOT_HALF_BITS)
    bits = x.view(torch.int32) - root
    mantissa = ((bits & int(arithmetic.MANTISSA)) + root).view(torch.float32)
    return (bits >> 23).to(torch.float32), mantissa - 1.0


def _minus_log(k: Tensor, f: Tensor) -> Tensor:
    square = f * f
    series = 0.5 * square - (square * f) * _horner(f, arithmetic.LOG)
    return (series - f) - k * float(arithmetic.LN2)


def _minus_log_word(words: Tensor) -> Tensor:
    k, f = _split(_float(words) + 0.5)
    near = (0.5 + _float(words ^ _LOW)) * -float(arithmetic.TINY)
    return _minus_log(k - 32.0, torch.where(words >= int(arithmetic.NEAR_ONE), near, f))


def _sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x)


def _box_muller(radius: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    y = _minus_log_word(radius)
    r = _sqrt(y + y)
    a = _signed((angle << 2 | 2) & _LOW).to(torch.float32) * float(arithmetic.ANGLE)
    z = a * a
    sine = a + (a * z) * _horner(z, arithmetic.SIN)
    cosine = (z * -0.5 + 1.0) + (z * z) * _horner(z, arithmetic.COS)
    cosine = torch.where((angle & 0x80000000) != 0, -cosine, cosine)
    swap = (angle & 0x40000000) != 0
    return r * torch.where(swap, sine, cosine), r * torch.where(swap, cosine, sine)


def _exp32(x: Tensor) -> Tensor:
    x = x.clamp(-150.0, 150.0)
    k = torch.floor(x * float(arithmetic.LOG2E) + 0.5)
    r = (x - k * float(arithmetic.LN2_HIGH)) - k * float(arithmetic.LN2_LOW)
    y = (r + (r * r) * _horner(r, arithmetic.EXP)) + 1.0
    power = k.to(torch.int32)
    half = power >> 1
    y = (y * _power_of_two(half)) * _power_of_two(power - half)
    return torch.where(y < float(arithmetic.SMALLEST), torch.zeros_like(y), y)


def _power_of_two(k: Tensor) -> Tensor:
    return ((k + 127) << 23).view(torch.float32)


def _quantile(words: Tensor, known: inverse.Interval) -> Tensor:
    is_right = words >= known.split
    side = torch.where(is_right, _LOW, 0)
    m = ((known.split - 1 - words) & _LOW) ^ side
    q = (_float(m) + 0.5) * float(known.step) + float(known.inner)
    beyond = torch.where(is_right, _at(words, float(known.right)), _at(words, float(known.left)))
    s = (_float(words ^ side) + 0.5) * float(known.tail_step) + beyond
    square = float(inverse.CENTRE_SQUARE) - q * q
    k, f = _split(s)
    r = _sqrt(_minus_log(k - float(known.scale), f))
    tail, far = r - float(inverse.TAIL_START), r - float(inverse.FAR_START)
    near, central = r <= float(inverse.FAR_START), q <= float(inverse.CENTRE_EDGE)
    over, under = (
        torch.where(near, _horner(tail, inside), _horner(far, outside))
        for inside, outside in zip(inverse.TAIL, inverse.FAR, strict=True)
    )
    over = torch.where(central, q * _horner(square, inverse.CENTRE[0]), over)
    under = torch.where(central, _horner(square, inverse.CENTRE[1]), under)
    size = over / under
    return _clamped(torch.where(is_right, size, -size), float(known.least), float(known.most))


def _clamped(x: Tensor, least: float, most: float) -> Tensor:
    if least > -math.inf:
        x = torch.where(x < _at(x, least), _at(x, least), x)
    return torch.where(x > _at(x, most), _at(x, most), x) if most < math.inf else x


# --- recipes.py ------------------------------------------------------------------------------------


def _values(recipe: Recipe, table: Tensor) -> Tensor:
    x = _law(recipe, table)
    y = _single(recipe.shift) + _single(recipe.scale) * x
    return _clamped(_exp32(y) if recipe.exp else y, recipe.least, recipe.most)


def _law(recipe: Recipe, table: Tensor) -> Tensor:
    match recipe.law:
        case "uniform01":
            return (_float(table >> 9) + 0.5) * 2.0**-23
        case "centred":
            return ((_signed(table ^ 0x80000000) >> 8).to(torch.float32) + 0.5) * 2.0**-23
        case "normal":
            return torch.stack([*_box_muller(table[0], table[1]), *_box_muller(table[2], table[3])])
        case "truncated":
            assert recipe.interval is not None
            return _quantile(table, recipe.interval)
        case "exponential":
            return _minus_log_word(table) / _at(table, recipe.rate)
        case "bernoulli":
            return (table < recipe.thresholds[0]).to(torch.float32)
        case "poisson":
            edges = torch.tensor(recipe.thresholds, dtype=torch.int64, device=table.device)
            return torch.searchsorted(edges, table, right=True).to(torch.float32)
    raise ValueError(f"nothing is drawn for {recipe.law}")
