"""The file of a data directory: one SQLite database, its schema, and the lock that keeps a second node out.

Write-ahead log with `synchronous=FULL`: a transaction that was committed survives a crash, one that was not
leaves nothing. A file of another schema version is refused; nothing is converted.

Source: RELIABILITY (5), "disk".
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell.files import FILE_MODE

FILE_NAME: Final = "journal.db"
"""As in version 1, whose file must be found and refused: it holds promises."""

LOCK_NAME: Final = "lock"

APPLICATION_ID: Final = 0x70325041
"""Marks the file as ours ("p2PA")."""

SCHEMA_VERSION: Final = 2

CHECKSUM_SIZE: Final = 16
"""Bytes of a checksum: it guards against damage, not against an adversary with the disk."""

BUSY_S_MAX: Final = 5.0
"""Seconds to wait for a reader that holds the file."""

SCHEMA: Final = (
    "CREATE TABLE record (sequence INTEGER PRIMARY KEY, checksum BLOB NOT NULL, body BLOB NOT NULL) STRICT",
    "CREATE TABLE block (arrival INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, height INTEGER NOT NULL,"
    " checksum BLOB NOT NULL, body BLOB NOT NULL) STRICT",
    "CREATE INDEX block_height ON block (height)",
    "CREATE TABLE chain (height INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, checksum BLOB NOT NULL)"
    " STRICT",
    "CREATE TABLE snapshot (height INTEGER PRIMARY KEY, checksum BLOB NOT NULL, body BLOB NOT NULL) STRICT",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

T = TypeVar("T")


def lock(directory: Path) -> int:
    """Take a data directory for this process; closing the descriptor releases it, as the process's end does.

    Raises:
      Unavailable: another node runs on it.
    """
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(
            f"another node is running on {directory}; stop it first, or give this one a --data-dir of its own"
        ) from error
    return descriptor


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the file, creating it when it is missing or empty.

    Raises:
      InvalidInput: it is not ours, or of another version.
      sqlite3.DatabaseError: it is damaged.
    """
    # Created here, not by SQLite, so that it is private; SQLite gives its other files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
    return _checked(_connect(path, mode="rw"), path, _prepare)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file beside a node that may be writing to it.

    Raises:
      InvalidInput: it is not ours, or of another version.
      sqlite3.DatabaseError: it is damaged.
    """
    return _checked(_connect(path, mode="ro"), path, lambda _: None)


DAMAGED: Final = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file raises; SQLite's own words about it may hold names that are not UTF-8."""


def checksum(tag: str, *parts: object) -> bytes:
    """Return the checksum of a row's columns, of whatever type: a damaged file ignores its schema."""
    encoded = (part if isinstance(part, bytes) else repr(part).encode() for part in parts)
    return tagged_hash(tag, *encoded)[:CHECKSUM_SIZE]


def unreadable(path: Path) -> InvalidInput:
    """Return what to tell the user about a file that SQLite can't read."""
    return InvalidInput(f"{path} can't be read as a journal; restore a backup, or use a new data directory")


def _checked(
    database: sqlite3.Connection, path: Path, prepare: Callable[[sqlite3.Connection], None]
) -> sqlite3.Connection:
    try:
        prepare(database)
        _check_schema(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    # Transactions are explicit. One thread at a time uses a connection, not always the same.
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S_MAX,
        isolation_level=None,
        check_same_thread=False,
    )
    database.text_factory = bytes  # in a damaged file text may stand for bytes, and not even be UTF-8
    return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables == 0 and _pragma(database, "user_version") == 0:
        database.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
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
