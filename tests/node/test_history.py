"""Targets: the entries explain every atom of the balance, and follow a reorganisation; a long
chain is read in bounded pieces.
"""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain.transaction import Pay
from p2pai.node import history
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount
from tests.chain.ledger import CLIENT, MINERS, VERIFIERS, Chain, key_hash
from tests.node.parts import Driven, paid_chain

COIN = 10**8


def node_of(chain, account=7):
    node = Driven(account)
    node.hear_chain(chain)
    return node


def ask(node, **params):
    return node.core.query("wallet.history", params)


def check(node):
    """What the entries say is what the ledger says; return them."""
    answer = ask(node, count=10_000)
    assert answer["read"] == answer["height"] == node.core.state.height
    entries = answer["entries"]
    owned = node.core.query("wallet.balance", {})["total"]
    assert sum(entry["amount"] for entry in entries) == owned
    assert (entries[0]["balance"] if entries else 0) == owned
    for newer, older in pairwise(entries):
        assert newer["balance"] == older["balance"] + newer["amount"]
        assert newer["height"] >= older["height"]
    return entries


def test_the_beginning_and_a_payment():
    chain = Chain()
    tx = chain.post(7, outputs=(Pay(Amount(3 * COIN), key_hash(9)),))
    block = chain.mine()
    paid, first = check(node_of(chain))
    fee = 2_000
    assert first == {
        "type": "GENESIS", "height": 0, "time": chain.spec.genesis_time, "amount": 1_000 * COIN,
        "balance": 1_000 * COIN, "txid": None, "fee": None,
    }  # fmt: skip
    assert paid == {
        "type": "TRANSFER", "height": 1, "time": block.header.time, "amount": -3 * COIN - fee,
        "balance": 997 * COIN - fee, "txid": tx.txid.hex(), "fee": fee,
    }  # fmt: skip
    received, _ = check(node_of(chain, 9))
    assert (received["amount"], received["fee"], received["type"]) == (3 * COIN, None, "TRANSFER")


def test_tickets_cost_their_fee_alone():
    chain = Chain()
    chain.add(chain.buy(7, count=2))
    chain.mine()
    bought, _ = check(node_of(chain))
    assert (bought["type"], bought["amount"], bought["fee"]) == ("BUY_TICKETS", -2_000, 2_000)


@pytest.mark.parametrize("account", [CLIENT, MINERS[0], VERIFIERS[0]])
def test_a_tasks_whole_life_is_explained(account):
    chain, _ = paid_chain()
    kinds = {entry["type"] for entry in check(node_of(chain, account))}
    assert "GENESIS" in kinds
    assert kinds & {"PAY_FOR_TASK", "COINBASE", "CHARGE_FOR_TASK", "JOIN_TASK"}


def test_slashed_stakes_are_told():
    """Verifiers that keep their verdict back lose a tenth."""
    chain = Chain()
    block = chain.mine()
    for account in VERIFIERS:
        chain.post(account, chain.commit(block, account))
    chain.mine_until(block_height(chain) + chain.params.verification_window_blocks + 1)
    burned = chain.state.burned
    assert burned > 0
    lost = 0
    for account in VERIFIERS:
        entries = check(node_of(chain, account))
        lost -= sum(entry["amount"] for entry in entries if entry["type"] == "SLASHED")
    assert lost == burned


def block_height(chain):
    return chain.state.height


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(4, 8), st.integers(4, 8), st.booleans()), max_size=6))
def test_every_atom_is_explained(payments):
    chain = Chain()
    for payer, receiver, mined in payments:
        chain.post(payer, outputs=(Pay(Amount(COIN), key_hash(receiver)),))
        if mined:
            chain.mine()
    chain.mine()
    node = node_of(chain)
    check(node)
    assert check(node) == check(node_of(chain)), "what was kept is what would be read anew"


def test_a_reorganisation_is_followed():
    chain = Chain()
    other = chain.fork()
    chain.post(7, outputs=(Pay(Amount(COIN), key_hash(9)),))
    chain.mine()
    node = node_of(chain)
    assert len(check(node)) == 2
    for _ in range(2):
        other.approve(other.mine(), VERIFIERS)
    other.mine()
    node.hear_chain(other)
    assert node.tip == other.state.tip
    assert [entry["type"] for entry in check(node)] == ["GENESIS"]


def test_a_long_chain_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr(history, "BLOCKS_MAX", 2)
    chain = Chain()
    for _ in range(4):
        chain.post(7, outputs=(Pay(Amount(COIN), key_hash(9)),))
        chain.mine()
    node = node_of(chain)
    reads = [ask(node)["read"] for _ in range(4)]
    assert reads == [1, 3, 4, 4]
    assert len(check(node)) == 5
    assert [e["height"] for e in ask(node, count=2)["entries"]] == [4, 3]


@pytest.mark.parametrize("params", [{"count": 0}, {"count": 10_001}, {"count": "5"}, {"account": 1}])
def test_a_bad_question_is_one_sentence(params):
    with pytest.raises(InvalidInput):
        ask(Driven(), **params)
