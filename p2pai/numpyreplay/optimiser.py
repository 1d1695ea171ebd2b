"""Optimisers: what a gradient adds to the residual, in units of 2^-26 of a weight.

Source: docs/EXACT.md, "Optimisers".
"""

from math import isqrt
from typing import Final

import numpy as np

from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import Adam, Momentum, Optimiser, RmsProp, learning_rate
from p2pai.jobs import Position
from p2pai.numpyreplay.integers import Integers, divide_towards_zero, floor_root, limit
from p2pai.numpyreplay.model import INT32_MAX
from p2pai.numpyreplay.quantise import Floats, fixed
from p2pai.primitives.errors import InvalidMessage

State = tuple[Integers, ...]
"""Momentum: V. RMSProp: S. Adam: M and S. SGD: nothing. Flat, in canonical order."""

_GRADIENT_MAX: Final = 8192
_MEAN_MAX: Final = 1 << 30
_SQUARE_MAX: Final = 1 << 60
_PPM: Final = 1_000_000
_PPB: Final = 1_000_000_000


def initial(optimiser: Optimiser, count: int) -> State:
    """Return the state before the first iteration, for so many weights."""
    return tuple(np.zeros(count, np.int64) for _ in _layout(optimiser))


def encode(optimiser: Optimiser, state: State) -> bytes:
    """Return a state's bytes."""
    layout = _layout(optimiser)
    return b"".join(values.astype(kind).tobytes() for values, (kind, _, _) in zip(state, layout, strict=True))


def decode(data: bytes, optimiser: Optimiser, count: int) -> State:
    """Read a state's bytes.

    Raises:
      InvalidMessage: of another size, or with a number out of range.
    """
    layout = _layout(optimiser)
    if len(data) != count * sum(np.dtype(kind).itemsize for kind, _, _ in layout):
        raise InvalidMessage("optimiser's state: size")
    state, start = [], 0
    for kind, least, most in layout:
        values = np.frombuffer(data, kind, count, start).astype(np.int64)
        start += count * np.dtype(kind).itemsize
        if ((values < least) | (values > most)).any():
            raise InvalidMessage("optimiser's state: a value out of range")
        state.append(values)
    return tuple(state)


def contribute(
    task: TaskDefinition, position: Position, gradient: Floats, weights: Integers, state: State
) -> tuple[Integers, State]:
    """Return what a gradient adds to the residual, and the state after it.

    Args:
      task: whose optimiser and schedule are taken.
      position: of the iteration.
      gradient: flat.
      weights: theta', flat, in units of 2^-20.
      state: before the iteration.
    """
    optimiser = task.optimiser
    rate = learning_rate(optimiser, task.schedule, position.epoch, task.epochs)
    g = np.clip(gradient, np.float32(-_GRADIENT_MAX), np.float32(_GRADIENT_MAX))
    if isinstance(optimiser, Momentum):
        return _momentum(optimiser, rate, g, *state)
    if isinstance(optimiser, RmsProp):
        return _rms_prop(optimiser, rate, g, *state)
    if isinstance(optimiser, Adam):
        added, after = _adam(optimiser, rate, g, position.iteration, state)
        return limit(added + _decay(optimiser, rate, weights), INT32_MAX), after
    return _rated(g, rate, 2), ()


def bias_corrections(optimiser: Adam, iteration: int) -> tuple[int, int]:
    """Return Adam's c1 and c2 of an iteration, from 0."""
    left1 = (1 << 62) - _power(optimiser.beta1_q16, iteration + 1)
    left2 = (1 << 62) - _power(optimiser.beta2_q16, iteration + 1)
    return (1 << 78) // left1, isqrt((1 << 94) // left2)


def _layout(optimiser: Optimiser) -> tuple[tuple[str, int, int], ...]:
    """Return type, least and greatest value of each part of the state."""
    if isinstance(optimiser, Momentum):
        return (("<i4", -INT32_MAX, INT32_MAX),)
    if isinstance(optimiser, RmsProp):
        return (("<i8", 0, _SQUARE_MAX),)
    if isinstance(optimiser, Adam):
        return (("<i4", -_MEAN_MAX, _MEAN_MAX), ("<i8", 0, _SQUARE_MAX))
    return ()


def _rated(g: Floats, rate: int, exponent: int) -> Integers:
    # 24 bits times 28: the product is exact in float64.
    exact = np.ldexp(g.astype(np.float64) * float(rate), exponent)
    return np.clip(np.rint(exact), -INT32_MAX, INT32_MAX).astype(np.int64)


def _momentum(optimiser: Momentum, rate: int, g: Floats, velocity: Integers) -> tuple[Integers, State]:
    added = _rated(g, rate, 8)
    after = _faded(velocity, optimiser.momentum_q16, added)
    u = _faded(after, optimiser.momentum_q16, added) if optimiser.nesterov else after
    rounded: Integers = (u + 32) >> 6
    return rounded, (after,)


def _faded(velocity: Integers, momentum: int, added: Integers) -> Integers:
    return limit(divide_towards_zero(velocity * momentum, 1 << 16) + added, INT32_MAX)


def _rms_prop(optimiser: RmsProp, rate: int, g: Floats, square: Integers) -> tuple[Integers, State]:
    gradient = fixed(g, 28, 4)
    after = _mean_square(square, gradient, optimiser.decay_q16)
    divisor = floor_root(after) + _epsilon(optimiser)
    return limit(_quotient(gradient, divisor, rate), INT32_MAX), (after,)


def _adam(optimiser: Adam, rate: int, g: Floats, iteration: int, state: State) -> tuple[Integers, State]:
    mean, square = state
    gradient, beta1 = fixed(g, 28, 4), optimiser.beta1_q16
    c1, c2 = bias_corrections(optimiser, iteration)
    mean = divide_towards_zero(mean * beta1 + gradient * (65536 - beta1), 1 << 16)
    square = _mean_square(square, gradient, optimiser.beta2_q16)
    numerator = limit(divide_towards_zero(mean * c1, 1 << 16), INT32_MAX)
    divisor = ((floor_root(square) * c2) >> 16) + _epsilon(optimiser)
    return _quotient(numerator, divisor, rate), (mean, square)


def _mean_square(square: Integers, gradient: Integers, decay: int) -> Integers:
    k = (65536 - decay) << 8
    d = gradient * gradient - square
    moved: Integers = square + (d >> 24) * k + (((d & ((1 << 24) - 1)) * k) >> 24)
    return moved


def _epsilon(optimiser: RmsProp | Adam) -> int:
    return max(1, (optimiser.epsilon_ppb << 28) // _PPB)


def _quotient(numerator: Integers, divisor: Integers, rate: int) -> Integers:
    ratio = divide_towards_zero(limit(numerator, 64 * divisor) << 30, divisor)
    rounded: Integers = (ratio * rate + (1 << 27)) >> 28
    return rounded


def _decay(optimiser: Adam, rate: int, weights: Integers) -> Integers:
    k = (rate * optimiser.weight_decay_ppm << 12) // _PPM
    rounded: Integers = (weights * k + (1 << 29)) >> 30
    return rounded


def _power(base: int, exponent: int) -> int:
    """Return (base / 65536)^exponent in Q62."""
    x = 1 << 62
    for digit in f"{exponent:b}":
        x = x * x >> 62
        if digit == "1":
            x = x * base >> 16
    return x
