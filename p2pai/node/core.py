"""The heart: `handle(event, now_ms)` is all that ever happens in a node, and its effects all that it does.

The core has no clock, no dice, no I/O; the same core runs in a process and in a simulator. It owns the ledger
(ledger.py), the histories of the tasks it follows (following.py) and the roles; their requests become effects
through services.py. It never raises for what a remote sent: a broken rule is a verdict on the sender.

Source: docs/ARCHITECTURE.md, "Rules of shape inside the core".
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from p2pai import effects, events
from p2pai.chain.block import Block, Header
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.fork_choice import Switch
from p2pai.chain.fraud import Judgements
from p2pai.chain.params import Params
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import Checkpoint, State
from p2pai.chain.transaction import Data, Output, Transaction
from p2pai.effects import Effect, Verdict
from p2pai.gossip.envelope import open_envelope, seal, sequence_at
from p2pai.gossip.topics import Topic, parse
from p2pai.node import answers, journal, payments, queries, trust
from p2pai.node.accounts import AccountAdded, Accounts
from p2pai.node.accusations import Accusations
from p2pai.node.archive import Archive
from p2pai.node.following import TOPIC_NAMES, Following
from p2pai.node.history import History
from p2pai.node.judging import Judging
from p2pai.node.ledger import Ledger
from p2pai.node.origin import Origin
from p2pai.node.posted import Posted
from p2pai.node.services import Services
from p2pai.primitives.errors import InvalidInput, InvalidMessage, InvalidProof, Unavailable
from p2pai.primitives.ids import Hash32, Millis, Outpoint, PeerId, PublicKey, TaskId
from p2pai.primitives.keys import Keys, KeySource
from p2pai.roles.auditor import Auditor
from p2pai.roles.base import Identity, Role
from p2pai.roles.client import Client, Submission
from p2pai.roles.evaluator import Evaluator
from p2pai.roles.history import TaskHistory
from p2pai.roles.miner import Miner
from p2pai.roles.pausing import Pausing
from p2pai.roles.peer import Peer
from p2pai.roles.replaying import VerdictReached
from p2pai.roles.supervisor import Supervisor
from p2pai.roles.validator import Validator
from p2pai.roles.verifier import Verifier

ROLES: Final[dict[str, type[Role]]] = {
    role.name: role for role in (Peer, Client, Miner, Supervisor, Verifier, Evaluator, Auditor)
}
"""Every role a node can play, by name."""

ATTEND_MS: Final = Millis(200)
"""After a change of the mempool the roles look at it once, this much later."""

ANNOUNCE_MS: Final = Millis(8_000)
"""Between announcements of our own transactions that are still waiting."""


class NodeCore(Services):
    """One node."""

    def __init__(
        self,
        spec: ChainSpec,
        keys: Keys | PublicKey,
        peer_id: PeerId,
        roles: Sequence[str],
        archive: Archive,
        source: KeySource | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Make a node as it is before its journal.

        Args:
          spec: of the network.
          keys: the node's own; the public key alone for a core that only answers questions.
          peer_id: its libp2p identity.
          roles: what it does, names of `ROLES`.
          archive: its disk, for reading blocks that it stored.
          source: the keys of its wallet's further accounts; None where they can't be had.
          checkpoint: where its chain begins, if its disk has none; None for genesis.

        Raises:
          InvalidInput: there is no such role.
        """
        super().__init__()
        unknown = [name for name in roles if name not in ROLES]
        if unknown:
            raise InvalidInput(f"there is no role {unknown[0]!r}; the roles are {', '.join(ROLES)}")
        self.spec, self._chain = spec, spec.short_id
        self.identity = Identity.of(keys, peer_id)
        self.accounts = Accounts(self.identity, source)
        self.history: History | None = None
        self.validator = Validator(self)
        self.accusations = Accusations(self)
        listeners = self.validator.heard, self.accusations.hold
        self.ledger = Ledger(spec, self, archive, self._publish_chain, self._chain_changed, *listeners)
        self.judging = Judging(self, self.ledger, self.accusations.judged)
        self.origin = Origin(checkpoint, spec, self, self.ledger, self.attend)
        self.following: dict[TaskId, Following] = {}
        self.roles: dict[str, Role] = {name: ROLES[name](self) for name in dict.fromkeys(roles)}
        self.pausing = Pausing(self)
        self.submissions: dict[Hash32, Submission] = {}
        """Orders of the local user that are not tasks, or failed at once."""
        self._posted = Posted()
        self._envelopes, self._attending = 0, False

    @property
    def parts(self) -> tuple[Role, ...]:
        """The roles, and what every node does whatever its role."""
        return (*self.roles.values(), self.pausing, self.validator)

    def handle(self, event: events.Event, now_ms: int) -> list[Effect]:
        """Take one event; return what to do about it.

        Args:
          event: what happened.
          now_ms: the local clock, Unix milliseconds.
        """
        self.now_ms = now_ms
        match event:
            case events.Started():
                self._start(event)
            case events.Received(remote, topic, data):
                self._receive(remote, topic, data)
            case events.Asked(request, _, body):
                self.emit(effects.Answer(request, answers.answer(self, body)))
            case events.Submitted(method, params):
                queries.submit(self, method, params)
            case _:
                self.answer(event)
        self.origin.meet(event)
        return self.take_effects()

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Answer a question of the local user; changes nothing.

        Raises:
          InvalidInput: unknown method, or parameters that make no sense.
          Unavailable: what was asked for is not known (yet).
        """
        return queries.answer(self, method, params)

    # --- life

    def _start(self, disk: events.Started) -> None:
        self.ledger.restore(disk.snapshot, disk.blocks)
        for data in disk.journal:
            self._restore(journal.read(data))
        self.origin.restored()
        for role in self.parts:
            role.restored()
        self.set_timer("begin", Millis(0), self._begin)

    def _restore(self, entry: journal.Record) -> None:
        if isinstance(entry, journal.TransactionPosted):
            tx = Transaction.decode(entry.transaction)
            self._posted.take(tx)
        elif isinstance(entry, trust.Record):
            self.origin.restore(entry)
        elif isinstance(entry, AccountAdded):
            self.accounts.add(entry)
        elif isinstance(entry, VerdictReached):
            self.judging.restore(entry)
        else:
            for role in self.parts:
                role.restore(entry)

    def _begin(self) -> None:
        for name in ("tx", "block"):
            self.emit(effects.Join(str(Topic(self._chain, None, name))))
        self._announce()
        self.ledger.keep_up()
        self.origin.go_on()
        self.attend()

    def _announce(self) -> None:
        """Say our own waiting transactions again; put back those that a restart lost."""
        for tx in self._posted.turn(self._put_back):
            self._publish_chain("tx", tx.encoded)
        self.ledger.forget_orphans()
        self.set_timer("announce", ANNOUNCE_MS, self._announce)

    def _put_back(self, tx: Transaction) -> None:
        if tx.txid not in self.ledger.mempool:
            self.admit(tx)

    def admit(self, tx: Transaction) -> None:
        """Put a transaction of our own into the mempool; errors as of `Ledger.admit`."""
        self.ledger.admit(tx)
        self.accounts.post(tx)

    def _chain_changed(self, switch: Switch) -> None:
        self.accounts.follow(switch)
        self.attend()

    def _pool_changed(self) -> None:
        if not self._attending:
            self._attending = True
            self.set_timer("attend", ATTEND_MS, self.attend)

    def attend(self) -> None:
        """Let the roles look at the ledger."""
        self._attending = False
        for role in () if self.origin.is_waiting else self.parts:
            role.tip_changed()

    # --- hearing

    def _receive(self, remote: PeerId, topic: str, data: bytes) -> None:
        try:
            verdict = self._hear(remote, topic, data)
            self.emit(effects.Judge(verdict))
        except (InvalidMessage, InvalidProof, InvalidInput) as error:
            self.emit(effects.Judge(Verdict.REJECT, str(error)))

    def _hear(self, remote: PeerId, topic: str, data: bytes) -> Verdict:
        parsed = parse(topic)
        if parsed.chain != self._chain:
            return Verdict.IGNORE
        envelope = open_envelope(data, topic)
        if parsed.scope is not None:
            followed = self.following.get(parsed.scope)
            if followed is None:
                return Verdict.IGNORE
            return followed.hear(parsed.name, envelope.sender, envelope.body)
        if parsed.name == "block":
            return self.ledger.hear_block(remote, envelope.body)
        if parsed.name == "tx":
            verdict = self.ledger.hear_transaction(envelope.body)
            if verdict is Verdict.ACCEPT:
                self._pool_changed()
            return verdict
        return Verdict.IGNORE

    # --- what following tells (Listener)

    def iteration_received(self, task: TaskId, message: Hash32) -> None:
        """Pass on a new IT_RES."""
        for role in self.parts:
            role.iteration_received(task, message)

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """Pass on a new complete slot."""
        for role in self.parts:
            role.slot_recorded(task, slot)

    def said(self, name: str, task: TaskId, sender: PublicKey, body: bytes) -> Verdict:
        """Pass on what only roles understand; a node without such a role forwards it unread."""
        if name == "heartbeat":
            return self.pausing.said(name, task, sender, body)
        supervisor = self.roles.get(Supervisor.name)
        if supervisor is None:
            return Verdict.ACCEPT
        return supervisor.said(name, task, sender, body)

    # --- what roles use (roles.base.Node); the rest is in Services

    @property
    def params(self) -> Params:
        """Under which the block after the tip is made."""
        return self.ledger.params

    @property
    def state(self) -> State:
        """The ledger at the tip."""
        return self.ledger.state

    @property
    def pool(self) -> State:
        """The ledger with every waiting transaction applied."""
        return self.ledger.mempool.state

    def block(self, block: Hash32) -> Block | None:
        """Return a known block."""
        return self.ledger.tree.block(block)

    def state_before(self, block: Block) -> State | None:
        """Return the ledger that a known block was built on; None when it is too old."""
        parent = self.ledger.tree.get(block.header.prev)
        return parent.state if parent else None

    def state_after(self, block: Hash32) -> State | None:
        """Return the ledger after a known block."""
        branch = self.ledger.tree.get(block)
        return branch.state if branch else None

    @property
    def judged(self) -> Judgements:
        """What our replays said, by block."""
        return self.ledger.tree.judged

    def judge(self, block: Hash32) -> None:
        """Replay a block of the best chain; the tip counts as changed when that is done."""
        self.judging.begin(block)

    def accuse(self, block: Hash32) -> None:
        """Leave a block that our replay found false, and prove it to the others; nothing without money."""
        with suppress(InvalidInput, Unavailable):
            self.accusations.accuse(block)

    def is_best(self, block: Hash32) -> bool:
        """Return whether a block is on the best chain."""
        return self.ledger.tree.is_best(block)

    def definition_block(self, task: TaskId) -> Hash32:
        """Return the block that defines a task as far as we know: the oldest of all forks."""
        return self.ledger.definition_block(task)

    def follow(self, task: TaskId, first_slot: int | None = None) -> TaskHistory:
        """Join a task's topics; get the slots from `first_slot` on too, not only those from now on."""
        if task not in self.following:
            self.following[task] = Following(task, self, lambda: self.state, self)
            for name in TOPIC_NAMES:
                self.emit(effects.Join(str(Topic(self._chain, task, name))))
        if first_slot is not None:
            self.following[task].begin_at(first_slot)
        return self.following[task].history

    def unfollow(self, task: TaskId) -> None:
        """Leave a task's topics."""
        followed = self.following.pop(task, None)
        if followed is not None:
            followed.stopped = True
            for name in TOPIC_NAMES:
                self.emit(effects.Leave(str(Topic(self._chain, task, name))))

    def record_slot(self, slot: CertifiedSlot) -> None:
        """Take in a certified slot as if a remote had said it."""
        followed = self.following.get(slot.statement.task)
        if followed is not None:
            followed.record_slot(slot)

    def publish(self, name: str, task: TaskId, body: bytes) -> None:
        """Say something to a task's group."""
        self._publish(Topic(self._chain, task, name), body)

    def post(
        self, data: Data, outputs: tuple[Output, ...] = (), note: Callable[[Hash32], object] | None = None
    ) -> Transaction | None:
        """Fund, sign and announce a transaction; None when there is no money, or the ledger refuses it.

        `note` makes a journal record of the txid, written before the transaction itself.
        """
        try:
            return payments.pay(self, self.accounts.get(0), data, outputs, note=note).tx
        except InvalidInput:
            return None

    def has_posted(self, txid: Hash32) -> bool:
        """Return whether the journal brought back a transaction of our own."""
        return txid in self._posted

    def post_unsigned(self, tx: Transaction) -> None:
        """Announce a transaction that needs no signature."""
        with suppress(InvalidInput):
            self.announce(tx)

    def announce(self, tx: Transaction, note: Callable[[Hash32], object] | None = None) -> None:
        """Put a transaction into the mempool and announce it once it is durable.

        Raises:
          InvalidInput: the mempool refuses it.
        """
        self.admit(tx)
        if note is not None:
            self.persist(note(tx.txid), lambda: None)
        data = tx.encoded

        def durable() -> None:
            self._posted.take(tx)
            self._publish_chain("tx", data)

        self.persist(journal.TransactionPosted(data), durable)
        self._pool_changed()

    def template(self, task: TaskId, ticket: Outpoint) -> tuple[Header, tuple[Transaction, ...]] | None:
        """Return a block to commit to: header with zero nonce, and its transactions."""
        return self.ledger.template(task, ticket)

    def submit_block(self, block: Block) -> None:
        """Connect and announce a block that we mined."""
        self.ledger.submit(block)

    def _publish_chain(self, name: str, body: bytes) -> None:
        self._publish(Topic(self._chain, None, name), body)

    def _publish(self, topic: Topic, body: bytes) -> None:
        self._envelopes += 1
        sequence = sequence_at(Millis(self.now_ms), self._envelopes)
        name = str(topic)
        self.emit(effects.Publish(name, seal(self.identity.keys.spending, name, sequence, body)))
