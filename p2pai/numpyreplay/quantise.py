"""From float32 to integers and back.

A tensor (or each group of its values) becomes integers with one exponent: the largest value decides the
exponent, and the only rounding is to the nearest integer. All scalings by powers of two are done in float64,
which holds every number here exactly.

Source: docs/EXACT.md, "Conversions".
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2pai.numpyreplay.integers import Integers

Floats = NDArray[np.float32]
Axes = tuple[int, ...]

BITS: Final = 24
"""Mantissa of what is neither a product of a dense layer or convolution nor normalised."""

_EXPONENT_MAX: Final = 60
_BYTE_BITS: Final = 7
_BYTE_MAX: Final = 127
_SMALLEST: Final = 2.0**-100
_LARGEST: Final = 2.0**50


class Mantissas(NamedTuple):
    """Integers that stand for themselves times 2^exponent."""

    values: Integers
    exponent: Integers
    """One for the tensor, or one for each group, with the groups' axes kept at length 1."""


def quantise(x: Floats, bits: int, axes: Axes | None = None) -> Mantissas:
    """Return integers of `bits` bits and their exponent, in groups along `axes` (None: the whole tensor)."""
    exponent = _exponent_of(x, axes)
    values = _round_scaled(x, bits - exponent)
    if bits == _BYTE_BITS:
        values = np.clip(values, -_BYTE_MAX, _BYTE_MAX)
    return Mantissas(values, exponent - bits)


def to_float32(values: Integers, exponent: Integers | int) -> Floats:
    """Return values * 2^exponent, rounded once; tiny numbers become 0, huge ones 2^50."""
    exact = np.ldexp(values.astype(np.float64), exponent)
    exact = np.clip(np.where(np.abs(exact) < _SMALLEST, 0.0, exact), -_LARGEST, _LARGEST)
    return exact.astype(np.float32)


def fixed(x: Floats, bits: int, bound: int) -> Integers:
    """Return x, limited to [-bound, bound], in units of 2^-bits."""
    return _round_scaled(np.clip(x, np.float32(-bound), np.float32(bound)), bits)


def multiply(x: Floats, y: Floats) -> Floats:
    """Return x * y, y broadcast against x."""
    left, right = quantise(x, BITS), quantise(y, BITS)
    return to_float32(left.values * right.values, left.exponent + right.exponent)


def add(x: Floats, y: Floats) -> Floats:
    """Return x + y, both on the grid of the larger."""
    exponent = np.maximum(_exponent_of(x, None), _exponent_of(y, None))
    total = _round_scaled(x, BITS - exponent) + _round_scaled(y, BITS - exponent)
    return to_float32(total, exponent - BITS)


def _exponent_of(x: Floats, axes: Axes | None) -> Integers:
    largest = np.max(np.abs(x), axis=axes, keepdims=axes is not None)
    exponent = np.frexp(largest)[1].astype(np.int64)
    return np.where(largest == 0, -_EXPONENT_MAX, np.clip(exponent, -_EXPONENT_MAX, _EXPONENT_MAX))


def _round_scaled(x: Floats, exponent: Integers | int) -> Integers:
    return np.rint(np.ldexp(x.astype(np.float64), exponent)).astype(np.int64)
