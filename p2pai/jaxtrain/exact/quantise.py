"""Float32 tensors to integers under one power of two, and back with one rounding.

`quantise` picks the smallest exponent E with max|x| < 2^E (a maximum is exact in any order) and rounds
x * 2^(bits - E) to the nearest integer, ties to even. `to_float32` rounds an exact integer times a power
of two to float32. Neither meets a denormal or an overflow: E stays in [-60, 60], and results are zero
below 2^-100 and stop at 2^50, so flush-to-zero modes and the order of evaluation cannot show.

Source: PROTOCOL section 7.
"""

from typing import Final

import jax.numpy as jnp
from jax import Array, lax

EXPONENT_MAX: Final = 60
"""Clamp of a tensor's exponent, both signs: any power of two used here is a normal float32."""

MANTISSA_BITS: Final = 13
"""Bits of a quantised operand of a product: two 7-bit limbs. 13 bits cost no accuracy in training."""

SUM_BITS: Final = 24
"""Bits of a quantised addend: all that float32 has."""

_SMALLEST: Final = 2.0**-100
_LARGEST: Final = 2.0**50


def quantise(x: Array, bits: int = MANTISSA_BITS) -> tuple[Array, Array]:
    """Return integers m (int32, |m| <= 2^bits) and the exponent e (int32 scalar) with x ~ m * 2^e.

    Args:
      x: float32, any shape, |x| < 2^60.
      bits: at most 24; the scaled value is then below 2^24 and exact in float32 before it is rounded.
    """
    assert bits <= SUM_BITS
    exponent = _exponent(x)
    return jnp.rint(x * _power_of_two(bits - exponent)).astype(jnp.int32), exponent - bits


def to_float32(integer: Array, exponent: Array | int) -> Array:
    """Round integer * 2^exponent to float32, to nearest, ties to even.

    Args:
      integer: float64 that carries integers, |integer| <= 2^53.
      exponent: at least -400 and at most 400, so the scaled value is exact in float64.
    """
    scaled = integer * _power_of_two_double(exponent)
    tiny = jnp.abs(scaled) < _SMALLEST
    return jnp.where(tiny, 0.0, jnp.clip(scaled, -_LARGEST, _LARGEST)).astype(jnp.float32)


def _exponent(x: Array) -> Array:
    bits = lax.bitcast_convert_type(jnp.max(jnp.abs(x)), jnp.int32)
    return jnp.clip((bits >> 23) - 126, -EXPONENT_MAX, EXPONENT_MAX)


def _power_of_two(exponent: Array) -> Array:
    return lax.bitcast_convert_type((exponent.astype(jnp.int32) + 127) << 23, jnp.float32)


def _power_of_two_double(exponent: Array | int) -> Array:
    return lax.bitcast_convert_type((jnp.asarray(exponent, jnp.int64) + 1023) << 52, jnp.float64)
