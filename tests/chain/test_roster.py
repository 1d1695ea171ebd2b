"""Target: whoever leaves, each mini-batch of an epoch has one turn among those who work in it."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.roster import Roster, Shift
from p2pai.chain.training import Assignment
from tests.chain.test_schedule import tickets, with_batches

ASSIGNMENTS = st.sampled_from(Assignment)
EPOCHS = 6


@st.composite
def rosters(draw, epochs=EPOCHS, least=1):
    """Three to six miners of whom some leave, one after another."""
    roster = Roster(tickets(draw(st.integers(3, 6))))
    leaving = draw(st.lists(st.integers(2, epochs), min_size=least, max_size=3, unique=True))
    for epoch in sorted(leaving)[: len(roster.miners) - 2]:
        roster = roster.without(draw(st.sampled_from(roster.working)), epoch)
    return roster


def planned(batches, folds, assignment, epochs=EPOCHS):
    return replace(with_batches(batches, epochs, min(folds, batches)), assignment=assignment)


def all_turns(plan, roster, ticket):
    return [roster.turn(plan, ticket, i) for i in range(roster.iterations(plan, ticket))]


class TestEveryEpoch:
    @given(rosters(), st.integers(2, 40), st.integers(1, 3), ASSIGNMENTS)
    def test_has_each_batch_once_among_those_who_work(self, roster, batches, folds, assignment):
        plan = planned(batches, folds, assignment)
        done = Counter()
        for ticket in roster.miners:
            for turn in all_turns(plan, roster, ticket):
                assert roster.works(ticket, turn.number)
                done[turn.number, turn.batch] += 1
        wanted = [(e, b) for e in range(1, EPOCHS + 1) for b in range(batches) if b not in plan.held_out(e)]
        assert done == Counter(wanted)

    @given(rosters(), st.integers(2, 40), st.integers(1, 3), ASSIGNMENTS)
    def test_is_dealt_as_if_its_miners_had_been_the_group_always(self, roster, batches, folds, assignment):
        plan = planned(batches, folds, assignment)
        for ticket in roster.miners:
            for i, turn in enumerate(all_turns(plan, roster, ticket)):
                group = roster.at(turn.number)
                rank = group.index(ticket)
                alone = plan.turn(
                    plan.iterations_before(turn.number, rank, group) + i - turn.first, rank, group
                )
                assert (turn.epoch, turn.number, turn.batch) == (alone.epoch, alone.number, alone.batch)


class TestIterations:
    @given(rosters(), st.integers(2, 40), st.integers(1, 3), ASSIGNMENTS)
    def test_count_on_from_epoch_to_epoch(self, roster, batches, folds, assignment):
        plan = planned(batches, folds, assignment)
        for ticket in roster.miners:
            turns = all_turns(plan, roster, ticket)
            assert [t.number for t in turns] == sorted(t.number for t in turns)
            for i, turn in enumerate(turns):
                assert turn.first <= i <= turn.last
                assert turn.first == roster.iterations_before(plan, ticket, turn.number)
                assert turn.last + 1 == roster.iterations_before(plan, ticket, turn.number + 1)

    @given(rosters(), st.integers(2, 40), st.integers(1, 3), ASSIGNMENTS)
    def test_end_with_the_last_epoch_of_their_miner(self, roster, batches, folds, assignment):
        plan = planned(batches, folds, assignment)
        for ticket in roster.miners:
            count = roster.iterations(plan, ticket)
            assert roster.turn(plan, ticket, count) is None
            assert roster.turn(plan, ticket, 2**32 - 1) is None
            assert count == roster.iterations_before(plan, ticket, EPOCHS + 1)

    @given(rosters(), st.integers(2, 40), ASSIGNMENTS)
    def test_before_a_shift_are_what_they_were(self, roster, batches, assignment):
        plan, last = planned(batches, 1, assignment), roster.shifts[-1]
        for ticket in roster.miners:
            for i in range(roster.iterations_before(plan, ticket, last.epoch)):
                assert roster.turn(plan, ticket, i) == roster.earlier.turn(plan, ticket, i)

    @given(st.integers(1, 40), st.integers(1, 6), ASSIGNMENTS, st.integers(0, 100))
    def test_of_an_unchanged_group_are_the_schedules(self, batches, miners, assignment, iteration):
        plan, roster = planned(batches, 1, assignment), Roster(tickets(miners))
        for rank, ticket in enumerate(roster.miners):
            assert roster.turn(plan, ticket, iteration) == plan.turn(iteration, rank, roster.miners)
            assert roster.iterations(plan, ticket) == plan.iterations(rank, roster.miners)

    @given(rosters(epochs=90_000), st.integers(3, 20))
    def test_of_a_task_without_end(self, roster, batches):
        plan = with_batches(batches, epochs=0)
        for ticket in roster.miners:
            count = roster.iterations(plan, ticket)
            if ticket in roster.working:
                assert count is None
                last = roster.iterations_before(plan, ticket, roster.shifts[-1].epoch)
                assert last == 0 or roster.turn(plan, ticket, last - 1).number < roster.shifts[-1].epoch
            else:
                assert roster.turn(plan, ticket, count) is None
                assert count == 0 or roster.turn(plan, ticket, count - 1) is not None


class TestGroup:
    GROUP = tickets(4)
    ROSTER = Roster(GROUP).without(GROUP[1], 3).without(GROUP[3], 5)

    def test_who_works_when(self):
        a, _, c, d = self.GROUP
        assert self.ROSTER.shifts == (Shift(3, (a, c, d)), Shift(5, (a, c)))
        assert [len(self.ROSTER.at(e)) for e in range(1, 7)] == [4, 4, 3, 3, 2, 2]
        assert self.ROSTER.working == self.ROSTER.at(10**9) == (a, c)
        assert self.ROSTER.works(d, 4)
        assert not self.ROSTER.works(d, 5)
        assert self.ROSTER.earlier.working == (a, c, d)

    def test_shifts_follow_one_another(self):
        assert Roster(self.GROUP).next_shift == 2
        assert self.ROSTER.next_shift == 6

    def test_three_miners_of_seven_batches_become_two(self):
        plan, group = with_batches(7), tickets(3)
        roster = Roster(group).without(group[1], 2)
        seen = {t: [(x.epoch, x.batch) for x in all_turns(plan, roster, t)] for t in group}
        assert seen[group[0]] == [
            *[(1, 0), (1, 3), (1, 6)],
            *[(2, 1), (2, 3), (2, 5), (2, 0)],
            *[(3, 2), (3, 4), (3, 6), (3, 1)],
        ]
        assert seen[group[1]] == [(1, 1), (1, 4)]
        assert seen[group[2]] == [(1, 2), (1, 5), (2, 2), (2, 4), (2, 6), (3, 3), (3, 5), (3, 0)]

    @pytest.mark.parametrize(
        ("roster", "epochs", "epoch", "expected"),
        [
            (Roster(GROUP), 3, 1, False),
            (Roster(GROUP), 3, 2, True),
            (Roster(GROUP), 3, None, True),
            (Roster(GROUP), 1, None, False),
            (Roster(GROUP), 0, None, True),
            (Roster(GROUP[:2]), 3, 3, False),
            (Roster(GROUP[:2]), 3, None, False),
            (ROSTER, 6, 2, False),
            (ROSTER, 6, 3, True),
        ],
    )
    def test_what_may_be_otherwise_on_another_chain(self, roster, epochs, epoch, expected):
        plan = with_batches(12, epochs)
        turns = [roster.turn(plan, roster.miners[0], i) for i in range(60)]
        turn = next((t for t in turns if t and t.number == epoch), None)
        assert roster.may_differ(plan, turn) is expected
