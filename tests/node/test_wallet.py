"""Targets: a funded transaction is one that the ledger takes, pays what it should and a fee just high enough;
no locked stake is ever spent; what cannot be paid is refused.
"""

from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain import transition
from p2pai.chain.mempool import FEE_RATE_MIN, Mempool
from p2pai.chain.params import INPUT_COUNT_MAX
from p2pai.chain.state import Stage
from p2pai.chain.transaction import Pay, Stake, Transfer
from p2pai.node import wallet
from p2pai.node.accounts import Account
from p2pai.node.wallet import Balance
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, InvalidProof, Unavailable
from p2pai.primitives.ids import Amount, Outpoint
from tests.chain.ledger import CLIENT, MINERS, SUPERVISORS, Chain, key_hash, keys, label

COIN = 10**8
DUST_BYTES = 700
"""Change that is not worth making is at most that of three inputs and an output."""


def account(number):
    secret = keys(number).spending
    return Account(0, ecdsa.public_key(secret), key_hash(number), secret)


def owned(state, number):
    """All outputs of an account, found by looking at each."""
    return sorted(o for o, output in state.utxos.items() if output.key_hash == key_hash(number))


def coins(state, number):
    """What an account can spend, largest first."""
    return sorted(
        wallet.coins(state, key_hash(number), owned(state, number)), key=lambda c: (-c.value, c.outpoint)
    )


def balance(state, number):
    return wallet.balance(state, key_hash(number), owned(state, number))


def pay(chain, number, *values, receiver=9, rate=FEE_RATE_MIN, data=None, outputs=None):
    paid = outputs or tuple(Pay(Amount(value), key_hash(receiver)) for value in values)
    purse = owned(chain.pool, number)
    return wallet.fund(chain.pool, account(number), [purse], data or Transfer(), paid, rate)


def fund(chain, number, *values, **changes):
    return pay(chain, number, *values, **changes).tx


def refuse(chain, number, *values, **changes):
    with pytest.raises(InvalidInput) as caught:
        pay(chain, number, *values, **changes)
    return str(caught.value)


def fee_of(chain, tx):
    spent = sum(chain.pool.utxos[outpoint].value for outpoint in tx.inputs)
    return spent - sum(output.value for output in tx.outputs)


def check_sound(chain, tx, rate=FEE_RATE_MIN, *, has_change=True):
    """The ledger takes it, and its fee is enough but not wasteful."""
    Mempool(chain.pool, chain.params).add(tx)
    # A signature may be a byte or two shorter than the longest, a position or an amount some bytes.
    margin = 16 + 6 * len(tx.inputs) + (0 if has_change else DUST_BYTES)
    assert rate * tx.size <= fee_of(chain, tx) <= rate * (tx.size + margin)


@pytest.fixture
def chain():
    return Chain()


def split_coins(chain, account, *values):
    """Pay an account's whole money to itself in coins of these values and the rest."""
    chain.post(account, outputs=tuple(Pay(Amount(v), key_hash(account)) for v in values))


class TestCoins:
    def test_all_of_them_are_found(self, chain):
        split_coins(chain, 7, 5 * COIN, 3 * COIN, 5 * COIN, 8 * COIN)
        values = [value for value, _ in coins(chain.pool, 7)]
        assert values[1:] == [8 * COIN, 5 * COIN, 5 * COIN, 3 * COIN]

    def test_others_coins_are_not_ours(self, chain):
        every = sorted(chain.pool.utxos)
        ours = [outpoint for _, outpoint in wallet.coins(chain.pool, key_hash(7), every)]
        assert [chain.pool.utxos[o].key_hash for o in ours] == [key_hash(7)]
        assert wallet.coins(chain.pool, bytes(20), every) == []
        assert wallet.coins(chain.pool, key_hash(7), [Outpoint(bytes(32), 0)]) == []

    def test_stakes_of_tickets_are_not_coins(self, chain):
        staked = [o for o, t in chain.pool.tickets.items() if t.key_hash == key_hash(SUPERVISORS[0])]
        found = [outpoint for _, outpoint in coins(chain.pool, SUPERVISORS[0])]
        assert len(staked) == 4
        assert not set(staked) & set(found)


class TestBalance:
    def test_money_and_stakes(self, chain):
        price = chain.params.ticket_price_atoms
        assert balance(chain.state, 7) == Balance(1_000 * COIN, 0)
        assert balance(chain.state, SUPERVISORS[0]) == Balance(1_000 * COIN, 4 * price)
        assert balance(chain.state, MINERS[0]) == Balance(1_000 * COIN, 2 * price)
        assert wallet.balance(chain.state, bytes(20), sorted(chain.state.utxos)) == Balance(0, 0)

    def test_a_bought_ticket_locks_its_price(self, chain):
        before = balance(chain.pool, 7)
        tx = chain.add(chain.buy(7, count=2))
        after = balance(chain.pool, 7)
        price = chain.params.ticket_price_atoms
        assert after.staked == 2 * price
        fee = sum(astuple(before)) - sum(astuple(after))
        assert fee == 2_000
        assert tx.outputs[0].value == price

    def test_all_balances_are_all_the_money(self, chain):
        chain.mine()
        every = sorted(chain.state.utxos)
        owners = {output.key_hash for output in chain.state.utxos.values()}
        balances = [wallet.balance(chain.state, owner, every) for owner in owners]
        assert sum(b.total for b in balances) == chain.state.issued - chain.state.burned


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
        tx = fund(chain, 7, data=data, outputs=(stake,))
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
        change, largest = coins(chain.pool, 7)[0]
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
    def test_more_than_there_is_is_refused(self, chain, left):
        """Up to the last atoms that the fee needs."""
        assert "the wallet cannot pay that amount and the fee" in refuse(chain, 7, 1_000 * COIN - left)

    def test_all_but_the_fee_leaves_nothing(self, chain):
        fee = pay(chain, 7, 900 * COIN).fee
        tx = fund(chain, 7, 1_000 * COIN - fee)
        assert len(tx.outputs) == 1
        check_sound(chain, tx, has_change=False)

    def test_coins_too_small_for_their_own_fee(self, chain):
        poor = Chain(state=replace(chain.state, utxos=coins_of(chain.state, 9, [30] * 5)))
        assert balance(poor.state, 9).spendable == 150
        assert "it can spend 0 coins and 150 atoms" in refuse(poor, 9, 1)

    def test_no_money_at_all(self, chain):
        poor = Chain(state=replace(chain.state, utxos=coins_of(chain.state, 9, [])))
        assert "it can spend 0 coins and 0 atoms" in refuse(poor, 9, 1)

    def test_too_many_coins_for_one_transaction(self, chain):
        small = Chain(state=replace(chain.state, utxos=coins_of(chain.state, 9, [1_000] * 300)))
        most = wallet.costs_of(Transfer(), (), 1).coins_max
        assert 200 < most < INPUT_COUNT_MAX
        assert "takes more than the " in refuse(small, 9, 860 * most)
        check_sound(small, fund(small, 9, 800 * most), has_change=False)

    @pytest.mark.parametrize("rate", [1, 7, 10_000])
    def test_the_fee_is_at_the_rate(self, chain, rate):
        check_sound(chain, fund(chain, 7, COIN, rate=rate), rate)

    @pytest.mark.parametrize("rate", [0, -1, 10_001])
    def test_a_rate_that_nobody_means(self, chain, rate):
        assert refuse(chain, 7, COIN, rate=rate) == "a fee rate is 1 to 10000 atoms per byte"

    def test_a_later_purse_is_opened_only_if_needed(self, chain):
        split_coins(chain, 7, 5 * COIN)
        first, second = ([c.outpoint] for c in reversed(coins(chain.pool, 7)))
        for wanted, inputs in ((4 * COIN, first), (6 * COIN, second)):
            outputs = (Pay(Amount(wanted), key_hash(9)),)
            funded = wallet.fund(chain.pool, account(7), [first, second], Transfer(), outputs)
            assert list(funded.tx.inputs) == inputs

    def test_a_locked_account_signs_nothing(self, chain):
        locked = replace(account(7), secret=None)
        with pytest.raises(Unavailable, match="locked"):
            wallet.fund(chain.pool, locked, [owned(chain.pool, 7)], Transfer(), (Pay(COIN, key_hash(9)),))
        assert keys(7).spending.hex() not in repr(account(7))

    def test_a_locked_stake_is_never_spent(self, chain):
        """Account 1 owns four locked stakes besides its money; they do not count for a payment either."""
        refuse(chain, SUPERVISORS[0], 1_001 * COIN)
        tx = fund(chain, SUPERVISORS[0], 999 * COIN)
        assert not any(isinstance(chain.pool.utxos[outpoint], Stake) for outpoint in tx.inputs)

    def test_a_fee_that_came_back_is_money_again(self, chain):
        fee = 9_000 * COIN
        task = chain.submit(fee=fee)
        assert balance(chain.state, CLIENT).staked == fee
        refuse(chain, CLIENT, 5_000 * COIN)
        chain.mine_until(chain.task(task).since + chain.params.join_blocks)
        assert chain.task(task).stage is Stage.EXPIRED
        assert balance(chain.state, CLIENT).staked == 0
        tx = fund(chain, CLIENT, 5_000 * COIN)
        assert chain.task(task).stake in tx.inputs
        check_sound(chain, tx)

    @settings(deadline=None, max_examples=60)
    @given(
        values=st.lists(st.integers(1, 10**6), max_size=12),
        wanted=st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
        rate=st.integers(1, 50),
    )
    def test_the_ledger_takes_it_or_the_coins_do_not_suffice(self, values, wanted, rate):
        chain = Chain(state=replace(START, utxos=coins_of(START, 9, values)))
        try:
            funded = pay(chain, 9, *wanted, receiver=8, rate=rate)
        except InvalidInput:
            # All coins together cannot pay for the outputs and a transaction that spends them all.
            assert sum(values) <= sum(wanted) + rate * (200 * len(values) + 60 * len(wanted) + 200)
            return
        check_sound(chain, funded.tx, rate, has_change=len(funded.tx.outputs) > len(wanted))
        assert funded.fee == fee_of(chain, funded.tx)
        assert [output.value for output in funded.tx.outputs[: len(wanted)]] == wanted
        assert all(output.key_hash == key_hash(9) for output in funded.tx.outputs[len(wanted) :])


START = Chain().state


class TestCollecting:
    def test_coins_become_one(self, chain):
        split_coins(chain, 7, *[COIN] * 5)
        found = coins(chain.pool, 7)
        funded = wallet.collect(chain.pool, account(7), found)
        assert len(funded.tx.inputs) == 6
        assert [o.value for o in funded.tx.outputs] == [sum(c.value for c in found) - funded.fee]
        check_sound(chain, funded.tx)

    def test_no_more_than_a_transaction_takes(self, chain):
        many = Chain(state=replace(chain.state, utxos=coins_of(chain.state, 9, [COIN] * 300)))
        funded = wallet.collect(many.pool, account(9), coins(many.pool, 9))
        assert len(funded.tx.inputs) == wallet.costs_of(Transfer(), (), 1).coins_max
        check_sound(many, funded.tx)

    def test_dust_stays(self, chain):
        poor = Chain(state=replace(chain.state, utxos=coins_of(chain.state, 9, [30] * 5)))
        with pytest.raises(InvalidInput, match="no more than the fee"):
            wallet.collect(poor.pool, account(9), coins(poor.pool, 9))


def coins_of(state, number, values):
    """Return the outputs of a ledger in which an account has just these coins."""
    utxos = state.utxos
    for outpoint in owned(state, number):
        utxos = utxos.delete(outpoint)
    made = {Outpoint(label("coin"), i): Pay(Amount(v), key_hash(number)) for i, v in enumerate(values)}
    return utxos.update(made)


def test_a_funded_transaction_belongs_to_its_chain(chain):
    """Its signature covers the chain's id: on another network it is worth nothing."""
    tx = fund(chain, 7, COIN)
    transition.apply_transaction(chain.pool, tx, chain.params)
    elsewhere = replace(chain.pool, chain=label("another chain"))
    with pytest.raises(InvalidProof):
        transition.apply_transaction(elsewhere, tx, chain.params)
