"""The clock: the wall's, without small steps back."""

import time

from p2pai.shell import clock
from p2pai.shell.clock import Clock


def test_it_tells_the_time():
    assert abs(Clock().now_ms() - time.time() * 1000) < 1000


def test_small_steps_back_are_waited_out_and_great_ones_followed():
    walls_ms = iter([1_000_000, 999_000, 1_000_500, 1_000_500 - clock.HOLD_MS_MAX - 1, 940_000])
    told = Clock(lambda: next(walls_ms) * 1_000_000)
    assert [told.now_ms() for _ in range(5)] == [1_000_000, 1_000_000, 1_000_500, 940_499, 940_499]
