"""Pooling, by hand."""

import numpy as np

from p2pai.numpyreplay.pooling import average_pool, max_pool
from p2pai.numpyreplay.windows import Window

IMAGE = np.array([[1, 5, 5], [5, 2, 0], [7, 7, 7]], np.float32).reshape(1, 3, 3, 1)


def test_the_first_of_equal_values_gets_the_gradient():
    y, pull, _ = max_pool(IMAGE, Window(2, 2, 1))
    assert y.reshape(2, 2).tolist() == [[5, 5], [7, 7]]
    dx, _ = pull(np.array([1, 2, 4, 8], np.float32).reshape(1, 2, 2, 1))
    assert dx.reshape(3, 3).tolist() == [[0, 3, 0], [0, 0, 0], [4, 8, 0]]


def test_a_mean_is_rounded_14_bits_below_its_values():
    y, pull, _ = average_pool(IMAGE, Window(3, 3, 3))
    unit = 2.0**-35  # 24 bits of values below 8, and 14 more
    assert y.item() == np.float32((((39 << 35) * 2 + 9) // 18) * unit)
    dx, _ = pull(np.ones((1, 1, 1, 1), np.float32))
    assert set(dx.reshape(-1).tolist()) == {float(np.float32((((1 << 37) * 2 + 9) // 18) * 2.0**-37))}
