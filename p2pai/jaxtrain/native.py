"""The operations in the platform's own float32: what JAX makes of them, gradients included.

They take and give what the exact ones do, but their bits depend on the machine, so nobody else can replay
them.

Source: PROTOCOL section 7; docs/adr/0015-native-numerics.md.
"""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from p2pai.chain.layers import Function, Padding
from p2pai.chain.training import Loss
from p2pai.jaxtrain.exact import dropout as exact_dropout
from p2pai.jaxtrain.exact.loss import Classified, Measured
from p2pai.jaxtrain.exact.quantise import fixed

_EPSILON: Final = 2.0**-17
_STATISTIC_MAX: Final = 2.0**21


def dot(x: Array, w: Array) -> Array:
    """Return x @ w."""
    return x @ w


def conv(x: Array, w: Array, stride: int, padding: Padding) -> Array:
    """Convolve images (batch, height, width, channels) with a kernel (height, width, channels, filters)."""
    layout = ("NHWC", "HWIO", "NHWC")
    result: Array = lax.conv_general_dilated(
        x, w, (stride, stride), padding.value.upper(), dimension_numbers=layout
    )
    return result


def max_pool(x: Array, size: int, stride: int) -> Array:
    """Return the largest value of each window."""
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    largest: Array = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")
    return largest


def average_pool(x: Array, size: int, stride: int) -> Array:
    """Return the mean of each window."""
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    total: Array = lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID")
    mean: Array = total / jnp.float32(size * size)
    return mean


def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return x + y


def fork(x: Array) -> tuple[Array, Array]:
    """Return x twice."""
    return x, x


def normalise(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Return x with mean 0 and variance 1 over `axes`, and both as int64 in Q24."""
    mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + jnp.float32(_EPSILON))
    return y, _statistic(mean, axes), _statistic(variance, axes)


def _statistic(value: Array, axes: tuple[int, ...]) -> Array:
    return fixed(jnp.squeeze(lax.stop_gradient(value), axes), 24, _STATISTIC_MAX)


def normalise_with(x: Array, mean: Array, variance: Array) -> Array:
    """Return x less a mean, divided by the root of a variance (both int64 in Q24)."""
    scale = jnp.float32(2.0**-24)
    deviation = jnp.sqrt(variance.astype(jnp.float32) * scale + jnp.float32(_EPSILON))
    distance: Array = x - mean.astype(jnp.float32) * scale
    return distance / deviation


def scale(x: Array, gamma: Array) -> Array:
    """Return x * gamma."""
    return x * gamma


def dropout(x: Array, key: Array, rate_q16: int) -> Array:
    """Drop values as the exact operation does, and scale the others."""
    kept = exact_dropout.kept(x.shape, key, rate_q16)
    return jnp.where(kept, x * jnp.float32(65536 / (65536 - rate_q16)), jnp.float32(0))


_FUNCTIONS: Final[dict[Function, Callable[[Array], Array]]] = {
    Function.RELU: jax.nn.relu,
    Function.SIGMOID: jax.nn.sigmoid,
    Function.TANH: jnp.tanh,
    Function.GELU: jax.nn.gelu,
    Function.SOFTMAX: jax.nn.softmax,
}


def activate(x: Array, function: Function) -> Array:
    """Apply an activation function."""
    return _FUNCTIONS[function](x)


def leaky_relu(x: Array, slope_q16: int) -> Array:
    """Return x where it is positive, else x * slope."""
    return jax.nn.leaky_relu(x, jnp.float32(slope_q16 / 65536))


def judge(loss: Loss) -> Callable[[Array, Array], tuple[Array, Any]]:
    """Return the function that gives a loss's gradient and observation."""
    per_sample = _LOSSES[loss]

    def judged(outputs: Array, labels: Array) -> tuple[Array, Any]:
        gradient = jax.grad(lambda z: jnp.mean(per_sample(z, labels)))(outputs)
        return gradient, _observe(loss, outputs, labels, per_sample(outputs, labels))

    return judged


def _softmax_cross_entropy(z: Array, labels: Array) -> Array:
    at_label = jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1)
    return -at_label[:, 0]


def _binary_cross_entropy(z: Array, labels: Array) -> Array:
    return jax.nn.softplus(z[:, 0]) - z[:, 0] * labels


_LOSSES: Final[dict[Loss, Callable[[Array, Array], Array]]] = {
    Loss.SOFTMAX_CROSS_ENTROPY: _softmax_cross_entropy,
    Loss.BINARY_CROSS_ENTROPY: _binary_cross_entropy,
    Loss.MSE: lambda z, targets: jnp.mean((z - targets) ** 2, axis=1),
    Loss.MAE: lambda z, targets: jnp.mean(jnp.abs(z - targets), axis=1),
}


def _observe(loss: Loss, z: Array, labels: Array, losses: Array) -> Classified | Measured:
    if not loss.is_classification:
        target = fixed(labels, 16, 16384.0)
        return Measured(fixed(z, 16, 16384.0) - target, target)
    total = jnp.sum(fixed(losses, 30, 65536.0))
    if loss is Loss.BINARY_CROSS_ENTROPY:
        answer = (z[:, 0] > 0).astype(jnp.int32)
        return Classified(total, (answer != labels).astype(jnp.int32), answer)
    at_label = jnp.take_along_axis(z, labels[:, None], 1)
    earlier = jnp.arange(z.shape[1]) < labels[:, None]
    rank = jnp.sum((z > at_label) | ((z == at_label) & earlier), axis=1)
    return Classified(total, rank.astype(jnp.int32), jnp.argmax(z, axis=1).astype(jnp.int32))
