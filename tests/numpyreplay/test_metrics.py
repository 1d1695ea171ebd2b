"""Metrics by hand, and their rounding."""

from fractions import Fraction
from math import isqrt

import numpy as np

from p2pai.chain.training import Loss
from p2pai.numpyreplay import metrics

DICE = np.random.default_rng(11)
Z = np.array([[1, 3, 3], [5, 0, 5], [0, 0, 0], [1, 2, 9]], np.float32)
LABELS = np.array([2, 0, 1, 0])
ANSWERS = metrics.count(Loss.SOFTMAX_CROSS_ENTROPY, Fraction(6), Z, LABELS)


def number(bits):
    return np.uint32(bits).view(np.float32)


def test_bits_are_those_of_the_nearest_float32():
    for x in DICE.standard_normal(500) * 2.0 ** DICE.integers(-100, 100, 500):
        assert number(metrics.float32_bits(Fraction(x))) == np.float32(x)
    half = Fraction((1 << 24) + 1, 1 << 24)
    assert number(metrics.float32_bits(half)) == 1
    assert number(metrics.float32_bits(half + Fraction(1, 1 << 80))) == np.float32(1 + 2.0**-23)
    assert number(metrics.float32_bits(Fraction((1 << 25) - 1, 1 << 25))) == 1
    assert number(metrics.float32_bits(Fraction(1, 3))) == np.float32(1 / 3)
    assert metrics.float32_bits(Fraction(0)) == 0


def test_labels_are_ranked_behind_equal_outputs_of_lower_classes():
    assert ANSWERS.ranks.tolist() == [1, 2, 1]
    assert metrics.value("loss", ANSWERS) == Fraction(6, 4)
    assert [metrics.value(m, ANSWERS) for m in ("accuracy", "top_2", "top_3", "top_100")] == [
        Fraction(1, 4), Fraction(3, 4), 1, 1,
    ]  # fmt: skip


def test_precision_recall_and_f1_are_means_over_classes_that_occur():
    # Answers 1, 0, 0, 2; labels 2, 0, 1, 0.
    assert metrics.value("precision", ANSWERS) == Fraction(1, 2) / 3
    assert metrics.value("recall", ANSWERS) == Fraction(1, 2) / 3
    assert metrics.value("f1", ANSWERS) == Fraction(2, 4) / 3
    counts = metrics.count(Loss.SOFTMAX_CROSS_ENTROPY, Fraction(0), Z[:1], np.array([1]))
    assert metrics.value("f1", counts) == 1


def test_two_classes():
    z = np.array([[0], [1], [-1], [2]], np.float32)
    counts = metrics.count(Loss.BINARY_CROSS_ENTROPY, Fraction(0), z, np.array([0, 1, 1, 0]))
    assert metrics.value("accuracy", counts) == Fraction(1, 2)
    assert metrics.value("top_2", counts) == 1
    assert metrics.value("recall", counts) == Fraction(1, 2)


def test_regression():
    z = np.array([[1, 2], [3, 5]], np.float32)
    targets = np.array([[1, 0], [3, 4]], np.float32)
    counts = metrics.count(Loss.MSE, Fraction(5, 2), z, targets)
    assert metrics.value("mae", counts) == Fraction(3, 4)
    assert metrics.value("rmse", counts) == Fraction(isqrt(5 << 58), 1 << 30)
    assert metrics.value("r2", counts) == 1 - Fraction(5, 10)
    assert metrics.value("loss", counts) == Fraction(5, 4)
    flat = metrics.count(Loss.MSE, Fraction(0), z, np.ones((2, 2), np.float32))
    assert metrics.value("r2", flat) == 0


def test_batches_add_up_and_scores_have_32_bits():
    both = ANSWERS + metrics.count(Loss.SOFTMAX_CROSS_ENTROPY, Fraction(0), Z[:1], np.array([1]))
    assert metrics.value("accuracy", both) == Fraction(2, 5)
    assert metrics.score("accuracy", both) == 2 * (2**32 - 1) // 5
    assert metrics.score("loss", both) == int((2**32 - 1) / (1 + Fraction(6, 5)))
    z = np.array([[9.0], [0.0]], np.float32)
    worse = metrics.count(Loss.MAE, Fraction(0), z, np.array([[0.0], [1.0]], np.float32))
    assert metrics.score("r2", worse) == 0
    assert metrics.score("loss", worse) == 2**32 - 1
