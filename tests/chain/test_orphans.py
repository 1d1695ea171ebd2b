"""Targets: an orphan is tried when what it waits for comes, and only then; count and bytes are bounded; what
can never become valid is not kept.
"""

from dataclasses import replace

import pytest

from p2pai.chain import orphans
from p2pai.chain.orphans import Orphans
from p2pai.chain.transaction import CollectVerifications, Pay, PayForTask, RevokeTask, Stake
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import CLIENT, Chain, definition, key_hash, label


@pytest.fixture
def chain():
    return Chain()


def waiting_for(chain, outpoint, account=CLIENT):
    """Return a transfer that spends an output, which need not exist."""
    return replace(chain.fund(account), inputs=(outpoint,))


class TestWaking:
    def test_by_the_missing_output_alone(self, chain):
        kept, parent = Orphans(), chain.fund(CLIENT, outputs=(Pay(5, key_hash(8)),))
        child, other = (waiting_for(chain, Outpoint(txid, 1)) for txid in (parent.txid, label("other")))
        beyond = waiting_for(chain, Outpoint(parent.txid, 2))
        for tx in (child, other, beyond):
            kept.keep(tx, tx.inputs[0])
        assert kept.woken_by(parent) == [child]

    def test_by_news_of_its_block(self, chain):
        first, second = chain.mine(), chain.mine()
        kept, reveal = Orphans(), chain.fund(1, chain.commit(first, 1))
        kept.keep(reveal, None)
        assert kept.woken_by(chain.fund(4, CollectVerifications(first.hash))) == [reveal]
        assert kept.woken_by(chain.fund(4, CollectVerifications(second.hash))) == []

    def test_by_the_task_that_it_is_about(self, chain):
        post = chain.fund(
            CLIENT, PayForTask(definition(), chain.state.times[0]), (Stake(1_000_000, key_hash(CLIENT)),)
        )
        kept, revoke = Orphans(), chain.fund(7, RevokeTask(post.txid))
        kept.keep(revoke, None)
        assert kept.woken_by(post) == [revoke]

    def test_at_a_new_tip_those_whose_output_is_there_and_those_that_miss_none(self, chain):
        kept, block = Orphans(), chain.mine()
        there, missing = chain.fund(CLIENT), waiting_for(chain, Outpoint(label("missing"), 0))
        about = chain.fund(1, chain.commit(block, 1))
        kept.keep(there, there.inputs[0])
        kept.keep(missing, missing.inputs[0])
        kept.keep(about, None)
        assert kept.woken_at(chain.state) == [there, about]

    def test_one_that_waits_for_something_else_now(self, chain):
        kept, first, second = Orphans(), chain.fund(CLIENT), chain.fund(7)
        both = replace(chain.fund(8), inputs=(Outpoint(first.txid, 0), Outpoint(second.txid, 0)))
        kept.keep(both, both.inputs[0])
        kept.keep(both, both.inputs[1])
        assert kept.woken_by(first) == []
        assert kept.woken_by(second) == [both]
        assert (len(kept), kept.size) == (1, both.size)


class TestBounds:
    def test_the_oldest_make_room(self, chain, monkeypatch):
        monkeypatch.setattr(orphans, "COUNT_MAX", 3)
        kept = Orphans()
        made = [waiting_for(chain, Outpoint(label("missing"), i)) for i in range(5)]
        for tx in made:
            kept.keep(tx, tx.inputs[0])
        assert [tx.wtxid in kept for tx in made] == [False, False, True, True, True]
        assert kept.size == sum(tx.size for tx in made[2:])

    def test_of_bytes(self, chain, monkeypatch):
        kept = Orphans()
        made = [waiting_for(chain, Outpoint(label("missing"), i)) for i in range(5)]
        monkeypatch.setattr(orphans, "SIZE_BYTES_MAX", made[3].size + made[4].size)
        for tx in made:
            kept.keep(tx, tx.inputs[0])
        assert [tx.wtxid in kept for tx in made] == [False, False, False, True, True]

    def test_a_transfer_that_misses_nothing_is_not_kept_and_one_that_was_is_let_go(self, chain):
        kept, tx = Orphans(), chain.fund(CLIENT)
        kept.keep(tx, None)
        assert len(kept) == 0
        kept.keep(tx, tx.inputs[0])
        kept.keep(tx, None)
        assert (len(kept), kept.size) == (0, 0)
        kept.remove(tx)

    def test_the_older_half_is_forgotten(self, chain):
        kept = Orphans()
        made = [waiting_for(chain, Outpoint(label("missing"), i)) for i in range(5)]
        for tx in made:
            kept.keep(tx, tx.inputs[0])
        kept.forget_older_half()
        assert [tx.wtxid in kept for tx in made] == [False, False, False, True, True]
        assert kept.woken_by(made[0]) == []
