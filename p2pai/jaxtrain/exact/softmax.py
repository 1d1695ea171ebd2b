"""Softmax cross-entropy in 64-bit fixed point.

Logits are clipped to [-16384, 16384] and rounded to Q16. exp(-d) = 2^-(d log2 e) comes from a polynomial of
degree 7 on [0, 1) in Q30 (absolute error 4.3e-9) and a shift; log2 from repeated squaring, one bit at a
time. Bounds, for C classes and B samples:

* d < 2^31 in Q16, so d * log2(e) in Q30 stays below 2^62;
* the sum of exponentials is at most C * 2^30 <= 2^40, and e << 30 is at most 2^60;
* ln C < 8 for C <= 2900, so (log2 s - 30) * ln 2 in Q60 stays below 2^63;
* a sample's loss is below 2^46 in Q30, so B <= 4096 of them stay below 2^58;
* a gradient is at most 2^40 in units of 2^-40, exact in float64.

Source: PROTOCOL section 7.
"""

from typing import Final

import jax.numpy as jnp
from jax import Array, lax

from p2pai.jaxtrain.exact.quantise import to_float32

ONE: Final = 1 << 30
"""1 in Q30."""

CLASS_COUNT_MAX: Final = 2900
"""Beyond this the logarithm of the sum could overflow."""

LOG2_E: Final = 1_549_082_005
"""log2(e) in Q30, rounded."""

LN_2: Final = 744_261_118
"""ln(2) in Q30, rounded."""

EXP2_COEFFICIENTS: Final = (
    1_073_741_824,
    -744_261_114,
    257_941_163,
    -59_596_395,
    10_324_651,
    -1_425_731,
    158_139,
    -11_624,
)
"""2^-f on [0, 1) in Q30, lowest power first."""

_LOGIT_MAX: Final = 16384.0
_GRADIENT_BITS: Final = 40


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the loss summed over the batch and the gradient of its mean.

    Args:
      logits: float32 (batch, classes).
      labels: int32 (batch,), each below classes.

    Returns:
      The sum of -ln p[label], int64 scalar in Q30, never negative; and d(mean loss)/d(logits), float32
      (batch, classes).
    """
    assert logits.shape[1] <= CLASS_COUNT_MAX
    distance, exponentials, total = _exponentials(logits)
    at_label = jnp.take_along_axis(distance, labels[:, None], axis=1)
    losses = (((log2(total) - (30 << 30)) * LN_2) >> 30) + (at_label << 14)
    hit = jnp.arange(logits.shape[1]) == labels[:, None]
    error = (exponentials << 30) // total - jnp.where(hit, ONE, 0)
    gradient = (error << (_GRADIENT_BITS - 30)) // logits.shape[0]
    return jnp.sum(jnp.maximum(losses, 0)), to_float32(gradient.astype(jnp.float64), -_GRADIENT_BITS)


def _exponentials(logits: Array) -> tuple[Array, Array, Array]:
    fixed = jnp.rint(jnp.clip(logits, -_LOGIT_MAX, _LOGIT_MAX) * jnp.float32(65536)).astype(jnp.int64)
    distance = jnp.max(fixed, axis=1, keepdims=True) - fixed
    exponentials = exp_negative(distance)
    return distance, exponentials, jnp.sum(exponentials, axis=1, keepdims=True)


def exp_negative(distance: Array) -> Array:
    """Return exp(-distance) in Q30; distance is int64 in Q16, 0 to 2^31."""
    power = (distance * LOG2_E) >> 16
    fraction = power & (ONE - 1)
    value = jnp.full_like(fraction, EXP2_COEFFICIENTS[-1])
    for coefficient in EXP2_COEFFICIENTS[-2::-1]:
        value = coefficient + ((value * fraction) >> 30)
    return value >> jnp.minimum(power >> 30, 62)


def log2(n: Array) -> Array:
    """Return the binary logarithm in Q30, rounded down, of int64 numbers from 1 to 2^62."""
    whole = 63 - lax.clz(n)
    mantissa = jnp.where(
        whole > 30, n >> jnp.maximum(whole - 30, 0), n << jnp.maximum(30 - whole, 0)
    )  # in [2^30, 2^31)

    def next_bit(i: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        mantissa, result = carried
        squared = (mantissa * mantissa) >> 30
        bit = squared >> 31
        return squared >> bit, result + (bit << (29 - i))

    result: Array = lax.fori_loop(0, 30, next_bit, (mantissa, whole << 30))[1]
    return result
