"""Blobs on disk, by content id: chunks, manifests and the marks that let remotes fetch.

Layout under one directory, names being the hex of hashes and nothing else::

    chunks/ab/abcd...      one chunk, named by its leaf hash
    manifests/ab/abcd...   a blob's leaf hashes, 32 bytes each, named by the blob's id
    shared/ab/abcd...      an empty file: remotes may fetch this blob
    scratch/               files being written

What a name promises is checked at every read: a chunk or manifest that no longer hashes to its name is
removed and counts as absent, so bit rot and writes lost with the power look like a blob that was never here.
Therefore files are renamed into place but not synced: everything here can be fetched or made again, and the
journal, not this store, holds what was promised.

Two processes (a node and its trainer) use one directory at once without locks: files only ever appear whole,
and two writers of one name write the same bytes.
"""

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
"""A temporary file older than this belongs to a process that died."""

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
        data = self._read("manifests", blob)
        if data is None:
            return None
        leaves = tuple(Hash32(data[i : i + HASH_SIZE]) for i in range(0, len(data), HASH_SIZE))
        if not data or len(data) % HASH_SIZE or merkle.root(leaves) != blob:
            self._remove("manifests", blob)
            return None
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
        """Remove a blob, shared or not; chunks that one of `but_for` has too stay."""
        kept = {leaf for other in but_for for leaf in self.manifest(other) or ()}
        leaves = self.manifest(blob) or ()
        self._remove("shared", blob)
        self._remove("manifests", blob)
        self._verified.pop(blob, None)
        for leaf in leaves:
            if leaf not in kept:
                self._remove("chunks", leaf)

    def size_bytes(self, blob: BlobId) -> int | None:
        """Return the size of a blob that is stored whole, else None; contents are not checked."""
        leaves = self.manifest(blob)
        if leaves is None:
            return None
        try:
            return sum(self._path("chunks", leaf).stat().st_size for leaf in leaves)
        except FileNotFoundError:
            return None

    def sweep(self) -> int:
        """Remove temporary files of processes that died; returns how many."""
        now_s = time.time()
        count = 0
        for path in self._scratch.iterdir():
            with suppress(FileNotFoundError):
                if now_s - path.stat().st_mtime > SCRATCH_AGE_S_MAX:
                    path.unlink()
                    count += 1
        return count

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
        # Comparing the bytes, not only the name, lets a second put heal a damaged chunk.
        if self._read(kind, name) == data:
            return
        path = self._path(kind, name)
        make_directory(path.parent.parent)
        make_directory(path.parent)
        write_atomically(path, data, scratch=self._scratch, durable=False)

    def _remove(self, kind: str, name: Hash32) -> None:
        self._path(kind, name).unlink(missing_ok=True)

    def _remember(self, blob: BlobId, leaves: tuple[Hash32, ...]) -> None:
        if len(self._verified) >= _VERIFIED_MANIFESTS_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[blob] = leaves
