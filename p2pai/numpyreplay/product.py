"""Layers that multiply by a kernel: dense layers and convolutions.

The products are sums of at most 2^26 terms, each below 2^26 (`chain/layers.check_exact`): every partial sum
is an integer below 2^52, which float64 carries exactly in whatever order a library adds.

Source: docs/EXACT.md, "Layers": product, bias, dense, convolution.
"""

from math import prod
from typing import Final

import numpy as np

from p2pai.chain.layers import Conv
from p2pai.numpyreplay import windows
from p2pai.numpyreplay.integers import Integers
from p2pai.numpyreplay.quantise import BITS, Floats, quantise, to_float32
from p2pai.numpyreplay.tape import Gradients, Layered, Tensors
from p2pai.numpyreplay.windows import Window

_PIECE_VALUES: Final = 1 << 22
"""Values of windows at a time; integers can be summed in pieces."""


def dense(x: Floats, weights: Tensors, bits: int) -> Layered:
    """Return x @ kernel + bias."""
    kernel, bias = weights
    left, right = quantise(x, bits), quantise(kernel, bits)
    y = to_float32(_matmul(left.values, right.values), left.exponent + right.exponent)

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        d = quantise(dy, bits)
        dx = to_float32(_matmul(d.values, right.values.T), d.exponent + right.exponent)
        dw = to_float32(_matmul(left.values.T, d.values), left.exponent + d.exponent)
        return dx, (dw, bias_gradient(dy))

    return Layered(y + bias, pull)


def convolution(x: Floats, weights: Tensors, layer: Conv, bits: int) -> Layered:
    """Return the convolution of images with a kernel (height, width, channels, filters), plus bias."""
    kernel, bias = weights
    left, right = quantise(x, bits), quantise(kernel, bits)
    window = Window(layer.height, layer.width, layer.stride)
    around = windows.margins(layer, x.shape[1:])
    padded = np.pad(left.values, ((0, 0), *around, (0, 0)))
    slid = windows.slide(padded, window)
    matrix = right.values.reshape(-1, layer.filters)
    sums = np.concatenate([_matmul(_rows(slid[piece]), matrix) for piece in _pieces(slid)])
    y = to_float32(sums, left.exponent + right.exponent)

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        d = quantise(dy, bits)
        arrived = np.zeros(padded.shape, np.int64)
        dw = np.zeros(matrix.shape, np.int64)
        for piece in _pieces(slid):
            flat = d.values[piece].reshape(-1, layer.filters)
            parts = _matmul(flat, matrix.T).reshape(slid[piece].shape)
            arrived[piece] = windows.gather(parts, padded[piece].shape, window)
            dw += _matmul(_rows(slid[piece]).T, flat)
        dx = to_float32(_crop(arrived, around), d.exponent + right.exponent)
        kernel_gradient = to_float32(dw, left.exponent + d.exponent).reshape(kernel.shape)
        return dx, (kernel_gradient, bias_gradient(dy))

    return Layered(y.reshape(*slid.shape[:3], layer.filters) + bias, pull)


def bias_gradient(dy: Floats) -> Floats:
    """Return the gradient of a bias (channels) from that of the output."""
    m, e = quantise(dy, BITS)
    return to_float32(m.reshape(-1, dy.shape[-1]).sum(axis=0), e)


def _matmul(a: Integers, b: Integers) -> Integers:
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def _rows(slid: Integers) -> Integers:
    """Return one row for each window."""
    return slid.reshape(-1, prod(slid.shape[3:]))


def _pieces(slid: Integers) -> list[slice]:
    """Cut a batch so that the windows of each piece fit in little memory."""
    count = max(1, _PIECE_VALUES // prod(slid.shape[1:]))
    return [slice(start, start + count) for start in range(0, len(slid), count)]


def _crop(images: Integers, around: windows.Margins) -> Integers:
    (top, below), (left, right) = around
    return images[:, top : images.shape[1] - below, left : images.shape[2] - right]
