"""Recipes in Numba: compiled when this file is imported, straight into memory, equal to `recipes.values` to the bit.

A job is a run of elements of one block: (address of its first element, index of that element, how many, the stream's
key, row of its recipe). Tables of jobs and recipes make small tensors, blocks of large ones and rows of a shard one
thing. Loops run over tiles that stay in the first cache, without branches inside, so that LLVM vectorizes them;
it is given no leave to fuse or reorder what makes values.

All kernels stand in this one file, by whose date and size Numba tells whether what it has on disk is still right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from initpolicy.streams import arithmetic, inverse
from initpolicy.streams.blocks import BLOCK, PLANE, Stream
from initpolicy.streams.recipes import Recipe

__all__ = [
    "KINDS",
    "Jobs",
    "Tables",
    "draw",
    "draw_and_measure",
    "jobs_for",
    "read_back",
    "tables",
    "values",
    "values_of_many",
]

KINDS = {"float32": 0, "float64": 1, "bfloat16": 2, "float16": 3}
"""How the numbers lie in memory."""
_CONSTANT, _UNIFORM01, _CENTRED, _NORMAL, _TRUNCATED, _EXPONENTIAL, _BERNOULLI, _POISSON = range(8)
_LAWS = {
    "constant": _CONSTANT,
    "uniform01": _UNIFORM01,
    "centred": _CENTRED,
    "normal": _NORMAL,
    "truncated": _TRUNCATED,
    "exponential": _EXPONENTIAL,
    "bernoulli": _BERNOULLI,
    "poisson": _POISSON,
}
_NO_INTERVAL = (0.0,) * 7

Jobs = NDArray[np.uint64]
"""One row a job."""
Tables = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint32]]
"""One row a recipe: its numbers, its integers; and every threshold."""

_TILE = 512
_WIDE = 4096
"""Elements that are measured at a time."""
_ROUNDS = 10
_u32, _u64, _i32, _f32 = np.uint32, np.uint64, np.int32, np.float32

_A, _B = _u64(0xD2511F53), _u64(0xCD9E8D57)
_WEYL0, _WEYL1 = _u32(0x9E3779B9), _u32(0xBB67AE85)
_HIGH = _u64(32)

_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = arithmetic.LOG
_S0, _S1, _S2 = arithmetic.SIN
_C0, _C1, _C2 = arithmetic.COS
_E0, _E1, _E2, _E3, _E4 = arithmetic.EXP
_HALF, _ONE, _ZERO, _MINUS_HALF = arithmetic.HALF, arithmetic.ONE, _f32(0), _f32(-0.5)
_MINUS_TINY, _LN2, _ANGLE = _f32(-arithmetic.TINY), arithmetic.LN2, arithmetic.ANGLE
_LOG2E, _LN2_HIGH, _LN2_LOW = arithmetic.LOG2E, arithmetic.LN2_HIGH, arithmetic.LN2_LOW
_SMALLEST, _EXP_EDGE = arithmetic.SMALLEST, _f32(150)
_ROOT_HALF_BITS, _MANTISSA, _NEAR_ONE = arithmetic.ROOT_HALF_BITS, arithmetic.MANTISSA, arithmetic.NEAR_ONE
_UNIT = _f32(2.0**-23)

(_CN0, _CN1, _CN2, _CN3), (_CD0, _CD1, _CD2, _CD3) = inverse.CENTRE
(_TN0, _TN1, _TN2, _TN3), (_TD0, _TD1, _TD2) = inverse.TAIL
(_FN0, _FN1, _FN2, _FN3), (_FD0, _FD1, _FD2) = inverse.FAR
_CENTRE_EDGE, _CENTRE_SQUARE = inverse.CENTRE_EDGE, inverse.CENTRE_SQUARE
_TAIL_START, _FAR_START = inverse.TAIL_START, inverse.FAR_START

_HALF_TINY, _HALF_NORMAL, _HALF_INFINITE = _u32(0x3F000000), _u32(0x38800000), _u32(0x47800000)
_TWO_112 = _f32(2.0**112)


# --- tables --------------------------------------------------------------------------------------


def tables(recipes: Sequence[tuple[Recipe, str]]) -> Tables:
    """Recipes, each with the dtype of the memory that it is for, as the kernels read them."""
    numbers: list[tuple[Any, ...]] = []
    integers: list[tuple[int, ...]] = []
    thresholds: list[int] = []
    for recipe, dtype in recipes:
        entries, known = recipe.thresholds, recipe.interval
        of_interval = _NO_INTERVAL if known is None else _of_interval(known)
        numbers.append((recipe.scale, recipe.shift, recipe.least, recipe.most, recipe.rate, *of_interval))
        head = (_LAWS[recipe.law], KINDS[dtype], recipe.exp, recipe.draw, len(thresholds))
        size = entries[0] if recipe.law == "bernoulli" else len(entries)
        integers.append((*head, size, *((0, 0) if known is None else (known.split, known.scale))))
        if recipe.law == "poisson":
            thresholds.extend(entries)
    return np.array(numbers, np.float32), np.array(integers, np.int64), np.array(thresholds or [0], np.uint32)


def _of_interval(known: inverse.Interval) -> tuple[Any, ...]:
    return known.step, known.inner, known.tail_step, known.left, known.right, known.least, known.most


def jobs_for(address: int, size: int, starts: NDArray[np.int64], length: int, key: int, recipe: int) -> Jobs:
    """What fills memory at ``address``, of elements of ``size`` bytes, with the elements [start, start + length) of
    one start after the other."""
    first, last = starts // BLOCK, (starts + length - 1) // BLOCK
    pieces = last - first + 1
    which = np.repeat(np.arange(len(starts)), pieces)
    block = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    low = np.maximum(block * BLOCK, starts[which])
    high = np.minimum((block + 1) * BLOCK, starts[which] + length)
    jobs = np.empty((len(which), 5), np.uint64)
    jobs[:, 0] = (address + (which * length + low - starts[which]) * size).astype(np.uint64)
    jobs[:, 1], jobs[:, 2], jobs[:, 3], jobs[:, 4] = low, high - low, key, recipe
    return jobs


# --- numbers -------------------------------------------------------------------------------------


@intrinsic
def _bits(context: Any, x: Any) -> Any:
    """The pattern of a float32, as int32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), build


@intrinsic
def _number(context: Any, bits: Any) -> Any:
    """The float32 of a pattern."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), build


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.uint64), build


_part: Callable[[Any], Any] = njit(error_model="numpy")
_several: Callable[[Any], Any] = njit(inline="always", error_model="numpy")
"""For what returns more than one number: by Numba's own calls, LLVM would not vectorize round it."""


@_several
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    for _ in range(_ROUNDS):
        even = _u64(c0) * _A
        odd = _u64(c2) * _B
        c0 = _u32(_u32(odd >> _HIGH) ^ c1 ^ k0)
        c2 = _u32(_u32(even >> _HIGH) ^ c3 ^ k1)
        c1 = _u32(odd)
        c3 = _u32(even)
        k0 = _u32(k0 + _WEYL0)
        k1 = _u32(k1 + _WEYL1)
    return c0, c1, c2, c3


@_part
def _mantissa(x: Any) -> Any:
    """f of `arithmetic._split`."""
    bits = _i32(_bits(x) - _ROOT_HALF_BITS)
    return _number(_i32(_i32(bits & _MANTISSA) + _ROOT_HALF_BITS)) - _ONE


@_part
def _exponent(x: Any) -> Any:
    """k of `arithmetic._split`."""
    return _f32(_i32(_i32(_bits(x) - _ROOT_HALF_BITS) >> _i32(23)))


@_part
def _minus_log(k: Any, f: Any) -> Any:
    square = f * f
    p = _L7 * f + _L6
    p = p * f + _L5
    p = p * f + _L4
    p = p * f + _L3
    p = p * f + _L2
    p = p * f + _L1
    p = p * f + _L0
    series = _HALF * square - (square * f) * p
    return (series - f) - k * _LN2


@_part
def _minus_log_word(w: Any) -> Any:
    x = _f32(w) + _HALF
    near = (_HALF + _f32(_u32(~w))) * _MINUS_TINY
    f = near if w >= _NEAR_ONE else _mantissa(x)
    return _minus_log(_exponent(x) - _f32(32), f)


@_several
def _box_muller(radius: Any, angle: Any) -> Any:
    y = _minus_log_word(radius)
    r = np.sqrt(y + y)
    a = _f32(_i32(_u32(_u32(angle << _u32(2)) | _u32(2)))) * _ANGLE
    z = a * a
    p = _S2 * z + _S1
    p = p * z + _S0
    sine = a + (a * z) * p
    q = _C2 * z + _C1
    q = q * z + _C0
    cosine = (z * _MINUS_HALF + _ONE) + (z * z) * q
    cosine = _number(_i32(_bits(cosine) ^ _i32(_u32(angle & _u32(0x80000000)))))
    swap = _u32(angle & _u32(0x40000000)) != _u32(0)
    return r * (sine if swap else cosine), r * (cosine if swap else sine)


@_part
def _exp32(x: Any) -> Any:
    x = x if x > -_EXP_EDGE else -_EXP_EDGE
    x = x if x < _EXP_EDGE else _EXP_EDGE
    k = _f32(np.floor(x * _LOG2E + _HALF))
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = _E4 * r + _E3
    p = p * r + _E2
    p = p * r + _E1
    p = p * r + _E0
    y = _ONE + (r + (r * r) * p)
    power = _i32(k)
    half = _i32(power >> _i32(1))
    y = (y * _power_of_two(half)) * _power_of_two(_i32(power - half))
    return _ZERO if y < _SMALLEST else y


@_part
def _power_of_two(k: Any) -> Any:
    return _number(_i32(_i32(k + _i32(127)) << _i32(23)))


@_part
def _quantile(w: Any, split: Any, scale: Any, step: Any, inner: Any, tail_step: Any, left: Any, right: Any) -> Any:
    """`inverse.quantile` before its clamp; every branch is computed, and one is taken."""
    is_right = _u64(w) >= split
    side = _u32(0xFFFFFFFF) if is_right else _u32(0)
    m = _u32(_u32(_u32(_u32(split) - _u32(1)) - w) ^ side)
    q = (_f32(m) + _HALF) * step + inner
    s = (_f32(_u32(w ^ side)) + _HALF) * tail_step + (right if is_right else left)
    square = _CENTRE_SQUARE - q * q
    over = _CN3 * square + _CN2
    over = over * square + _CN1
    over = over * square + _CN0
    over = q * over
    under = _CD3 * square + _CD2
    under = under * square + _CD1
    under = under * square + _CD0
    r = np.sqrt(_minus_log(_exponent(s) - scale, _mantissa(s)))
    near = r <= _FAR_START
    t = r - (_TAIL_START if near else _FAR_START)
    over_tail = (_TN3 if near else _FN3) * t + (_TN2 if near else _FN2)
    over_tail = over_tail * t + (_TN1 if near else _FN1)
    over_tail = over_tail * t + (_TN0 if near else _FN0)
    under_tail = (_TD2 if near else _FD2) * t + (_TD1 if near else _FD1)
    under_tail = under_tail * t + (_TD0 if near else _FD0)
    central = q <= _CENTRE_EDGE
    size = (over if central else over_tail) / (under if central else under_tail)
    return size if is_right else -size


@_part
def _count(w: Any, thresholds: Any, first: Any, entries: Any) -> Any:
    """How many of the thresholds are at most w."""
    low, high = 0, entries
    while low < high:
        middle = (low + high) // 2
        if thresholds[first + middle] <= w:
            low = middle + 1
        else:
            high = middle
    return _f32(low)


# --- rounding ------------------------------------------------------------------------------------


@_part
def _to_bfloat16(x: Any) -> Any:
    """To the nearest, ties to even; x is a number."""
    bits = _u32(_bits(x))
    return np.uint16(_u32(bits + _u32(0x7FFF) + _u32(_u32(bits >> _u32(16)) & _u32(1))) >> _u32(16))


@_part
def _to_float16(x: Any) -> Any:
    """To the nearest, ties to even; x is a number. Subnormals by adding 1/2, whose last bit is worth theirs."""
    bits = _u32(_bits(x))
    size = _u32(bits & _u32(0x7FFFFFFF))
    normal = _u32(_u32(size + _u32(0xFFF) + _u32(_u32(size >> _u32(13)) & _u32(1))) - _u32(0x38000000)) >> _u32(13)
    small = _u32(_u32(_bits(_number(_i32(size)) + _HALF)) - _HALF_TINY)
    half = _u32(small) if size < _HALF_NORMAL else _u32(normal)
    half = _u32(0x7C00) if size >= _HALF_INFINITE else half
    return np.uint16(_u32(half | _u32(_u32(bits >> _u32(16)) & _u32(0x8000))))


@_part
def _from_float16(half: Any) -> Any:
    """Exact; of what is finite."""
    size = _number(_i32(_u32(_u32(half) & _u32(0x7FFF)) << _u32(13))) * _TWO_112
    return -size if half & np.uint16(0x8000) else size


@_several
def _within(begin: Any, end: Any, low: Any, high: Any) -> Any:
    """What of [low, high) lies in [begin, end)."""
    return max(begin, low), min(end, high)


# --- kernels -------------------------------------------------------------------------------------


def _draw(
    jobs: Any, numbers: Any, integers: Any, thresholds: Any, first: Any, last: Any, words: Any, tile: Any
) -> None:
    """The jobs [first, last); ``words`` and ``tile`` are this thread's room for 4 planes of a tile."""
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for job in range(first, last):
        address, start, count = jobs[job, 0], np.int64(jobs[job, 1]), np.int64(jobs[job, 2])
        k0, k1, row = _u32(jobs[job, 3]), _u32(jobs[job, 3] >> _HIGH), np.int64(jobs[job, 4])
        block, begin = start // BLOCK, start % BLOCK
        end = begin + count
        c1, c2, c3 = _u32(block), _u32(block >> 32), _u32(integers[row, 3])
        law, kind, exp = integers[row, 0], integers[row, 1], integers[row, 2]
        scale, shift, least, most = numbers[row, 0], numbers[row, 1], numbers[row, 2], numbers[row, 3]
        # Positions that any element needs: of a run that reaches round, and is shorter than a plane, two ranges.
        low: Any = 0
        high: Any = PLANE
        if begin // PLANE == (end - 1) // PLANE:
            low, high = begin % PLANE, (end - 1) % PLANE + 1
        for at in range(low, high, _TILE):
            n: Any = min(_TILE, high - at)
            needed = 0
            for plane in range(4):
                a, b = _within(begin, end, plane * PLANE + at, plane * PLANE + at + n)
                if a < b:
                    needed |= 1 << plane
            if not needed:
                continue
            if law != _CONSTANT:
                for i in range(n):
                    w0[i], w1[i], w2[i], w3[i] = _philox(_u32(at + i), c1, c2, c3, k0, k1)
            if law == _NORMAL:
                for pair in range(0, 4, 2):
                    if needed >> pair & 3:
                        u, v, x, y = words[pair], words[pair + 1], tile[pair], tile[pair + 1]
                        for i in range(n):
                            x[i], y[i] = _box_muller(u[i], v[i])
            for plane in range(4):
                if not needed >> plane & 1:
                    continue
                w, x = words[plane], tile[plane]
                if law == _TRUNCATED:
                    step, inner, tail_step = numbers[row, 5], numbers[row, 6], numbers[row, 7]
                    left, right, z_least, z_most = numbers[row, 8], numbers[row, 9], numbers[row, 10], numbers[row, 11]
                    split, power = _u64(integers[row, 6]), _f32(integers[row, 7])
                    for i in range(n):
                        z = _quantile(w[i], split, power, step, inner, tail_step, left, right)
                        z = z_least if z < z_least else z
                        x[i] = z_most if z > z_most else z
                elif law == _CENTRED:
                    for i in range(n):
                        x[i] = (_f32(_i32(_i32(_u32(w[i] ^ _u32(0x80000000))) >> _i32(8))) + _HALF) * _UNIT
                elif law == _UNIFORM01:
                    for i in range(n):
                        x[i] = (_f32(_i32(_u32(w[i] >> _u32(9)))) + _HALF) * _UNIT
                elif law == _EXPONENTIAL:
                    rate = numbers[row, 4]
                    for i in range(n):
                        x[i] = _minus_log_word(w[i]) / rate
                elif law == _BERNOULLI:
                    threshold = _u64(integers[row, 5])
                    for i in range(n):
                        x[i] = _ONE if _u64(w[i]) < threshold else _ZERO
                elif law == _POISSON:
                    where, entries = integers[row, 4], integers[row, 5]
                    for i in range(n):
                        x[i] = _count(w[i], thresholds, where, entries)
                if law == _CONSTANT:
                    for i in range(n):
                        x[i] = shift
                else:
                    for i in range(n):
                        x[i] = shift + scale * x[i]
                    if exp:
                        for i in range(n):
                            x[i] = _exp32(x[i])
                    for i in range(n):
                        y = least if x[i] < least else x[i]
                        x[i] = most if y > most else y
                origin = plane * PLANE + at
                a, b = _within(begin, end, origin, origin + n)
                source = x[a - origin : b - origin]
                place, size = _u64(a - begin), b - a
                if kind == 0:
                    out32 = carray(_pointer(address + place * _u64(4)), (size,), np.float32)
                    for i in range(size):
                        out32[i] = source[i]
                elif kind == 1:
                    out64 = carray(_pointer(address + place * _u64(8)), (size,), np.float64)
                    for i in range(size):
                        out64[i] = source[i]
                else:
                    out16 = carray(_pointer(address + place * _u64(2)), (size,), np.uint16)
                    if kind == 2:
                        for i in range(size):
                            out16[i] = _to_bfloat16(source[i])
                    else:
                        for i in range(size):
                            out16[i] = _to_float16(source[i])


def _sums(values: Any, centre: Any) -> Any:
    """Of the values less the centre: their sum, and that of their squares."""
    total, squares = 0.0, 0.0
    for i in range(len(values)):
        off = np.float64(values[i]) - centre
        total += off
        squares += off * off
    return total, squares


def _plain_sums(values: Any) -> Any:
    """The like for a centre of 0."""
    total, squares = 0.0, 0.0
    for i in range(len(values)):
        value = np.float64(values[i])
        total += value
        squares += value * value
    return total, squares


def _extremes(values: Any) -> Any:
    """(least, greatest) of float32 numbers, by their patterns: as integers, and without a branch."""
    low, high = _i32(0x7FFFFFFF), _i32(-0x80000000)
    for i in range(len(values)):
        key = _ordered(_bits(values[i]))
        low, high = min(low, key), max(high, key)
    return _number(_ordered(low)), _number(_ordered(high))


@_part
def _ordered(bits: Any) -> Any:
    """A number's pattern as an integer that grows with the number, and back."""
    return _i32(bits ^ _i32(_i32(bits >> _i32(31)) & _i32(0x7FFFFFFF)))


def _widen(memory: Any, kind: Any, tile: Any) -> None:
    """16-bit numbers as float32; an infinity or NaN of float16 becomes an infinite number."""
    if kind == 2:
        for i in range(len(memory)):
            tile[i] = _number(_i32(_u32(_u32(memory[i]) << _u32(16))))
    else:
        for i in range(len(memory)):
            half = memory[i]
            tile[i] = (
                _number(_i32(0x7F800000)) if half & np.uint16(0x7C00) == np.uint16(0x7C00) else _from_float16(half)
            )


def _measured(address: Any, count: Any, kind: Any, tile: Any, centre: Any, out: Any) -> None:
    """Sum, sum of squares (both of values less ``centre``), least and greatest, chunk by chunk in the first cache."""
    total, squares, low, high = 0.0, 0.0, np.inf, -np.inf
    for at in range(0, count, len(tile)):
        size = min(len(tile), count - at)
        if kind == 1:
            wide = carray(_pointer(address + _u64(8 * at)), (size,), np.float64)
            more, more_squares = _plain_sums(wide) if centre == 0 else _sums(wide, centre)
            for i in range(size):  # these were float32 once
                tile[i] = _f32(wide[i])
            values = tile[:size]
        else:
            values = tile[:size]
            if kind == 0:
                values = carray(_pointer(address + _u64(4 * at)), (size,), np.float32)
            else:
                _widen(carray(_pointer(address + _u64(2 * at)), (size,), np.uint16), kind, tile)
            more, more_squares = _plain_sums(values) if centre == 0 else _sums(values, centre)
        least, most = _extremes(values)
        low, high = min(low, np.float64(least)), max(high, np.float64(most))
        total += more
        squares += more_squares
    out[0], out[1], out[2], out[3] = total, squares, low, high


def _measure(jobs: Any, integers: Any, first: Any, last: Any, tile: Any, out: Any) -> None:
    """(mean, sum of squared differences from it, least, greatest, finite) of what lies where each job wrote."""
    for job in range(first, last):
        address, count, kind = jobs[job, 0], np.int64(jobs[job, 2]), integers[np.int64(jobs[job, 4]), 1]
        row, centre = out[job], 0.0
        _measured(address, count, kind, tile, centre, row)
        spread = row[1] - row[0] * row[0] / count
        if spread < row[1] * 2.0**-10 and row[1] < np.inf:
            # The mean is far from 0 beside the spread, and squares have lost their digits.
            centre = row[0] / count
            _measured(address, count, kind, tile, centre, row)
            spread = row[1] - row[0] * row[0] / count
        finite = row[1] < np.inf and row[0] == row[0]
        row[0] = centre + row[0] / count
        row[1] = max(spread, 0.0)
        row[4] = 1.0 if finite else 0.0


def _both(
    jobs: Any, numbers: Any, integers: Any, thresholds: Any, first: Any, last: Any,
    words: Any, tile: Any, room: Any, out: Any,
) -> None:  # fmt: skip
    """Draw each job, and measure it while it is in cache."""
    for job in range(first, last):
        _draw_kernel(jobs, numbers, integers, thresholds, job, job + 1, words, tile)
        _measure_kernel(jobs, integers, job, job + 1, room, out)


def _read_back(jobs: Any, size: Any, first: Any, last: Any, out: Any) -> None:
    """The bytes of what lies where the jobs wrote, elements of ``size`` bytes, one job after the other."""
    at = 0
    for job in range(first, last):
        count = np.int64(jobs[job, 2]) * size
        memory = carray(_pointer(jobs[job, 0]), (count,), np.uint8)
        for i in range(count):
            out[at + i] = memory[i]
        at += count


# --- compiling -----------------------------------------------------------------------------------


def _compiled(function: Any, signature: str | None, **options: Any) -> Any:
    """On disk for the next process, where there is a folder to write to; else in memory."""
    try:
        return njit(signature, nogil=True, error_model="numpy", cache=True, **options)(function)
    except (OSError, RuntimeError):  # no folder, no room on it
        return njit(signature, nogil=True, error_model="numpy", **options)(function)


# Sums of a measurement may be reordered and fused, and then differ in their last bits; no value comes from here.
_sums = njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")(_sums)
_plain_sums = njit(fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")(_plain_sums)
_extremes = njit(error_model="numpy")(_extremes)
_widen = njit(error_model="numpy")(_widen)
_measured = njit(error_model="numpy")(_measured)
_TABLES = "uint64[:,::1], float32[:,::1], int64[:,::1], uint32[::1]"
_draw_kernel = _compiled(_draw, f"void({_TABLES}, int64, int64, uint32[:,::1], float32[:,::1])")
_measure_kernel = _compiled(_measure, "void(uint64[:,::1], int64[:,::1], int64, int64, float32[::1], float64[:,::1])")
_both_kernel = _compiled(
    _both, f"void({_TABLES}, int64, int64, uint32[:,::1], float32[:,::1], float32[::1], float64[:,::1])"
)
_read_back_kernel = _compiled(_read_back, "void(uint64[:,::1], int64, int64, int64, uint8[::1])")


# --- for the rest of the program -----------------------------------------------------------------


class _Room(threading.local):
    """What each thread works in."""

    def __init__(self) -> None:
        self.words = np.empty((4, _TILE), np.uint32)
        self.tile = np.empty((4, _TILE), np.float32)
        self.wide = np.empty(_WIDE, np.float32)


_room = _Room()


def draw(jobs: Jobs, known: Tables, first: int, last: int) -> None:
    """Write the jobs [first, last)."""
    _draw_kernel(jobs, *known, first, last, _room.words, _room.tile)


def draw_and_measure(jobs: Jobs, known: Tables, first: int, last: int, out: NDArray[np.float64]) -> None:
    """The same, and of each: mean, sum of squared differences from it, least, greatest, and whether all are finite."""
    _both_kernel(jobs, *known, first, last, _room.words, _room.tile, _room.wide, out)


def read_back(jobs: Jobs, size: int, first: int, last: int) -> NDArray[np.uint8]:
    """The bytes that lie where the jobs [first, last) wrote, of elements of ``size`` bytes."""
    out = np.empty(int(jobs[first:last, 2].sum()) * size, np.uint8)
    _read_back_kernel(jobs, size, first, last, out)
    return out


def values_of_many(recipe: Recipe, streams: Sequence[Stream], count: int) -> NDArray[np.float32]:
    """(streams, count): the first elements under each, of one block at most."""
    out = np.empty((len(streams), count), np.float32)
    if count:
        start = out.ctypes.data
        jobs = np.array([(start + 4 * at * count, 0, count, s.key, 0) for at, s in enumerate(streams)], np.uint64)
        draw(jobs, tables([(recipe, "float32")]), 0, len(jobs))
    return out


def values(recipe: Recipe, stream: Stream, start: int, stop: int) -> NDArray[np.float32]:
    """The flattened elements [start, stop), in memory of their own."""
    out = np.empty(stop - start, np.float32)
    if start < stop:
        jobs = jobs_for(out.ctypes.data, 4, np.array([start]), stop - start, stream.key, 0)
        draw(jobs, tables([(recipe, "float32")]), 0, len(jobs))
    return out
