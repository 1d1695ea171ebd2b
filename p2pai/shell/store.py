"""The journal: what a node promised, in order, in SQLite.

A record is on disk before whatever it promises becomes visible: WAL with `synchronous=FULL` makes
`append_all` return only then, and one transaction carries all records that wait at the moment (group commit).
Each record stands under its sequence number with a checksum over the number, the checksum before it and its
bytes, so a record that was changed, moved or lost is noticed at the next start.

A damaged tail is dropped and counted in `dropped`; the records before it are a prefix of the history. Damage
with sound records behind it is never skipped: the journal is refused.

One process writes: `Journal.open` holds a lock on `DIR/lock` until it is closed or its process ends.
`read_journal` reads beside it.

Source: RELIABILITY (2), "kill -9 during disk write" and "torn write".
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell.files import FILE_MODE, make_directory

FILE_NAME: Final = "journal.db"
LOCK_NAME: Final = "lock"

APPLICATION_ID: Final = 0x70325041
"""Marks the file as ours ("p2PA")."""

SCHEMA_VERSION: Final = 1
RECORD_BYTES_MAX: Final = 16 << 20
"""Bytes of one record; a block, the largest today, has at most 256 KiB."""

CHECKSUM_SIZE: Final = 16
"""Bytes of a checksum: it guards against damage, not against an adversary with the disk."""

BUSY_S_MAX: Final = 5.0
"""Seconds to wait for a reader that holds the file."""

_SCHEMA: Final = (
    "CREATE TABLE record (sequence INTEGER PRIMARY KEY, checksum BLOB NOT NULL, body BLOB NOT NULL) STRICT",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_Row = tuple[int, bytes, bytes]


class Journal:
    """A node's journal, open for writing; use `Journal.open`."""

    dropped: int
    """Damaged records at the end that `open` removed."""

    def __init__(self, database: sqlite3.Connection, lock: int) -> None:
        self._database = database
        self._lock = lock
        self._last, self._checksum, self.dropped = _trim(database)

    @classmethod
    def open(cls, directory: Path) -> "Journal":
        """Open the journal of a data directory, creating both when missing.

        Raises:
          Unavailable: another node runs on the directory.
          InvalidInput: the file is not a journal of this version, or is damaged before its end.
        """
        make_directory(directory)
        lock = _lock(directory)
        path = directory / FILE_NAME
        with ExitStack() as undo:
            undo.callback(os.close, lock)
            try:
                database = _open_for_writing(path)
                undo.callback(database.close)
                journal = cls(database, lock)
            except sqlite3.DatabaseError as error:
                raise _unreadable(path) from error
            undo.pop_all()
        return journal

    def append_all(self, records: Sequence[bytes]) -> None:
        """Append records in one transaction; on return they survive a crash. All of them, or none."""
        last, checksum = self._last, self._checksum
        rows: list[_Row] = []
        for body in records:
            assert len(body) <= RECORD_BYTES_MAX, "record is too long"
            last += 1
            checksum = _checksum(last, checksum, body)
            rows.append((last, checksum, body))
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._last, self._checksum = last, checksum

    def records(self) -> Iterator[bytes]:
        """Yield every record, oldest first."""
        for _, _, body in _rows(self._database):
            yield body

    def close(self) -> None:
        """Close the file and let another node have the directory."""
        self._database.close()
        os.close(self._lock)


def read_journal(directory: Path) -> tuple[bytes, ...]:
    """Return the sound records of a data directory, oldest first; a node may be running on it.

    Raises:
      Unavailable: there is no journal.
      InvalidInput: the file is not a journal of this version, or is damaged before its end.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise Unavailable(f"{directory} holds no journal; start a node: p2pai start --data-dir {directory}")
    try:
        with closing(_connect(path, mode="ro")) as database:
            _check_schema(database, path)
            database.execute("BEGIN")
            last, _, _ = _scan(database)
            return tuple(body for sequence, _, body in _rows(database) if sequence <= last)
    except sqlite3.DatabaseError as error:
        raise _unreadable(path) from error


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(
            f"another node is running on {directory}; stop it first, or give this one a --data-dir of its own"
        ) from error
    return descriptor


def _open_for_writing(path: Path) -> sqlite3.Connection:
    # Created here, not by SQLite, so that it is private; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
    database = _connect(path, mode="rw")
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if _is_new(database):
            _create(database)
        _check_schema(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    # Transactions are explicit. One thread at a time uses the connection, not always the same.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S_MAX,
        isolation_level=None,
        check_same_thread=False,
    )


def _is_new(database: sqlite3.Connection) -> bool:
    tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return bool(tables == 0) and _pragma(database, "user_version") == 0


def _create(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        database.execute(statement)
    database.execute("COMMIT")


def _check_schema(database: sqlite3.Connection, path: Path) -> None:
    if _pragma(database, "application_id") != APPLICATION_ID:
        raise InvalidInput(f"{path} is not a p2pai journal; move it away to start afresh")
    version = _pragma(database, "user_version")
    if version != SCHEMA_VERSION:
        raise InvalidInput(
            f"{path} has schema version {version}, this p2pai reads {SCHEMA_VERSION}; use the other one"
        )


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _trim(database: sqlite3.Connection) -> tuple[int, bytes, int]:
    """Drop a damaged tail; returns the last sequence, its checksum, and the number of rows dropped."""
    last, checksum, damaged = _scan(database)
    if damaged:
        database.execute("DELETE FROM record WHERE sequence > ?", (last,))
    return last, checksum, damaged


def _scan(database: sqlite3.Connection) -> tuple[int, bytes, int]:
    """Check every record; returns the last sound sequence, its checksum, and the number of rows behind it."""
    last, checksum, damaged = 0, bytes(CHECKSUM_SIZE), 0
    before = checksum
    for sequence, stored, body in _rows(database):
        # A damaged file can hold a value of any type, whatever its schema says.
        of_bytes = isinstance(stored, bytes) and isinstance(body, bytes)
        sound = of_bytes and sequence > 0 and stored == _checksum(sequence, before, body)
        before = stored if of_bytes else b""
        if sound and not damaged and sequence == last + 1:
            last, checksum = sequence, stored
            continue
        if sound:
            raise InvalidInput(
                f"the journal is damaged at record {last + 1}, before its end; restore it from a backup, or "
                "start with a new data directory and new keys"
            )
        damaged += 1
    return last, checksum, damaged


def _rows(database: sqlite3.Connection) -> Iterator[_Row]:
    # In a damaged file text may stand for bytes, and not even be UTF-8.
    columns = "sequence, CAST(checksum AS BLOB), CAST(body AS BLOB)"
    yield from database.execute(f"SELECT {columns} FROM record ORDER BY sequence")  # noqa: S608


def _checksum(sequence: int, before: bytes, body: bytes) -> bytes:
    return tagged_hash("p2pai/journal", sequence.to_bytes(8, "big"), before, body)[:CHECKSUM_SIZE]


def _unreadable(path: Path) -> InvalidInput:
    return InvalidInput(f"{path} can't be read as a journal; restore a backup, or use a new data directory")
