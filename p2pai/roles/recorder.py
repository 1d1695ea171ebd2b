"""One supervisor's record of one task: slots, their certificates, their registration on chain.

The leader of a slot proposes which messages it holds; each supervisor signs when it has all of them; t
signatures make the certificate. A proposal is repeated until it is certified, so lost gossip delays a slot
and never loses it. Leaders take turns every SLOTS_PER_TERM slots.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0004-aggregate-certificates.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pai.chain import committee, it_res, schedule
from p2pai.chain.committee import CertifiedSlot, HistoryStatement, SlotStatement
from p2pai.chain.params import SLOT_MESSAGES_MAX, quorum
from p2pai.chain.state import Task
from p2pai.chain.task_life import supervisor_keys
from p2pai.chain.transaction import MessageHistory
from p2pai.effects import Verdict
from p2pai.primitives import blob, bls, merkle, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import (
    BlobId,
    BlsPublicKey,
    BlsSignature,
    Hash32,
    Millis,
    Outpoint,
    PeerId,
    PublicKey,
    TaskId,
)
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.slots import (
    SAID_SIZE_MAX,
    SLOTS_PER_TERM,
    FinalModels,
    HistoryProposal,
    HistorySignature,
    Said,
    SlotProposal,
    SlotSignature,
)

if TYPE_CHECKING:
    from p2pai.roles.base import Node
    from p2pai.roles.supervisor import SlotSigned, Supervisor

REGISTER_SLOTS_MAX: Final = 1024
"""Slots registered by one MESSAGE_HISTORY, at most."""

REGISTER_EVERY_BLOCKS: Final = 4
"""Blocks between registrations while training goes on."""

REPEAT_MS: Final = 1_000
"""A proposal that is not certified is said again after this."""

ABSENT_MS: Final = 30_000
"""Silence after which the training ends without the miners who have not announced a model."""


class Recorder:
    """See the module."""

    def __init__(self, node: Node, task_id: TaskId, ticket: Outpoint, supervisor: Supervisor) -> None:
        self.node, self.task_id, self.ticket, self.supervisor = node, task_id, ticket, supervisor
        self.history = node.follow(task_id, 0)
        self._slot_votes: dict[int, BlsSignature] = {}
        self._register_votes: dict[int, BlsSignature] = {}
        self._register: HistoryProposal | None = None
        self._waiting: SlotProposal | None = None
        self._said_ms = self._heard_ms = node.now_ms
        self._registered_height = node.state.height
        self._stopped = False
        self.history.begin_at(1 + max(supervisor.recorded.get(task_id, {}), default=-1))
        for fragment in self._plan().training:
            node.fetch(fragment, self._data_providers(), lambda _: None)
        self._arm()

    def stop(self) -> None:
        """End the record: training is over."""
        self._stopped = True

    @property
    def _task(self) -> Task:
        return self.node.state.tasks[self.task_id]

    @property
    def _index(self) -> int:
        return self._task.supervisors.index(self.ticket)

    def _plan(self) -> schedule.Schedule:
        return schedule.make_schedule(self._task.definition, self._task.definition_block)

    def _data_providers(self) -> tuple[PeerId, ...]:
        peers = [self.node.state.tickets[s].peer for s in self._task.supervisors]
        return tuple(p for p in (self._task.definition.client, *peers) if p)

    def _keys(self) -> list[BlsPublicKey]:
        return supervisor_keys(self.node.state, self._task)

    def _leads(self, slot: int) -> bool:
        return committee.leader(len(self._task.supervisors), slot // SLOTS_PER_TERM, 0) == self._index

    def _leader_key(self, slot: int) -> PublicKey:
        index = committee.leader(len(self._task.supervisors), slot // SLOTS_PER_TERM, 0)
        return self.node.state.tickets[self._task.supervisors[index]].owner

    # --- leading

    def _arm(self) -> None:
        self.node.set_timer(f"slot:{self.task_id.hex()}", Millis(self.node.params.slot_ms), self._close_slot)

    def _close_slot(self) -> None:
        if self._stopped:
            return
        number = self.history.next_slot
        if self._leads(number):
            pending = self.supervisor.signed.get((self.task_id, number))
            if pending is None:
                self._propose(number)
            elif self.node.now_ms - self._said_ms > REPEAT_MS:
                self.say_signature(pending)
            self._propose_register()
        self._arm()

    def _propose(self, number: int) -> None:
        ids = self._next_messages()
        if not ids:
            return
        statement = SlotStatement(self.task_id, number // SLOTS_PER_TERM, 0, number, merkle.root(ids))
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
        from p2pai.roles.supervisor import SlotSigned  # noqa: PLC0415  (the two modules are one idea)

        self.supervisor.sign(SlotSigned(statement, ids))

    def say_signature(self, signed: SlotSigned) -> None:
        """Announce a slot we signed; a leader also its proposal."""
        if self._stopped or signed.statement.slot < self.history.next_slot:
            return
        self._said_ms = self.node.now_ms
        signature = committee.sign(self.node.identity.keys.bls, signed.statement)
        if self._leads(signed.statement.slot):
            self._say(SlotProposal(signed.statement, signed.messages))
            self._count(signed.statement, self._index, signature)
        else:
            self._say(SlotSignature(signed.statement, self.ticket, signature))

    def _say(self, said: Said) -> None:
        self.node.publish("message_history", self.task_id, record.encode_tagged(said))

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
                return self._hear_register(sender, said)
            case HistorySignature():
                return self._hear_register_signature(sender, said)
        return Verdict.IGNORE

    def _hear_proposal(self, sender: PublicKey, proposal: SlotProposal) -> Verdict:
        statement = proposal.statement
        if sender != self._leader_key(statement.slot):
            return Verdict.IGNORE
        if not proposal.messages or len(proposal.messages) > SLOT_MESSAGES_MAX:
            raise InvalidMessage("a slot has 1 to 256 messages")
        if merkle.root(proposal.messages) != statement.root or statement.view != 0:
            raise InvalidMessage("the proposal's ids do not give its root")
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
        if any(i not in self.history.messages or i in self.history.recorded for i in proposal.messages):
            return
        self._waiting = None
        self._sign(proposal.statement, proposal.messages)

    # --- certifying

    def _hear_signature(self, sender: PublicKey, said: SlotSignature) -> Verdict:
        signed = self.supervisor.signed.get((self.task_id, said.statement.slot))
        if not self._leads(said.statement.slot) or signed is None or signed.statement != said.statement:
            return Verdict.ACCEPT
        index = self._check_vote(sender, said.ticket, said.statement, said.signature)
        self._count(said.statement, index, said.signature)
        return Verdict.ACCEPT

    def _check_vote(
        self,
        sender: PublicKey,
        ticket: Outpoint,
        statement: committee.Statement,
        signature: BlsSignature,
    ) -> int:
        if ticket not in self._task.supervisors or self.node.state.tickets[ticket].owner != sender:
            raise InvalidMessage("the signer is not a supervisor of the task")
        index = self._task.supervisors.index(ticket)
        bls.verify(self._keys()[index], committee.digest(statement), signature)
        return index

    def _count(self, statement: SlotStatement, index: int, signature: BlsSignature) -> None:
        self._slot_votes[index] = signature
        if len(self._slot_votes) < quorum(len(self._task.supervisors)):
            return
        certificate = committee.combine(self._slot_votes)
        messages = self.supervisor.signed[self.task_id, statement.slot].messages
        self._slot_votes.clear()
        self._say(CertifiedSlot(statement, messages, certificate))
        self.node.record_slot(CertifiedSlot(statement, messages, certificate))

    def slot_recorded(self, number: int) -> None:
        """Store a complete slot's messages under its root, for verifiers and late miners."""
        slot = self.history.slots[number]
        self._slot_votes.clear()
        self._heard_ms = self.node.now_ms
        stored = self.node.put_blob(tuple(self.history.messages[i] for i in slot.messages))
        assert stored == slot.statement.root
        self.supervisor.keep(slot)
        self.sign_waiting()

    # --- registering on chain

    def tip_changed(self) -> None:
        """Nothing to do at once: registration is proposed on the slot timer."""
        if self._register is not None and self._register.statement.first != self._pooled_slots():
            self._register = None
            self._register_votes.clear()

    def _pooled_slots(self) -> int:
        return self.node.pool.tasks[self.task_id].slots

    def _propose_register(self) -> None:
        if self._register is not None and self.node.now_ms - self._said_ms <= REPEAT_MS:
            return
        proposal = self._registration()
        if proposal is None:
            return
        if self._register is None or self._register != proposal:
            self._register_votes.clear()
        self._register = proposal
        self._said_ms = self.node.now_ms
        self._say(proposal)
        signature = committee.sign(self.node.identity.keys.bls, proposal.statement)
        self._count_register(self._index, signature)

    def _registration(self) -> HistoryProposal | None:
        first, end = self._pooled_slots(), self.history.next_slot
        pooled = self.node.pool.tasks[self.task_id]
        if pooled.stage is not self._task.stage:
            return None
        models = self._final_models()
        if not models:
            end -= 1  # the registration that ends the training needs a slot too
        if end <= first or not (models or self._is_due(end - first)):
            return None
        if self._register is not None and not models and self._register.statement.first == first:
            return self._register
        return self._make_proposal(first, end, models)

    def _is_due(self, slots: int) -> bool:
        height = self.node.state.height
        waited = height >= self._registered_height + REGISTER_EVERY_BLOCKS
        return waited or slots >= REGISTER_SLOTS_MAX

    def _make_proposal(
        self, first: int, end: int, models: tuple[ModelAnnouncement, ...]
    ) -> HistoryProposal | None:
        roots = self._roots(first, min(end, first + REGISTER_SLOTS_MAX) - 1)
        if roots is None:
            return None
        final = models if first + len(roots) == end else ()
        statement = HistoryStatement(
            self.task_id,
            first,
            first + len(roots) - 1,
            committee.history_root(roots),
            models_blob(final) if final else None,
        )
        return HistoryProposal(statement, final)

    def _roots(self, first: int, last: int) -> list[Hash32] | None:
        slots = self.supervisor.recorded.get(self.task_id, {})
        if any(n not in slots for n in range(first, last + 1)):
            return None
        return [slots[n].statement.root for n in range(first, last + 1)]

    def _final_models(self) -> tuple[ModelAnnouncement, ...]:
        """Return the announcements that end the training, or none while it goes on."""
        plan, miners = self._plan(), self._task.miners
        if plan.epochs == 0 or self.history.unrecorded:
            return ()
        known = tuple(self.history.models[t] for t in miners if t in self.history.models)
        valid = tuple(a for a in known if self._is_final(plan, a))
        silent = self.node.now_ms - self._heard_ms > ABSENT_MS
        return valid if len(valid) == len(miners) or (silent and valid) else ()

    def _is_final(self, plan: schedule.Schedule, announcement: ModelAnnouncement) -> bool:
        rank = self._task.miners.index(announcement.ticket)
        last = self.history.latest.get(announcement.ticket)
        if last is None or last.iteration + 1 != plan.iterations(rank, len(self._task.miners)):
            return False
        earned = it_res.nonce(it_res.precursor(announcement.weights, last.message_map))
        return announcement.iteration == last.iteration and earned == last.nonce

    def _hear_register(self, sender: PublicKey, said: HistoryProposal) -> Verdict:
        statement = said.statement
        if sender != self._leader_key(statement.last + 1) or statement.first != self._pooled_slots():
            return Verdict.IGNORE
        if statement.last - statement.first >= REGISTER_SLOTS_MAX or statement.last < statement.first:
            raise InvalidMessage("too many slots to register, or none")
        roots = self._roots(statement.first, statement.last)
        if roots is None or committee.history_root(roots) != statement.root:
            return Verdict.IGNORE
        if statement.models is not None and not self._agrees_on_end(said):
            return Verdict.IGNORE
        signature = committee.sign(self.node.identity.keys.bls, statement)
        self._say(HistorySignature(statement, self.ticket, signature))
        return Verdict.ACCEPT

    def _agrees_on_end(self, said: HistoryProposal) -> bool:
        plan, task = self._plan(), self._task
        for announcement in said.models:
            if announcement.task != self.task_id or announcement.ticket not in task.miners:
                raise InvalidMessage("a model of somebody who is not a miner of the task")
            announcement.verify(self.node.state.tickets[announcement.ticket].owner)
        if said.statement.last + 1 != self.history.next_slot or self.history.unrecorded:
            return False
        silent = self.node.now_ms - self._heard_ms > ABSENT_MS // 2
        complete = len(said.models) == len(task.miners) or silent
        if models_blob(said.models) != said.statement.models or not complete:
            return False
        if not all(self._is_final(plan, a) for a in said.models):
            return False
        self.node.put_blob(blob.cut(record.encode(FinalModels(said.models))))
        return True

    def _hear_register_signature(self, sender: PublicKey, said: HistorySignature) -> Verdict:
        if self._register is None or said.statement != self._register.statement:
            return Verdict.ACCEPT
        index = self._check_vote(sender, said.ticket, said.statement, said.signature)
        self._count_register(index, said.signature)
        return Verdict.ACCEPT

    def _count_register(self, index: int, signature: BlsSignature) -> None:
        proposal = self._register
        assert proposal is not None
        self._register_votes[index] = signature
        if len(self._register_votes) < quorum(len(self._task.supervisors)):
            return
        certificate = committee.combine(self._register_votes)
        if proposal.models:
            self.node.put_blob(blob.cut(record.encode(FinalModels(proposal.models))))
        statement = proposal.statement
        self.node.post(
            MessageHistory(
                self.task_id,
                statement.first,
                statement.last,
                statement.root,
                statement.models,
                certificate.signers,
                certificate.signature,
            )
        )
        self._registered_height = self.node.state.height
        self._register = None
        self._register_votes.clear()


def models_blob(models: tuple[ModelAnnouncement, ...]) -> BlobId:
    """Return the content id under which the final models are registered."""
    return blob.blob_id_of(record.encode(FinalModels(models)))


def read_models(data: bytes) -> tuple[ModelAnnouncement, ...]:
    """Read the blob of final models.

    Raises:
      InvalidMessage: malformed.
    """
    return record.decode(FinalModels, data, size_max=SAID_SIZE_MAX).models
