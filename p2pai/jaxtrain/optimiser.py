"""What a gradient adds to the residual: the learning rate is applied before the threshold.

For plain SGD that is gradient * learning rate, in residual units, with one rounding (to nearest, ties away
from zero) and none before it. The gradient is clipped to +-8192, so with a = 24-bit mantissa times the
learning rate in millionths (below 2^51):

    contribution = a * 2^s / 15625,   s <= 10   (10^6 = 2^6 * 15625, residual grid 2^-26)

a << 11 stays below 2^62. Where s < -40 the quotient is below 1/2 and rounds to zero, as it does at s = -40.
Dividing by 15625 first and shifting after is the same floor.

Source: PROTOCOL section 7.
"""

from typing import Final

import jax.numpy as jnp
from jax import Array, lax

from p2pai.jaxtrain.exact.grid import RESIDUAL_BITS, RESIDUAL_UNITS_MAX

GRADIENT_MAX: Final = 8192.0
"""Gradients are clipped here, either sign."""

_ODD_PART: Final = 15_625
"""10^6 without its six factors of two."""

_SHIFT_MIN: Final = -40
_MANTISSA_BITS: Final = 23
_EXPONENT_BIAS: Final = 127


def sgd(gradient: Array, learning_rate_ppm: int) -> Array:
    """Return gradient * learning_rate_ppm / 10^6 in residual units.

    Args:
      gradient: float32, any shape, no denormals.
      learning_rate_ppm: 1 to 10^8.

    Returns:
      int64 of the same shape, at most 2^31 - 1 either way.
    """
    clipped = jnp.clip(gradient, -GRADIENT_MAX, GRADIENT_MAX)
    mantissa, exponent = _take_apart(clipped)
    shift = exponent + (RESIDUAL_BITS - 6)
    numerator = (mantissa * learning_rate_ppm) << jnp.maximum(shift, 0)
    down = jnp.clip(-shift, 0, -_SHIFT_MIN)
    doubled = (numerator << 1) + (jnp.int64(_ODD_PART) << down)
    rounded = lax.div(doubled, jnp.full_like(doubled, _ODD_PART)) >> (down + 1)
    size = jnp.minimum(rounded, RESIDUAL_UNITS_MAX)
    return jnp.where(clipped < 0, -size, size)


def _take_apart(x: Array) -> tuple[Array, Array]:
    """Return mantissa (int64, 24 bits) and exponent (int64) with |x| = mantissa * 2^exponent."""
    bits = lax.bitcast_convert_type(x, jnp.int32).astype(jnp.int64)
    field = (bits >> _MANTISSA_BITS) & 0xFF
    fraction = bits & ((1 << _MANTISSA_BITS) - 1)
    mantissa = jnp.where(field > 0, fraction | (1 << _MANTISSA_BITS), 0)
    return mantissa, field - (_EXPONENT_BIAS + _MANTISSA_BITS)
