"""A miner's own messages on their way into the record: said when noted, and again until a slot holds them.

Source: PoUW §4.3; RELIABILITY (4), I13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pai.chain import it_res
from p2pai.primitives.ids import Hash32, TaskId
from p2pai.roles.history import TaskHistory

if TYPE_CHECKING:
    from p2pai.roles.base import Node

REPUBLISH_AGE_MS: Final = 4_000
"""Age at which our own message, still in no slot, is taken for lost."""


class Outgoing:
    """See the module."""

    def __init__(self, node: Node, task_id: TaskId, history: TaskHistory) -> None:
        self._node, self._task_id, self._history = node, task_id, history
        self._unsent: dict[int, bytes] = {}
        self._sent_ms: dict[Hash32, int] = {}

    def recall(self, data: bytes) -> None:
        """Say a message of before a restart again: perhaps it never left, and peers wait for it."""
        self._history.add_message(it_res.decode(data), data)
        self._sent_ms[it_res.message_id(data)] = 0

    def hold(self, message: it_res.IterationResult, data: bytes) -> None:
        """Keep a new message until its place in the journal is durable."""
        self._unsent[message.iteration] = data
        self._history.add_message(message, data)

    def publish(self, iteration: int) -> None:
        """Send a message whose place in the journal is durable."""
        data = self._unsent.pop(iteration, None)
        if data is not None:
            self._sent_ms[it_res.message_id(data)] = self._node.now_ms
            self._node.publish("it_res", self._task_id, data)

    def repeat(self) -> None:
        """Say again what is in no slot for long."""
        for identifier, sent_ms in list(self._sent_ms.items()):
            if identifier in self._history.recorded or identifier not in self._history.messages:
                del self._sent_ms[identifier]
            elif self._node.now_ms - sent_ms > REPUBLISH_AGE_MS:
                self._sent_ms[identifier] = self._node.now_ms
                self._node.publish("it_res", self._task_id, self._history.messages[identifier])
