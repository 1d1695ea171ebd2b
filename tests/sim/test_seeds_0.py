"""A quarter of the seeds that `make test` plays: networks drawn by lot, with faults, and every invariant."""

import pytest
from seeds import QUARTER, check_most_are_paid, play


@pytest.mark.parametrize("seed", range(QUARTER))
def test_whatever_was_drawn_all_promises_hold_and_the_network_lives_on(seed):
    play(seed)


def test_most_tasks_are_paid():
    check_most_are_paid()
