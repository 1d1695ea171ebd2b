"""One real node, fed by hand: the test is the network, the disk, the clock and the trainer around it.

`Lone` carries out what needs no decision (timers wait, blobs are stored, the journal is durable at once
unless `hold_disk`) and keeps all else for the test to answer: what was said, which jobs and fetches are open.
With a `worker` jobs run at once, for real. The ledger comes from `tests.chain.ledger.Chain`.
"""

from dataclasses import dataclass, field

from p2pai import effects, events
from p2pai.chain import committee, it_res, schedule
from p2pai.chain.committee import CertifiedSlot, SlotStatement
from p2pai.chain.transaction import Transaction
from p2pai.gossip.envelope import open_envelope, seal
from p2pai.gossip.topics import Topic, parse
from p2pai.node import journal
from p2pai.node.core import NodeCore
from p2pai.primitives import blob, merkle, record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, PeerId, TaskId
from p2pai.roles.slots import SAID_SIZE_MAX, Said
from testnet.simulator.disk import Disk
from testnet.simulator.fetching import FETCHED_BYTES_MAX
from testnet.simulator.host import Blobs
from testnet.simulator.world import START_MS
from tests.chain.ledger import SUPERVISORS, Chain, keys, label, public, sign_message
from tests.node.parts import stored

EMPTY_MAP = b"\x00\x00"
"""A message map that moves no weight."""


@dataclass
class Lone:
    """See the module."""

    chain: Chain
    account: int
    roles: tuple[str, ...]
    worker: object = None
    writes: list[effects.Write] = field(default_factory=list)
    """What is durable, in order."""
    disk: Disk = field(default_factory=Disk)
    blobs: Blobs = field(default_factory=Blobs)
    now_ms: int = START_MS
    hold_disk: bool = False
    said: list[tuple[str, Hash32 | None, bytes]] = field(default_factory=list)
    """Name and scope of the topic, and the body."""
    timers: dict[str, int] = field(default_factory=dict)
    """When each is due."""
    jobs: list[effects.Train] = field(default_factory=list)
    fetches: dict[BlobId, tuple[PeerId, ...]] = field(default_factory=dict)
    writing: list[effects.Write] = field(default_factory=list)
    delivered: dict[str, BlobId] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)
    parts: list[tuple[TaskId, str]] = field(default_factory=list)

    def __post_init__(self):
        self.core = NodeCore(
            self.chain.spec, keys(self.account), PeerId(f"peer{self.account}"), self.roles, self.disk
        )
        before, self.writes = self.writes or stored(self.chain.blocks), []
        for effect in before:
            self._keep(effect)
        self.give(self.disk.started())
        self.fire("begin")

    def again(self, **changes) -> "Lone":
        """Return the node that starts from what this one left on its disk."""
        kept = {"writes": list(self.writes), "blobs": self.blobs, "now_ms": self.now_ms + 1_000}
        return Lone(self.chain, self.account, self.roles, **{"worker": self.worker, **kept, **changes})

    def writes_without(self, kind):
        """Return what is durable, but for the journal's records of a kind."""
        return [
            effect
            for effect in self.writes
            if not (isinstance(effect, effects.Persist) and isinstance(journal.read(effect.record), kind))
        ]

    def role(self, name=None):
        return self.core.roles[name or self.roles[0]]

    # --- events

    def give(self, event):
        """Let the node meet an event; return its effects."""
        reaction = self.core.handle(event, self.now_ms)
        for effect in reaction:
            self._perform(effect)
        return reaction

    def _perform(self, effect):
        match effect:
            case effects.Publish(topic, data):
                parsed = parse(topic)
                self.said.append((parsed.name, parsed.scope, open_envelope(data, topic).body))
            case effects.Persist() | effects.StoreBlock() | effects.StoreSnapshot():
                self.writing.append(effect)
                if not self.hold_disk:
                    self.write()
            case effects.SetTimer(name, delay):
                self.timers[name] = self.now_ms + delay
            case effects.Train():
                self._train(effect)
            case effects.Join(topic):
                self.topics.append(topic)
            case effects.Leave(topic):
                self.topics.remove(topic)
            case effects.TakePart(task, role):
                self.parts.append((task, role))
            case effects.EndPart(task, role):
                self.parts.remove((task, role))
            case _:
                self._handle_blob(effect)

    def _train(self, effect):
        if self.worker is None:
            self.jobs.append(effect)
        else:
            self.give(events.Trained(effect.request, self.worker.run(effect.job)))

    def _handle_blob(self, effect):
        match effect:
            case effects.Fetch(wanted, providers):
                self._fetch(wanted, providers)
            case effects.PutBlob(chunks, shared):
                self.blobs.put(chunks, shared=shared)
            case effects.Share(wanted):
                self.blobs.shared[wanted] = None
            case effects.Deliver(wanted, name):
                self.delivered[name] = wanted

    def _fetch(self, wanted, providers):
        if wanted in self.blobs:
            self.fetched(wanted, self.blobs.get(wanted))
        else:
            self.fetches[wanted] = providers

    def _keep(self, effect):
        self.writes.append(effect)
        self.disk.write(effect)
        self.disk.sync()

    def write(self):
        """Make what is being written durable."""
        while self.writing:
            effect = self.writing.pop(0)
            self._keep(effect)
            self.give(events.Persisted(effect.token))

    def fire(self, name):
        del self.timers[name]
        return self.give(events.TimerFired(name))

    def wait(self, delay_ms):
        """Let time pass, and what is due in it happen."""
        end_ms = self.now_ms + delay_ms
        while due := sorted((at, name) for name, at in self.timers.items() if at <= end_ms):
            at, name = due[0]
            self.now_ms = max(self.now_ms, at)
            self.fire(name)
        self.now_ms = end_ms

    def trained(self, result, index=0):
        """Answer an open job."""
        return self.give(events.Trained(self.jobs.pop(index).request, result))

    def fetched(self, wanted, chunks=None):
        """End a fetch: with the blob's chunks, or with nothing."""
        self.fetches.pop(wanted, None)
        if chunks is None:
            return self.give(events.Fetched(wanted, None, None))
        assert blob.blob_id(chunks) == wanted
        self.blobs.put(chunks, shared=True)
        data = b"".join(chunks)
        leaves = tuple(merkle.leaf_hash(chunk) for chunk in chunks)
        return self.give(events.Fetched(wanted, leaves, data if len(data) <= FETCHED_BYTES_MAX else None))

    def fetched_large(self, wanted):
        """End a fetch of a blob that is too large to be handed over whole; what it holds does not matter."""
        self.fetches.pop(wanted)
        return self.give(events.Fetched(wanted, (wanted,), None))

    # --- hearing and saying

    def hear(self, name, body, sender=9, task=None):
        """Give the node a message of an account; return the node's judgement."""
        topic = str(Topic(self.chain.spec.short_id, task, name))
        self.now_ms += 1
        data = seal(keys(sender).spending, topic, self.now_ms, body)
        reaction = self.give(events.Received(PeerId(f"peer{sender}"), topic, data))
        return next(e for e in reaction if isinstance(e, effects.Judge))

    def connect(self, block):
        """Let the node hear a block of its chain."""
        judged = self.hear("block", block.encoded)
        assert judged.verdict is effects.Verdict.ACCEPT, judged.reason

    def mine(self, **changes):
        """Let the chain go on by what waits in it, and the node hear of it."""
        block = self.chain.mine(**changes)
        self.connect(block)
        return block

    def hear_iteration(self, data, task=None):
        return self.hear("it_res", data, task=task or self.chain.predefined)

    def hear_said(self, said, sender, task=None):
        body = record.encode_tagged(said)
        return self.hear("message_history", body, sender, task or self.chain.predefined)

    def take(self, name) -> list[bytes]:
        """Return what was said on a topic since it was last asked for."""
        taken = [body for n, _, body in self.said if n == name]
        self.said = [entry for entry in self.said if entry[0] != name]
        return taken

    def take_said(self):
        return [record.decode_tagged(Said, b, size_max=SAID_SIZE_MAX) for b in self.take("message_history")]

    def posted(self, kind) -> list[Transaction]:
        """Return the transactions announced that carry data of a kind, each once."""
        txs = [Transaction.decode(body) for name, _, body in self.said if name == "tx"]
        return list({tx.txid: tx for tx in txs if isinstance(tx.data, kind)}.values())

    def hand_over(self):
        """Put what the node announced, in its order, into the chain's next block."""
        waiting = {tx.txid for tx in self.chain.queue}
        for tx in self.posted(object):
            try:
                if tx.txid not in waiting:
                    self.chain.add(tx)
            except InvalidInput:
                continue  # it stands in a block already

    def records(self, kind):
        """Return what the journal holds of a kind."""
        entries = (journal.read(data) for data in self.disk.journal)
        return [entry for entry in entries if isinstance(entry, kind)]


# --- what others would say


def iteration(chain, account, number, task=None, **changes) -> bytes:
    """Return a signed IT_RES of a task's miner."""
    task_id = task or chain.predefined
    known = chain.task(task_id)
    ticket = chain.tickets("miner", account, task=task_id)[0]
    plan = schedule.make_schedule(known.definition, known.definition_block)
    turn = known.roster.turn(plan, ticket, number)
    empty = blob.blob_id_of(b"")
    fields = {
        "task_prefix": task_id[: it_res.TASK_PREFIX_SIZE],
        "epoch": turn.epoch if turn else 1,
        "message_map": EMPTY_MAP,
        "metrics": (0x3E000000, 0x3F800000),
        "started_s": START_MS // 1000,
        "finished_s": START_MS // 1000 + 1,
        "batch": label("batch"),
        "applied": empty,
        "weights": BlobId(label("weights", account, number)),
        "residual": BlobId(label("residual", account, number)),
        "zero_nonce_block": label("no block"),
        "queued": empty,
        "ticket": ticket,
        "iteration": number,
        "optimiser": empty,
        "peer_count": 0,
        "peer_ids": it_res.hash_ids(()),
        "nonce": label("nonce", account, number),
        "tau_bits": known.definition.tau.bits,
        "moved": 0,
        "validation": (),
        "platform": ZERO_HASH,
    }
    message = it_res.IterationResult(**{**fields, **changes})
    return sign_message(message, task_id, account).encode()


def ids_of(messages) -> tuple[Hash32, ...]:
    return tuple(it_res.message_id(m) for m in messages)


def statement_of(chain, number, messages, task=None) -> SlotStatement:
    root = merkle.root(ids_of(messages))
    return SlotStatement(task or chain.predefined, committee.epoch_of(number), 0, number, root)


def certified(chain, number, messages, task=None, signers=SUPERVISORS) -> CertifiedSlot:
    """Return a slot of messages that a task's supervisors signed."""
    statement = statement_of(chain, number, messages, task)
    return CertifiedSlot(
        statement, ids_of(messages), chain.certify(task or chain.predefined, statement, signers)
    )


def supervisors_of(chain, task=None) -> tuple[int, ...]:
    """Return the accounts of a task's supervisors, in the order of the committee."""
    known = chain.task(task or chain.predefined)
    account = {public(a): a for a in SUPERVISORS}
    return tuple(account[chain.state.tickets[t].owner] for t in known.supervisors)


def miners_of(chain, task=None) -> tuple[int, ...]:
    """Return the accounts of a task's miners by rank."""
    known = chain.task(task or chain.predefined)
    account = {public(a): a for a in range(10)}
    return tuple(account[chain.state.tickets[t].owner] for t in known.miners)
