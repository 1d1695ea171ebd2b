"""Sums and products of whole tensors."""

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from tensors import CASES, NORMAL_CASES, check, compiled, normal, same, tensor

from p2pai.jaxtrain.exact.arithmetic import add, add_bias, fork, mul, sum_channels

SUM, MUL = jax.jit(sum_channels), jax.jit(mul)


@pytest.mark.parametrize("case", CASES)
def test_sums_are_the_oracles_and_free_of_order(case):
    x = tensor(case, 1, 5, 2, 3)
    same(SUM(x), oracle.sum_channels(oracle.exact(normal(x))))
    shuffled = x.reshape(-1, 3)[np.random.default_rng(1).permutation(10)].reshape(x.shape)
    assert np.array_equal(SUM(shuffled), SUM(x))


@pytest.mark.parametrize("case", CASES)
def test_products_are_the_oracles(case):
    x, y = tensor(case, 2, 4, 3), tensor("spread", 3, 3)
    same(MUL(x, y), oracle.mul(*(oracle.exact(normal(v)) for v in (x, y))))


@pytest.mark.parametrize("case", NORMAL_CASES)
def test_a_bias_is_the_oracles(case):
    y, b = tensor("plain", 4, 4, 3), tensor("plain", 5, 3)
    check(add_bias, oracle.add_bias, (y, b), tensor(case, 6, 4, 3))


@pytest.mark.parametrize("case", CASES)
def test_addition_is_the_oracles_and_passes_gradients_on(case):
    x, y, dy = tensor(case, 7, 4, 3), tensor("plain", 8, 4, 3), tensor("plain", 9, 4, 3)
    check(add, lambda a, b: (oracle.add(a, b), lambda d: (d, d)), (x, y), dy)
    check(add, lambda a, b: (oracle.add(a, b), lambda d: (d, d)), (y, x), dy)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_a_fork_are_added_exactly(case):
    x, a, b = tensor("plain", 10, 4, 3), tensor(case, 11, 4, 3), tensor("spread", 12, 4, 3)
    (y, z), gradients = compiled(fork)((x,), (a, b))
    assert np.array_equal(y, x)
    assert np.array_equal(z, x)
    same(gradients[0], oracle.add(oracle.exact(normal(a)), oracle.exact(normal(b))))


def test_opposite_numbers_leave_a_zero_without_sign():
    x = tensor("plain", 13, 4, 3)
    same(jax.jit(add)(x, -x), np.full((4, 3), 0, object))
    same(MUL(-x, np.zeros(3, np.float32)), np.full((4, 3), 0, object))
