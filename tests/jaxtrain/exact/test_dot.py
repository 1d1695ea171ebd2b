"""Matrix products and both their gradients."""

from fractions import Fraction
from functools import partial

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from tensors import CASES, check, compiled, tensor

from p2pai.jaxtrain.exact import dot as dot_module
from p2pai.jaxtrain.exact.dot import dot

DOTS = {bits: partial(lambda x, w, bits: dot(x, w, bits), bits=bits) for bits in (7, 13)}


@pytest.mark.parametrize("bits", [7, 13])
@pytest.mark.parametrize("case", CASES)
def test_the_product_and_its_gradients_are_the_oracles(case, bits):
    x, w, dy = tensor(case, 1, 4, 7), tensor("plain", 2, 7, 3), tensor(case, 3, 4, 3)
    check(DOTS[bits], lambda a, b: oracle.dot(a, b, bits), (x, w), dy)


@pytest.mark.parametrize("bits", [7, 13])
@pytest.mark.parametrize("case", ["zeros", "ties", "spread", "denormal"])
def test_awkward_weights_too(case, bits):
    x, w, dy = tensor("ties", 4, 4, 7), tensor(case, 5, 7, 3), tensor("plain", 6, 4, 3)
    check(DOTS[bits], lambda a, b: oracle.dot(a, b, bits), (x, w), dy)


@pytest.mark.parametrize("bits", [7, 13])
def test_one_sample_and_one_unit(bits):
    x, w, dy = tensor("plain", 7, 1, 1), tensor("plain", 8, 1, 1), tensor("plain", 9, 1, 1)
    check(DOTS[bits], lambda a, b: oracle.dot(a, b, bits), (x, w), dy)


def test_thousands_of_largest_products_are_summed_exactly():
    """Every mantissa at its largest, over a length that the limbs cut in pieces."""
    length = 5000
    x, w = np.full((1, length), 1 - 2.0**-24, np.float32), np.full((length, 1), -1 + 2.0**-24, np.float32)
    assert float(jax.jit(DOTS[13])(x, w)[0, 0]) == -length
    assert float(jax.jit(DOTS[7])(x, w)[0, 0]) == -np.float32(length * 127 * 127 / 2**14)


@pytest.mark.parametrize("bits", [7, 13])
def test_gradients_of_many_rows_and_units_are_summed_exactly(bits):
    rows, units = 3000, 1500
    x, w = np.ones((rows, 1), np.float32), np.full((1, units), 1 - 2.0**-24, np.float32)
    dy = np.full((rows, units), 1 - 2.0**-24, np.float32)
    dy[0, 0] = -(2.0**-7)
    _, (dx, dw) = compiled(DOTS[bits])((x, w), dy)
    top, small = (127, 1) if bits == 7 else (8192, 64)
    unit, one = Fraction(1, 1 << bits), 1 << (bits - 1)
    whole = oracle.nearest_float32(units * top * top * unit * unit)
    assert oracle.exact(dx[:2, 0]).tolist() == [
        oracle.nearest_float32(((units - 1) * top - small) * top * unit * unit),
        whole,
    ]
    assert oracle.exact(dw[0, :2]).tolist() == [
        oracle.nearest_float32(((rows - 1) * top - small) * one * 2 * unit * unit),
        oracle.nearest_float32(rows * top * one * 2 * unit * unit),
    ]


def test_a_large_weight_gradient_is_made_in_blocks(monkeypatch):
    arguments, dy = (tensor("spread", 10, 5, 12), tensor("spread", 14, 12, 3)), tensor("spread", 11, 5, 3)
    whole = compiled(DOTS[13])(arguments, dy)[1][1]
    monkeypatch.setattr(dot_module, "BLOCK_ELEMENTS", 9)
    assert dot_module._block_count(12, 36) == 4
    fresh = partial(lambda x, w: dot(x, w, 13))
    assert np.array_equal(compiled(fresh)(arguments, dy)[1][1], whole)


def test_blocks_divide_the_rows():
    count = dot_module._block_count
    assert count(784, 784 * 10) == 1
    assert count(4096, 4096 * 4096) == 4
    assert count(7, 7 << 30) == 7
    assert 4099 % count(4099, 4099 * 4096) == 0


def test_order_of_the_inputs_does_not_matter():
    x, w = tensor("spread", 12, 4, 7), tensor("spread", 13, 7, 3)
    order = np.random.default_rng(2).permutation(7)
    run = jax.jit(DOTS[13])
    assert np.array_equal(run(x, w), run(x[:, order], w[order]))
