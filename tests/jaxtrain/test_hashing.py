"""Content ids of arrays are those of their bytes, wherever the chunks are cut."""

import jax.numpy as jnp
import numpy as np
import pytest

from p2pai.jaxtrain import hashing
from p2pai.jaxtrain.weights import pack
from p2pai.primitives.blob import CHUNK_SIZE_MAX, blob_id_of

MIB = CHUNK_SIZE_MAX


def ramp(size, dtype=np.uint8):
    return (np.arange(size) % 251).astype(dtype)


@pytest.mark.parametrize(
    "sizes",
    [
        (), (0,), (1,), (MIB - 1,), (MIB,), (MIB + 1,), (2 * MIB,), (MIB // 2, MIB // 2),
        (MIB // 2, MIB), (3 * MIB + 5, 7, MIB - 12), (1, 0, 2 * MIB, 0),
    ],
)  # fmt: skip
def test_the_id_is_that_of_the_joined_bytes(sizes):
    arrays = [ramp(size) for size in sizes]
    assert hashing.content_id(arrays) == blob_id_of(pack(arrays))


def test_device_arrays_and_views_hash_like_copies():
    square = ramp(600 * 600, np.float32).reshape(600, 600)
    wanted = blob_id_of(np.ascontiguousarray(square.T).tobytes())
    assert hashing.content_id([square.T]) == wanted
    assert hashing.content_id([jnp.asarray(square.T)]) == wanted


def test_big_endian_arrays_are_hashed_as_little_endian_ones():
    values = ramp(1000, np.int32)
    assert hashing.content_id([values.astype(">i4")]) == hashing.content_id([values])


def test_work_that_waits_for_hashing_threads_does_not_take_their_places():
    arrays = [ramp(5 * MIB)]
    waiting = [hashing.submit(hashing.content_id, arrays) for _ in range(4 * hashing.THREADS_MAX)]
    assert len({future.result(timeout=60) for future in waiting}) == 1
