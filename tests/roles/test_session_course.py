"""Targets: what a task says of validation, stopping, tau and numerics is what a miner does and says."""

from functools import cache
from itertools import pairwise

import pytest

from p2pai import jobs
from p2pai.chain import course
from p2pai.chain.course import Course, Place
from p2pai.chain.message_map import element_count
from p2pai.chain.schedule import make_schedule
from p2pai.chain.training import EarlyStopping, Holdout, KFold, Numerics, Target, Tau
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.ids import ZERO_HASH
from tests.chain.ledger import MINERS, Chain
from tests.roles.test_session import model_of
from tests.roles.trained import Group, start_task


def trained(worker=Worker, **changes):
    """A client's task, trained to its end by all three miners."""
    chain = Chain()
    workers = dict.fromkeys(MINERS, worker)
    group = Group(accounts=MINERS, chain=chain, task=start_task(chain, **changes), workers=workers)
    group.run(lambda: all(model_of(node) for node in group.nodes.values()), steps=60)
    return group


def place(group, account):
    task = group.chain.task(group.task)
    plan = make_schedule(task.definition, task.definition_block)
    ticket = group.chain.tickets("miner", account, task=group.task)[0]
    return task.definition, Place(plan, ticket, task.roster)


class TestValidation:
    @pytest.mark.parametrize("validation", [Holdout(20), KFold(4)])
    def test_comes_with_the_last_message_of_each_epoch(self, validation):
        group = trained(validation=validation, epochs=2)
        for account in MINERS:
            _, miner = place(group, account)
            for message in group.decoded(account):
                turn = miner.turn(message.iteration)
                assert len(message.validation) == (2 if message.iteration == turn.last else 0)
            assert len(group.decoded(account)) == miner.iterations

    def test_is_left_out_where_nothing_is_set_apart(self):
        group = trained(validation=Holdout(0))
        assert not any(m.validation for account in MINERS for m in group.decoded(account))


class Stagnant(Worker):
    """A trainer whose validations are the same after every epoch: the first stays the best."""

    def run(self, job):
        result = super().run(job)
        return jobs.Validated((0x3F000000, 0x3F000000)) if isinstance(job, jobs.Validate) else result


class TestStopping:
    def test_at_the_target(self):
        group = trained(stopping=Target("accuracy", 1), epochs=50)
        for account in MINERS:
            definition, miner = place(group, account)
            last = group.decoded(account)[-1]
            assert last.iteration == miner.turn(0).last
            assert course.may_end(definition, miner, last)

    def test_when_it_gets_no_better(self):
        group = trained(Stagnant, stopping=EarlyStopping("accuracy", 2), epochs=50)
        for account in MINERS:
            definition, _ = place(group, account)
            values = [m.validation for m in group.decoded(account) if m.validation]
            assert len(values) == 3
            assert course.is_stopped(definition, tuple(values))
            assert not course.is_stopped(definition, tuple(values[:-1]))

    def test_is_remembered_across_a_restart(self):
        group = trained(stopping=Target("accuracy", 1), epochs=50)
        node = group.nodes[MINERS[0]]
        again = node.again(worker=node.worker)
        again.wait(2_000)
        said = [body for name, scope, body in again.said if (name, scope) == ("it_res", group.task)]
        assert all(body in group.messages[MINERS[0]] for body in said)
        assert model_of(again) is not None


@cache
def adaptive():
    return trained(tau=Tau(10, 20_000), epochs=3)


class TestTau:
    def test_follows_from_the_miners_own_messages(self):
        for account in MINERS:
            definition, miner = place(adaptive(), account)
            messages = adaptive().decoded(account)
            assert (messages[0].tau_bits, messages[0].moved) == (10, 0)
            for before, after in pairwise(messages):
                assert Course(after.tau_bits, after.moved) == course.follow(definition, miner, before)

    def test_moved_counts_the_elements_of_the_epoch(self):
        messages = adaptive().decoded(MINERS[0])
        first = [m for m in messages if m.epoch == 1]
        assert first[-1].moved == sum(element_count(m.message_map) for m in first[:-1])

    def test_changes_between_epochs(self):
        assert len({m.tau_bits for account in MINERS for m in adaptive().decoded(account)}) > 1


class TestNative:
    def test_trains_and_pays_but_does_not_mine(self):
        group = trained(numerics=Numerics.NATIVE)
        for account in MINERS:
            messages = group.decoded(account)
            assert {m.zero_nonce_block for m in messages} == {ZERO_HASH}
            assert len({m.platform for m in messages} - {ZERO_HASH}) == 1
        mined = [b for blocks in group.blocks.values() for b in blocks]
        assert group.task not in {b.transactions[0].data.task for b in mined}
