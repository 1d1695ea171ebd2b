"""The store under kill -9 at every write point, cut and damaged files; afterwards a prefix of what was asked.

What it should hold is told by the simulator's disk, which is a plain model of the same rules. A real node on
it: test_node_crash.py.
"""

import os
import random
import shutil
import signal
from contextlib import closing

import pytest
from crashes import points_of, run, was_killed

from p2pai import effects
from p2pai.effects import Persist
from p2pai.primitives.errors import InvalidInput
from p2pai.shell.store import Store
from testnet.simulator.disk import Disk
from tests.shell.test_store import block, snapshot

pytestmark = pytest.mark.forks

BATCHES = (
    [Persist(0, b"one"), block(1), block(2)],
    [block(3), block(3, 1), block(4, 1), Persist(0, b"two")],
    [block(4), block(5), snapshot(4, 1), Persist(0, b"three")],
    [block(6), block(5, 1), block(6)],
    [block(7), block(8), snapshot(8, 5), block(9)],
    [snapshot(9, 9), block(10), Persist(0, bytes(9_000))],
)
"""Group commits with all that there is: side branches, a block twice, three snapshots."""


def models():
    """What the store should hold after each of the batches."""
    disk, after = Disk(), [Disk().started()]
    for batch in BATCHES:
        for write in batch:
            disk.write(write)
            disk.sync()
        after.append(disk.started())
    return after


AFTER = models()
NAMES = tuple(
    write.block_hash for batch in BATCHES for write in batch if isinstance(write, effects.StoreBlock)
)


def live(directory):
    """Write the batches that are not there yet."""
    with closing(Store.open(directory)) as store:
        for batch in BATCHES[AFTER.index(store.started()) :]:
            store.write_all(batch)


def contents(directory):
    with closing(Store.open(directory)) as store:
        assert store.damaged == 0
        archive = store.archive
        final = [(archive.hash_at(h), archive.body(archive.hash_at(h) or bytes(32))) for h in range(11)]
        return store.started(), final, [archive.height_of(name) for name in NAMES]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    live(directory)
    return contents(directory)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_every_write_point_leaves_a_prefix_and_the_rest_can_follow(tmp_path, whole, step):
    """At every fifth of them before a commit."""
    kills = 0
    points = points_of(lambda: live(tmp_path / "count"))[::step]
    assert len(points) * step > 130
    for point in points:
        directory = tmp_path / str(point)
        status, _ = run(lambda directory=directory: live(directory), point)
        kills += was_killed(status)
        with closing(Store.open(directory)) as store:
            assert store.started() in AFTER, "half of a batch"
        live(directory)
        assert contents(directory) == whole
        shutil.rmtree(directory)
    assert kills == len(points)


def test_a_kill_at_every_point_of_the_opening_after_a_kill(tmp_path, whole):
    """With a write-ahead log to be taken in: a writer that was killed in its last batch leaves one."""
    killed = tmp_path / "killed"
    last = points_of(lambda: live(tmp_path / "count"))[-12]
    status, _ = run(lambda: live(killed), last)
    assert was_killed(status)
    assert (killed / "journal.db-wal").stat().st_size > 0
    shutil.copytree(killed, tmp_path / "counted")
    points = points_of(lambda: Store.open(tmp_path / "counted").started())
    assert len(points) > 20
    kills = 0
    for point in points:
        directory = tmp_path / str(point)
        shutil.copytree(killed, directory)
        status, _ = run(lambda directory=directory: Store.open(directory).started(), point)
        kills += was_killed(status)
        live(directory)
        assert contents(directory) == whole
        shutil.rmtree(directory)
    assert kills == len(points)


def torn(directory, scratch, spoil):
    """Copy what a writer left that never closed, and spoil the copy's write-ahead log."""
    shutil.copytree(directory, scratch)
    (scratch / "journal.db-shm").unlink(missing_ok=True)
    log = scratch / "journal.db-wal"
    log.write_bytes(spoil(log.read_bytes()))
    return scratch


def abandoned(directory):
    """A store whose process ended without closing it: all batches but the first are in the log alone."""

    def life():
        store = Store.open(directory)
        store._database.execute("PRAGMA wal_autocheckpoint = 0")
        for batch in BATCHES:
            store.write_all(batch)
        os.kill(os.getpid(), signal.SIGKILL)

    status, _ = run(life)
    assert was_killed(status)
    return directory


def test_a_log_cut_anywhere_or_with_a_flipped_bit_leaves_a_prefix(tmp_path, whole):
    """What a power cut leaves of a commit: frames carry checksums, a transaction is whole or not."""
    source, dice = abandoned(tmp_path / "source"), random.Random(3)
    size = (source / "journal.db-wal").stat().st_size
    found = []
    for i in range(31):
        cut = size * i // 30
        if i % 2 == 0:
            scratch = torn(source, tmp_path / str(i), lambda data, cut=cut: data[:cut])
        else:
            flip = 1 << dice.randrange(8)
            scratch = torn(
                source,
                tmp_path / str(i),
                lambda data, cut=cut, flip=flip: data[:cut] + bytes([data[cut] ^ flip]) + data[cut + 1 :],
            )
        with closing(Store.open(scratch)) as store:
            found.append(AFTER.index(store.started()))
        live(scratch)
        assert contents(scratch) == whole
        shutil.rmtree(scratch)
    assert found[::2] == sorted(found[::2])
    assert {0, len(BATCHES)} <= {*found}, "all is lost at one end, nothing at the other"


def test_bits_flipped_in_the_file_are_noticed_or_harm_nothing(tmp_path, whole):
    """Refused with a sentence, left out and counted, or the same as ever: never something else."""
    source, dice = tmp_path / "source", random.Random(7)
    live(source)
    data = (source / "journal.db").read_bytes()
    seen = {"refused": 0, "left out": 0, "the same": 0}
    for i in range(150):
        scratch = tmp_path / str(i)
        scratch.mkdir()
        place = dice.randrange(len(data))
        spoilt = data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
        (scratch / "journal.db").write_bytes(spoilt)
        try:
            with closing(Store.open(scratch)) as store:
                started = store.started()
                check_prefix(started, whole[0])
                assert started == whole[0] or store.damaged or less(started, whole[0])
                seen["the same" if started == whole[0] else "left out"] += 1
                for name in NAMES:
                    body = store.archive.body(name)
                    assert body is None or body in BODIES
        except InvalidInput as error:
            seen["refused" if "\n" not in str(error) else "badly refused"] += 1
        shutil.rmtree(scratch)
    assert all(seen.values()), seen


BODIES = frozenset(w.body for batch in BATCHES for w in batch if isinstance(w, effects.StoreBlock))
SNAPSHOTS = frozenset(w.body for batch in BATCHES for w in batch if isinstance(w, effects.StoreSnapshot))


def check_prefix(started, sound):
    assert started.journal == sound.journal[: len(started.journal)]
    assert {*started.blocks} <= BODIES
    assert started.snapshot is None or started.snapshot in SNAPSHOTS


def less(started, sound):
    """Whether rows are missing that SQLite itself could not find any more."""
    return (
        len(started.journal) < len(sound.journal)
        or started.snapshot != sound.snapshot
        or ({*started.blocks} < {*sound.blocks})
    )
