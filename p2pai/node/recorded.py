"""A core that notes all it is told and all it does, while it does it.

It stands where the core itself would, so that neither core nor runtime know of recording, and where nothing
is recorded there is nothing to pay. The event is noted before it is handled: when it is one that the core
fails of, the recording ends with it.

Source: docs/RECORDING.md.
"""

from collections.abc import Callable
from typing import Any, Final

from p2pai.effects import Effect
from p2pai.events import Event, Started
from p2pai.gossip.recording import Found, Happened, Place
from p2pai.node.archive import Archive
from p2pai.node.core import NodeCore
from p2pai.node.disk_reads import RecordedArchive, Write
from p2pai.node.state_hash import Standing

NOTED_EVERY: Final = 32
"""Events between two state hashes."""


class RecordedCore:
    """One life of a core."""

    def __init__(self, make: Callable[[Archive], NodeCore], archive: Archive, write: Write) -> None:
        """Make the core.

        Args:
          make: of an archive, a core as it is before its journal.
          archive: its disk.
          write: takes what is noted.
        """
        self.core = make(RecordedArchive(archive, write))
        self._write = write
        self._standing = Standing()

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Let the core take one event, and note both sides."""
        if isinstance(event, Started):
            for part in found(event):
                self._write(part)
            self._write(Happened(now_ms, Started(())))
        else:
            self._write(Happened(now_ms, event))
        effects = self.core.handle(event, now_ms)
        self._write(self._standing.reacted(effects))
        if self._standing.number % NOTED_EVERY == 0:
            self._write(self._standing.note(self.core))
        return effects

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Let the core answer a question; that changes nothing, so it is not noted."""
        return self.core.query(method, params)


def found(disk: Started) -> list[Found]:
    """Return what a start hands over, piece by piece."""
    snapshot = () if disk.snapshot is None else (disk.snapshot,)
    places = ((Place.JOURNAL, disk.journal), (Place.SNAPSHOT, snapshot), (Place.BLOCK, disk.blocks))
    return [Found(place, body) for place, bodies in places for body in bodies]
