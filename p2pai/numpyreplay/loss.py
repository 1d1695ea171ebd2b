"""Losses: the gradient of the mean over a batch, and the batch's loss as an exact sum.

Source: docs/EXACT.md, "Losses".
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from p2pai.chain.training import Loss
from p2pai.numpyreplay.exponential import (
    LOGIT_BITS,
    LOGIT_MAX,
    ONE,
    distances,
    exp_of_minus,
    natural_log,
    sigmoid,
)
from p2pai.numpyreplay.integers import Integers, exact_sum
from p2pai.numpyreplay.quantise import Floats, fixed, to_float32


class Lost(NamedTuple):
    """A batch's loss, summed over its samples, and the gradient of the mean."""

    total: Fraction
    gradient: Floats


def lose(loss: Loss, z: Floats, labels: Integers | Floats) -> Lost:
    """Return the loss of outputs z (batch, outputs) and its gradient."""
    return _LOSSES[loss](z, labels)


def fixed_errors(z: Floats, targets: Floats) -> Integers:
    """Return how far outputs lie above their targets, in Q16."""
    return fixed_targets(z) - fixed_targets(targets)


def fixed_targets(targets: Floats) -> Integers:
    """Return numbers in Q16, within the range of a loss."""
    return fixed(targets, LOGIT_BITS, LOGIT_MAX)


def _softmax_cross_entropy(z: Floats, labels: Integers) -> Lost:
    d = distances(z)
    e = exp_of_minus(d, LOGIT_BITS)
    s = e.sum(axis=1, keepdims=True)
    own = d[np.arange(len(z)), labels]
    losses = np.maximum(0, natural_log(s[:, 0]) + (own << 14))
    g = (e << 30) // s
    g[np.arange(len(z)), labels] -= ONE
    return Lost(Fraction(exact_sum(losses), ONE), to_float32((g << 10) // len(z), -40))


def _binary_cross_entropy(z: Floats, labels: Integers) -> Lost:
    f, y = fixed_targets(z), labels.reshape(-1, 1)
    e = exp_of_minus(np.abs(f), LOGIT_BITS)
    losses = natural_log(ONE + e) + (np.maximum(f * (1 - 2 * y), 0) << 14)
    g = sigmoid(f, LOGIT_BITS) - y * ONE
    return Lost(Fraction(exact_sum(losses), ONE), to_float32((g << 10) // len(z), -40))


def _mse(z: Floats, targets: Floats) -> Lost:
    errors = fixed_errors(z, targets)
    total = Fraction(exact_sum(errors * errors), z.shape[1] << 32)
    return Lost(total, to_float32((errors << 20) // z.size, -35))


def _mae(z: Floats, targets: Floats) -> Lost:
    errors = fixed_errors(z, targets)
    total = Fraction(exact_sum(np.abs(errors)), z.shape[1] << 16)
    return Lost(total, to_float32(np.sign(errors) * ((1 << 40) // z.size), -40))


_LOSSES: Final[dict[Loss, Callable[[Floats, Any], Lost]]] = {
    Loss.SOFTMAX_CROSS_ENTROPY: _softmax_cross_entropy,
    Loss.BINARY_CROSS_ENTROPY: _binary_cross_entropy,
    Loss.MSE: _mse,
    Loss.MAE: _mae,
}
