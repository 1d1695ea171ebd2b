"""Exponential, logarithm and sigmoid in 64-bit fixed point.

exp(-d) = 2^-(d log2 e) comes from a polynomial of degree 7 on [0, 1) in Q30 (absolute error 4.3e-9) and a
shift; log2 from repeated squaring, one bit at a time. d * log2(e) stays below 2^62 for d <= 2^31.

Source: PROTOCOL section 7; docs/EXACT.md.
"""

from typing import Final

import jax.numpy as jnp
from jax import Array, lax

from p2pai.jaxtrain.exact.integer import floor_divide

ONE: Final = 1 << 30
"""1 in Q30."""

LOG2_E: Final = 1_549_082_005
"""log2(e) in Q30, rounded."""

LN_2: Final = 744_261_118
"""ln(2) in Q30, rounded."""

EXP2_COEFFICIENTS: Final = (
    1_073_741_824,
    -744_261_114,
    257_941_163,
    -59_596_395,
    10_324_651,
    -1_425_731,
    158_139,
    -11_624,
)
"""2^-f on [0, 1) in Q30, lowest power first."""


def exp_negative(distance: Array, bits: int) -> Array:
    """Return exp(-distance) in Q30; distance is int64 in units of 2^-bits, 0 to 2^31."""
    power = (distance * LOG2_E) >> bits
    fraction = power & (ONE - 1)
    value = jnp.full_like(fraction, EXP2_COEFFICIENTS[-1])
    for coefficient in EXP2_COEFFICIENTS[-2::-1]:
        value = coefficient + ((value * fraction) >> 30)
    return value >> jnp.minimum(power >> 30, 62)


def log2(n: Array) -> Array:
    """Return the binary logarithm in Q30, rounded down, of int64 numbers from 1 to 2^62."""
    whole = 63 - lax.clz(n)
    mantissa = jnp.where(
        whole > 30, n >> jnp.maximum(whole - 30, 0), n << jnp.maximum(30 - whole, 0)
    )  # in [2^30, 2^31)

    def next_bit(i: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        mantissa, result = carried
        squared = (mantissa * mantissa) >> 30
        bit = squared >> 31
        return squared >> bit, result + (bit << (29 - i))

    result: Array = lax.fori_loop(0, 30, next_bit, (mantissa, whole << 30))[1]
    return result


def sigmoid_q30(q: Array, exponential: Array) -> Array:
    """Return the sigmoid of q in Q30, given exp(-|q|) in Q30."""
    upper = floor_divide(jnp.full_like(exponential, 1 << 60), ONE + exponential)
    return jnp.where(q >= 0, upper, ONE - upper)
