"""Targets: a certificate needs a quorum of the task's own supervisors over exactly this statement."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import committee
from p2pai.chain.committee import Certificate, CertifiedSlot, HistoryStatement, SlotStatement
from p2pai.chain.params import SLOT_MESSAGES_MAX
from p2pai.primitives import bls, merkle
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.ids import BlobId, TaskId
from tests.chain.ledger import flip, keys, label

MEMBERS = (1, 2, 3, 4)
KEYS = [bls.public_key(keys(m).bls) for m in MEMBERS]
IDS = tuple(label("message", i) for i in range(3))
SLOT = SlotStatement(TaskId(label("task")), 0, 0, 7, merkle.root(IDS))
HISTORY = HistoryStatement(TaskId(label("task")), 0, 9, label("root"), None)


def certificate(statement, members=MEMBERS):
    indices = [MEMBERS.index(m) for m in members]
    return committee.combine({i: committee.sign(keys(MEMBERS[i]).bls, statement) for i in indices})


@pytest.mark.parametrize("statement", [SLOT, HISTORY, replace(HISTORY, models=BlobId(label("models")))])
def test_a_certificate_of_all_holds(statement):
    committee.verify(statement, certificate(statement), KEYS)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_any_three_of_four_certify_and_no_two_do(count):
    for members in combinations(MEMBERS, count):
        if count >= 3:
            committee.verify(SLOT, certificate(SLOT, members), KEYS)
            continue
        empty = Certificate(0, certificate(SLOT).signature)
        signed = certificate(SLOT, members) if members else empty
        with pytest.raises(InvalidProof, match=f"{count} of 4 supervisors signed, 3 needed"):
            committee.verify(SLOT, signed, KEYS)


@pytest.mark.parametrize(
    "changes",
    [{"task": label("other")}, {"epoch": 1}, {"view": 1}, {"slot": 8}, {"root": flip(SLOT.root)}],
)
def test_a_certificate_holds_for_one_statement_alone(changes):
    with pytest.raises(InvalidProof, match="aggregate signature does not match"):
        committee.verify(replace(SLOT, **changes), certificate(SLOT), KEYS)


@pytest.mark.parametrize(
    "changes",
    [
        {"task": label("other")},
        {"first": 1},
        {"last": 8},
        {"root": label("other")},
        {"models": BlobId(label("m"))},
    ],
)
def test_a_history_certificate_holds_for_one_statement_alone(changes):
    with pytest.raises(InvalidProof, match="aggregate signature does not match"):
        committee.verify(replace(HISTORY, **changes), certificate(HISTORY), KEYS)


@pytest.mark.parametrize("signers", [0b0111, 0b1011, 0b1101, 0b1110])
def test_the_bitmap_must_name_who_signed(signers):
    with pytest.raises(InvalidProof, match="aggregate signature does not match"):
        committee.verify(SLOT, replace(certificate(SLOT), signers=signers), KEYS)


def test_one_signature_does_not_stand_for_three():
    alone = committee.sign(keys(1).bls, SLOT)
    with pytest.raises(InvalidProof, match="does not match"):
        committee.verify(SLOT, Certificate(0b0111, alone), KEYS)


def test_a_bit_beyond_the_committee_is_refused():
    with pytest.raises(InvalidProof, match="a supervisor that the task does not have"):
        committee.verify(SLOT, replace(certificate(SLOT), signers=0b10111), KEYS)


def test_a_malformed_signature_is_refused():
    with pytest.raises(InvalidProof, match="malformed signature"):
        committee.verify(SLOT, Certificate(0b1111, bls.BlsSignature(bytes(96))), KEYS)


def test_no_committee_certifies_nothing():
    with pytest.raises(InvalidProof):
        committee.verify(SLOT, Certificate(0, certificate(SLOT).signature), [])


def test_the_order_of_collecting_does_not_matter():
    votes = {i: committee.sign(keys(m).bls, SLOT) for i, m in enumerate(MEMBERS)}
    assert committee.combine(votes) == committee.combine(dict(reversed(votes.items())))


class TestSlot:
    GOOD = CertifiedSlot(SLOT, IDS, certificate(SLOT))

    def test_a_certified_slot_holds(self):
        committee.verify_slot(self.GOOD, KEYS)

    @pytest.mark.parametrize("changes", [{"epoch": 1}, {"view": 1}, {"slot": 64}])
    def test_a_slot_of_another_term_is_refused(self, changes):
        statement = replace(SLOT, **changes)
        slot = CertifiedSlot(statement, IDS, certificate(statement))
        with pytest.raises(InvalidMessage, match="an epoch or a view that is not its own"):
            committee.verify_slot(slot, KEYS)

    @pytest.mark.parametrize("messages", [IDS[::-1], IDS[:2], (*IDS, IDS[0]), (label("other"), *IDS[1:])])
    def test_other_messages_are_refused(self, messages):
        with pytest.raises(InvalidMessage, match="do not give the slot's root"):
            committee.verify_slot(replace(self.GOOD, messages=messages), KEYS)

    @pytest.mark.parametrize("count", [0, SLOT_MESSAGES_MAX + 1])
    def test_no_messages_or_too_many_are_refused(self, count):
        messages = tuple(label(i) for i in range(count))
        with pytest.raises(InvalidMessage, match="1 to 256 messages"):
            committee.verify_slot(replace(self.GOOD, messages=messages), KEYS)

    def test_the_fullest_slot_holds(self):
        messages = tuple(label(i) for i in range(SLOT_MESSAGES_MAX))
        statement = replace(SLOT, root=merkle.root(messages))
        committee.verify_slot(CertifiedSlot(statement, messages, certificate(statement)), KEYS)

    def test_a_certificate_of_another_slot_is_refused(self):
        other = certificate(replace(SLOT, slot=8))
        with pytest.raises(InvalidProof, match="does not match"):
            committee.verify_slot(replace(self.GOOD, certificate=other), KEYS)


def test_a_leaders_term_has_64_slots():
    assert [committee.epoch_of(slot) for slot in (0, 63, 64, 127, 128)] == [0, 0, 1, 1, 2]


def test_the_leader_goes_round():
    assert [committee.leader(3, epoch, 0) for epoch in range(1, 5)] == [1, 2, 0, 1]
    assert [committee.leader(3, 1, view) for view in range(4)] == [1, 2, 0, 1]


@given(st.integers(1, 64), st.integers(0, 10**6))
def test_consecutive_views_try_every_supervisor(count, epoch):
    assert sorted(committee.leader(count, epoch, view) for view in range(count)) == list(range(count))
