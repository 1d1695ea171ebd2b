"""The blocks that a node has on its own disk, as the core reads them.

Reading them is no event: the answer follows from what the core stored before and heard `Persisted` for, so a
core that is given the same events still gives the same effects; and it takes microseconds, where an event
would cut every question about an old block in two. Final blocks that are on their way to the disk are found
in `Past` meanwhile, so that nobody notices when they arrive there.

A damaged block counts as missing.

Source: adr/0025.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from p2pai.chain.block import Block
from p2pai.primitives import record
from p2pai.primitives.ids import Hash32, KeyHash

KEPT_SIZE_MAX: Final = 4 << 20
"""Bytes of a stored block; a block itself has at most BLOCK_SIZE_MAX."""

DECODED_MAX: Final = 64
"""Blocks kept decoded: who looks at a block looks at those beside it too."""

FOUND_MAX: Final = 2
"""Blocks looked for by the beginning of a hash: one, or more than one."""


class Archive(Protocol):
    """A node's disk, for reading: stored blocks, and the final chain as of the last snapshot."""

    def body(self, block: Hash32) -> bytes | None:
        """Return what was stored for a block, of whatever branch."""

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a final block."""

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the final block at a height."""

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """Return final blocks whose hashes lie between two, both included."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A block as it is stored, with what only the ledger after it tells."""

    block: bytes
    miner: KeyHash
    verifiers: int
    """How many were drawn to replay it."""


def read_kept(data: bytes) -> Kept:
    """Read what is stored for a block.

    Raises:
      InvalidMessage: not of this version.
    """
    return record.decode(Kept, data, size_max=KEPT_SIZE_MAX)


class Past:
    """Final blocks: in the archive, or on their way to it."""

    def __init__(self, archive: Archive, genesis: Block) -> None:
        self._archive, self._genesis = archive, genesis
        self.top = 0
        """Up to this height blocks are final; the disk knows of more where its last snapshot is damaged."""
        self._leaving: dict[int, Hash32] = {}
        self._bodies: dict[Hash32, Kept] = {}
        """Of those that are leaving."""
        self._decoded: dict[Hash32, Block] = {}
        """The last ones read."""

    def leave(self, height: int, block: Hash32, kept: Kept) -> None:
        """Take over a final block from the tree, until its snapshot is durable."""
        self._leaving[height] = block
        self._bodies[block] = kept
        self.top = height

    def arrived(self, height: int) -> None:
        """Leave the blocks up to a height to the archive: the snapshot there is durable."""
        for at in [h for h in self._leaving if h <= height]:
            del self._bodies[self._leaving.pop(at)]

    def kept(self, block: Hash32) -> Kept | None:
        """Return what was stored for a block."""
        if block in self._bodies:
            return self._bodies[block]
        body = self._archive.body(block)
        return read_kept(body) if body is not None else None

    def block(self, block: Hash32) -> Block | None:
        """Return a block that was stored."""
        if block == self._genesis.hash:
            return self._genesis
        found = self._decoded.pop(block, None)
        if found is None:
            kept = self.kept(block)
            if kept is None:
                return None
            found = Block.decode(kept.block)
        self._decoded[block] = found
        if len(self._decoded) > DECODED_MAX:
            del self._decoded[next(iter(self._decoded))]
        return found

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a final block."""
        if block == self._genesis.hash:
            return 0
        leaving = next((height for height, name in self._leaving.items() if name == block), None)
        height = self._archive.height_of(block) if leaving is None else leaving
        return height if height is not None and height <= self.top else None

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the final block at a height."""
        if height == 0:
            return self._genesis.hash
        if height > self.top:
            return None
        return self._leaving.get(height) or self._archive.hash_at(height)

    def beginning(self, digits: str) -> tuple[Hash32, ...]:
        """Return final blocks whose hashes begin with hexadecimal digits: none, one, or more than one."""
        first, last = (Hash32(bytes.fromhex(digits.ljust(64, fill))) for fill in "0f")
        leaving = (name for name in self._bodies if first <= name <= last)
        found = (*leaving, *self._archive.between(first, last, FOUND_MAX))
        return tuple(dict.fromkeys(found))
