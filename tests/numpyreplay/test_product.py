"""Dense layers and convolutions against loops over Python's integers."""

from itertools import product

import numpy as np
import pytest

from p2pai.chain.layers import Conv, Padding
from p2pai.numpyreplay.product import convolution, dense
from p2pai.numpyreplay.quantise import quantise, to_float32

DICE = np.random.default_rng(5)


def normal(*shape):
    return DICE.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("bits", [7, 13])
def test_dense(bits):
    x, w, b, dy = normal(4, 3), normal(3, 2), normal(2), normal(4, 2)
    y, pull, _ = dense(x, (w, b), bits)
    (mx, ex), (mw, ew), (md, ed) = (quantise(t, bits) for t in (x, w, dy))
    sums = [[sum(int(mx[i, k]) * int(mw[k, j]) for k in range(3)) for j in range(2)] for i in range(4)]
    assert np.array_equal(y, to_float32(np.array(sums), ex + ew) + b)
    dx, (dw, db) = pull(dy)
    assert np.array_equal(dx, to_float32(md @ mw.T, ed + ew))
    assert np.array_equal(dw, to_float32(mx.T @ md, ex + ed))
    m, e = quantise(dy, 24)
    assert np.array_equal(db, to_float32(m.sum(axis=0), e))


def test_sums_as_large_as_float64_carries_are_exact():
    x = np.full((2, 1 << 16), 1 - 2.0**-13, np.float32)
    y, _, _ = dense(x, (x.T, np.zeros(2, np.float32)), 13)
    assert y[0, 0] == to_float32(np.array((8191 * 8191) << 16), -26)


@pytest.mark.parametrize("padding", list(Padding))
@pytest.mark.parametrize(("height", "width", "stride"), [(3, 2, 1), (2, 3, 2), (1, 1, 3)])
def test_convolution(padding, height, width, stride):
    layer = Conv(2, height, width, stride, padding)
    x, w, b = normal(2, 5, 4, 3), normal(height, width, 3, 2), normal(2)
    y, pull, _ = convolution(x, (w, b), layer, 13)
    dy = normal(*y.shape)
    (mx, ex), (mw, ew), (md, ed) = (quantise(t, 13) for t in (x, w, dy))
    top = left = 0
    if padding is Padding.SAME:
        top = max((y.shape[1] - 1) * stride + height - 5, 0) // 2
        left = max((y.shape[2] - 1) * stride + width - 4, 0) // 2
    sums, dx, dw = np.zeros(y.shape, int), np.zeros(x.shape, int), np.zeros(w.shape, int)
    for i, oy, ox, ky, kx in product(*map(range, (*y.shape[:3], height, width))):
        row, column = oy * stride + ky - top, ox * stride + kx - left
        if 0 <= row < 5 and 0 <= column < 4:
            sums[i, oy, ox] += mx[i, row, column] @ mw[ky, kx]
            dx[i, row, column] += mw[ky, kx] @ md[i, oy, ox]
            dw[ky, kx] += np.outer(mx[i, row, column], md[i, oy, ox])
    assert np.array_equal(y, to_float32(sums, ex + ew) + b)
    found, (kernel, _) = pull(dy)
    assert np.array_equal(found, to_float32(dx, ed + ew))
    assert np.array_equal(kernel, to_float32(dw, ex + ed))
