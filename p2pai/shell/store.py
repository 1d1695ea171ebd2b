"""What a node keeps on disk: its journal, blocks and snapshots, behind one door.

A record is on disk before whatever it promises becomes visible: `write_all` returns only then, and one
transaction carries all that waits at the moment (group commit). After a crash a prefix of what was asked for
is there. One process writes: `Store.open` holds a lock on `DIR/lock` until it is closed or its process ends.
`read_store` reads beside it.

Source: RELIABILITY (2), "kill -9 during disk write", "torn write", "bit rot".
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from p2pai import effects
from p2pai.events import Started
from p2pai.primitives.errors import Unavailable
from p2pai.shell import chain_tables, database
from p2pai.shell.chain_tables import StoredBlocks
from p2pai.shell.database import FILE_NAME
from p2pai.shell.files import make_directory
from p2pai.shell.journal_table import JournalTable, read_records


class Store:
    """A node's disk, open for writing; use `Store.open`."""

    damaged: int
    """Damaged blocks and snapshots that `started` left out."""

    def __init__(self, path: Path, file: sqlite3.Connection, archive: StoredBlocks, lock: int) -> None:
        self._path, self._database, self._lock = path, file, lock
        self._journal = JournalTable(file)
        self.archive = archive
        self.damaged = 0

    @classmethod
    def open(cls, directory: Path) -> "Store":
        """Open the store of a data directory, creating both when missing.

        Raises:
          Unavailable: another node runs on the directory.
          InvalidInput: the file is not a store of this version, or its journal is damaged.
        """
        make_directory(directory)
        lock = database.lock(directory)
        path = directory / FILE_NAME
        with ExitStack() as undo:
            undo.callback(os.close, lock)
            try:
                file = database.open_for_writing(path)
                undo.callback(file.close)
                archive = StoredBlocks(path)
                undo.callback(archive.close)
                store = cls(path, file, archive, lock)
            except database.DAMAGED as error:
                raise database.unreadable(path) from error
            undo.pop_all()
        return store

    def write_all(self, writes: Sequence[effects.Write]) -> None:
        """Carry out writes in one transaction; on return they survive a crash. All of them, or none."""
        mark = self._journal.mark
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                self._write(write)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            self._journal.rewind(mark)
            raise

    def _write(self, write: effects.Write) -> None:
        match write:
            case effects.Persist(_, body):
                self._journal.append(body)
            case effects.StoreBlock():
                chain_tables.store_block(self._database, write)
            case effects.StoreSnapshot():
                chain_tables.store_snapshot(self._database, write)

    def started(self) -> Started:
        """Return all that a core needs to go on.

        Raises:
          InvalidInput: the file is damaged so that SQLite can't read it.
        """
        try:
            started, self.damaged = _read(self._database)
        except database.DAMAGED as error:
            raise database.unreadable(self._path) from error
        return started

    def close(self) -> None:
        """Close the file and let another node have the directory."""
        self.archive.close()
        self._database.close()
        os.close(self._lock)


def read_store(directory: Path) -> tuple[Started, StoredBlocks]:
    """Return what a data directory holds, all of one moment; a node may be running on it.

    Raises:
      Unavailable: there is none.
      InvalidInput: the file is not a store of this version, or its journal is damaged.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise Unavailable(f"{directory} holds no journal; start a node: p2pai start --data-dir {directory}")
    try:
        with closing(database.open_for_reading(path)) as file:
            file.execute("BEGIN")
            started, _ = _read(file)
        return started, StoredBlocks(path)
    except database.DAMAGED as error:
        raise database.unreadable(path) from error


def _read(file: sqlite3.Connection) -> tuple[Started, int]:
    """Return what a core needs to go on, and how many damaged rows were left out."""
    restart = chain_tables.read_restart(file)
    return Started(read_records(file), restart.snapshot, restart.blocks), restart.damaged
