"""Targets: only transactions valid one after the other wait; blocks take the best payers, ancestors first."""

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pai.chain import mempool, template, transition
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.mempool import FEE_RATE_MIN, TEMPLATE_BYTES_MAX, Mempool
from p2pai.chain.packages import PACKAGE_BYTES_MAX, PACKAGE_COUNT_MAX
from p2pai.chain.params import BLOCK_SIZE_MAX, IT_RES_SIZE_MAX
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import CollectVerifications, Pay, Transaction, Transfer
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, InvalidProof, InvalidTransaction, Unavailable
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.assembly import Assembly
from tests.chain.ledger import CLIENT, MINERS, VERIFIERS, Chain, devnet, genesis, key_hash
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
        with pytest.raises(InvalidTransaction, match="spent already by a transaction that pays as much"):
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

    def test_an_unknown_input(self, chain, pool):
        tx = chain.sign(Transaction(1, (Outpoint(ZERO_HASH, 0),), (Pay(1, key_hash(8)),), Transfer()), CLIENT)
        with pytest.raises(InvalidTransaction, match="an input is unknown or spent already"):
            pool.add(tx)
        assert pool.missing(tx) == Outpoint(ZERO_HASH, 0)
        assert pool.missing(chain.fund(CLIENT)) is None


def bump(chain, tx, account, fee):
    """Return a transaction in another's place that pays so much more."""
    *others, change = tx.outputs
    paid = (*others, Pay(change.value - fee, change.key_hash))
    return chain.sign(replace(tx, outputs=paid, witnesses=()), account)


def fanned(chain, count, fee=500):
    """Return a pool with so many independent transfers, each pays 20 atoms more than the last, and them."""
    outputs = tuple(Pay(10**6 + i, key_hash(9)) for i in range(count))
    fan = chain.fund(CLIENT, outputs=outputs, fee=50_000)
    connects(chain, (fan,))
    pool = Mempool(chain.state, chain.params)
    waiting = []
    for i, output in enumerate(outputs):
        pay = Pay(output.value - fee - 20 * i, key_hash(8))
        waiting.append(chain.sign(Transaction(1, (Outpoint(fan.txid, i),), (pay,), Transfer()), 9))
        pool.add(waiting[-1])
    return pool, waiting


def richer(tx, i):
    """Return a transfer of `fanned` that pays much more, unsigned."""
    return replace(tx, outputs=(Pay(10**5 + i, key_hash(8)),), witnesses=())


class TestReplacing:
    def test_who_pays_more_takes_the_place(self, chain, pool):
        old = chain.fund(CLIENT, outputs=(Pay(5, key_hash(8)),))
        new = bump(chain, old, CLIENT, 1_000)
        pool.add(old)
        pool.add(new)
        assert pool.transactions() == (new,)
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, new))
        assert pool.size == new.size
        connects(chain, pool.template())

    def test_children_of_what_is_replaced_leave(self, chain, pool):
        old = chain.fund(CLIENT)
        child = chain.add(old) and chain.fund(CLIENT)
        other = chain.fund(7)
        new = bump(chain, old, CLIENT, 10_000)
        for tx in (old, child, other, new):
            pool.add(tx)
        assert pool.transactions() == (other, new)
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, other, new))

    def test_two_are_replaced_by_one(self, chain, pool):
        first, second = chain.fund(CLIENT), chain.fund(7)
        both = Transaction(1, first.inputs + second.inputs, (Pay(10**10, key_hash(9)),), Transfer())
        signed = [chain.sign(both, account).witnesses[i] for i, account in enumerate((CLIENT, 7))]
        for tx in (first, second, replace(both, witnesses=tuple(signed))):
            pool.add(tx)
        assert len(pool) == 1

    @pytest.mark.parametrize("kind", ["tickets", "transfer before tickets"])
    def test_protocol_data_go_with_it(self, chain, pool, kind):
        """Tickets that nobody bought leave the pool's state."""
        waiting = [chain.post(CLIENT)] if kind == "transfer before tickets" else []
        waiting.append(chain.add(chain.buy(CLIENT, count=2)))
        for tx in waiting:
            pool.add(tx)
        old = waiting[0]
        other = chain.fund(7, outputs=(Pay(9, key_hash(8)),))
        pool.add(other)
        new = chain.sign(Transaction(1, old.inputs, (Pay(10**9, key_hash(CLIENT)),), Transfer()), CLIENT)
        pool.add(new)
        assert pool.transactions() == (other, new)
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, other, new))

    def test_at_most_so_many(self, chain, pool, monkeypatch):
        monkeypatch.setattr(mempool, "EVICTED_MAX", 3)
        old = chain.fund(CLIENT)
        pool.add(chain.add(old))
        for _ in range(2):
            pool.add(chain.post(CLIENT))
        assert [len(pool), pool.add(bump(chain, old, CLIENT, 10**6)), len(pool)] == [3, None, 1]
        pool = Mempool(chain.state, chain.params)
        for tx in (old, *chain.queue[1:], chain.post(CLIENT)):
            pool.add(tx)
        with pytest.raises(InvalidTransaction, match="it would replace 4 transactions, more than 3"):
            pool.add(bump(chain, old, CLIENT, 10**7))
        assert len(pool) == 4

    def test_it_pays_more_per_byte_than_each(self, chain, pool):
        old = chain.fund(CLIENT, fee=2_000)
        large = tuple(Pay(10 + i, key_hash(9)) for i in range(40))
        pool.add(old)
        with pytest.raises(InvalidTransaction, match="pays as much per byte"):
            pool.add(chain.fund(CLIENT, outputs=large, fee=8_000))
        pool.add(chain.fund(CLIENT, outputs=large, fee=20_000))
        assert len(pool) == 1

    def test_it_pays_for_all_that_leave_and_for_itself(self, chain, pool):
        old = chain.fund(CLIENT, fee=2_000)
        pool.add(chain.add(old))
        pool.add(chain.post(CLIENT))
        with pytest.raises(InvalidTransaction, match=r"4100 atoms, at least 4\d+ are needed to"):
            pool.add(bump(chain, old, CLIENT, 2_100))
        assert len(pool) == 2
        pool.add(bump(chain, old, CLIENT, 2_300))
        assert len(pool) == 1

    def test_it_spends_no_new_output_that_waits(self, chain, pool):
        old, other = chain.fund(CLIENT), chain.fund(7)
        pool.add(old)
        pool.add(other)
        both = Transaction(1, (*old.inputs, Outpoint(other.txid, 0)), (Pay(10**10, key_hash(9)),), Transfer())
        with pytest.raises(InvalidTransaction, match="spends no new output that waits"):
            pool.add(chain.sign(both, CLIENT))

    def test_but_one_that_the_replaced_spent_too(self, chain, pool):
        parent = chain.add(chain.fund(CLIENT))
        old = chain.fund(CLIENT)
        for tx in (parent, old, bump(chain, old, CLIENT, 1_000)):
            pool.add(tx)
        assert len(pool) == 2

    def test_it_spends_nothing_of_what_it_replaces(self, chain, pool):
        old = chain.fund(CLIENT)
        pool.add(old)
        both = Transaction(1, (*old.inputs, Outpoint(old.txid, 0)), (Pay(10**10, key_hash(9)),), Transfer())
        with pytest.raises(InvalidTransaction, match="an output of a transaction that it would replace"):
            pool.add(chain.sign(both, CLIENT))

    def test_nobody_commits_twice_for_one_place(self, chain):
        block = chain.mine()
        pool = Mempool(chain.state, chain.params)
        commit = chain.fund(1, chain.commit(block, 1))
        pool.add(commit)
        before = pool.state
        with pytest.raises(InvalidInput):
            pool.add(bump(chain, commit, 1, 10**6))
        assert pool.state is before
        assert pool.transactions() == (commit,)

    def test_a_wrong_signature_replaces_nothing(self, chain, pool):
        old = chain.fund(CLIENT)
        pool.add(old)
        new = bump(chain, old, CLIENT, 10**6)
        with pytest.raises(InvalidProof):
            pool.add(replace(new, witnesses=old.witnesses))
        assert pool.transactions() == (old,)


def alone(chain, *transactions):
    """Return the state that transactions alone lead to from the tip."""
    return transition.apply_transactions(chain.state, transactions, chain.params)[0]


class TestLimits:
    def test_of_ancestors(self, chain, pool):
        for _ in range(PACKAGE_COUNT_MAX):
            pool.add(chain.post(CLIENT))
        with pytest.raises(InvalidTransaction, match="has too many descendants waiting"):
            pool.add(chain.post(CLIENT))
        assert len(pool) == PACKAGE_COUNT_MAX

    def test_of_ancestors_by_two_branches(self, chain, pool):
        """No ancestor has too many descendants, but the newcomer would have too many ancestors."""
        made = []
        for account in (CLIENT, 7):
            for _ in range(PACKAGE_COUNT_MAX // 2 + 1):
                made.append(chain.post(account))
                pool.add(made[-1])
        last = made[PACKAGE_COUNT_MAX // 2], made[-1]
        inputs = tuple(Outpoint(tx.txid, 0) for tx in last)
        both = Transaction(1, inputs, (Pay(10**10, key_hash(9)),), Transfer())
        signed = tuple(chain.sign(both, account).witnesses[0] for account in (CLIENT, 7))
        with pytest.raises(InvalidTransaction, match="it depends on too many transactions that wait"):
            pool.add(replace(both, witnesses=signed))

    def test_of_bytes(self, chain, pool):
        outputs = tuple(Pay(1_000 + i, key_hash(9)) for i in range(900))
        for _ in range(PACKAGE_BYTES_MAX // chain.fund(CLIENT, outputs=outputs, fee=50_000).size):
            pool.add(chain.add(chain.fund(CLIENT, outputs=outputs, fee=50_000)))
        with pytest.raises(InvalidTransaction, match="too many descendants"):
            pool.add(chain.add(chain.fund(CLIENT, outputs=outputs, fee=50_000)))

    def test_what_is_replaced_does_not_count(self, chain, pool):
        for _ in range(PACKAGE_COUNT_MAX):
            pool.add(chain.post(CLIENT))
        pool.add(bump(chain, chain.queue[-1], CLIENT, 1_000))
        assert len(pool) == PACKAGE_COUNT_MAX

    def test_duties_do_not_count(self, chain):
        """A verifier pays for each out of the change of the last, whatever many blocks wait for it."""
        blocks = [chain.mine() for _ in range(2)]
        pool = Mempool(chain.state, chain.params)
        for _ in range(PACKAGE_COUNT_MAX):
            pool.add(chain.post(1))
        for block in blocks:
            pool.add(chain.add(chain.fund(1, chain.commit(block, 1))))
        assert len(pool) == PACKAGE_COUNT_MAX + 2
        with pytest.raises(InvalidTransaction, match="too many"):
            pool.add(chain.fund(1))


class TestFullPool:
    @pytest.fixture
    def full(self, chain, monkeypatch):
        """A pool with room for ten, and its ten transfers, the poorest first."""
        pool, waiting = fanned(chain, 10)
        monkeypatch.setattr(mempool, "COUNT_MAX", 10)
        return pool, waiting

    def test_the_poorest_leaves(self, chain, full):
        pool, waiting = full
        rich = chain.fund(7, fee=9_000)
        pool.add(rich)
        assert pool.transactions() == (*waiting[1:], rich)
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, *waiting[1:], rich))

    def test_by_bytes_too(self, chain, full, monkeypatch):
        pool, waiting = full
        monkeypatch.setattr(mempool, "COUNT_MAX", 100)
        rich = chain.fund(7, fee=9_000)
        monkeypatch.setattr(mempool, "SIZE_BYTES_MAX", pool.size + 10)
        pool.add(rich)
        assert pool.transactions() == (*waiting[2:], rich)
        assert pool.size <= mempool.SIZE_BYTES_MAX

    def test_who_pays_least_is_refused_and_told_what_it_takes(self, chain, full):
        pool, waiting = full
        poor = chain.fund(7, fee=300)
        with pytest.raises(InvalidTransaction, match="the mempool is full; it takes 2 atoms per byte now"):
            pool.add(poor)
        assert pool.transactions() == tuple(waiting)
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, *waiting))
        with pytest.raises(InvalidTransaction, match=f"at least {2 * poor.size} are needed"):
            pool.add(poor)

    def test_a_child_that_pays_keeps_its_parent(self, chain, full):
        pool, waiting = full
        child = chain.sign(
            Transaction(1, (Outpoint(waiting[0].txid, 0),), (Pay(10**5, key_hash(9)),), Transfer()), 8
        )
        pool.add(child)
        assert pool.transactions() == (waiting[0], *waiting[2:], child)

    def test_a_parent_leaves_with_its_children(self, chain, full):
        pool, waiting = full
        pay = Pay(waiting[0].outputs[0].value - 600, key_hash(9))
        pool.add(chain.sign(Transaction(1, (Outpoint(waiting[0].txid, 0),), (pay,), Transfer()), 8))
        assert waiting[1].txid not in pool
        assert waiting[0].txid in pool
        pool.add(chain.fund(7, fee=9_000))
        pool.add(chain.fund(6, fee=9_000))
        assert waiting[0].txid not in pool
        assert pool.get(waiting[0].txid) is None

    def test_a_part_is_freed_at_once(self, chain, monkeypatch):
        monkeypatch.setattr(mempool, "SPARE_PERCENT", 30)
        pool, waiting = fanned(chain, 10)
        monkeypatch.setattr(mempool, "COUNT_MAX", 10)
        rich = chain.fund(7, fee=9_000)
        pool.add(rich)
        assert pool.transactions() == (*waiting[4:], rich)
        assert pool.fee_rate_min == 560 // waiting[3].size + FEE_RATE_MIN

    def test_duties_stay_and_get_in(self, chain, monkeypatch):
        pool, _ = fanned(chain, 5, fee=10**4)
        block = chain.blocks[-1]
        monkeypatch.setattr(mempool, "COUNT_MAX", 3)
        commits = [
            chain.add(chain.fund(account, chain.commit(block, account), fee=400)) for account in VERIFIERS
        ]
        for tx in commits:
            pool.add(tx)
        assert pool.transactions() == tuple(commits)
        with pytest.raises(InvalidTransaction, match="the mempool is full"):
            pool.add(chain.fund(7, fee=10**6))
        assert pool.transactions() == tuple(commits)
        assert pool.fee_rate_min > 10

    def test_protocol_data_leave_the_state(self, chain, full):
        pool, waiting = full
        bought = chain.buy(7)
        pool.add(bought)
        tickets = len(pool.state.tickets)
        for i, tx in enumerate(waiting[1:]):
            pool.add(chain.sign(richer(tx, i), 9))
        assert bought.txid in pool
        pool.add(chain.fund(8, fee=90_000))
        assert bought.txid not in pool
        assert len(pool.state.tickets) == tickets - 1
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, *pool.transactions()))

    def test_the_rate_falls_again_with_the_blocks(self, chain, full):
        pool, _ = full
        pool.fee_rate_min = 1_000
        rates = []
        for _ in range(70):
            pool.rebase(replace(pool._tip, height=pool._tip.height + 1))
            rates.append(pool.fee_rate_min)
        assert rates[:2] == [875, 765]
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] == FEE_RATE_MIN
        pool.fee_rate_min = 1_000
        pool.rebase(replace(pool._tip, height=pool._tip.height - 1))
        assert pool.fee_rate_min == 1_000


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
        chosen = pool.template()
        assert sorted(tx.txid for tx in chosen) == sorted(tx.txid for tx in chain.queue)
        assert len(chosen) == 7
        connects(chain, chosen)

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

    def test_a_full_pool_makes_a_block_that_fits_with_the_largest_proof(self, chain, pool, monkeypatch):
        assert TEMPLATE_BYTES_MAX + 3 * IT_RES_SIZE_MAX + 12 * 1024 < BLOCK_SIZE_MAX
        most = 48 * 1024
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", most)
        outputs = tuple(Pay(1000 + i, key_hash(9)) for i in range(300))
        for _ in range(4):
            for account in (CLIENT, 7):
                pool.add(chain.add(chain.fund(account, outputs=outputs, fee=50_000)))
        block = connects(chain, pool.template())
        transactions = sum(tx.size for tx in block.transactions)
        assert most * 3 // 4 < transactions < most + 1024

    def test_takes_little_time_with_thousands_waiting(self, chain):
        """A miner makes one whenever the pool changed; the old cost grew with the square of the pool."""
        pool, _ = fanned(chain, 1000)
        started = time.process_time()
        chosen = pool.template()
        assert time.process_time() - started < 0.3
        assert len(chosen) == 1000
        connects(chain, chosen)

    def test_duties_go_before_transfers_that_pay_more(self, chain, monkeypatch):
        block = chain.mine()
        pool = Mempool(chain.state, chain.params)
        rich = [chain.add(chain.fund(account, fee=10**6)) for account in (CLIENT, 7, 8)]
        commits = [chain.add(chain.fund(account, chain.commit(block, account))) for account in VERIFIERS]
        for tx in (*rich, *commits):
            pool.add(tx)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", sum(tx.size for tx in commits))
        assert sorted(tx.txid for tx in pool.template()) == sorted(tx.txid for tx in commits)

    def test_a_duty_drags_no_junk_along_before_other_duties(self, chain, monkeypatch):
        """What its own money comes from counts with it, so that its place in line is the worse the larger."""
        block = chain.mine()
        pool = Mempool(chain.state, chain.params)
        junk = chain.add(
            chain.fund(1, outputs=tuple(Pay(100 + i, key_hash(9)) for i in range(200)), fee=10**4)
        )
        dragging = chain.add(chain.fund(1, chain.commit(block, 1)))
        honest = chain.add(chain.fund(2, chain.commit(block, 2)))
        for tx in (junk, dragging, honest):
            pool.add(tx)
        assert dragging.inputs[0].txid == junk.txid
        assert pool.template() == (honest, junk, dragging)

    def test_what_the_ledger_refuses_is_left_out_and_the_rest_goes_in(self, chain, pool):
        """Should the state change without notice: no waiting transaction can spoil a block."""
        good, bad = chain.add(chain.fund(7)), chain.fund(8, fee=90_000)
        pool.add(good)
        pool.add(bad)
        pool._tip = replace(pool._tip, utxos=pool._tip.utxos.delete(bad.inputs[0]))
        assert pool.template() == (good,)

    def test_a_block_is_full_after_many_packages_that_do_not_fit(self, chain, monkeypatch):
        pool, waiting = fanned(chain, 30)
        small = min(tx.size for tx in waiting)
        monkeypatch.setattr(mempool, "TEMPLATE_BYTES_MAX", small - 1)
        monkeypatch.setattr(template, "MISSES_MAX", 5)
        offered = []
        monkeypatch.setattr(template, "package_rate", lambda own, above: offered.append(own) or 0)
        assert pool.template() == ()
        assert len(offered) == 7


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

    def test_what_waits_too_long_leaves_with_its_children(self, chain, pool, monkeypatch):
        monkeypatch.setattr(mempool, "EXPIRY_BLOCKS", 2)
        old = chain.add(chain.fund(CLIENT))
        child = chain.fund(CLIENT)
        pool.add(old)
        chain.queue.clear()
        chain.mine()
        pool.rebase(chain.state)
        young = chain.fund(7)
        pool.add(child)
        pool.add(young)
        chain.mine()
        pool.rebase(chain.state)
        assert pool.transactions() == (young,)
        assert snapshot_id(pool.state) == snapshot_id(alone(chain, young))

    def test_children_of_what_is_confirmed_stay(self, chain, pool):
        parent, child = chain.post(CLIENT), chain.post(CLIENT)
        grandchild = chain.post(CLIENT)
        for tx in (parent, child, grandchild):
            pool.add(tx)
        connects(chain, (parent,))
        pool.rebase(chain.state)
        assert pool.transactions() == (child, grandchild)
        assert pool.template() == (child, grandchild)

    def test_no_signature_is_checked_again(self, chain, pool, monkeypatch):
        waiting = [chain.post(account) for account in (CLIENT, 7, 8)]
        waiting.append(chain.add(chain.buy(CLIENT)))
        for tx in waiting:
            pool.add(tx)
        chain.queue.clear()
        block = chain.mine()
        monkeypatch.setattr(ecdsa, "verify", lambda *_: pytest.fail("a signature was checked again"))
        pool.rebase(chain.state)
        pool.rebase(genesis(chain.spec), (block,))
        assert pool.transactions() == tuple(waiting)

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
                except (InvalidInput, Unavailable):
                    continue
            state = chain.state
            for tx in pool.template():
                state, _ = transition.apply_transaction(state, tx, chain.params)
            connects(chain, pool.template())
            pool.rebase(chain.state)
        chain.check_supply()
