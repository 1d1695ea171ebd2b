"""The counter-based generator: published answers, and JAX's own of today."""

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
from exact_oracle import threefry

from p2pai.jaxtrain.exact.threefry import threefry2x32

THREEFRY = jax.jit(threefry2x32)

# Random123, kat_vectors: threefry2x32, 20 rounds
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def words(key, counter):
    found = THREEFRY(*(tuple(jnp.uint32(v) for v in pair) for pair in (key, counter)))
    return tuple(int(v) for v in found)


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN)
def test_published_answers(key, counter, answer):
    assert words(key, counter) == answer
    assert tuple(threefry(key, counter)) == answer


def test_many_counters_at_once_are_jaxs():
    key, count = np.array([123456789, 987654321], np.uint32), 33
    index = np.arange(count, dtype=np.uint32)
    found = THREEFRY((key[0], key[1]), (index, index[::-1]))
    wanted = jax.extend.random.threefry_2x32(key, np.concatenate([index, index[::-1]]))
    assert np.array_equal(np.concatenate(found), wanted)
