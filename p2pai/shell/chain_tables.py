"""Blocks, the final chain, and snapshots of the state, as rows with a checksum each.

A damaged row is treated as if it were not there: a block is then missing, and can be had from remotes; in
the place of a snapshot the one before it is used. Blocks stand in order of arrival, so that parents come
before their children. `SNAPSHOTS_KEPT` snapshots are kept, for the case that the newest is damaged.

`StoredBlocks` is the archive of a running core: a connection of its own, which sees what was committed and
never waits for a transaction that is being written.

Source: RELIABILITY (2), "bit rot, misdirected read".
"""

import sqlite3
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import structlog

from p2pai import effects
from p2pai.primitives.ids import Hash32
from p2pai.shell.database import DAMAGED, checksum, open_for_reading

BODY_BYTES_MAX: Final = 512 << 20
"""Bytes of a block or a snapshot; SQLite's own limit is 10^9. A state of 5 million outputs has 400 MiB."""

SNAPSHOTS_KEPT: Final = 2
BLOCK_TAG: Final = "p2pai/stored-block"
CHAIN_TAG: Final = "p2pai/final-block"
SNAPSHOT_TAG: Final = "p2pai/stored-snapshot"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restart:
    """Where a core goes on from."""

    snapshot: bytes | None
    blocks: tuple[bytes, ...]
    """Those above the snapshot, in order of arrival."""
    damaged: int
    """Rows that were left out."""


def store_block(database: sqlite3.Connection, effect: effects.StoreBlock) -> None:
    """Write a block, inside the caller's transaction."""
    assert len(effect.body) <= BODY_BYTES_MAX, "block is too long"
    name, height, body = effect.block_hash, effect.height, effect.body
    check = checksum(BLOCK_TAG, name, height, body)
    database.execute(
        "INSERT OR REPLACE INTO block (hash, height, checksum, body) VALUES (?, ?, ?, ?)",
        (name, height, check, body),
    )


def store_snapshot(database: sqlite3.Connection, effect: effects.StoreSnapshot) -> None:
    """Write a snapshot and the final chain up to it, and drop what they make useless."""
    assert len(effect.body) <= BODY_BYTES_MAX, "snapshot is too long"
    height, first = effect.height, effect.height - len(effect.chain) + 1
    for at, name in enumerate(effect.chain, start=first):
        row = (at, name, checksum(CHAIN_TAG, at, name))
        database.execute("INSERT OR REPLACE INTO chain VALUES (?, ?, ?)", row)
    database.execute(
        "DELETE FROM block WHERE height BETWEEN ? AND ?"
        " AND hash NOT IN (SELECT hash FROM chain WHERE height BETWEEN ? AND ?)",
        (first, height) * 2,
    )
    check = checksum(SNAPSHOT_TAG, height, effect.body)
    database.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", (height, check, effect.body))
    database.execute(
        "DELETE FROM snapshot WHERE height NOT IN (SELECT height FROM snapshot ORDER BY height DESC LIMIT ?)",
        (SNAPSHOTS_KEPT,),
    )


def read_restart(database: sqlite3.Connection) -> Restart:
    """Return the newest sound snapshot and the sound blocks above it."""
    height, snapshot, damaged = 0, None, 0
    for at, check, body in database.execute("SELECT * FROM snapshot ORDER BY height DESC"):
        if check == checksum(SNAPSHOT_TAG, at, body) and _has_final(database, at):
            height, snapshot = at, body
            break
        damaged += 1
    query = "SELECT hash, height, checksum, body FROM block WHERE height > ? ORDER BY arrival"
    rows = list(database.execute(query, (height,)))
    bodies = tuple(body for name, at, check, body in rows if check == checksum(BLOCK_TAG, name, at, body))
    return Restart(snapshot, bodies, damaged + len(rows) - len(bodies))


def _has_final(database: sqlite3.Connection, height: int) -> bool:
    """Return whether the final block at a height is there and sound."""
    query = (
        "SELECT b.hash, b.checksum, b.body FROM chain c JOIN block b ON b.hash = c.hash WHERE c.height = ?"
    )
    rows = database.execute(query, (height,))
    return any(check == checksum(BLOCK_TAG, name, height, body) for name, check, body in rows)


class StoredBlocks:
    """What a core may read of its own disk; see node/archive.py."""

    def __init__(self, path: Path) -> None:
        self._database = open_for_reading(path)

    def body(self, block: Hash32) -> bytes | None:
        """Return a stored block's body, of whatever branch."""
        query = "SELECT height, checksum, body FROM block WHERE hash = ?"
        for height, check, body in self._rows(query, block):
            if check == checksum(BLOCK_TAG, block, height, body):
                found: bytes = body
                return found
            _log.warning("a stored block is damaged", block=block.hex())
        return None

    def height_of(self, block: Hash32) -> int | None:
        """Return the height of a final block."""
        for height, check in self._rows("SELECT height, checksum FROM chain WHERE hash = ?", block):
            if check == checksum(CHAIN_TAG, height, block):
                found: int = height
                return found
        return None

    def hash_at(self, height: int) -> Hash32 | None:
        """Return the hash of the final block at a height."""
        for name, check in self._rows("SELECT hash, checksum FROM chain WHERE height = ?", height):
            if check == checksum(CHAIN_TAG, height, name):
                return Hash32(name)
        return None

    def between(self, first: Hash32, last: Hash32, count_max: int) -> tuple[Hash32, ...]:
        """Return final blocks whose hashes lie between two, both included."""
        query = "SELECT hash FROM chain WHERE hash BETWEEN ? AND ? LIMIT ?"
        return tuple(Hash32(name) for name in chain.from_iterable(self._rows(query, first, last, count_max)))

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            return self._database.execute(query, values).fetchall()
        except DAMAGED as error:
            _log.warning("the disk gave no answer", reason=str(error))
            return []
