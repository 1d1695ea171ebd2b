"""Targets: tickets are bought at the state's price with the node's keys; a stake is refunded when the ledger
allows it and not before; what holds it is told.
"""

from dataclasses import replace

import pytest

from p2pai.chain.mempool import Mempool
from p2pai.chain.state import Stage
from p2pai.chain.transaction import BuyTickets, Transaction, Transfer
from p2pai.primitives.errors import InvalidInput
from p2pai.vrf import ecvrf
from tests.chain.ledger import CLIENT, MINERS, SUPERVISORS, Chain, devnet, key_hash, keys
from tests.node.parts import Driven, said

COIN = 10**8


def node_of(chain, account=7):
    node = Driven(account)
    node.hear_chain(chain)
    return node


def posted(node, method, **params):
    answer = node.order(method, **params)
    assert answer["state"] == "posted", answer
    return Transaction.decode(said(node.persist(), "tx")[0])


class TestBuying:
    def test_as_many_as_wanted_at_the_price_of_the_state(self):
        node = node_of(Chain())
        tx = posted(node, "ticket.buy", role="miner", count=3, preferences=[1, 2])
        assert isinstance(tx.data, BuyTickets)
        assert [o.value for o in tx.outputs[:3]] == [node.core.state.ticket_price] * 3
        assert (tx.data.role, tx.data.preferences, tx.data.peer) == ("miner", (1, 2), "peer7")
        assert tx.data.vrf_key == ecvrf.public_key(keys(7).vrf)
        assert sum(t.key_hash == key_hash(7) for t in node.core.pool.tickets.values()) == 3

    def test_without_a_wish_all_traits_count_alike(self):
        assert posted(node_of(Chain()), "ticket.buy", role="verifier").data.preferences == (1, 1)

    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ({}, "the order lacks or misuses 'role'"),
            ({"role": "king"}, "no tickets for the role 'king'"),
            ({"role": ["miner"]}, "no tickets for the role"),
            ({"role": "miner", "count": 0}, "1 to 50 tickets"),
            ({"role": "miner", "count": 51}, "1 to 50 tickets"),
            ({"role": "miner", "count": True}, "1 to 50 tickets"),
            ({"role": "miner", "preferences": [1]}, "a ticket has 2 preferences"),
            ({"role": "miner", "preferences": [0, 0]}, "traits are all zero"),
            ({"role": "miner", "preferences": [1, -1]}, "trait"),
            ({"role": "miner", "preferences": "11"}, "whole numbers"),
            ({"role": "miner", "preferences": [1, "1"]}, "whole numbers"),
        ],
        ids=str,
    )
    def test_a_bad_order_is_one_sentence(self, params, error):
        node = node_of(Chain())
        answer = node.order("ticket.buy", **params)
        assert answer["state"] == "failed"
        assert error in answer["error"]
        assert "\n" not in answer["error"]
        assert node.pending == {}

    def test_more_than_the_wallet_holds(self):
        chain = Chain()
        chain.post(7, outputs=(replace_value(chain, 7),))
        chain.mine()
        assert "cannot pay" in node_of(chain).order("ticket.buy", role="miner", count=50)["error"]


def replace_value(chain, account):
    """Nearly all of an account's money for somebody else."""
    from p2pai.chain.transaction import Pay

    return Pay(990 * COIN, key_hash(9))


class TestListing:
    def test_our_own_or_all(self):
        node = node_of(Chain(), SUPERVISORS[0])
        every = node.core.query("ticket.list", {})
        own = node.core.query("ticket.list", {"own": True})
        assert len(every) == 18
        assert own == [row for row in every if row["own"]]
        assert len(own) == 4

    def test_when_it_lives_and_expires(self):
        chain = Chain()
        chain.add(chain.buy(7))
        chain.mine()
        (row,) = node_of(chain).core.query("ticket.list", {"own": True})
        params = devnet().params
        assert row["live_from"] == 1 + params.ticket_maturity_blocks
        assert row["expires"] == 1 + params.ticket_maturity_blocks + params.ticket_expiry_blocks
        assert (row["state"], row["height"]) == ("immature", 1)


def expired(chain, account):
    """A chain on which the free tickets of an account are expired at the next block."""
    tickets = chain.state.tickets
    for outpoint, ticket in tickets.items():
        if ticket.key_hash == key_hash(account) and ticket.task is None:
            tickets = tickets.set(outpoint, replace(ticket, expires=chain.state.height + 1))
    return Chain(state=replace(chain.state, tickets=tickets))


class TestRefunding:
    def test_nothing_of_ours_is_staked(self):
        node = node_of(Chain())
        assert node.core.query("ticket.refundable", {}) == []
        assert "no stake can be refunded now" in node.order("ticket.refund")["error"]

    def test_why_not_yet(self):
        chain = Chain()
        chain.add(chain.buy(7, role="verifier"))
        chain.mine()
        (row,) = node_of(chain).core.query("ticket.refundable", {})
        expiry = next(t.expires for t in chain.state.tickets.values() if t.key_hash == key_hash(7))
        price = devnet().params.ticket_price_atoms
        assert row == {
            "stake": row["stake"], "atoms": price, "role": "verifier",
            "free": False, "from": expiry, "why": "waits to be drawn",
        }  # fmt: skip
        why = [row["why"] for row in node_of(chain, MINERS[0]).core.query("ticket.refundable", {})]
        assert any("works on task" in each for each in why)

    def test_a_tasks_fee_is_held_by_the_task(self):
        chain = Chain()
        task = chain.submit(fee=5 * COIN)
        (row,) = node_of(chain, CLIENT).core.query("ticket.refundable", {})
        assert row["why"] == f"fee of task {task.hex()[:16]}, until it is over"
        assert row["free"] is False

    def test_a_fee_that_came_back_is_refunded(self):
        chain = Chain()
        task = chain.submit(fee=5 * COIN)
        chain.mine_until(chain.task(task).since + chain.params.join_blocks)
        assert chain.task(task).stage is Stage.EXPIRED
        node = node_of(chain, CLIENT)
        (row,) = node.core.query("ticket.refundable", {})
        assert (row["free"], row["why"]) == (True, "free")
        tx = posted(node, "ticket.refund")
        assert tx.data == Transfer()
        assert tx.inputs == (chain.task(task).stake,)
        assert [(o.key_hash, o.value > 5 * COIN - 1_000) for o in tx.outputs] == [(key_hash(CLIENT), True)]
        assert "no stake" in node.order("ticket.refund", order="again")["error"]

    def test_stakes_of_expired_tickets_are_refunded_together(self):
        chain = Chain()
        chain.add(chain.buy(7, count=3))
        chain.mine()
        node = node_of(chain)
        assert "no stake can be refunded now" in node.order("ticket.refund")["error"]
        aged = expired(chain, 7)
        # The clock of a test chain can't be moved on by 256 blocks in reasonable time, the ticket's can.
        node.core.ledger.tree._branches[chain.state.tip] = replace(
            node.core.ledger.tree.get(chain.state.tip), state=aged.state
        )
        node.core.ledger.mempool = Mempool(node.core.state, node.core.params)
        assert all(row["free"] for row in node.core.query("ticket.refundable", {}))
        tx = posted(node, "ticket.refund", order="later")
        assert len(tx.inputs) == 3
        assert len(tx.outputs) == 1
        assert not any(t.key_hash == key_hash(7) for t in node.core.pool.tickets.values())

    @pytest.mark.parametrize("account", [1, "0", None])
    def test_an_account_that_is_none(self, account):
        node = node_of(Chain())
        assert "accounts 0 to 0" in node.order("ticket.refund", account=account)["error"]
        with pytest.raises(InvalidInput, match="accounts 0 to 0"):
            node.core.query("ticket.refundable", {"account": account})
