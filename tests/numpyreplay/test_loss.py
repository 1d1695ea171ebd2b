"""Losses by hand, against Python's integers, and against what they stand for."""

from fractions import Fraction

import numpy as np
import pytest

from p2pai.chain.training import Loss
from p2pai.numpyreplay.loss import lose

DICE = np.random.default_rng(8)


def test_softmax_cross_entropy():
    z = (DICE.standard_normal((6, 5)) * 3).astype(np.float32)
    labels = DICE.integers(0, 5, 6)
    total, gradient = lose(Loss.SOFTMAX_CROSS_ENTROPY, z, labels)
    p = np.exp(z.astype(float)) / np.exp(z.astype(float)).sum(axis=1, keepdims=True)
    own = p[np.arange(6), labels]
    assert float(total) == pytest.approx(-np.log(own).sum(), abs=1e-3)
    assert np.abs(gradient - (p - np.eye(5)[labels]) / 6).max() < 1e-4
    assert total.denominator <= 2**30


def test_binary_cross_entropy():
    z = np.array([[3.0], [-3.0], [0.0], [-20000.0]], np.float32)
    labels = np.array([1, 1, 0, 1])
    total, gradient = lose(Loss.BINARY_CROSS_ENTROPY, z, labels)
    wanted = np.log1p(np.exp(-3)) + np.log1p(np.exp(3)) + np.log(2) + 16384
    assert float(total) == pytest.approx(wanted, abs=1e-6)
    assert gradient[:, 0] * 4 == pytest.approx([1 / (1 + np.exp(3)) * -1, -1 / (1 + np.exp(-3)), 0.5, -1])


def test_squares_and_distances_are_exact():
    z = np.array([[1.5, -60000.0], [0.25, 2.0]], np.float32)
    targets = np.array([[1.0, 60000.0], [0.25, 3.0]], np.float32)
    total, gradient = lose(Loss.MSE, z, targets)
    assert total == (Fraction(1, 4) + 32768**2 + 1) / 2
    assert gradient.tolist() == [[0.25, -16384], [0, -0.5]]
    total, gradient = lose(Loss.MAE, z, targets)
    assert total == (Fraction(1, 2) + 32768 + 1) / 2
    assert gradient.tolist() == [[0.25, -0.25], [0, -0.25]]


def test_a_division_by_the_batch_rounds_down():
    z, targets = np.zeros((3, 1), np.float32), np.array([[1.0], [-1.0], [0.0]], np.float32)
    _, gradient = lose(Loss.MSE, z, targets)
    down, up = (-(1 << 36)) // 3, (1 << 36) // 3
    assert gradient[:, 0].tolist() == [np.float32(down * 2.0**-35), np.float32(up * 2.0**-35), 0]
