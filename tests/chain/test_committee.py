"""Targets: a certificate needs a quorum of the committee's shares over exactly this statement."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import committee, dkg
from p2pai.chain.committee import (
    CertifiedSlot,
    Committee,
    Dealt,
    HistoryStatement,
    MalformedStatement,
    PreparedStatement,
    Reason,
    SlotStatement,
    StatusStatement,
    ViewStatement,
)
from p2pai.chain.params import SLOT_MESSAGES_MAX, VIEW_MAX, quorum
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.ids import BlobId, BlsSignature, Outpoint, TaskId
from p2pai.vrf import ecvrf
from tests.chain.ledger import flip, keys, label, secret_share

MEMBERS = (1, 2, 3, 4)
PLACES = (1, 2, 3, 4)


def make_committee(accounts, occasion):
    """Generate a key among accounts."""
    tickets = [Outpoint(label("supervisor", account), 0) for account in accounts]
    receivers = [ecvrf.public_key(keys(account).vrf) for account in accounts]
    threshold = quorum(len(accounts))
    dealt = tuple(
        Dealt(ticket, i, part, dkg.make_deal(keys(account).bls, part, receivers, threshold), b"")
        for i, (ticket, account) in enumerate(zip(tickets, accounts, strict=True), 1)
        for part in [label(occasion, i)]
    )
    key, shares = dkg.public_keys({d.index: d.deal for d in dealt}, len(accounts), renewed=False)
    return Committee(tuple(tickets), threshold, key, shares, dealt, label(occasion), renewed=False)


MADE = make_committee(MEMBERS, "first")
OTHER = make_committee(MEMBERS, "second")
IDS = tuple(label("message", i) for i in range(3))
TASK = TaskId(label("task"))
SLOT = SlotStatement(TASK, 0, 0, 7, merkle.root(IDS))
HISTORY = HistoryStatement(TASK, 0, 9, label("root"), None)
STATEMENTS = [
    SLOT,
    PreparedStatement(SLOT),
    HISTORY,
    replace(HISTORY, models=BlobId(label("models"))),
    ViewStatement(TASK, 3, 1, Reason.SILENT),
    MalformedStatement(TASK, 2),
    StatusStatement(TASK, Outpoint(label("ticket"), 1), 4),
]


def share(statement, place, made=MADE):
    return committee.sign(secret_share(made, place, keys(MEMBERS[place - 1])), statement)


def certificate(statement, places=PLACES, made=MADE):
    return committee.combine({i: share(statement, i, made) for i in places})


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_certificate_of_all_holds(statement):
    committee.verify(statement, certificate(statement), MADE.key)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_three_of_four_certify_and_no_two_do(count):
    for places in combinations(PLACES, count):
        if count >= 3:
            committee.verify(SLOT, certificate(SLOT, places), MADE.key)
            continue
        with pytest.raises(InvalidProof, match="signature does not match"):
            committee.verify(SLOT, certificate(SLOT, places), MADE.key)


def test_whoever_signs_the_certificate_is_the_same():
    assert len({certificate(SLOT, places) for places in combinations(PLACES, 3)}) == 1


@pytest.mark.parametrize("signed", STATEMENTS)
def test_a_certificate_holds_for_no_other_statement(signed):
    for statement in STATEMENTS:
        if statement != signed:
            with pytest.raises(InvalidProof, match="signature does not match"):
                committee.verify(statement, certificate(signed), MADE.key)


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (SLOT, {"task": label("other")}),
        (SLOT, {"epoch": 1}),
        (SLOT, {"view": 1}),
        (SLOT, {"slot": 8}),
        (SLOT, {"root": flip(SLOT.root)}),
        (PreparedStatement(SLOT), {"slot": replace(SLOT, view=1)}),
        (HISTORY, {"task": label("other")}),
        (HISTORY, {"first": 1}),
        (HISTORY, {"last": 8}),
        (HISTORY, {"root": label("other")}),
        (HISTORY, {"models": BlobId(label("m"))}),
        (STATEMENTS[4], {"task": label("other")}),
        (STATEMENTS[4], {"epoch": 4}),
        (STATEMENTS[4], {"view": 2}),
        (STATEMENTS[4], {"reason": Reason.SLOW}),
        (STATEMENTS[5], {"task": label("other")}),
        (STATEMENTS[5], {"fragment": 3}),
    ],
)
def test_a_certificate_holds_for_one_statement_alone(statement, changes):
    with pytest.raises(InvalidProof, match="signature does not match"):
        committee.verify(replace(statement, **changes), certificate(statement), MADE.key)


def test_shares_of_another_committee_certify_nothing():
    for made, key in ((OTHER, MADE.key), (MADE, OTHER.key)):
        with pytest.raises(InvalidProof, match="signature does not match"):
            committee.verify(SLOT, certificate(SLOT, made=made), key)


def test_one_share_of_another_committee_spoils_the_whole():
    shares = {1: share(SLOT, 1, OTHER), 2: share(SLOT, 2), 3: share(SLOT, 3)}
    with pytest.raises(InvalidProof, match="signature does not match"):
        committee.verify(SLOT, committee.combine(shares), MADE.key)


def test_one_share_over_another_statement_spoils_the_whole():
    shares = {1: share(HISTORY, 1), 2: share(SLOT, 2), 3: share(SLOT, 3)}
    with pytest.raises(InvalidProof, match="signature does not match"):
        committee.verify(SLOT, committee.combine(shares), MADE.key)


def test_one_share_does_not_stand_for_three():
    with pytest.raises(InvalidProof, match="does not match"):
        committee.verify(SLOT, committee.combine(dict.fromkeys((1, 2, 3), share(SLOT, 1))), MADE.key)
    with pytest.raises(InvalidProof, match="does not match"):
        committee.verify(SLOT, share(SLOT, 1), MADE.key)


def test_shares_count_at_their_own_places():
    with pytest.raises(InvalidProof, match="does not match"):
        committee.verify(SLOT, committee.combine({i: share(SLOT, i % 3 + 1) for i in (1, 2, 3)}), MADE.key)


@pytest.mark.parametrize("bit", [5, 100, 300, 767])
def test_a_certificate_with_one_bit_changed_is_refused(bit):
    with pytest.raises(InvalidProof, match="signature"):
        committee.verify(SLOT, flip(certificate(SLOT), bit), MADE.key)


@pytest.mark.parametrize("signature", [bytes(96), bytes([0xC0]) + bytes(95), bytes(95), b""])
def test_a_malformed_certificate_is_refused(signature):
    with pytest.raises(InvalidProof):
        committee.verify(SLOT, BlsSignature(signature), MADE.key)


def test_the_order_of_collecting_does_not_matter():
    votes = {i: share(SLOT, i) for i in PLACES}
    assert committee.combine(votes) == committee.combine(dict(reversed(votes.items())))


class TestShare:
    """Before shares are combined, each is checked under its member's public share."""

    @pytest.mark.parametrize("place", PLACES)
    def test_of_each_member_holds(self, place):
        committee.verify_share(SLOT, place, share(SLOT, place), MADE)

    @pytest.mark.parametrize("place", PLACES)
    def test_of_another_member_is_refused(self, place):
        with pytest.raises(InvalidProof, match="does not match"):
            committee.verify_share(SLOT, place, share(SLOT, place % 4 + 1), MADE)

    def test_over_another_statement_is_refused(self):
        for statement in STATEMENTS[1:]:
            with pytest.raises(InvalidProof, match="does not match"):
                committee.verify_share(SLOT, 1, share(statement, 1), MADE)

    def test_of_another_committee_is_refused(self):
        with pytest.raises(InvalidProof, match="does not match"):
            committee.verify_share(SLOT, 1, share(SLOT, 1, OTHER), MADE)

    def test_with_one_bit_changed_is_refused(self):
        for bit in (5, 300, 767):
            with pytest.raises(InvalidProof, match="signature"):
                committee.verify_share(SLOT, 1, flip(share(SLOT, 1), bit), MADE)

    def test_the_certificate_is_no_share(self):
        with pytest.raises(InvalidProof, match="does not match"):
            committee.verify_share(SLOT, 1, certificate(SLOT), MADE)


class TestSlot:
    GOOD = CertifiedSlot(SLOT, IDS, certificate(SLOT))

    def test_a_certified_slot_holds(self):
        committee.verify_slot(self.GOOD, MADE.key)

    @pytest.mark.parametrize("changes", [{"epoch": 1}, {"view": VIEW_MAX + 1}, {"slot": 64}])
    def test_a_slot_of_another_term_is_refused(self, changes):
        statement = replace(SLOT, **changes)
        slot = CertifiedSlot(statement, IDS, certificate(statement))
        with pytest.raises(InvalidMessage, match="an epoch or a view that is not its own"):
            committee.verify_slot(slot, MADE.key)

    @pytest.mark.parametrize("view", [1, VIEW_MAX])
    def test_a_slot_of_a_later_view_holds(self, view):
        statement = replace(SLOT, view=view)
        committee.verify_slot(CertifiedSlot(statement, IDS, certificate(statement)), MADE.key)

    @pytest.mark.parametrize("messages", [IDS[::-1], IDS[:2], (*IDS, IDS[0]), (label("other"), *IDS[1:])])
    def test_other_messages_are_refused(self, messages):
        with pytest.raises(InvalidMessage, match="do not give the slot's root"):
            committee.verify_slot(replace(self.GOOD, messages=messages), MADE.key)

    @pytest.mark.parametrize("count", [0, SLOT_MESSAGES_MAX + 1])
    def test_no_messages_or_too_many_are_refused(self, count):
        messages = tuple(label(i) for i in range(count))
        with pytest.raises(InvalidMessage, match="1 to 256 messages"):
            committee.verify_slot(replace(self.GOOD, messages=messages), MADE.key)

    def test_the_fullest_slot_holds(self):
        messages = tuple(label(i) for i in range(SLOT_MESSAGES_MAX))
        statement = replace(SLOT, root=merkle.root(messages))
        committee.verify_slot(CertifiedSlot(statement, messages, certificate(statement)), MADE.key)

    def test_a_certificate_of_another_slot_is_refused(self):
        other = certificate(replace(SLOT, slot=8))
        with pytest.raises(InvalidProof, match="does not match"):
            committee.verify_slot(replace(self.GOOD, signature=other), MADE.key)

    def test_a_prepared_slot_is_not_certified(self):
        prepared = certificate(PreparedStatement(SLOT))
        with pytest.raises(InvalidProof, match="does not match"):
            committee.verify_slot(replace(self.GOOD, signature=prepared), MADE.key)


def test_a_proposal_is_another_thing_than_a_vote():
    proposal = committee.proposal_digest(SLOT, MADE.key)
    assert len({committee.digest(SLOT), committee.digest(PreparedStatement(SLOT)), proposal}) == 3
    for changes in ({"task": label("other")}, {"epoch": 1}, {"view": 1}, {"slot": 8}, {"root": label("x")}):
        assert committee.proposal_digest(replace(SLOT, **changes), MADE.key) != proposal
    assert committee.proposal_digest(SLOT, OTHER.key) != proposal


def test_a_leaders_term_has_64_slots():
    assert [committee.epoch_of(slot) for slot in (0, 63, 64, 127, 128)] == [0, 0, 1, 1, 2]


def test_the_leader_goes_round():
    assert [committee.leader(3, epoch, 0) for epoch in range(1, 5)] == [1, 2, 0, 1]
    assert [committee.leader(3, 1, view) for view in range(4)] == [1, 2, 0, 1]


@given(st.integers(1, 64), st.integers(0, 10**6))
def test_consecutive_views_try_every_supervisor(count, epoch):
    assert sorted(committee.leader(count, epoch, view) for view in range(count)) == list(range(count))
