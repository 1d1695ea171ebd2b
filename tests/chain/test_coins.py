"""Targets: many transfers at once do what each of them does alone, and what a naive ledger says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain import transition
from p2pai.chain.coins import Coins
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import Pay, RevokeTask, Stake, Transaction, Transfer
from p2pai.primitives.errors import InvalidBlock, InvalidInput, InvalidProof, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.ledger import CLIENT, Chain, flip, key_hash, label, public

OWNERS = (CLIENT, 7, 8)
COINS = {Outpoint(label("coin", i), i): Pay(10_000 + i, key_hash(OWNERS[i % 3])) for i in range(6)}
LOCKED, EXPIRED = Outpoint(label("locked"), 0), Outpoint(label("expired"), 0)
STAKES = {LOCKED: Stake(9_998, key_hash(7)), EXPIRED: Stake(9_999, key_hash(7))}
OWNER = {key_hash(account): account for account in OWNERS}


@pytest.fixture(scope="module")
def chain():
    """A ledger with six coins and two stakes: one that a ticket holds, and one that it holds no longer."""
    made = Chain()
    held = made.state.tickets[made.verifier(1)]
    tickets = {LOCKED: held, EXPIRED: replace(held, expires=1)}
    utxos = made.state.utxos.update({**COINS, **STAKES})
    made.state = replace(made.state, utxos=utxos, tickets=made.state.tickets.update(tickets))
    made.pool = made.state
    return made


def transfer(chain, account, inputs, output, data=None):
    return chain.sign(Transaction(1, tuple(inputs), (output,), data or Transfer()), account)


def respelt(tx, **changes):
    """Return a transaction with its first witness changed."""
    return replace(tx, witnesses=(replace(tx.witnesses[0], **changes), *tx.witnesses[1:]))


MISCHIEF = {
    "a wrong signature": lambda tx, _: respelt(tx, signature=flip(tx.witnesses[0].signature, 400)),
    "another's key": lambda tx, _: respelt(tx, key=public(9)),
    "no witness": lambda tx, _: replace(tx, witnesses=tx.witnesses[1:]),
    "twice the same": lambda tx, sign: sign(replace(tx, inputs=tx.inputs * 2)),
    "nothing": lambda tx, sign: sign(replace(tx, inputs=())),
    "an unknown coin": lambda tx, sign: sign(replace(tx, inputs=(*tx.inputs, Outpoint(ZERO_HASH, 0)))),
    "a locked stake": lambda tx, sign: sign(replace(tx, inputs=(*tx.inputs, LOCKED))),
    "an atom too much": lambda tx, sign: sign(
        replace(tx, outputs=(replace(tx.outputs[0], value=tx.outputs[0].value + 10**6),))
    ),
    "no value": lambda tx, sign: sign(replace(tx, outputs=(replace(tx.outputs[0], value=0),))),
    "a stake": lambda tx, sign: sign(replace(tx, outputs=(Stake(1, key_hash(7)),))),
    "no transfer": lambda tx, sign: sign(replace(tx, data=RevokeTask(label("task")))),
}
"""What makes a transfer one that must be refused."""


@st.composite
def runs(draw, chain):
    """Return transfers, each valid after those before it but for a mischief here and there, and its name."""
    unspent, txs, names = {**COINS, EXPIRED: STAKES[EXPIRED]}, [], []
    for _ in range(draw(st.integers(1, 7))):
        owner = draw(st.sampled_from(sorted({output.key_hash for output in unspent.values()})))
        own = [outpoint for outpoint, output in unspent.items() if output.key_hash == owner]
        inputs = draw(st.lists(st.sampled_from(own), min_size=1, max_size=3, unique=True))
        total = sum(unspent[i].value for i in inputs)
        output = Pay(draw(st.integers(1, total)), key_hash(draw(st.sampled_from(OWNERS))))
        tx = transfer(chain, OWNER[owner], inputs, output)
        name = draw(st.sampled_from([None] * 3 * len(MISCHIEF) + list(MISCHIEF)))
        if name is not None:
            account = 7 if name == "a locked stake" else OWNER[owner]
            tx = MISCHIEF[name](
                tx, lambda tx, account=account: chain.sign(replace(tx, witnesses=()), account)
            )
        keep = draw(st.integers(0, 19)) == 0  # then a later one may spend the same again
        unspent = {o: output for o, output in unspent.items() if keep or o not in inputs}
        unspent[Outpoint(tx.txid, 0)] = output
        txs.append(tx)
        names.append(name)
    return tuple(txs), tuple(names)


def naive(chain, txs, names):
    """Return unspent outputs and fees by the rules' words over plain dicts; None if one must be refused."""
    utxos, fees = dict(chain.state.utxos.items()), 0
    for tx, name in zip(txs, names, strict=True):
        if name is not None or any(i not in utxos for i in tx.inputs):
            return None
        fees += sum(utxos.pop(i).value for i in tx.inputs) - tx.outputs[0].value
        utxos[Outpoint(tx.txid, 0)] = tx.outputs[0]
    return utxos, fees


def one_by_one(chain, txs, **how):
    """Return what the transactions give when each is applied to the state after the one before."""
    state, total = chain.state, 0
    for tx in txs:
        try:
            state, fee = transition.apply_transaction(state, tx, chain.params, **how)
        except InvalidInput as error:
            return f"transaction {tx.txid.hex()[:16]}: {error}"
        total += fee
    return snapshot_id(state), total


def together(chain, txs, **how):
    try:
        state, total = transition.apply_transactions(chain.state, txs, chain.params, **how)
    except InvalidBlock as error:
        return str(error)
    return snapshot_id(state), total


@given(st.data())
@settings(max_examples=150)
def test_transfers_at_once_do_what_each_does_alone(chain, data):
    txs, names = data.draw(runs(chain))
    before, alone = snapshot_id(chain.state), one_by_one(chain, txs)
    assert together(chain, txs) == alone
    assert together(chain, txs, trusted=True) == one_by_one(chain, txs, trusted=True)
    signed = [tx.wtxid for tx, name in zip(txs, names, strict=True) if name != "a wrong signature"]
    assert together(chain, txs, verified=signed) == alone
    expected = naive(chain, txs, names)
    assert isinstance(alone, str) == (expected is None)
    if expected is not None:
        after, fees = transition.apply_transactions(chain.state, txs, chain.params)
        assert (dict(after.utxos.items()), fees) == expected
        assert (EXPIRED in after.tickets) == (EXPIRED in after.utxos)
    assert snapshot_id(chain.state) == before


class TestVerified:
    def test_a_signature_known_by_wtxid_is_not_checked_again(self, chain):
        tx = chain.fund(CLIENT)
        witness = replace(tx.witnesses[0], signature=flip(tx.witnesses[0].signature, 400))
        spoilt = replace(tx, witnesses=(witness,))
        assert spoilt.txid == tx.txid, "that is why the wtxid counts"
        with pytest.raises(InvalidBlock, match="signature does not match"):
            transition.apply_transactions(chain.state, (spoilt,), chain.params, verified=(tx.wtxid, tx.txid))
        transition.apply_transactions(chain.state, (spoilt,), chain.params, verified=(spoilt.wtxid,))

    def test_whose_the_inputs_are_is_checked_nevertheless(self, chain):
        tx = chain.sign(replace(chain.fund(CLIENT), witnesses=()), 7)
        with pytest.raises(InvalidBlock, match="an input belongs to another key"):
            transition.apply_transactions(chain.state, (tx,), chain.params, verified=(tx.wtxid,))


class TestCoins:
    def test_a_draft_leaves_the_state_as_it_was(self, chain):
        before, coins = snapshot_id(chain.state), Coins(chain.state)
        tx = chain.fund(CLIENT)
        assert coins.spend(tx) == sum(chain.state.utxos[i].value for i in tx.inputs)
        coins.add(tx)
        assert snapshot_id(chain.state) == before
        assert snapshot_id(coins.state()) != before

    def test_what_is_spent_in_the_draft_is_spent(self, chain):
        coins, tx = Coins(chain.state), chain.fund(CLIENT)
        coins.spend(tx)
        for act in (coins.spend, lambda tx: coins.check_witnesses(tx, signed=True)):
            with pytest.raises(InvalidTransaction, match="unknown or spent"):
                act(tx)

    def test_each_signature_of_a_key_counts(self, chain):
        mine = [o for _, o in chain.coins(CLIENT)][:2]
        tx = chain.sign(replace(chain.fund(CLIENT), inputs=tuple(mine), witnesses=()), CLIENT)
        right = tx.witnesses[0]
        wrong = replace(right, signature=flip(right.signature, 400))
        Coins(chain.state).check_witnesses(tx, signed=False)
        with pytest.raises(InvalidProof):
            Coins(chain.state).check_witnesses(replace(tx, witnesses=(right, wrong)), signed=False)
