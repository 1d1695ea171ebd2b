"""The exact operations against Python integers, and their carriers against each other."""

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.jaxtrain.exact import carrier, grid
from p2pai.jaxtrain.exact.dot import _block_count, dot
from p2pai.jaxtrain.exact.quantise import quantise, to_float32
from p2pai.jaxtrain.exact.reduce import add_bias, sum_rows
from p2pai.jaxtrain.exact.softmax import cross_entropy, exp_negative, log2

CARRIERS = ("int8", "float32", "float64")
QUICK = settings(max_examples=30, deadline=None)


def values(seed, *shape, scale=1.0):
    """Floats over many magnitudes, zeros among them."""
    dice = np.random.default_rng(seed)
    x = dice.normal(size=shape) * np.exp2(dice.integers(-12, 3, shape)) * scale
    return np.where(dice.random(shape) < 0.1, 0, x).astype(np.float32)


@jax.jit
def _product_and_gradients(x, w, d):
    y, pull = jax.vjp(dot, x, w)
    return (y, *pull(d))


def product_and_gradients(x, w, d):
    """Compile afresh, so that a carrier or block size chosen by the test is the one that is used."""
    jax.clear_caches()
    return _product_and_gradients(x, w, d)


def same(array, expected):
    return np.array_equal(np.asarray(array), oracle.to_numpy(expected))


@pytest.mark.parametrize("scale", [1.0, 2.0**-70, 2.0**40])
def test_dot_and_both_gradients_are_the_oracles(scale):
    x, w, d = values(1, 4, 7, scale=scale), values(2, 7, 3), values(3, 4, 3, scale=scale)
    y, dx, dw = product_and_gradients(x, w, d)
    x, w, d = oracle.exact(x), oracle.exact(w), oracle.exact(d)
    assert same(y, oracle.dot(x, w))
    assert same(dx, oracle.dot(d, oracle.transposed(w)))
    assert same(dw, oracle.dot(oracle.transposed(x), d))


@pytest.mark.parametrize("shape", [(1, 1, 1), (30, 64, 10), (3, 4100, 2), (16, 12, 16)])
def test_all_carriers_give_the_same_bits(shape):
    rows, length, columns = shape
    x, w, d = values(4, rows, length), values(5, length, columns), values(6, rows, columns)
    results = []
    for name in CARRIERS:
        with carrier.using(name):
            results.append([np.asarray(v).tobytes() for v in product_and_gradients(x, w, d)])
    assert results[0] == results[1] == results[2]


def test_carriers_know_the_answers_and_a_wrong_one_is_not_trusted(monkeypatch):
    assert all(carrier.trusted(name) for name in CARRIERS)
    right = carrier._contract

    def narrow(a, b, dimensions):
        product = right(a, b, dimensions)
        return product if a.dtype != np.int8 else product % 32768

    monkeypatch.setattr(carrier, "_contract", narrow)
    carrier.trusted.cache_clear()
    jax.clear_caches()
    try:
        assert not carrier.trusted("int8")
        assert carrier.choose(carrier.WORK_MIN, "gpu") == "float64"
    finally:
        carrier.trusted.cache_clear()
        jax.clear_caches()


def test_large_products_take_int8_on_accelerators_and_weight_gradients_come_in_blocks():
    assert carrier.choose(carrier.WORK_MIN, "gpu") == "int8"
    assert carrier.choose(carrier.WORK_MIN - 1, "gpu") == "float64"
    assert carrier.choose(carrier.WORK_MIN, "cpu") == "float64"
    assert _block_count(784, 784 * 10) == 1
    assert 4096 % _block_count(4096, 4096 * 4096) == 0
    assert _block_count(4096, 4096 * 4096) == 4
    assert _block_count(7, 7 << 30) == 7


def test_a_blocked_weight_gradient_is_the_whole_one(monkeypatch):
    x, w, d = values(7, 5, 12), values(8, 12, 3), values(9, 5, 3)
    whole = product_and_gradients(x, w, d)[2]
    monkeypatch.setattr("p2pai.jaxtrain.exact.dot.BLOCK_ELEMENTS", 9)
    assert np.array_equal(product_and_gradients(x, w, d)[2], whole)


def test_sums_and_bias_are_the_oracles_and_free_of_order():
    x = values(10, 50, 3)
    assert same(sum_rows(x), oracle.column_sums(oracle.exact(x)))
    assert np.array_equal(sum_rows(x), sum_rows(x[np.random.default_rng(1).permutation(50)]))
    y, pull = jax.vjp(add_bias, x, x[0])
    assert np.array_equal(y, x + x[0])
    assert np.array_equal(pull(x)[1], sum_rows(x))


@pytest.mark.parametrize("scale", [0.0, 1.0, 3000.0])
def test_cross_entropy_is_the_oracles_and_close_to_the_truth(scale):
    logits, labels = values(11, 6, 5) * np.float32(scale), np.array([0, 1, 2, 3, 4, 0], np.int32)
    loss, gradient = jax.jit(cross_entropy)(logits, labels)
    expected_loss, expected_gradient = oracle.cross_entropy(oracle.exact(logits), labels.tolist())
    assert int(loss) == expected_loss
    assert same(gradient, expected_gradient)
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    truth = powers / powers.sum(1, keepdims=True) - np.eye(5)[labels]
    assert np.allclose(np.asarray(gradient) * 6, truth, atol=1e-4)


def test_exponential_and_logarithm_are_within_their_bounds():
    q16 = np.arange(0, 1 << 20, 997, dtype=np.int64)
    assert np.max(np.abs(np.asarray(exp_negative(q16)) / 2**30 - np.exp(-q16 / 65536))) < 1e-8
    assert int(exp_negative(np.int64(1 << 31))) == 0
    n = np.array([1, 2, 3, (1 << 30) - 1, 1 << 30, (1 << 40) - 1, 1 << 62], np.int64)
    assert np.max(np.abs(np.asarray(log2(n)) / 2**30 - np.log2(n.astype(np.float64)))) < 1e-7
    assert [int(v) for v in log2(n)] == [oracle.log2(int(v)) for v in n]


@QUICK
@given(st.lists(st.floats(width=32, min_value=-(2.0**50), max_value=2.0**50), min_size=1, max_size=6))
def test_quantise_is_the_oracles(numbers):
    x = np.array([numbers], np.float32)
    x = np.where(np.abs(x) < 2.0**-120, 0, x).astype(np.float32)
    for bits in (13, 24):
        integers, exponent = quantise(x, bits)
        expected, unit = oracle.quantised(oracle.exact(x), bits)
        assert np.asarray(integers).tolist() == expected
        assert 2.0 ** int(exponent) == unit


@pytest.mark.parametrize(
    ("integer", "exponent"),
    [
        (0, 0),
        ((1 << 24) + 1, 0),
        ((1 << 24) + 3, 0),
        (-(1 << 25) - 2, -30),
        (1, -101),
        (1, -100),
        (1 << 53, 10),
    ],
)
def test_to_float32_rounds_ties_to_even_and_stops_at_its_edges(integer, exponent):
    from fractions import Fraction

    value = Fraction(integer) * Fraction(2) ** exponent
    assert float(to_float32(np.float64(integer), exponent)) == float(oracle.rounded(value))


def test_weights_stop_at_the_edge_of_the_grid_whatever_the_order():
    edge = grid.WEIGHT_UNITS_MAX / 2**20
    weights = np.array([edge, -edge, 15.99, 0.0], np.float32)
    moved = np.asarray(grid.move(weights, np.array([-5, 5, -1000, 3], np.int32), 6))
    assert moved.tolist() == [edge, -edge, edge, -3 / 64]
    back = np.asarray(grid.move(moved, np.array([1, -1, 1, -3], np.int32), 18))
    assert back.tolist() == [edge - 2**-18, 2**-18 - edge, edge - 2**-18, -3 / 64 + 3 * 2**-18]
    assert np.asarray(grid.move(np.zeros(1, np.float32), np.array([1 << 16], np.int32), 6)).tolist() == [
        -edge
    ]


def test_residuals_stop_at_the_edge_and_emit_strictly_beyond_tau():
    most = grid.RESIDUAL_UNITS_MAX
    full = grid.accumulate(np.array([most, -most, 5], np.int32), np.array([most, -most, -7], np.int64))
    assert np.asarray(full).tolist() == [most, -most, -2]
    tau = 1 << (grid.RESIDUAL_BITS - 10)
    rest, signs = grid.emit(np.array([tau, tau + 1, -tau, -tau - 1, most, -most], np.int32), 10)
    assert np.asarray(signs).tolist() == [0, 1, 0, -1, 1, -1]
    assert np.asarray(rest).tolist() == [tau, 1, -tau, -1, most - tau, tau - most]
