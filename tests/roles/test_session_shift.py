"""Target: a session goes on when another miner of its task leaves, and ends when its own does."""

from collections import Counter

import pytest

from p2pai.chain.committee import StatusStatement
from p2pai.chain.supervision import NodeStatus
from p2pai.chain.training import Assignment, Numerics
from tests.chain.ledger import MINERS, SUPERVISORS, Chain
from tests.roles.test_session import model_of
from tests.roles.trained import Group, start_task

A, LOST, C = MINERS
EPOCHS = 3
BATCHES = 44


def training(accounts=(A, C), **changes):
    chain = Chain()
    # In native numerics nobody mines: the test alone makes blocks.
    task = start_task(chain, epochs=EPOCHS, numerics=Numerics.NATIVE, **changes)
    return Group(accounts=accounts, chain=chain, task=task)


def shift(group, epoch, account=LOST):
    """Let the ledger say that a miner left, and everybody hear of it."""
    ticket = group.chain.tickets("miner", account, task=group.task)[0]
    certificate = group.chain.certify(group.task, StatusStatement(group.task, ticket, epoch))
    group.chain.post(SUPERVISORS[0], NodeStatus(group.task, ticket, epoch, certificate))
    block = group.chain.mine()
    for node in group.nodes.values():
        node.connect(block)


def finish(group):
    group.run(lambda: all(model_of(node) for node in group.nodes.values()), steps=120)


def batches(group, epoch):
    """Return how often each mini-batch was trained on in an epoch."""
    messages = [m for account in group.accounts for m in group.decoded(account)]
    return Counter(m.batch for m in messages if m.epoch == epoch)


@pytest.mark.parametrize("assignment", Assignment)
def test_the_others_train_on_all_from_the_epoch_on(assignment):
    group = training(assignment=assignment)
    sessions = [group.role(account).session for account in group.accounts]
    for _ in range(5):
        group.step()
    shift(group, 2)
    assert [group.role(account).session for account in group.accounts] == sessions, "they are not restarted"
    finish(group)
    assert len(batches(group, 1)) < BATCHES
    for epoch in (2, 3):
        done = batches(group, epoch)
        assert len(done) == BATCHES
        assert set(done.values()) == {1}
    roster = group.chain.task(group.task).roster
    for account, session in zip(group.accounts, sessions, strict=True):
        numbers = [m.iteration for m in group.decoded(account)]
        assert numbers == list(range(roster.iterations(session.plan, session.ticket)))


def test_who_is_late_goes_on_where_it_stands():
    group = training()
    group.run(lambda: all(len(group.messages.get(a, ())) > 20 for a in group.accounts))
    shift(group, 2)
    finish(group)
    roster = group.chain.task(group.task).roster
    for account in group.accounts:
        ticket = group.chain.tickets("miner", account, task=group.task)[0]
        numbers = [m.iteration for m in group.decoded(account)]
        plan = group.role(account)._finished[0].plan
        assert numbers == list(range(roster.iterations(plan, ticket)))
    assert len(batches(group, 3)) == BATCHES


def test_who_left_works_on_something_else():
    group = training(accounts=(A, LOST, C))
    for _ in range(3):
        group.step()
    session = group.role(LOST).session
    assert session.task_id == group.task
    shift(group, 2)
    assert group.role(LOST).session.task_id == group.chain.predefined
    said = len(group.messages[LOST])
    for _ in range(3):
        group.step()
    assert len([m for m in group.decoded(LOST) if m.ticket == session.ticket]) == said
    assert group.role(A).session.task_id == group.task


def test_nobody_waits_for_who_left():
    group = training(accounts=(A, C))
    count = group.role(A).session.place.turn(0).last + 1
    for _ in range(count + 5):
        node = group.nodes[A]
        node.wait(group.chain.params.iteration_ms_min)
        group._collect(A, node)
    assert len(group.messages[A]) == count, "one of three"
    shift(group, 2)
    shift_back = group.chain.task(group.task).roster
    assert len(shift_back.working) == 2
    finish(group)


def test_a_restart_takes_up_the_divided_work():
    group = training()
    for _ in range(5):
        group.step()
    shift(group, 2)
    group.run(lambda: group.decoded(A)[-1].epoch == 2)
    group.restart(A)
    finish(group)
    assert len(batches(group, 3)) == BATCHES
