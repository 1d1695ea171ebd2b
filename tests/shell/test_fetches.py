"""Fetches: what came stays over failures and restarts, is bounded and swept; how far they are can be seen."""

import os
import time

import pytest
import trio

from p2pai.primitives import merkle
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, PeerId
from p2pai.shell import blobs as blobs_module
from p2pai.shell.blobs import BEGUN_AGE_S_MAX, SCRATCH_AGE_S_MAX, BlobStore
from p2pai.shell.fetches import Fetches

REMOTE = PeerId("12D3KooWRemote")
CHUNKS = [bytes([number]) * 100 for number in range(6)]
LEAVES = tuple(map(merkle.leaf_hash, CHUNKS))
BLOB = BlobId(merkle.root(LEAVES))


class Wire:
    """A network that gives some chunks and then fails, or waits."""

    def __init__(self, count, gate=None):
        self.count, self.gate, self.asked = count, gate, []

    async def fetch(self, blob, providers, shelf):
        assert blob == BLOB
        here = await shelf.begin(LEAVES)
        missing = [leaf for leaf in LEAVES if leaf not in here]
        for number, leaf in enumerate(missing[: self.count]):
            self.asked.append(leaf)
            shelf.put(leaf, CHUNKS[LEAVES.index(leaf)])
            shelf.report(len(missing) - number - 1, 2)
        if self.gate is not None:
            await self.gate.wait()
        if len(missing) > self.count:
            raise Unavailable("the holder is gone")
        return LEAVES


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs")


async def fetch(store, wire):
    fetches = Fetches(store)
    assert fetches.begin(BLOB, [REMOTE])
    with trio.fail_after(5):
        return await fetches.finish(wire, BLOB)


def age(tmp_path, kind, seconds):
    then = time.time() - seconds
    for path in (tmp_path / "blobs" / kind).glob("??/*"):
        os.utime(path, (then, then))


@pytest.mark.trio
async def test_the_next_fetch_asks_only_for_the_rest(store, tmp_path):
    first, second = Wire(4), Wire(6)
    assert (await fetch(store, first)).chunks is None
    assert store.begun(BLOB) == LEAVES
    assert store.manifest(BLOB) is None, "it is not shared before it is whole"
    again = BlobStore(tmp_path / "blobs")
    fetched = await fetch(again, second)
    assert fetched.data == b"".join(CHUNKS)
    assert (first.asked, second.asked) == (list(LEAVES[:4]), list(LEAVES[4:]))
    assert again.begun(BLOB) is None


@pytest.mark.trio
async def test_a_chunk_that_rotted_meanwhile_is_asked_for_again(store, tmp_path):
    await fetch(store, Wire(4))
    (path,) = (tmp_path / "blobs" / "chunks").glob(f"??/{LEAVES[2].hex()}")
    path.write_bytes(b"rotten")
    wire = Wire(6)
    assert (await fetch(store, wire)).data == b"".join(CHUNKS)
    assert wire.asked == [LEAVES[2], LEAVES[4], LEAVES[5]]


@pytest.mark.trio
async def test_what_came_whole_before_a_crash_needs_no_network(store):
    await fetch(store, Wire(5))
    store.put_chunk(LEAVES[5], CHUNKS[5])
    wire = Wire(6)
    assert (await fetch(store, wire)).data == b"".join(CHUNKS)
    assert wire.asked == []
    assert store.is_shared(BLOB)


@pytest.mark.trio
async def test_a_cancelled_fetch_keeps_what_came(store):
    fetches = Fetches(store)
    fetches.begin(BLOB, [REMOTE])
    with trio.move_on_after(0.2):
        await fetches.finish(Wire(3, trio.Event()), BLOB)
    wire = Wire(6)
    await fetch(store, wire)
    assert wire.asked == list(LEAVES[3:])


@pytest.mark.trio
async def test_progress_is_told_while_it_lasts(store, nursery):
    fetches, gate = Fetches(store), trio.Event()
    assert fetches.report() == []
    fetches.begin(BLOB, [REMOTE])
    nursery.start_soon(fetches.finish, Wire(4, gate), BLOB)
    wanted = [{"blob": BLOB.hex(), "chunks": 6, "here": 4, "sources": 2}]
    with trio.fail_after(5):
        while fetches.report() != wanted:  # noqa: ASYNC110
            await trio.sleep(0.01)
        gate.set()
        while fetches.report():  # noqa: ASYNC110
            await trio.sleep(0.01)


def begin(store, number, busy=()):
    leaves = (merkle.leaf_hash(b"one of %d" % number), merkle.leaf_hash(b"the other"))
    name = BlobId(merkle.root(leaves))
    store.begin(name, leaves, busy)
    store.put_chunk(leaves[0], b"one of %d" % number)
    return name


def test_what_is_begun_is_bounded(store, tmp_path, monkeypatch):
    monkeypatch.setattr(blobs_module, "BEGUN_MAX", 3)
    names = []
    for number in range(5):
        names.append(begin(store, number, busy=names[:1]))
        os.utime(tmp_path / "blobs" / "begun" / names[-1].hex()[:2] / names[-1].hex(), (number, number))
    begun = [name for name in names if store.begun(name)]
    assert begun == [names[0], names[3], names[4]], "the oldest went, but not what is being fetched"


def test_what_nobody_fetched_on_is_swept_with_its_chunks(store, tmp_path):
    name, whole = begin(store, 1), store.put([b"of a whole blob"], shared=True)
    age(tmp_path, "chunks", SCRATCH_AGE_S_MAX + 5)
    assert store.sweep() == 0
    age(tmp_path, "begun", BEGUN_AGE_S_MAX + 5)
    assert store.sweep() == 2
    assert store.begun(name) is None
    assert store.get(whole) == (b"of a whole blob",)


def test_a_chunk_whose_manifest_is_about_to_follow_is_left(store, tmp_path):
    leaf = merkle.leaf_hash(b"chunk")
    store.put_chunk(leaf, b"chunk")
    age(tmp_path, "chunks", SCRATCH_AGE_S_MAX + 5)
    store.put_chunk(leaf, b"chunk")
    assert store.sweep() == 0
    assert store.chunk(leaf) == b"chunk"


def test_what_is_begun_and_then_put_is_whole(store):
    name = begin(store, 1)
    assert store.put([b"one of 1", b"the other"], shared=False) == name
    assert store.begun(name) is None
    assert store.get(name) == (b"one of 1", b"the other")


def test_discarding_what_is_begun_removes_its_chunks(store, tmp_path):
    name = begin(store, 1)
    store.discard(name)
    assert store.begun(name) is None
    assert list((tmp_path / "blobs" / "chunks").glob("??/*")) == []


def test_large_shared_blobs_come_newest_first(store, tmp_path):
    names = [store.put([bytes([n]) * (20 if n else 5)], shared=n != 4) for n in range(5)]
    for number, name in enumerate(names[:4]):
        os.utime(tmp_path / "blobs" / "shared" / name.hex()[:2] / name.hex(), (number, number))
    assert store.shared(10, 9) == [names[3], names[2], names[1]]
    assert store.shared(10, 2) == [names[3], names[2]]
