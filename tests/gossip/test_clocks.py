"""Clocks are compared by messages: the true difference is never outside the bounds, unknown without them."""

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.clocks import Clocks, Offset


def test_two_ways_give_a_difference():
    clocks = Clocks(2)
    clocks.passed(0, 1, 1_010)  # 1,000 ahead, 10 on its way
    clocks.passed(0, 1, 1_040)
    clocks.passed(1, 0, -980)  # 20 on its way
    assert clocks.offsets() == (Offset(0, 0), Offset(995, 15))


def test_one_way_gives_none():
    clocks = Clocks(2)
    clocks.passed(0, 1, 30)
    assert clocks.offsets() == (Offset(0, 0), None)


def test_a_third_connects_two():
    clocks = Clocks(3)
    for one, other, took in ((0, 1, 105), (1, 0, -95), (1, 2, -195), (2, 1, 205)):
        clocks.passed(one, other, took)
    assert clocks.offsets()[2] == Offset(-100, 10)


def test_bounds_that_exclude_each_other_say_nothing():
    clocks = Clocks(2)
    clocks.passed(0, 1, -10)
    clocks.passed(1, 0, -10)
    assert clocks.offsets()[1] is None


@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10**6)), max_size=40),
)
def test_the_truth_is_within_the_bounds(ahead, messages):
    clocks = Clocks(len(ahead))
    for sender, receiver, delay in messages:
        if max(sender, receiver) < len(ahead) and sender != receiver:
            clocks.passed(sender, receiver, delay + ahead[receiver] - ahead[sender])
    for true, offset in zip(ahead, clocks.offsets(), strict=True):
        assert offset is None or abs(true - ahead[0] - offset.us) <= offset.error_us
