"""Threefry against the vectors of Random123, and what dropout makes of it."""

import numpy as np
import pytest

from p2pai.jobs import Position
from p2pai.numpyreplay.dropout import dropout, key_of, threefry
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "counter", "word"),
    [
        ((0, 0), (0, 0), 0x6B200159),
        ((ONES, ONES), (ONES, ONES), 0x1CB996FC),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), 0xC4923A9C),
    ],
)
def test_threefry_gives_the_published_words(key, counter, word):
    assert threefry(key, np.array(counter[:1], np.uint32), counter[1]).tolist() == [word]


def test_the_key_is_the_head_of_a_hash():
    seed, batch = Hash32(bytes(32)), Hash32(b"\1" * 32)
    digest = tagged_hash("p2pai/dropout", seed, b"\2\0\0\0", b"\3\1\0\0", batch, b"\4\0\0\0")
    key = key_of(seed, Position(2, 259, 10), batch, 4)
    assert key == (int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"))


@pytest.mark.parametrize("rate", [1, 20_000, 63_488])
def test_values_are_dropped_or_scaled_up_and_so_are_gradients(rate):
    x = np.ones((100, 50), np.float32)
    y, pull, _ = dropout(x, rate, (1, 2))
    kept = (threefry((1, 2), np.arange(5000, dtype=np.uint32)) >> 16 >= rate).reshape(x.shape)
    assert set(y[kept].tolist()) == {float(np.float32((2**40 // (65536 - rate)) / 2**24))}
    assert not y[~kept].any()
    assert abs(kept.mean() - (1 - rate / 65536)) < 0.03
    assert np.array_equal(pull(x)[0], y)


def test_a_rate_of_zero_changes_nothing():
    x = np.array([1.1], np.float32)
    assert dropout(x, 0, (1, 2)).output is x
