"""Targets: a state is a value; its digest is the same on every node, in whatever order its tables walk."""

import os
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from p2pai.chain.committee import Committee, Dealt
from p2pai.chain.roster import Shift
from p2pai.chain.state import Finding, Join, Keying, Sealed, Stage, Task, Ticket
from p2pai.chain.transaction import Conclusion, Pay
from p2pai.primitives.ids import Outpoint
from tests.chain.assembly import Assembly
from tests.chain.ledger import CLIENT, MINERS, Chain, definition, key_hash, label
from tests.chain.play import play

PROGRAM = """
from tests.chain.assembly import Assembly
from tests.chain.play import play
chain = Assembly()
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
    chain = Assembly()
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


TICKET = Outpoint(label("ticket"), 0)
JOIN = Join(TICKET, "miner", bytes(64), label("block"))
KEYING = Keying(1, 2, (TICKET,), (TICKET,), label("context"))
CHANGES = {
    Ticket: {
        "role": "verifier",
        "owner": b"\x02" + label("owner"),
        "key_hash": key_hash(9),
        "preferences": (1, 2),
        "vrf_key": label("vrf"),
        "bls_key": bytes(48),
        "peer": "another",
        "height": 77,
        "expires": 77,
        "task": label("other"),
    },
    Task: {
        "definition": definition(name="another"),
        "client": key_hash(9),
        "fee": 77,
        "stake": TICKET,
        "definition_block": label("other"),
        "stage": Stage.PAID,
        "since": 77,
        "history": (("joining", 77),),
        "omegas": ((1, 2),),
        "joins": (JOIN,),
        "miners": (TICKET,),
        "supervisors": (TICKET,),
        "evaluators": (TICKET,),
        "reserves": (TICKET,),
        "expelled": (TICKET,),
        "shifts": (Shift(2, (TICKET,)),),
        "captured": 77,
        "attempts": 77,
        "keying": KEYING,
        "committee": None,
        "view": (0, 77),
        "slots": 77,
        "models": label("other"),
        "round": 77,
        "commits": (Sealed(TICKET, label("sealed")),),
        "findings": (Finding(TICKET, Conclusion((1,), 1, label("model"))),),
        "conclusion": Conclusion((), 0, label("model")),
    },
    Keying: {
        "attempt": 77,
        "since": 77,
        "members": (),
        "dealers": (),
        "context": label("other"),
        "dealt": "filled in",
        "committee": "filled in",
        "confirmed": (TICKET,),
    },
    Committee: {
        "members": (TICKET,),
        "threshold": 77,
        "key": bytes(48),
        "shares": (bytes(48),),
        "dealt": (),
        "context": label("other"),
        "renewed": True,
    },
    Dealt: {
        "ticket": TICKET,
        "index": 77,
        "context": label("other"),
        "deal": "filled in",
        "signature": b"other",
    },
    Join: {
        "ticket": Outpoint(label("ticket"), 1),
        "role": "x",
        "beta": b"other",
        "definition_block": label("x"),
    },
}
"""Another value for every field of what a task's row is made of."""


def test_the_digest_covers_every_field_of_a_ticket(chain):
    assert set(CHANGES[Ticket]) == {f.name for f in fields(Ticket)}
    ticket, row = next(iter(sorted(chain.state.tickets.items())))
    digests = {
        replace(chain.state, tickets=chain.state.tickets.set(ticket, replace(row, **{name: value}))).digest()
        for name, value in CHANGES[Ticket].items()
    }
    assert len(digests | {chain.state.digest()}) == len(CHANGES[Ticket]) + 1


def digests_of(chain, variants):
    """Return the digests of the state with each variant in the place of the task in evaluation."""
    task_id = next(i for i, t in chain.state.tasks.items() if t.stake)
    states = (replace(chain.state, tasks=chain.state.tasks.set(task_id, v)) for v in variants)
    return [state.digest() for state in states]


def test_the_digest_covers_every_field_of_a_task(chain):
    """And of its key, the deals it came from, an attempt at another key, and an application."""
    task = next(t for t in chain.state.tasks.values() if t.stake)
    made = task.committee
    first, *rest = made.dealt
    for kind, changes in CHANGES.items():
        assert set(changes) == {f.name for f in fields(kind)}
    keying = CHANGES[Keying] | {"dealt": (first,), "committee": made}
    dealing = CHANGES[Dealt] | {"deal": rest[0].deal}
    variants = [task]
    variants += [replace(task, **{name: value}) for name, value in CHANGES[Task].items()]
    variants += [replace(task, keying=replace(KEYING, **{n: v})) for n, v in keying.items()]
    variants += [replace(task, committee=replace(made, **{n: v})) for n, v in CHANGES[Committee].items()]
    variants += [replace(task, joins=(replace(JOIN, **{n: v}),)) for n, v in CHANGES[Join].items()]
    for name, value in dealing.items():
        dealt = (replace(first, **{name: value}), *rest)
        variants.append(replace(task, committee=replace(made, dealt=dealt)))
    for name in ("commitments", "possession", "point", "knowledge", "shares"):
        deal = replace(first.deal, **{name: getattr(rest[0].deal, name)})
        variants.append(replace(task, committee=replace(made, dealt=(replace(first, deal=deal), *rest))))
    assert len(set(digests_of(chain, variants))) == len(variants)


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
