"""Normalisation of one group against Python's integers, and running statistics."""

from math import isqrt

import numpy as np
import pytest

from p2pai.numpyreplay.normalisation import batch_norm, batch_norm_evaluated, layer_norm
from p2pai.numpyreplay.quantise import multiply, quantise, to_float32

DICE = np.random.default_rng(6)
ONE = np.ones(1, np.float32)
ZERO = np.zeros(1, np.float32)


def mid(a, b):
    return (2 * a + b) // (2 * b)


def within(n, low, high):
    return min(max(n, low), high)


def normalise(values):
    """Return a group normalised, and all that its gradient needs."""
    (m, e), n = quantise(values, 18), len(values)
    e = int(e)
    u = mid(sum(m.tolist()) << 3, n)
    c = [(i << 3) - u for i in m.tolist()]
    variance = sum(i * i for i in c) // n
    w = variance + 2 ** within(-11 - 2 * e, 0, 50)
    t = (51 - (w.bit_length() - 1)) // 2
    r = 2**52 // isqrt(w << 2 * t)
    return to_float32(np.array([i * r for i in c]), t - 52), u, variance, r, t, e


def gradient(group, g):
    x, _, _, r, t, e = group
    (p, f), (h, k), n = quantise(g, 17), quantise(x, 17), len(x)
    p, h, f, k = p.tolist(), h.tolist(), int(f), int(k)
    a = mid(sum(i * j for i, j in zip(p, h, strict=True)), n)
    j = within(-(2 * k + 8), 0, 62)
    mean = mid(sum(p) << 8, n)
    total = [(i << 8) - mean - ((q * a) >> j) for i, q in zip(p, h, strict=True)]
    assert max(abs(i) for i in total) <= 2**35
    return to_float32(np.array([i * (r >> 9) for i in total]), f - 8 + 9 + t - 52 - (e - 3))


def groups():
    for n in (1, 2, 5, 64, 4096):
        yield (DICE.standard_normal(n) * 7 + 3).astype(np.float32)
    yield np.zeros(4, np.float32)
    yield np.full(4, -3, np.float32)
    yield (DICE.standard_normal(9) * 2.0**-70).astype(np.float32)
    yield (DICE.standard_normal(9) * 2.0**45).astype(np.float32)
    spike = np.zeros(1 << 18, np.float32)
    spike[7] = 1
    yield spike


@pytest.mark.parametrize("values", list(groups()), ids=len)
def test_layer_and_batch_normalisation_of_one_group(values):
    group = normalise(values)
    dy = DICE.standard_normal(len(values)).astype(np.float32)
    wanted = gradient(group, multiply(dy, ONE))
    running = (np.zeros(1, np.int64), np.zeros(1, np.int64))
    rows, columns = values[None, :], values[:, None]
    flat = np.ones(len(values), np.float32)
    y, pull, _ = layer_norm(rows, (flat, 0 * flat))
    assert np.array_equal(y[0], multiply(group[0], ONE))
    assert np.array_equal(pull(dy[None, :])[0][0], wanted)
    y, pull, moved = batch_norm(columns, (ONE, ZERO), running, 32768)
    assert np.array_equal(y[:, 0], multiply(group[0], ONE))
    assert np.array_equal(pull(dy[:, None])[0][:, 0], wanted)
    _, u, variance, _, _, e = group
    exact = [u * 2.0 ** (e + 21), variance * 2.0 ** (2 * e + 18)]
    assert [int(m[0]) for m in moved] == [round(within(v, -(2.0**45), 2.0**45)) * 32768 >> 16 for v in exact]


def test_evaluation_takes_the_running_statistics():
    x = np.array([[1.0], [3.0], [-5.0]], np.float32)
    running = (np.array([1 << 24]), np.array([(1 << 26) - (1 << 7)]))  # mean 1, variance and epsilon 4
    y = batch_norm_evaluated(x, (ONE, ZERO), running)
    assert y.reshape(-1).tolist() == [0, 1, -3]


def test_the_gradient_of_a_scale():
    x, dy = DICE.standard_normal((2, 6, 3)).astype(np.float32)
    scale = np.array([1, 2, 3], np.float32)
    y, pull, _ = layer_norm(x, (scale, 0 * scale))
    _, (found, _) = pull(dy)
    (a, e), (b, f) = quantise(dy, 17), quantise(np.stack([normalise(row)[0] for row in x]), 17)
    assert np.array_equal(found, to_float32((a * b).sum(axis=0), e + f))
    assert np.abs(y).max() > 1
