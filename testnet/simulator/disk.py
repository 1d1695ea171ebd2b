"""A node's disk in memory: what was written, in order, how much of it a kill leaves, and what rots.

It behaves as the real store does, put plainly:

* All that waits is made durable together, then the next lot (shell/store.py, `write_all`). A kill keeps any
  number of the writes that were not durable, from the front: the core may rely on no more than that.
* Every row carries a checksum (shell/database.py). A block or a row of the final chain that is damaged counts
  as missing, in place of a damaged snapshot the one before it is taken (shell/chain_tables.py). A damaged
  journal is refused (shell/journal_table.py).
* A write that was torn is found by its checksum and dropped with all that belonged to it (SQLite's log).
* A write that fails stops the node (shell/runtime.py, `_persist`). On a full disk nothing of it is there
  afterwards; when making it durable failed nobody can know.

Damage is noticed where a row is read, not where it is done.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from p2pai import effects, events
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32

SNAPSHOTS_KEPT: Final = 2
NEVER: Final = -1

Table = Literal["record", "block", "chain", "snapshot"]
Row = tuple[Table, int | Hash32]
"""A record by its number from 0, a block by its hash, the others by height."""


class DiskError(Exception):
    """What a write of the node raises, and the kind of fault that it comes from."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


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
    damaged: dict[Row, None] = field(default_factory=dict)
    """Rows whose checksum is wrong now."""
    noticed: int = 0
    """Reads that found a damaged row, or another one than was asked for."""
    misdirected: list[Callable[[], None]] = field(default_factory=list)
    """So many coming reads of a block give another row; each is told of."""
    is_full: bool = False
    fails_in: int = NEVER
    """Making durable fails with an input/output error, this many batches from now."""
    slow_ms: tuple[int, int] = (0, 0)
    """Least and most time that each batch takes besides."""
    on_write: Callable[[], None] | None = None
    """Called once, when the next batch has begun."""

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
        if self.on_write is not None:
            tell, self.on_write = self.on_write, None
            tell()

    def commit(self, rng: random.Random) -> list[int]:
        """End what was begun; return the tokens of the writes that are durable now.

        Raises:
          DiskError: the disk is full, or fails.
        """
        self.room()
        self.fails_in -= self.fails_in > 0
        if self.fails_in == 0:
            self.fails_in = NEVER
            for _ in range(self.batch if rng.randrange(2) else 0):
                self.sync()
            raise DiskError("fsync-error", "disk I/O error")
        tokens = [effect.token for effect in self.waiting[: self.batch]]
        for _ in range(self.batch):
            self.sync()
        self.batch = 0
        return tokens

    def room(self) -> None:
        """Find out whether anything can be written.

        Raises:
          DiskError: the disk is full.
        """
        if self.is_full:
            raise DiskError("disk-full", "database or disk is full")

    def crash(self, rng: random.Random) -> int:
        """Keep any number of the waiting writes from the front; return how many are lost."""
        kept = rng.randint(0, len(self.waiting))
        for _ in range(kept):
            self.sync()
        return self.drop()

    def tear(self, rng: random.Random) -> bool:
        """Lose some of the waiting writes, the first of them torn; return whether there were any."""
        if not self.waiting:
            return False
        for _ in range(rng.randrange(len(self.waiting))):
            self.sync()
        self.drop()
        return True

    def drop(self) -> int:
        """Lose the waiting writes; return how many."""
        lost = len(self.waiting)
        self.waiting.clear()
        self.batch = 0
        return lost

    def started(self) -> events.Started:
        """Return what a node that starts is given.

        Raises:
          InvalidInput: the journal is damaged.
        """
        self._check_journal()
        height = next(filter(self._is_sound_snapshot, sorted(self.snapshots, reverse=True)), 0)
        above = [name for name, (at, _) in self.blocks.items() if at > height]
        blocks = tuple(self.blocks[name][1] for name in above if self._is_sound("block", name))
        return events.Started(tuple(self.journal), self.snapshots.get(height), blocks)

    def copy(self) -> "Disk":
        """Return a disk with the same durable contents."""
        return deepcopy(replace(self, waiting=[], batch=0, misdirected=[], on_write=None))

    def _carry_out(self, effect: effects.Write) -> None:
        match effect:
            case effects.Persist(_, body):
                self.journal.append(body)
            case effects.StoreBlock(_, name, height, body):
                self.blocks.pop(name, None)
                self.damaged.pop(("block", name), None)
                self.blocks[name] = (height, body)
            case effects.StoreSnapshot(_, height, body, chain):
                self._take_snapshot(height, body, chain)

    def _take_snapshot(self, height: int, body: bytes, chain: Sequence[Hash32]) -> None:
        first = height - len(chain) + 1
        for at, name in enumerate(chain, start=first):
            self.chain[at], self.heights[name] = name, at
            self.damaged.pop(("chain", at), None)
        for name, (at, _) in list(self.blocks.items()):
            if first <= at <= height and self.chain[at] != name:
                del self.blocks[name]
        self.snapshots[height] = body
        self.damaged.pop(("snapshot", height), None)
        for old in sorted(self.snapshots)[:-SNAPSHOTS_KEPT]:
            del self.snapshots[old]

    # --- what rots

    def rows(self, table: Table) -> list[Row]:
        """Return the rows of a table that are there and sound, in order."""
        return [row for row in self._rows(table) if row not in self.damaged]

    def damage(self, row: Row) -> None:
        """Flip a bit in a row."""
        self.damaged[row] = None

    def misdirect(self, tell: Callable[[], None]) -> None:
        """Let the next read of a block give another row; `tell` is called when it has."""
        self.misdirected.append(tell)

    def _rows(self, table: Table) -> Iterator[Row]:
        names: dict[Table, Iterable[int | Hash32]] = {
            "record": range(len(self.journal)),
            "block": self.blocks,
            "chain": self.chain,
            "snapshot": self.snapshots,
        }
        return ((table, name) for name in names[table])

    def _is_sound(self, table: Table, name: int | Hash32) -> bool:
        if (table, name) not in self.damaged:
            return True
        self.noticed += 1
        return False

    def _is_sound_snapshot(self, height: int) -> bool:
        """As `_has_final` of shell/chain_tables.py: the final block of its height must be sound, too."""
        name = self.chain.get(height)
        return (
            self._is_sound("snapshot", height)
            and self._is_sound("chain", height)
            and name in self.blocks
            and self._is_sound("block", name)
        )

    def _check_journal(self) -> None:
        for number in range(len(self.journal)):
            if not self._is_sound("record", number):
                raise InvalidInput(
                    f"the journal is damaged at record {number + 1}, and with it what this node has "
                    "promised; restore it from a backup, or start with a new data directory and new keys"
                )

    # --- node/archive.py: Archive

    def body(self, block: Hash32) -> bytes | None:
        """Return a stored block's body."""
        if block not in self.blocks or not self._is_sound("block", block):
            return None
        if self.misdirected and len(self.blocks) > 1:
            # What comes has the checksum of another row.
            self.misdirected.pop()()
            self.noticed += 1
            return None
        return self.blocks[block][1]

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a final block."""
        height = self.heights.get(block)
        return height if height is not None and self._is_sound("chain", height) else None

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the final block at a height."""
        return self.chain[height] if height in self.chain and self._is_sound("chain", height) else None

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """Return final blocks whose hashes lie between two."""
        return tuple(sorted(name for name in self.chain.values() if first <= name <= last))[:count_max]
