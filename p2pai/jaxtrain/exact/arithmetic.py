"""Sums and products of whole tensors that do not depend on order or on fused multiply-add.

Addends are brought to one grid of 24 bits and added as integers; factors are rounded to 24 bits and
multiplied as integers. n addends stay below 2^24 * n, exact in float64 for any n <= 2^28.

Source: PROTOCOL section 7; docs/EXACT.md, "Conversions" and "Layers".
"""

import jax
import jax.numpy as jnp
from jax import Array

from p2pai.jaxtrain.exact.quantise import (
    SUM_BITS,
    exponent_of,
    mantissas,
    power_of_two,
    to_float32,
)


def sum_channels(x: Array) -> Array:
    """Sum float32 (..., channels) over all axes but the last."""
    integers, exponent = mantissas(x, SUM_BITS)
    wide = integers.astype(jnp.float64).reshape(x.shape[0], -1)
    # Long rows first: a processor adds them side by side, few channels one by one.
    rows = jnp.sum(wide, axis=0).reshape(-1, x.shape[-1])
    return to_float32(jnp.sum(rows, axis=0), exponent)


def mul(x: Array, y: Array) -> Array:
    """Return x * y, float32, y broadcast against x; no gradient."""
    m, e = mantissas(x, SUM_BITS)
    k, f = mantissas(y, SUM_BITS)
    return to_float32(m.astype(jnp.float64) * k.astype(jnp.float64), e + f)


@jax.custom_vjp
def add_bias(y: Array, bias: Array) -> Array:
    """Return y + bias: float32 (..., channels) and (channels,).

    One IEEE addition; neither input is a float32 product, so no compiler can fuse it with a multiplication.
    """
    return y + bias


add_bias.defvjp(lambda y, bias: (y + bias, None), lambda _, dy: (dy, sum_channels(dy)))


@jax.custom_vjp
def add(x: Array, y: Array) -> Array:
    """Return x + y, float32 of one shape, on the grid of the larger one."""
    return _sum(x, y)


add.defvjp(lambda x, y: (_sum(x, y), None), lambda _, dy: (dy, dy))


@jax.custom_vjp
def fork(x: Array) -> tuple[Array, Array]:
    """Return x twice; its gradient is the exact sum of both."""
    return x, x


fork.defvjp(lambda x: ((x, x), None), lambda _, gradients: (_sum(*gradients),))


def _sum(x: Array, y: Array) -> Array:
    exponent = jnp.maximum(exponent_of(x), exponent_of(y))
    scale = power_of_two(SUM_BITS - exponent)
    total = jnp.rint(x * scale).astype(jnp.float64) + jnp.rint(y * scale).astype(jnp.float64)
    return to_float32(total, exponent - SUM_BITS)
