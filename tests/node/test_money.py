"""Targets: each account pays with its own coins and gets its change; a quote is what is paid; sums agree."""

import pytest

from p2pai.chain.transaction import Pay, Transaction, VerifyReveal
from p2pai.node import payments
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, Outpoint
from p2pai.primitives.mnemonic import KeyTree
from tests.chain.ledger import Chain, devnet, key_hash, label
from tests.node.parts import Driven, said

WALLET = KeyTree(bytes(range(32)))
COIN = 10**8
RECEIVER = address.encode(devnet().prefix, key_hash(9))


def owner(number):
    return ecdsa.key_hash(ecdsa.public_key(WALLET.account(number).spending))


@pytest.fixture
def chain():
    """30 coins for account 0 of the wallet, 5 and 7 for account 1."""
    made = Chain()
    for number, coins in ((0, 30), (1, 5), (1, 7)):
        made.post(7, outputs=(Pay(Amount(coins * COIN), owner(number)),))
    made.mine()
    return made


@pytest.fixture
def node(chain):
    """A node with two accounts, which knows the chain."""
    made = Driven(source=WALLET)
    made.order("wallet.add_account")
    made.persist()
    made.hear_chain(chain)
    return made


def paid(node, **params):
    answer = node.order("wallet.send", address=RECEIVER, **params)
    assert answer["state"] == "posted", answer
    return answer, Transaction.decode(said(node.persist(), "tx")[0])


class TestSending:
    def test_from_an_account_alone(self, node):
        answer, tx = paid(node, atoms=6 * COIN, account=1)
        assert tx.outputs[0].value == 6 * COIN
        assert tx.outputs[1].key_hash == owner(1)
        assert {w.key for w in tx.witnesses} == {ecdsa.public_key(WALLET.account(1).spending)}
        assert answer["fee"] == 7 * COIN - sum(output.value for output in tx.outputs)

    def test_one_accounts_coins_are_not_anothers(self, node):
        answer = node.order("wallet.send", address=RECEIVER, atoms=20 * COIN, account=1)
        assert answer["error"].endswith("it can spend 12 coins and 0 atoms")

    def test_what_waits_of_our_own_is_spent_next(self, node):
        _, first = paid(node, atoms=COIN, order="1")
        _, second = paid(node, atoms=COIN, order="2")
        assert [o.txid for o in second.inputs] == [first.txid]

    def test_change_that_is_in_a_block_counts_once(self, node, chain):
        answer, tx = paid(node, atoms=COIN)
        chain.add(tx)
        chain.mine()
        node.hear_chain(chain)
        left = 29 * COIN - answer["fee"]
        assert node.core.query("wallet.balance", {})["accounts"][0]["spendable"] == left
        more = node.order("wallet.send", address=RECEIVER, atoms=40 * COIN, order="2")
        assert more["error"].endswith(f"it can spend {left // COIN} coins and {left % COIN} atoms")

    def test_what_others_promise_is_not(self, node):
        chain = Chain()
        chain.post(7, outputs=tuple(Pay(Amount(c * COIN), owner(n)) for n, c in ((0, 30), (1, 5))))
        stranger = chain.fund(8, outputs=(Pay(Amount(500 * COIN), owner(0)),))
        node.hear("tx", stranger.encoded)
        assert node.core.query("wallet.balance", {})["waiting"] == 500 * COIN
        answer = node.order("wallet.send", address=RECEIVER, atoms=100 * COIN)
        assert "it can spend 30 coins" in answer["error"]

    def test_in_a_full_pool_it_costs_what_gets_in_and_a_duty_the_minimum(self, node):
        node.core.ledger.mempool.fee_rate_min = 50
        quote = node.core.query("wallet.quote", {"address": RECEIVER, "atoms": COIN})
        assert quote["fee"] >= 50 * quote["size"]
        duty = VerifyReveal(label("block"), Outpoint(label("ticket"), 0), label("p"), True, label("salt"))
        funded = payments.prepare(node.core, node.core.accounts.get(0), duty, ())
        assert funded.tx.size <= funded.fee < 2 * funded.tx.size
        answer = node.order("wallet.send", address=RECEIVER, atoms=COIN, fee_rate=2)
        assert "at least" in answer["error"]

    @pytest.mark.parametrize("rate", [1, 20])
    def test_a_quote_is_what_is_paid(self, node, rate):
        order = {"address": RECEIVER, "atoms": 3 * COIN, "fee_rate": rate}
        quote = node.core.query("wallet.quote", order)
        answer, tx = paid(node, atoms=3 * COIN, fee_rate=rate)
        assert quote["fee"] == answer["fee"] >= rate * tx.size
        assert quote["inputs"] == len(tx.inputs)
        assert quote["change"] == tx.outputs[1].value
        # A signature's length may differ between the two by a byte or so.
        assert abs(quote["size"] - tx.size) <= 2

    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ({"account": 2}, "accounts 0 to 1"),
            ({"account": "1"}, "accounts 0 to 1"),
            ({"fee_rate": 0}, "a fee rate is 1 to 10000"),
            ({"fee_rate": "3"}, "a whole number of atoms per byte"),
            ({"fee_rate": 2**60}, "a fee rate is 1 to 10000"),
        ],
    )
    def test_a_bad_order_is_one_sentence(self, node, params, error):
        order = {"address": RECEIVER, "atoms": COIN, **params}
        assert error in node.order("wallet.send", **order)["error"]
        with pytest.raises(InvalidInput, match=error):
            node.core.query("wallet.quote", order)


class TestBalance:
    def test_each_account_and_all_together(self, node):
        answer = node.core.query("wallet.balance", {})
        assert [row["spendable"] for row in answer["accounts"]] == [30 * COIN, 12 * COIN]
        assert (answer["spendable"], answer["total"], answer["waiting"]) == (42 * COIN, 42 * COIN, 0)
        assert [row["address"] for row in answer["accounts"]] == [
            row["address"] for row in node.core.query("wallet.accounts", {})
        ]

    def test_what_we_pay_waits_until_it_is_in_a_block(self, node):
        answer, _ = paid(node, atoms=10 * COIN)
        after = node.core.query("wallet.balance", {})
        assert (after["total"], after["waiting"]) == (42 * COIN, -10 * COIN - answer["fee"])

    def test_what_goes_from_account_to_account_stays_ours(self, node):
        answer = node.order("wallet.send", address=address.encode("dpai", owner(1)), atoms=10 * COIN)
        assert node.core.query("wallet.balance", {})["waiting"] == -answer["fee"]
        rows = node.core.query("wallet.balance", {})["accounts"]
        assert [row["waiting"] for row in rows] == [-10 * COIN - answer["fee"], 10 * COIN]
