"""What gradients add to the residual, against exact fractions."""

from fractions import Fraction

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.jaxtrain.optimiser import sgd

SGD = jax.jit(sgd)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, min_value=-(2.0**40), max_value=2.0**40), min_size=1, max_size=8),
    st.integers(1, 100_000_000),
)
def test_one_rounding_of_the_exact_product(numbers, learning_rate_ppm):
    gradient = np.zeros(8, np.float32)
    gradient[: len(numbers)] = numbers
    gradient = np.where(np.abs(gradient) < 2.0**-100, 0, gradient).astype(np.float32)
    expected = [oracle.contribution(Fraction(float(g)), learning_rate_ppm) for g in gradient]
    assert np.asarray(SGD(gradient, learning_rate_ppm)).tolist() == expected


@pytest.mark.parametrize("learning_rate_ppm", [1, 300_000, 1_000_000, 100_000_000])
def test_every_magnitude_and_both_signs(learning_rate_ppm):
    sizes = np.exp2(np.arange(-100, 51)).astype(np.float32) * np.float32(1.7)
    gradient = np.concatenate([sizes, -sizes, np.zeros(1, np.float32)])
    expected = [oracle.contribution(Fraction(float(g)), learning_rate_ppm) for g in gradient]
    assert np.asarray(SGD(gradient, learning_rate_ppm)).tolist() == expected


def test_ties_go_away_from_zero():
    half_unit = np.array([2.0**-27, -(2.0**-27), 3 * 2.0**-27], np.float32)
    assert np.asarray(sgd(half_unit, 1_000_000)).tolist() == [1, -1, 2]
