"""Target: whatever is posted, the ledger's money is what a clerk reads off the list of blocks.

Two machines on real chains. In the first, transfers valid and invalid, tickets, verdicts given and kept
back, tasks revoked, replaced and expired, against `Books`. In the second everything that tests/chain/play.py
can do. After every block of both the invariants I1 to I5 and I8 to I10, and an audit of all rows.
"""

import os
from contextlib import suppress
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pai.chain import transition
from p2pai.chain.fraud import NOTHING_JUDGED
from p2pai.chain.state import Stage
from p2pai.chain.transaction import (
    CollectVerifications,
    Pay,
    PayForTask,
    RevokeTask,
    Stake,
    Transaction,
    Transfer,
)
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Outpoint
from testnet.simulator.invariants import Earnings, Step, audit, check_step
from tests.chain import play
from tests.chain.assembly import Assembly
from tests.chain.ledger import ACCOUNTS, CLIENT, MINERS, Chain, definition, devnet, genesis, key_hash, label
from tests.stateful.books import Books

SPEC = replace(devnet(), params=replace(devnet().params, ticket_expiry_blocks=4, join_blocks=4))
EXAMPLES = int(os.environ.get("EXAMPLES", "6"))
"""Histories of each machine; `make stateful EXAMPLES=1000` for long."""

FEW = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
accounts = st.integers(0, ACCOUNTS - 1)
numbers = st.integers(0, 2**32)


class Poor(Exception):
    """An account cannot pay for this."""


class Watched(RuleBasedStateMachine):
    """A machine over a chain, each of whose blocks is checked."""

    chain: Chain

    def begin(self, chain):
        self.chain, self.last = chain, chain.state
        self.earnings = Earnings(is_supervised=False)

    def check_block(self):
        step = Step(self.last, self.chain.blocks[-1], self.chain.state, self.chain.params)
        check_step(step)
        self.earnings.see(step)
        audit(self.chain.state)
        self.last = self.chain.state


class MoneyMachine(Watched):
    @initialize()
    def start(self):
        self.begin(Chain(SPEC))
        self.salt = 0

    def books(self):
        return Books(genesis(SPEC), SPEC.params, self.chain.blocks, self.chain.queue)

    def coin(self, pick):
        """Return any output, or one that is not there."""
        known = sorted(self.chain.pool.utxos)
        return known[pick % len(known)] if pick % 17 else Outpoint(label(pick), 0)

    @rule(signer=accounts, picks=st.lists(numbers, max_size=3), own=st.booleans(), values=st.data())
    def transfer(self, signer, picks, own, values):
        """Spend any outputs, own or others', locked, spent or twice, for more or less than they are."""
        mine = [o for o, c in sorted(self.chain.pool.utxos.items()) if c.key_hash == key_hash(signer)]
        inputs = tuple(mine[p % len(mine)] if own and mine else self.coin(p) for p in picks)
        total = sum(o.value for o in map(self.chain.pool.utxos.get, inputs) if o)
        shares = values.draw(st.lists(st.integers(0, max(1, total)), min_size=1, max_size=3))
        outputs = tuple(Pay(value, key_hash(i)) for i, value in enumerate(shares))
        tx = self.chain.sign(Transaction(1, inputs, outputs, Transfer()), signer)
        expected = self.books().accepts(inputs, shares, key_hash(signer))
        assert self.is_taken(tx) == expected, f"the books say {expected}"

    def rich(self, make, account, *given, **named):
        """Make a transaction for an account that can pay for it."""
        try:
            return make(account, *given, **named)
        except AssertionError as error:
            raise Poor from error

    def post(self, account, data, outputs=()):
        with suppress(Poor):
            self.is_taken(self.rich(self.chain.fund, account, data, outputs))

    def is_taken(self, tx):
        try:
            self.chain.add(tx)
        except InvalidInput:
            return False
        return True

    @rule(account=accounts, role=st.sampled_from(["miner", "evaluator", "verifier"]), count=st.integers(1, 3))
    def buy(self, account, role, count):
        with suppress(Poor):
            self.is_taken(self.rich(self.chain.buy, account, role, count=count))

    @rule(fee=st.integers(1, 10**6))
    def submit(self, fee):
        self.salt += 1
        self.post(CLIENT, self.task(), (Stake(fee, key_hash(CLIENT)),))

    def task(self, replaces=None):
        return PayForTask(definition(name=f"task {self.salt}"), self.chain.state.times[0], replaces)

    @precondition(lambda self: self.joining())
    @rule(pick=numbers, again=st.booleans())
    def revoke(self, pick, again):
        task_id = self.joining()[pick % len(self.joining())]
        if not again:
            self.post(CLIENT, RevokeTask(task_id))
            return
        self.salt += 1
        old = self.chain.task(task_id)
        outputs = (Stake(old.fee, key_hash(CLIENT)),)
        tx = Transaction(1, (old.stake,), outputs, self.task(task_id))
        self.chain.add(self.chain.sign(tx, CLIENT))

    def joining(self):
        return [i for i, t in self.chain.pool.active_tasks() if t.stage is Stage.JOINING]

    @precondition(lambda self: self.joining())
    @rule(pick=numbers, account=st.sampled_from(MINERS))
    def join(self, pick, account):
        """Apply; only miners do, so that the task expires."""
        if self.chain.tickets("miner", account):
            task_id = self.joining()[pick % len(self.joining())]
            with suppress(Poor):
                self.is_taken(self.rich(lambda a: self.chain.join(task_id, "miner", a), account))

    @precondition(lambda self: self.chain.blocks)
    @rule(pick=numbers, told=st.integers(0, 3), approved=st.booleans())
    def verify(self, pick, told, approved):
        """Let some of a block's verifiers commit, and some of those reveal."""
        block = self.chain.blocks[-1 - pick % min(3, len(self.chain.blocks))]
        opened = self.chain.pool.verifications.get(block.hash)
        for ticket in opened.verifiers if opened else ():
            account = self.chain.account(ticket)
            self.post(account, self.chain.commit(block, account, approved=approved, ticket=ticket))
        if opened:
            miner = next(a for a in range(ACCOUNTS) if key_hash(a) == opened.miner)
            self.post(miner, CollectVerifications(block.hash))
        for ticket in opened.verifiers[:told] if opened else ():
            account = self.chain.account(ticket)
            self.post(account, self.chain.reveal(block, account, approved=approved, ticket=ticket))

    @rule(miner=st.sampled_from(MINERS))
    def mine(self, miner):
        self.chain.mine(miner=miner)
        self.check_block()

    @invariant()
    def the_books_agree(self):
        books, pool = self.books(), self.chain.pool
        mine = {o: (c.value, c.owner, c.is_stake) for o, c in books.coins.items()}
        theirs = {o: (c.value, c.key_hash, isinstance(c, Stake)) for o, c in pool.utxos.items()}
        assert mine == theirs
        assert sorted(books.tickets) == sorted(pool.tickets)
        assert books.bound == {o: t.task for o, t in pool.tickets.items() if t.task is not None}
        assert (books.issued, books.burned, books.weight) == (pool.issued, pool.burned, pool.weight)
        assert {b: o.verifiers for b, o in books.opened.items()} == {
            b: v.verifiers for b, v in pool.verifications.items()
        }


class EverythingMachine(Watched):
    @initialize(is_young=st.booleans())
    def start(self, is_young):
        self.begin(Assembly(SPEC) if is_young else Assembly.training(4, reserves=1, expected_blocks=20))
        self.salt = 0

    @rule(action=st.sampled_from(play.ACTIONS), seed=numbers)
    def act(self, action, seed):
        self.salt += 1
        play.attempt(self.chain, Random(seed), action, self.salt)

    @rule(seed=numbers)
    def mine(self, seed):
        play.mine(self.chain, Random(seed))
        self.check_block()

    @rule(pick=numbers)
    def post_what_was_posted_before(self, pick):
        """A transaction that is in the chain is in it once: its inputs are spent."""
        old = [tx for block in self.chain.blocks[-3:] for tx in block.transactions[1:]]
        if old:
            tx = old[pick % len(old)]
            try:
                transition.apply_transaction(self.chain.pool, tx, self.chain.params, judged=NOTHING_JUDGED)
            except InvalidInput:
                return
            raise AssertionError(f"{tx.kind} is valid twice")


TestMoney = MoneyMachine.TestCase
TestMoney.settings = FEW
TestEverything = EverythingMachine.TestCase
TestEverything.settings = FEW
