"""Pausing tasks under attack: every worker's part in it, whatever its role.

A worker whose task has recorded nothing for `STALLED_MS` suspects an attack and says CONSIDER_PAUSE; when a
majority does, each says PAUSE (the first one counts). While the task is paused its workers send heartbeats,
off the chain; who hears a majority alive considers going on, and RESUME ends the pause. The local user can
ask for either; what it paused does not go on by itself.

Source: PoUW §7.3, "DOS attacks".
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from p2pai.chain import pausing
from p2pai.chain.params import PAUSES_MAX
from p2pai.chain.state import Stage, Task
from p2pai.chain.supervision import ConsiderPause, ConsiderResume, Pause, Resume, Suspicion
from p2pai.effects import Verdict
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.primitives.ids import Hash32, Millis, Outpoint, PublicKey, TaskId
from p2pai.roles.base import Node, Role

STALLED_MS: Final = 180_000
"""Without a recorded slot for so long, a task seems to be under attack; three times what expels a miner."""

LOOK_MS: Final = Millis(5_000)
"""Between looks at our tasks, and between heartbeats."""

ALIVE_MS: Final = 3 * LOOK_MS
"""A worker lives whose heartbeat is no older."""

HEARTBEAT_SIZE_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """HEARTBEAT: the sender would go on with a paused task."""

    task: TaskId


class Pausing(Role):
    """See the module."""

    name: ClassVar[str] = "pausing"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._looks = False
        self._active_ms: dict[TaskId, int] = {}
        """When a task's last slot was recorded, or it began to train."""
        self._alive_ms: dict[TaskId, dict[PublicKey, int]] = {}
        """When the workers of paused tasks were heard last."""
        self._held: dict[TaskId, None] = {}
        """Tasks that the local user wants paused."""

    def tip_changed(self) -> None:
        """See whether a majority has formed; at first, begin to look after our tasks."""
        if not self._looks:
            self._looks = True
            self._look()
            return
        for task_id, task, ticket in self._ours():
            self._decide(task_id, task, ticket)

    def slot_recorded(self, task: TaskId, slot: int) -> None:
        """Note that a task makes progress."""
        del slot
        self._active_ms[task] = self.node.now_ms

    def said(self, name: str, task: TaskId, sender: PublicKey, body: bytes) -> Verdict:
        """Hear that a worker lives."""
        if name != "heartbeat":
            return Verdict.IGNORE
        if record.decode(Heartbeat, body, size_max=HEARTBEAT_SIZE_MAX).task != task:
            raise InvalidMessage("a heartbeat for another task")
        self._alive_ms.setdefault(task, {})[sender] = self.node.now_ms
        return Verdict.ACCEPT

    def wish(self, task_id: TaskId, *, pause: bool) -> Hash32:
        """Consider a pause, or its end, because the local user says so; return the last transaction's id.

        Raises:
          InvalidInput: we do not work on the task, or it can't be posted.
        """
        self._held.pop(task_id, None)
        if pause:
            self._held[task_id] = None
        posted = [self._consider(task_id, ticket, pause) for i, _, ticket in self._ours() if i == task_id]
        if not posted or posted[-1] is None:
            raise InvalidInput("this node does not work on that task, or it has said so already")
        return posted[-1]

    # --- looking after our tasks

    def _ours(self) -> list[tuple[TaskId, Task, Outpoint]]:
        """Return the clients' tasks under way that we work on, with what waits for a block applied."""
        ours, pool = self.node.identity.public, self.node.pool
        return [
            (task_id, task, ticket)
            for task_id, task in pool.active_tasks()
            if task.stage.is_underway and not task.is_predefined
            for ticket in pausing.workers(task)
            if pool.tickets[ticket].owner == ours
        ]

    def _look(self) -> None:
        for task_id, task, ticket in self._ours():
            if task.stage is Stage.PAUSED:
                self.node.publish("heartbeat", task_id, record.encode(Heartbeat(task_id)))
                self._active_ms.pop(task_id, None)
            else:
                self._active_ms.setdefault(task_id, self.node.now_ms)
                self._alive_ms.pop(task_id, None)
            self._decide(task_id, task, ticket)
        self._forget()
        self.node.set_timer("pausing", LOOK_MS, self._look)

    def _forget(self) -> None:
        ours = {task_id: None for task_id, _, _ in self._ours()}
        for known in (self._active_ms, self._alive_ms, self._held):
            for task_id in [t for t in known if t not in ours]:
                known.pop(task_id)

    def _decide(self, task_id: TaskId, task: Task, ticket: Outpoint) -> None:
        height, pauses = self.node.state.height + 1, task.stage is Stage.TRAINING
        if self.node.pool.tasks[task_id].stage is not task.stage:
            return  # another ticket of ours has just said so
        if pausing.has_majority(task, height):
            self.node.post(Pause(task_id, ticket) if pauses else Resume(task_id, ticket))
        elif self._is_stalled(task_id, task) if pauses else self._may_go_on(task_id, task):
            self._consider(task_id, ticket, pauses)

    def _consider(self, task_id: TaskId, ticket: Outpoint, pause: bool) -> Hash32 | None:  # noqa: FBT001
        task = self.node.pool.tasks[task_id]
        if ticket in pausing.considering(task, self.node.state.height + 1):
            return None
        if pause:
            tx = self.node.post(ConsiderPause(task_id, ticket, Suspicion.DOS_ATTACK))
        else:
            tx = self.node.post(ConsiderResume(task_id, ticket))
        return tx.txid if tx else None

    def _is_stalled(self, task_id: TaskId, task: Task) -> bool:
        since = self._active_ms.get(task_id, self.node.now_ms)
        return self.node.now_ms - since > STALLED_MS and task.pauses < PAUSES_MAX

    def _may_go_on(self, task_id: TaskId, task: Task) -> bool:
        if task_id in self._held:
            return False
        heard = self._alive_ms.get(task_id, {})
        known, ours = self.node.state.tickets, self.node.identity.public
        owners = [known[t].owner for t in pausing.workers(task) if t in known]
        alive = [o for o in owners if o == ours or self.node.now_ms - heard.get(o, -ALIVE_MS) < ALIVE_MS]
        return 2 * len(alive) > len(owners)
