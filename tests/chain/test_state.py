"""Targets: a state is a value, and what it answers about tickets, tasks and money."""

from dataclasses import replace

import pytest

from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Stage
from p2pai.chain.transaction import Pay
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import CLIENT, MINERS, Chain, key_hash, label


@pytest.fixture(scope="module")
def chain():
    chain = Chain()
    task_id = chain.start()
    chain.end_training(task_id)
    return chain


class TestTickets:
    def test_live_ones_are_free_mature_and_in_order(self, chain):
        live = chain.state.live_tickets("miner", chain.height, 2)
        assert live == sorted(live)
        assert all(chain.state.tickets[t].task is None for t in live)
        working = [t for t, k in chain.state.tickets.items() if k.role == "miner" and k.task]
        assert len(working) == 6
        assert not set(working) & set(live)

    def test_bootstrap_tickets_are_mature_from_the_start(self, chain):
        ticket = chain.state.tickets[chain.verifier(1)]
        assert ticket.height == 0
        assert ticket.is_live(1, 128)

    def test_bought_tickets_mature_after_a_while(self, chain):
        ticket = replace(chain.state.tickets[chain.verifier(1)], height=10)
        assert [ticket.is_live(h, 2) for h in (10, 11, 12, 13)] == [False, False, True, True]

    def test_free_ones_expire(self, chain):
        ticket = replace(chain.state.tickets[chain.verifier(1)], height=10, expires=20)
        assert [ticket.is_live(h, 2) for h in (11, 12, 19, 20, 21)] == [False, True, True, False, False]
        assert [ticket.is_expired(h) for h in (19, 20, 21)] == [False, True, True]

    def test_working_ones_do_not_expire(self, chain):
        ticket = replace(chain.state.tickets[chain.verifier(1)], height=10, expires=20, task=chain.predefined)
        assert not ticket.is_expired(30)

    def test_without_an_expiry_they_live_for_ever(self, chain):
        ticket = replace(chain.state.tickets[chain.verifier(1)], height=10, expires=0)
        assert ticket.is_live(10**9, 2)
        assert not ticket.is_expired(10**9)


def test_active_tasks_are_those_that_are_not_over():
    chain = Chain()
    task_id = chain.start(expected_blocks=1)
    assert [i for i, _ in chain.state.active_tasks()] == sorted([task_id, chain.predefined])
    chain.mine()
    assert chain.task(task_id).stage is Stage.FAILED
    assert [i for i, _ in chain.state.active_tasks()] == [chain.predefined]


def test_a_state_is_not_changed_by_what_follows():
    chain = Chain()
    chain.post(CLIENT, outputs=(Pay(5, key_hash(9)),))
    before, digest = chain.state, snapshot_id(chain.state)
    rows = dict(before.utxos.items())
    chain.mine()
    assert chain.state is not before
    assert dict(before.utxos.items()) == rows
    assert snapshot_id(before) == digest


def test_the_total_is_of_all_outputs(chain):
    outpoint = Outpoint(label("coin"), 0)
    more = replace(chain.state, utxos=chain.state.utxos.set(outpoint, Pay(7, key_hash(MINERS[0]))))
    assert more.unspent_total() == chain.state.unspent_total() + 7
