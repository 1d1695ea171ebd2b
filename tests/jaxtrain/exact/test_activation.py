"""Activation functions and their derivatives."""

from functools import partial

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from tensors import CASES, NORMAL_CASES, check, normal, same, tensor

from p2pai.jaxtrain.exact import activation
from p2pai.jaxtrain.exact.activation import exponentials_of, softmax

CURVES = ("sigmoid", "tanh", "gelu")
SLOPES = (0, 655, 65_535)
LEAKY = {slope: partial(lambda x, slope: activation.leaky_relu(x, slope), slope=slope) for slope in SLOPES}
EXPONENTIALS = jax.jit(exponentials_of)
SIDE = (5, 4)
EDGES = np.float32(
    [
        0,
        2.0**-25,
        -(2.0**-24),
        1,
        -1,
        7.9999995,
        8,
        -8,
        8.5,
        -8.5,
        31.999998,
        32,
        -32,
        40,
        -40,
        16,
        0.5,
        -0.5,
        1e9,
        -1e9,
    ]
).reshape(SIDE)
"""Both clips, either side, and far beyond."""


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("case", CASES)
def test_curves_and_derivatives_are_the_oracles(case, name):
    x, dy = tensor(case, 1, *SIDE), tensor("spread", 2, *SIDE)
    check(getattr(activation, name), getattr(oracle, name), (x,), dy)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("case", ["plain", "ties", "large"])
def test_curves_at_their_edges(case, name):
    check(getattr(activation, name), getattr(oracle, name), (EDGES,), tensor(case, 3, *SIDE))


@pytest.mark.parametrize("case", NORMAL_CASES)
def test_relu_is_a_selection(case):
    check(activation.relu, oracle.relu, (tensor(case, 4, *SIDE),), tensor("spread", 5, *SIDE))


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("case", NORMAL_CASES)
def test_leaky_relu_is_the_oracles(case, slope):
    x, dy = tensor(case, 6, *SIDE), tensor("spread", 7, *SIDE)
    check(LEAKY[slope], lambda v: oracle.leaky_relu(v, slope), (x,), dy)


@pytest.mark.parametrize("case", CASES)
def test_softmax_is_the_oracles(case):
    x, dy = tensor(case, 8, *SIDE), tensor("spread", 9, *SIDE)
    check(softmax, oracle.softmax, (x,), dy)
    check(softmax, oracle.softmax, (tensor("spread", 10, *SIDE),), tensor(case, 11, *SIDE))


def test_softmax_of_far_apart_and_of_many():
    x = np.float32(
        [[20_000, -20_000, 0, 16_384], [16, 0, 0, 0], [-1, -1, -1, -1], [9, 9, 0, 0], [0, 0, 0, 1]]
    )
    check(softmax, oracle.softmax, (x,), tensor("plain", 12, *SIDE))
    many = np.zeros((1, 1000), np.float32)
    same(jax.jit(softmax)(many), oracle.softmax(oracle.exact(many))[0])


@pytest.mark.parametrize("case", CASES)
def test_exponentials_are_the_oracles(case):
    x = tensor(case, 13, *SIDE) * np.float32(8)
    for found, wanted in zip(EXPONENTIALS(x), oracle.exponentials(oracle.exact(normal(x))), strict=True):
        same(found, wanted)
