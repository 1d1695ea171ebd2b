"""Targets: every kind of record survives writing and reading, whatever is in it; anything else is refused
with a sentence, never misread.
"""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai import events, jobs
from p2pai.chain.fraud import Judgement
from p2pai.chain.params import IT_RES_SIZE_MAX, SLOT_MESSAGES_MAX
from p2pai.chain.state import Checkpoint
from p2pai.chain.transaction import Conclusion
from p2pai.chain.votes import cast
from p2pai.gossip import sync
from p2pai.node import journal
from p2pai.node.accounts import AccountAdded
from p2pai.node.core import NodeCore
from p2pai.node.journal import TransactionPosted
from p2pai.node.trust import SnapshotShared, SnapshotTrusted, SnapshotVerified
from p2pai.primitives import cbor, record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId, Outpoint, PeerId, TaskId
from p2pai.roles.client import ModelDelivered, TaskPosted
from p2pai.roles.evaluator import ConclusionReached
from p2pai.roles.memory import IterationSent, StateKept
from p2pai.roles.replaying import VerdictReached
from p2pai.roles.slots import LockedSlot, Ranking, RecordBegun, SlotProposal, SlotRecorded, SlotSigned
from p2pai.roles.validator import CheckpointVoted
from testnet.simulator.disk import Disk
from tests.chain.ledger import Chain, devnet, flip, keys, label, public
from tests.node.parts import grown, iteration, payment, slot

TASK, TICKET = TaskId(label("task")), Outpoint(label("ticket"), 3)


def samples():
    """One record of each kind, as a node writes it."""
    chain = grown(1)
    message = iteration(chain, 0)
    certified = slot(chain, 0, [message])
    model = BlobId(label("model"))
    state = jobs.ModelState(BlobId(label("w")), BlobId(label("r")), BlobId(label("o")))
    return (
        TransactionPosted(payment(chain).encoded),
        AccountAdded(public(3)),
        SnapshotTrusted(Checkpoint(16, label("block"), BlobId(label("snapshot")))),
        SnapshotVerified(16),
        SnapshotShared(BlobId(label("snapshot"))),
        CheckpointVoted(cast(bytes([1] * 32), chain.spec.id, TICKET, 16, label("block"), label("snapshot"))),
        TaskPosted(label("order"), TASK),
        ModelDelivered(TASK, "model.safetensors"),
        ConclusionReached(TASK, Conclusion((3, 0, 9), 10, model)),
        IterationSent(chain.predefined, TICKET, 0, message),
        StateKept(chain.predefined, TICKET, state, ((TICKET, 4), (Outpoint(label("peer"), 0), 0)), 7),
        RecordBegun(chain.predefined, chain.task(chain.predefined).committee.key),
        SlotRecorded(certified, (message,)),
        SlotSigned(chain.predefined, 0, 1, 9, None, None),
        VerdictReached(
            chain.blocks[0].hash,
            Judgement(1, chain.blocks[0].work_proof.ticket, label("precursor"), "message map"),
        ),
    )


SAMPLES = samples()
BY_NAME = {"argvalues": SAMPLES, "ids": lambda sample: type(sample).__name__}
UNREADABLE = "the journal holds a record that this version cannot read: "


@pytest.mark.parametrize("sample", **BY_NAME)
def test_every_record_survives(sample):
    data = journal.write(sample)
    assert journal.read(data) == sample
    assert journal.write(journal.read(data)) == data


def test_no_kind_is_left_out():
    assert {type(sample) for sample in SAMPLES} == set(get_args(journal.Record))


def test_no_two_records_have_the_same_bytes():
    assert len({journal.write(sample) for sample in SAMPLES}) == len(SAMPLES)


@pytest.mark.parametrize("sample", **BY_NAME)
def test_a_cut_or_lengthened_record_is_refused(sample):
    data = journal.write(sample)
    for spoilt in (data[:-1], data[: len(data) // 2], data + b"\0", b""):
        with pytest.raises(InvalidInput, match=UNREADABLE):
            journal.read(spoilt)


FOREIGN = {
    "nothing": b"",
    "text": b"not a record",
    "number": cbor.encode(7),
    "unnamed fields": cbor.encode([b"transaction"]),
    "unknown name": cbor.encode(["TransactionRefused", b"transaction"]),
    "a field too many": cbor.encode(["TransactionPosted", b"transaction", 1]),
    "a field too few": cbor.encode(["TaskPosted", bytes(32)]),
    "a hash too short": cbor.encode(["TaskPosted", bytes(31), bytes(32)]),
    "a message of the network": record.encode_tagged(sync.AskSlots(TASK, 0)),
    "a job": record.encode_tagged(jobs.Keep("session")),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_record_is_refused_with_a_sentence(data):
    with pytest.raises(InvalidInput, match=UNREADABLE) as refused:
        journal.read(data)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_mean_exactly_one_record(data):
    check_canonical(data)


@given(st.sampled_from(SAMPLES), st.data())
def test_a_changed_bit_is_refused_or_makes_another_record(sample, choice):
    data = journal.write(sample)
    changed = flip(data, choice.draw(st.integers(0, 8 * len(data) - 1)))
    assert check_canonical(changed) != sample


def check_canonical(data):
    try:
        entry = journal.read(data)
    except InvalidInput:
        return None
    assert journal.write(entry) == data
    return entry


class TestSizes:
    def test_the_largest_signed_slot_fits(self):
        slot, ids = SAMPLES[-3].slot, tuple(label(i) for i in range(SLOT_MESSAGES_MAX))
        ballots = tuple(Ranking(i, bytes(SLOT_MESSAGES_MAX), bytes(71)) for i in range(64))
        proposal = SlotProposal(slot.statement, ids, ballots, bytes(71))
        lock = LockedSlot(slot.statement, ids, slot.signature)
        largest = SlotSigned(TASK, 2**58, 2**16, 2**64 - 1, proposal, lock)
        assert journal.read(journal.write(largest)) == largest

    def test_the_largest_iteration_fits(self):
        largest = IterationSent(TASK, TICKET, 2**32 - 1, bytes(IT_RES_SIZE_MAX))
        assert journal.read(journal.write(largest)) == largest

    def test_more_than_the_limit_is_not_read(self):
        with pytest.raises(InvalidInput, match=UNREADABLE):
            journal.read(journal.write(TransactionPosted(bytes(journal.RECORD_SIZE_MAX))))

    def test_a_slot_that_ends_the_training_of_many_fits(self):
        """A group may have 256 miners, and all end their last epoch at about the same time."""
        certified = slot(Chain(), 0, [iteration(Chain(), 0)])
        entry = SlotRecorded(certified, tuple(bytes([i]) * 60 * 1024 for i in range(20)))
        assert journal.read(journal.write(entry)) == entry


def test_a_node_with_a_damaged_journal_does_not_start():
    """Rather than go on as if it had promised nothing."""
    core = NodeCore(devnet(), keys(7), PeerId("peer7"), ("peer",), Disk())
    good = journal.write(SAMPLES[0])
    with pytest.raises(InvalidInput, match=UNREADABLE):
        core.handle(events.Started((good, b"damaged")), 1_780_000_000_000)
