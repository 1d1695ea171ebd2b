"""The journal's records: what a node promised, in order.

Each record stands under its sequence number with a checksum over the number, the checksum before it and its
bytes, so a record that was changed, moved or lost is noticed at the next start, and the journal is refused.
That holds for the last record, too: a write that a crash tore is dropped by SQLite's log before anybody reads
it, so a damaged record was durable once, and a node that went on without it might break what it promised.

Source: RELIABILITY (2), "kill -9 during disk write" and "torn write".
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell.database import CHECKSUM_SIZE

RECORD_BYTES_MAX: Final = 20 << 20
"""Bytes of one record, as node/journal.RECORD_SIZE_MAX."""


class JournalTable:
    """The table `record`, at its end."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._last, self._checksum = _scan(database, lambda _: None)

    @property
    def mark(self) -> tuple[int, bytes]:
        """Where the next record goes; what `rewind` takes."""
        return self._last, self._checksum

    def rewind(self, mark: tuple[int, bytes]) -> None:
        """Go on from where the journal ended before a transaction that was rolled back."""
        self._last, self._checksum = mark

    def append(self, body: bytes) -> None:
        """Append a record, inside the caller's transaction."""
        assert len(body) <= RECORD_BYTES_MAX, "record is too long"
        self._last += 1
        self._checksum = _checksum(self._last, self._checksum, body)
        self._database.execute("INSERT INTO record VALUES (?, ?, ?)", (self._last, self._checksum, body))


def read_records(database: sqlite3.Connection) -> tuple[bytes, ...]:
    """Return the records, oldest first.

    Raises:
      InvalidInput: one of them is damaged.
    """
    bodies: list[bytes] = []
    _scan(database, bodies.append)
    return tuple(bodies)


def _scan(database: sqlite3.Connection, take: Callable[[bytes], None]) -> tuple[int, bytes]:
    """Check every record and hand it on; return the last sequence and its checksum."""
    last, checksum = 0, bytes(CHECKSUM_SIZE)
    for sequence, stored, body in database.execute("SELECT * FROM record ORDER BY sequence"):
        # A damaged file can hold a value of any type, whatever its schema says.
        is_sound = (
            sequence == last + 1
            and isinstance(stored, bytes)
            and isinstance(body, bytes)
            and stored == _checksum(sequence, checksum, body)
        )
        if not is_sound:
            raise InvalidInput(
                f"the journal is damaged at record {last + 1}, and with it what this node has promised; "
                "restore it from a backup, or start with a new data directory and new keys"
            )
        last, checksum = sequence, stored
        take(body)
    return last, checksum


def _checksum(sequence: int, before: bytes, body: bytes) -> bytes:
    return tagged_hash("p2pai/journal", sequence.to_bytes(8, "big"), before, body)[:CHECKSUM_SIZE]
