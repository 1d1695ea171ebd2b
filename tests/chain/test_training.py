"""Targets: rates, tau, stopping and initial spread, in integers; each rule refuses what breaks it alone."""

import struct
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import cos, isqrt, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import training
from p2pai.chain.training import (
    PPM,
    TAU_BITS,
    Adam,
    ConstantRate,
    CosineRate,
    Distribution,
    EarlyStopping,
    Fan,
    Initialiser,
    Loss,
    Momentum,
    RmsProp,
    Sgd,
    StepRate,
    Target,
    Tau,
    check_metrics,
    check_optimiser,
    is_over,
    learning_rate,
    next_tau_bits,
    spread_units,
    top_k,
)
from p2pai.primitives.errors import InvalidTransaction

CONSTANT = ConstantRate()
GOOD = [Sgd(300_000), Momentum(1, 65_535, nesterov=True), RmsProp(1, 0, 1), Adam(1, 0, 65_535, 1, PPM)]


def bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


class TestMetrics:
    @pytest.mark.parametrize(
        ("metric", "k"),
        [
            ("accuracy", 1), ("top_1", 1), ("top_5", 5), ("top_100", 100), ("top_999", 999), ("top_1000", 0),
            ("top_", 0), ("top_05", 0), ("top_-1", 0), ("top_²", 0), ("top_٣", 0),
            ("5", 0), ("loss", 0), ("", 0), ("top_top_5", 0),
        ],
    )  # fmt: skip
    def test_top_k_is_read_from_its_name(self, metric, k):
        assert top_k(metric) == k

    @pytest.mark.parametrize("loss", Loss)
    def test_each_loss_has_its_metrics(self, loss):
        own, others = training.CLASSIFICATION_METRICS, training.REGRESSION_METRICS
        if not loss.is_classification:
            own, others = others, own
        for metric in own:
            check_metrics((metric,), loss)
        for metric in {*others} - {"loss"}:
            with pytest.raises(InvalidTransaction, match="there is no metric"):
                check_metrics((metric,), loss)

    def test_top_2_to_top_100_are_metrics_of_a_classification(self):
        for good in ("top_2", "top_100"):
            check_metrics((good,), Loss.SOFTMAX_CROSS_ENTROPY)
        for bad in ("top_1", "top_101", "top_0"):
            with pytest.raises(InvalidTransaction, match="no metric"):
                check_metrics((bad,), Loss.SOFTMAX_CROSS_ENTROPY)
        with pytest.raises(InvalidTransaction, match="no metric"):
            check_metrics(("top_2",), Loss.MSE)

    def test_1_to_8_of_them_none_twice(self):
        many = tuple(f"top_{k}" for k in range(2, 11))
        check_metrics(many[:8], Loss.SOFTMAX_CROSS_ENTROPY)
        for wrong in ((), many):
            with pytest.raises(InvalidTransaction, match="1 to 8 metrics"):
                check_metrics(wrong, Loss.SOFTMAX_CROSS_ENTROPY)
        with pytest.raises(InvalidTransaction, match="stands twice"):
            check_metrics(("loss", "accuracy", "loss"), Loss.SOFTMAX_CROSS_ENTROPY)

    def test_a_long_name_is_not_quoted_whole(self):
        with pytest.raises(InvalidTransaction) as caught:
            check_metrics(("x" * 5000,), Loss.MSE)
        assert len(str(caught.value)) < 120


class TestOptimisers:
    @pytest.mark.parametrize("optimiser", GOOD, ids=str)
    def test_good_ones_pass(self, optimiser):
        check_optimiser(optimiser, CONSTANT)

    @pytest.mark.parametrize(
        ("optimiser", "most"), list(zip(GOOD, (16 * PPM, 16 * PPM, PPM, PPM), strict=True)), ids=str
    )
    def test_rates_have_a_range(self, optimiser, most):
        for good in (1, most):
            check_optimiser(replace(optimiser, learning_rate_ppm=good), CONSTANT)
        for bad in (0, most + 1):
            with pytest.raises(InvalidTransaction, match=f"above 0, at most {most // PPM}"):
                check_optimiser(replace(optimiser, learning_rate_ppm=bad), CONSTANT)

    @pytest.mark.parametrize(
        ("optimiser", "said"),
        [
            (replace(GOOD[1], momentum_q16=65_536), "momentum is below 1"),
            (replace(GOOD[2], decay_q16=65_536), "decay is below 1"),
            (replace(GOOD[2], epsilon_ppb=0), "epsilon"),
            (replace(GOOD[2], epsilon_ppb=10**9 + 1), "epsilon"),
            (replace(GOOD[3], beta1_q16=65_536), "beta1 and beta2"),
            (replace(GOOD[3], beta2_q16=65_536), "beta1 and beta2"),
            (replace(GOOD[3], epsilon_ppb=0), "epsilon"),
            (replace(GOOD[3], weight_decay_ppm=PPM + 1), "weight decay"),
        ],
    )
    def test_numbers_out_of_range_are_refused(self, optimiser, said):
        with pytest.raises(InvalidTransaction, match=said):
            check_optimiser(optimiser, CONSTANT)

    @pytest.mark.parametrize(
        "schedule", [StepRate(0, 1), StepRate(65_537, 1), StepRate(1, 0), StepRate(1, PPM + 1)]
    )
    def test_schedules_have_a_range(self, schedule):
        with pytest.raises(InvalidTransaction, match="schedule's"):
            check_optimiser(GOOD[0], schedule)

    def test_schedules_at_their_edges_pass(self):
        for schedule in (StepRate(1, 1), StepRate(65_536, PPM), CosineRate()):
            check_optimiser(GOOD[0], schedule)

    def test_a_rate_times_a_gradient_is_exact_in_float64(self):
        assert (training.SGD_RATE_PPM_MAX << 24) // PPM == 1 << 28


class TestLearningRate:
    def test_is_in_units_of_2_to_the_minus_24_rounded_down(self):
        assert learning_rate(Sgd(PPM), CONSTANT, 1, 5) == 1 << 24
        assert learning_rate(Sgd(300_000), CONSTANT, 5, 5) == (300_000 << 24) // PPM
        assert learning_rate(Sgd(1), CONSTANT, 1, 5) == 16

    def test_steps_by_a_factor_every_so_many_epochs(self):
        rates = [learning_rate(Sgd(PPM), StepRate(3, 500_000), epoch, 0) for epoch in range(1, 10)]
        assert rates == [1 << 24] * 3 + [1 << 23] * 3 + [1 << 22] * 3

    def test_never_falls_to_zero(self):
        assert learning_rate(Sgd(1), StepRate(1, 1), 2, 0) == 1
        assert learning_rate(Sgd(PPM), StepRate(1, 500_000), 65_535, 65_535) == 1
        assert learning_rate(Sgd(1), CosineRate(), 65_535, 65_535) == 1

    def test_long_schedules_are_quick(self):
        assert learning_rate(Sgd(PPM), StepRate(1, PPM), 1 << 60, 0) == 1 << 24

    @given(st.integers(1, 65_535), st.integers(0, 65_535))
    def test_follows_half_a_cosine(self, epochs, before):
        epoch = min(before, epochs - 1) + 1
        wanted = (1 << 24) * (1 + cos(pi * (epoch - 1) / epochs)) / 2
        assert abs(learning_rate(Sgd(PPM), CosineRate(), epoch, epochs) - max(wanted, 1)) <= 1.001

    @given(st.integers(2, 200))
    def test_the_cosine_begins_at_the_rate_and_only_falls(self, epochs):
        rates = [learning_rate(Sgd(PPM), CosineRate(), epoch, epochs) for epoch in range(1, epochs + 1)]
        assert rates[0] == 1 << 24
        assert all(later < earlier for earlier, later in pairwise(rates))
        assert rates[-1] >= 1

    def test_a_cosine_over_no_end_stays_at_its_beginning(self):
        assert learning_rate(Sgd(PPM), CosineRate(), 1000, 0) == 1 << 24

    def test_is_frozen(self):
        found = [learning_rate(Sgd(300_000), CosineRate(), epoch, 7) for epoch in range(1, 8)]
        assert found == FROZEN_COSINE


FROZEN_COSINE = [5033164, 4783944, 4085645, 3076574, 1956589, 947518, 249219]
"""A change of one of these is a change of the protocol."""


class TestTau:
    def test_stays_where_no_density_is_wanted(self):
        assert next_tau_bits(Tau(10, 0), 10, 10**9, 10**9) == 10

    def test_stays_where_nothing_was_sent(self):
        assert next_tau_bits(Tau(10, 1000), 10, 0, 0) == 10

    @pytest.mark.parametrize(
        ("elements", "bits"),
        [(0, 11), (499, 11), (500, 10), (1000, 10), (2000, 10), (2001, 9), (10**6, 9)],
    )
    def test_doubles_above_twice_and_halves_below_half(self, elements, bits):
        assert next_tau_bits(Tau(10, 1000), 10, elements, 10**6) == bits

    def test_stops_at_the_ends_of_its_range(self):
        assert next_tau_bits(Tau(10, 1000), TAU_BITS[0], 10**6, 10**6) == TAU_BITS[0]
        assert next_tau_bits(Tau(10, 1000), TAU_BITS[-1], 0, 10**6) == TAU_BITS[-1]

    @given(
        st.sampled_from(TAU_BITS), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, PPM // 4)
    )
    def test_moves_by_one_step_at_most(self, bits, elements, weights, density):
        found = next_tau_bits(Tau(bits, density), bits, elements, weights)
        assert found in TAU_BITS
        assert abs(found - bits) <= 1


class TestStopping:
    def test_nothing_stops_without_a_criterion_or_values(self):
        assert not is_over(None, (bits(1.0),))
        assert not is_over(Target("accuracy", 0), ())
        assert not is_over(EarlyStopping("loss", 1), ())

    @pytest.mark.parametrize(
        ("values", "is_stopped"),
        [
            ([3, 2, 1], False), ([1, 2], False), ([1, 2, 3], True), ([1, 2, 1], True),
            ([3, 1, 2, 0.5], False),
            ([3, 1, 2, 2], True), ([-1, -2, -3], False), ([-3, -2, -1], True), ([0.0, -0.0, 0.0], True),
        ],
    )  # fmt: skip
    def test_patience_counts_from_the_first_best_epoch(self, values, is_stopped):
        """Of loss, where less is better; its negative is a metric where more is."""
        less = tuple(bits(v) for v in values)
        more = tuple(bits(-v) for v in values)
        assert is_over(EarlyStopping("loss", 2), less) == is_stopped
        assert is_over(EarlyStopping("r2", 2), more) == is_stopped

    @given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12), st.integers(1, 5))
    def test_patience_is_the_textbooks(self, values, patience):
        best = values.index(max(values))
        found = is_over(EarlyStopping("accuracy", patience), tuple(bits(v) for v in values))
        assert found == (len(values) - 1 - best >= patience)

    @pytest.mark.parametrize(
        ("metric", "value", "wanted_ppm", "is_stopped"),
        [
            ("accuracy", 0.5, 500_000, True),
            ("accuracy", 0.49999997, 500_000, False),
            ("accuracy", 1.0, 900_000, True),
            ("accuracy", 0.0, 1, False),
            ("accuracy", 0.0, 0, True),
            ("loss", 0.5, 500_000, True),
            ("loss", 0.50000006, 500_000, False),
            ("loss", 2.0**-126, 0, False),
            ("loss", 2.0**-149, 0, False),
            ("loss", 0.0, 0, True),
            ("loss", 3e38, 4_000_000_000, False),
            ("mae", 2.0, 3_000_000, True),
            ("rmse", 4.0, 3_000_000, False),
            ("r2", -0.5, 0, False),
            ("r2", -0.0, 0, True),
        ],
    )
    def test_a_target_is_reached_exactly(self, metric, value, wanted_ppm, is_stopped):
        assert is_over(Target(metric, wanted_ppm), (bits(9.0), bits(value))) == is_stopped

    @given(st.floats(0, 2.0**40, width=32), st.integers(0, 2**40))
    def test_a_target_compares_as_fractions_do(self, value, wanted_ppm):
        wanted = Fraction(wanted_ppm, PPM)
        assert is_over(Target("accuracy", wanted_ppm), (bits(value),)) == (Fraction(value) >= wanted)
        assert is_over(Target("loss", wanted_ppm), (bits(value),)) == (Fraction(value) <= wanted)


class TestSpread:
    @pytest.mark.parametrize(
        ("fan", "twice"), [(Fan.IN, 2 * 30), (Fan.OUT, 2 * 50), (Fan.AVERAGE, 80), (Fan.ONE, 2)]
    )
    @pytest.mark.parametrize(
        ("distribution", "factor"), [(Distribution.UNIFORM, 6), (Distribution.NORMAL, 2)]
    )
    def test_is_a_root_rounded_down(self, fan, twice, distribution, factor):
        found = spread_units(Initialiser(distribution, fan, 1_500_000), 30, 50, 20)
        assert found == isqrt((factor * 1_500_000 << 40) // (PPM * twice))

    def test_is_glorots_and_hes(self):
        glorot = spread_units(Initialiser(Distribution.UNIFORM, Fan.AVERAGE, PPM), 64, 50, 20)
        assert glorot / 2**20 == pytest.approx((6 / 114) ** 0.5, abs=2**-19)
        he = spread_units(Initialiser(Distribution.NORMAL, Fan.IN, 2 * PPM), 64, 50, 20)
        assert he / 2**20 == pytest.approx((2 / 64) ** 0.5, abs=2**-19)

    def test_no_variance_is_no_spread(self):
        assert spread_units(Initialiser(Distribution.NORMAL, Fan.ONE, 0), 1, 1, 20) == 0
