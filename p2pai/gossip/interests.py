"""With whom this node has to do: who works on its tasks, and who does a part in them that it needs.

A node that follows a task's topics is to be found under the task; one that does a role's part in it under the
role too. In turn it looks for a few that follow its tasks, and for their supervisors, who keep the record
of what was said: as long as it is not linked with enough of them, those found are dialled before all
others.
"""

from collections.abc import Callable, Collection
from typing import Final

from p2pai.gossip.rendezvous import Meeting
from p2pai.gossip.topics import parse
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId, TaskId

FOLLOWERS_WANTED: Final = 4
"""Links to remotes that follow one of our tasks; gossip's mesh wants as many."""

ROLES_SOUGHT: Final = {"supervisor": 2}
"""Roles whose holders in our tasks are looked for, and how many links to such are wanted."""

FOUND_MAX: Final = 32
"""Remotes remembered for one meeting."""

Followers = Callable[[str], Collection[PeerId]]
"""Returns the remotes that follow a topic."""


class Interests:
    """What this node is to be found under, and whom it looks for."""

    def __init__(self, chain: str) -> None:
        self._chain = Meeting(chain)
        self._topics: dict[TaskId, dict[str, None]] = {}
        self._parts: dict[Meeting, None] = {}
        self._found: dict[Meeting, dict[PeerId, None]] = {}

    def join(self, topic: str) -> None:
        """Note that a topic is followed; those of the whole chain change nothing."""
        task = self._task(topic)
        if task is not None:
            self._topics.setdefault(task, {})[topic] = None

    def leave(self, topic: str) -> tuple[Meeting, ...]:
        """Note that a topic is no longer followed; return what we are not to be found under any more."""
        task = self._task(topic)
        if task is None or task not in self._topics:
            return ()
        self._topics[task].pop(topic, None)
        if self._topics[task]:
            return ()
        del self._topics[task]
        ended = (self._of(task), *(part for part in self._parts if part.task == task))
        for meeting in (*ended, *(self._of(task, role) for role in ROLES_SOUGHT)):
            self._parts.pop(meeting, None)
            self._found.pop(meeting, None)
        return ended

    def take_part(self, task: TaskId, role: str) -> None:
        """Note that we do a role's part in a task."""
        self._parts[self._of(task, role)] = None

    def end_part(self, task: TaskId, role: str) -> tuple[Meeting, ...]:
        """Note that we no longer do; return what we are not to be found under any more."""
        ended = self._of(task, role)
        return (ended,) if self._parts.pop(ended, ended) is None else ()

    @property
    def provided(self) -> tuple[Meeting, ...]:
        """What we are to be found under."""
        return (self._chain, *map(self._of, self._topics), *self._parts)

    def sought(self, linked: Collection[PeerId], followers: Followers) -> tuple[Meeting, ...]:
        """Return what we have too few links for, the chain as a whole left out."""
        few = [
            self._of(task)
            for task, topics in self._topics.items()
            if min(len(followers(topic)) for topic in topics) < FOLLOWERS_WANTED
        ]
        for task in self._topics:
            for role, wanted in ROLES_SOUGHT.items():
                holders = self._found.get(self._of(task, role), {})
                if sum(remote in linked for remote in holders) < wanted:
                    few.append(self._of(task, role))
        return tuple(few)

    def note_found(self, meeting: Meeting, remotes: Collection[PeerId]) -> None:
        """Note who is said to be at a meeting; who was before and isn't now comes last."""
        before = self._found.get(meeting, {})
        self._found[meeting] = dict.fromkeys([*remotes, *before][:FOUND_MAX])

    def missing(self, linked: Collection[PeerId], followers: Followers) -> tuple[PeerId, ...]:
        """Return whom to link with for the sake of our tasks."""
        found = (
            remote for meeting in self.sought(linked, followers) for remote in self._found.get(meeting, ())
        )
        return tuple(dict.fromkeys(remote for remote in found if remote not in linked))

    def _of(self, task: TaskId, role: str = "") -> Meeting:
        return Meeting(self._chain.chain, task, role)

    def _task(self, topic: str) -> TaskId | None:
        try:
            parsed = parse(topic)
        except InvalidMessage:
            return None
        return parsed.scope if parsed.chain == self._chain.chain else None
