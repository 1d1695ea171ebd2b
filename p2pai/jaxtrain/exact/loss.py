"""Losses in 64-bit fixed point: the gradient of a batch's mean, and what its metrics are made from.

Outputs and targets are clipped to [-16384, 16384] and rounded to Q16. Bounds, for C classes and B samples:

* the sum of exponentials is at most C * 2^30 <= 2^40, and e << 30 is at most 2^60;
* ln C < 8 for C <= 2900, so (log2 s - 30) * ln 2 in Q60 stays below 2^63;
* a sample's loss is below 2^46 in Q30, so B <= 4096 of them stay below 2^58;
* a gradient is at most 2^40 in units of 2^-40, an error 2^31 in Q16, exact in float64 after 20 more bits.

Source: PROTOCOL section 7; docs/EXACT.md, "Losses".
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import jax.numpy as jnp
from jax import Array

from p2pai.chain.training import Loss
from p2pai.jaxtrain.exact.activation import exponentials_of
from p2pai.jaxtrain.exact.fixed_point import LN_2, ONE, exp_negative, log2, sigmoid_q30
from p2pai.jaxtrain.exact.integer import floor_divide
from p2pai.jaxtrain.exact.quantise import fixed, to_float32

CLASS_COUNT_MAX: Final = 2900
"""Beyond this the logarithm of the sum could overflow."""

OUTPUT_MAX: Final = 16384.0
_OUTPUT_BITS: Final = 16


class Classified(NamedTuple):
    """What a forward pass gave where labels are classes."""

    loss: Array
    """Summed over the batch, int64 in Q30."""
    rank: Array
    """Of each label: how many classes stand before it, int32 (batch,)."""
    answer: Array
    """The class with the largest output, the lowest on ties, int32 (batch,)."""


class Measured(NamedTuple):
    """What a forward pass gave where labels are numbers, int64 (batch, targets) in Q16."""

    error: Array
    """Output less target."""
    target: Array


Observation = Classified | Measured
Judge = Callable[[Array, Array], tuple[Array, Observation]]
"""Outputs and labels to the gradient of the mean loss and an observation."""


def judge(loss: Loss) -> Judge:
    """Return the function of a loss."""
    return _JUDGES[loss]


def softmax_cross_entropy(outputs: Array, labels: Array) -> tuple[Array, Classified]:
    """Judge float32 logits (batch, classes) by int32 labels (batch,), each below classes."""
    assert outputs.shape[1] <= CLASS_COUNT_MAX
    distance, exponentials, total = exponentials_of(outputs)
    at_label = jnp.take_along_axis(distance, labels[:, None], axis=1)
    losses = (((log2(total) - (30 << 30)) * LN_2) >> 30) + (at_label << 14)
    hit = jnp.arange(outputs.shape[1]) == labels[:, None]
    error = floor_divide(exponentials << 30, total) - jnp.where(hit, ONE, 0)
    loss = jnp.sum(jnp.maximum(losses, 0))
    answer = jnp.argmax(outputs, axis=1).astype(jnp.int32)
    return _mean_gradient(error), Classified(loss, rank_of(outputs, labels), answer)


def rank_of(outputs: Array, labels: Array) -> Array:
    """Return how many classes have a larger output than the label's, or an equal one and a lower index."""
    at_label = jnp.take_along_axis(outputs, labels[:, None], axis=1)
    earlier = jnp.arange(outputs.shape[1]) < labels[:, None]
    before = (outputs > at_label) | ((outputs == at_label) & earlier)
    return jnp.sum(before.astype(jnp.int32), axis=1)


def binary_cross_entropy(outputs: Array, labels: Array) -> tuple[Array, Classified]:
    """Judge one float32 logit a sample (batch, 1) by int32 labels (batch,), 0 or 1."""
    z, y = outputs[:, 0], labels.astype(jnp.int64)
    q = fixed(z, _OUTPUT_BITS, OUTPUT_MAX)
    exponential = exp_negative(jnp.abs(q), _OUTPUT_BITS)
    softplus = ((log2(ONE + exponential) - (30 << 30)) * LN_2) >> 30
    losses = softplus + (jnp.maximum(q * (1 - 2 * y), 0) << 14)
    error = sigmoid_q30(q, exponential) - y * ONE
    answer = (z > 0).astype(jnp.int32)
    rank = (answer != labels).astype(jnp.int32)
    return _mean_gradient(error[:, None]), Classified(jnp.sum(losses), rank, answer)


def mse(outputs: Array, targets: Array) -> tuple[Array, Measured]:
    """Judge float32 outputs (batch, n) by targets of the same shape: mean squared error."""
    measured = _measure(outputs, targets)
    gradient = (measured.error << 20) // outputs.size
    return to_float32(gradient.astype(jnp.float64), -35), measured


def mae(outputs: Array, targets: Array) -> tuple[Array, Measured]:
    """Judge float32 outputs (batch, n) by targets of the same shape: mean absolute error."""
    measured = _measure(outputs, targets)
    gradient = jnp.sign(measured.error) * ((1 << 40) // outputs.size)
    return to_float32(gradient.astype(jnp.float64), -40), measured


def _measure(outputs: Array, targets: Array) -> Measured:
    target = fixed(targets, _OUTPUT_BITS, OUTPUT_MAX)
    return Measured(fixed(outputs, _OUTPUT_BITS, OUTPUT_MAX) - target, target)


def _mean_gradient(error: Array) -> Array:
    """Divide errors in Q30 (batch, outputs) by the batch and round them to float32."""
    gradient = (error << 10) // error.shape[0]
    return to_float32(gradient.astype(jnp.float64), -40)


_JUDGES: Final[dict[Loss, Judge]] = {
    Loss.SOFTMAX_CROSS_ENTROPY: softmax_cross_entropy,
    Loss.BINARY_CROSS_ENTROPY: binary_cross_entropy,
    Loss.MSE: mse,
    Loss.MAE: mae,
}
