"""The journal's records: what a node promised, in order.

Each record stands under its sequence number with a checksum over the number, the checksum before it and its
bytes, so a record that was changed, moved or lost is noticed at the next start. A damaged tail is dropped;
the records before it are a prefix of the history. Damage with sound records behind it is never skipped: the
journal is refused.

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
        self._last, self._checksum, damaged = _scan(database, lambda _: None)
        if damaged:
            database.execute("DELETE FROM record WHERE sequence > ?", (self._last,))
        self.dropped = damaged
        """Damaged records at the end that were removed."""

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
    """Return the sound records, oldest first.

    Raises:
      InvalidInput: damaged before the end.
    """
    bodies: list[bytes] = []
    _scan(database, bodies.append)
    return tuple(bodies)


def _scan(database: sqlite3.Connection, take: Callable[[bytes], None]) -> tuple[int, bytes, int]:
    """Check every record and hand on the sound ones.

    Returns:
      The last sound sequence, its checksum, and the number of rows behind it.
    """
    last, checksum, damaged = 0, bytes(CHECKSUM_SIZE), 0
    before = checksum
    for sequence, stored, body in database.execute("SELECT * FROM record ORDER BY sequence"):
        # A damaged file can hold a value of any type, whatever its schema says.
        of_bytes = isinstance(stored, bytes) and isinstance(body, bytes)
        sound = of_bytes and sequence > 0 and stored == _checksum(sequence, before, body)
        before = stored if of_bytes else b""
        if sound and not damaged and sequence == last + 1:
            last, checksum = sequence, stored
            take(body)
            continue
        if sound:
            raise InvalidInput(
                f"the journal is damaged at record {last + 1}, before its end; restore it from a backup, or "
                "start with a new data directory and new keys"
            )
        damaged += 1
    return last, checksum, damaged


def _checksum(sequence: int, before: bytes, body: bytes) -> bytes:
    return tagged_hash("p2pai/journal", sequence.to_bytes(8, "big"), before, body)[:CHECKSUM_SIZE]
