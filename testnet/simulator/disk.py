"""A node's disk in memory: what was written, in order, and how much of it a kill leaves.

Writes take effect one after the other, each when its `Persisted` is due; a kill takes away any number of
those that are not, from the end. What is read back follows the rules of the real store, put plainly.
"""

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

from p2pai import effects, events
from p2pai.primitives.ids import Hash32

SNAPSHOTS_KEPT: Final = 2


@dataclass
class Disk:
    """Everything durable, and what is on its way."""

    journal: list[bytes] = field(default_factory=list)
    blocks: dict[Hash32, tuple[int, bytes]] = field(default_factory=dict)
    """Height and body, in order of arrival."""
    chain: dict[int, Hash32] = field(default_factory=dict)
    """Hashes of the final blocks by height."""
    heights: dict[Hash32, int] = field(default_factory=dict)
    """The same, the other way round."""
    snapshots: dict[int, bytes] = field(default_factory=dict)
    """By height."""
    waiting: list[effects.Write] = field(default_factory=list)
    """Written, not yet durable."""
    batch: int = 0
    """How many of them, from the front, are being made durable together."""

    def write(self, effect: effects.Write) -> None:
        """Take a write; `sync` makes it durable."""
        self.waiting.append(effect)

    def sync(self) -> None:
        """Make the oldest waiting write durable."""
        self._carry_out(self.waiting.pop(0))

    @property
    def is_busy(self) -> bool:
        """Whether writes are being made durable."""
        return self.batch > 0

    def begin(self) -> None:
        """Begin to make durable all that waits."""
        self.batch = len(self.waiting)

    def commit(self) -> list[int]:
        """End what was begun; return the tokens of the writes that are durable now."""
        tokens = [effect.token for effect in self.waiting[: self.batch]]
        for _ in range(self.batch):
            self.sync()
        self.batch = 0
        return tokens

    def crash(self, rng: random.Random) -> int:
        """Keep any number of the waiting writes from the front; return how many are lost."""
        kept = rng.randint(0, len(self.waiting))
        for _ in range(kept):
            self.sync()
        lost = len(self.waiting)
        self.waiting.clear()
        self.batch = 0
        return lost

    def started(self) -> events.Started:
        """Return what a node that starts is given."""
        height = max(self.snapshots, default=0)
        blocks = tuple(body for at, body in self.blocks.values() if at > height)
        return events.Started(tuple(self.journal), self.snapshots.get(height), blocks)

    def copy(self) -> "Disk":
        """Return a disk with the same durable contents."""
        made = deepcopy(self)
        made.waiting.clear()
        made.batch = 0
        return made

    def _carry_out(self, effect: effects.Write) -> None:
        match effect:
            case effects.Persist(_, body):
                self.journal.append(body)
            case effects.StoreBlock(_, name, height, body):
                self.blocks.pop(name, None)
                self.blocks[name] = (height, body)
            case effects.StoreSnapshot(_, height, body, chain):
                self._take_snapshot(height, body, chain)

    def _take_snapshot(self, height: int, body: bytes, chain: Sequence[Hash32]) -> None:
        first = height - len(chain) + 1
        self.chain.update(enumerate(chain, start=first))
        self.heights.update({name: at for at, name in enumerate(chain, start=first)})
        for name, (at, _) in list(self.blocks.items()):
            if first <= at <= height and self.chain[at] != name:
                del self.blocks[name]
        self.snapshots[height] = body
        for old in sorted(self.snapshots)[:-SNAPSHOTS_KEPT]:
            del self.snapshots[old]

    # --- node/archive.py: Archive

    def body(self, block: Hash32) -> bytes | None:
        """Return a stored block's body."""
        return self.blocks[block][1] if block in self.blocks else None

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a final block."""
        return self.heights.get(block)

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the final block at a height."""
        return self.chain.get(height)

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """Return final blocks whose hashes lie between two."""
        return tuple(sorted(name for name in self.chain.values() if first <= name <= last))[:count_max]
