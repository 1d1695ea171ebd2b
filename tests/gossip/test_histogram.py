"""Percentiles are close from above, rates are exact, both in fixed memory."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.histogram import SPAN_S, Histogram, Rate

durations = st.lists(st.integers(0, 1 << 37), min_size=1, max_size=60)


@given(durations, st.sampled_from((1, 50, 90, 99, 100)))
def test_a_percentile_is_at_most_an_eighth_above_the_true_one(values, percent):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = sorted(values)[-(-len(values) * percent // 100) - 1]
    (found,) = histogram.percentiles((percent,))
    assert true <= found <= true + true // 8


def test_nothing_has_no_percentile_and_odd_clocks_do_no_harm():
    histogram = Histogram()
    assert histogram.percentiles((50, 90)) == (None, None)
    for value in (-5, 1 << 80):
        histogram.add(value)
    assert histogram.count == 2
    assert histogram.percentiles((50, 99)) == (0, (1 << 38) - 1)


steps = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 1000)), max_size=40)


@given(steps, st.integers(1, SPAN_S))
def test_a_rate_counts_what_the_last_seconds_had(gaps, window):
    rate, now, noted = Rate(), 1_000, []
    for gap, size in gaps:
        now += gap
        rate.add(now, size)
        noted.append((now, size))
    recent = [size for second, size in noted if second > now - window]
    assert rate.last(now, window) == (len(recent), sum(recent))
    assert rate.last(now + SPAN_S, SPAN_S) == (0, 0)


def test_memory_does_not_grow():
    histogram, rate = Histogram(), Rate()

    def size():
        return sum(sys.getsizeof(a) for a in (histogram._counts, rate._seconds, rate._counts, rate._sizes))

    before = size()
    for value in range(10_000):
        histogram.add(value * value)
        rate.add(value, value)
    assert size() == before
