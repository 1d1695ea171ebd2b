"""Targets: every method answers in JSON's types, changes nothing, and says of an unknown one that it is
unknown; money is told to the atom.

A real core on a real chain.
"""

import json
import re

import pytest

import p2pai
from p2pai.chain.snapshot import snapshot_id
from p2pai.node import queries
from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput
from tests.chain.ledger import CLIENT, SUPERVISORS, VERIFIERS, Chain, devnet, genesis, key_hash
from tests.node.parts import Driven, paid_chain, payment

METHODS = {
    "node.status": {},
    "wallet.balance": {},
    "wallet.accounts": {},
    "wallet.quote": {"address": address.encode("dpai", key_hash(9)), "atoms": 1},
    "wallet.history": {},
    "supply": {},
    "chain.status": {},
    "tx.show": {"tx": "00000000"},
    "block.list": {},
    "block.show": {"block": "1"},
    "task.list": {},
    "task.show": {},
    "task.progress": {},
    "ticket.list": {},
    "ticket.refundable": {},
    "dkg.transcript": {},
    "replay.job": {"block": "1"},
}
"""Questions that have an answer as soon as there is a block; those about a task get its id besides."""


@pytest.fixture(scope="module")
def paid():
    """A client's node that has seen its task paid, and the task's id."""
    chain, task = paid_chain()
    node = Driven(CLIENT, roles=("client",))
    node.connect()
    node.hear_chain(chain)
    return node, task, chain


def ask(paid, method, **params):
    node, task, _ = paid
    if method.startswith(("task.", "dkg.")):
        params = {"task": task.hex(), **params}
    return node.core.query(method, {**METHODS.get(method, {}), **params})


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_it_answers_in_jsons_types(self, paid, method):
        answer = ask(paid, method)
        assert json.loads(json.dumps(answer)) == answer

    def test_it_changes_nothing(self, paid, method):
        node, _, _ = paid
        before = snapshot_id(node.core.state), snapshot_id(node.core.pool), dict(node.core.following)
        first, second = ask(paid, method), ask(paid, method)
        assert first == second
        assert node.core.take_effects() == []
        assert (snapshot_id(node.core.state), snapshot_id(node.core.pool), node.core.following) == before

    def test_a_node_that_plays_no_role_answers_as_well(self, paid, method):
        _, task, chain = paid
        peer = Driven()
        peer.hear_chain(chain)
        answer = ask((peer, task, chain), method)
        assert type(answer) is type(ask(paid, method))


def test_no_method_is_left_out():
    assert set(queries._QUESTIONS) == {*METHODS, "submission", "replay.verdict"}


@pytest.mark.parametrize("method", ["", "block", "Block.list", "wallet.keys", "task.submit"])
def test_an_unknown_method_is_refused(paid, method):
    with pytest.raises(InvalidInput, match=f"^there is no method {re.escape(repr(method))}$"):
        paid[0].core.query(method, {})


class TestStatus:
    def test_all_of_it(self, paid):
        _, _, chain = paid
        assert ask(paid, "node.status") == {
            "version": p2pai.__version__,
            "chain": "devnet",
            "chain_id": devnet().id.hex(),
            "peer_id": "peer0",
            "address": address.encode("dpai", key_hash(CLIENT)),
            "roles": ["client"],
            "height": chain.height,
            "tip": chain.state.tip.hex(),
            "state_digest": snapshot_id(chain.state).hex(),
            "remotes": 1,
            "mempool": 0,
            "ticket_price": 1_000_000_000,
            "checkpoint": f"0:{chain.state.checkpoint.block.hex()}:{bytes(32).hex()}",
            "origin": None,
            "mining": None,
        }

    def test_what_waits_is_counted(self):
        node = Driven()
        node.hear("tx", payment(Chain()).encoded)
        assert node.core.query("node.status", {})["mempool"] == 1


class TestBalance:
    def test_money_stakes_and_their_sum(self):
        node = Driven(SUPERVISORS[0], roles=("peer",))
        price = devnet().params.ticket_price_atoms
        money = {
            "address": address.encode("dpai", key_hash(SUPERVISORS[0])),
            "spendable": 1_000 * 10**8,
            "staked": 4 * price,
            "total": 1_000 * 10**8 + 4 * price,
            "waiting": 0,
        }
        answer = node.core.query("wallet.balance", {})
        assert answer == {**money, "accounts": [{"account": 0, **money}]}

    def test_what_waits_does_not_count_yet(self):
        node = Driven(9)
        node.hear("tx", payment(Chain(), value=777, receiver=9).encoded)
        answer = node.core.query("wallet.balance", {})
        assert (answer["total"], answer["waiting"]) == (1_000 * 10**8, 777)

    def test_the_client_paid_its_fee_and_the_fees_of_transactions(self, paid):
        _, _, chain = paid
        answer = ask(paid, "wallet.balance")
        owned = [o.value for o in chain.state.utxos.values() if o.key_hash == key_hash(CLIENT)]
        assert answer["total"] == answer["spendable"] == sum(owned) == 10_000 * 10**8 - 1_000_000 - 2_000


class TestSupply:
    def test_every_atom_is_accounted_for(self, paid):
        _, _, chain = paid
        answer = ask(paid, "supply")
        assert answer["holds"] is True
        assert answer["unspent"] == chain.state.unspent_total() == answer["issued"] - answer["burned"]

    def test_an_approved_block_has_issued_its_subsidy(self, paid):
        _, _, chain = paid
        assert all(v.approvals == 0 for v in chain.state.verifications.values())
        issued = ask(paid, "supply")["issued"]
        assert issued - genesis(devnet()).issued == devnet().params.subsidy_atoms
        assert len(VERIFIERS) == 3
