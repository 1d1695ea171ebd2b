"""A real node core, driven by hand: the test is its network, its disk, its clock and its trainer.

What a core asks for is kept until the test grants it, so a test decides what is durable when, which timer
fires and what a remote answers. Blocks and transactions come from tests/chain/ledger.py and are real;
messages of a task are signed by its miners and certified by its supervisors, only what they trained is made
up.
"""

from dataclasses import replace

from p2pai import effects, events
from p2pai.chain import committee, it_res, schedule
from p2pai.chain.committee import CertifiedSlot, SlotStatement
from p2pai.chain.it_res import EndState, IterationResult
from p2pai.chain.transaction import Pay
from p2pai.effects import Verdict
from p2pai.gossip import sync
from p2pai.gossip.envelope import open_envelope, seal
from p2pai.gossip.topics import Topic
from p2pai.node.archive import Kept
from p2pai.node.core import NodeCore
from p2pai.node.orders import submission_id
from p2pai.primitives import blob, cbor, ecdsa, merkle, record
from p2pai.primitives.ids import ZERO_HASH, Amount, BlobId, PeerId
from p2pai.roles.history import ModelAnnouncement
from testnet.simulator.disk import Disk
from testnet.simulator.invariants import Agreement
from tests.chain.ledger import (
    CLIENT,
    MINERS,
    SUPERVISORS,
    VERIFIERS,
    Chain,
    devnet,
    key_hash,
    keys,
    label,
    sign_message,
)

START_MS = 1_780_000_000_000
"""Long after the blocks of tests/chain/ledger.py were made."""

REMOTE = PeerId("remote")
STRANGER = 9
"""An account that takes part in nothing."""

EMPTY_MAP = b"\0\0"
"""A message map with no element."""


class Driven:
    """A node core and what it waits for."""

    def __init__(
        self, account=7, roles=("peer",), writes=(), now_ms=START_MS, *, begin=True, source=None, spec=None
    ):
        known = keys(account) if source is None else source.account(0)
        self.disk = Disk()
        self.core = NodeCore(spec or devnet(), known, PeerId(f"peer{account}"), roles, self.disk, source)
        self.now_ms = now_ms
        self.writes = []
        """What is durable, in order."""
        self.effects = []
        """All so far."""
        self.pending = {}
        """Writes asked for, by token."""
        self.timers = {}
        self._requests = 0
        self._agreement = Agreement()
        for effect in writes:
            self._write(effect)
        self.give(self.disk.started())
        if begin:
            self.fire("begin")

    # --- what happens to it

    def give(self, event):
        """Let one thing happen; return what the core does about it."""
        reaction = self.core.handle(event, self.now_ms)
        self._agreement(self.core.identity.peer, event, reaction)
        for effect in reaction:
            if isinstance(effect, effects.Write):
                self.pending[effect.token] = effect
            elif isinstance(effect, effects.SetTimer):
                self.timers[effect.name] = effect.delay
        self.effects += reaction
        return reaction

    def fire(self, name):
        """Let a timer's time pass and the timer fire."""
        self.now_ms += self.timers.pop(name)
        return self.give(events.TimerFired(name))

    def persist(self):
        """Let the disk write all that it was asked to, and what follows from that."""
        reaction = []
        while self.pending:
            token = next(iter(self.pending))
            self._write(self.pending.pop(token))
            reaction += self.give(events.Persisted(token))
        return reaction

    def _write(self, effect):
        self.writes.append(effect)
        self.disk.write(effect)
        self.disk.sync()

    def connect(self, *remotes):
        return [effect for remote in remotes or (REMOTE,) for effect in self.give(events.Connected(remote))]

    def receive(self, topic, data, remote=REMOTE):
        """Give a gossip message as it is; return the verdict."""
        reaction = self.give(events.Received(remote, str(topic), data))
        (judge,) = [e for e in reaction if isinstance(e, effects.Judge)]
        return judge

    def hear(self, name, body, *, task=None, sender=STRANGER, remote=REMOTE):
        """Give a gossip message in a sound envelope."""
        topic = self.topic(name, task)
        self._requests += 1
        return self.receive(topic, seal(keys(sender).spending, topic, self._requests, body), remote)

    def ask(self, question):
        """Ask the core as a remote does; return the bytes of its answer."""
        self._requests += 1
        body = question if isinstance(question, bytes) else record.encode_tagged(question)
        reaction = self.give(events.Asked(self._requests, REMOTE, body))
        (answer,) = [e for e in reaction if isinstance(e, effects.Answer)]
        assert answer.request == self._requests
        return answer.body

    def answer(self, asked, reply):
        """Answer a question of the core's."""
        body = reply if isinstance(reply, bytes | None) else record.encode_tagged(reply)
        return self.give(events.Answered(asked.request, asked.remote, body))

    def order(self, method, **params):
        """Give an order of the local user; return what it reports of it."""
        data = cbor.encode(params)
        self.give(events.Submitted(method, data))
        return self.submission(data)

    def submission(self, params):
        return self.core.query("submission", {"id": submission_id(params).hex()})

    # --- what it is like

    def topic(self, name, task=None):
        return str(Topic(self.core.spec.short_id, task, name))

    def restarted(self, count=None, roles=("peer",), **changes):
        """Return a node that lives on from the first `count` durable writes."""
        writes = self.writes if count is None else self.writes[:count]
        account = int(self.core.identity.peer.removeprefix("peer"))
        return Driven(account, roles, writes, now_ms=self.now_ms + 1_000, **changes)

    @property
    def tip(self):
        return self.core.state.tip

    def hear_chain(self, chain):
        """Give every block of a chain that is new; they are durable then."""
        for block in chain.blocks:
            if block.hash not in self.core.ledger.tree:
                assert self.hear("block", block.encoded) == effects.Judge(Verdict.ACCEPT)
        self.persist()


def stored(blocks):
    """Return the writes of a chain of blocks; what else is kept of each is read only below the root."""
    kept = [Kept(block.encoded, key_hash(0), 0) for block in blocks]
    return [
        effects.StoreBlock(0, block.hash, height, record.encode(body))
        for height, (block, body) in enumerate(zip(blocks, kept, strict=True), start=1)
    ]


def of(reaction, kind):
    return [effect for effect in reaction if isinstance(effect, kind)]


def said(reaction, name):
    """Return the bodies that were published on the topics of a name."""
    published = of(reaction, effects.Publish)
    return [open_envelope(p.data, p.topic).body for p in published if p.topic.split("/")[4] == name]


def questions(reaction):
    return [sync.read_question(asked.body) for asked in of(reaction, effects.Ask)]


def payment(chain, payer=CLIENT, value=1_000, receiver=STRANGER):
    """Return a transfer that is not in any block yet."""
    return chain.fund(payer, outputs=(Pay(Amount(value), key_hash(receiver)),))


# --- chains, made once


def grown(count, start=None, **changes):
    chain = start.fork() if start else Chain()
    for _ in range(count):
        chain.mine(**changes)
    return chain


def paid_chain():
    """A chain with a task from submission to payment, and its id; its first block is approved."""
    chain = Chain()
    first = chain.mine()
    chain.approve(first, VERIFIERS)
    task = chain.submit()
    chain.begin(task)
    chain.end_training(task)
    chain.evaluate(task)
    chain.add(chain.charge(task))
    chain.mine()
    chain.mine()
    return chain, task


# --- messages of a task


def iteration(chain, number, account=MINERS[0], task=None, **changes):
    """Return the signed IT_RES of a miner's iteration."""
    task = task or chain.predefined
    known = chain.state.tasks[task]
    ticket = chain.tickets("miner", account, task=task)[0]
    plan = schedule.make_schedule(known.definition, known.definition_block)
    turn = known.roster.turn(plan, ticket, number)
    message = IterationResult(
        task_prefix=task[: it_res.TASK_PREFIX_SIZE],
        epoch=turn.epoch,
        message_map=EMPTY_MAP,
        metrics=(0x3E000000, 0x3F800000),
        started_s=1_780_000_000,
        finished_s=1_780_000_001,
        batch=label("batch", number),
        applied=BlobId(label("applied", number)),
        weights=BlobId(label("weights", number)),
        residual=BlobId(label("residual", number)),
        zero_nonce_block=label("zero-nonce block", number),
        queued=BlobId(label("applied", number + 1)),
        ticket=ticket,
        iteration=number,
        optimiser=blob.blob_id_of(b""),
        peer_count=0,
        peer_ids=it_res.hash_ids(()),
        nonce=label("nonce", number),
        tau_bits=known.definition.tau.bits,
        moved=0,
        validation=(),
        platform=ZERO_HASH,
    )
    return sign_message(replace(message, **changes), task, account).encode()


def slot(chain, number, messages, signers=SUPERVISORS, task=None, **changes):
    """Return a slot of these messages, certified by supervisors; `changes` are of what they sign."""
    task = task or chain.predefined
    ids = tuple(it_res.message_id(m) for m in messages)
    statement = SlotStatement(task, committee.epoch_of(number), 0, number, merkle.root(ids))
    statement = replace(statement, **changes)
    return CertifiedSlot(statement, ids, chain.certify(task, statement, signers))


def model(chain, account=MINERS[0], task=None, **changes):
    """Return a miner's signed announcement of its model."""
    task = task or chain.predefined
    ticket = chain.tickets("miner", account, task=task)[0]
    end = EndState(*(BlobId(label(part)) for part in ("weights", "residual", "optimiser")), label("witness"))
    unsigned = replace(ModelAnnouncement(task, ticket, 9, end, b""), **changes)
    return replace(unsigned, signature=ecdsa.sign(keys(account).spending, unsigned.digest))
