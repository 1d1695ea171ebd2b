"""The supervisor: records every message of its task, and signs only what it saw.

For each task it was drawn for, a supervisor keeps a `Recorder` (recorder.py), which agrees with the others on
slots. What it promises is in the journal before it leaves, so that a restart can't make it sign two
statements for one place.

Source: PoUW §4.3; PROTOCOL section 6.
"""

from collections.abc import Callable
from typing import ClassVar

from p2pai.chain.committee import CertifiedSlot
from p2pai.effects import Verdict
from p2pai.primitives.ids import BlsPublicKey, Hash32, Outpoint, PublicKey, TaskId
from p2pai.roles.base import Node, Role, apply_for_tasks, keep_ticket
from p2pai.roles.dealer import Dealer
from p2pai.roles.recorder import Group, Recorder, group_of
from p2pai.roles.slots import RecordBegun, SlotRecorded, SlotSigned


class Supervisor(Role):
    """See the module."""

    name: ClassVar[str] = "supervisor"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._recorders: dict[TaskId, Recorder] = {}
        self._dealers: dict[TaskId, Dealer] = {}
        self._keys: dict[TaskId, BlsPublicKey] = {}
        """Group key of each task's record."""
        self.signed: dict[TaskId, SlotSigned] = {}
        """What was promised last."""
        self.recorded: dict[TaskId, dict[int, CertifiedSlot]] = {}
        self.final: dict[TaskId, tuple[bytes, ...]] = {}
        """Last messages of miners."""

    def restore(self, record: object) -> None:
        """Take back what was signed and recorded."""
        if isinstance(record, RecordBegun):
            self._forget(record)
        elif isinstance(record, SlotSigned):
            self.signed[record.task] = record
        elif isinstance(record, SlotRecorded):
            self._remember(record)

    def tip_changed(self) -> None:
        """Apply for tasks, start and end recorders, register history."""
        keep_ticket(self)
        apply_for_tasks(self)
        self._make_keys()
        seats = self._seats()
        for task_id, recorder in list(self._recorders.items()):
            if seats.get(task_id) == (recorder.ticket, recorder.group):
                recorder.tip_changed()
            else:  # the training is over, or a reorganisation drew another group
                recorder.stop()
                del self._recorders[task_id]
                self.node.end_part(task_id, self.name)
                if task_id in seats:
                    self.node.unfollow(task_id)  # what was recorded for another group is void
        for task_id, (ticket, _) in seats.items():
            if task_id not in self._recorders:
                self._begin_record(task_id)
                self._recorders[task_id] = self.recorder(task_id, ticket)
                self.node.take_part(task_id, self.name)

    def recorder(self, task: TaskId, ticket: Outpoint) -> Recorder:
        """Return who keeps our record of a task."""
        return Recorder(self.node, task, ticket, self)

    def _begin_record(self, task_id: TaskId) -> None:
        """Start from nothing where a reorganisation gave a task another group."""
        committee = self.node.state.tasks[task_id].committee
        assert committee is not None, "a task trains only with a common key"
        if self._keys.get(task_id) != committee.key:
            if task_id in self._keys:
                self.node.unfollow(task_id)  # its history has slots that another key certified
            begun = RecordBegun(task_id, committee.key)
            self._forget(begun)
            self.node.persist(begun, lambda: None)

    def _forget(self, begun: RecordBegun) -> None:
        self._keys[begun.task] = begun.key
        self.signed.pop(begun.task, None)
        self.recorded.pop(begun.task, None)
        self.final.pop(begun.task, None)

    def _make_keys(self) -> None:
        """Do our part in the keys that are made."""
        for outpoint, ticket in self.tickets():
            task = self.node.pool.tasks.get(ticket.task) if ticket.task else None
            if task is None or task.keying is None or ticket.task is None:
                continue
            if outpoint not in (*task.keying.members, *task.keying.dealers):
                continue
            if ticket.task not in self._dealers:
                self.node.follow(ticket.task)
                self._dealers[ticket.task] = self.dealer(ticket.task, outpoint)
            self._dealers[ticket.task].tip_changed()

    def dealer(self, task: TaskId, ticket: Outpoint) -> Dealer:
        """Return who does our part in a key."""
        return Dealer(self.node, task, ticket)

    def _seats(self) -> dict[TaskId, tuple[Outpoint, Group]]:
        """Return the tasks in training that we supervise: our ticket and the group."""
        seats = {}
        for outpoint, ticket in self.tickets():
            task = self.node.state.tasks.get(ticket.task) if ticket.task else None
            if task is not None and task.stage.is_underway and outpoint in task.supervisors:
                assert ticket.task is not None
                seats[ticket.task] = (outpoint, group_of(task))
        return seats

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """Keep a recorded slot for everyone."""
        if task in self._recorders:
            self._recorders[task].slot_recorded(slot)

    def iteration_received(self, task: TaskId, message: Hash32) -> None:
        """Go on with what waited for this message."""
        if task in self._recorders:
            self._recorders[task].message_received(message)

    def said(self, name: str, task: TaskId, sender: PublicKey, body: bytes) -> Verdict:
        """Hear the other supervisors."""
        if name == "dkg" and task in self._dealers:
            return self._dealers[task].said(sender, body)
        if name != "message_history" or task not in self._recorders:
            return Verdict.IGNORE
        return self._recorders[task].said(sender, body)

    def latencies_ms(self, task: TaskId) -> tuple[int, ...]:
        """Return how long the last slots that we led took to be certified."""
        recorder = self._recorders.get(task)
        return recorder.agreement.latencies_ms if recorder else ()

    def sign(self, record: SlotSigned, then: Callable[[], None]) -> None:
        """Note what we promise; `then` runs when the note is durable."""
        self.signed[record.task] = record
        self.node.persist(record, then)

    def keep(self, record: SlotRecorded) -> None:
        """Note a slot as recorded."""
        self._remember(record)
        self.node.persist(record, lambda: None)

    def _remember(self, record: SlotRecorded) -> None:
        statement = record.slot.statement
        task = statement.task
        self.recorded.setdefault(task, {})[statement.slot] = record.slot
        self.final[task] = self.final.get(task, ()) + record.final
