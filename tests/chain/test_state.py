"""Targets: a state is a value; its digest is the same on every node, in whatever order its tables walk."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from p2pai.chain.state import Stage
from p2pai.chain.transaction import Pay
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import CLIENT, MINERS, Chain, key_hash, label
from tests.chain.play import play

PROGRAM = """
from tests.chain.ledger import Chain
from tests.chain.play import play
chain = Chain()
play(chain, seed=5, blocks=8)
print(chain.state.digest().hex(), chain.state.tip.hex())
"""


def in_another_process(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_digest_does_not_depend_on_the_hash_seed():
    chain = Chain()
    play(chain, seed=5, blocks=8)
    here = [chain.state.digest().hex(), chain.state.tip.hex()]
    assert in_another_process("1") == in_another_process("2") == here


@pytest.fixture(scope="module")
def chain():
    chain = Chain()
    task_id = chain.start()
    chain.end_training(task_id)
    return chain


@pytest.mark.parametrize(
    "changes",
    [
        {"chain": label("other")},
        {"height": 99},
        {"tip": label("other")},
        {"weight": 1 << 300},
        {"issued": 1},
        {"burned": 1},
    ],
    ids=lambda c: next(iter(c)),
)
def test_the_digest_covers_the_head(chain, changes):
    assert replace(chain.state, **changes).digest() != chain.state.digest()


@pytest.mark.parametrize("table", ["utxos", "tickets", "tasks", "verifications"])
def test_the_digest_covers_every_row_of_every_table(chain, table):
    rows = getattr(chain.state, table)
    digests = {replace(chain.state, **{table: rows.delete(key)}).digest() for key in rows}
    assert len(digests | {chain.state.digest()}) == len(rows) + 1


def test_the_digest_covers_values(chain):
    outpoint, output = next(iter(chain.state.utxos.items()))
    richer = chain.state.utxos.set(outpoint, replace(output, value=output.value + 1))
    assert replace(chain.state, utxos=richer).digest() != chain.state.digest()


def test_the_digest_does_not_depend_on_how_a_table_was_filled(chain):
    rows = sorted(chain.state.utxos.items())
    table = chain.state.utxos
    for outpoint, _ in rows:
        table = table.delete(outpoint)
    for outpoint, output in reversed(rows):
        table = table.set(outpoint, output)
    assert replace(chain.state, utxos=table).digest() == chain.state.digest()


def test_the_digest_covers_what_the_next_header_depends_on():
    chain = Chain()
    chain.mine_until(2)
    rest = {"times": (1,), "bits": 1, "anchor": (1, 2, 3), "pending": chain.state.pending.delete(1)}
    for name, value in rest.items():
        assert replace(chain.state, **{name: value}).digest() != chain.state.digest()


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
        assert ticket.is_mature(1, 128)

    def test_bought_tickets_mature_after_a_while(self, chain):
        ticket = replace(chain.state.tickets[chain.verifier(1)], height=10)
        assert [ticket.is_mature(h, 2) for h in (10, 11, 12, 13)] == [False, False, True, True]


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
    before, digest = chain.state, chain.state.digest()
    rows = dict(before.utxos.items())
    chain.mine()
    assert chain.state is not before
    assert dict(before.utxos.items()) == rows
    assert before.digest() == digest


def test_the_total_is_of_all_outputs(chain):
    outpoint = Outpoint(label("coin"), 0)
    more = replace(chain.state, utxos=chain.state.utxos.set(outpoint, Pay(7, key_hash(MINERS[0]))))
    assert more.unspent_total() == chain.state.unspent_total() + 7
