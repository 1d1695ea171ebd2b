"""Targets: every batch has exactly one turn an epoch however many miners there are."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise, starmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.assignment import load_max
from p2pai.chain.schedule import BatchPlace, make_schedule
from p2pai.chain.training import Assignment, KFold
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import definition, label

BLOCK = label("definition block")
PLAN = make_schedule(definition(), BLOCK)


def with_batches(count, epochs=3, folds=1):
    """A plan over `count` mini-batches in one fragment; with several folds each is set apart in turn."""
    cuts = [count * i // folds for i in range(folds + 1)]
    apart = (range(count, count),) if folds == 1 else tuple(starmap(range, pairwise(cuts)))
    return replace(PLAN, training=PLAN.training[:1], batch_counts=(count,), folds=apart, epochs=epochs)


def seen(turn):
    return turn and (turn.epoch, turn.batch)


def turns(plan, rank, miners, count):
    return [seen(plan.turn(i, rank, miners)) for i in range(count)]


class TestFragments:
    def test_the_training_share_is_revealed_and_the_rest_is_not(self):
        fragments = definition().dataset.fragments
        assert (len(PLAN.training), len(PLAN.test)) == (8, 2)
        assert sorted((*PLAN.training, *PLAN.test)) == sorted(fragments)

    def test_the_order_follows_from_the_definition_block(self):
        assert make_schedule(definition(), BLOCK) == PLAN
        others = [make_schedule(definition(), label("block", i)) for i in range(20)]
        assert len({(p.training, p.test) for p in others}) == 20

    def test_every_fragment_may_be_hidden(self):
        hidden = Counter(f for i in range(200) for f in make_schedule(definition(), label(i)).test)
        assert set(hidden) == set(definition().dataset.fragments)
        assert all(20 <= n <= 60 for n in hidden.values())  # 40 expected, six deviations either way

    def test_a_fragments_own_batches_move_with_it(self):
        task = definition(dataset=replace(definition().dataset, samples=1621))  # nine of 163, the last of 154
        last = task.dataset.fragments[-1]
        assert task.batches_in_fragment(9) == 6
        task = replace(task, dataset=replace(task.dataset, batch_size=160))
        assert task.batches_in_fragment(0) == 2
        assert task.batches_in_fragment(9) == 1
        plan = next(p for i in range(50) if last in (p := make_schedule(task, label(i))).training)
        assert dict(zip(plan.training, plan.batch_counts, strict=True))[last] == 1
        assert sum(plan.batch_counts) == 15

    def test_the_last_batches_are_for_validation(self):
        assert sum(PLAN.batch_counts) == 48
        assert PLAN.held_out(1) == PLAN.held_out(9) == range(44, 48)  # 10 % of 48, rounded down


class TestPlace:
    def test_batches_stand_in_fragments_in_order(self):
        places = [PLAN.place(i) for i in range(48)]
        assert places[0] == BatchPlace(PLAN.training[0], 6, 0)
        assert places[5] == BatchPlace(PLAN.training[0], 6, 5)
        assert places[6] == BatchPlace(PLAN.training[1], 6, 0)
        assert len(set(places)) == 48
        assert places[47] == BatchPlace(PLAN.training[7], 6, 5)

    def test_there_is_no_batch_beyond_the_last(self):
        with pytest.raises(AssertionError, match="out of range"):
            PLAN.place(48)


class TestTurns:
    def test_three_miners_of_seven_batches(self):
        plan = with_batches(7)
        assert turns(plan, 0, 3, 4) == [(1, 0), (1, 3), (1, 6), (2, 1)]
        assert turns(plan, 1, 3, 3) == [(1, 1), (1, 4), (2, 2)]
        assert turns(plan, 2, 3, 3) == [(1, 2), (1, 5), (2, 3)]

    @given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5))
    def test_cover_every_batch_exactly_once_an_epoch(self, batches, miners, epochs):
        plan = with_batches(batches, epochs)
        done = Counter(
            turn
            for rank in range(miners)
            for turn in turns(plan, rank, miners, plan.iterations(rank, miners) or 0)
        )
        assert done == Counter({(e, b): 1 for e in range(1, epochs + 1) for b in range(batches)})

    @given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5))
    def test_end_after_the_last_epoch(self, batches, miners, epochs):
        plan = with_batches(batches, epochs)
        for rank in range(miners):
            assert plan.turn(plan.iterations(rank, miners), rank, miners) is None

    def test_differ_from_epoch_to_epoch(self):
        plan = with_batches(7)
        per_epoch = plan.iterations_of(1, 0, 3)
        epochs = [[plan.turn(e * per_epoch + i, 0, 3).batch for i in range(per_epoch)] for e in range(3)]
        assert epochs == [[0, 3, 6], [1, 4, 0], [2, 5, 1]]

    def test_more_miners_than_batches(self):
        plan = with_batches(2)
        assert plan.iterations_of(1, 2, 3) == 0
        assert plan.iterations(2, 3) == 0
        assert plan.turn(0, 2, 3) is None

    def test_a_predefined_task_goes_on_for_ever(self):
        plan = with_batches(7, epochs=0)
        assert plan.iterations(0, 3) is None
        assert plan.turn(3 * 0xFFFF - 1, 0, 3).epoch == 0xFFFF
        assert plan.turn(3 * 0xFFFF, 0, 3).epoch == 1
        assert plan.turn(2**32 - 1, 0, 3) is not None

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2))
    def test_of_a_predefined_task_fit_it_res(self, iteration, rank):
        turn = with_batches(7, epochs=0).turn(iteration, rank, 3)
        assert 1 <= turn.epoch <= 0xFFFF
        assert 0 <= turn.batch < 7

    @given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**20))
    def test_know_where_their_epoch_begins_and_ends(self, batches, folds, iteration):
        plan = with_batches(batches, epochs=0, folds=folds)
        turn = plan.turn(iteration, 0, 3)
        if turn is None:
            assert all(plan.iterations_of(e, 0, 3) == 0 for e in range(1, folds + 1))
            return
        assert turn.first <= iteration <= turn.last
        assert turn.first == plan.iterations_before(turn.number, 0, 3)
        assert turn.last - turn.first + 1 == plan.iterations_of(turn.number, 0, 3)
        assert (turn.number - 1) % 0xFFFF + 1 == turn.epoch


class TestFolds:
    PLAN = make_schedule(definition(validation=KFold(5), epochs=7), BLOCK)

    def test_cut_all_batches(self):
        assert self.PLAN.folds == (range(9), range(9, 19), range(19, 28), range(28, 38), range(38, 48))

    def test_are_set_apart_one_after_another(self):
        assert [self.PLAN.held_out(e) for e in (1, 5, 6, 7)] == [self.PLAN.folds[i] for i in (0, 4, 0, 1)]

    @given(st.integers(2, 60), st.integers(1, 6), st.integers(2, 7), st.integers(1, 9))
    def test_leave_every_other_batch_a_turn_in_each_epoch(self, batches, miners, folds, epochs):
        plan = with_batches(batches, epochs, folds)
        done = Counter(
            turn
            for rank in range(miners)
            for turn in turns(plan, rank, miners, plan.iterations(rank, miners) or 0)
        )
        wanted = {
            (e, b): 1 for e in range(1, epochs + 1) for b in range(batches) if b not in plan.held_out(e)
        }
        assert done == Counter(wanted)
        assert all(plan.turn(plan.iterations(rank, miners), rank, miners) is None for rank in range(miners))


class TestInterleaved:
    @given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 200))
    def test_who_the_miners_are_does_not_matter(self, batches, miners, iteration):
        plan = with_batches(batches)
        for rank in range(miners):
            assert plan.turn(iteration, rank, tickets(miners)) == plan.turn(iteration, rank, miners)
            assert plan.iterations(rank, tickets(miners)) == plan.iterations(rank, miners)


def tickets(count):
    return tuple(Outpoint(label("ticket", i), i) for i in range(count))


def hashed(*args):
    return replace(with_batches(*args), assignment=Assignment.CONSISTENT_HASHING)


class TestConsistentHashing:
    @given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6))
    def test_covers_every_batch_once_an_epoch_but_those_set_apart(self, batches, miners, folds, epochs):
        folds = min(folds, batches)
        plan, group = hashed(batches, epochs, folds), tickets(miners)
        done = Counter(
            turn for rank in range(miners) for turn in turns(plan, rank, group, plan.iterations(rank, group))
        )
        wanted = {
            (e, b): 1 for e in range(1, epochs + 1) for b in range(batches) if b not in plan.held_out(e)
        }
        assert done == Counter(wanted)
        for rank in range(miners):
            assert plan.turn(plan.iterations(rank, group), rank, group) is None
            assert plan.turn(2**32 - 1, rank, group) is None

    @given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6))
    def test_turns_know_where_their_epoch_begins_and_ends(self, batches, miners, epochs):
        plan, group = hashed(batches, epochs), tickets(miners)
        for rank in range(miners):
            for iteration in range(plan.iterations(rank, group)):
                turn = plan.turn(iteration, rank, group)
                assert turn.first <= iteration <= turn.last
                assert turn.first == plan.iterations_before(turn.number, rank, group)
                assert turn.last - turn.first + 1 == plan.iterations_of(turn.number, rank, group)
                assert turn.last - turn.first < load_max(batches, miners)

    def test_differs_from_epoch_to_epoch_and_from_task_to_task(self):
        plan, group = hashed(40), tickets(3)
        first, second = (
            [plan.turn(b + i, 0, group).batch for i in range(5)] for b in (0, plan.iterations_of(1, 0, group))
        )
        other = replace(plan, definition_block=label("another block"))
        assert first != second
        assert [other.turn(i, 0, group).batch for i in range(5)] != first

    def test_asks_who_the_miners_are(self):
        with pytest.raises(AssertionError, match="who the miners are"):
            hashed(40).turn(0, 0, 3)

    def test_a_miner_without_a_batch_in_an_epoch_goes_on_in_the_next(self):
        plan, group = hashed(1, 30), tickets(4)
        epochs = [[plan.turn(i, r, group).number for i in range(plan.iterations(r, group))] for r in range(4)]
        assert sorted(e for own in epochs for e in own) == list(range(1, 31))
        assert all(own == sorted(own) for own in epochs)

    def test_fixed_values(self):
        # Whoever writes another node gets these, or is not of this network.
        plan, group = (
            replace(make_schedule(definition(), BLOCK), assignment=Assignment.CONSISTENT_HASHING),
            tickets(3),
        )
        assert [plan.turn(i, 0, group).batch for i in range(6)] == [40, 16, 26, 8, 30, 39]
