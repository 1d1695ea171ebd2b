"""Targets: a funded transaction is one that the ledger takes, pays what it should and a fee just high enough;
no locked stake is ever spent; what cannot be paid gives None.
"""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain import transition
from p2pai.chain.mempool import FEE_RATE_MIN, Mempool
from p2pai.chain.state import Stage
from p2pai.chain.transaction import Pay, Stake, Transfer
from p2pai.node import wallet
from p2pai.node.wallet import FEE_MARGIN_BYTES, Balance
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import Amount, Outpoint, PeerId
from p2pai.roles.base import Identity
from tests.chain.ledger import CLIENT, MINERS, SUPERVISORS, Chain, key_hash, keys, label

COIN = 10**8
MARGIN = 2 * FEE_MARGIN_BYTES


def identity(account):
    return Identity.of(keys(account), PeerId(f"peer{account}"))


def fund(chain, account, *values, receiver=9):
    outputs = tuple(Pay(Amount(value), key_hash(receiver)) for value in values)
    return wallet.fund(chain.pool, identity(account), Transfer(), outputs)


def fee_of(chain, tx):
    spent = sum(chain.pool.utxos[outpoint].value for outpoint in tx.inputs)
    return spent - sum(output.value for output in tx.outputs)


def check_sound(chain, tx):
    """The ledger takes it, and its fee is enough but not wasteful."""
    Mempool(chain.pool, chain.params).add(tx)
    size = tx.size
    assert FEE_RATE_MIN * size <= fee_of(chain, tx) <= FEE_RATE_MIN * size + MARGIN


@pytest.fixture
def chain():
    return Chain()


def split_coins(chain, account, *values):
    """Pay an account's whole money to itself in coins of these values and the rest."""
    chain.post(account, outputs=tuple(Pay(Amount(v), key_hash(account)) for v in values))


class TestCoins:
    def test_largest_first_then_by_outpoint(self, chain):
        split_coins(chain, 7, 5 * COIN, 3 * COIN, 5 * COIN, 8 * COIN)
        found = wallet.coins(chain.pool, key_hash(7))
        values = [value for value, _ in found]
        assert values[1:] == [8 * COIN, 5 * COIN, 5 * COIN, 3 * COIN]
        assert values == sorted(values, reverse=True)
        assert found[2][1] < found[3][1]

    def test_others_coins_are_not_ours(self, chain):
        ours = [outpoint for _, outpoint in wallet.coins(chain.pool, key_hash(7))]
        assert [chain.pool.utxos[o].key_hash for o in ours] == [key_hash(7)]
        assert wallet.coins(chain.pool, bytes(20)) == []

    def test_stakes_of_tickets_are_not_coins(self, chain):
        staked = [o for o, t in chain.pool.tickets.items() if t.key_hash == key_hash(SUPERVISORS[0])]
        coins = [outpoint for _, outpoint in wallet.coins(chain.pool, key_hash(SUPERVISORS[0]))]
        assert len(staked) == 4
        assert not set(staked) & set(coins)


class TestBalance:
    def test_money_and_stakes(self, chain):
        price = chain.params.ticket_price_atoms
        assert wallet.balance(chain.state, key_hash(7)) == Balance(1_000 * COIN, 0)
        assert wallet.balance(chain.state, key_hash(SUPERVISORS[0])) == Balance(1_000 * COIN, 4 * price)
        assert wallet.balance(chain.state, key_hash(MINERS[0])) == Balance(1_000 * COIN, 2 * price)
        assert wallet.balance(chain.state, bytes(20)) == Balance(0, 0)

    def test_a_bought_ticket_locks_its_price(self, chain):
        before = wallet.balance(chain.pool, key_hash(7))
        tx = chain.add(chain.buy(7, count=2))
        after = wallet.balance(chain.pool, key_hash(7))
        price = chain.params.ticket_price_atoms
        assert after.staked == 2 * price
        fee = sum(astuple(before)) - sum(astuple(after))
        assert fee == 2_000
        assert tx.outputs[0].value == price

    def test_all_balances_are_all_the_money(self, chain):
        chain.mine()
        owners = {output.key_hash for output in chain.state.utxos.values()}
        balances = [wallet.balance(chain.state, owner) for owner in owners]
        assert sum(b.spendable + b.staked for b in balances) == chain.state.issued - chain.state.burned


class TestFunding:
    def test_the_outputs_are_paid_and_the_change_comes_back(self, chain):
        tx = fund(chain, 7, 5 * COIN, 2 * COIN)
        assert tx.outputs[:2] == (Pay(5 * COIN, key_hash(9)), Pay(2 * COIN, key_hash(9)))
        change = tx.outputs[2]
        assert change.key_hash == key_hash(7)
        assert change.value == 1_000 * COIN - 7 * COIN - fee_of(chain, tx)
        assert len(tx.outputs) == 3
        check_sound(chain, tx)

    def test_stakes_are_funded_as_well(self, chain):
        stake = Stake(Amount(chain.params.ticket_price_atoms), key_hash(7))
        data = chain.buy(7).data
        tx = wallet.fund(chain.pool, identity(7), data, (stake,))
        assert tx.data == data
        assert tx.outputs[0] == stake
        check_sound(chain, tx)

    def test_one_coin_is_taken_when_one_is_enough(self, chain):
        split_coins(chain, 7, *[COIN] * 5)
        tx = fund(chain, 7, 2 * COIN)
        assert len(tx.inputs) == 1
        check_sound(chain, tx)

    def test_as_many_coins_as_it_takes(self, chain):
        split_coins(chain, 7, *[COIN] * 3)
        change, largest = wallet.coins(chain.pool, key_hash(7))[0]
        tx = fund(chain, 7, change - COIN)
        assert tx.inputs == (largest,)
        tx = fund(chain, 7, change)
        assert len(tx.inputs) == 2
        check_sound(chain, tx)
        tx = fund(chain, 7, change + 2 * COIN)
        assert len(tx.inputs) == 4
        check_sound(chain, tx)

    def test_what_waits_can_be_spent_already(self, chain):
        first = chain.add(fund(chain, 7, 900 * COIN))
        second = fund(chain, 7, 50 * COIN)
        assert [outpoint.txid for outpoint in second.inputs] == [first.txid]
        check_sound(chain, second)

    @pytest.mark.parametrize("left", [-1, 0, 1, 100, 200])
    def test_more_than_there_is_gives_none(self, chain, left):
        """Up to the last atoms that the fee needs."""
        assert fund(chain, 7, 1_000 * COIN - left) is None

    def test_coins_too_small_for_their_own_fee_give_none(self, chain):
        poor = Chain(state=replace(chain.state, utxos=coins_of(chain, 9, [30] * 5)))
        assert wallet.balance(poor.state, key_hash(9)).spendable == 150
        assert fund(poor, 9, 1) is None

    def test_no_money_at_all_gives_none(self, chain):
        assert fund(Chain(state=replace(chain.state, utxos=coins_of(chain, 9, []))), 9, 1) is None

    def test_a_locked_stake_is_never_spent(self, chain):
        """Account 1 owns four locked stakes besides its money; they do not count for a payment either."""
        assert fund(chain, SUPERVISORS[0], 1_001 * COIN) is None
        tx = fund(chain, SUPERVISORS[0], 999 * COIN)
        assert not any(isinstance(chain.pool.utxos[outpoint], Stake) for outpoint in tx.inputs)

    def test_a_fee_that_came_back_is_money_again(self, chain):
        fee = 9_000 * COIN
        task = chain.submit(fee=fee)
        assert wallet.balance(chain.state, key_hash(CLIENT)).staked == fee
        assert fund(chain, CLIENT, 5_000 * COIN) is None
        chain.mine_until(chain.task(task).since + chain.params.join_blocks)
        assert chain.task(task).stage is Stage.EXPIRED
        assert wallet.balance(chain.state, key_hash(CLIENT)).staked == 0
        tx = fund(chain, CLIENT, 5_000 * COIN)
        assert chain.task(task).stake in tx.inputs
        check_sound(chain, tx)

    @settings(deadline=None, max_examples=60)
    @given(
        coins=st.lists(st.integers(1, 10**6), max_size=12),
        values=st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
    )
    def test_the_ledger_takes_it_or_the_coins_do_not_suffice(self, coins, values):
        start = Chain().state
        chain = Chain(state=replace(start, utxos=coins_of(Chain(), 9, coins)))
        tx = fund(chain, 9, *values, receiver=8)
        if tx is None:
            # All coins together cannot pay for the outputs and a transaction that spends them all.
            assert sum(coins) <= sum(values) + 200 * len(coins) + 60 * len(values) + 200
        else:
            check_sound(chain, tx)
            assert [output.value for output in tx.outputs[:-1]] == values


def coins_of(chain, account, values):
    """Return the outputs of a ledger in which an account has just these coins."""
    owned = [
        outpoint for outpoint, output in chain.state.utxos.items() if output.key_hash == key_hash(account)
    ]
    utxos = chain.state.utxos
    for outpoint in owned:
        utxos = utxos.delete(outpoint)
    made = {Outpoint(label("coin"), i): Pay(Amount(v), key_hash(account)) for i, v in enumerate(values)}
    return utxos.update(made)


def test_a_funded_transaction_belongs_to_its_chain(chain):
    """Its signature covers the chain's id: on another network it is worth nothing."""
    tx = fund(chain, 7, COIN)
    transition.apply_transaction(chain.pool, tx, chain.params)
    elsewhere = replace(chain.pool, chain=label("another chain"))
    with pytest.raises(InvalidProof):
        transition.apply_transaction(elsewhere, tx, chain.params)
