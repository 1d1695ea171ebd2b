"""A node's clock: wrong as the fault says, read as the real node reads its own."""

from collections import Counter

from testnet.simulator.clocks import NodeClock


class Time:
    def __init__(self):
        self.now_ms, self.fired = 1_000_000_000, Counter()
        self.clock = NodeClock(lambda: self.now_ms, self.fired)

    def wrong_by(self, after_ms=0):
        self.now_ms += after_ms
        return self.clock.read() - self.now_ms


def test_a_clock_is_true_until_it_is_not():
    time = Time()
    assert time.clock.is_true
    assert time.wrong_by(5) == 0
    time.clock.shift("skew", 30_000)
    assert not time.clock.is_true
    assert time.wrong_by(100) == 30_000
    assert time.fired == {"skew": 1}


def test_a_small_step_back_is_waited_out_and_a_long_one_followed():
    time = Time()
    time.clock.shift("skew", -20_000)
    assert time.wrong_by() == 0
    assert time.wrong_by(5_000) == -5_000
    assert time.wrong_by(60_000) == -20_000
    time.clock.shift("jump", -7_200_000)
    assert time.wrong_by() == -7_200_000


def test_one_that_was_ahead_stands_until_the_time_has_come():
    time = Time()
    time.clock.shift("skew", 10_000)
    assert time.wrong_by() == 10_000
    time.clock.mend()
    assert time.wrong_by(4_000) == 6_000
    assert not time.clock.is_true
    assert time.wrong_by(6_000) == 0
    assert time.clock.is_true


def test_after_a_restart_nothing_is_waited_out():
    time = Time()
    time.clock.shift("skew", 10_000)
    assert time.wrong_by() == 10_000
    time.clock.mend()
    time.clock.restart()
    assert time.wrong_by() == 0


def test_a_frozen_one_stands():
    time = Time()
    time.clock.freeze("frozen-clock")
    assert time.wrong_by() == 0
    assert time.fired == {}
    assert time.wrong_by(5_000) == -5_000
    assert time.fired == {"frozen-clock": 1}


def test_one_that_drifts_is_more_wrong_with_time():
    time = Time()
    time.clock.shift("skew", 0, ppm=1_000)
    assert [time.wrong_by(10_000), time.wrong_by(10_000)] == [10, 20]
