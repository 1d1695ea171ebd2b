"""Metrics as bit patterns: counted right, added up, rounded once; and the scores of models."""

from fractions import Fraction

import exact_oracle as oracle
import jax
import numpy as np
import oracle_training
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain.training import SCORE_MAX, Loss
from p2pai.jaxtrain.exact.loss import Classified, Measured, judge
from p2pai.jaxtrain.metrics import NOTHING, Score, float32_bits, ratio_bits

CLASSIFICATION = ("loss", "accuracy", "top_2", "top_3", "precision", "recall", "f1")
REGRESSION = ("loss", "mae", "rmse", "r2")
JUDGES = {kind: jax.jit(judge(kind)) for kind in Loss}


def value_of(bits):
    return Fraction(float(np.array(bits, np.uint32).view(np.float32)))


@settings(deadline=None)
@given(st.integers(0, 2**60), st.integers(1, 2**45))
def test_quotients_are_rounded_to_nearest_even(numerator, denominator):
    assert value_of(ratio_bits(numerator, denominator)) == oracle.nearest_float32(
        Fraction(numerator, denominator)
    )


@settings(deadline=None)
@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=2**40))
def test_negative_numbers_have_their_sign(value):
    assert value_of(float32_bits(value)) == oracle.nearest_float32(value)


def test_known_patterns():
    assert ratio_bits(0, 7) == 0
    assert ratio_bits(7, 7) == 0x3F800000
    assert ratio_bits(1, 3) == 0x3EAAAAAB
    assert ratio_bits((1 << 25) - 1, 1) == 0x4C000000
    assert float32_bits(Fraction(-1, 2)) == 0xBF000000


def test_what_float32_does_not_reach_is_our_own_fault():
    for numerator, denominator in ((-1, 1), (1, 0), (1, 1 << 130), (1 << 130, 1)):
        with pytest.raises(AssertionError):
            ratio_bits(numerator, denominator)


def classified(seed, samples=40, classes=5):
    dice = np.random.default_rng(seed)
    z = dice.integers(-4, 5, (samples, classes)).astype(np.float32)  # many ties
    return z, dice.integers(0, classes - 1, samples).astype(np.int32)


def test_classification_is_counted_as_the_oracle_counts():
    z, y = classified(1)
    found = Score.of(Loss.SOFTMAX_CROSS_ENTROPY, JUDGES[Loss.SOFTMAX_CROSS_ENTROPY](z, y)[1], y)
    _, loss = oracle.softmax_cross_entropy(oracle.exact(z), y.tolist())
    for name in CLASSIFICATION:
        wanted = oracle_training.metric(name, Loss.SOFTMAX_CROSS_ENTROPY, oracle.exact(z), y.tolist(), loss)
        assert found.value(name) == wanted, name


def test_two_classes_are_counted_as_the_oracle_counts():
    dice = np.random.default_rng(2)
    z, y = dice.normal(size=(30, 1)).astype(np.float32), dice.integers(0, 2, 30).astype(np.int32)
    found = Score.of(Loss.BINARY_CROSS_ENTROPY, JUDGES[Loss.BINARY_CROSS_ENTROPY](z, y)[1], y)
    _, loss = oracle.binary_cross_entropy(oracle.exact(z), y.tolist())
    for name in CLASSIFICATION:
        wanted = oracle_training.metric(name, Loss.BINARY_CROSS_ENTROPY, oracle.exact(z), y.tolist(), loss)
        assert found.value(name) == wanted, name


@pytest.mark.parametrize("kind", [Loss.MSE, Loss.MAE])
def test_numbers_are_measured_as_the_oracle_measures(kind):
    dice = np.random.default_rng(3)
    z, y = (dice.normal(size=(20, 3)).astype(np.float32) for _ in range(2))
    found = Score.of(kind, JUDGES[kind](z, y)[1], y)
    _, loss = getattr(oracle, kind.value)(oracle.exact(z), oracle.exact(y))
    for name in REGRESSION:
        wanted = oracle_training.metric(name, kind, oracle.exact(z), oracle.exact(y), loss)
        assert found.value(name) == wanted, name
    assert float(found.value("rmse")) == pytest.approx(np.sqrt(np.mean((z - y) ** 2)), rel=1e-3)
    assert float(found.value("r2")) == pytest.approx(
        1 - np.sum((z - y) ** 2) / np.sum((y - y.mean()) ** 2), rel=1e-3
    )


def test_the_largest_errors_do_not_overflow():
    error = np.full((4096, 255), 2**31, np.int64)
    found = Score.of(Loss.MSE, Measured(error, -error // 2), None)
    assert found.value("mae") == 2**15
    assert found.value("rmse") == 2**15
    assert found.value("loss") == 2**30
    assert found.value("r2") == 0


def test_targets_that_are_all_equal_have_no_r2():
    error = np.array([[5], [-5]], np.int64)
    assert Score.of(Loss.MSE, Measured(error, np.array([[7], [7]], np.int64)), None).value("r2") == 0


def test_a_class_that_never_occurs_does_not_count():
    seen = Classified(np.int64(0), np.array([0, 0, 1], np.int32), np.array([4, 4, 4], np.int32))
    found = Score.of(Loss.SOFTMAX_CROSS_ENTROPY, seen, np.array([4, 4, 2], np.int32))
    assert found.value("precision") == Fraction(1, 3)  # of classes 2 (0) and 4 (2/3)
    assert found.value("recall") == Fraction(1, 2)
    assert found.value("f1") == Fraction(2, 5)


@pytest.mark.parametrize("cut", [1, 17, 39])
def test_scores_of_parts_add_up(cut):
    z, y = classified(4)
    kind = Loss.SOFTMAX_CROSS_ENTROPY
    seen = JUDGES[kind](z, y)[1]
    whole = Score.of(kind, seen, y)
    losses = [
        oracle.softmax_cross_entropy(oracle.exact(z[s]), y[s].tolist())[1]
        for s in (slice(cut), slice(cut, None))
    ]
    parts = [
        Score.of(kind, Classified(int(loss * 2**30), seen.rank[s], seen.answer[s]), y[s])
        for s, loss in zip((slice(cut), slice(cut, None)), losses, strict=True)
    ]
    total = parts[0] + parts[1]
    assert total.bits(CLASSIFICATION) == whole.bits(CLASSIFICATION)
    assert (
        (NOTHING + total).bits(CLASSIFICATION)
        == (total + NOTHING).bits(CLASSIFICATION)
        == whole.bits(CLASSIFICATION)
    )


def test_nothing_has_no_metrics_to_speak_of():
    assert NOTHING.bits(("loss", "accuracy", "f1")) == (0, 0, 0)
    assert [NOTHING.quality(name) for name in ("loss", "accuracy", "r2")] == [0, 0, 0]


def test_quality_is_more_where_a_model_is_better():
    perfect = Score(4, ranks=(4,))
    worst = Score(4, ranks=(0, 4))
    assert perfect.quality("accuracy") == SCORE_MAX
    assert worst.quality("accuracy") == 0
    assert Score(4, ranks=(1, 3)).quality("accuracy") == SCORE_MAX // 4
    assert perfect.quality("loss") == SCORE_MAX
    assert Score(4, loss=Fraction(4)).quality("loss") == SCORE_MAX // 2
    assert Score(4, loss=Fraction(8)).quality("loss") == SCORE_MAX // 3


def test_a_model_worse_than_the_mean_has_no_r2():
    poor = Score(2, numbers=2, squared=100, target=4, target_squared=10)
    assert poor.value("r2") == 1 - Fraction(200, 4)
    assert poor.quality("r2") == 0
