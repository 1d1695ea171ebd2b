"""Activations against what they stand for, and their derivatives against differences."""

import math

import numpy as np
import pytest

from p2pai.chain.layers import Function
from p2pai.numpyreplay.activation import activate, leaky_relu

X = np.concatenate([np.linspace(-9, 9, 181), [-2000, 2000, 0, 2.0**-90]]).astype(np.float32)
REAL = {
    Function.RELU: lambda x: max(x, 0),
    Function.SIGMOID: lambda x: 1 / (1 + math.exp(-max(x, -700))),
    Function.TANH: math.tanh,
    Function.GELU: lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


@pytest.mark.parametrize("function", REAL)
def test_values_and_slopes(function):
    x = X[np.abs(X) < 1000]
    y, pull, _ = activate(function, x)
    assert y.dtype == np.float32
    assert np.abs(y - [REAL[function](float(v)) for v in x]).max() < 3e-6
    ahead = np.array([REAL[function](float(v) + 1e-4) for v in x])
    behind = np.array([REAL[function](float(v) - 1e-4) for v in x])
    smooth = np.abs(x) > 1e-3
    slopes, _ = pull(np.ones_like(x))
    assert np.abs(slopes - (ahead - behind) / 2e-4)[smooth].max() < 1e-5


def test_far_from_zero_they_are_their_limits():
    ends = np.array([-(2.0**50), 2.0**50], np.float32)
    assert activate(Function.SIGMOID, ends).output.tolist() == [0, 1]
    assert activate(Function.TANH, ends).output.tolist() == [-1, 1]
    assert activate(Function.GELU, ends).output[1] == 2.0**50


def test_leaky_relu_takes_the_exponent_of_the_whole_tensor():
    x = np.array([1024, -1.0, -3 * 2.0**-15], np.float32)
    y, pull, _ = leaky_relu(x, 32768)
    # 1024 is below 2^11, so the unit is 2^-13, to which the last value is rounded.
    assert y.tolist() == [1024, -0.5, -(2.0**-14)]
    assert pull(x)[0].tolist() == y.tolist()


def test_softmax_rows_sum_to_one_and_their_gradients_to_zero():
    dice = np.random.default_rng(7)
    x, dy = (dice.standard_normal((2, 5, 7)) * 4).astype(np.float32)
    y, pull, _ = activate(Function.SOFTMAX, x)
    wanted = np.exp(x.astype(float)) / np.exp(x.astype(float)).sum(axis=1, keepdims=True)
    assert np.abs(y - wanted).max() < 1e-4  # outputs enter in Q16
    dx, _ = pull(dy)
    exact = y * (dy - (y * dy).sum(axis=1, keepdims=True))
    assert np.abs(dx - exact).max() < 1e-4
