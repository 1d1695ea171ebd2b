"""Whole numbers: divisions with their roundings, roots, logarithms and sums, all of them exact.

Arrays hold signed 64-bit integers. `>>` and `//` round down, as in the specification; what rounds otherwise
stands here.

Source: docs/EXACT.md, "Principle".
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_HALF_BITS: Final = 31
"""Where a square is cut in two, so that 2^31 of either part can be summed."""


def limit(x: Integers, bound: Integers | int) -> Integers:
    """Return clip(x, bound): x limited to [-bound, bound]."""
    return np.clip(x, -bound, bound)


def middle(a: Integers, b: int) -> Integers:
    """Return mid(a, b): a / b rounded to the nearest integer, ties up; b > 0."""
    rounded: Integers = (2 * a + b) // (2 * b)
    return rounded


def divide_towards_zero(a: Integers, b: Integers | int) -> Integers:
    """Return div(a, b); b > 0."""
    return np.where(a < 0, -(-a // b), a // b)


def floor_log2(n: Integers) -> Integers:
    """Return floor(log2 n) for 1 <= n < 2^62."""
    # Above 2^53 the float may be the next power of two.
    guess = np.frexp(n.astype(np.float64))[1].astype(np.int64) - 1
    return np.where(n >> guess == 0, guess - 1, guess)


def floor_root(n: Integers) -> Integers:
    """Return isqrt(n) for 0 <= n <= 2^62; the float's root is at most one away."""
    root = np.sqrt(n.astype(np.float64)).astype(np.int64)
    root = np.where(root * root > n, root - 1, root)
    return np.where((root + 1) * (root + 1) <= n, root + 1, root)


def exact_sum(n: Integers) -> int:
    """Return the sum of at most 2^31 values, which may be larger than 64 bits."""
    high, low = n >> _HALF_BITS, n & ((1 << _HALF_BITS) - 1)
    return (int(high.sum()) << _HALF_BITS) + int(low.sum())
