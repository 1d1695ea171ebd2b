"""Majorities of remotes: who reaches us, and what time it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.reachability import (
    Answers,
    ClockReading,
    DialBack,
    Reach,
    judge,
    middle,
    read_clock,
)
from p2pai.primitives.ids import PeerId

A, B, C = PeerId("A"), PeerId("B"), PeerId("C")
ADDRESS = "/ip4/203.0.113.7/tcp/4001"


def test_nobody_knows_before_anybody_tried():
    outlook = Answers().sum_up()
    assert outlook.reach is Reach.UNKNOWN
    assert outlook.clock_ahead_ms is None


@pytest.mark.parametrize(
    ("reached", "tried", "reach"),
    [
        (1, 1, Reach.REACHABLE),
        (0, 1, Reach.UNREACHABLE),
        (1, 2, Reach.UNKNOWN),
        (1, 3, Reach.UNREACHABLE),
        (2, 3, Reach.REACHABLE),
    ],
)
def test_the_majority_of_those_that_tried_is_believed(reached, tried, reach):
    assert judge(reached, tried) is reach


def test_addresses_are_those_that_worked_each_once():
    answers = Answers({A: DialBack(ADDRESS), B: DialBack(ADDRESS), C: DialBack(None)})
    outlook = answers.sum_up()
    assert outlook.reach is Reach.REACHABLE
    assert outlook.addresses == (ADDRESS,)
    assert (outlook.reached_by, outlook.tried_by) == (2, 3)
    answers.forget(A)
    assert answers.sum_up().reach is Reach.UNKNOWN


def test_one_remote_with_a_wrong_clock_among_three_changes_nothing():
    clocks = {A: ClockReading(40, 10), B: ClockReading(3_600_000, 1), C: ClockReading(55, 20)}
    assert middle(clocks) == (55, 20)


def test_an_address_that_few_name_is_not_told():
    other = "/ip4/198.51.100.1/tcp/22"
    answers = Answers({A: DialBack(ADDRESS), B: DialBack(ADDRESS), C: DialBack(other)})
    assert answers.sum_up().addresses == (ADDRESS,)
    answers.forget(A)
    assert answers.sum_up().addresses == (ADDRESS, other)


@given(
    ahead_ms=st.integers(-(10**9), 10**9),
    there_ms=st.integers(0, 5000),
    back_ms=st.integers(0, 5000),
    sent_ms=st.integers(10**12, 2 * 10**12),
)
def test_a_clock_is_read_within_the_error_that_is_told(ahead_ms, there_ms, back_ms, sent_ms):
    reading = read_clock(sent_ms, sent_ms + there_ms + ahead_ms, sent_ms + there_ms + back_ms)
    assert abs(reading.ahead_ms - ahead_ms) <= reading.error_ms
    assert reading.error_ms <= (there_ms + back_ms + 1) // 2
