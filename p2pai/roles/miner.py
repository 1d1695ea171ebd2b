"""The miner: trains on the tasks it was drawn for, one at a time, and mines with what training yields.

A client's task comes before a predefined one, once its data are here: until then the miner goes on with the
next best, or a client that keeps its data back could stop a chain all of whose miners it has drawn. Work on
one task is a `Session` (session.py); this module chooses which, collects the verifications of the blocks
mined, and keeps what must survive a restart.

Source: PoUW §4.3, §5.1.
"""

from collections.abc import Callable
from typing import ClassVar

from p2pai.chain.state import Stage, Verification
from p2pai.chain.transaction import CollectVerifications
from p2pai.jobs import ModelState
from p2pai.primitives.ids import Hash32, Outpoint, TaskId
from p2pai.roles.base import Node, Role, apply_for_tasks, keep_ticket
from p2pai.roles.memory import Clock, IterationSent, Memory, StateKept
from p2pai.roles.mining import Tally
from p2pai.roles.session import Session


class Miner(Role):
    """See the module."""

    name: ClassVar[str] = "miner"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.session: Session | None = None
        """What is trained, or would be if its data were here."""
        self._sessions: list[Session] = []
        """The best first: those that still get their data, and the first that has them."""
        self.tally = Tally()
        self._finished: list[Session] = []
        """Sessions that only announce their model still."""
        self._memories: dict[tuple[TaskId, Outpoint], Memory] = {}

    def restore(self, record: object) -> None:
        """Take back how far each session had come."""
        if isinstance(record, IterationSent | StateKept):
            self._memory(record.task, record.ticket).take(record)

    def tip_changed(self) -> None:
        """Choose the task to train, apply for others, collect verifications."""
        keep_ticket(self)
        apply_for_tasks(self)
        self._choose()
        self._collect()
        self._finished = [s for s in self._finished if self._is_underway(s.task_id)]

    def iteration_received(self, task: TaskId, message: Hash32) -> None:
        """Queue a peer's updates for the next iteration."""
        del message
        if self.session is not None and self.session.task_id == task:
            self.session.peers_changed()

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """See whether a lucky block is complete now."""
        del slot
        for session in (self.session, *self._finished):
            if session is not None and session.task_id == task:
                session.try_nonces()

    def _is_underway(self, task: TaskId) -> bool:
        stage = self.stage(task)
        return stage is not None and stage.is_underway

    def _choose(self) -> None:
        """Train the best task whose data are here; get those of the better ones."""
        known, self._sessions = self._sessions, []
        for _, task_id, ticket in sorted(self._candidates()):
            self._sessions.append(self._going_on(known, task_id, ticket) or self._begin(task_id, ticket))
            if self._sessions[-1].is_ready:
                break
        for session in known:
            if session not in self._sessions:
                session.stop()
        ready = (session for session in self._sessions if session.is_ready)
        self.session = next(ready, self._sessions[0] if self._sessions else None)
        if self.session is not None and self.session.is_ready:
            self.session.train()

    def _begin(self, task_id: TaskId, ticket: Outpoint) -> Session:
        return Session(self.node, task_id, ticket, self._memory(task_id, ticket), self)

    def _going_on(self, known: list[Session], task_id: TaskId, ticket: Outpoint) -> Session | None:
        """Return the session of a task that goes on whatever was reorganised; it follows the ledger."""
        task = self.node.state.tasks[task_id]
        for session in known:
            if session.task_id == task_id and session.is_of(task, ticket):
                session.follow(task)
                return session
        return None

    def _candidates(self) -> list[tuple[bool, TaskId, Outpoint]]:
        found = []
        for outpoint, ticket in self.tickets():
            task = self.node.state.tasks.get(ticket.task) if ticket.task else None
            if task is None or task.stage is not Stage.TRAINING or outpoint not in task.roster.working:
                continue
            assert ticket.task is not None
            if not self._memory(ticket.task, outpoint).finished:
                found.append((task.is_predefined, ticket.task, outpoint))
        return found

    def ready(self) -> None:
        """Train a task whose data have come, if it is the best."""
        self._choose()

    def finished(self) -> None:
        """Go on with the next task: the session has done all its iterations."""
        if self.session is not None:
            self._finished.append(self.session)
            self._sessions.remove(self.session)
            self._choose()

    def sent(self, session: Session, iteration: int, message: bytes) -> None:
        """Note an IT_RES as signed; the session publishes it when the note is durable."""
        record = IterationSent(session.task_id, session.ticket, iteration, message)
        session.memory.take(record)
        self.node.persist(record, lambda: session.outgoing.publish(iteration))

    def kept(
        self, session: Session, state: ModelState, applied: Clock, slot: int, then: Callable[[], None]
    ) -> None:
        """Note a state to resume from; `then` runs when the note is durable."""
        record = StateKept(session.task_id, session.ticket, state, applied, slot)
        session.memory.take(record)
        self.node.persist(record, then)

    def _memory(self, task: TaskId, ticket: Outpoint) -> Memory:
        return self._memories.setdefault((task, ticket), Memory())

    def _collect(self) -> None:
        for block, verification in sorted(self.node.pool.verifications.items(), key=lambda item: item[0]):
            if verification.miner == self.node.identity.key_hash and self._is_due(verification):
                self.node.post(CollectVerifications(block))

    def _is_due(self, verification: Verification) -> bool:
        # To close the commits earlier would lose the approvals, and pay, of verifiers that are busy.
        everyone = len(verification.commits) == len(verification.verifiers) > 0
        return everyone and not verification.collected
