"""Windows that slide over images, and the way back.

Images are (batch, height, width, channels); their windows (batch, rows, columns, height, width, channels).

Source: docs/EXACT.md, "Layers": convolution, pooling.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from p2pai.chain.layers import Conv, Padding, Shape
from p2pai.numpyreplay.integers import Integers


class Window(NamedTuple):
    """Height and width of a window, and how far one is from the next."""

    height: int
    width: int
    stride: int


Margins = tuple[tuple[int, int], tuple[int, int]]
"""Zeros (above, below) and (left, right) of an image."""


def slide(images: NDArray[Any], window: Window) -> NDArray[Any]:
    """Return a view of all windows inside of the images."""
    views = np.lib.stride_tricks.sliding_window_view(images, window[:2], axis=(1, 2))
    return np.moveaxis(views[:, :: window.stride, :: window.stride], 3, -1)


def gather(parts: Integers, shape: Shape, window: Window) -> Integers:
    """Return images of `shape` (batch included) in which each value sums what its windows hold for it."""
    images = np.zeros(shape, np.int64)
    rows, columns = parts.shape[1:3]
    for y in range(window.height):
        for x in range(window.width):
            down = slice(y, y + (rows - 1) * window.stride + 1, window.stride)
            across = slice(x, x + (columns - 1) * window.stride + 1, window.stride)
            images[:, down, across] += parts[:, :, :, y, x]
    return images


def margins(layer: Conv, image: Shape) -> Margins:
    """Return the zeros that a convolution puts around an image (height, width, channels)."""
    if layer.padding is Padding.VALID:
        return ((0, 0), (0, 0))
    return (_margin(image[0], layer.height, layer.stride), _margin(image[1], layer.width, layer.stride))


def _margin(length: int, size: int, stride: int) -> tuple[int, int]:
    count = -(-length // stride)
    padding = max((count - 1) * stride + size - length, 0)
    return (padding // 2, padding - padding // 2)
