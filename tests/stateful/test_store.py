"""Target: whatever is written, and however a store ends, it holds what the simulator's plain disk holds.

Records, blocks of several branches, some of them twice, and snapshots, many in one commit; a store is closed
and opened, a commit fails, a process dies between two commits or inside one, and the log's end is lost. After
every step what a node would start with and all that its archive answers are compared with the model's.
"""

import shutil
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2pai.effects import Persist, StoreBlock, StoreSnapshot
from p2pai.primitives.ids import Hash32
from p2pai.shell.store import Store, read_store
from testnet.simulator.disk import Disk
from tests.chain.ledger import label
from tests.stateful.test_ledger import FEW

LOWEST, HIGHEST = Hash32(bytes(32)), Hash32(b"\xff" * 32)
branches = st.integers(0, 2)


class Cut(Exception):
    """Ends a process inside a commit."""


# --- what to write next, given what will be on the disk by then


def name_of(height, branch):
    return label("block", height, branch)


def top_of(disk):
    return max(disk.chain, default=0)


def record(body, disk):
    return [Persist(0, body)]


def block(up, branch, size, disk):
    """Somewhere above the last final block, or just below it."""
    height = max(1, top_of(disk) + up)
    return [StoreBlock(0, name_of(height, branch), height, b"%d/%d" % (height, branch) + bytes(size))]


def block_again(number, disk):
    """One that is there already, with other bytes: it was damaged, and came once more."""
    known = list(disk.blocks)
    if not known:
        return []
    name = known[number % len(known)]
    height, body = disk.blocks[name]
    return [StoreBlock(0, name, height, body + b"+")]


def snapshot(chain, disk, *, whole):
    """A checkpoint rises along any branches; not `whole`: a node begins there, and has no blocks below."""
    first = top_of(disk) + 1
    height = first + len(chain) - 1
    names = tuple(name_of(at, branch) for at, branch in enumerate(chain, first))
    missing = [] if names[-1] in disk.blocks else block(len(chain), chain[-1], 0, disk)
    return [*missing, StoreSnapshot(0, height, b"state %d" % height, names if whole else names[-1:])]


def snapshot_again(disk):
    """The last one, as a node writes it anew that had to begin at the one before."""
    top = first = top_of(disk)
    if not top:
        return []
    while first - 1 in disk.chain:
        first -= 1
    return [StoreSnapshot(0, top, disk.snapshots[top], tuple(disk.chain[h] for h in range(first, top + 1)))]


wishes = st.one_of(
    st.builds(partial, st.just(record), st.binary(max_size=40)),
    st.builds(partial, st.just(block), st.integers(-1, 6), branches, st.sampled_from([0, 100, 9_000])),
    st.builds(partial, st.just(snapshot), st.lists(branches, min_size=1, max_size=4), whole=st.booleans()),
    st.builds(partial, st.just(block_again), st.integers(0, 99)),
    st.just(snapshot_again),
)
batches = st.lists(wishes, max_size=6)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="p2pai-store-"))
        self.lives = 0
        self.store = Store.open(self.directory)
        self.disk = Disk()
        self.were = [self.disk]
        """What the disk held after each commit."""

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.place)

    @property
    def directory(self):
        return self.place / str(self.lives)

    def plan(self, batch):
        """Return the writes of a batch, and what the disk holds after them."""
        disk, writes = self.disk.copy(), []
        for wish in batch:
            for write in wish(disk):
                disk.write(write)
                disk.sync()
                writes.append(write)
        return writes, disk

    @rule(batch=batches)
    def write(self, batch):
        writes, self.disk = self.plan(batch)
        self.store.write_all(writes)
        self.were.append(self.disk)

    @rule(batch=batches)
    def fail(self, batch):
        """A write of the batch is refused: none of it happens."""
        writes, _ = self.plan(batch)
        with pytest.raises(TypeError):
            self.store.write_all([*writes, Persist(0, None)])

    @rule()
    def restart(self):
        self.store.close()
        self.store = Store.open(self.directory)

    @rule(batch=batches, rebooted=st.booleans())
    def die_inside_a_commit(self, batch, rebooted):
        writes, _ = self.plan(batch)

        def cut_short():
            yield from writes
            self.leave(rebooted=rebooted)
            raise Cut

        with pytest.raises(Cut):
            self.store.write_all(cut_short())
        self.go_on()

    @rule(rebooted=st.booleans())
    def die(self, rebooted):
        self.leave(rebooted=rebooted)
        self.go_on()

    @rule(share=st.integers(0, 100))
    def lose_the_end_of_the_log(self, share):
        """What is left is what there was after some commit."""
        log = self.leave(rebooted=True) / "journal.db-wal"
        data = log.read_bytes() if log.exists() else b""
        log.write_bytes(data[: len(data) * share // 100])
        self.go_on()
        found = self.contents(self.store.started(), self.store.archive)
        matching = [n for n, disk in enumerate(self.were) if self.contents(disk.started(), disk) == found]
        assert matching, "the disk never held this"
        del self.were[matching[-1] + 1 :]
        self.disk = self.were[-1]

    def leave(self, *, rebooted):
        """Copy the files as they are, not closed; what is left of a process, or (rebooted) of a machine."""
        left = self.place / str(self.lives + 1)
        shutil.copytree(self.directory, left)
        if rebooted:
            (left / "journal.db-shm").unlink(missing_ok=True)
        return left

    def go_on(self):
        """Live on from what was left."""
        self.store.close()
        self.lives += 1
        self.store = Store.open(self.directory)

    def contents(self, started, archive):
        """Return what a node starts with, and what it may read later."""
        names = {name: None for disk in self.were for name in (*disk.blocks, *disk.heights)}
        top = max(map(top_of, self.were))
        return (
            started,
            [(archive.body(name), archive.height_of(name)) for name in names],
            [archive.hash_at(height) for height in range(top + 2)],
            sorted(archive.between(LOWEST, HIGHEST, top + 2)),
        )

    @invariant()
    def it_is_as_the_model(self):
        expected = self.contents(self.disk.started(), self.disk)
        assert self.contents(self.store.started(), self.store.archive) == expected
        assert self.store.damaged == 0

    @rule()
    def somebody_reads_beside_it(self):
        started, archive = read_store(self.directory)
        with closing(archive):
            expected = self.contents(self.disk.started(), self.disk)
            assert self.contents(started, archive) == expected

    @rule(branch=branches, count=st.integers(1, 3))
    def look_for_final_blocks(self, branch, count):
        first = name_of(1, branch)
        found = self.store.archive.between(first, HIGHEST, count)
        there = self.disk.between(first, HIGHEST, len(self.disk.chain))
        assert len({*found}) == len(found) == min(count, len(there))
        assert {*found} <= {*there}


TestStore = StoreMachine.TestCase
TestStore.settings = FEW
