"""Convolutions of every stride and padding, and both their gradients."""

from fractions import Fraction
from functools import partial

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from tensors import check, compiled, tensor

from p2pai.chain.layers import Conv as ConvLayer
from p2pai.chain.layers import Padding, place
from p2pai.jaxtrain.exact.conv import conv

SHAPES = {
    # image (batch, height, width, channels), kernel (height, width, filters), stride, padding
    "plain": ((2, 4, 5, 2), (3, 2, 3), 1, Padding.VALID),
    "strided": ((2, 5, 7, 2), (3, 2, 2), 2, Padding.VALID),
    "same": ((2, 4, 4, 2), (3, 3, 3), 1, Padding.SAME),
    "same, even kernel": ((1, 5, 4, 1), (2, 4, 2), 1, Padding.SAME),
    "same, strided": ((2, 5, 4, 2), (3, 3, 2), 2, Padding.SAME),
    "same, stride beyond the kernel": ((1, 7, 5, 2), (2, 1, 2), 3, Padding.SAME),
    "valid, stride beyond the kernel": ((1, 7, 6, 1), (1, 2, 2), 3, Padding.VALID),
    "kernel as large as the image": ((3, 3, 4, 2), (3, 4, 2), 1, Padding.VALID),
    "kernel beyond the image": ((1, 2, 3, 1), (5, 4, 2), 1, Padding.SAME),
    "many filters": ((1, 2, 7, 2), (2, 3, 70), 1, Padding.SAME),
    "many filters, strided": ((1, 3, 9, 1), (2, 2, 50), 2, Padding.VALID),
    "wide": ((1, 2, 40, 1), (1, 5, 9), 1, Padding.SAME),
    "wide, strided": ((1, 2, 41, 2), (2, 3, 20), 3, Padding.VALID),
    "one pixel": ((1, 1, 1, 1), (1, 1, 1), 1, Padding.SAME),
}
CONVS = {
    (name, bits): partial(lambda x, w, how: conv(x, w, *how), how=(SHAPES[name][2], SHAPES[name][3], bits))
    for name in SHAPES
    for bits in (7, 13)
}


def drawn(name, case):
    image, (height, width, filters), stride, padding = SHAPES[name]
    layer = ConvLayer(filters, height, width, stride, padding)
    out = place(image[1:], (layer,))[0].output
    kernel = (height, width, image[3], filters)
    arguments = tensor(case, 1, *image), tensor("spread", 2, *kernel)
    return arguments, tensor(case, 3, image[0], *out)


def reference(name, bits):
    _, _, stride, padding = SHAPES[name]
    return lambda x, w: oracle.conv(x, w, stride, padding.value, bits)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_the_oracles(name):
    arguments, dy = drawn(name, "plain")
    check(CONVS[name, 13], reference(name, 13), arguments, dy)


@pytest.mark.parametrize("bits", [7, 13])
@pytest.mark.parametrize("case", ["ties", "spread", "zeros", "large", "denormal"])
def test_awkward_numbers_are_the_oracles(case, bits):
    arguments, dy = drawn("same, strided", case)
    check(CONVS["same, strided", bits], reference("same, strided", bits), arguments, dy)


@pytest.mark.parametrize("bits", [7, 13])
def test_thousands_of_largest_products_are_summed_exactly(bits):
    """Every mantissa at its largest: forward over the kernel, back over filters, and over rows."""
    most = np.float32(1 - 2.0**-24)
    x, w = np.full((3, 20, 20, 4), most), np.full((5, 5, 4, 60), -most)
    x[:, ::2] *= -1
    dy = np.full((3, 16, 16, 60), most)
    y, (dx, dw) = compiled(partial(lambda a, b: conv(a, b, 1, Padding.VALID, bits)))((x, w), dy)
    top = 127 if bits == 7 else 8192
    rows = np.array([[1, -1][i % 2] for i in range(20)])
    lines = np.array([rows[i : i + 5].sum() for i in range(16)])
    unit = Fraction(top, 1 << bits) ** 2
    assert oracle.exact(y[0, :, 0, 0]).tolist() == [oracle.nearest_float32(int(n) * 20 * unit) for n in lines]
    assert Fraction(float(dx[0, 10, 10, 0])) == oracle.nearest_float32(-25 * 60 * unit)
    sums = [3 * 16 * int(rows[i : i + 16].sum()) for i in range(5)]
    assert oracle.exact(dw[:, 0, 0, 0]).tolist() == [oracle.nearest_float32(-n * unit) for n in sums]


def test_seven_bits_of_very_many_filters():
    """Back to one value come more products than float32 carries."""
    x, w = np.ones((1, 1, 2, 1), np.float32), np.full((1, 2, 1, 1100), 1 - 2.0**-24, np.float32)
    w[0, 0, 0, 0] = 2.0**-6
    dy = np.full((1, 1, 1, 1100), 1 - 2.0**-24, np.float32)
    operation = partial(lambda a, b: conv(a, b, 1, Padding.VALID, 7))
    check(operation, lambda a, b: oracle.conv(a, b, 1, "valid", 7), (x, w), dy)


def test_output_shapes_are_those_that_a_task_is_told():
    for name, (image, (height, width, filters), stride, padding) in SHAPES.items():
        x, w = np.zeros(image, np.float32), np.zeros((height, width, image[3], filters), np.float32)
        shape = jax.eval_shape(partial(conv, stride=stride, padding=padding, bits=13), x, w).shape
        layer = ConvLayer(filters, height, width, stride, padding)
        assert shape[1:] == place(image[1:], (layer,))[0].output, name
