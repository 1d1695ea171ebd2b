"""What a gradient adds to the residual: rate and optimiser act before the threshold.

SGD and momentum multiply a gradient's 24-bit mantissa with the rate (at most 28 bits), exact in float64, and
round once. RMSProp and Adam bring gradients to a grid of 2^-28 and keep integer moments.

Source: Kingma and Ba 2015; Sutskever et al. 2013; PROTOCOL section 7; docs/EXACT.md, "Optimisers".
"""

from math import isqrt as host_isqrt
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import PPM, Adam, Momentum, Optimiser, RmsProp, Sgd, learning_rate
from p2pai.jaxtrain.exact.grid import RESIDUAL_UNITS_MAX, WEIGHT_BITS
from p2pai.jaxtrain.exact.integer import divide, isqrt

GRADIENT_MAX: Final = 8192.0
"""Gradients are clipped here, either sign, by SGD and momentum."""

_GRADIENT_MAX_BITS: Final = int(np.float32(GRADIENT_MAX).view(np.int32))
_MAGNITUDE: Final = np.int32(0x7FFFFFFF)
"""All bits of a float32 but its sign."""

MOMENT_BITS: Final = 28
MOMENT_GRADIENT_MAX: Final = 4.0
"""Gradients are clipped here, either sign, by RMSProp and Adam."""

RATIO_MAX: Final = 64
"""Largest quotient of a gradient (or its mean) and the root of its mean square."""

_SLOTS: Final[dict[type, tuple[Any, ...]]] = {
    Sgd: (),
    Momentum: (np.int32,),
    RmsProp: (np.int64,),
    Adam: (np.int32, np.int64),
}

State = tuple[Array, ...]
"""Of one leaf: an array for each slot."""


def slots(optimiser: Optimiser) -> tuple[Any, ...]:
    """Return the types of what an optimiser remembers of each weight."""
    return _SLOTS[type(optimiser)]


def constants(task: TaskDefinition, epoch: int, iteration: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return rate, both bias corrections and weight decay of an iteration: R, c1, c2, K of docs/EXACT.md."""
    optimiser = task.optimiser
    rate = learning_rate(optimiser, task.schedule, epoch, task.epochs)
    if not isinstance(optimiser, Adam):
        return np.array([rate, 0, 0, 0], np.int64)
    t = iteration + 1
    first = (1 << 78) // ((1 << 62) - _power(optimiser.beta1_q16, t))
    second = host_isqrt((1 << 94) // ((1 << 62) - _power(optimiser.beta2_q16, t)))
    decay = (rate * optimiser.weight_decay_ppm << 12) // PPM
    return np.array([rate, first, second, decay], np.int64)


def _power(base_q16: int, exponent: int) -> int:
    """Return (base / 65536)^exponent in Q62 by squaring, each product rounded down."""
    result = 1 << 62
    for digit in bin(exponent)[2:]:
        result = result * result >> 62
        if digit == "1":
            result = result * base_q16 >> 16
    return result


def contribute(
    optimiser: Optimiser, gradient: Array, weights: Array, state: State, constants: Array
) -> tuple[Array, State]:
    """Return what a leaf's gradient adds to its residual, and the leaf's new state.

    Args:
      optimiser: of the task.
      gradient: float32, no denormals.
      weights: float32 of the same shape: theta'.
      state: as `slots` says.
      constants: int64 (4,), see `constants`.

    Returns:
      int32 of the same shape in residual units, at most 2^31 - 1 either way; and the state.
    """
    rate, first, second, decay = (constants[i] for i in range(4))
    if isinstance(optimiser, Sgd):
        return _scaled(gradient, rate, 2), ()
    if isinstance(optimiser, Momentum):
        return _momentum(optimiser, _scaled(gradient, rate, 8), state[0])
    g = jnp.clip(gradient, -MOMENT_GRADIENT_MAX, MOMENT_GRADIENT_MAX)
    units = jnp.rint(g * jnp.float32(2.0**MOMENT_BITS)).astype(jnp.int64)
    epsilon = max(1, (optimiser.epsilon_ppb << MOMENT_BITS) // 1_000_000_000)
    if isinstance(optimiser, RmsProp):
        square = _mean_square(units, state[0], optimiser.decay_q16)
        return _clip(_step(units, isqrt(square) + epsilon, rate)), (square,)
    blended = state[0].astype(jnp.int64) * optimiser.beta1_q16 + units * (65536 - optimiser.beta1_q16)
    mean = _towards_zero(blended, 16)
    square = _mean_square(units, state[1], optimiser.beta2_q16)
    corrected = jnp.clip(_towards_zero(mean * first, 16), -RESIDUAL_UNITS_MAX, RESIDUAL_UNITS_MAX)
    step = _step(corrected, ((isqrt(square) * second) >> 16) + epsilon, rate)
    return _clip(step + _decayed(optimiser, weights, decay)), (mean.astype(jnp.int32), square)


def _scaled(gradient: Array, rate: Array, shift: int) -> Array:
    """Return gradient * rate * 2^shift to the nearest integer, int32, clipped.

    A gradient has 24 bits and is zero or at least 2^-100, the rate has 28: their product is exact in float64.
    """
    exact = _widened(gradient) * (rate.astype(jnp.float64) * 2.0**shift)
    return jnp.clip(jnp.rint(exact), -RESIDUAL_UNITS_MAX, RESIDUAL_UNITS_MAX).astype(jnp.int32)


def _widened(gradient: Array) -> Array:
    """Return float32 gradients, clipped to +-GRADIENT_MAX, as float64.

    They are clipped by their bit patterns, which order positive floats as the floats do. So what is converted
    comes from an integer, and no compiler can leave out the rounding that made the gradient a float32.
    """
    bits = lax.bitcast_convert_type(gradient, jnp.int32)
    size = jnp.minimum(bits & _MAGNITUDE, _GRADIENT_MAX_BITS)
    return lax.bitcast_convert_type(size | (bits & ~_MAGNITUDE), jnp.float32).astype(jnp.float64)


def _momentum(optimiser: Momentum, scaled: Array, velocity: Array) -> tuple[Array, State]:
    following = _clip(_kept(velocity, optimiser) + scaled)
    used = _clip(_kept(following, optimiser) + scaled) if optimiser.nesterov else following
    # Half a unit more cannot overflow: the sum is taken in 64 bits.
    return ((used.astype(jnp.int64) + 32) >> 6).astype(jnp.int32), (following,)


def _kept(velocity: Array, optimiser: Momentum) -> Array:
    return _towards_zero(velocity.astype(jnp.int64) * optimiser.momentum_q16, 16)


def _towards_zero(n: Array, bits: int) -> Array:
    """Return n / 2^bits rounded towards zero."""
    return jnp.where(n < 0, -((-n) >> bits), n >> bits)


def _mean_square(gradient: Array, square: Array, decay_q16: int) -> Array:
    """Return the running mean of squares, int64 in Q56, at most 2^60."""
    gain = (65536 - decay_q16) << 8
    change = gradient * gradient - square
    low = change & ((1 << 24) - 1)
    return square + (change >> 24) * gain + ((low * gain) >> 24)


def _step(size: Array, root: Array, rate: Array) -> Array:
    """Return rate * size / root in residual units, int64."""
    bounded = jnp.clip(size, -RATIO_MAX * root, RATIO_MAX * root)
    return (divide(bounded << 30, root) * rate + (1 << 27)) >> 28


def _decayed(optimiser: Adam, weights: Array, decay: Array) -> Array:
    if optimiser.weight_decay_ppm == 0:
        return jnp.zeros((), jnp.int64)
    units = (weights * jnp.float32(2.0**WEIGHT_BITS)).astype(jnp.int64)
    step: Array = (units * decay + (1 << 29)) >> 30
    return step


def _clip(n: Array) -> Array:
    return jnp.clip(n, -RESIDUAL_UNITS_MAX, RESIDUAL_UNITS_MAX).astype(jnp.int32)
