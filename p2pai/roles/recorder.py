"""One supervisor's record of one task: slots and their certificates (registrar.py registers them on chain).

The leader of a slot proposes which messages it holds; each supervisor signs when it has all of them; t
signatures make the certificate. A proposal is repeated until it is certified, so lost gossip delays a slot
and never loses it. Leaders take turns every SLOTS_PER_TERM slots.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0004-aggregate-certificates.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pai.chain import committee, course, it_res, schedule
from p2pai.chain.committee import CertifiedSlot, SlotStatement
from p2pai.chain.params import SLOT_MESSAGES_MAX, quorum
from p2pai.chain.state import Task
from p2pai.effects import Verdict
from p2pai.primitives import merkle, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import (
    BlsSignature,
    Hash32,
    Millis,
    Outpoint,
    PublicKey,
    TaskId,
)
from p2pai.roles.registrar import Registrar
from p2pai.roles.seat import Seat
from p2pai.roles.slots import (
    SAID_SIZE_MAX,
    HistoryProposal,
    HistorySignature,
    Said,
    SlotProposal,
    SlotRecorded,
    SlotSignature,
    SlotSigned,
)

if TYPE_CHECKING:
    from p2pai.roles.base import Node
    from p2pai.roles.supervisor import Supervisor

REPEAT_MS: Final = 1_000
"""A proposal that is not certified is said again after this."""


Group = tuple[tuple[Outpoint, ...], tuple[Outpoint, ...], Hash32]


def group_of(task: Task) -> Group:
    """Return what a record is made for: the committee, the miners, and the task definition block."""
    return task.supervisors, task.miners, task.definition_block


class Recorder:
    """See the module."""

    def __init__(self, node: Node, task_id: TaskId, ticket: Outpoint, supervisor: Supervisor) -> None:
        self.node, self.task_id, self.ticket, self.supervisor = node, task_id, ticket, supervisor
        self.history = node.follow(task_id, 0)
        self.history.is_whole = True
        self.group = group_of(node.state.tasks[task_id])
        self._slot_votes: dict[int, BlsSignature] = {}
        self._waiting: SlotProposal | None = None
        self._said_ms = node.now_ms
        self._stopped = False
        self._seat = Seat(node, task_id, ticket)
        self._registrar = Registrar(
            self._seat, self.history, lambda: supervisor.recorded.setdefault(task_id, {})
        )
        self.history.begin_at(1 + max(supervisor.recorded.get(task_id, {}), default=-1))
        for data in supervisor.final.get(task_id, ()):
            message = it_res.decode(data)
            latest = self.history.latest.get(message.ticket, message)
            self.history.latest[message.ticket] = max(latest, message, key=lambda m: m.iteration)
        self._get_data()
        self._arm()

    def stop(self) -> None:
        """End the record: training is over."""
        self._stopped = True

    def tip_changed(self) -> None:
        """Follow the ledger."""
        self._registrar.tip_changed()

    def _get_data(self) -> None:
        # Full replicas; the data of a predefined task ships with the software.
        task = self._seat.task
        if not task.is_predefined:
            peers = [self.node.state.tickets[s].peer for s in task.supervisors]
            providers = tuple(p for p in (task.definition.client, *peers) if p)
            for fragment in schedule.make_schedule(task.definition, task.definition_block).training:
                self.node.fetch(fragment, providers, lambda _: None)

    # --- leading

    def _arm(self) -> None:
        self.node.set_timer(f"slot:{self.task_id.hex()}", Millis(self.node.params.slot_ms), self._close_slot)

    def _close_slot(self) -> None:
        if self._stopped:
            return
        number = self.history.next_slot
        if self._seat.leads(number):
            pending = self.supervisor.signed.get((self.task_id, number))
            if pending is None:
                self._propose(number)
            elif self.node.now_ms - self._said_ms > REPEAT_MS:
                self.say_signature(pending)
            self._registrar.propose()
        self._registrar.hold_models()
        self._arm()

    def _propose(self, number: int) -> None:
        ids = self._next_messages()
        if not ids:
            return
        statement = SlotStatement(self.task_id, committee.epoch_of(number), 0, number, merkle.root(ids))
        self._sign(statement, ids)

    def _next_messages(self) -> tuple[Hash32, ...]:
        """Return unrecorded messages in order of arrival, but each miner's in order of iteration."""
        arrived = list(self.history.unrecorded)[:SLOT_MESSAGES_MAX]
        by_miner: dict[Outpoint, list[Hash32]] = {}
        for i in sorted(arrived, key=lambda i: self.history.decoded[i].iteration):
            by_miner.setdefault(self.history.decoded[i].ticket, []).append(i)
        return tuple(by_miner[self.history.decoded[i].ticket].pop(0) for i in arrived)

    # --- signing

    def _sign(self, statement: SlotStatement, ids: tuple[Hash32, ...]) -> None:
        self.supervisor.sign(SlotSigned(statement, ids))

    def say_signature(self, signed: SlotSigned) -> None:
        """Announce a slot we signed, once the note of it is durable; a leader also its proposal."""
        if self._stopped or signed.statement.slot < self.history.next_slot:
            return
        if signed.statement in self.supervisor.writing:
            return
        self._said_ms = self.node.now_ms
        signature = self._seat.sign(signed.statement)
        if self._seat.leads(signed.statement.slot):
            self._seat.say(SlotProposal(signed.statement, signed.messages))
            self._count(signed.statement, self._seat.index, signature)
        else:
            self._seat.say(SlotSignature(signed.statement, self.ticket, signature))

    def said(self, sender: PublicKey, body: bytes) -> Verdict:
        """Hear one message of the committee (certified slots are the history's)."""
        said = record.decode_tagged(Said, body, size_max=SAID_SIZE_MAX)
        if said.statement.task != self.task_id:
            raise InvalidMessage("the statement is of another task")
        match said:
            case SlotProposal():
                return self._hear_proposal(sender, said)
            case SlotSignature():
                return self._hear_signature(sender, said)
            case HistoryProposal():
                return self._registrar.hear_proposal(sender, said)
            case HistorySignature():
                return self._registrar.hear_signature(sender, said)
        return Verdict.IGNORE

    def _hear_proposal(self, sender: PublicKey, proposal: SlotProposal) -> Verdict:
        statement = proposal.statement
        if sender != self._seat.leader_key(statement.slot):
            return Verdict.IGNORE
        if not proposal.messages or len(proposal.messages) > SLOT_MESSAGES_MAX:
            raise InvalidMessage("a slot has 1 to 256 messages")
        if len(dict.fromkeys(proposal.messages)) != len(proposal.messages):
            raise InvalidMessage("a slot names a message twice")
        if merkle.root(proposal.messages) != statement.root or statement.view != 0:
            raise InvalidMessage("the proposal's ids do not give its root")
        if not 0 <= statement.slot - self.history.next_slot <= 1:
            return Verdict.ACCEPT  # not its turn here; the leader will say it again
        self._waiting = proposal
        self.history.wanted = proposal.messages
        self.sign_waiting()
        return Verdict.ACCEPT

    def sign_waiting(self) -> None:
        """Sign the proposal that waits, as soon as all its messages are here."""
        proposal = self._waiting
        if proposal is None or proposal.statement.slot != self.history.next_slot:
            return
        signed = self.supervisor.signed.get((self.task_id, proposal.statement.slot))
        if signed is not None:
            if signed.statement == proposal.statement:
                self._waiting = None
                self.say_signature(signed)
            return
        if not all(self._may_record(i) for i in proposal.messages):
            return
        self._waiting = None
        self._sign(proposal.statement, proposal.messages)

    def _may_record(self, identifier: Hash32) -> bool:
        message = self.history.decoded.get(identifier)
        if message is None or identifier in self.history.recorded:
            return False
        return self.history.places.get((message.ticket, message.iteration)) == identifier

    # --- certifying

    def _hear_signature(self, sender: PublicKey, said: SlotSignature) -> Verdict:
        signed = self.supervisor.signed.get((self.task_id, said.statement.slot))
        if not self._seat.leads(said.statement.slot) or signed is None or signed.statement != said.statement:
            return Verdict.ACCEPT
        index = self._seat.check_vote(sender, said.ticket, said.statement, said.signature)
        self._count(said.statement, index, said.signature)
        return Verdict.ACCEPT

    def _count(self, statement: SlotStatement, index: int, signature: BlsSignature) -> None:
        self._slot_votes[index] = signature
        if len(self._slot_votes) < quorum(len(self._seat.task.supervisors)):
            return
        certificate = committee.combine(self._slot_votes)
        messages = self.supervisor.signed[self.task_id, statement.slot].messages
        self._slot_votes.clear()
        self._seat.say(CertifiedSlot(statement, messages, certificate))
        self.node.record_slot(CertifiedSlot(statement, messages, certificate))

    def slot_recorded(self, number: int) -> None:
        """Store a complete slot's messages under its root, for verifiers and late miners."""
        slot = self.history.slots[number]
        self._slot_votes.clear()
        self._registrar.slot_recorded()
        stored = self.node.put_blob(tuple(self.history.messages[i] for i in slot.messages))
        assert stored == slot.statement.root
        self.supervisor.keep(SlotRecorded(slot, self._final_messages(slot)))
        self.sign_waiting()

    def _final_messages(self, slot: CertifiedSlot) -> tuple[bytes, ...]:
        task = self._seat.task
        plan = schedule.make_schedule(task.definition, task.definition_block)
        places = {t: course.Place(plan, rank, len(task.miners)) for rank, t in enumerate(task.miners)}
        messages = ((i, self.history.decoded[i]) for i in slot.messages)
        final = (i for i, m in messages if course.may_end(task.definition, places[m.ticket], m))
        return tuple(self.history.messages[i] for i in final)
