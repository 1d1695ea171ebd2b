"""Losses: the gradient of the mean, and what metrics are made from."""

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import CASES, normal, same, tensor

from p2pai.chain.task import CLASS_COUNT_MAX
from p2pai.chain.training import Loss
from p2pai.jaxtrain.exact import loss as losses
from p2pai.jaxtrain.exact.loss import judge

JUDGES = {kind: jax.jit(judge(kind)) for kind in Loss}
LABELS = np.array([0, 1, 2, 3, 2, 0], np.int32)
TWO = LABELS % 2
HUGE = np.float32([20_000, -20_000, 16_384, -16_384])
"""Beyond and at the clip."""


def classified(kind, z, labels):
    """Check gradient and loss against the oracle's; return the observation."""
    gradient, seen = JUDGES[kind](z, labels)
    wanted, total = getattr(oracle, kind.value)(oracle.exact(normal(z)), labels.tolist())
    same(gradient, wanted)
    assert int(seen.loss) == total * 2**30
    return seen


@pytest.mark.parametrize("case", CASES)
def test_softmax_cross_entropy_is_the_oracles(case):
    z = tensor(case, 1, 6, 4) * np.float32(4)
    seen = classified(Loss.SOFTMAX_CROSS_ENTROPY, z, LABELS)
    rows = zip(normal(z).tolist(), LABELS.tolist(), strict=True)
    ranks = [sum((v, -j) > (row[label], -label) for j, v in enumerate(row)) for row, label in rows]
    assert seen.rank.tolist() == ranks
    assert [rank == 0 for rank in ranks] == (np.asarray(seen.answer) == LABELS).tolist()


def test_logits_at_and_beyond_the_clip():
    z = np.stack([np.roll(HUGE, i) for i in range(6)])
    classified(Loss.SOFTMAX_CROSS_ENTROPY, z, LABELS)


def test_on_ties_the_lowest_class_is_the_answer():
    seen = classified(Loss.SOFTMAX_CROSS_ENTROPY, np.zeros((6, 4), np.float32), LABELS)
    assert seen.answer.tolist() == [0] * 6
    assert seen.rank.tolist() == LABELS.tolist()


def test_the_most_classes_and_one_sample():
    z = tensor("plain", 2, 1, CLASS_COUNT_MAX)
    classified(Loss.SOFTMAX_CROSS_ENTROPY, z, np.array([CLASS_COUNT_MAX - 1], np.int32))
    classified(Loss.SOFTMAX_CROSS_ENTROPY, np.zeros_like(z), np.array([0], np.int32))


def test_more_classes_than_the_logarithm_carries_are_our_own_fault():
    with pytest.raises(AssertionError):
        losses.softmax_cross_entropy(
            np.zeros((1, losses.CLASS_COUNT_MAX + 1), np.float32), np.zeros(1, np.int32)
        )


@pytest.mark.parametrize("case", CASES)
def test_binary_cross_entropy_is_the_oracles(case):
    z = tensor(case, 3, 6, 1)
    seen = classified(Loss.BINARY_CROSS_ENTROPY, z, TWO)
    assert seen.answer.tolist() == (normal(z)[:, 0] > 0).astype(int).tolist()
    assert seen.rank.tolist() == (np.asarray(seen.answer) != TWO).astype(int).tolist()


def test_binary_logits_at_and_beyond_the_clip():
    z = np.float32([*HUGE, 0, 2.0**-20]).reshape(6, 1)
    classified(Loss.BINARY_CROSS_ENTROPY, z, TWO)
    classified(Loss.BINARY_CROSS_ENTROPY, z, 1 - TWO)


@pytest.mark.parametrize("kind", [Loss.MSE, Loss.MAE])
@pytest.mark.parametrize("case", CASES)
def test_losses_of_numbers_are_the_oracles(case, kind):
    z, t = tensor(case, 4, 6, 3), tensor("spread", 5, 6, 3)
    gradient, seen = JUDGES[kind](z, t)
    zs, ts = (oracle.exact(normal(v)) for v in (z, t))
    wanted, total = getattr(oracle, kind.value)(zs, ts)
    same(gradient, wanted)
    same(seen.error, oracle.errors(zs, ts))
    same(seen.target, oracle.fixed(ts, 16, 16384))
    size = np.abs(np.asarray(seen.error)).astype(object)
    assert total == (
        sum((size**2).ravel()) / oracle.Fraction(3 << 32)
        if kind is Loss.MSE
        else sum(size.ravel()) / oracle.Fraction(3 << 16)
    )


@pytest.mark.parametrize("kind", [Loss.MSE, Loss.MAE])
def test_numbers_as_far_apart_as_they_can_be(kind):
    z = np.float32([[65_536, -65_536, 0], [0, 16_384, -16_384]]).repeat(3, 0)
    gradient, seen = JUDGES[kind](z, -z)
    same(gradient, getattr(oracle, kind.value)(oracle.exact(z), oracle.exact(-z))[0])
    assert int(np.max(seen.error)) == 2**31


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-40, 40, width=32), min_size=24, max_size=24),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_any_logits_are_the_oracles(numbers, labels):
    classified(Loss.SOFTMAX_CROSS_ENTROPY, np.float32(numbers).reshape(6, 4), np.array(labels, np.int32))
