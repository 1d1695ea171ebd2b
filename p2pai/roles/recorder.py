"""One supervisor's record of one task: slots and their certificates (registrar.py registers them on chain).

Supervisors agree on slots by agreement.py; this is the desk that it works at: what was heard and recorded,
and ways to act. The record belongs to the task's miners and its definition block. When the supervisors change
it goes on with another seat; who is new begins at the first slot that is not registered.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pai.chain import course, it_res, schedule
from p2pai.chain.committee import (
    CertifiedSlot,
    HistoryStatement,
    MalformedStatement,
    StatusStatement,
    ViewStatement,
)
from p2pai.chain.state import Task
from p2pai.chain.supervision import Equivocation, ReplaceLeader
from p2pai.effects import Verdict
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlsPublicKey, BlsSignature, Hash32, Millis, Outpoint, PublicKey, TaskId
from p2pai.roles.agreement import Agreement
from p2pai.roles.ballots import Turn
from p2pai.roles.leading import REPEAT_MS
from p2pai.roles.registrar import Registrar
from p2pai.roles.seat import Seat, take_seat
from p2pai.roles.slots import (
    SAID_SIZE_MAX,
    DataFault,
    HistoryProposal,
    Said,
    Share,
    SlotRecorded,
    SlotSigned,
    task_of,
)
from p2pai.roles.storage import Storage
from p2pai.roles.watching import Watching

if TYPE_CHECKING:
    from p2pai.roles.base import Node
    from p2pai.roles.supervisor import Supervisor

Group = tuple[tuple[Outpoint, ...], Hash32, BlsPublicKey | None]


def group_of(task: Task) -> Group:
    """Return what a record is made for: the miners, the task definition block, and the group key."""
    return task.miners, task.definition_block, task.committee.key if task.committee else None


class Recorder:
    """See the module."""

    def __init__(self, node: Node, task_id: TaskId, ticket: Outpoint, supervisor: Supervisor) -> None:
        self.node, self.task_id, self.ticket, self.supervisor = node, task_id, ticket, supervisor
        self.group = group_of(self.task)
        self.history = node.follow(task_id, 0 if self._slots else self.task.slots)
        self.history.is_whole = True
        self.history.begin_at(1 + max(self._slots, default=self.task.slots - 1))
        self._began_ms = node.now_ms
        self._arrived_ms: dict[Hash32, int] = {}
        self._replacement: ReplaceLeader | None = None
        self._stopped = False
        self._remember_final()
        self.agreement = Agreement(self._take_seat(), self, supervisor.signed.get(task_id))
        self._registrar, self._watching = Registrar(self), Watching(self)
        self._storage = self._store()
        self._storage.begin()
        self._arm()

    @property
    def task(self) -> Task:
        """The task as the tip has it."""
        return self.node.state.tasks[self.task_id]

    @property
    def _slots(self) -> dict[int, CertifiedSlot]:
        return self.supervisor.recorded.setdefault(self.task_id, {})

    def _remember_final(self) -> None:
        for data in self.supervisor.final.get(self.task_id, ()):
            message = it_res.decode(data)
            latest = self.history.latest.get(message.ticket, message)
            self.history.latest[message.ticket] = max(latest, message, key=lambda m: m.iteration)

    def _take_seat(self) -> Seat:
        seat = take_seat(self.node, self.task_id, self.ticket)
        assert seat is not None, "who records has a seat"
        return seat

    def _store(self) -> Storage:
        """Get what falls to our seat of the task's data, and look into it."""
        index = self.agreement.seat.member - 1
        return Storage(self.node, self.task_id, self.task, index, lambda: None, self._found_malformed)

    def _found_malformed(self, fragment: int, reason: str) -> None:
        del reason  # the others find their own
        self.report_malformed(fragment)

    # --- what happens

    def stop(self) -> None:
        """End the record: training is over."""
        self._stopped = True
        self._storage.stop()

    def tip_changed(self) -> None:
        """Follow the ledger."""
        if self.task.committee != self.agreement.seat.committee:
            self._change_seat()
        self._registrar.tip_changed()
        self._register_view()

    def _change_seat(self) -> None:
        self.agreement.take_seat(self._take_seat())
        self._registrar.committee_changed()
        self._watching.committee_changed()
        self._storage.stop()
        self._storage = self._store()
        self._storage.begin()

    def report_malformed(self, fragment: int) -> None:
        """Tell the others that a fragment of the data is not what the definition says."""
        self._registrar.report_malformed(fragment)

    def _arm(self) -> None:
        delay_ms = min(self.slot_ms, REPEAT_MS)
        self.node.set_timer(f"slot:{self.task_id.hex()}", Millis(delay_ms), self._tick)

    def _tick(self) -> None:
        if not self._stopped:
            self.agreement.tick()
            self._registrar.tick()
            self._watching.tick()
            self._arm()

    def message_received(self, message: Hash32) -> None:
        """See what waited for a message."""
        self._arrived_ms[message] = self.now_ms
        self.agreement.message_received()

    def said(self, sender: PublicKey, body: bytes) -> Verdict:
        """Hear one message of the committee (certified slots are the history's).

        Raises:
          InvalidInput: it breaks a rule.
        """
        said = record.decode_tagged(Said, body, size_max=SAID_SIZE_MAX)
        if task_of(said) != self.task_id:
            raise InvalidMessage("the statement is of another task")
        if isinstance(said, DataFault):
            self._storage.doubt(said.fragment)
            return Verdict.ACCEPT
        if isinstance(said, HistoryProposal):
            return self._registrar.hear_proposal(sender, said)
        if isinstance(said, Share) and isinstance(said.statement, HistoryStatement | MalformedStatement):
            return self._registrar.hear_share(said)
        if isinstance(said, Share) and isinstance(said.statement, StatusStatement):
            return self._watching.hear_share(sender, said)
        self.agreement.hear(sender, said)
        return Verdict.ACCEPT

    def slot_recorded(self, number: int) -> None:
        """Store a complete slot's messages under its root, for verifiers and late miners."""
        slot = self.history.slots[number]
        for identifier in slot.messages:
            self._arrived_ms.pop(identifier, None)
        self._registrar.slot_recorded()
        self._watching.slot_recorded(slot)
        stored = self.node.put_blob(tuple(self.history.messages[i] for i in slot.messages))
        assert stored == slot.statement.root
        self.supervisor.keep(SlotRecorded(slot, self._final_messages(slot)))
        self.agreement.slot_recorded()

    def _final_messages(self, slot: CertifiedSlot) -> tuple[bytes, ...]:
        task = self.task
        plan = schedule.make_schedule(task.definition, task.definition_block)
        places = {t: course.Place(plan, t, task.roster) for t in task.miners}
        messages = ((i, self.history.decoded[i]) for i in slot.messages)
        final = (i for i, m in messages if course.may_end(task.definition, places[m.ticket], m))
        return tuple(self.history.messages[i] for i in final)

    # --- the desk (standing.Desk)

    @property
    def now_ms(self) -> int:
        """The clock."""
        return self.node.now_ms

    @property
    def slot_ms(self) -> int:
        """Time between slots."""
        return self.node.params.slot_ms

    @property
    def next_slot(self) -> int:
        """The first slot that is not recorded with all its messages."""
        return self.history.next_slot

    @property
    def registered(self) -> int:
        """The first slot that is not registered on chain."""
        return self.task.slots

    def slot(self, number: int) -> CertifiedSlot | None:
        """Return a certified slot."""
        return self.history.slots.get(number) or self._slots.get(number)

    def waiting(self) -> tuple[Hash32, ...]:
        """Return unrecorded messages in order of arrival."""
        return tuple(self.history.unrecorded)

    def waiting_ms(self) -> int | None:
        """Return since when the leader has had something to do; None when nothing waits."""
        oldest = next(iter(self.history.unrecorded), None)
        arrived_ms = self._began_ms if oldest is None else self._arrived_ms.get(oldest, self._began_ms)
        waits = (None if oldest is None else arrived_ms, self._registrar.due_ms)
        return min((ms for ms in waits if ms is not None), default=None)

    def may_record(self, message: Hash32) -> bool:
        """Return whether a message is here, unrecorded, and the one that its place has."""
        known = self.history.decoded.get(message)
        if known is None or message not in self.history.unrecorded:
            return False
        return self.history.places.get((known.ticket, known.iteration)) == message

    def turn(self, message: Hash32) -> Turn:
        """Return whose message that is, and of which iteration."""
        known = self.history.decoded[message]
        return known.ticket, known.iteration

    def want(self, messages: tuple[Hash32, ...]) -> None:
        """Get these messages."""
        self.history.wanted = messages

    def say(self, said: Said) -> None:
        """Tell the committee."""
        if not self._stopped:
            self.node.publish("message_history", self.task_id, record.encode_tagged(said))

    def persist(self, signed: SlotSigned, then: Callable[[], None]) -> None:
        """Write down what we promise."""
        self.supervisor.sign(signed, then)

    def wake(self, delay_ms: int) -> None:
        """Let the agreement look at the clock after a delay."""
        self.node.set_timer(f"ballots:{self.task_id.hex()}", Millis(delay_ms), self._wake)

    def _wake(self) -> None:
        if not self._stopped:
            self.agreement.tick()

    def certify(self, slot: CertifiedSlot) -> None:
        """Take in a slot that was certified here."""
        self.node.record_slot(slot)

    def leader_replaced(self, statement: ViewStatement, certificate: BlsSignature) -> None:
        """Register that we lead in another's place."""
        self._replacement = ReplaceLeader(
            statement.task, statement.epoch, statement.view, statement.reason, certificate
        )
        self._register_view()

    def _register_view(self) -> None:
        # The view has begun without it; it stands on chain for those who come later, and for the pay.
        replacement, pooled = self._replacement, self.node.pool.tasks.get(self.task_id)
        if replacement is None or pooled is None:
            return
        if pooled.view >= (replacement.epoch, replacement.view) or self.node.post(replacement) is not None:
            self._replacement = None

    def accuse(self, evidence: Equivocation) -> None:
        """Register that a leader proposed two slots for one place."""
        self.node.post(evidence)
