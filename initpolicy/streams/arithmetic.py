"""Words to numbers: integer operations and exactly rounded float32 + - * / sqrt, in the order written.

No fused multiply-add and no library function, so that every backend that follows the order gives the
same bytes. Polynomials are minimax fits of this project, evaluated by Horner's rule from the last
coefficient; every constant below is a float32, written in hexadecimal. No intermediate is subnormal
(save in truncation to less than 1e-28 of the normal law), so flushing to zero changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from initpolicy.streams.blocks import Word32

__all__ = ["Float32", "box_muller", "exp32", "horner", "minus_log", "minus_log_word", "sign_of", "single"]

Float32 = NDArray[np.float32]


def single(*numbers: str) -> tuple[np.float32, ...]:
    """float32 constants from hexadecimal text."""
    return tuple(np.float32(float.fromhex(number)) for number in numbers)


# log(1 + f) = f - f²/2 + f³ P(f) on [sqrt(1/2) - 1, sqrt(2) - 1], relative error 6e-9
LOG = single(
    "0x1.555554p-2", "-0x1.000226p-2", "0x1.99a01cp-3", "-0x1.54728ap-3",
    "0x1.22d92ep-3", "-0x1.0d8242p-3", "0x1.055ec4p-3", "-0x1.38c9d4p-4",
)  # fmt: skip
# sin(a) = a + (a z) S(z), cos(a) = (1 - z/2) + (z z) C(z), z = a a, on [-pi/4, pi/4]: relative 4e-9, 2e-10
SIN = single("-0x1.555546p-3", "0x1.110778p-7", "-0x1.995406p-13")
COS = single("0x1.55554ap-5", "-0x1.6c0c28p-10", "0x1.99e80cp-16")
# exp(r) = 1 + (r + r² E(r)) on [-log(2)/2, log(2)/2], relative error 4e-9
EXP = single("0x1.fffffcp-2", "0x1.555492p-3", "0x1.5558b4p-5", "0x1.12399cp-7", "0x1.6a48fcp-10")

LN2, LOG2E, LN2_HIGH, LN2_LOW = single("0x1.62e43p-1", "0x1.715476p+0", "0x1.63p-1", "-0x1.bd0106p-13")
ANGLE, TINY, SMALLEST = single("0x1.921fb6p-32", "0x1p-32", "0x1p-126")
HALF, ONE = single("0x1p-1", "0x1p+0")

ROOT_HALF_BITS = np.int32(0x3F3504F3)
MANTISSA = np.int32(0x007FFFFF)
NEAR_ONE = np.uint32(0xB504F334)


def horner(x: Float32, coefficients: tuple[np.float32, ...]) -> Float32:
    """c0 + x (c1 + x (c2 + …)), each step one product and one sum."""
    *rest, last = coefficients
    total: Float32 = np.full_like(x, last)
    for coefficient in reversed(rest):
        total = total * x + coefficient
    return total


def _split(x: Float32) -> tuple[Float32, Float32]:
    """(k, f) with x = 2**k (1 + f) exactly, sqrt(1/2) <= 1 + f < sqrt(2); x positive and normal.

    bits = the pattern of x less that of sqrt(1/2); k = bits >> 23; 1 + f has the pattern
    (bits & 0x7FFFFF) + that of sqrt(1/2).
    """
    bits = x.view(np.int32) - ROOT_HALF_BITS
    mantissa = ((bits & MANTISSA) + ROOT_HALF_BITS).view(np.float32)
    return (bits >> np.int32(23)).astype(np.float32), mantissa - ONE


def _minus_log(k: Float32, f: Float32) -> Float32:
    """-(log(1 + f) + k log 2) = ((f²/2 - (f² f) P) - f) - k LN2, in this order."""
    square = f * f
    series = HALF * square - (square * f) * horner(f, LOG)
    return (series - f) - k * LN2


def minus_log(x: Float32, scale: int = 0) -> Float32:
    """-log(x / 2**scale), x positive and normal; relative error below 2e-7 where x / 2**scale <= 3/4."""
    k, f = _split(x)
    return _minus_log(k - np.float32(scale), f)


def minus_log_word(words: Word32) -> Float32:
    """-log((w + 1/2) / 2**32), relative error below 2e-7 from 22.9 (w = 0) to 1.2e-10 (w = 2**32 - 1).

    Below sqrt(1/2) by exponent and mantissa of float32(w) + 0.5; above it (w >= 0xB504F334) f is
    -(float32(~w) + 0.5) / 2**32, which is exact where 1 - u would cancel, and k comes out as 0.
    """
    k, f = _split(words.astype(np.float32) + HALF)
    near = (HALF + (~words).astype(np.float32)) * -TINY
    return _minus_log(k - np.float32(32), np.where(words >= NEAR_ONE, near, f))


def sign_of(x: Float32, bits: Word32) -> Float32:
    """x with its sign flipped where the top bit of ``bits`` is set."""
    return (x.view(np.uint32) ^ (bits & np.uint32(0x80000000))).view(np.float32)


def box_muller(radius: Word32, angle: Word32) -> tuple[Float32, Float32]:
    """Two independent standard normals from two words (Box and Muller 1958).

    r = sqrt(y + y), y = minus_log_word(radius): r is at most 6.76 and never 0.
    a = float32(int32(angle << 2 | 2)) * ANGLE, the centre of one of 2**30 bins of [-pi/4, pi/4].
    Sine and cosine of a follow SIN and COS. Bit 31 of ``angle`` flips the sign of the cosine, bit 30 puts
    the sine first: with a symmetric about 0 these are the four quadrants. Returns (r first, r second).
    """
    y = minus_log_word(radius)
    r = np.sqrt(y + y)
    a: Float32 = (angle << np.uint32(2) | np.uint32(2)).view(np.int32).astype(np.float32) * ANGLE
    z: Float32 = a * a
    sine = a + (a * z) * horner(z, SIN)
    cosine = sign_of((z * -HALF + ONE) + (z * z) * horner(z, COS), angle)
    swap = (angle & np.uint32(0x40000000)) != 0
    return r * np.where(swap, sine, cosine), r * np.where(swap, cosine, sine)


def exp32(x: Float32) -> Float32:
    """exp(x) in float32, relative error below 1e-7; inf above 88.72, 0 where it is below 2**-126.

    k = floor(x LOG2E + 0.5) after clamping x to [-150, 150]; r = (x - k LN2_HIGH) - k LN2_LOW;
    result = ((1 + (r + (r r) E(r))) 2**floor(k/2)) 2**(k - floor(k/2)), then 0 if below 2**-126.
    """
    x = np.asarray(x, np.float32)
    x = np.minimum(np.maximum(x, np.float32(-150)), np.float32(150))
    k = np.floor(x * LOG2E + HALF)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    y = ONE + (r + (r * r) * horner(r, EXP))
    power = k.astype(np.int32)
    half = power >> np.int32(1)
    with np.errstate(over="ignore", under="ignore"):
        y = (y * _power_of_two(half)) * _power_of_two(power - half)
    return np.where(y < SMALLEST, np.float32(0), y)


def _power_of_two(k: NDArray[np.int32]) -> Float32:
    return ((k + np.int32(127)) << np.int32(23)).view(np.float32)
