"""The journal: durable prefixes, damage, versions, locks; with real SQLite and real kills."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.shell import store
from p2pai.shell.store import Journal, read_journal


def _database(directory):
    return closing(sqlite3.connect(directory / "journal.db", isolation_level=None))


def _filled(directory, count=6):
    records = [b"record %d" % i for i in range(count)]
    with closing(Journal.open(directory)) as journal:
        journal.append_all(records)
    return records


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=5))
def test_records_come_back_in_order_across_openings(tmp_path_factory, batches):
    directory = tmp_path_factory.mktemp("node")
    written = []
    for batch in batches:
        with closing(Journal.open(directory)) as journal:
            journal.append_all(batch)
            written += batch
            assert list(journal.records()) == written
    with closing(Journal.open(directory)) as journal:
        assert list(journal.records()) == written
        assert journal.dropped == 0
    assert read_journal(directory) == tuple(written)


def test_a_node_on_the_directory_keeps_a_second_out_until_it_ends(tmp_path):
    first = Journal.open(tmp_path)
    with pytest.raises(Unavailable, match="another node is running"):
        Journal.open(tmp_path)
    first.append_all([b"one"])
    assert read_journal(tmp_path) == (b"one",)
    first.close()
    Journal.open(tmp_path).close()


def test_a_failed_opening_releases_the_lock(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"this is no database" * 100)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="can't be read as a journal"):
            Journal.open(tmp_path)
    with pytest.raises(InvalidInput, match="can't be read as a journal"):
        read_journal(tmp_path)


def test_other_schemas_and_other_databases_are_refused(tmp_path):
    _filled(tmp_path)
    with _database(tmp_path) as database:
        database.execute("PRAGMA user_version = 2")
    for attempt in (Journal.open, read_journal):
        with pytest.raises(InvalidInput, match="schema version 2"):
            attempt(tmp_path)
    with _database(tmp_path) as database:
        database.execute("PRAGMA application_id = 5")
    for attempt in (Journal.open, read_journal):
        with pytest.raises(InvalidInput, match="not a p2pai journal"):
            attempt(tmp_path)


def test_reading_needs_a_journal_and_makes_none(tmp_path):
    with pytest.raises(Unavailable, match="p2pai start"):
        read_journal(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE record SET body = x'00' WHERE sequence = 6",
        "UPDATE record SET checksum = zeroblob(16) WHERE sequence = 6",
        "UPDATE record SET body = x'00' WHERE sequence >= 4",
        "UPDATE record SET sequence = 9 WHERE sequence = 6",
    ],
)
def test_a_damaged_tail_is_dropped_and_counted(tmp_path, damage):
    records = _filled(tmp_path)
    with _database(tmp_path) as database:
        database.execute(damage)
    assert read_journal(tmp_path) == tuple(records)[: len(read_journal(tmp_path))]
    with closing(Journal.open(tmp_path)) as journal:
        kept = list(journal.records())
        assert journal.dropped == len(records) - len(kept) > 0
        assert kept == records[: len(kept)]
        journal.append_all([b"next"])
    with closing(Journal.open(tmp_path)) as journal:
        assert list(journal.records()) == [*kept, b"next"]
        assert journal.dropped == 0


@pytest.mark.parametrize(
    "damage",
    [
        ["UPDATE record SET body = x'00' WHERE sequence = 2"],
        ["UPDATE record SET checksum = zeroblob(16) WHERE sequence = 3"],
        ["DELETE FROM record WHERE sequence = 3"],
        ["DELETE FROM record WHERE sequence = 1"],
        [
            "UPDATE record SET sequence = 99 WHERE sequence = 2",
            "UPDATE record SET sequence = 2 WHERE sequence = 3",
            "UPDATE record SET sequence = 3 WHERE sequence = 99",
        ],
    ],
)
def test_damage_in_the_middle_is_refused(tmp_path, damage):
    _filled(tmp_path)
    with _database(tmp_path) as database:
        for statement in damage:
            database.execute(statement)
    for attempt in (Journal.open, read_journal):
        with pytest.raises(InvalidInput, match="before its end"):
            attempt(tmp_path)


def test_commits_are_synced_and_files_private(tmp_path):
    with closing(Journal.open(tmp_path)) as journal:
        journal.append_all([b"x"])
        assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        for path in tmp_path.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path):
    with closing(Journal.open(tmp_path)) as journal:
        journal.append_all([b"kept"])
        with pytest.raises(AssertionError):
            journal.append_all([b"lost", bytes(store.RECORD_BYTES_MAX + 1)])
        # A row that stands in the way makes the second insertion fail inside the transaction.
        with _database(tmp_path) as other:
            other.execute("INSERT INTO record VALUES (3, x'', x'')")
        with pytest.raises(sqlite3.IntegrityError):
            journal.append_all([b"two", b"three"])
        with _database(tmp_path) as other:
            other.execute("DELETE FROM record WHERE sequence = 3")
        journal.append_all([b"after"])
        assert list(journal.records()) == [b"kept", b"after"]


WRITER = """
import sys
from pathlib import Path
from p2pai.shell.store import Journal
journal = Journal.open(Path(sys.argv[1]))
number = len(list(journal.records()))
while True:
    batch = [b"%d" % n + b"." * 300 for n in range(number, number + 1 + number % 7)]
    journal.append_all(batch)
    number += len(batch)
    print(number, flush=True)
"""


def test_kill_9_at_random_moments_keeps_every_promised_record(tmp_path):
    """What the writer printed was promised; it must be there, followed at most by one batch more."""
    dice = random.Random(7)
    kills_while_writing = 0
    promised = 0
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        with writer.stdout:
            os.set_blocking(writer.stdout.fileno(), True)
            first = writer.stdout.readline()
            time.sleep(dice.uniform(0, 0.08))
            writer.kill()
            lines = [first, *writer.stdout.readlines()]
        assert writer.wait(10) == -9
        whole = [int(line) for line in lines if line.endswith(b"\n")]
        promised = max(promised, *whole)
        kills_while_writing += len(whole) > 1
        records = read_journal(tmp_path)
        assert promised <= len(records) <= promised + 7
        assert records == tuple(b"%d" % n + b"." * 300 for n in range(len(records)))
        with closing(Journal.open(tmp_path)) as journal:
            assert journal.dropped == 0
    assert kills_while_writing >= 6
