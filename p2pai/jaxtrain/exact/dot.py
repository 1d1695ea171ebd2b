"""Matrix product, exact but for one rounding of each operand and one of the result.

y = round(quantise(x) @ quantise(w)), and the same for both gradients, dx = dy @ w^T and dw = x^T @ dy, each
from the operands' integers. See `carrier` for the bounds.

Source: PROTOCOL section 7.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from p2pai.jaxtrain.exact.carrier import Dimensions, choose, multiply
from p2pai.jaxtrain.exact.quantise import quantise, to_float32

BLOCK_ELEMENTS: Final = 1 << 22
"""Outputs of a weight gradient made at a time, so that the float64 product stays below 32 MiB."""

_PLAIN: Final[Dimensions] = ((1,), (0,))
_RIGHT_TRANSPOSED: Final[Dimensions] = ((1,), (1,))
_LEFT_TRANSPOSED: Final[Dimensions] = ((0,), (0,))

Residuals = tuple[Array, Array, Array, Array]


@jax.custom_vjp
def dot(x: Array, w: Array) -> Array:
    """Return x @ w: float32 (batch, inputs) by (inputs, units)."""
    return _forward(x, w)[0]


def _forward(x: Array, w: Array) -> tuple[Array, Residuals]:
    x_int, x_exponent = quantise(x)
    w_int, w_exponent = quantise(w)
    y = _round_product(x_int, w_int, _PLAIN, x_exponent + w_exponent)
    return y, (x_int.astype(jnp.int16), x_exponent, w_int.astype(jnp.int16), w_exponent)


def _backward(saved: Residuals, dy: Array) -> tuple[Array, Array]:
    x_int, x_exponent, w_int, w_exponent = saved
    d_int, d_exponent = quantise(dy)
    dx = _round_product(d_int, w_int.astype(jnp.int32), _RIGHT_TRANSPOSED, d_exponent + w_exponent)
    return dx, _weight_gradient(x_int.astype(jnp.int32), d_int, x_exponent + d_exponent)


def _weight_gradient(x: Array, d: Array, exponent: Array) -> Array:
    """Return x^T @ d, in blocks of rows when it is large."""
    inputs, units = x.shape[1], d.shape[1]
    blocks = _block_count(inputs, inputs * units)
    if blocks == 1:
        return _round_product(x, d, _LEFT_TRANSPOSED, exponent)
    rows = x.T.reshape(blocks, inputs // blocks, -1)
    blocks_done: Array = lax.map(lambda part: _round_product(part, d, _PLAIN, exponent), rows)
    return blocks_done.reshape(inputs, units)


def _block_count(rows: int, elements: int) -> int:
    wanted = -(-elements // BLOCK_ELEMENTS)
    return next(n for n in range(min(wanted, rows), rows + 1) if rows % n == 0)


def _round_product(left: Array, right: Array, dimensions: Dimensions, exponent: Array) -> Array:
    work = left.size * right.shape[1 - dimensions[1][0]]
    return to_float32(multiply(left, right, dimensions, choose(work, jax.default_backend())), exponent)


dot.defvjp(_forward, _backward)
