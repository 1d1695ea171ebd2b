"""Dropout whose choice anybody can repeat: value i of a tensor is kept or not by key and i alone.

Source: PROTOCOL section 7; docs/EXACT.md, "Dropout".
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from p2pai.jaxtrain.exact.quantise import SUM_BITS, mantissas, to_float32
from p2pai.jaxtrain.exact.threefry import threefry2x32


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def dropout(x: Array, key: Array, rate_q16: int) -> Array:
    """Set values to zero with a probability of rate_q16 / 65536, and scale the others up.

    Args:
      x: float32, any shape.
      key: uint32 (2,).
      rate_q16: 1 to 63,488.
    """
    return _thin(x, kept(x.shape, key, rate_q16), rate_q16)


def kept(shape: tuple[int, ...], key: Array, rate_q16: int) -> Array:
    """Return which values of a tensor are kept, bool."""
    index = jnp.arange(prod(shape), dtype=jnp.uint32)
    word, _ = threefry2x32((key[0], key[1]), (index, jnp.zeros_like(index)))
    drawn: Array = (word >> 16) >= jnp.uint32(rate_q16)
    return drawn.reshape(shape)


def _thin(x: Array, keep: Array, rate_q16: int) -> Array:
    m, e = mantissas(jnp.where(keep, x, jnp.float32(0)), SUM_BITS)
    scale = float((1 << 40) // (65536 - rate_q16))
    return to_float32(m.astype(jnp.float64) * scale, e - SUM_BITS)


def _forward(x: Array, key: Array, rate_q16: int) -> tuple[Array, Array]:
    keep = kept(x.shape, key, rate_q16)
    return _thin(x, keep, rate_q16), keep


def _backward(rate_q16: int, keep: Array, dy: Array) -> tuple[Array, Any]:
    return _thin(dy, keep, rate_q16), np.zeros((2,), jax.dtypes.float0)


dropout.defvjp(_forward, _backward)
