"""Windows along an axis, and the way back."""

import jax
import numpy as np
import pytest

from p2pai.jaxtrain.exact.window import put_back, see, window_count

IMAGES = np.arange(1, 2 * 5 * 7 * 2 + 1, dtype=np.int64).reshape(2, 5, 7, 2)


@pytest.mark.parametrize(
    ("length", "side", "stride", "count"),
    [(5, 2, 1, 4), (5, 2, 2, 2), (5, 5, 3, 1), (7, 1, 3, 3), (6, 2, 3, 2)],
)
def test_windows_are_counted_inside_of_the_image(length, side, stride, count):
    assert window_count(length, side, stride) == count


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(("side", "stride"), [(1, 1), (2, 1), (3, 2), (2, 2), (2, 3), (5, 1), (1, 4)])
def test_what_is_seen_is_put_back_where_it_was_and_added_up(axis, side, stride):
    length = IMAGES.shape[axis]
    seen = see(IMAGES, axis, side, stride)
    starts = range(0, length - side + 1, stride)
    expected = np.zeros_like(IMAGES)
    for place, found in enumerate(seen):
        wanted = np.take(IMAGES, [start + place for start in starts], axis)
        assert np.array_equal(found, wanted)
    for start in starts:
        index = [slice(None)] * 4
        index[axis] = slice(start, start + side)
        expected[tuple(index)] += IMAGES[tuple(index)]
    back = jax.jit(lambda parts: put_back(parts, axis, length, stride))(seen)
    assert np.array_equal(back, expected)
