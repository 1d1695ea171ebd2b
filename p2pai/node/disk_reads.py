"""What a core reads from its disk: noted while it is recorded, and said again later.

These answers are the one thing besides events that a core's effects follow from (node/archive.py). A question
of the user may read a block too, and the core then finds it in its memory; so every answer is noted, whoever
asked.

Source: docs/RECORDING.md.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from p2pai.gossip.recording import BodyRead, DiskRead, HashRead, HeightRead, NamesRead, What
from p2pai.node.archive import Archive
from p2pai.primitives.ids import Hash32

K = TypeVar("K")
V = TypeVar("V")

Write = Callable[[What], None]
"""Takes what is to be noted, in order; must not raise, nor wait."""


class NotRecorded(Exception):  # noqa: N818
    """A core that lives again reads what it did not read when it was recorded; names it."""


class RecordedArchive:
    """An archive of which every answer is noted."""

    def __init__(self, archive: Archive, write: Write) -> None:
        self._archive, self._write = archive, write

    def body(self, block: Hash32) -> bytes | None:
        """See `Archive`."""
        answer = self._archive.body(block)
        self._write(BodyRead(block, answer))
        return answer

    def height_of(self, block: Hash32) -> int | None:
        """See `Archive`."""
        answer = self._archive.height_of(block)
        self._write(HeightRead(block, answer))
        return answer

    def hash_at(self, height: int) -> Hash32 | None:
        """See `Archive`."""
        answer = self._archive.hash_at(height)
        self._write(HashRead(height, answer))
        return answer

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """See `Archive`."""
        answer = self._archive.between(first, last, count_max)
        self._write(NamesRead(first, last, count_max, answer))
        return answer


class RememberedArchive:
    """An archive that gives the newest answer that was noted; all of them are held in memory."""

    def __init__(self) -> None:
        self._bodies: dict[Hash32, bytes | None] = {}
        self._heights: dict[Hash32, int | None] = {}
        self._hashes: dict[int, Hash32 | None] = {}
        self._names: dict[tuple[Hash32, Hash32, int], tuple[Hash32, ...]] = {}

    def learn(self, read: DiskRead) -> None:
        """Remember an answer, in place of an earlier one."""
        match read:
            case BodyRead(block, body):
                self._bodies[block] = body
            case HeightRead(block, height):
                self._heights[block] = height
            case HashRead(at, name):
                self._hashes[at] = name
            case NamesRead(first, last, count_max, blocks):
                self._names[first, last, count_max] = blocks

    def body(self, block: Hash32) -> bytes | None:
        """See `Archive`."""
        return _recall(self._bodies, block, f"block {block.hex()}")

    def height_of(self, block: Hash32) -> int | None:
        """See `Archive`."""
        return _recall(self._heights, block, f"the height of block {block.hex()}")

    def hash_at(self, height: int) -> Hash32 | None:
        """See `Archive`."""
        return _recall(self._hashes, height, f"the block at height {height}")

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """See `Archive`."""
        return _recall(self._names, (first, last, count_max), f"blocks from {first.hex()}")


def _recall(known: Mapping[K, V], question: K, name: str) -> V:
    if question not in known:
        raise NotRecorded(name)
    return known[question]
