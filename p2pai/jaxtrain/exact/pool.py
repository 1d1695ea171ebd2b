"""Pooling over square windows; what several windows share gets the sum of their gradients, in integers.

Source: PROTOCOL section 7; docs/EXACT.md, "Max pooling" and "Average pooling".
"""

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from p2pai.jaxtrain.exact.integer import mid
from p2pai.jaxtrain.exact.quantise import SUM_BITS, quantise, to_float32
from p2pai.jaxtrain.exact.window import put_back, see, window_count

_GUARD_BITS = 14


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: Array, size: int, stride: int) -> Array:
    """Return the largest value of each window: float32 (batch, height, width, channels)."""
    return _max_forward(x, size, stride)[0]


def _max_forward(x: Array, size: int, stride: int) -> tuple[Array, tuple[Array, Array]]:
    best, place = None, jnp.zeros((), jnp.int32)
    for i, window in enumerate(_windows(x, size, stride)):
        if best is None:
            best, place = window, jnp.zeros(window.shape, jnp.int32)
        else:
            place = jnp.where(window > best, i, place)
            best = jnp.maximum(best, window)
    assert best is not None
    return best, (place, jnp.zeros((0, *x.shape[1:]), jnp.int8))


def _max_backward(size: int, stride: int, saved: tuple[Array, Array], dy: Array) -> tuple[Array]:
    place, like = saved
    m, e = quantise(dy, SUM_BITS)
    shape = (dy.shape[0], *like.shape[1:])
    parts = (jnp.where(place == i, m, 0).astype(jnp.int64) for i in range(size * size))
    return (to_float32(_add_up(parts, size, stride, shape), e),)


max_pool.defvjp(_max_forward, _max_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def average_pool(x: Array, size: int, stride: int) -> Array:
    """Return the mean of each window: float32 (batch, height, width, channels)."""
    return _average_forward(x, size, stride)[0]


def _average_forward(x: Array, size: int, stride: int) -> tuple[Array, Array]:
    m, e = quantise(x, SUM_BITS)
    windows = _windows(m.astype(jnp.int64), size, stride)
    total = sum(windows[1:], start=windows[0])
    mean = mid(total << _GUARD_BITS, size * size)
    return to_float32(mean.astype(jnp.float64), e - _GUARD_BITS), jnp.zeros((0, *x.shape[1:]), jnp.int8)


def _average_backward(size: int, stride: int, like: Array, dy: Array) -> tuple[Array]:
    m, e = quantise(dy, SUM_BITS)
    share = mid(m.astype(jnp.int64) << _GUARD_BITS, size * size)
    shape = (dy.shape[0], *like.shape[1:])
    return (to_float32(_add_up([share] * size**2, size, stride, shape), e - _GUARD_BITS),)


average_pool.defvjp(_average_forward, _average_backward)


def _windows(x: Array, size: int, stride: int) -> list[Array]:
    """Return, for each place in a window, row by row, the values that all windows have there."""
    out = (window_count(x.shape[1], size, stride), window_count(x.shape[2], size, stride))
    return [see(x, divmod(i, size), out, stride) for i in range(size * size)]


def _add_up(parts: Iterable[Array], size: int, stride: int, shape: tuple[int, ...]) -> Array:
    """Add up what goes back to each value of images of `shape`, place by place, as float64."""
    total = jnp.zeros(shape, jnp.int64)
    for i, part in enumerate(parts):
        total = total + put_back(part, divmod(i, size), (shape[1], shape[2]), stride)
    return total.astype(jnp.float64)
