"""Rounding to integers under a power of two, and back."""

from fractions import Fraction

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import CASES, normal, same, tensor

from p2pai.jaxtrain.exact import quantise
from p2pai.jaxtrain.exact.quantise import fixed, to_float32

QUICK = settings(max_examples=60, deadline=None)
QUANTISE = jax.jit(quantise.quantise, static_argnums=(1, 2))
TO_FLOAT32 = jax.jit(to_float32)
NUMBERS = st.floats(width=32, min_value=-(2.0**59), max_value=2.0**59)
COUNT = 6


@pytest.mark.parametrize("bits", [7, 13, 17, 18, 20, 24])
@pytest.mark.parametrize("case", CASES)
def test_integers_and_exponents_are_the_oracles(case, bits):
    x = tensor(case, 1, 3, 4)
    m, e = QUANTISE(x, bits, None)
    expected, exponent = oracle.quantise(oracle.exact(normal(x)), bits)
    same(m, expected)
    assert int(e) == exponent
    assert m.dtype == np.int32


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("case", CASES)
def test_groups_have_exponents_of_their_own(case, axes):
    x = tensor(case, 2, 3, 4) * np.float32([1, 2**20, 2**-20, 0])
    m, e = QUANTISE(x, 18, axes)
    expected, exponents = oracle.quantise(oracle.exact(normal(x)), 18, axes)
    same(m, expected)
    same(e, exponents)


@QUICK
@given(st.lists(NUMBERS, min_size=1, max_size=COUNT), st.sampled_from([7, 13, 24]))
def test_any_numbers_are_the_oracles(numbers, bits):
    x = np.float32(numbers + [0.0] * (COUNT - len(numbers)))
    m, e = QUANTISE(x, bits, None)
    expected, exponent = oracle.quantise(oracle.exact(normal(x)), bits)
    same(m, expected)
    assert int(e) == exponent


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (0.0, -60), (2.0**-126, -60), (2.0**-61, -60), (2.0**-60, -59), (0.5, 0), (1 - 2.0**-24, 0), (1.0, 1),
        (2.0**59, 60), (1.5 * 2.0**59, 60),
    ],
)  # fmt: skip
def test_the_exponent_is_that_of_the_largest_and_clamped(largest, exponent):
    assert int(quantise.exponent_of(np.float32([0, -largest]))) == exponent


def test_ties_go_to_even():
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 64]) / 128
    assert QUANTISE(x, 7, None)[0].tolist() == [0, 2, 2, 0, -2, 64]


def test_seven_bits_fit_a_signed_byte():
    """Thirteen bits may round up to 2^13, seven may not to 2^7."""
    x = np.float32([1 - 2.0**-20, -1 + 2.0**-20, 0, 0, 0, 0])
    assert QUANTISE(x, 7, None)[0].tolist()[:2] == [127, -127]
    assert QUANTISE(x, 13, None)[0].tolist()[:2] == [8192, -8192]


@QUICK
@given(st.integers(-(2**53), 2**53), st.integers(-400, 400))
def test_any_integer_is_rounded_once(integer, exponent):
    same(TO_FLOAT32(np.float64(integer), exponent), oracle.to_float32(integer, exponent))


@pytest.mark.parametrize(
    ("integer", "exponent", "wanted"),
    [
        (0, 0, 0),
        ((1 << 24) + 1, 0, 1 << 24),
        ((1 << 24) + 3, 0, (1 << 24) + 4),
        (-(1 << 25) - 2, -25, -1),
        (1, -101, 0),
        (-1, -101, 0),
        ((1 << 53) - 1, -154, 0),  # just below 2^-101
        (1, -100, Fraction(1, 2**100)),
        ((1 << 53) - 1, -153, 0),  # just below 2^-100: zero before it is rounded
        (1 << 53, 10, 1 << 50),
        (-(1 << 53), 10, -(1 << 50)),
        ((1 << 50) - 1, 0, 1 << 50),
    ],
)
def test_edges_of_the_way_back(integer, exponent, wanted):
    same(TO_FLOAT32(np.float64(integer), exponent), wanted)
    assert Fraction(int(oracle.to_float32(integer, exponent) * 2**100), 2**100) == wanted


@QUICK
@given(st.lists(NUMBERS, min_size=1, max_size=COUNT), st.sampled_from([(16, 16384.0), (24, 32.0), (28, 4.0)]))
def test_fixed_point_is_clipped_and_rounded_to_even(numbers, form):
    x = np.float32(numbers + [0.5 * 2.0 ** -form[0]] * (COUNT - len(numbers)))
    bits, limit = form
    same(fixed(x, bits, limit), oracle.fixed(oracle.exact(x), bits, int(limit)))


@pytest.mark.parametrize("exponent", [-126, -1, 0, 127])
def test_powers_of_two_are_exact(exponent):
    assert float(quantise.power_of_two(np.int32(exponent))) == 2.0**exponent
    assert float(quantise.power_of_two_double(8 * exponent)) == 2.0 ** (8 * exponent)
