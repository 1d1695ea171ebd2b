"""Targets: accounts come back with the journal, also to a core without secrets; what counts as ours is what a
walk through all unspent outputs finds, whatever happened to the chain; no secret is ever shown.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain.fork_choice import Switch
from p2pai.chain.transaction import Pay
from p2pai.node.accounts import ACCOUNTS_MAX, AccountAdded, Accounts
from p2pai.node.core import NodeCore
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, PeerId
from p2pai.primitives.keys import PublishedKeys
from p2pai.primitives.mnemonic import KeyTree
from p2pai.roles.base import Identity
from tests.chain.ledger import Chain, devnet, key_hash, keys, public
from tests.node.parts import Driven

WALLET = KeyTree(bytes(range(32)))
COIN = 10**8


def accounts(number, source=None):
    return Accounts(Identity.of(keys(number), PeerId("me")), source)


def of_wallet(count):
    made = Accounts(Identity.of(WALLET.account(0), PeerId("me")), WALLET)
    for _ in range(count - 1):
        made.add(made.next_record())
    return made


class TestAdding:
    def test_each_has_the_key_of_its_number(self):
        for number, account in enumerate(of_wallet(4)):
            assert account.secret == WALLET.account(number).spending
            assert account.public == ecdsa.public_key(account.secret)
            assert account.number == number

    def test_the_journal_brings_them_back(self):
        node = Driven(source=WALLET)
        assert node.order("wallet.add_account")["state"] == "preparing"
        node.persist()
        assert node.order("wallet.add_account", order="2")["state"] == "preparing"
        node.persist()
        rows = node.core.query("wallet.accounts", {})
        assert [row["account"] for row in rows] == [0, 1, 2]
        assert node.restarted(source=WALLET).core.query("wallet.accounts", {}) == rows
        # A core that only answers questions has the public key of account 0, and the journal.
        locked = NodeCore(
            devnet(), ecdsa.public_key(WALLET.account(0).spending), PeerId("peer7"), (), node.disk
        )
        locked.handle(node.disk.started(), node.now_ms)
        assert locked.query("wallet.accounts", {}) == rows
        assert rows[1]["address"] == address.encode(
            "dpai", ecdsa.key_hash(ecdsa.public_key(WALLET.account(1).spending))
        )

    def test_two_at_once_are_two(self):
        node = Driven(source=WALLET)
        node.order("wallet.add_account", order="1")
        node.order("wallet.add_account", order="2")
        node.persist()
        assert len(node.core.accounts) == 3

    def test_the_journal_of_another_wallet_is_noticed(self):
        with pytest.raises(AssertionError, match="another wallet"):
            accounts(7, WALLET).add(AccountAdded(public(3)))

    def test_a_published_account_stands_alone(self):
        node = Driven(source=PublishedKeys(bytes(32)))
        assert "stands alone" in node.order("wallet.add_account")["error"]

    def test_a_locked_wallet_adds_none(self):
        with pytest.raises(InvalidInput, match="locked"):
            accounts(7).next_record()

    def test_there_is_a_most(self, monkeypatch):
        made = of_wallet(2)
        monkeypatch.setattr("p2pai.node.accounts.ACCOUNTS_MAX", 2)
        with pytest.raises(InvalidInput, match="at most 2 accounts"):
            made.next_record()
        assert ACCOUNTS_MAX == 1000

    @pytest.mark.parametrize("number", [2, -1, "0", True, None, 0.0])
    def test_an_account_that_is_none(self, number):
        with pytest.raises(InvalidInput, match="accounts 0 to 1"):
            of_wallet(2).get(number)

    def test_no_secret_shows(self):
        text = repr([*of_wallet(2)])
        assert all(WALLET.account(n).spending.hex() not in text for n in range(2))
        assert repr(WALLET.account(0).spending) not in text


def walked(state, number):
    return tuple(sorted(o for o, output in state.utxos.items() if output.key_hash == key_hash(number)))


def listed(ours, state):
    return tuple(sorted(ours.confirmed(ours.get(0), state)))


class TestWhatIsOurs:
    @settings(max_examples=12)
    @given(
        st.lists(st.tuples(st.integers(4, 8), st.integers(4, 8), st.integers(1, 30)), max_size=5), st.data()
    )
    def test_it_is_what_a_walk_finds(self, payments, data):
        chain, ours = Chain(), accounts(7)
        for payer, receiver, coins in payments:
            chain.post(payer, outputs=(Pay(Amount(coins * COIN), key_hash(receiver)),))
            if data.draw(st.booleans()):
                block = chain.mine()
                ours.follow(Switch((), (block,)))
            if data.draw(st.booleans()):
                assert listed(ours, chain.state) == walked(chain.state, 7)
        assert listed(ours, chain.state) == walked(chain.state, 7)

    def test_it_is_walked_through_once_and_then_followed(self):
        chain, ours = Chain(), accounts(7)
        listed(ours, chain.state)
        for n in range(3):
            chain.post(7, outputs=(Pay(Amount(COIN), key_hash(7 + n)),))
            ours.follow(Switch((), (chain.mine(),)))
            # A ledger that can't be walked through.
            assert listed(ours, replace(chain.state, utxos=None)) == walked(chain.state, 7)

    def test_a_jump_that_nobody_told_of_is_noticed(self):
        chain, ours = Chain(), accounts(7)
        listed(ours, chain.state)
        for _ in range(2):
            chain.post(7, outputs=(Pay(Amount(COIN), key_hash(9)),))
            block = chain.mine()
        ours.follow(Switch((), (block,)))
        assert listed(ours, chain.state) == walked(chain.state, 7)

    def test_a_reorganisation_brings_back_what_was_spent(self):
        chain, ours = Chain(), accounts(7)
        before = chain.fork()
        assert listed(ours, chain.state) == walked(chain.state, 7)
        chain.post(7, outputs=(Pay(Amount(COIN), key_hash(9)),))
        spent = chain.mine()
        ours.follow(Switch((), (spent,)))
        assert listed(ours, chain.state) == walked(chain.state, 7)
        other = before.mine()
        ours.follow(Switch((spent,), (other,)))
        assert listed(ours, before.state) == walked(before.state, 7) != walked(chain.state, 7)

    def test_change_of_our_own_waits_and_others_promises_do_not_count(self):
        chain, ours = Chain(), accounts(7)
        own = chain.post(7, outputs=(Pay(Amount(COIN), key_hash(9)),))
        chain.post(9, outputs=(Pay(Amount(COIN), key_hash(7)),))
        ours.post(own)
        change = ours.waiting(ours.get(0), chain.state, chain.pool)
        assert [(o.txid, chain.pool.utxos[o].key_hash) for o in change] == [(own.txid, key_hash(7))]
        before = chain.state
        chain.mine()
        assert ours.waiting(ours.get(0), chain.state, chain.pool) == ()
        # On another branch the block is no more, and what it held waits again.
        assert ours.waiting(ours.get(0), before, chain.pool) == change
        ours.post(chain.post(7, outputs=(Pay(Amount(990 * COIN), key_hash(9)),)))
        assert change[0] not in ours.waiting(ours.get(0), chain.state, chain.pool)
