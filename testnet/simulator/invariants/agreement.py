"""What nodes say, watched as it happens.

I12: nobody signs two statements for one place, across crashes. I13: what promises something is in the
journal, durable, before it leaves the node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pai import effects, events
from p2pai.chain import it_res
from p2pai.chain.block import HEADER_SIZE, Header, read_header
from p2pai.chain.committee import PreparedStatement, SlotStatement
from p2pai.chain.transaction import EvaluateCommit, Transaction, VerifyCommit
from p2pai.chain.votes import CheckpointVote
from p2pai.gossip.envelope import Envelope
from p2pai.node import journal
from p2pai.node.archive import read_kept
from p2pai.primitives import record
from p2pai.primitives.ids import Hash32, PeerId
from p2pai.roles.evaluator import ConclusionReached
from p2pai.roles.memory import IterationSent
from p2pai.roles.replaying import VerdictReached
from p2pai.roles.slots import Report, Said, Share, SlotProposal, SlotSigned, ViewChange
from p2pai.roles.validator import CheckpointVoted
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.saying import Saying, read
from testnet.simulator.invariants.step import Broken

Place = tuple[object, ...]


@dataclass
class Agreement:
    """What the nodes of one world said and wrote."""

    honesty: Honesty = field(default_factory=Honesty)
    counts: dict[str, int] = field(default_factory=dict)
    """How many statements of each kind were checked."""
    _signed: dict[Place, bytes] = field(default_factory=dict)
    _durable: dict[PeerId, dict[Place, None]] = field(default_factory=dict)
    _writing: dict[tuple[PeerId, int], tuple[Place, ...]] = field(default_factory=dict)
    _given_up: dict[Place, int] = field(default_factory=dict)
    """The view below which a supervisor votes no more, in a task's epoch."""

    def __call__(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        """Look at one event of one node, and all that it says."""
        if not self.honesty.remembers(name):
            return
        self.note(name, event, reaction)
        for effect in reaction:
            if isinstance(effect, effects.Publish):
                self.hear(name, read(effect))

    def note(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        """Look at what a node writes, and what of it is durable."""
        if isinstance(event, events.Started):
            self._restart(name, event)
        elif isinstance(event, events.Persisted):
            places = self._writing.pop((name, event.token))
            self._durable.setdefault(name, {}).update(dict.fromkeys(places))
        for effect in reaction:
            if isinstance(effect, effects.Persist):
                self._writing[name, effect.token] = places_of(journal.read(effect.record))
            elif isinstance(effect, effects.StoreBlock):
                self._writing[name, effect.token] = (("block", effect.block_hash),)
            elif isinstance(effect, effects.StoreSnapshot):
                self._writing[name, effect.token] = (("snapshot", effect.height),)

    def _restart(self, name: PeerId, event: events.Started) -> None:
        self._writing = {key: place for key, place in self._writing.items() if key[0] != name}
        entries = (journal.read(data) for data in event.journal)
        self._durable[name] = {place: None for entry in entries for place in places_of(entry)}
        blocks = (read_header(read_kept(body).block) for body in event.blocks)
        self._durable[name].update({("block", block.hash): None for block in blocks})

    def hear(self, name: PeerId, saying: Saying) -> None:
        """Look at what a node says."""
        topic, envelope = saying.topic, saying.envelope
        match topic.name:
            case "it_res":
                message = it_res.decode(envelope.body)
                place = ("iteration", topic.scope, message.ticket, message.iteration)
                self._check(name, place, envelope.body)
            case "message_history":
                self._check_said(name, saying.said)
            case "tx":
                self._check_transaction(name, envelope)
            case "block":
                self._check(name, ("block", _announced(envelope.body)), envelope.body)

    def _check_said(self, name: PeerId, said: Said) -> None:
        match said:
            case SlotProposal(statement) | Share(PreparedStatement(statement)):
                self._check_vote(name, "prepare", statement)
            case Share(SlotStatement() as statement):
                self._check_vote(name, "commit", statement)
            case ViewChange(report):
                self._check_report(name, report)

    def _check_vote(self, name: PeerId, vote: str, statement: SlotStatement) -> None:
        given_up = self._given_up.get((name, statement.task, statement.epoch), 0)
        if statement.view < given_up:
            raise Broken(f"I12: {name} voted in a view that it had given up")
        self._check(name, _vote(vote, statement), record.encode(statement))

    def _check_report(self, name: PeerId, report: Report) -> None:
        self._require(name, ("view", report.task, report.epoch, report.view))
        self._given_up[name, report.task, report.epoch] = report.view

    def _check_transaction(self, name: PeerId, envelope: Envelope) -> None:
        # A node also passes on others' transactions, once it has learnt what they spend.
        tx = Transaction.decode(envelope.body)
        if not tx.witnesses or tx.witnesses[0].key != envelope.sender:
            return
        self._check(name, ("transaction", tx.txid), envelope.body)
        if isinstance(tx.data, VerifyCommit):
            self._require(name, ("verdict", tx.data.block))
        elif isinstance(tx.data, EvaluateCommit):
            self._require(name, ("conclusion", tx.data.task))
        elif isinstance(tx.data, CheckpointVote):
            self._check(name, ("checkpoint", *tx.data.place), record.encode(tx.data))

    def _check(self, name: PeerId, place: Place, statement: bytes) -> None:
        self._require(name, place)
        first = self._signed.setdefault((name, *place), statement)
        if first != statement:
            raise Broken(f"I12: {name} signed two statements for {shown(place)}")

    def _require(self, name: PeerId, place: Place) -> None:
        if place not in self._durable.get(name, {}):
            raise Broken(f"I13: {name} promised {shown(place)} before it was durable")
        self.counts[str(place[0])] = self.counts.get(str(place[0]), 0) + 1


def shown(place: Place) -> str:
    """Return a place in words."""
    parts = (part.hex()[:8] if isinstance(part, bytes) else str(part) for part in place)
    return " ".join(parts)


def _announced(body: bytes) -> Hash32:
    """Return the hash of a block that was said whole, or by its header."""
    return (Header.decode(body) if len(body) == HEADER_SIZE else read_header(body)).hash


def places_of(entry: journal.Record) -> tuple[Place, ...]:
    """Return what a journal record makes durable, named as what it allows to be said."""
    match entry:
        case IterationSent(task, ticket, iteration):
            return (("iteration", task, ticket, iteration),)
        case SlotSigned():
            return _promises(entry)
        case VerdictReached(block):
            return (("verdict", block),)
        case ConclusionReached(task):
            return (("conclusion", task),)
        case CheckpointVoted(vote):
            return (("checkpoint", *vote.place),)
        case journal.TransactionPosted(data):
            return (("transaction", Transaction.decode(data).txid),)
    return ((type(entry).__name__,),)


def _promises(signed: SlotSigned) -> tuple[Place, ...]:
    places: list[Place] = [("view", signed.task, signed.epoch, signed.view)]
    if signed.proposal is not None:
        places.append(_vote("prepare", signed.proposal.statement))
    if signed.lock is not None:
        places.append(_vote("commit", signed.lock.statement))
    return tuple(places)


def _vote(vote: str, statement: SlotStatement) -> Place:
    return (vote, statement.task, statement.epoch, statement.view, statement.slot)
