"""Finding messages of a task that gossip lost and nobody names: by comparing with one remote at a time.

What a slot holds is named by the slot, and what a leader opens by its opening; both are pulled by
following.py. A message in no slot is repeated by its miner until it is in one. Nobody names what a miner said
last before it went away, if the leader didn't hear it. So each supervisor asks one of those who work on the
task, in turn, for the ids of messages in no slot that it lacks, and then for these messages; they are judged
as gossip is.

Who lies here costs one question of 256 ids in each turn: more is not asked for.
"""

from collections.abc import Callable
from typing import Final

from p2pai.gossip import comparing, sync
from p2pai.node.services import Services
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId, TaskId
from p2pai.roles.history import UNRECORDED_MAX, TaskHistory

STEP: Final = 5
"""Places that the pieces move on with each question; it shares no divisor with their number."""


class Comparison:
    """One followed task's messages in no slot, against others'."""

    def __init__(
        self,
        task_id: TaskId,
        services: Services,
        history: TaskHistory,
        take: Callable[[bytes | None], None],
    ) -> None:
        self._task_id, self._services, self._history, self._take = task_id, services, history, take
        self._turn = 0

    def ask(self, peers: tuple[PeerId, ...]) -> None:
        """Ask the next of these, if connected, or else of all remotes, what it has that we lack."""
        here = [peer for peer in peers if peer in self._services.remotes]
        self._turn += 1
        remote = here[self._turn % len(here)] if here else self._services.next_remote(self._turn)
        if remote is None or len(self._history.unrecorded) >= UNRECORDED_MAX:
            return
        place = self._turn * STEP % comparing.PLACES
        known = comparing.pieces(self._history.unrecorded, place)
        question = sync.AskUnrecorded(self._task_id, place, known)
        self._services.ask(remote, record.encode_tagged(question), lambda body: self._hear(remote, body))

    def _hear(self, remote: PeerId, body: bytes | None) -> None:
        try:
            reply = sync.read_reply(body) if body else None
        except InvalidInput:
            return
        if not isinstance(reply, sync.Unrecorded):
            return
        known, recorded = self._history.messages, self._history.recorded
        lacking = tuple(i for i in reply.ids[: sync.MESSAGES_MAX] if i not in known and i not in recorded)
        if lacking:
            self._services.ask(
                remote, record.encode_tagged(sync.AskMessages(self._task_id, lacking)), self._take
            )

    def answer(self, question: sync.AskUnrecorded) -> sync.Unrecorded:
        """Answer a remote.

        Raises:
          InvalidMessage: malformed.
        """
        ours = self._history.unrecorded
        return sync.Unrecorded(comparing.others(ours, question.place, question.pieces, sync.MESSAGES_MAX))
