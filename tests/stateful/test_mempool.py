"""Target: whatever comes in whatever order, the mempool is what a list recomputed from scratch is.

Transfers of everybody's coins, waiting ones too, conflicts, tickets, verdicts on a block; new tips that
confirm some of them or spend their inputs otherwise, and reorganisations. After every step: the same
transactions, the same state, the same least fee rate, the same template; I16: counts within their limits;
I18: all are valid on the tip.
"""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from p2pai.chain import mempool, packages, transition
from p2pai.chain.block import Block
from p2pai.chain.mempool import Mempool
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import CollectVerifications, Pay, Stake, Transaction, Transfer
from p2pai.primitives.errors import InvalidInput
from tests.chain.ledger import ACCOUNTS, MINERS, Chain, key_hash
from tests.stateful.pool_model import PoolModel, Refused

LIMITS = {
    "COUNT_MAX": 6,
    "SIZE_BYTES_MAX": 3_500,
    "EVICTED_MAX": 3,
    "EXPIRY_BLOCKS": 4,
    "TEMPLATE_BYTES_MAX": 1_200,
}
PACKAGE = {"PACKAGE_COUNT_MAX": 4, "PACKAGE_BYTES_MAX": 1_500}
OWNERS = {key_hash(account): account for account in range(ACCOUNTS)}
accounts = st.integers(0, ACCOUNTS - 1)
numbers = st.integers(0, 10**6)
fees = st.sampled_from([200, 300, 400, 700, 1_000, 2_500, 9_000])


@cache
def one_block():
    """A chain of one block, on which verifiers may commit."""
    chain = Chain()
    chain.mine()
    return chain


class MempoolMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, limits in ((mempool, LIMITS), (packages, PACKAGE)):
            for name, value in limits.items():
                self.patch.setattr(module, name, value)
        self.chain = one_block().fork()
        self.params = self.chain.params
        self.states, self.blocks = [self.chain.state], []
        self.pool = Mempool(self.chain.state, self.params)
        self.model = PoolModel(self.chain.state, self.params)
        self.seen = []

    def teardown(self):
        self.patch.undo()

    @initialize(paid=st.lists(fees, min_size=5, max_size=5))
    def crowd(self, paid):
        """The pool is nearly full from the start, or its limits were seldom met."""
        self.chain.pool = self.chain.state
        for account, fee in enumerate(paid, start=5):
            self.offer(self.chain.fund(account, fee=fee))

    def offer(self, tx):
        self.seen.append(tx)
        try:
            self.pool.add(tx)
            taken = True
        except InvalidInput:
            taken = False
        try:
            self.model.add(tx)
            expected = True
        except Refused:
            expected = False
        assert taken is expected

    def coins(self):
        """Return the coins that a transaction may spend, those of the poor accounts too."""
        found = ((o, c) for o, c in self.pool.state.utxos.items() if isinstance(c, Pay) and c.value > 10**5)
        return sorted(found)

    @rule(pick=numbers, count=st.integers(1, 3), fee=fees, to=accounts)
    def transfer(self, pick, count, fee, to):
        coins = self.coins()
        outpoint, coin = coins[pick % len(coins)]
        share = (coin.value - fee) // count
        rest = coin.value - fee - share * (count - 1)
        outputs = (*(Pay(share, key_hash(to)) for _ in range(count - 1)), Pay(rest, coin.key_hash))
        self.offer(self.chain.sign(Transaction(1, (outpoint,), outputs, Transfer()), OWNERS[coin.key_hash]))

    @rule(pick=numbers, fee=fees)
    def chain_of_two(self, pick, fee):
        """Spend what a waiting one made, with another coin of the same owner if there is one."""
        waiting = self.pool.transactions()
        makers = {tx.txid for tx in waiting}
        coins = [(o, c) for o, c in self.coins() if o.txid in makers]
        if coins:
            first, coin = coins[pick % len(coins)]
            mine = [(o, c) for o, c in self.coins() if o != first and c.key_hash == coin.key_hash]
            spent = [(first, coin), *mine[: pick % 2]]
            output = Pay(sum(c.value for _, c in spent) - fee, coin.key_hash)
            tx = Transaction(1, tuple(o for o, _ in spent), (output,), Transfer())
            self.offer(self.chain.sign(tx, OWNERS[coin.key_hash]))

    @rule(pick=numbers, more=fees, with_another=st.booleans())
    def conflict(self, pick, more, with_another):
        """Pay otherwise with what a waiting one spends, perhaps with another coin besides."""
        waiting = self.pool.transactions()
        if not waiting:
            return
        old = waiting[pick % len(waiting)]
        owner = old.outputs[-1].key_hash
        coins = [(o, c) for o, c in self.coins() if c.key_hash == owner][: 1 if with_another else 0]
        value = old.outputs[-1].value + sum(c.value for _, c in coins) - more
        outputs = (*old.outputs[:-1], Pay(value, owner))
        inputs = (*old.inputs, *(o for o, _ in coins))
        self.offer(self.chain.sign(Transaction(1, inputs, outputs, old.data), OWNERS[owner]))

    @rule(account=accounts, count=st.sampled_from([1, 2, 40]), fee=st.sampled_from([700, 3_000, 9_000]))
    def buy_tickets(self, account, count, fee):
        price = self.pool.state.ticket_price
        mine = [(o, c) for o, c in self.coins() if c.key_hash == key_hash(account)]
        outpoint, coin = max(mine, key=lambda pair: pair[1].value, default=(None, None))
        if coin is not None and coin.value > count * price + fee:
            change = Pay(coin.value - count * price - fee, coin.key_hash)
            stakes = (Stake(price, coin.key_hash),) * count
            data = self.chain.buy(account).data
            self.offer(self.chain.sign(Transaction(1, (outpoint,), (*stakes, change), data), account))

    @rule(
        kind=st.sampled_from(["commit", "reveal", "collect"]),
        account=st.integers(1, 3),
        fee=st.sampled_from([400, 600]),
    )
    def verify(self, kind, account, fee):
        block = one_block().blocks[0]
        self.chain.pool = self.pool.state
        if kind == "collect":
            self.offer(self.chain.fund(MINERS[0], CollectVerifications(block.hash), fee=fee))
        else:
            data = getattr(self.chain, kind)(block, account)
            self.offer(self.chain.fund(account, data, fee=fee))

    @rule(pick=numbers)
    def again(self, pick):
        if self.seen:
            self.offer(self.seen[pick % len(self.seen)])

    @rule(whole=st.booleans(), rival=st.booleans(), pick=numbers)
    def new_tip(self, whole, rival, pick):
        """The next block confirms the template, or part of what waits, or spends an input otherwise."""
        chosen = list(self.pool.template()) if whole else list(self.pool.transactions()[: pick % 4])
        waiting = self.pool.transactions()
        if rival and waiting:
            lost = waiting[pick % len(waiting)]
            coin = self.states[-1].utxos.get(lost.inputs[0])
            if coin is not None and lost not in chosen:
                output = Pay(coin.value, coin.key_hash)
                tx = Transaction(1, lost.inputs[:1], (output,), Transfer())
                chosen.insert(0, self.chain.sign(tx, OWNERS[coin.key_hash]))
        self.follow(chosen)

    def follow(self, chosen):
        state, block = self.states[-1], []
        for tx in chosen:
            try:
                state, _ = transition.apply_transaction(state, tx, self.params)
            except InvalidInput:
                continue
            block.append(tx)
        state = replace(state, height=state.height + 1)
        self.states.append(state)
        self.blocks.append(block)
        self.pool.rebase(state)
        self.model.rebase(state)

    @rule(depth=st.integers(1, 3), pick=numbers)
    def reorganise(self, depth, pick):
        """Blocks leave; a longer branch without them, or with the first of them, takes their place."""
        depth = min(depth, len(self.blocks))
        left = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :], self.states[len(self.states) - depth :]
        state, kept = self.states[-1], [tx for block in left for tx in block][: pick % 3]
        for tx in kept:
            state, _ = transition.apply_transaction(state, tx, self.params)
        state = replace(state, height=state.height + depth + 1)
        self.states.append(state)
        self.blocks.append(kept)
        header = one_block().blocks[0].header
        coinbase = one_block().blocks[0].transactions[0]
        returned = tuple(Block(header, None, (coinbase, *block)) for block in reversed(left))
        self.pool.rebase(state, returned)
        self.model.rebase(state, tuple(tx for block in left for tx in block))

    @invariant()
    def it_is_as_the_model(self):
        assert list(self.pool.transactions()) == [e.tx for e in self.model.waiting]
        assert snapshot_id(self.pool.state) == snapshot_id(self.model.state)
        assert (self.pool.fee_rate_min, self.pool.size) == (self.model.floor, self.model.size)

    @invariant()
    def counts_are_within_their_limits(self):
        assert len(self.pool) <= LIMITS["COUNT_MAX"]
        assert self.pool.size <= LIMITS["SIZE_BYTES_MAX"]

    @invariant()
    def templates_are_valid_and_as_the_model(self):
        filled = self.pool.fill()
        after, fees = transition.apply_transactions(self.states[-1], filled.transactions, self.params)
        assert (snapshot_id(filled.state), filled.fees) == (snapshot_id(after), fees)
        assert sum(tx.size for tx in filled.transactions) <= LIMITS["TEMPLATE_BYTES_MAX"]
        assert list(filled.transactions) == self.model.template()


SUPPRESSED = list(HealthCheck)
TestMempool = MempoolMachine.TestCase
TestMempool.settings = settings(
    max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=SUPPRESSED
)


@pytest.mark.slow
def test_for_long():
    long = settings(max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=SUPPRESSED)
    run_state_machine_as_test(MempoolMachine, settings=long)
