"""Targets: a miner's tau follows from its messages alone, and training ends only where the task lets it."""

from dataclasses import replace

import pytest

from p2pai.chain import course
from p2pai.chain.course import Course, Place
from p2pai.chain.roster import Roster
from p2pai.chain.schedule import make_schedule
from p2pai.chain.training import EarlyStopping, Holdout, Target, Tau
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import definition, label
from tests.chain.test_it_res import MESSAGE

TASK = definition(
    tau=Tau(9, 10_000), validation=Holdout(0), epochs=3
)  # 48 batches, three miners: 16 an epoch
MINERS = tuple(Outpoint(label("ticket", i), i) for i in range(3))
PLACE = Place(make_schedule(TASK, label("block")), MINERS[0], Roster(MINERS))
WEIGHTS = TASK.weight_count


def said(iteration, tau_bits=9, moved=0, elements=0, **changes):
    """A message with a map that declares so many elements."""
    count = elements.to_bytes(4, "little").rstrip(b"\x00") or b"\x00"
    varint = (
        bytes([elements & 0x7F | 0x80, elements >> 7 & 0x7F | 0x80, elements >> 14]) if elements else count
    )
    return replace(
        MESSAGE,
        iteration=iteration,
        tau_bits=tau_bits,
        moved=moved,
        message_map=b"\x00" + varint,
        **{"validation": (), **changes},
    )


class TestTau:
    def test_begins_as_the_client_says(self):
        assert course.begin(TASK) == Course(9, 0)

    def test_stays_within_an_epoch_and_elements_add_up(self):
        assert course.follow(TASK, PLACE, said(3, moved=100, elements=20_000)) == Course(9, 20_100)

    @pytest.mark.parametrize(
        ("density_percent", "bits"), [(0, 10), (0.49, 10), (0.51, 9), (1, 9), (1.99, 9), (2.01, 8)]
    )
    def test_moves_between_epochs_towards_the_density_wanted(self, density_percent, bits):
        moved = int(16 * WEIGHTS * density_percent / 100)
        assert course.follow(TASK, PLACE, said(15, moved=moved)) == Course(bits, 0)

    def test_that_is_fixed_stays(self):
        fixed = replace(TASK, tau=Tau(9, 0))
        assert course.follow(fixed, PLACE, said(15, moved=16 * WEIGHTS)) == Course(9, 0)

    def test_of_the_first_message(self):
        course.check(TASK, PLACE, None, said(0))
        for lie in (said(0, tau_bits=8), said(0, moved=1)):
            with pytest.raises(InvalidMessage, match="tau"):
                course.check(TASK, PLACE, None, lie)

    def test_of_a_message_whose_predecessor_is_known(self):
        before = said(15, moved=16 * WEIGHTS)
        course.check(TASK, PLACE, before, said(16, tau_bits=8))
        for lie in (said(16), said(16, tau_bits=8, moved=3), said(16, tau_bits=7)):
            with pytest.raises(InvalidMessage, match="tau"):
                course.check(TASK, PLACE, before, lie)

    def test_of_a_message_whose_predecessor_is_not_known_may_be_any(self):
        course.check(TASK, PLACE, None, said(7, tau_bits=12, moved=5))


class TestEnd:
    def test_after_the_last_epoch(self):
        assert course.may_end(TASK, PLACE, said(47))
        assert not course.may_end(TASK, PLACE, said(46))
        assert not course.may_end(TASK, PLACE, said(15))

    def test_not_of_an_iteration_that_there_is_not(self):
        assert not course.may_end(TASK, PLACE, said(48))

    def test_when_the_target_is_reached(self):
        task = replace(TASK, stopping=Target("accuracy", 750_000), metrics=("loss", "accuracy"))
        good, bad = (0x40000000, 0x3F400000), (0x40000000, 0x3F3FFFFF)  # accuracies 0.75 and just below
        assert course.may_end(task, PLACE, said(15, validation=good))
        assert not course.may_end(task, PLACE, said(15, validation=bad))
        assert not course.may_end(task, PLACE, said(14, validation=good))
        assert not course.may_end(task, PLACE, said(15))
        assert course.is_stopped(task, (bad, good))
        assert not course.is_stopped(task, (good, bad))

    def test_not_before_patience_can_have_run_out(self):
        task = replace(TASK, stopping=EarlyStopping("loss", 1))
        assert not course.may_end(task, PLACE, said(15, validation=(0, 0)))
        assert course.may_end(task, PLACE, said(31, validation=(0, 0)))

    def test_when_the_best_value_is_old_enough(self):
        task = replace(TASK, stopping=EarlyStopping("loss", 2))
        values = [(0, bits) for bits in (0x40000000, 0x3F800000, 0x3F900000, 0x3FA00000)]
        assert [course.is_stopped(task, tuple(values[:n])) for n in range(5)] == [False] * 4 + [True]

    def test_never_before_the_end_without_a_criterion(self):
        assert not course.is_stopped(TASK, ((0, 0),) * 100)
