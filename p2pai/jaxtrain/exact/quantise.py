"""Float32 tensors to integers under a power of two, and back with one rounding.

`quantise` picks the smallest exponent E with max|x| < 2^E (a maximum is exact in any order) and rounds
x * 2^(bits - E) to the nearest integer, ties to even. `to_float32` rounds an exact integer times a power
of two to float32. Neither meets a denormal or an overflow: E stays in [-60, 60], and results are zero
below 2^-100 and stop at 2^50, so flush-to-zero modes and the order of evaluation cannot show.

Source: PROTOCOL section 7; docs/EXACT.md, "Conversions".
"""

from typing import Final

import jax.numpy as jnp
from jax import Array, lax

EXPONENT_MAX: Final = 60
"""Clamp of a tensor's exponent, both signs: any power of two used here is a normal float32."""

BYTE_BITS: Final = 7
"""Mantissas of so many bits are clipped to 127, so that they fit a signed byte."""

SUM_BITS: Final = 24
"""Bits of a quantised addend: all that float32 has."""

_SMALLEST: Final = 2.0**-100
_LARGEST: Final = 2.0**50


def quantise(x: Array, bits: int, axes: tuple[int, ...] | None = None) -> tuple[Array, Array]:
    """Return integers m (int32, |m| <= 2^bits) and exponents e (int32) with x ~ m * 2^e.

    Args:
      x: float32, any shape, |x| < 2^60.
      bits: at most 24; the scaled value is then below 2^24 and exact in float32 before it is rounded.
      axes: one exponent for each group of values along these axes, which e keeps with length 1; without
        them one exponent, a scalar.
    """
    mantissa, exponent = mantissas(x, bits, axes)
    return mantissa.astype(jnp.int32), exponent


def mantissas(x: Array, bits: int, axes: tuple[int, ...] | None = None) -> tuple[Array, Array]:
    """Return what `quantise` does, with the integers carried by float32."""
    assert bits <= SUM_BITS
    exponent = exponent_of(x, axes)
    mantissa = jnp.rint(x * power_of_two(bits - exponent))
    if bits == BYTE_BITS:
        mantissa = jnp.clip(mantissa, -127.0, 127.0)
    return mantissa, exponent - bits


def exponent_of(x: Array, axes: tuple[int, ...] | None = None) -> Array:
    """Return the smallest E >= -60 with max|x| < 2^E, at most 60."""
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=axes is not None)
    bits = lax.bitcast_convert_type(largest, jnp.int32)
    return jnp.clip((bits >> 23) - 126, -EXPONENT_MAX, EXPONENT_MAX)


def to_float32(integer: Array, exponent: Array | int) -> Array:
    """Round integer * 2^exponent to float32, to nearest, ties to even; never minus zero.

    Args:
      integer: integers carried by float64, at most 2^53 either way, or by float32, at most 2^24.
      exponent: from -400 to 400, so the scaled value is exact in float64; a scalar or one for each.
    """
    if integer.dtype == jnp.float32:
        return _scale(integer, exponent)
    scaled = integer * power_of_two_double(exponent)
    tiny = jnp.abs(scaled) < _SMALLEST
    return jnp.where(tiny, 0.0, jnp.clip(scaled, -_LARGEST, _LARGEST)).astype(jnp.float32)


def _scale(integer: Array, exponent: Array | int) -> Array:
    """Do what `to_float32` does to integers of at most 24 bits: the product is exact, nothing is rounded.

    The exponent is brought to [-126, 60], where the power of two and the product are normal float32 numbers.
    That changes no result: below -126 the product is less than 2^-102 in either case, and becomes zero; above
    60 it is at least 2^60 or zero, and stops at 2^50.
    """
    bounded = jnp.clip(jnp.asarray(exponent, jnp.int32), -126, EXPONENT_MAX)
    scaled = integer * power_of_two(bounded)
    tiny = jnp.abs(scaled) < jnp.float32(_SMALLEST)
    return jnp.where(tiny, jnp.float32(0), jnp.clip(scaled, -_LARGEST, _LARGEST))


def fixed(x: Array, bits: int, limit: float) -> Array:
    """Return float32 x, clipped to +-limit, as int64 in units of 2^-bits, to nearest, ties to even."""
    return jnp.rint(jnp.clip(x, -limit, limit) * jnp.float32(2.0**bits)).astype(jnp.int64)


def power_of_two(exponent: Array) -> Array:
    """Return 2^exponent, exact, as float32: exponents (int32) from -126 to 127."""
    return lax.bitcast_convert_type((exponent.astype(jnp.int32) + 127) << 23, jnp.float32)


def power_of_two_double(exponent: Array | int) -> Array:
    """Return 2^exponent, exact, as float64: exponents from -1022 to 1023."""
    return lax.bitcast_convert_type((jnp.asarray(exponent, jnp.int64) + 1023) << 52, jnp.float64)
