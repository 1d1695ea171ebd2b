"""A node that forgets what it had posted is seen; one whose transactions wait, or are overtaken, is not."""

import pytest

from p2pai import effects, events
from p2pai.node import journal
from p2pai.primitives.ids import PeerId
from testnet.simulator.invariants.restarts import AFTER_MS, Restarts
from testnet.simulator.invariants.step import Broken
from tests.chain.ledger import Chain
from tests.node.parts import Driven, payment

NAME = PeerId("n")


def begun(*, restored):
    """Return a node with a payment of its own in its journal, or without, and what looks at it."""
    tx, restarts = payment(Chain()), Restarts()
    record = journal.write(journal.TransactionPosted(tx.encoded))
    node = Driven(writes=[effects.Persist(1, record)] if restored else [])
    restarts.look(NAME, node.core, events.Started((record,)))
    return node, tx, restarts


def look_later(node, restarts):
    node.core.now_ms += AFTER_MS
    restarts.look(NAME, node.core, events.TimerFired("any"))


def test_a_transaction_that_waits_again_is_fine():
    node, tx, restarts = begun(restored=True)
    assert tx.txid in node.core.ledger.mempool
    look_later(node, restarts)
    assert restarts.looked == 1


def test_a_transaction_that_is_forgotten_is_seen():
    node, _, restarts = begun(restored=False)
    restarts.look(NAME, node.core, events.TimerFired("any"))  # too early
    with pytest.raises(Broken, match="I13: n forgot a TRANSFER that it had posted"):
        look_later(node, restarts)


def test_one_that_was_overtaken_may_be_forgotten():
    node, _, restarts = begun(restored=False)
    node.core.ledger.admit(payment(Chain(), value=2_000))
    look_later(node, restarts)
    assert restarts.looked == 1
