"""Pauses: a majority of the workers within the window, a deadline of its own, and the training time kept."""

from dataclasses import replace

import pytest

from p2pai.chain import pausing
from p2pai.chain.params import PAUSE_WINDOW_BLOCKS, PAUSED_BLOCKS_MAX, PAUSES_MAX
from p2pai.chain.state import Stage
from p2pai.chain.supervision import ConsiderPause, ConsiderResume, NodeStatus, Pause, Resume, Suspicion
from p2pai.primitives.errors import InvalidBlock, InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import BlsSignature
from tests.chain.ledger import CLIENT, Chain

DOS = Suspicion.DOS_ATTACK


class Group:
    """A client's task in training, and its workers."""

    def __init__(self, **changes) -> None:
        self.chain = Chain()
        self.task_id = self.chain.start(**changes)

    @property
    def task(self):
        return self.chain.task(self.task_id)

    @property
    def workers(self):
        return pausing.workers(self.task)

    def say(self, ticket, data):
        return self.chain.post(self.chain.account(ticket), data)

    def consider(self, count, kind=ConsiderPause):
        reason = (DOS,) if kind is ConsiderPause else ()
        for ticket in self.workers[:count]:
            self.say(ticket, kind(self.task_id, ticket, *reason))

    def pause(self):
        self.consider(4)
        self.say(self.workers[5], Pause(self.task_id, self.workers[5]))

    def resume(self):
        self.consider(4, ConsiderResume)
        self.say(self.workers[0], Resume(self.task_id, self.workers[0]))

    def mine_until(self, height):
        """Mine on the predefined task."""
        self.chain.mine_until(height)


def test_a_majority_pauses_a_task_and_goes_on_with_it():
    group = Group()
    assert len(group.workers) == 6
    since = group.task.since
    group.pause()
    group.chain.mine()
    assert group.task.stage is Stage.PAUSED
    paused_at = group.chain.height
    group.chain.mine()
    group.resume()
    group.chain.mine()
    assert group.task.stage is Stage.TRAINING
    assert group.task.considering == ()
    assert group.chain.height - group.task.since == paused_at - since, "the pause does not count as training"
    assert [stage for stage, _ in group.task.history[-3:]] == ["training", "paused", "training"]
    group.chain.check_supply()


def test_half_of_the_workers_is_no_majority():
    group = Group()
    group.consider(3)
    with pytest.raises(InvalidTransaction, match="no majority"):
        group.say(group.workers[0], Pause(group.task_id, group.workers[0]))


def test_half_of_the_workers_cannot_resume():
    group = Group()
    group.pause()
    group.consider(3, ConsiderResume)
    with pytest.raises(InvalidTransaction, match="no majority"):
        group.say(group.workers[0], Resume(group.task_id, group.workers[0]))


def test_what_was_said_too_long_ago_does_not_count():
    group = Group(expected_blocks=60)
    group.consider(2)
    group.mine_until(group.chain.height + PAUSE_WINDOW_BLOCKS - 1)
    late = group.workers[2:4]
    for ticket in late:
        group.say(ticket, ConsiderPause(group.task_id, ticket, DOS))
    assert len(pausing.considering(group.task, group.chain.height + 1)) == 4
    group.chain.mine()
    assert pausing.considering(group.task, group.chain.height + 1) == late
    group.say(group.workers[0], ConsiderPause(group.task_id, group.workers[0], DOS))
    assert len(group.task.considering) == 3, "what is too old leaves the state"


def test_nobody_considers_twice():
    group = Group()
    group.consider(1)
    with pytest.raises(InvalidTransaction, match="already"):
        group.consider(1)


def test_only_workers_speak():
    group = Group()
    evaluator = group.task.evaluators[0]
    with pytest.raises(InvalidTicket, match="does not work"):
        group.say(evaluator, ConsiderPause(group.task_id, evaluator, DOS))
    with pytest.raises(InvalidTicket, match="another key"):
        group.chain.post(CLIENT, ConsiderPause(group.task_id, group.workers[0], DOS))


@pytest.mark.parametrize("kind", [ConsiderResume, Resume])
def test_what_trains_cannot_resume(kind):
    group = Group()
    with pytest.raises(InvalidTransaction, match="not paused"):
        group.say(group.workers[0], kind(group.task_id, group.workers[0]))


def test_what_is_paused_cannot_pause():
    group = Group()
    group.pause()
    with pytest.raises(InvalidTransaction, match="not training"):
        group.consider(1)


def test_a_predefined_task_never_pauses():
    group = Group()
    group.task_id = group.chain.predefined
    with pytest.raises(InvalidTransaction, match="predefined one never"):
        group.consider(1)


def test_a_task_pauses_only_so_often():
    group = Group()
    for _ in range(PAUSES_MAX):
        group.pause()
        group.resume()
    with pytest.raises(InvalidTransaction, match=f"{PAUSES_MAX} times"):
        group.consider(1)


def test_nobody_mines_with_a_paused_task():
    group = Group()
    group.pause()
    group.chain.mine()
    with pytest.raises(InvalidBlock, match="not training"):
        group.chain.mine(task=group.task_id)


def test_nobody_is_missed_in_a_pause():
    group = Group()
    group.pause()
    supervisor = group.task.supervisors[0]
    report = NodeStatus(group.task_id, group.task.miners[0], 2, BlsSignature(bytes(96)))
    with pytest.raises(InvalidTransaction, match="nobody can be missed"):
        group.say(supervisor, report)


def test_a_pause_without_end_gives_all_coins_back():
    group = Group()
    group.pause()
    group.chain.mine()
    # The state is as after so many blocks; mining them all would take long.
    task = group.task
    aged = replace(task, since=task.since - PAUSED_BLOCKS_MAX + 2)
    group.chain.state = group.chain.pool = group.chain.state.with_task(group.task_id, aged)
    group.chain.mine()
    assert group.task.stage is Stage.PAUSED
    group.chain.mine()
    assert group.task.stage is Stage.FAILED
    workers = (*task.miners, *task.supervisors, *task.evaluators)
    assert not [t for t in workers if t in group.chain.state.tickets]
    assert task.stake in group.chain.state.utxos
    group.chain.check_supply()
    group.chain.post(CLIENT)
    group.chain.mine()
