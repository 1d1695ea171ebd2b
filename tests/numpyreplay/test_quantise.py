"""Conversions against exact fractions."""

from fractions import Fraction
from math import log2

import numpy as np
import pytest

from p2pai.numpyreplay.quantise import add, fixed, multiply, quantise, to_float32

DICE = np.random.default_rng(2)


def exponent(values):
    largest = max(abs(Fraction(float(x))) for x in values)
    if largest == 0:
        return -60
    e = largest.numerator.bit_length() - largest.denominator.bit_length()
    e += Fraction(2) ** e <= largest  # now 2^(e - 1) <= largest < 2^e
    return min(max(e, -60), 60)


def integers_of(values, bits):
    e = exponent(values)
    m = [round(Fraction(float(x)) * Fraction(2) ** (bits - e)) for x in values]
    return [min(max(n, -127), 127) for n in m] if bits == 7 else m, e - bits


def tensors():
    for scale in (1, 2.0**-90, 2.0**49, 2.0**-62):
        yield (DICE.standard_normal(40) * scale).astype(np.float32)
    yield np.zeros(3, np.float32)
    yield np.array([1, -1, 0.5, 1 - 2.0**-24, 1.5 * 2**-24, 0.5 * 2**-6], np.float32)


@pytest.mark.parametrize("bits", [7, 13, 17, 18, 20, 24])
def test_quantise(bits):
    for x in tensors():
        m, e = quantise(x, bits)
        assert (m.tolist(), int(e)) == integers_of(x, bits)


def test_groups_have_exponents_of_their_own():
    x = (DICE.standard_normal((3, 4, 5)) * [1, 2, 40, 0, 2.0**-80]).astype(np.float32)
    m, e = quantise(x, 18, (0, 1))
    assert e.shape == (1, 1, 5)
    for channel in range(5):
        values = x[:, :, channel].reshape(-1)
        assert (m[:, :, channel].reshape(-1).tolist(), int(e[0, 0, channel])) == integers_of(values, 18)


def test_numbers_stay_between_2_to_the_minus_100_and_2_to_the_50():
    i = np.array([1, -1, 0, (1 << 53) - 1, -(1 << 53), 1 << 24, (1 << 24) + 1, (1 << 24) + 3])
    x = to_float32(i, 0)
    assert x.dtype == np.float32
    assert x.tolist() == [1, -1, 0, 2.0**50, -(2.0**50), 2**24, 2**24, 2**24 + 4]
    tiny = to_float32(np.array([1, -1, 1, -3]), np.array([-100, -101, -101, -102]))
    assert tiny.tolist() == [2.0**-100, 0, 0, 0]
    assert not np.signbit(tiny).any()


def test_fixed():
    x = np.array([0.5, -40, 33, 1.5 * 2**-24, 2.5 * 2**-24], np.float32)
    assert fixed(x, 24, 32).tolist() == [1 << 23, -(1 << 29), 1 << 29, 2, 2]


def test_multiply_and_add_against_fractions():
    for x in tensors():
        y = (DICE.standard_normal(len(x)) * 3).astype(np.float32)
        (m, e), (k, f) = integers_of(x, 24), integers_of(y, 24)
        products = [Fraction(2) ** (e + f) * a * b for a, b in zip(m, k, strict=True)]
        assert multiply(x, y).tolist() == [rounded(p) for p in products]
        top = max(exponent(x), exponent(y))
        unit = Fraction(2) ** (top - 24)
        sums = [
            unit * (round(Fraction(float(a)) / unit) + round(Fraction(float(b)) / unit))
            for a, b in zip(x, y, strict=True)
        ]
        assert add(x, y).tolist() == [rounded(s) for s in sums]


def rounded(value):
    if value == 0 or abs(value) < Fraction(2) ** -100:
        return 0.0
    value = min(max(value, Fraction(-(2**50))), Fraction(2**50))
    e = int(log2(abs(value))) - 24  # a grid that is never coarser than float32's
    while abs(value) / Fraction(2) ** e >= 1 << 24:
        e += 1
    return float(round(value / Fraction(2) ** e) * Fraction(2) ** e)
