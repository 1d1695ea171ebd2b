"""Division and square roots of 64-bit integers: approximated in float64, then repaired with integers.

A processor divides integers one by one, floats many at a time. The approximation is off by less than one,
whichever way the device rounds, so a comparison or two make it exact.

Source: PROTOCOL section 7; docs/EXACT.md.
"""

import jax.numpy as jnp
from jax import Array


def divide(numerator: Array, denominator: Array | int) -> Array:
    """Return numerator / denominator rounded towards zero, int64.

    Args:
      numerator: int64, |numerator| < 2^62.
      denominator: positive int64, the quotient below 2^50.
    """
    sign = jnp.sign(numerator)
    return sign * floor_divide(jnp.abs(numerator), denominator)


def floor_divide(numerator: Array, denominator: Array | int) -> Array:
    """Return numerator // denominator, int64, of numbers as in `divide`."""
    divisor = jnp.asarray(denominator, jnp.int64)
    quotient = jnp.floor(numerator.astype(jnp.float64) / divisor.astype(jnp.float64)).astype(jnp.int64)
    for _ in range(2):
        rest = numerator - quotient * divisor
        quotient = quotient + (rest >= divisor) - (rest < 0)
    return quotient


def mid(numerator: Array, denominator: Array | int) -> Array:
    """Return numerator / denominator to the nearest integer, ties up: (2n + d) // 2d."""
    divisor = jnp.asarray(denominator, jnp.int64)
    return floor_divide(2 * numerator + divisor, 2 * divisor)


def isqrt(n: Array) -> Array:
    """Return the square root rounded down of int64 numbers from 0 to 2^62 - 1."""
    root = jnp.floor(jnp.sqrt(n.astype(jnp.float64))).astype(jnp.int64)
    for _ in range(2):
        root = root - (root * root > n) + ((root + 1) * (root + 1) <= n)
    return root
