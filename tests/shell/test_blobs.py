"""The blob store: content ids, sharing, damage, and two processes at once."""

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.primitives import blob, merkle
from p2pai.primitives.errors import InvalidProof, Unavailable
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.shell.blobs import BlobStore


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs")


def _files(directory):
    return sorted(p for p in directory.rglob("*") if p.is_file())


@settings(max_examples=40, deadline=None)
@given(chunks=st.lists(st.binary(max_size=300), min_size=1, max_size=20), shared=st.booleans())
def test_what_is_put_comes_back_under_its_content_id(tmp_path_factory, chunks, shared):
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    name = store.put(chunks, shared)
    assert name == blob.blob_id(chunks)
    assert store.get(name) == tuple(chunks)
    assert store.manifest(name) == tuple(merkle.leaf_hash(c) for c in chunks)
    assert store.is_shared(name) is shared
    assert store.size_bytes(name) == sum(map(len, chunks))


def test_putting_again_changes_nothing_and_never_unshares(store, tmp_path):
    name = store.put([b"a", b"b"], shared=True)
    before = [(p, p.stat().st_ino) for p in _files(tmp_path)]
    assert store.put([b"a", b"b"], shared=False) == name
    assert [(p, p.stat().st_ino) for p in _files(tmp_path)] == before
    assert store.is_shared(name)


def test_a_share_is_remembered_until_the_blob_comes(store):
    name = blob.blob_id([b"later"])
    store.share(name)
    assert store.is_shared(name)
    assert store.manifest(name) is None
    store.put([b"later"], shared=False)
    assert store.is_shared(name)


def test_absent_blobs_are_unavailable(store):
    nothing = BlobId(Hash32(bytes(32)))
    assert store.manifest(nothing) is None
    assert store.size_bytes(nothing) is None
    with pytest.raises(Unavailable):
        store.get(nothing)
    with pytest.raises(Unavailable):
        store.chunk(nothing)


def test_a_blob_arrives_chunk_by_chunk(store):
    chunks = [b"x" * 10, b"y" * 20, b"z"]
    leaves = [merkle.leaf_hash(c) for c in chunks]
    name = blob.blob_id(chunks)
    for leaf, chunk in zip(leaves[:2], chunks[:2], strict=True):
        store.put_chunk(leaf, chunk)
    with pytest.raises(Unavailable, match="chunk"):
        store.put_manifest(name, leaves)
    assert store.manifest(name) is None
    store.put_chunk(leaves[2], chunks[2])
    store.put_manifest(name, leaves)
    assert store.get(name) == tuple(chunks)


def test_false_chunks_and_manifests_are_refused(store, tmp_path):
    leaf = merkle.leaf_hash(b"true")
    with pytest.raises(InvalidProof):
        store.put_chunk(leaf, b"false")
    with pytest.raises(InvalidProof):
        store.put_chunk(merkle.leaf_hash(bytes((1 << 20) + 1)), bytes((1 << 20) + 1))
    store.put_chunk(leaf, b"true")
    with pytest.raises(InvalidProof):
        store.put_manifest(BlobId(Hash32(b"\x01" * 32)), [leaf])
    with pytest.raises(InvalidProof):
        store.put_manifest(BlobId(leaf), [])
    with pytest.raises(InvalidProof):
        store.put_manifest(BlobId(leaf), [leaf] * 4097)
    assert [p.name for p in _files(tmp_path)] == [leaf.hex()]


def test_bit_rot_is_found_at_reading_removed_and_healed_by_a_put(store, tmp_path):
    name = store.put([b"first", b"second"], shared=True)
    leaf = merkle.leaf_hash(b"second")
    path = next(p for p in _files(tmp_path / "blobs" / "chunks") if p.name == leaf.hex())
    path.write_bytes(b"sec0nd")
    with pytest.raises(Unavailable, match="damaged"):
        store.get(name)
    assert not path.exists()
    assert store.chunk(merkle.leaf_hash(b"first")) == b"first"
    store.put([b"first", b"second"], shared=False)
    assert store.get(name) == (b"first", b"second")


def test_a_put_heals_damage_that_nobody_has_read_yet(store, tmp_path):
    name = store.put([b"content"], shared=False)
    path = _files(tmp_path / "blobs" / "chunks")[0]
    path.write_bytes(b"")
    store.put([b"content"], shared=False)
    assert store.get(name) == (b"content",)


@pytest.mark.parametrize("damage", [b"", b"short", bytes(32), bytes(64)])
def test_a_damaged_manifest_counts_as_absent(tmp_path, damage):
    name = BlobStore(tmp_path).put([b"a", b"b"], shared=True)
    path = _files(tmp_path / "manifests")[0]
    path.write_bytes(damage)
    fresh = BlobStore(tmp_path)
    assert fresh.manifest(name) is None
    assert not path.exists()
    with pytest.raises(Unavailable):
        fresh.get(name)


def test_everything_is_private_and_named_by_hashes(store, tmp_path):
    store.put([b"a", b"b"], shared=True)
    for path in (tmp_path / "blobs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            assert len(bytes.fromhex(path.name)) == 32


def test_old_temporary_files_are_swept_and_fresh_ones_kept(store, tmp_path):
    old, fresh = (tmp_path / "blobs" / "scratch" / name for name in (".new-old", ".new-fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    long_ago_s = time.time() - 7200
    os.utime(old, (long_ago_s, long_ago_s))
    assert store.sweep() == 1
    assert not old.exists()
    assert fresh.exists()


WRITER = """
import sys
from pathlib import Path
from p2pai.shell.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]))
for i in range(150):
    store.put([b"%d" % i * 500, b"common" * 100], shared=i % 2 == 0)
"""


def test_two_processes_write_and_read_at_once(store, tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "blobs")]
    writers = [subprocess.Popen(command) for _ in range(2)]
    try:
        seen = 0
        end_s = time.monotonic() + 30
        while seen < 150 and time.monotonic() < end_s:
            chunks = (b"%d" % seen * 500, b"common" * 100)
            name = blob.blob_id(chunks)
            if store.manifest(name) is None:
                continue
            assert store.get(name) == chunks
            seen += 1
        assert seen == 150
        assert [w.wait(20) for w in writers] == [0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert not list((tmp_path / "blobs" / "scratch").iterdir())


KILLED = WRITER.replace("range(150)", "range(1_000_000)")


def test_a_writer_killed_at_any_moment_leaves_no_half_file(tmp_path):
    for delay_s in (0, 0.05, 0.1):
        before = len(_files(tmp_path / "chunks"))
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
        deadline_s = time.monotonic() + 20
        while len(_files(tmp_path / "chunks")) == before and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(delay_s)
        writer.kill()
        assert writer.wait(10) == -9
        store = BlobStore(tmp_path)
        for path in _files(tmp_path / "chunks"):
            store.chunk(Hash32(bytes.fromhex(path.name)))
        assert len(_files(tmp_path / "chunks")) > before


def test_what_is_discarded_is_gone_but_for_what_others_have_too(store, tmp_path):
    old, new = store.put([b"same", b"old"], shared=True), store.put([b"same", b"new"], shared=True)
    store.discard(old, (new,))
    assert store.manifest(old) is None
    assert not store.is_shared(old)
    assert store.get(new) == (b"same", b"new")
    with pytest.raises(Unavailable):
        store.chunk(merkle.leaf_hash(b"old"))
    store.discard(new)
    assert _files(tmp_path) == []
    store.discard(new)
