"""The store: durable prefixes, damage, versions, locks, blocks and snapshots; with real SQLite."""

import hashlib
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import journal_of

from p2pai.effects import Persist, StoreBlock, StoreSnapshot
from p2pai.events import Started
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32
from p2pai.shell import database, journal_table
from p2pai.shell.store import Store, read_store


def _database(directory):
    return closing(sqlite3.connect(directory / "journal.db", isolation_level=None))


def _persist(records):
    return [Persist(0, record) for record in records]


def _filled(directory, count=6):
    records = [b"record %d" % i for i in range(count)]
    with closing(Store.open(directory)) as store:
        store.write_all(_persist(records))
    return records


def name_of(number, branch=0):
    return Hash32(hashlib.sha256(b"%d/%d" % (number, branch)).digest())


def body_of(number, branch=0):
    return b"block %d of branch %d" % (number, branch)


def block(number, branch=0):
    return StoreBlock(0, name_of(number, branch), number, body_of(number, branch))


def snapshot(height, first):
    """The state at a height, with the hashes of branch 0 from `first` on."""
    return StoreSnapshot(0, height, b"state %d" % height, tuple(map(name_of, range(first, height + 1))))


def grown(directory):
    """Twelve blocks with a side branch, snapshots at 4 and 8."""
    with closing(Store.open(directory)) as store:
        store.write_all([block(i) for i in range(1, 7)] + [block(3, 1), block(4, 1), block(5, 1)])
        store.write_all([snapshot(4, 1), *(block(i) for i in range(7, 13)), snapshot(8, 5)])


@pytest.fixture
def long(tmp_path):
    grown(tmp_path)
    return tmp_path


def started(directory):
    with closing(Store.open(directory)) as store:
        return store.started()


# --- the journal


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=5))
def test_records_come_back_in_order_across_openings(tmp_path_factory, batches):
    directory = tmp_path_factory.mktemp("node")
    written = []
    for batch in batches:
        with closing(Store.open(directory)) as store:
            store.write_all(_persist(batch))
            written += batch
            assert store.started() == Started(tuple(written))
    with closing(Store.open(directory)) as store:
        assert store.started() == Started(tuple(written))
        assert store.damaged == 0
    assert journal_of(directory) == tuple(written)


def test_a_node_on_the_directory_keeps_a_second_out_until_it_ends(tmp_path):
    first = Store.open(tmp_path)
    with pytest.raises(Unavailable, match="another node is running"):
        Store.open(tmp_path)
    first.write_all(_persist([b"one"]))
    assert journal_of(tmp_path) == (b"one",)
    first.close()
    Store.open(tmp_path).close()


def test_a_failed_opening_releases_the_lock(tmp_path):
    (tmp_path / "journal.db").write_bytes(b"this is no database" * 100)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="can't be read as a journal"):
            Store.open(tmp_path)
    with pytest.raises(InvalidInput, match="can't be read as a journal"):
        read_store(tmp_path)


def test_other_schemas_and_other_databases_are_refused(tmp_path):
    _filled(tmp_path)
    for version in (1, 3):
        with _database(tmp_path) as file:
            file.execute(f"PRAGMA user_version = {version}")
        for attempt in (Store.open, read_store):
            with pytest.raises(InvalidInput, match=f"schema version {version}"):
                attempt(tmp_path)
    with _database(tmp_path) as file:
        file.execute("PRAGMA application_id = 5")
    for attempt in (Store.open, read_store):
        with pytest.raises(InvalidInput, match="not a p2pai journal"):
            attempt(tmp_path)


def test_the_first_schema_is_refused(tmp_path):
    """Rather than begin anew beside it: it holds what the node has signed."""
    with _database(tmp_path) as file:
        file.execute("CREATE TABLE record (sequence INTEGER PRIMARY KEY, checksum BLOB, body BLOB) STRICT")
        file.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        file.execute("PRAGMA user_version = 1")
    for attempt in (Store.open, read_store):
        with pytest.raises(InvalidInput, match="schema version 1, this p2pai reads 2"):
            attempt(tmp_path)


def test_reading_needs_a_store_and_makes_none(tmp_path):
    with pytest.raises(Unavailable, match="p2pai start"):
        read_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        ["UPDATE record SET body = x'00' WHERE sequence = 2"],
        ["UPDATE record SET checksum = zeroblob(16) WHERE sequence = 3"],
        ["DELETE FROM record WHERE sequence = 3"],
        ["DELETE FROM record WHERE sequence = 1"],
        ["UPDATE record SET body = x'00' WHERE sequence = 6"],
        ["UPDATE record SET checksum = zeroblob(16) WHERE sequence = 6"],
        ["UPDATE record SET body = x'00' WHERE sequence >= 4"],
        ["UPDATE record SET sequence = 9 WHERE sequence = 6"],
        [
            "UPDATE record SET sequence = 99 WHERE sequence = 2",
            "UPDATE record SET sequence = 2 WHERE sequence = 3",
            "UPDATE record SET sequence = 3 WHERE sequence = 99",
        ],
    ],
)
def test_damage_is_refused_at_the_end_too(tmp_path, damage):
    """A record at the end was durable as all others were: without it the node would break its promise."""
    _filled(tmp_path)
    with _database(tmp_path) as file:
        for statement in damage:
            file.execute(statement)
    for attempt in (Store.open, read_store):
        with pytest.raises(InvalidInput, match="the journal is damaged at record"):
            attempt(tmp_path)


def test_commits_are_synced_and_files_private(tmp_path):
    with closing(Store.open(tmp_path)) as store:
        store.write_all(_persist([b"x"]))
        assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._database.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
        for path in tmp_path.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path):
    with closing(Store.open(tmp_path)) as store:
        store.write_all([*_persist([b"kept"]), block(1)])
        with pytest.raises(AssertionError):
            store.write_all(
                [block(2), snapshot(2, 1), *_persist([b"lost", bytes(journal_table.RECORD_BYTES_MAX + 1)])]
            )
        # A row that stands in the way makes the second insertion fail inside the transaction.
        with _database(tmp_path) as other:
            other.execute("INSERT INTO record VALUES (3, x'', x'')")
        with pytest.raises(sqlite3.IntegrityError):
            store.write_all([block(2), *_persist([b"two", b"three"])])
        with _database(tmp_path) as other:
            other.execute("DELETE FROM record WHERE sequence = 3")
        store.write_all(_persist([b"after"]))
        assert store.started() == Started((b"kept", b"after"), None, (body_of(1),))


# --- blocks and snapshots


class TestRestart:
    def test_without_a_snapshot_all_blocks_come_in_order_of_arrival(self, tmp_path):
        with closing(Store.open(tmp_path)) as store:
            store.write_all([block(1), block(2), block(2, 1), block(1, 1), block(3)])
        bodies = (body_of(1), body_of(2), body_of(2, 1), body_of(1, 1), body_of(3))
        assert started(tmp_path) == Started((), None, bodies)

    def test_a_block_stored_again_arrives_again(self, tmp_path):
        with closing(Store.open(tmp_path)) as store:
            store.write_all([block(1), block(2), block(1)])
        assert started(tmp_path).blocks == (body_of(2), body_of(1))

    def test_it_begins_at_the_newest_snapshot(self, long):
        assert started(long) == Started((), b"state 8", tuple(map(body_of, range(9, 13))))

    def test_side_branches_of_final_heights_are_dropped(self, tmp_path):
        with closing(Store.open(tmp_path)) as store:
            store.write_all([block(i, b) for i in range(1, 6) for b in (0, 1)])
            store.write_all([snapshot(3, 1)])
            kept = [(i, b) for i in range(1, 6) for b in (0, 1) if store.archive.body(name_of(i, b))]
        assert kept == [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 0), (5, 1)]

    def test_two_snapshots_are_kept(self, long):
        with closing(Store.open(long)) as store:
            store.write_all([snapshot(12, 9)])
        with _database(long) as file:
            assert file.execute("SELECT height FROM snapshot").fetchall() == [(8,), (12,)]

    def test_read_beside_a_running_node(self, long):
        with closing(Store.open(long)) as store:
            seen, archive = read_store(long)
            with closing(archive):
                assert seen == store.started()
                store.write_all([block(13)])
                assert archive.body(name_of(13)) == body_of(13)


class TestArchive:
    @pytest.fixture
    def archive(self, long):
        with closing(Store.open(long)) as store:
            yield store.archive

    def test_bodies_of_whatever_height(self, archive):
        assert [archive.body(name_of(i)) for i in range(1, 13)] == [body_of(i) for i in range(1, 13)]
        assert archive.body(name_of(5, 1)) is None
        assert archive.body(name_of(99)) is None

    def test_final_blocks_by_height_and_back(self, archive):
        assert [archive.hash_at(i) for i in range(1, 9)] == [name_of(i) for i in range(1, 9)]
        assert [archive.height_of(name_of(i)) for i in range(1, 9)] == list(range(1, 9))
        assert archive.hash_at(0) is archive.hash_at(9) is archive.height_of(name_of(9)) is None

    def test_by_a_range_of_hashes(self, archive):
        names = sorted(name_of(i) for i in range(1, 9))
        assert set(archive.between(names[2], names[4], 9)) == set(names[2:5])
        assert len(archive.between(bytes(32), b"\xff" * 32, 2)) == 2

    def test_what_is_not_committed_is_not_seen(self, long):
        with closing(Store.open(long)) as store:
            store._database.execute("BEGIN IMMEDIATE")
            store._write(block(13))
            assert store.archive.body(name_of(13)) is None
            store._database.execute("COMMIT")
            assert store.archive.body(name_of(13)) == body_of(13)


def spoil(directory, *statements):
    with _database(directory) as file:
        for statement in statements:
            assert file.execute(statement).rowcount != 0, statement


class TestDamage:
    """Damaged rows are as good as missing, and noticed."""

    def test_a_block_above_the_snapshot_is_left_out(self, long):
        spoil(long, "UPDATE block SET body = x'00' WHERE height = 10")
        with closing(Store.open(long)) as store:
            assert store.started().blocks == tuple(map(body_of, (9, 11, 12)))
            assert store.damaged == 1
            store.write_all([block(10)])
            assert store.started().blocks == tuple(map(body_of, (9, 11, 12, 10)))
            assert store.damaged == 0

    def test_a_final_block_is_missing_until_it_is_stored_again(self, long):
        spoil(long, "UPDATE block SET body = x'00' WHERE height = 3")
        with closing(Store.open(long)) as store:
            assert store.archive.body(name_of(3)) is None
            assert store.archive.hash_at(3) == name_of(3)
            store.write_all([block(3)])
            assert store.archive.body(name_of(3)) == body_of(3)

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE snapshot SET body = x'00' WHERE height = 8",
            "UPDATE snapshot SET height = 9 WHERE height = 8",
            "DELETE FROM snapshot WHERE height = 8",
            "UPDATE block SET body = x'00' WHERE height = 8",
            "DELETE FROM block WHERE height = 8",
            "UPDATE chain SET hash = zeroblob(32) WHERE height = 8",
        ],
    )
    def test_in_the_place_of_a_damaged_snapshot_the_one_before_is_used(self, long, damage):
        spoil(long, damage)
        got = started(long)
        assert got.snapshot == b"state 4"
        missing = [8] if "block" in damage else []
        assert got.blocks == tuple(body_of(i) for i in range(5, 13) if i not in missing)

    def test_without_a_sound_snapshot_it_begins_at_genesis(self, long):
        spoil(long, "UPDATE snapshot SET checksum = zeroblob(16)")
        with closing(Store.open(long)) as store:
            got = store.started()
            assert store.damaged == 2
        assert got.snapshot is None
        assert got.blocks == (*map(body_of, range(1, 13)),)

    def test_a_damaged_row_of_the_chain_is_missing(self, long):
        spoil(long, "UPDATE chain SET hash = zeroblob(32) WHERE height = 2")
        with closing(Store.open(long)) as store:
            assert store.archive.hash_at(2) is None
            assert store.archive.height_of(name_of(2)) is None
            assert store.archive.height_of(Hash32(bytes(32))) is None

    def test_values_of_other_types_are_damage_too(self, long):
        with _database(long) as file:
            schema = file.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
            file.execute("PRAGMA writable_schema = ON")
            for name, sql in schema:
                loose = sql.replace(" STRICT", "").replace(" NOT NULL", "")
                file.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (loose, name))
        spoil(
            long,
            "UPDATE block SET body = 'text' WHERE height = 10",
            "UPDATE block SET checksum = NULL WHERE height = 11",
            "UPDATE snapshot SET body = 7 WHERE height = 8",
            "UPDATE chain SET hash = 'text' WHERE height = 2",
        )
        with closing(Store.open(long)) as store:
            got = store.started()
            assert got.snapshot == b"state 4"
            assert got.blocks == tuple(body_of(i) for i in range(5, 13) if i not in (10, 11))
            assert store.damaged == 3
            assert store.archive.hash_at(2) is None
