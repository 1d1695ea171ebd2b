"""Target: a majority of those who work opens the next epoch."""

import pytest

from p2pai.chain.course import Place
from p2pai.chain.roster import Roster
from p2pai.roles import barrier
from p2pai.roles.history import TaskHistory
from tests.chain.test_schedule import tickets, with_batches

PLAN = with_batches(20)
GROUP = tickets(5)  # four mini-batches each


class Told:
    """All that counts of a message here."""

    def __init__(self, iteration):
        self.iteration = iteration


def history(*iterations, finished=()):
    """What is known when the miners have done so many iterations."""
    known = TaskHistory()
    known.latest = {t: Told(n - 1) for t, n in zip(GROUP, iterations, strict=False) if n}
    known.models = dict.fromkeys(GROUP[i] for i in finished)
    return known


def opens(known, iteration=4, roster=None, gone=()):
    return barrier.is_open(known, Place(PLAN, GROUP[0], roster or Roster(GROUP)), iteration, gone)


def test_the_first_epoch_is_open():
    assert opens(history(), 0)


def test_an_epoch_that_has_begun_is_open():
    assert opens(history(5), 5)


@pytest.mark.parametrize(
    ("done", "expected"), [((4, 3, 3, 3, 3), False), ((4, 4, 3, 0, 3), False), ((4, 4, 0, 0, 9), True)]
)
def test_three_of_five_open_it(done, expected):
    assert opens(history(*done)) is expected


def test_who_has_ended_all_has_ended_this():
    assert opens(history(4, 4, finished=(4,)))


def test_nobody_waits_for_who_left():
    known = history(4, 4, 3, 3, 3)
    assert opens(known, gone=GROUP[3:])
    assert not opens(known, gone=GROUP[4:])


def test_the_miners_are_those_of_the_epoch():
    roster = Roster(GROUP).without(GROUP[4], 2).without(GROUP[3], 3)
    assert opens(history(4, 4, 4), roster=roster)
    assert not opens(history(4, 4, 3), roster=roster), "two of four"
    assert opens(history(9, 9), 9, roster), "two of three"
    assert not opens(history(9, 8), 9, roster)
