"""Target: what a miner remembers is a fold over the journal, the last of each kind counts."""

from dataclasses import replace

from p2pai import jobs
from p2pai.node import journal
from p2pai.primitives.ids import BlobId, Outpoint, TaskId
from p2pai.roles.memory import IterationSent, Memory, StateKept
from tests.chain.ledger import label
from tests.chain.test_it_res import MESSAGE

TASK, TICKET = TaskId(label("task")), Outpoint(label("ticket"), 3)


def state(name):
    return jobs.ModelState(*(BlobId(label(name, part)) for part in ("weights", "residual", "optimiser")))


def test_nothing_was_sent_before_the_first():
    memory = Memory()
    assert (memory.sent, memory.message, memory.state, memory.applied, memory.slot) == (-1, b"", None, (), 0)
    assert not memory.finished


def test_messages_and_states_are_remembered_apart():
    memory = Memory()
    one, two = (replace(MESSAGE, iteration=i, validation=()).encode() for i in (31, 32))
    memory.take(IterationSent(TASK, TICKET, 31, one))
    memory.take(StateKept(TASK, TICKET, state("a"), ((TICKET, 32),), 5))
    memory.take(IterationSent(TASK, TICKET, 32, two))
    assert (memory.sent, memory.message) == (32, two)
    assert (memory.state, memory.applied, memory.slot) == (state("a"), ((TICKET, 32),), 5)
    memory.take(StateKept(TASK, TICKET, state("b"), ((TICKET, 64),), 9))
    assert (memory.sent, memory.state, memory.slot) == (32, state("b"), 9)


def test_validations_add_up():
    memory = Memory()
    for i, values in enumerate([(), (7,), (), (9,)]):
        memory.take(IterationSent(TASK, TICKET, i, replace(MESSAGE, validation=values).encode()))
    assert memory.validations == ((7,), (9,))


def test_the_records_survive_the_journal():
    records = (
        IterationSent(TASK, TICKET, 0, b""),
        IterationSent(TASK, TICKET, 2**32 - 1, bytes(64 * 1024)),
        StateKept(TASK, TICKET, state("a"), (), 0),
        StateKept(TASK, TICKET, state("a"), ((TICKET, 1), (Outpoint(label("other"), 0), 2)), 4096),
    )
    for entry in records:
        assert journal.read(journal.write(entry)) == entry
