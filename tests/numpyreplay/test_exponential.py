"""exp and log2 against Python's integers, and against what they stand for."""

import math

import numpy as np
import pytest

from p2pai.numpyreplay import exponential

DICE = np.random.default_rng(3)
COEFFICIENTS = [1073741824, -744261114, 257941163, -59596395, 10324651, -1425731, 158139, -11624]


def exp(d, bits):
    p = (d * 1549082005) >> bits
    f, v = p % 2**30, COEFFICIENTS[7]
    for j in (6, 5, 4, 3, 2, 1, 0):
        v = COEFFICIENTS[j] + ((v * f) >> 30)
    return v >> min(p >> 30, 62)


def log2(n):
    w = n.bit_length() - 1
    m, r = (n >> (w - 30) if w > 30 else n << (30 - w)), w << 30
    for i in range(30):
        q = m * m >> 30
        b = q >> 31
        m, r = q >> b, r + (b << (29 - i))
    return r


@pytest.mark.parametrize("bits", [16, 24])
def test_exp(bits):
    d = np.concatenate([DICE.integers(0, 1 << k, 100) for k in (10, 20, 26, 31)] + [np.array([0, 1 << 31])])
    found = exponential.exp_of_minus(d, bits)
    assert found.tolist() == [exp(int(n), bits) for n in d]
    assert np.abs(found / 2**30 - np.exp(-d / 2**bits)).max() < 2**-28


def test_log2():
    n = np.concatenate([DICE.integers(1, 1 << k, 100) for k in (4, 29, 30, 31, 32, 54, 62)])
    n = np.concatenate([n, np.array([1, 1 << 62, (1 << 54) - 1])])
    found = exponential.log2(n)
    assert found.tolist() == [log2(int(i)) for i in n]
    assert max(abs(f / 2**30 - math.log2(i)) for f, i in zip(found.tolist(), n.tolist(), strict=True)) < 1e-7


def test_sigmoid_is_symmetric():
    q = DICE.integers(0, 1 << 29, 300)
    up, down = exponential.sigmoid(q, 24), exponential.sigmoid(-q, 24)
    assert (up + down == 1 << 30)[q > 0].all()
    assert np.abs(up / 2**30 - 1 / (1 + np.exp(-q / 2**24))).max() < 2**-27
