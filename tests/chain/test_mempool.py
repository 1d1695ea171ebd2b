"""Targets: only transactions valid one after the other wait; blocks take the best payers, ancestors first."""

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pai.chain import mempool, transition
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.mempool import FEE_RATE_MIN, TEMPLATE_BYTES_MAX, Mempool
from p2pai.chain.params import BLOCK_SIZE_MAX, IT_RES_SIZE_MAX
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import CollectVerifications, Pay, Transaction, Transfer
from p2pai.primitives.errors import InvalidInput, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.assembly import Assembly
from tests.chain.ledger import CLIENT, MINERS, Chain, devnet, key_hash
from tests.chain.play import play


@pytest.fixture
def chain():
    return Chain()


@pytest.fixture
def pool(chain):
    return Mempool(chain.state, chain.params)


def connects(chain, transactions):
    """Check that a template makes a valid block."""
    return chain.connect(chain.draft(transactions=transactions))


class TestAdding:
    def test_keeps_order_and_state(self, chain, pool):
        first = chain.post(CLIENT)
        second = chain.post(CLIENT)
        pool.add(first)
        pool.add(second)
        assert pool.transactions() == (first, second)
        assert (len(pool), first.txid in pool, pool.get(first.txid)) == (2, True, first)
        assert snapshot_id(pool.state) == snapshot_id(chain.pool)
        assert pool.get(ZERO_HASH) is None

    def test_twice(self, chain, pool):
        tx = chain.fund(CLIENT)
        pool.add(tx)
        with pytest.raises(InvalidTransaction, match="known already"):
            pool.add(tx)
        with pytest.raises(InvalidTransaction, match="known already"):
            pool.add(replace(tx, witnesses=()))

    def test_a_double_spend(self, chain, pool):
        pool.add(chain.fund(CLIENT, outputs=(Pay(1, key_hash(8)),)))
        before = pool.state
        with pytest.raises(InvalidTransaction, match="spent already"):
            pool.add(chain.fund(CLIENT, outputs=(Pay(2, key_hash(8)),)))
        assert pool.state is before
        assert len(pool) == 1

    def test_too_little_fee(self, chain, pool):
        size = chain.fund(CLIENT).size
        with pytest.raises(InvalidTransaction, match="the fee is 10 atoms, at least"):
            pool.add(chain.fund(CLIENT, fee=10))
        pool.add(chain.fund(CLIENT, fee=FEE_RATE_MIN * size + 10))

    def test_a_coinbase(self, chain, pool):
        with pytest.raises(InvalidTransaction, match="only at the front"):
            pool.add(replace(chain.draft().transactions[0]))

    def test_the_charge_of_a_task_needs_no_fee(self, chain):
        task_id = chain.start()
        chain.end_training(task_id)
        chain.evaluate(task_id)
        chain.mine()
        pool = Mempool(chain.state, chain.params)
        pool.add(chain.charge(task_id))
        connects(chain, pool.template())

    @pytest.mark.parametrize("limit", ["COUNT_MAX", "SIZE_BYTES_MAX"])
    def test_a_full_pool(self, chain, pool, monkeypatch, limit):
        first, second = chain.post(CLIENT), chain.post(CLIENT)
        size = first.size + second.size + 50
        monkeypatch.setattr(mempool, limit, 2 if limit == "COUNT_MAX" else size)
        pool.add(first)
        pool.add(second)
        with pytest.raises(InvalidTransaction, match="the mempool is full"):
            pool.add(chain.post(CLIENT))


class TestTemplate:
    def test_of_an_empty_pool(self, chain, pool):
        assert pool.template() == ()

    def test_best_payers_come_first_when_room_is_short(self, chain, pool, monkeypatch):
        poor, rich = chain.fund(7, fee=2_000), chain.fund(8, fee=9_000)
        pool.add(poor)
        pool.add(rich)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", rich.size + 10)
        assert pool.template() == (rich,)

    def test_ancestors_stand_before_children(self, chain, pool):
        parent = chain.add(chain.fund(7, outputs=(Pay(10**10, key_hash(9)),), fee=2_000))
        child = chain.add(chain.fund(7, fee=90_000))
        other = chain.add(chain.fund(8, fee=9_000))
        for tx in (parent, child, other):
            pool.add(tx)
        assert pool.template() == (parent, child, other)
        connects(chain, pool.template())

    def test_a_child_pays_for_its_parent(self, chain, pool, monkeypatch):
        parent = chain.add(chain.fund(7, fee=2_000))
        child = chain.add(chain.fund(7, fee=90_000))
        other = chain.add(chain.fund(8, fee=9_000))
        for tx in (other, parent, child):
            pool.add(tx)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", parent.size + child.size + 10)
        assert pool.template() == (parent, child)

    def test_a_package_that_does_not_fit_is_left_out_whole(self, chain, pool, monkeypatch):
        parent = chain.add(chain.fund(7, outputs=tuple(Pay(100, key_hash(9)) for _ in range(50)), fee=5_000))
        child = chain.add(chain.fund(7, fee=90_000))
        other = chain.add(chain.fund(8, fee=3_000))
        for tx in (parent, child, other):
            pool.add(tx)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", parent.size)
        assert pool.template() == (other,)

    def test_reveals_follow_their_commits(self, chain):
        block = chain.mine()
        pool = Mempool(chain.state, chain.params)
        chain.approve(block)
        for tx in chain.queue:
            pool.add(tx)
        assert pool.template() == tuple(chain.queue)
        assert len(pool.template()) == 7

    def test_a_reveal_that_pays_more_takes_its_commit_along(self, chain, monkeypatch):
        block = chain.mine()
        pool = Mempool(chain.state, chain.params)
        other = chain.add(chain.fund(8, fee=3_000))
        commit = chain.add(chain.fund(1, chain.commit(block, 1), fee=2_000))
        collect = chain.add(chain.fund(MINERS[0], CollectVerifications(block.hash), fee=2_000))
        reveal = chain.add(chain.fund(1, chain.reveal(block, 1), fee=900_000))
        for tx in (other, commit, collect, reveal):
            pool.add(tx)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", sum(t.size for t in (commit, collect, reveal)))
        assert pool.template() == (commit, collect, reveal)

    def test_a_charge_goes_first_although_it_pays_nothing(self, chain, monkeypatch):
        task_id = chain.start()
        chain.end_training(task_id)
        chain.evaluate(task_id)
        chain.mine()
        pool = Mempool(chain.state, chain.params)
        pool.add(chain.fund(7, fee=10**6))
        charge = chain.charge(task_id)
        pool.add(charge)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", charge.size)
        assert pool.template() == (charge,)

    def test_tickets_beyond_a_blocks_limit_wait(self, chain, pool):
        first, second, third = chain.buy(7, count=30), chain.buy(8, count=30), chain.buy(9, count=20)
        for tx in (first, second, third):
            pool.add(tx)
        chosen = pool.template()
        assert len(chosen) == 2
        connects(chain, chosen)

    def test_a_full_pool_makes_a_block_that_fits_with_the_largest_proof(self, chain, pool):
        outputs = tuple(Pay(1000 + i, key_hash(9)) for i in range(300))
        for _ in range(4):
            for account in (CLIENT, 7):
                pool.add(chain.add(chain.fund(account, outputs=outputs, fee=50_000)))
        block = connects(chain, pool.template())
        transactions = sum(tx.size for tx in block.transactions)
        assert TEMPLATE_BYTES_MAX * 3 // 4 < transactions < TEMPLATE_BYTES_MAX + 1024
        assert transactions + 3 * IT_RES_SIZE_MAX + 12 * 1024 < BLOCK_SIZE_MAX

    def test_takes_little_time_with_thousands_waiting(self, chain, pool):
        """A miner makes one whenever the pool changed; the old cost grew with the square of the pool."""
        outputs = tuple(Pay(10**6 + i, key_hash(9)) for i in range(1000))
        fan = chain.fund(CLIENT, outputs=outputs, fee=50_000)
        pool.add(fan)
        txid = fan.txid
        for i, output in enumerate(outputs):
            pay = Pay(output.value - 500 - i, key_hash(8))
            pool.add(chain.sign(Transaction(1, (Outpoint(txid, i),), (pay,), Transfer()), 9))
        started = time.process_time()
        chosen = pool.template()
        assert time.process_time() - started < 0.2
        assert chosen[0] == fan
        assert sum(tx.size for tx in chosen) > TEMPLATE_BYTES_MAX - 300
        connects(chain, chosen)


class TestFollowing:
    def test_confirmed_transactions_leave(self, chain, pool):
        first, second = chain.post(CLIENT), chain.post(7)
        pool.add(first)
        pool.add(second)
        connects(chain, (first,))
        pool.rebase(chain.state)
        assert pool.transactions() == (second,)
        connects(chain, pool.template())

    def test_what_became_invalid_leaves(self, chain, pool):
        ours, theirs = (chain.fund(CLIENT, outputs=(Pay(i, key_hash(9)),)) for i in (1, 2))
        pool.add(ours)
        connects(chain, (theirs,))
        pool.rebase(chain.state)
        assert len(pool) == 0
        assert snapshot_id(pool.state) == snapshot_id(chain.state)

    def test_children_of_what_left_leave_too(self, chain, pool):
        ours = chain.add(chain.fund(CLIENT, outputs=(Pay(10**10, key_hash(9)),)))
        pool.add(ours)
        pool.add(chain.add(chain.fund(CLIENT)))
        connects(chain, (Chain().fund(CLIENT, outputs=(Pay(2, key_hash(9)),)),))
        pool.rebase(chain.state)
        assert len(pool) == 0

    def test_transactions_of_undone_blocks_come_back(self, chain):
        chain.post(CLIENT, outputs=(Pay(5, key_hash(9)),))
        first = chain.mine()
        chain.post(CLIENT)
        second = chain.mine()
        other = Chain()
        other.mine(miner=MINERS[1])
        other.mine_until(3)
        tree = BlockTree(devnet())
        for block in (first, second):
            tree.add(block)
        pool = Mempool(tree.state, chain.params)
        switches = [tree.add(block) for block in other.blocks]
        left = next(s.left for s in switches if s.left)
        assert left == (second, first)
        pool.rebase(tree.state, left)
        assert pool.transactions() == (first.transactions[1], second.transactions[1])
        connects(other, pool.template())

    def test_verdicts_whose_window_is_over_leave(self, chain):
        block = chain.mine()
        pool = Mempool(chain.state, chain.params)
        pool.add(chain.fund(1, chain.commit(block, 1)))
        chain.mine_until(3)
        pool.rebase(chain.state)
        assert len(pool) == 0

    @settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(seed=st.integers(0, 2**32))
    def test_every_template_makes_a_valid_block(self, seed):
        chain = Chain()
        pool = Mempool(chain.state, chain.params)
        wild = Assembly()
        play(wild, seed, blocks=6)
        for block in wild.blocks:
            for tx in block.transactions[1:]:
                try:
                    pool.add(tx)
                except InvalidInput:
                    continue
            state = chain.state
            for tx in pool.template():
                state, _ = transition.apply_transaction(state, tx, chain.params)
            connects(chain, pool.template())
            pool.rebase(chain.state)
        chain.check_supply()
