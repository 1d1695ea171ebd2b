"""The simulated disk: what a crash leaves, what damage does, and that the real store does the same."""

import random
import sqlite3
from contextlib import closing

import pytest

from p2pai import effects
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32
from p2pai.shell.database import FILE_NAME
from p2pai.shell.store import Store
from testnet.simulator.disk import Disk, DiskError

HEIGHTS = 6


def name(height):
    return Hash32(bytes([height]) * 32)


def block(height):
    return effects.StoreBlock(height, name(height), height, b"block %d" % height)


def snapshot(height, count=2):
    chain = tuple(name(at) for at in range(height - count + 1, height + 1))
    return effects.StoreSnapshot(100 + height, height, b"snapshot %d" % height, chain)


WRITES = (
    *(effects.Persist(number, b"record %d" % number) for number in range(4)),
    *(block(height) for height in range(1, 3)),
    snapshot(2),
    *(block(height) for height in range(3, 5)),
    snapshot(4),
    *(block(height) for height in range(5, HEIGHTS + 1)),
)


def written():
    disk = Disk()
    for write in WRITES:
        disk.write(write)
        disk.sync()
    return disk


def real(directory, *statements):
    """The real store with the same writes, opened again after somebody spoilt its file."""
    with closing(Store.open(directory)) as store:
        store.write_all(WRITES)
    with closing(sqlite3.connect(directory / FILE_NAME)) as file:
        for statement in statements:
            assert file.execute(statement).rowcount == 1
        file.commit()
    return Store.open(directory)


FLIPS = {
    ("block", name(5)): "UPDATE block SET body = x'00' WHERE height = 5",
    ("block", name(4)): "UPDATE block SET body = x'00' WHERE height = 4",
    ("block", name(3)): "UPDATE block SET body = x'00' WHERE height = 3",
    ("snapshot", 4): "UPDATE snapshot SET body = x'00' WHERE height = 4",
    ("chain", 4): "UPDATE chain SET hash = x'00' WHERE height = 4",
}


def seen(started, archive):
    heights = range(HEIGHTS + 1)
    return (
        started,
        [archive.body(name(height)) for height in heights],
        [archive.height_of(name(height)) for height in heights],
        [archive.hash_at(height) for height in heights],
    )


@pytest.mark.parametrize("rows", [[row] for row in FLIPS] + [[("snapshot", 4), ("block", name(2))]])
def test_a_damaged_row_is_to_a_node_what_it_is_on_a_real_disk(tmp_path, rows):
    disk = written()
    for row in rows:
        disk.damage(row)
    flips = FLIPS | {("block", name(2)): "UPDATE block SET body = x'00' WHERE height = 2"}
    with closing(real(tmp_path, *(flips[row] for row in rows))) as store:
        assert seen(disk.started(), disk) == seen(store.started(), store.archive)
    assert disk.noticed > 0


def test_without_damage_both_are_the_same(tmp_path):
    disk = written()
    with closing(real(tmp_path)) as store:
        assert seen(disk.started(), disk) == seen(store.started(), store.archive)
    assert disk.noticed == 0


@pytest.mark.parametrize("number", [1, 3])
def test_a_damaged_journal_is_refused_as_the_real_one_is(tmp_path, number):
    disk = written()
    disk.damage(("record", number))
    with pytest.raises(InvalidInput) as simulated:
        disk.started()
    with pytest.raises(InvalidInput) as found:
        real(tmp_path, f"UPDATE record SET body = x'00' WHERE sequence = {number + 1}")
    assert str(simulated.value) == str(found.value)


def test_what_is_written_anew_is_sound():
    disk = written()
    disk.damage(("block", name(5)))
    assert disk.body(name(5)) is None
    disk.write(block(5))
    disk.sync()
    assert disk.body(name(5)) == b"block 5"
    assert disk.rows("block")[-1] == ("block", name(5))


def test_a_misdirected_read_goes_wrong_once():
    disk, told = written(), []
    disk.misdirect(lambda: told.append(1))
    assert [disk.body(name(5)), disk.body(name(5))] == [None, b"block 5"]
    assert told == [1]


def waiting(disk):
    for number in range(10):
        disk.write(effects.Persist(number, bytes([number])))
    disk.begin()
    return disk


def test_on_a_full_disk_nothing_is_written():
    disk = waiting(written())
    disk.is_full = True
    with pytest.raises(DiskError, match="full"):
        disk.commit(random.Random(1))
    assert len(disk.journal) == 4


def test_after_a_failed_sync_all_of_it_is_there_or_none():
    found = set()
    for seed in range(20):
        disk = waiting(written())
        disk.fails_in = 1
        with pytest.raises(DiskError, match="I/O error"):
            disk.commit(random.Random(seed))
        found.add(len(disk.journal))
    assert found == {4, 14}


def test_a_torn_write_is_lost_with_all_that_follow():
    found = set()
    for seed in range(200):
        disk = waiting(written())
        assert disk.tear(random.Random(seed))
        assert disk.journal[4:] == [bytes([number]) for number in range(len(disk.journal) - 4)]
        found.add(len(disk.journal) - 4)
    assert found == set(range(10))
    assert not disk.tear(random.Random(1))


def test_a_copy_has_what_is_durable_and_no_more():
    disk = waiting(written())
    disk.on_write = lambda: None
    copied = disk.copy()
    assert copied.waiting == []
    assert not copied.is_busy
    copied.damage(("block", name(5)))
    copied.journal.append(b"other")
    assert disk.body(name(5)) == b"block 5"
    assert len(disk.journal) == 4
