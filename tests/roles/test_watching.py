"""Target: who falls silent while others go on is reported, and nobody else."""

from dataclasses import replace

import pytest

from p2pai.chain.committee import StatusStatement
from p2pai.chain.roster import Shift
from p2pai.chain.supervision import NodeStatus
from p2pai.effects import Verdict
from p2pai.roles.registrar import ABSENT_MS, REPEAT_MS
from p2pai.roles.slots import Share
from p2pai.roles.watching import EPOCHS_AHEAD, PATIENCE_FACTOR
from tests.chain.ledger import MINERS, Chain
from tests.roles.lone import Lone, certified, iteration, supervisors_of
from tests.roles.test_registrar import Task, message

LATE_MS = ABSENT_MS + 3_000
LOST = 1
OTHERS = (0, 2)


@pytest.fixture
def task():
    return Task(epochs=6)


def ticket_of(task, rank=LOST):
    return task.chain.task(task.id).miners[rank]


def status(task, epoch=1 + EPOCHS_AHEAD, rank=LOST):
    return StatusStatement(task.id, ticket_of(task, rank), epoch)


def reports(node):
    """Return the shares of reports that a node said."""
    return [s for s in node.take_said() if isinstance(s, Share) and isinstance(s.statement, StatusStatement)]


def go_on(task, duration_ms, ranks=OTHERS, first=1, nodes=None):
    """Let miners of some ranks do ten iterations in a time."""
    for step in range(10):
        task.record(*(message(task, first + step, rank) for rank in ranks), nodes=nodes)
        for node in nodes or task.nodes:
            node.wait(duration_ms // 10)


def begun(task):
    """Let everybody do the first iteration."""
    task.record(*(message(task, 0, rank) for rank in range(3)))


class TestTheLeader:
    def test_reports_who_is_silent_for_long(self, task):
        begun(task)
        go_on(task, ABSENT_MS - 1_000)
        assert reports(task.leader) == []
        task.leader.wait(4_000)
        said = reports(task.leader)
        assert said[0] == task.vote(task.accounts[0], status(task))
        assert len(said) >= 2, "again and again"

    def test_reports_who_never_began(self, task):
        go_on(task, LATE_MS, first=0)
        assert reports(task.leader)[0].statement == status(task)

    def test_leaves_time_to_register_where_epochs_are_short(self, task):
        begun(task)
        for epoch in range(3):
            go_on(task, LATE_MS // 3, first=1 + 15 * epoch)
        # Two epochs in 33 s: in the 24 s of four blocks two more.
        assert {s.statement.epoch for s in reports(task.leader)} == {3 + 3}

    def test_reports_nobody_when_nothing_is_left_to_share(self):
        task = Task(epochs=2)
        begun(task)
        go_on(task, LATE_MS)
        task.leader.wait(5_000)
        assert reports(task.leader) == []

    def test_posts_what_a_quorum_found(self, task):
        begun(task)
        go_on(task, LATE_MS)
        assert task.leader.posted(NodeStatus) == []
        task.leader.hear_said(task.vote(task.accounts[1], status(task)), task.accounts[1], task.id)
        (tx,) = task.leader.posted(NodeStatus)
        assert tx.data == NodeStatus(
            task.id, ticket_of(task), 1 + EPOCHS_AHEAD, task.who.certify(status(task))
        )
        task.leader.hand_over()
        task.mine()
        known = task.chain.task(task.id)
        assert known.shifts == (Shift(3, (known.miners[0], known.miners[2])),)
        task.leader.take_said()
        task.leader.wait(5_000)
        assert reports(task.leader) == []
        assert len(task.leader.posted(NodeStatus)) == 1

    def test_forged_and_foreign_shares_do_not_count(self, task):
        begun(task)
        go_on(task, LATE_MS)
        later = task.vote(task.accounts[1], status(task, 4))
        assert task.leader.hear_said(later, task.accounts[1], task.id).verdict is Verdict.ACCEPT
        forged = replace(later, statement=status(task))
        assert task.leader.hear_said(forged, task.accounts[1], task.id).verdict is Verdict.REJECT
        nobody = replace(status(task), ticket=task.chain.task(task.id).supervisors[0])
        foreign = task.vote(task.accounts[1], nobody)
        assert task.leader.hear_said(foreign, task.accounts[1], task.id).verdict is Verdict.REJECT
        assert task.leader.posted(NodeStatus) == []


class TestWhoIsNotReported:
    def quiet(self, task, wait_ms=2 * ABSENT_MS):
        task.leader.wait(wait_ms)
        return reports(task.leader) == []

    def test_nobody_while_nobody_is_recorded(self, task):
        begun(task)
        assert self.quiet(task)

    def test_who_is_slow(self, task):
        begun(task)
        for number in range(1, 4):
            go_on(task, ABSENT_MS - 5_000, first=1 + 15 * (number - 1))
            task.record(message(task, number, LOST))
        assert self.quiet(task, 1_000)

    def test_who_waits_for_the_others_to_end_an_epoch(self, task):
        for number in range(15):
            task.record(message(task, number, 0))
        go_on(task, LATE_MS, ranks=(1, 2), first=0)
        assert self.quiet(task, 1_000)
        for number in range(10, 14):
            task.record(*(message(task, number, rank) for rank in (1, 2)))
        task.record(message(task, 14, 1))
        assert self.quiet(task, ABSENT_MS - 5_000), "two of three are there: from now on it could go on"
        go_on(task, 10_000, ranks=(1,), first=15)
        assert reports(task.leader)[0].statement.ticket == ticket_of(task, 0)

    def test_who_has_announced_its_model(self):
        task = Task(epochs=1)
        task.record(task.last_message(LOST))
        task.announce(task.announcement(LOST))
        go_on(task, LATE_MS, first=0)
        assert self.quiet(task, 1_000)

    def test_one_of_the_last_two(self, task):
        begun(task)
        data = NodeStatus(task.id, ticket_of(task), 2, task.who.certify(status(task, 2)))
        task.chain.post(task.accounts[1], data)
        task.mine()
        go_on(task, LATE_MS, ranks=(0,))
        assert self.quiet(task, 5_000)


class TestTheOthers:
    def asked(self, task, statement, sender=0):
        task.follower.wait(REPEAT_MS)
        task.follower.take_said()
        vote = task.vote(task.accounts[sender], statement)
        judged = task.follower.hear_said(vote, task.accounts[sender], task.id)
        return judged.verdict, reports(task.follower)

    def test_say_nothing_of_their_own(self, task):
        begun(task)
        go_on(task, LATE_MS)
        task.follower.wait(5_000)
        assert reports(task.follower) == []

    def test_sign_what_they_find_too(self, task):
        begun(task)
        go_on(task, ABSENT_MS // 2 + 1_000)
        signed = [task.vote(task.accounts[1], status(task))]
        assert self.asked(task, status(task)) == (Verdict.ACCEPT, signed)
        assert self.asked(task, status(task)) == (Verdict.ACCEPT, signed), "it may have been lost"

    def test_sign_for_no_epoch_that_has_begun_or_never_comes(self, task):
        begun(task)
        go_on(task, LATE_MS)
        for epoch in (0, 1, 7):
            assert self.asked(task, status(task, epoch)) == (Verdict.ACCEPT, [])
        assert self.asked(task, status(task, 2))[1]

    def test_sign_not_against_whom_they_hear(self, task):
        begun(task)
        go_on(task, ABSENT_MS // 2 - 2_000)
        assert self.asked(task, status(task)) == (Verdict.ACCEPT, [])
        go_on(task, ABSENT_MS, first=11)
        assert self.asked(task, status(task, rank=0)) == (Verdict.ACCEPT, [])

    def test_sign_for_nobody_who_does_not_lead(self, task):
        begun(task)
        go_on(task, LATE_MS)
        assert self.asked(task, status(task), sender=2)[1] == []


class Endless:
    """The predefined task, where one miner works and the others do not."""

    def __init__(self, chain=None):
        self.chain = chain or Chain()
        self.node = Lone(self.chain, supervisors_of(self.chain)[0], ("supervisor",))
        self.number = 0

    def go_on(self, count):
        """Let 15 s pass with each iteration."""
        for _ in range(count):
            data = iteration(self.chain, MINERS[0], self.number)
            self.node.hear_iteration(data)
            self.node.hear_said(certified(self.chain, self.number, [data]), 2)
            self.node.wait(15_000)
            self.number += 1
        return reports(self.node)


def test_a_task_without_end_is_patient():
    task = Endless()
    assert task.go_on(ABSENT_MS * PATIENCE_FACTOR // 15_000 - 1) == []
    assert task.go_on(3) != []


def test_whoever_trains_another_task_meanwhile_is_not_missed():
    chain = Chain()
    other = chain.start(expected_blocks=50)
    task = Endless(chain)
    assert task.go_on(30) == []
    task.chain.end_training(other)
    task.node.connect(task.chain.blocks[-1])
    assert task.go_on(2 + ABSENT_MS * PATIENCE_FACTOR // 15_000) != []
