"""Pooling over square windows; what several windows share gets the sum of their gradients, in integers.

A window is reduced along its lines, then across them: of the first largest values of its lines the first is
the first largest value row by row, and integers may be added in any order. So a compiler meets 2 * size
slices, not size * size. A value is in at most 2^10 windows: sums of 24-bit mantissas, with 14 bits more for
means, stay below 2^49.

Source: PROTOCOL section 7; docs/EXACT.md, "Max pooling" and "Average pooling".
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from p2pai.jaxtrain.exact.integer import mid
from p2pai.jaxtrain.exact.quantise import SUM_BITS, mantissas, quantise, to_float32
from p2pai.jaxtrain.exact.window import put_back, see

_GUARD_BITS = 14
_HEIGHT, _WIDTH = 1, 2
"""Axes of images (batch, height, width, channels)."""

Saved = tuple[Array, Array, Array]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: Array, size: int, stride: int) -> Array:
    """Return the largest value of each window: float32 (batch, height, width, channels)."""
    return _max_forward(x, size, stride)[0]


def _max_forward(x: Array, size: int, stride: int) -> tuple[Array, Saved]:
    lines, column = _first_largest(see(x, _WIDTH, size, stride))
    best, row = _first_largest(see(lines, _HEIGHT, size, stride))
    return best, (row, column, jnp.zeros((0, *x.shape[1:]), jnp.int8))


def _first_largest(seen: list[Array]) -> tuple[Array, Array]:
    """Return the largest value and the first place that has it (int8: sides are at most 32)."""
    best, place = seen[0], jnp.zeros(seen[0].shape, jnp.int8)
    for i, value in enumerate(seen[1:], start=1):
        place = jnp.where(value > best, jnp.int8(i), place)
        best = jnp.maximum(best, value)
    return best, place


def _max_backward(size: int, stride: int, saved: Saved, dy: Array) -> tuple[Array]:
    row, column, like = saved
    _, height, width, _ = like.shape
    m, e = mantissas(dy, SUM_BITS)
    if stride >= size:  # no value is in two windows
        return (_to_places(to_float32(m, e), (row, column), size, stride, (height, width)),)
    total = _to_places(m.astype(jnp.int64), (row, column), size, stride, (height, width))
    return (to_float32(total.astype(jnp.float64), e),)


def _to_places(
    values: Array, places: tuple[Array, Array], size: int, stride: int, shape: tuple[int, int]
) -> Array:
    row, column = places
    lines = put_back(_at(values, row, size), _HEIGHT, shape[0], stride)
    return put_back(_at(lines, column, size), _WIDTH, shape[1], stride)


def _at(values: Array, place: Array, size: int) -> list[Array]:
    zero = jnp.zeros((), values.dtype)
    return [jnp.where(place == i, values, zero) for i in range(size)]


max_pool.defvjp(_max_forward, _max_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def average_pool(x: Array, size: int, stride: int) -> Array:
    """Return the mean of each window: float32 (batch, height, width, channels)."""
    return _average_forward(x, size, stride)[0]


def _average_forward(x: Array, size: int, stride: int) -> tuple[Array, Array]:
    m, e = quantise(x, SUM_BITS)
    lines = _add_up(see(m.astype(jnp.int64), _WIDTH, size, stride))
    total = _add_up(see(lines, _HEIGHT, size, stride))
    mean = mid(total << _GUARD_BITS, size * size)
    return to_float32(mean.astype(jnp.float64), e - _GUARD_BITS), jnp.zeros((0, *x.shape[1:]), jnp.int8)


def _average_backward(size: int, stride: int, like: Array, dy: Array) -> tuple[Array]:
    _, height, width, _ = like.shape
    m, e = quantise(dy, SUM_BITS)
    share = mid(m.astype(jnp.int64) << _GUARD_BITS, size * size)
    lines = put_back([share] * size, _HEIGHT, height, stride)
    total = put_back([lines] * size, _WIDTH, width, stride)
    return (to_float32(total.astype(jnp.float64), e - _GUARD_BITS),)


average_pool.defvjp(_average_forward, _average_backward)


def _add_up(seen: list[Array]) -> Array:
    return sum(seen[1:], start=seen[0])
