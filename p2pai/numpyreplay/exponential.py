"""exp, log2, and what is made of them, in fixed point.

A number in Qn is an integer that stands for itself times 2^-n.

Source: docs/EXACT.md, "Activations" and "Losses".
"""

from typing import Final

import numpy as np

from p2pai.numpyreplay.integers import Integers, floor_log2
from p2pai.numpyreplay.quantise import Floats, fixed

ONE: Final = 1 << 30
"""1 in Q30."""

LN_2: Final = 744261118
"""ln(2) in Q30."""

LOGIT_BITS: Final = 16
LOGIT_MAX: Final = 16384
"""Outputs of a network enter a loss in Q16, at most so large."""

_LOG2_E: Final = 1549082005
_POWER: Final = (1073741824, -744261114, 257941163, -59596395, 10324651, -1425731, 158139, -11624)
"""Coefficients of 2^-f on [0, 1), in Q30, lowest first."""


def exp_of_minus(d: Integers, bits: int) -> Integers:
    """Return exp(-d) in Q30, for d in Q`bits`, 0 <= d <= 2^31."""
    p = (d * _LOG2_E) >> bits
    f = p & (ONE - 1)
    v: Integers = np.full_like(p, _POWER[-1])
    for coefficient in reversed(_POWER[:-1]):
        v = coefficient + ((v * f) >> 30)
    result: Integers = v >> np.minimum(p >> 30, 62)
    return result


def log2(n: Integers) -> Integers:
    """Return the logarithm to base 2 in Q30, rounded down, for 1 <= n <= 2^62."""
    w = floor_log2(n)
    m = np.where(w > 30, n >> np.maximum(w - 30, 0), n << np.maximum(30 - w, 0))
    result = w << 30
    for i in range(30):
        q = (m * m) >> 30
        b = q >> 31
        m = q >> b
        result = result + (b << (29 - i))
    return result


def natural_log(n: Integers) -> Integers:
    """Return ln(n) in Q30 of a number n in Q30, n >= 2^-30."""
    return ((log2(n) - 30 * ONE) * LN_2) >> 30


def sigmoid(q: Integers, bits: int) -> Integers:
    """Return 1 / (1 + exp(-q)) in Q30, for q in Q`bits`, |q| <= 2^31."""
    b = (1 << 60) // (ONE + exp_of_minus(np.abs(q), bits))
    return np.where(q >= 0, b, ONE - b)


def distances(z: Floats) -> Integers:
    """Return how far each output lies below its row's largest, in Q16."""
    f = fixed(z, LOGIT_BITS, LOGIT_MAX)
    below: Integers = f.max(axis=-1, keepdims=True) - f
    return below
