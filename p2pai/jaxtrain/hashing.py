"""Content ids of arrays, hashed in threads while the device works on.

A content id is a Merkle root over chunks of 1 MiB, so the chunks of a model are hashed side by side, straight
from the arrays' memory; hashing releases Python's lock.

Source: PROTOCOL section 7; docs/EXACT.md.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from typing import Any, Final

import numpy as np

from p2pai.primitives import merkle
from p2pai.primitives.blob import CHUNK_SIZE_MAX
from p2pai.primitives.ids import BlobId, Hash32

THREADS_MAX: Final = 8

Arrays = Sequence[Any]
"""Arrays of the device or the host, little-endian in memory, in canonical order."""


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that hash; one for each core this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(min(cores, THREADS_MAX), thread_name_prefix="hash")


def content_id(arrays: Arrays) -> BlobId:
    """Return the content id of arrays' bytes, one after another."""
    leaves = list(pool().map(_leaf_hash, _chunks(arrays)))
    return BlobId(merkle.root(leaves))


def submit(work: Any, *arguments: Any) -> "Future[Any]":  # noqa: ANN401
    """Run `work` in a thread of its own kind, apart from those that hash chunks."""
    return _coordinators().submit(work, *arguments)


@cache
def _coordinators() -> ThreadPoolExecutor:
    # They wait for the hashing threads, so they must not take their places.
    return ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="state")


def _leaf_hash(pieces: list[memoryview]) -> Hash32:
    digest = sha256(merkle.LEAF)
    for piece in pieces:
        digest.update(piece)
    return Hash32(digest.digest())


def _chunks(arrays: Arrays) -> Iterator[list[memoryview]]:
    """Cut all arrays' bytes every `CHUNK_SIZE_MAX` bytes, without copying; no bytes are one empty chunk."""
    chunk: list[memoryview] = []
    room, cut = CHUNK_SIZE_MAX, False
    for array in arrays:
        data = view(array)
        while len(data):
            chunk.append(data[:room])
            data, room = data[room:], room - len(chunk[-1])
            if room == 0:
                yield chunk
                chunk, room, cut = [], CHUNK_SIZE_MAX, True
    if chunk or not cut:
        yield chunk


def view(array: Any) -> memoryview:  # noqa: ANN401
    """Return an array's bytes in C order, little-endian."""
    host = np.ascontiguousarray(array)
    little = host.astype(host.dtype.newbyteorder("<"), copy=False)
    return little.reshape(-1).view(np.uint8).data
