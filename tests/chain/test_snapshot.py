"""Targets: a state's one encoding, and its id: the same on every node, in whatever order its tables walk."""

import os
import subprocess
import sys
from dataclasses import fields, replace
from random import Random

import pytest
from immutables import Map

from p2pai.chain import snapshot
from p2pai.chain.committee import Committee, Dealt
from p2pai.chain.roster import Shift
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Considered, Finding, Join, Keying, Sealed, Stage, State, Task, Ticket
from p2pai.chain.transaction import Conclusion, Pay
from p2pai.primitives import record
from p2pai.primitives.blob import blob_id_of
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Outpoint
from tests.chain.assembly import Assembly
from tests.chain.ledger import Chain, definition, key_hash, label
from tests.chain.play import play

PROGRAM = """
from p2pai.chain.snapshot import snapshot_id
from tests.chain.assembly import Assembly
from tests.chain.play import play
chain = Assembly()
play(chain, seed=5, blocks=8)
print(snapshot_id(chain.state).hex(), chain.state.tip.hex())
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
    here = [snapshot_id(chain.state).hex(), chain.state.tip.hex()]
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
    assert snapshot_id(replace(chain.state, **changes)) != snapshot_id(chain.state)


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
        "considering": (Considered(TICKET, 77),),
        "pauses": 77,
        "trained_blocks": 77,
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
        snapshot_id(
            replace(chain.state, tickets=chain.state.tickets.set(ticket, replace(row, **{name: value})))
        )
        for name, value in CHANGES[Ticket].items()
    }
    assert len(digests | {snapshot_id(chain.state)}) == len(CHANGES[Ticket]) + 1


def digests_of(chain, variants):
    """Return the digests of the state with each variant in the place of the task in evaluation."""
    task_id = next(i for i, t in chain.state.tasks.items() if t.stake)
    states = (replace(chain.state, tasks=chain.state.tasks.set(task_id, v)) for v in variants)
    return [snapshot_id(state) for state in states]


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
    digests = {snapshot_id(replace(chain.state, **{table: rows.delete(key)})) for key in rows}
    assert len(digests | {snapshot_id(chain.state)}) == len(rows) + 1


def test_the_digest_covers_values(chain):
    outpoint, output = next(iter(chain.state.utxos.items()))
    richer = chain.state.utxos.set(outpoint, replace(output, value=output.value + 1))
    assert snapshot_id(replace(chain.state, utxos=richer)) != snapshot_id(chain.state)


def test_the_digest_does_not_depend_on_how_a_table_was_filled(chain):
    rows = sorted(chain.state.utxos.items())
    table = chain.state.utxos
    for outpoint, _ in rows:
        table = table.delete(outpoint)
    for outpoint, output in reversed(rows):
        table = table.set(outpoint, output)
    assert snapshot_id(replace(chain.state, utxos=table)) == snapshot_id(chain.state)


def test_the_digest_covers_what_the_next_header_depends_on():
    chain = Chain()
    chain.mine_until(2)
    rest = {"times": (1,), "bits": 1, "anchor": (1, 2, 3), "pending": chain.state.pending.delete(1)}
    for name, value in rest.items():
        assert snapshot_id(replace(chain.state, **{name: value})) != snapshot_id(chain.state)


def frames(data):
    """Cut an encoding into its parts, each with its length in front."""
    start, parts = 0, []
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "big")
        parts.append(data[start:end])
        start = end
    return parts


def frame(part):
    body = record.encode_tagged(part)
    return len(body).to_bytes(4, "big") + body


@pytest.fixture(scope="module")
def played():
    """States of a long random history: tasks in many stages, verifications, payments."""
    chain, states = Assembly(), []
    play(chain, seed=11, blocks=30, after=lambda: states.append(chain.state))
    return states


def wide(state, rows):
    """Return the state with many more unspent outputs."""
    more = {Outpoint(label(f"coin {i}"), i % 3): Pay(i, key_hash(i % 7)) for i in range(rows)}
    return replace(state, utxos=state.utxos.update(more))


class TestRoundTrip:
    def test_a_history(self, played):
        for state in played:
            again = snapshot.decode(snapshot.encode(state))
            assert again == state
            assert snapshot_id(again) == snapshot_id(state)
        assert any(len(state.tasks) > 2 for state in played)

    def test_a_task_in_evaluation(self, chain):
        assert snapshot.decode(snapshot.encode(chain.state)) == chain.state

    def test_several_pages_and_chunks(self, chain):
        state = wide(chain.state, 20 * snapshot.PAGE_ROWS)
        data = snapshot.encode(wide(state, 20_000))
        assert len(data) > 1 << 20
        assert snapshot.decode(data) == wide(state, 20_000)

    @pytest.mark.parametrize("rows", [-1, 0, 1])
    def test_a_page_just_full(self, chain, rows):
        empty = replace(chain.state, utxos=Map())
        state = wide(empty, snapshot.PAGE_ROWS + rows)
        assert snapshot.decode(snapshot.encode(state)) == state

    def test_every_field_of_the_state_is_written(self):
        """A new field belongs into the head, or is a table."""
        head = {f.name for f in fields(snapshot.Head)}
        assert head - {"rows"} | set(snapshot.TABLES) == {f.name for f in fields(State)}

    def test_the_id_is_the_content_id_of_the_bytes(self, chain):
        assert snapshot_id(chain.state) == blob_id_of(snapshot.encode(chain.state))

    def test_a_heavy_chain(self, chain):
        heavy = replace(chain.state, weight=(1 << 512) - 1)
        assert snapshot.decode(snapshot.encode(heavy)) == heavy


@pytest.fixture(scope="module")
def data(chain):
    return snapshot.encode(wide(chain.state, 2 * snapshot.PAGE_ROWS))


class TestMalformed:
    """Any bytes are a state's one encoding, or the sender's fault."""

    def refuse(self, data):
        with pytest.raises(InvalidInput):
            snapshot.decode(data)

    def test_nothing(self):
        self.refuse(b"")

    def test_cut_at_any_byte(self, data):
        for end in (*range(300), *range(300, len(data), 97), len(data) - 1):
            self.refuse(data[:end])

    def test_something_behind(self, data):
        self.refuse(data + b"\0")
        self.refuse(data + bytes(4))

    def test_another_byte_anywhere(self, data):
        """Another state, or none: never the same one by other bytes."""
        random, state = Random(5), snapshot.decode(data)
        refused = 0
        for _ in range(150):
            place = random.randrange(len(data))
            spoilt = data[:place] + bytes([data[place] ^ random.randrange(1, 256)]) + data[place + 1 :]
            try:
                assert snapshot.decode(spoilt) != state
            except InvalidInput:
                refused += 1
        assert refused > 20

    def test_parts_left_out_doubled_or_moved(self, data):
        parts = frames(data)
        assert len(parts) > 6
        for i in range(len(parts)):
            self.refuse(b"".join(parts[: i + 1] + parts[i:]))
            if i:
                self.refuse(b"".join((*parts[: i - 1], parts[i], parts[i - 1], *parts[i + 1 :])))
        self.refuse(b"".join(parts[1:]))
        self.refuse(b"".join((parts[0], *parts[2:])))

    def test_pages_that_are_not_full_or_not_in_order(self, chain):
        rows = tuple(sorted(chain.state.utxos.items()))
        head = frame(replace(self.head(chain), rows=(len(rows), 0, 0, 0, 0)))
        sound = head + frame(snapshot.Utxos(rows))
        snapshot.decode(sound)
        self.refuse(head + frame(snapshot.Utxos(rows[:1])) + frame(snapshot.Utxos(rows[1:])))
        self.refuse(head + frame(snapshot.Utxos(rows[::-1])))
        self.refuse(head + frame(snapshot.Utxos((rows[0], *rows))))
        self.refuse(sound + frame(snapshot.Tickets(())))

    @pytest.mark.parametrize("weight", [0, 63, 65])
    def test_a_weight_of_another_size(self, chain, weight):
        self.refuse(frame(replace(self.head(chain), weight=bytes(weight))))

    def test_no_times(self, chain):
        self.refuse(frame(replace(self.head(chain), times=())))

    def test_two_heads(self, chain):
        head = frame(replace(self.head(chain), rows=(0, 0, 0, 0, 0)))
        snapshot.decode(head)
        self.refuse(head + head)

    def test_another_record(self, chain):
        head = frame(replace(self.head(chain), rows=(0, 0, 0, 0, 0)))
        self.refuse(head + frame(Sealed(TICKET, label("sealed"))))

    def head(self, chain):
        body = frames(snapshot.encode(chain.state))[0][4:]
        return record.decode_tagged(snapshot.Head, body, size_max=len(body))
