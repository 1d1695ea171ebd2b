"""Blobs on disk, by content id: chunks, manifests and the marks that let remotes fetch.

Layout under one directory, names being the hex of hashes and nothing else::

    chunks/ab/abcd...      one chunk, named by its leaf hash
    manifests/ab/abcd...   a blob's leaf hashes, 32 bytes each, named by the blob's id
    begun/ab/abcd...       the same of a blob that remotes sent a part of
    shared/ab/abcd...      an empty file: remotes may fetch this blob
    scratch/               files being written

What a name promises is checked at every read: a chunk or manifest that no longer hashes to its name is
removed and counts as absent, so bit rot and writes lost with the power look like a blob that was never here.
Therefore files are renamed into place but not synced: everything here can be fetched or made again, and the
journal, not this store, holds what was promised.

A blob that is begun keeps its chunks over restarts, so that the next fetch asks only for the rest. What is
begun is bounded in number and age, and chunks that no manifest names are swept.

Two processes (a node and its trainer) use one directory at once without locks: files only ever appear whole,
and two writers of one name write the same bytes.
"""

import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2pai.primitives import merkle
from p2pai.primitives.blob import CHUNK_SIZE_MAX
from p2pai.primitives.errors import InvalidProof, Unavailable
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32
from p2pai.shell.files import make_directory, write_atomically

CHUNK_COUNT_MAX: Final = 4096
"""Chunks of one blob, at most: 4 GiB of whole chunks; as many as a fetch accepts."""

SCRATCH_AGE_S_MAX: Final = 3600
"""A temporary file, or a chunk that no manifest names, older than this belongs to a process that died."""

BEGUN_MAX: Final = 32
"""Blobs of which a part is kept; the one begun longest ago makes room."""

BEGUN_AGE_S_MAX: Final = 24 * 3600
"""A part of a blob that nobody fetched on for this long is removed."""

_NAME: Final = re.compile(r"[0-9a-f]{64}")

_VERIFIED_MANIFESTS_MAX: Final = 64
"""Manifests kept in memory, so that serving a blob chunk by chunk checks its manifest once."""


class BlobStore:
    """The blobs under one directory; it is created when missing."""

    def __init__(self, directory: Path) -> None:
        self._directory = make_directory(directory)
        self._scratch = make_directory(directory / "scratch")
        self._verified: dict[BlobId, tuple[Hash32, ...]] = {}

    def put(self, chunks: Sequence[bytes], shared: bool) -> BlobId:  # noqa: FBT001
        """Store a blob of one or more chunks, each at most 1 MiB; storing it again changes nothing.

        Returns:
          Its content id. A blob once shared stays shared.
        """
        assert 1 <= len(chunks) <= CHUNK_COUNT_MAX, "a blob has 1 to 4096 chunks"
        assert all(len(chunk) <= CHUNK_SIZE_MAX for chunk in chunks), "chunk is too long"
        leaves = tuple(merkle.leaf_hash(chunk) for chunk in chunks)
        for leaf, chunk in zip(leaves, chunks, strict=True):
            self._write("chunks", leaf, bytes(chunk))
        blob = BlobId(merkle.root(leaves))
        self._write("manifests", blob, b"".join(leaves))
        self._remove("begun", blob)
        if shared:
            self.share(blob)
        return blob

    def put_chunk(self, leaf: Hash32, data: bytes) -> None:
        """Store one chunk that a remote sent.

        Raises:
          InvalidProof: it is too long, or not the chunk of that leaf hash.
        """
        if len(data) > CHUNK_SIZE_MAX or merkle.leaf_hash(data) != leaf:
            raise InvalidProof("chunk does not match its hash")
        self._write("chunks", leaf, data)

    def put_manifest(self, blob: BlobId, leaves: Sequence[Hash32]) -> None:
        """Store the leaf hashes of a blob whose chunks a remote sent.

        Raises:
          InvalidProof: they are too many, or not those of that blob.
          Unavailable: one of the chunks is not stored.
        """
        if not 1 <= len(leaves) <= CHUNK_COUNT_MAX or merkle.root(leaves) != blob:
            raise InvalidProof("manifest does not match the blob's id")
        for leaf in leaves:
            if not self._path("chunks", leaf).exists():
                raise Unavailable(f"chunk {leaf.hex()} is not stored")
        self._write("manifests", blob, b"".join(leaves))
        self._remove("begun", blob)

    def begin(
        self, blob: BlobId, leaves: Sequence[Hash32], busy: Sequence[BlobId] = ()
    ) -> dict[Hash32, None]:
        """Note that a blob's chunks will come one by one; return the leaves of those that are here, checked.

        Args:
          blob: its content id.
          leaves: its leaf hashes.
          busy: blobs that are being fetched; these aren't removed to make room.
        """
        assert merkle.root(leaves) == blob, "manifest does not match the blob's id"
        self._write("begun", blob, b"".join(leaves))
        names = self._names("begun")
        idle = [name for name in self._by_age("begun", names) if name != blob and name not in busy]
        for name in idle[: max(0, len(names) - BEGUN_MAX)]:
            self._remove("begun", name)  # its chunks are swept
        return {leaf: None for leaf in dict.fromkeys(leaves) if self._is_here(leaf)}

    def begun(self, blob: BlobId) -> tuple[Hash32, ...] | None:
        """Return the leaf hashes of a blob that is begun, else None."""
        return self._read_leaves("begun", blob)

    def share(self, blob: BlobId) -> None:
        """Let remotes fetch a blob, now or once it is stored."""
        self._write("shared", blob, b"")

    def is_shared(self, blob: BlobId) -> bool:
        """Tell whether remotes may fetch the blob."""
        return self._path("shared", blob).exists()

    def manifest(self, blob: BlobId) -> tuple[Hash32, ...] | None:
        """Return the blob's leaf hashes, or None when it is not stored."""
        known = self._verified.get(blob)
        if known is not None:
            return known
        leaves = self._read_leaves("manifests", blob)
        if leaves is not None:
            self._remember(blob, leaves)
        return leaves

    def chunk(self, leaf: Hash32) -> bytes:
        """Return one chunk.

        Raises:
          Unavailable: it is not stored, or was damaged and is removed.
        """
        data = self._read("chunks", leaf)
        if data is not None and merkle.leaf_hash(data) == leaf:
            return data
        if data is not None:
            self._remove("chunks", leaf)
            raise Unavailable(f"chunk {leaf.hex()} was damaged on disk")
        raise Unavailable(f"chunk {leaf.hex()} is not stored")

    def get(self, blob: BlobId) -> tuple[bytes, ...]:
        """Return a blob's chunks.

        Raises:
          Unavailable: the blob, or one of its chunks, is not stored.
        """
        leaves = self.manifest(blob)
        if leaves is None:
            raise Unavailable(f"blob {blob.hex()} is not stored")
        return tuple(self.chunk(leaf) for leaf in leaves)

    def discard(self, blob: BlobId, but_for: Sequence[BlobId] = ()) -> None:
        """Remove a blob, shared or not, begun or whole; chunks that one of `but_for` has too stay."""
        kept = {leaf for other in but_for for leaf in self.manifest(other) or ()}
        leaves = self.manifest(blob) or self.begun(blob) or ()
        for kind in ("shared", "manifests", "begun"):
            self._remove(kind, blob)
        self._verified.pop(blob, None)
        for leaf in leaves:
            if leaf not in kept:
                self._remove("chunks", leaf)

    def size_bytes(self, blob: BlobId) -> int | None:
        """Return the size of a blob that is stored whole, else None; contents are not checked."""
        leaves = self.manifest(blob)
        return None if leaves is None else self._size_of(leaves)

    def _size_of(self, leaves: Sequence[Hash32]) -> int | None:
        try:
            return sum(self._path("chunks", leaf).stat().st_size for leaf in leaves)
        except FileNotFoundError:
            return None

    def shared(self, size_min: int, count_max: int) -> list[BlobId]:
        """Return large blobs that remotes may fetch, at most so many, the last that was shared first.

        It reads many files; a thread may do that.

        Args:
          size_min: least size in bytes.
          count_max: how many at most.
        """
        found: list[BlobId] = []
        for name in reversed(self._by_age("shared", self._names("shared"))):
            if len(found) == count_max:
                break
            leaves = self._read_leaves("manifests", name)
            if leaves is not None and (self._size_of(leaves) or 0) >= size_min:
                found.append(name)
        return found

    def sweep(self) -> int:
        """Remove what processes that died left, and what was begun too long ago; returns how many files.

        It reads every manifest. Chunks are removed only when they are old: a new one's manifest may be about
        to follow.
        """
        oldest_s = time.time() - SCRATCH_AGE_S_MAX
        count = sum(_remove_old(path, oldest_s) for path in self._scratch.iterdir())
        begun_s = time.time() - BEGUN_AGE_S_MAX
        count += sum(_remove_old(self._path("begun", name), begun_s) for name in self._names("begun"))
        named: set[Hash32] = set()
        for kind in ("manifests", "begun"):
            for name in self._names(kind):
                named.update(self._read_leaves(kind, name) or ())
        loose = (leaf for leaf in self._names("chunks") if leaf not in named)
        return count + sum(_remove_old(self._path("chunks", leaf), oldest_s) for leaf in loose)

    def _names(self, kind: str) -> list[BlobId]:
        paths = (self._directory / kind).glob("??/*")
        return [BlobId(Hash32(bytes.fromhex(path.name))) for path in paths if _NAME.fullmatch(path.name)]

    def _by_age(self, kind: str, names: Sequence[BlobId]) -> list[BlobId]:
        ages = {}
        for name in names:
            with suppress(FileNotFoundError):
                ages[name] = self._path(kind, name).stat().st_mtime_ns
        return sorted(ages, key=lambda name: (ages[name], name))

    def _is_here(self, leaf: Hash32) -> bool:
        try:
            self.chunk(leaf)
        except Unavailable:
            return False
        return True

    def _read_leaves(self, kind: str, blob: BlobId) -> tuple[Hash32, ...] | None:
        data = self._read(kind, blob)
        if data is None:
            return None
        leaves = tuple(Hash32(data[i : i + HASH_SIZE]) for i in range(0, len(data), HASH_SIZE))
        if not data or len(data) % HASH_SIZE or merkle.root(leaves) != blob:
            self._remove(kind, blob)
            return None
        return leaves

    def _path(self, kind: str, name: Hash32) -> Path:
        assert len(name) == HASH_SIZE, "not a content id"
        text = name.hex()
        return self._directory / kind / text[:2] / text

    def _read(self, kind: str, name: Hash32) -> bytes | None:
        try:
            return self._path(kind, name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, kind: str, name: Hash32, data: bytes) -> None:
        path = self._path(kind, name)
        # Comparing the bytes, not only the name, lets a second put heal a damaged chunk.
        # Then it is new to whoever writes it now: a sweep must not take it for what somebody left.
        if self._read(kind, name) == data and _touch(path):
            return
        make_directory(path.parent.parent)
        make_directory(path.parent)
        write_atomically(path, data, scratch=self._scratch, durable=False)

    def _remove(self, kind: str, name: Hash32) -> None:
        self._path(kind, name).unlink(missing_ok=True)

    def _remember(self, blob: BlobId, leaves: tuple[Hash32, ...]) -> None:
        if len(self._verified) >= _VERIFIED_MANIFESTS_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[blob] = leaves


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _remove_old(path: Path, oldest_s: float) -> bool:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < oldest_s:
            path.unlink()
            return True
    return False
