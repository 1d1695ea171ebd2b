"""Sums that do not depend on their order.

Addends are brought to one grid of 24 bits and added as int64: n of them stay below 2^24 * n, exact in the
float64 that carries the sum for any n <= 2^29.

Source: PROTOCOL section 7.
"""

import jax
import jax.numpy as jnp
from jax import Array

from p2pai.jaxtrain.exact.quantise import SUM_BITS, quantise, to_float32


def sum_rows(x: Array) -> Array:
    """Sum over the first axis: float32 (rows, columns) to (columns,)."""
    integers, exponent = quantise(x, SUM_BITS)
    return to_float32(jnp.sum(integers.astype(jnp.int64), axis=0).astype(jnp.float64), exponent)


@jax.custom_vjp
def add_bias(y: Array, bias: Array) -> Array:
    """Return y + bias: float32 (batch, units) and (units,).

    One IEEE addition; neither input is a float32 product, so no compiler can fuse it with a multiplication.
    """
    return y + bias


def _forward(y: Array, bias: Array) -> tuple[Array, None]:
    return y + bias, None


def _backward(_: None, dy: Array) -> tuple[Array, Array]:
    return dy, sum_rows(dy)


add_bias.defvjp(_forward, _backward)
