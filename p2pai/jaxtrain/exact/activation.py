"""Activation functions: relu is a selection, exact as it stands; the others are computed in fixed point.

Inputs are clipped to +-32 (gelu: +-8) and taken in Q24, derivatives in Q28 or Q24; a gradient of 24 bits
times a derivative stays below 2^53.

Source: PROTOCOL section 7; docs/EXACT.md, "Activations".
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array

from p2pai.jaxtrain.exact.fixed_point import ONE, exp_negative, sigmoid_q30
from p2pai.jaxtrain.exact.integer import floor_divide
from p2pai.jaxtrain.exact.quantise import SUM_BITS, fixed, mantissas, quantise, to_float32

_BITS: Final = 24
_LIMIT: Final = 32.0
_GELU_LIMIT: Final = 8.0
_GELU_CUBIC: Final = 48_012_366
"""0.044715 in Q30."""

_GELU_SLOPE: Final = 1_713_444_047
"""2 * sqrt(2 / pi) in Q30."""

_SOFTMAX_BITS: Final = 20


def relu(x: Array) -> Array:
    """Return max(x, 0); the gradient at 0 is 0."""
    return jnp.where(x > 0, x, jnp.float32(0))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def leaky_relu(x: Array, slope_q16: int) -> Array:
    """Return x where it is positive, else x * slope_q16 / 65536."""
    return _lean(x, x > 0, slope_q16)


def _lean(x: Array, positive: Array, slope_q16: int) -> Array:
    m, e = mantissas(x, SUM_BITS)
    return jnp.where(positive, x, to_float32(m.astype(jnp.float64) * float(slope_q16), e - 16))


leaky_relu.defvjp(
    lambda x, slope_q16: (_lean(x, x > 0, slope_q16), x > 0),
    lambda slope_q16, positive, dy: (_lean(dy, positive, slope_q16),),
)


def _differentiable(forward: Callable[[Array], tuple[Array, Array]], bits: int) -> Callable[[Array], Array]:
    """Make a function of `forward`, which returns values and derivatives (int64 in units of 2^-bits)."""

    @jax.custom_vjp
    def function(x: Array) -> Array:
        return forward(x)[0]

    def backward(derivative: Array, dy: Array) -> tuple[Array]:
        m, e = mantissas(dy, SUM_BITS)
        return (to_float32(m.astype(jnp.float64) * derivative.astype(jnp.float64), e - bits),)

    function.defvjp(forward, backward)
    return function


def _sigmoid(x: Array) -> tuple[Array, Array]:
    q = fixed(x, _BITS, _LIMIT)
    s = sigmoid_q30(q, exp_negative(jnp.abs(q), _BITS))
    return to_float32(s.astype(jnp.float64), -30), (s * (ONE - s)) >> 32


def _tanh(x: Array) -> tuple[Array, Array]:
    q = fixed(x, _BITS, _LIMIT)
    a = exp_negative(2 * jnp.abs(q), _BITS)
    upper = floor_divide((ONE - a) << 30, ONE + a)
    s = jnp.where(q >= 0, upper, -upper)
    return to_float32(s.astype(jnp.float64), -30), (ONE - ((s * s) >> 30)) >> 2


def _gelu(x: Array) -> tuple[Array, Array]:
    q = fixed(x, _BITS, _GELU_LIMIT)
    cubic = (((q * q) >> 24) * _GELU_CUBIC) >> 24
    z = (((q * (ONE + cubic)) >> 30) * _GELU_SLOPE) >> 30
    z = jnp.clip(z, -(1 << 29), 1 << 29)
    s = sigmoid_q30(z, exp_negative(jnp.abs(z), _BITS))
    m, e = mantissas(x, SUM_BITS)
    y = to_float32(m.astype(jnp.float64) * (s >> 1).astype(jnp.float64), e - 29)
    w = (((ONE + 3 * cubic) >> 2) * _GELU_SLOPE) >> 28
    return y, (s >> 6) + ((((q * w) >> 30) * ((s * (ONE - s)) >> 30)) >> 30)


sigmoid: Final = _differentiable(_sigmoid, 28)
"""1 / (1 + exp(-x))."""

tanh: Final = _differentiable(_tanh, 28)
"""The hyperbolic tangent."""

gelu: Final = _differentiable(_gelu, 24)
"""x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), gelu's tanh form."""


@jax.custom_vjp
def softmax(x: Array) -> Array:
    """Return the softmax of each row, float32 (..., classes)."""
    return _softmax(x)[0]


def _softmax(x: Array) -> tuple[Array, Array]:
    _, exponentials, total = exponentials_of(x)
    p = floor_divide(exponentials << 30, total)
    return to_float32(p.astype(jnp.float64), -30), p


def _softmax_backward(p: Array, dy: Array) -> tuple[Array]:
    m, e = quantise(dy, _SOFTMAX_BITS)
    wide = m.astype(jnp.int64)
    t = (wide << 4) - (jnp.sum(wide * p, axis=-1, keepdims=True) >> 26)
    return (to_float32((t * (p >> 4)).astype(jnp.float64), e - 30),)


softmax.defvjp(_softmax, _softmax_backward)


def exponentials_of(x: Array) -> tuple[Array, Array, Array]:
    """Return each row's distances from its largest value (Q16), exp(-distance) and its sum (Q30), int64."""
    q = fixed(x, 16, 16384.0)
    distance = jnp.max(q, axis=-1, keepdims=True) - q
    exponentials = exp_negative(distance, 16)
    return distance, exponentials, jnp.sum(exponentials, axis=-1, keepdims=True)
