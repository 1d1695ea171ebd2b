"""Matrix product, exact but for one rounding of each operand and one of the result.

y = round(quantise(x) @ quantise(w)), and the same for both gradients, dx = dy @ w^T and dw = x^T @ dy, each
from the operands' integers. See `carrier` for the bounds.

Source: PROTOCOL section 7; docs/EXACT.md, "Product".
"""

from functools import partial
from typing import Final

import jax
from jax import Array, lax

from p2pai.jaxtrain.exact.carrier import Dimensions, choose, multiply
from p2pai.jaxtrain.exact.quantise import BYTE_BITS, mantissas, to_float32

BLOCK_ELEMENTS: Final = 1 << 22
"""Outputs of a weight gradient made at a time, so that the float64 product stays below 32 MiB."""

_PLAIN: Final[Dimensions] = ((1,), (0,))
_RIGHT_TRANSPOSED: Final[Dimensions] = ((1,), (1,))
_LEFT_TRANSPOSED: Final[Dimensions] = ((0,), (0,))

Residuals = tuple[Array, Array, Array, Array]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def dot(x: Array, w: Array, bits: int) -> Array:
    """Return x @ w: float32 (batch, inputs) by (inputs, units), operands rounded to so many bits."""
    return _forward(x, w, bits)[0]


def _forward(x: Array, w: Array, bits: int) -> tuple[Array, Residuals]:
    x_int, x_exponent = mantissas(x, bits)
    w_int, w_exponent = mantissas(w, bits)
    y = round_product(x_int, w_int, _PLAIN, x_exponent + w_exponent, bits)
    return y, (keep(x_int, bits), x_exponent, keep(w_int, bits), w_exponent)


def _backward(bits: int, saved: Residuals, dy: Array) -> tuple[Array, Array]:
    x_int, x_exponent, w_int, w_exponent = saved
    d_int, d_exponent = mantissas(dy, bits)
    dx = round_product(d_int, w_int, _RIGHT_TRANSPOSED, d_exponent + w_exponent, bits)
    return dx, weight_gradient(x_int, d_int, x_exponent + d_exponent, bits)


dot.defvjp(_forward, _backward)


def keep(mantissa: Array, bits: int) -> Array:
    """Return mantissas as the backward pass wants them: in the type that the carrier takes."""
    if bits == BYTE_BITS:
        return mantissa.astype(choose(0, jax.default_backend(), bits))
    return mantissa


def weight_gradient(x: Array, d: Array, exponent: Array, bits: int) -> Array:
    """Return x^T @ d of mantissas (rows, inputs) and (rows, units).

    In blocks of inputs when it is large, and its integers are wider than the result's float32.
    """
    inputs, units = x.shape[1], d.shape[1]
    blocks = _block_count(inputs, inputs * units)
    if blocks == 1 or bits == BYTE_BITS:
        return round_product(x, d, _LEFT_TRANSPOSED, exponent, bits)
    rows = x.T.reshape(blocks, inputs // blocks, -1)
    done: Array = lax.map(lambda part: round_product(part, d, _PLAIN, exponent, bits), rows)
    return done.reshape(inputs, units)


def round_product(left: Array, right: Array, dimensions: Dimensions, exponent: Array, bits: int) -> Array:
    """Return the product of mantissas times 2^exponent, rounded to float32."""
    work = left.size * right.shape[1 - dimensions[1][0]]
    carrier = choose(work, jax.default_backend(), bits)
    return to_float32(multiply(left, right, dimensions, carrier, bits), exponent)


def _block_count(rows: int, elements: int) -> int:
    wanted = -(-elements // BLOCK_ELEMENTS)
    return next(n for n in range(min(wanted, rows), rows + 1) if rows % n == 0)
