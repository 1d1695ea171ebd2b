"""The supervisor: records every message of its task, and signs only what it saw.

For each task it was drawn for, a supervisor keeps a `Recorder` (recorder.py), which proposes slots when it
leads and signs others' proposals. What it signed for a place is in the journal before the signature leaves,
so that a restart can't make it sign two statements for one place.

Source: PoUW §4.3; PROTOCOL section 6.
"""

from typing import ClassVar

from p2pai.chain.committee import CertifiedSlot, SlotStatement
from p2pai.chain.state import Stage
from p2pai.effects import Verdict
from p2pai.primitives.ids import Hash32, Outpoint, PublicKey, TaskId
from p2pai.roles.base import Node, Role, apply_for_tasks, keep_ticket
from p2pai.roles.recorder import Group, Recorder, group_of
from p2pai.roles.slots import SlotRecorded, SlotSigned


class Supervisor(Role):
    """See the module."""

    name: ClassVar[str] = "supervisor"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._recorders: dict[TaskId, Recorder] = {}
        self.signed: dict[tuple[TaskId, int], SlotSigned] = {}
        self.writing: dict[SlotStatement, None] = {}
        """Statements signed whose note is not durable yet."""
        self.recorded: dict[TaskId, dict[int, CertifiedSlot]] = {}
        self.final: dict[TaskId, tuple[bytes, ...]] = {}
        """Last messages of miners."""

    def restore(self, record: object) -> None:
        """Take back what was signed and recorded."""
        if isinstance(record, SlotSigned):
            self.signed[record.statement.task, record.statement.slot] = record
        elif isinstance(record, SlotRecorded):
            self._remember(record)

    def tip_changed(self) -> None:
        """Apply for tasks, start and end recorders, register history."""
        keep_ticket(self)
        apply_for_tasks(self)
        seats = self._seats()
        for task_id, recorder in list(self._recorders.items()):
            if seats.get(task_id) == (recorder.ticket, recorder.group):
                recorder.tip_changed()
            else:  # the training is over, or a reorganisation drew another group
                recorder.stop()
                del self._recorders[task_id]
                if task_id in seats:
                    self.node.unfollow(task_id)  # what was recorded for another group is void
        for task_id, (ticket, _) in seats.items():
            if task_id not in self._recorders:
                self._recorders[task_id] = Recorder(self.node, task_id, ticket, self)

    def _seats(self) -> dict[TaskId, tuple[Outpoint, Group]]:
        """Return the tasks in training that we supervise: our ticket and the group."""
        seats = {}
        for outpoint, ticket in self.tickets():
            task = self.node.state.tasks.get(ticket.task) if ticket.task else None
            if task is not None and task.stage is Stage.TRAINING and outpoint in task.supervisors:
                assert ticket.task is not None
                seats[ticket.task] = (outpoint, group_of(task))
        return seats

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """Keep a recorded slot for everyone."""
        if task in self._recorders:
            self._recorders[task].slot_recorded(slot)

    def iteration_received(self, task: TaskId, message: Hash32) -> None:
        """Sign a proposal that waited for this message."""
        del message
        if task in self._recorders:
            self._recorders[task].sign_waiting()

    def said(self, name: str, task: TaskId, sender: PublicKey, body: bytes) -> Verdict:
        """Hear the other supervisors."""
        if name != "message_history" or task not in self._recorders:
            return Verdict.IGNORE
        return self._recorders[task].said(sender, body)

    def sign(self, record: SlotSigned) -> None:
        """Note a slot as signed; the recorder says so when the note is durable."""
        statement = record.statement
        self.signed[statement.task, statement.slot] = record
        self.writing[statement] = None
        recorder = self._recorders[statement.task]

        def durable() -> None:
            del self.writing[statement]
            recorder.say_signature(record)

        self.node.persist(record, durable)

    def keep(self, record: SlotRecorded) -> None:
        """Note a slot as recorded."""
        self._remember(record)
        self.node.persist(record, lambda: None)

    def _remember(self, record: SlotRecorded) -> None:
        statement = record.slot.statement
        task = statement.task
        self.recorded.setdefault(task, {})[statement.slot] = record.slot
        self.final[task] = self.final.get(task, ()) + record.final
        self.signed.pop((task, statement.slot), None)
