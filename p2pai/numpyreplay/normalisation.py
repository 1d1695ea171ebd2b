"""Layers that normalise: each channel over the batch, or each row over its channels.

Of a group's mantissas in 2^-3 of their own unit come the mean u, the deviations c and the variance V; r is
2^(52 - t) over the root of V and epsilon, so deviations become values by one multiplication.

Source: docs/EXACT.md, "Layers": batch normalisation, layer normalisation.
"""

from math import prod
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2pai.numpyreplay.integers import Integers, floor_log2, floor_root, middle
from p2pai.numpyreplay.product import bias_gradient
from p2pai.numpyreplay.quantise import BITS, Axes, Floats, multiply, quantise, to_float32
from p2pai.numpyreplay.tape import Gradients, Layered, Tensors

STATISTIC_BITS: Final = 24
"""Running statistics are in units of 2^-24."""

STATISTIC_MAX: Final = 1 << 45
"""Units either side."""

_VALUE_BITS: Final = 18
_GRADIENT_BITS: Final = 17
_ROW: Final = (-1,)


class _Normal(NamedTuple):
    """A normalised tensor, and what it was made of; one number for each group but for `value`."""

    value: Floats
    u: Integers
    variance: Integers
    r: Integers
    t: Integers
    exponent: Integers


def layer_norm(x: Floats, weights: Tensors) -> Layered:
    """Return each row normalised, times scale, plus bias."""
    normal = _normalise(x, _ROW)
    return _scale(normal, _ROW, weights)


def batch_norm(x: Floats, weights: Tensors, running: tuple[Integers, ...], momentum: int) -> Layered:
    """Return each channel normalised over the batch, times scale, plus bias; and the running statistics.

    Args:
      x: (batch, ..., channels).
      weights: scale and bias, (channels) each.
      running: mean and variance before the batch, (channels) each, in units of 2^-24.
      momentum: of the running statistics, in 65536ths.
    """
    axes = tuple(range(x.ndim - 1))
    normal = _normalise(x, axes)
    exponent = normal.exponent - 3
    batch = (
        _statistic(normal.u, exponent + STATISTIC_BITS),
        _statistic(normal.variance, 2 * exponent + STATISTIC_BITS),
    )
    moved = tuple(
        old + (((new.reshape(-1) - old) * (65536 - momentum)) >> 16)
        for old, new in zip(running, batch, strict=True)
    )
    return _scale(normal, axes, weights)._replace(statistics=moved)


def batch_norm_evaluated(x: Floats, weights: Tensors, running: tuple[Integers, ...]) -> Floats:
    """Return x normalised by the running mean and variance, times scale, plus bias."""
    (scale, bias), (mean, variance) = weights, running
    m, e = quantise(x, BITS)
    d = to_float32(_statistic(m, e + STATISTIC_BITS) - mean, -STATISTIC_BITS)
    r, t = _inverse_root(variance + (1 << 7))
    m, e = quantise(d, BITS)
    return multiply(to_float32(m * r, e + t - 40), scale) + bias


def _normalise(x: Floats, axes: Axes) -> _Normal:
    count = prod(x.shape[axis] for axis in axes)
    m, e = quantise(x, _VALUE_BITS, axes)
    u = middle(m.sum(axis=axes, keepdims=True) << 3, count)
    c = (m << 3) - u
    variance = (c * c).sum(axis=axes, keepdims=True) // count
    r, t = _inverse_root(variance + (1 << np.clip(-11 - 2 * e, 0, 50)))
    return _Normal(to_float32(c * r, t - 52), u, variance, r, t, e)


def _inverse_root(w: Integers) -> tuple[Integers, Integers]:
    """Return r and t, r * 2^(t - 52) being about 1 over the root of w, 1 <= w < 2^51."""
    t = (51 - floor_log2(w)) // 2
    r: Integers = (1 << 52) // floor_root(w << (2 * t))
    return r, t


def _statistic(values: Integers, exponent: Integers) -> Integers:
    exact: NDArray[np.float64] = np.ldexp(values.astype(np.float64), exponent)
    return np.rint(np.clip(exact, -STATISTIC_MAX, STATISTIC_MAX)).astype(np.int64)


def _scale(normal: _Normal, axes: Axes, weights: Tensors) -> Layered:
    scale, bias = weights

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        dx = _gradient(normal, axes, multiply(dy, scale))
        return dx, (_scale_gradient(dy, normal.value), bias_gradient(dy))

    return Layered(multiply(normal.value, scale) + bias, pull)


def _gradient(normal: _Normal, axes: Axes, g: Floats) -> Floats:
    count = prod(g.shape[axis] for axis in axes)
    p, f = quantise(g, _GRADIENT_BITS, axes)
    h, k = quantise(normal.value, _GRADIENT_BITS, axes)
    along = middle((p * h).sum(axis=axes, keepdims=True), count)
    mean = middle(p.sum(axis=axes, keepdims=True) << 8, count)
    total = (p << 8) - mean - ((h * along) >> np.clip(-(2 * k + 8), 0, 62))
    exponent = f - 8 + 9 + normal.t - 52 - (normal.exponent - 3)
    return to_float32(total * (normal.r >> 9), exponent)


def _scale_gradient(dy: Floats, normal: Floats) -> Floats:
    left, right = quantise(dy, _GRADIENT_BITS), quantise(normal, _GRADIENT_BITS)
    products = (left.values * right.values).reshape(-1, dy.shape[-1])
    return to_float32(products.sum(axis=0), left.exponent + right.exponent)
