"""Batch and layer normalisation: mean 0 and variance 1 over groups of values, in integers.

A group is what is reduced over some axes: a channel over batch and image, or a row over its last axis. Its
values are rounded to 18 bits under one power of two each; with 3 bits more for the mean, squares of 2^18
values stay below 2^62. The inverse deviation is an integer square root of 26 bits.

Source: Ioffe and Szegedy 2015; Ba et al. 2016; docs/EXACT.md, "Batch normalisation and layer normalisation".
"""

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from p2pai.jaxtrain.exact.arithmetic import mul
from p2pai.jaxtrain.exact.integer import floor_divide, isqrt, mid
from p2pai.jaxtrain.exact.quantise import (
    SUM_BITS,
    mantissas,
    power_of_two_double,
    quantise,
    to_float32,
)

STATISTIC_BITS: Final = 24
STATISTIC_MAX: Final = 2.0**45
"""Largest running statistic in units of 2^-24, either sign."""

_VALUE_BITS: Final = 18
_GUARD_BITS: Final = 3
_GRADIENT_BITS: Final = 17

Axes = tuple[int, ...]
Saved = tuple[Array, Array, Array, Array]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def normalise(x: Array, axes: Axes) -> tuple[Array, Array, Array]:
    """Bring each group to mean 0 and variance 1.

    Args:
      x: float32, any shape.
      axes: a group's values differ along these; at most 2^18 values.

    Returns:
      float32 of the same shape, and each group's mean and variance, int64 in Q24 without those axes; no
      gradient passes through them.
    """
    return _forward(x, axes)[0]


def _forward(x: Array, axes: Axes) -> tuple[tuple[Array, Array, Array], Saved]:
    m, e = quantise(x, _VALUE_BITS, axes)
    count = _count(x, axes)
    wide = m.astype(jnp.int64) << _GUARD_BITS
    mean = mid(jnp.sum(wide, axis=axes, keepdims=True), count)
    centred = wide - mean
    variance = floor_divide(jnp.sum(centred * centred, axis=axes, keepdims=True), count)
    epsilon = jnp.int64(1) << jnp.clip(-11 - 2 * e.astype(jnp.int64), 0, 50)
    inverse, shift = inverse_root(variance + epsilon)
    y = to_float32((centred * inverse).astype(jnp.float64), shift - 52)
    unit = e.astype(jnp.int64) - _GUARD_BITS
    found = (_statistic(mean, unit, axes), _statistic(variance, 2 * unit, axes))
    return (y, *found), (y, inverse, shift, unit)


def _backward(axes: Axes, saved: Saved, gradients: tuple[Array, Array, Array]) -> tuple[Array]:
    y, inverse, shift, unit = saved
    count = _count(y, axes)
    p, f = (a.astype(jnp.int64) for a in quantise(gradients[0], _GRADIENT_BITS, axes))
    h, k = (a.astype(jnp.int64) for a in quantise(y, _GRADIENT_BITS, axes))
    share = mid(jnp.sum(p * h, axis=axes, keepdims=True), count)
    along = (h * share) >> jnp.clip(-(2 * k + 8), 0, 62)
    level = mid(jnp.sum(p, axis=axes, keepdims=True) << 8, count)
    t = (p << 8) - level - along
    exponent = f - 8 + 9 + shift - 52 - unit
    return (to_float32((t * (inverse >> 9)).astype(jnp.float64), exponent),)


normalise.defvjp(_forward, _backward)


def normalise_with(x: Array, mean: Array, variance: Array) -> Array:
    """Normalise float32 (..., channels) by running statistics, int64 in Q24 (channels,)."""
    m, e = mantissas(x, SUM_BITS)
    scaled = m.astype(jnp.float64) * power_of_two_double(e + STATISTIC_BITS)
    units = jnp.rint(jnp.clip(scaled, -STATISTIC_MAX, STATISTIC_MAX)).astype(jnp.int64)
    distance = to_float32((units - mean).astype(jnp.float64), -STATISTIC_BITS)
    inverse, shift = inverse_root(variance + (1 << 7))
    d, f = mantissas(distance, SUM_BITS)
    return to_float32(d.astype(jnp.float64) * inverse.astype(jnp.float64), f + shift - 40)


def inverse_root(w: Array) -> tuple[Array, Array]:
    """Return r and t with 1 / sqrt(w) ~ r * 2^(t - 52), for int64 w from 1 to 2^51; r has 27 bits."""
    shift = (51 - (63 - lax.clz(w))) >> 1
    root = isqrt(w << (2 * shift))
    return floor_divide(jnp.full_like(root, 1 << 52), root), shift


def blend(running: Array, value: Array, momentum_q16: int) -> Array:
    """Return running statistics after a batch: they keep momentum_q16 / 65536 of themselves."""
    return running + (((value - running) * (65536 - momentum_q16)) >> 16)


@jax.custom_vjp
def scale(x: Array, gamma: Array) -> Array:
    """Return x * gamma: float32 (..., channels) and (channels,)."""
    return mul(x, gamma)


def _scale_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, gamma = saved
    a, e = quantise(dy, _GRADIENT_BITS)
    b, f = quantise(x, _GRADIENT_BITS)
    products = a.astype(jnp.int64) * b.astype(jnp.int64)
    total = jnp.sum(products, axis=tuple(range(x.ndim - 1)))
    return mul(dy, gamma), to_float32(total.astype(jnp.float64), e + f)


scale.defvjp(lambda x, gamma: (mul(x, gamma), (x, gamma)), _scale_backward)


def _count(x: Array, axes: Axes) -> int:
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return count


def _statistic(value: Array, exponent: Array, axes: Axes) -> Array:
    """Return value * 2^exponent as int64 in Q24, clipped."""
    exact = value.astype(jnp.float64) * power_of_two_double(exponent + STATISTIC_BITS)
    clipped = jnp.rint(jnp.clip(exact, -STATISTIC_MAX, STATISTIC_MAX)).astype(jnp.int64)
    return jnp.squeeze(clipped, axes)
