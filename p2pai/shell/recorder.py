"""What a node sees, on its way to whoever records it.

Nothing here ever holds up the node: bytes are put into a `Feed`, and a reader that falls too far behind, be
it somebody at the RPC or the disk, is cut off. Where nobody reads, nobody observes gossip: it costs nothing.

Source: docs/RECORDING.md; docs/adr/0038-recordings.md.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import trio

from p2pai.gossip import recording
from p2pai.gossip.recording import Entry, Holds, Recording, What
from p2pai.gossip.sightings import Observer, Sighting
from p2pai.primitives.errors import Unavailable

READERS_MAX: Final = 8
"""Readers of gossip at once."""

READER_BYTES_MAX: Final = 8 << 20
"""Bytes waiting for one of them; at a busy node's 1 MB/s he may pause for some seconds."""


class Feed:
    """Bytes on their way to one reader."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._waiting: list[bytes] = []
        self._size = 0
        self._changed = trio.Event()
        self.is_cut = False
        """Whether the reader fell too far behind: nothing is added any more."""

    def put(self, data: bytes) -> None:
        """Add bytes; never waits."""
        self.is_cut = self.is_cut or self._size + len(data) > self._size_max
        if not self.is_cut:
            self._waiting.append(data)
            self._size += len(data)
        self._changed.set()

    async def take(self) -> bytes:
        """Wait for bytes and return all that are there; none after the reader was cut off."""
        while not self._waiting and not self.is_cut:
            self._changed = trio.Event()
            await self._changed.wait()
        return self.rest()

    def rest(self) -> bytes:
        """Return what waits now."""
        taken = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        return taken


class Recorder:
    """Gives a node's gossip to readers, as recordings that begin when they come."""

    def __init__(
        self, head: Recording, observers: list[Observer], standing: Callable[[], Iterable[Sighting]] = tuple
    ) -> None:
        """Take part in nothing yet.

        Args:
          head: of the recordings; the time in it is set for each.
          observers: of the network, to which this one is added while somebody reads.
          standing: gives what holds already when somebody comes, which his recording begins with.
        """
        self._head, self._observers, self._standing = head, observers, standing
        self._readers: list[Feed] = []

    @property
    def is_full(self) -> bool:
        """Whether there are as many readers as there may be."""
        return len(self._readers) >= READERS_MAX

    @contextmanager
    def reading(self) -> Iterator[Feed]:
        """Give a new reader what is seen from now on.

        Raises:
          Unavailable: there are too many.
        """
        if self.is_full:
            raise Unavailable(f"this node has {READERS_MAX} readers of its gossip already")
        feed = Feed(READER_BYTES_MAX)
        feed.put(recording.begin(begun(self._head, (Holds.GOSSIP,))))
        for sighting in self._standing():
            feed.put(stamped(sighting))
        if not self._readers:
            self._observers.append(self._see)
        self._readers.append(feed)
        try:
            yield feed
        finally:
            self._readers.remove(feed)
            if not self._readers:
                self._observers.remove(self._see)

    def _see(self, sighting: Sighting) -> None:
        data = stamped(sighting)
        for feed in self._readers:
            feed.put(data)


def begun(head: Recording, holds: tuple[Holds, ...]) -> Recording:
    """Return a head of a recording that begins now."""
    return replace(head, began_us=now_us(), holds=holds, birth=head.birth if Holds.INBOX in holds else None)


def stamped(what: What) -> bytes:
    """Return an entry's bytes with the time of now."""
    return recording.encode(Entry(now_us(), what))


def now_us() -> int:
    """Return Unix time in microseconds."""
    return time.time_ns() // 1000
