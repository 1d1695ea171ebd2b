"""Metrics rounded to float32 in integers, against numpy's correctly rounded double-double."""

from fractions import Fraction

import exact_oracle as oracle
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p2pai.jaxtrain.metrics import NOTHING, Score, ratio_bits


@given(st.integers(0, 2**60), st.integers(1, 2**45))
def test_quotients_are_rounded_to_nearest_even(numerator, denominator):
    value = np.array(ratio_bits(numerator, denominator), np.uint32).view(np.float32)
    assert Fraction(float(value)) == oracle.nearest_float32(Fraction(numerator, denominator))


def test_known_patterns():
    assert ratio_bits(0, 7) == 0
    assert ratio_bits(7, 7) == 0x3F800000
    assert ratio_bits(1, 3) == 0x3EAAAAAB
    assert ratio_bits((1 << 25) - 1, 1) == 0x4C000000


def test_scores_add_up():
    total = Score(1 << 30, 1, 2) + Score(3 << 30, 2, 2)
    assert total.metrics == (0x3F800000, 0x3F400000)
    assert NOTHING.metrics == ()
