"""Targets: one transaction has one txid whoever signs it, malformed bytes never pass."""

import contextlib
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.committee import Reason, SlotStatement
from p2pai.chain.dkg import Accusation, Deal
from p2pai.chain.params import (
    DATA_SIZE_MAX,
    DKG_DEAL_SIZE_MAX,
    EQUIVOCATION_SIZE_MAX,
    EVALUATE_REVEAL_SIZE_MAX,
    PAY_FOR_TASK_SIZE_MAX,
    TRANSACTION_SIZE_MAX,
)
from p2pai.chain.supervision import (
    DkgComplaint,
    DkgDeal,
    DkgSuccessful,
    Equivocation,
    MessageHistory,
    NodeStatus,
    ReplaceLeader,
    ReportMalformed,
    TwoDeals,
    WrongShare,
)
from p2pai.chain.transaction import (
    BuyTickets,
    ChargeForTask,
    Coinbase,
    CollectVerifications,
    Conclusion,
    EvaluateCommit,
    EvaluateReveal,
    JoinTask,
    Pay,
    PayForTask,
    RevokeTask,
    Stake,
    Transaction,
    Transfer,
    VerifyCommit,
    VerifyReveal,
    Witness,
    check_form,
    sign,
    signing_digest,
)
from p2pai.primitives import ecdsa, record
from p2pai.primitives.errors import InvalidInput, InvalidMessage, InvalidTransaction
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import definition, flip, key_hash, keys, label

CHAIN = label("chain")
COIN = Outpoint(label("coin"), 0)
TICKET = Outpoint(label("ticket"), 1)
PAY = Pay(5, key_hash(1))
TX = sign(Transaction(1, (COIN,), (PAY,), Transfer()), CHAIN, keys(0).spending)

CONCLUSION = Conclusion((2**32 - 1,) * 256, 2**32 - 1, label("model"))
DEAL = Deal((bytes(48),) * 21, bytes(96), bytes(32), bytes(80), (label("share"),) * 31)
"""Of the largest committee: 31 supervisors, 21 of whom sign."""
TWO_DEALS = TwoDeals(TICKET, label("one"), bytes(72), label("two"), bytes(72))
SLOT = SlotStatement(label("task"), 2**64 - 1, 2**64 - 1, 2**64 - 1, label("root"))
LIMITS = {
    EvaluateReveal: EVALUATE_REVEAL_SIZE_MAX,
    DkgDeal: DKG_DEAL_SIZE_MAX,
    Equivocation: EQUIVOCATION_SIZE_MAX,
}
LARGEST = [
    (Transfer(), 10),
    (Coinbase(2**64 - 1, label("task"), TICKET), 91),
    (BuyTickets("supervisor", (65_535,) * 64, bytes(32), bytes(48), bytes(96), "p" * 64), 465),
    (JoinTask(label("task"), label("block"), TICKET, bytes(80)), 198),
    (RevokeTask(label("task")), 46),
    (DkgDeal(label("task"), 2**64 - 1, TICKET, DEAL, bytes(72)), 2486),
    (
        DkgComplaint(label("task"), 2**64 - 1, TICKET, WrongShare(TICKET, Accusation(bytes(32), bytes(48)))),
        230,
    ),
    (DkgComplaint(label("task"), 2**64 - 1, TICKET, TWO_DEALS), 359),
    (DkgSuccessful(label("task"), 2**64 - 1, TICKET, bytes(48)), 146),
    (ReplaceLeader(label("task"), 2**64 - 1, 2**64 - 1, Reason.MALICIOUS, bytes(96)), 175),
    (Equivocation(label("task"), TICKET, SLOT, bytes(72), SLOT, bytes(72)), 426),
    (ReportMalformed(label("task"), 2**64 - 1, bytes(96)), 158),
    (NodeStatus(label("task"), TICKET, 2**64 - 1, bytes(96)), 191),
    (MessageHistory(label("task"), 2**63, 2**63, label("root"), label("models"), bytes(96)), 234),
    (VerifyCommit(label("block"), TICKET, label("commitment")), 120),
    (CollectVerifications(label("block")), 56),
    (VerifyReveal(label("block"), TICKET, label("precursor"), True, label("salt")), 155),  # noqa: FBT003
    (EvaluateCommit(label("task"), TICKET, label("commitment")), 122),
    (EvaluateReveal(label("task"), TICKET, CONCLUSION, label("salt")), 1445),
    (ChargeForTask(label("task"), f"RESULT:{label('task').hex()}:{label('model').hex()}"), 187),
]
"""The largest data that each type can hold, and its bytes: figures of docs/adr/0002-data-size.md."""


PAID = [PayForTask(definition(), 7), PayForTask(definition(), 7, label("replaced"))]


@pytest.mark.parametrize(("data", "size"), LARGEST, ids=lambda v: type(v).__name__)
def test_the_largest_data_of_each_type_fits(data, size):
    assert len(record.encode_tagged(data)) == size
    assert size <= LIMITS.get(type(data), DATA_SIZE_MAX)
    check_form(replace(TX, data=data))


@pytest.mark.parametrize("data", [d for d, _ in LARGEST] + PAID)
def test_each_type_survives_the_wire(data):
    tx = replace(TX, data=data)
    assert Transaction.decode(tx.encoded) == tx


def test_what_a_transaction_remembers_is_what_its_fields_give():
    tx = Transaction.decode(TX.encoded)
    remembered = (tx.encoded, tx.size, tx.txid, tx.wtxid)
    assert remembered[0] == record.encode(tx)
    assert remembered[1] == len(record.encode(tx))
    assert remembered[3] == sha256(b"\x00" + record.encode(tx)).digest()
    changed = replace(tx, version=2)
    assert (changed.encoded, changed.size, changed.txid, changed.wtxid) != remembered
    assert changed.encoded == record.encode(changed)
    assert tx == replace(tx) == TX, "what is remembered is no part of the value"


def test_the_types_names_are_those_of_the_protocol():
    names = [replace(TX, data=data).kind for data, _ in LARGEST]
    assert names == [
        "TRANSFER",
        "COINBASE",
        "BUY_TICKETS",
        "JOIN_TASK",
        "REVOKE_TASK",
        "DKG_DEAL",
        "DKG_COMPLAINT",
        "DKG_COMPLAINT",
        "DKG_SUCCESSFUL",
        "REPLACE_LEADER",
        "EQUIVOCATION",
        "REPORT_MALFORMED",
        "NODE_STATUS",
        "MESSAGE_HISTORY",
        "VERIFY_COMMIT",
        "COLLECT_VERIFICATIONS",
        "VERIFY_REVEAL",
        "EVALUATE_COMMIT",
        "EVALUATE_REVEAL",
        "CHARGE_FOR_TASK",
    ]


class TestTxid:
    def test_does_not_depend_on_the_witness(self):
        assert replace(TX, witnesses=()).txid == TX.txid
        assert sign(replace(TX, witnesses=()), CHAIN, keys(3).spending).txid == TX.txid

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 2},
            {"inputs": (Outpoint(label("coin"), 1),)},
            {"outputs": (replace(PAY, value=6),)},
            {"outputs": (Stake(5, key_hash(1)),)},
            {"outputs": (PAY, PAY)},
            {"data": CollectVerifications(label("block"))},
        ],
    )
    def test_depends_on_all_else(self, changes):
        assert replace(TX, **changes).txid != TX.txid


class TestSignature:
    def test_is_by_the_key_over_the_txid_and_the_chain(self):
        (witness,) = TX.witnesses
        ecdsa.verify(witness.key, signing_digest(TX, CHAIN), witness.signature)
        assert signing_digest(TX, label("another chain")) != signing_digest(TX, CHAIN)

    def test_stands_for_every_input(self):
        tx = sign(replace(TX, inputs=(COIN, TICKET)), CHAIN, keys(0).spending)
        assert tx.witnesses == (tx.witnesses[0],) * 2


class TestForm:
    def test_a_good_transaction_passes(self):
        check_form(TX)

    @pytest.mark.parametrize(
        ("changes", "rule"),
        [
            ({"version": 0}, "version 0, expected 1"),
            ({"version": 2}, "version 2, expected 1"),
            ({"inputs": tuple(Outpoint(label(i), 0) for i in range(257))}, "too many inputs"),
            ({"outputs": (PAY,) * 1025}, "too many inputs or outputs"),
            ({"inputs": (COIN, COIN)}, "an input is named twice"),
            ({"inputs": ()}, "no inputs"),
            ({"outputs": (replace(PAY, value=0),)}, "value is out of range"),
            ({"outputs": (replace(PAY, value=2**62 + 1),)}, "value is out of range"),
            ({"outputs": (PAY, Stake(0, key_hash(1)))}, "value is out of range"),
            ({"data": JoinTask(label("task"), label("block"), TICKET, bytes(500))}, "larger than 512"),
            ({"data": ChargeForTask(label("task"), "r" * 500)}, "larger than 512"),
            (
                {"data": EvaluateReveal(label(1), TICKET, replace(CONCLUSION, scores=(0,) * 2000), label(2))},
                "larger than 2048",
            ),
            ({"data": PayForTask(definition(name="n" * 16_384), 7)}, "larger than 16384"),
            (
                {"data": DkgDeal(label(1), 0, TICKET, replace(DEAL, shares=DEAL.shares * 3), bytes(72))},
                "larger than 4096",
            ),
            (
                {"data": DkgComplaint(label(1), 0, TICKET, replace(TWO_DEALS, first_signature=bytes(300)))},
                "512",
            ),
            ({"data": Equivocation(label(1), TICKET, SLOT, bytes(800), SLOT, bytes(72))}, "larger than 1024"),
            (
                {"witnesses": (Witness(TX.witnesses[0].key, bytes(TRANSACTION_SIZE_MAX)),)},
                "the transaction is larger than 32768",
            ),
        ],
    )
    def test_each_rule_refuses_what_breaks_it(self, changes, rule):
        with pytest.raises(InvalidTransaction, match=rule):
            check_form(replace(TX, **changes))

    def test_amounts_at_the_limits_pass(self):
        check_form(replace(TX, outputs=(replace(PAY, value=1), replace(PAY, value=2**62))))

    def test_a_task_definition_may_be_larger_than_other_data(self):
        data = PayForTask(definition(name="n" * 10_000), 7)
        assert DATA_SIZE_MAX < len(record.encode_tagged(data)) < PAY_FOR_TASK_SIZE_MAX
        check_form(replace(TX, data=data))


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        (DkgSuccessful(label("task"), 0, TICKET, bytes(48)), {"key": bytes(47)}),
        (ReportMalformed(label("task"), 1, bytes(96)), {"signature": bytes(95)}),
        (NodeStatus(label("task"), TICKET, 2, bytes(96)), {"signature": bytes(95)}),
        (RevokeTask(label("task")), {"task": bytes(31)}),
    ],
)
def test_a_field_of_another_size_is_our_own_fault_to_write(data, changes):
    with pytest.raises(AssertionError):
        record.encode(replace(TX, data=replace(data, **changes)))


@given(st.binary(max_size=400))
def test_any_bytes_give_a_transaction_or_invalid_message(data):
    with contextlib.suppress(InvalidMessage):
        assert record.encode(Transaction.decode(data)) == data


@given(st.sampled_from([d for d, _ in LARGEST]), st.data())
def test_any_change_gives_another_transaction_or_invalid_input(data, draw):
    good = replace(TX, data=data).encoded
    cut = draw.draw(st.integers(0, len(good) - 1))
    with pytest.raises(InvalidMessage):
        Transaction.decode(good[:cut])
    try:
        changed = Transaction.decode(flip(good, draw.draw(st.integers(0, 8 * len(good) - 1))))
        assert record.encode(changed) != good
        check_form(changed)
    except InvalidInput:
        pass


def test_a_transaction_beyond_the_limit_is_refused_unread():
    with pytest.raises(InvalidMessage, match="at most 32768"):
        Transaction.decode(bytes(TRANSACTION_SIZE_MAX + 1))
