"""Content ids of blobs, which are lists of chunks.

A blob's id is the RFC 6962 root over its chunks, so that a blob is fetched and checked chunk by chunk, and a
blob of one chunk has that chunk's leaf hash as its id. Plain bytes are cut every `CHUNK_SIZE_MAX` bytes; a
dataset fragment or a message slot brings chunks of its own.
"""

from collections.abc import Sequence
from typing import Final

from p2pai.primitives import merkle
from p2pai.primitives.ids import BlobId

CHUNK_SIZE_MAX: Final = 1 << 20
"""Bytes of a chunk; small enough to be held in memory unchecked."""


def cut(data: bytes) -> tuple[bytes, ...]:
    """Cut `data` every `CHUNK_SIZE_MAX` bytes; empty data is one empty chunk."""
    return tuple(data[start : start + CHUNK_SIZE_MAX] for start in range(0, len(data), CHUNK_SIZE_MAX)) or (
        b"",
    )


def blob_id(chunks: Sequence[bytes]) -> BlobId:
    """Return the id of a blob of one or more chunks, each at most `CHUNK_SIZE_MAX` bytes."""
    assert all(len(chunk) <= CHUNK_SIZE_MAX for chunk in chunks), "chunk is too long"
    return BlobId(merkle.root([merkle.leaf_hash(chunk) for chunk in chunks]))


def blob_id_of(data: bytes) -> BlobId:
    """Return the id of the blob whose chunks are `cut(data)`."""
    return blob_id(cut(data))
