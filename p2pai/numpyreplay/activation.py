"""Functions of each value, or of each row, and their derivatives.

Source: docs/EXACT.md, "Activations".
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from p2pai.chain.layers import Function
from p2pai.numpyreplay.exponential import ONE, distances, exp_of_minus, sigmoid
from p2pai.numpyreplay.integers import Integers, limit
from p2pai.numpyreplay.quantise import BITS, Floats, fixed, quantise, to_float32
from p2pai.numpyreplay.tape import Gradients, Layered

_GELU_CUBIC: Final = 48012366
"""0.044715 in Q30."""

_GELU_SLOPE: Final = 1713444047
"""2 * sqrt(2 / pi) in Q30."""

_ZERO: Final = np.float32(0)


def activate(function: Function, x: Floats) -> Layered:
    """Return a function without parameters of x."""
    return _FUNCTIONS[function](x)


def leaky_relu(x: Floats, slope: int) -> Layered:
    """Return x where it is positive, else x times slope / 65536."""

    def bend(values: Floats) -> Floats:
        m, e = quantise(values, BITS)
        return np.where(x > 0, values, to_float32(m * slope, e - 16))

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        return bend(dy), ()

    return Layered(bend(x), pull)


def _relu(x: Floats) -> Layered:
    return Layered(np.where(x > 0, x, _ZERO), lambda dy: (np.where(x > 0, dy, _ZERO), ()))


def _sigmoid(x: Floats) -> Layered:
    s = sigmoid(fixed(x, 24, 32), 24)
    return Layered(to_float32(s, -30), _slope((s * (ONE - s)) >> 32, 28))


def _tanh(x: Floats) -> Layered:
    q = fixed(x, 24, 32)
    a = exp_of_minus(2 * np.abs(q), 24)
    b = ((ONE - a) << 30) // (ONE + a)
    s = np.where(q >= 0, b, -b)
    return Layered(to_float32(s, -30), _slope((ONE - ((s * s) >> 30)) >> 2, 28))


def _gelu(x: Floats) -> Layered:
    q = fixed(x, 24, 8)
    c = (((q * q) >> 24) * _GELU_CUBIC) >> 24
    z = limit((((q * (ONE + c)) >> 30) * _GELU_SLOPE) >> 30, 1 << 29)
    s = sigmoid(z, 24)
    w = (((ONE + 3 * c) >> 2) * _GELU_SLOPE) >> 28
    derivative = (s >> 6) + ((((q * w) >> 30) * ((s * (ONE - s)) >> 30)) >> 30)
    m, e = quantise(x, BITS)
    return Layered(to_float32(m * (s >> 1), e - 29), _slope(derivative, 24))


def _softmax(x: Floats) -> Layered:
    e = exp_of_minus(distances(x), 16)
    p = (e << 30) // e.sum(axis=-1, keepdims=True)

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        m, exponent = quantise(dy, 20)
        total = (m << 4) - ((m * p).sum(axis=-1, keepdims=True) >> 26)
        return to_float32(total * (p >> 4), exponent - 30), ()

    return Layered(to_float32(p, -30), pull)


def _slope(derivative: Integers, bits: int) -> Callable[[Floats], tuple[Floats, Gradients]]:
    """Return the way back through a function of each value, its derivative being in Q`bits`."""

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        m, e = quantise(dy, BITS)
        return to_float32(m * derivative, e - bits), ()

    return pull


_FUNCTIONS: Final[dict[Function, Callable[[Floats], Layered]]] = {
    Function.RELU: _relu,
    Function.SIGMOID: _sigmoid,
    Function.TANH: _tanh,
    Function.GELU: _gelu,
    Function.SOFTMAX: _softmax,
}
