"""Layers that take one value of each window of an image: the largest, or the mean.

Source: docs/EXACT.md, "Layers": max pooling, average pooling.
"""

from typing import Final

import numpy as np

from p2pai.numpyreplay import windows
from p2pai.numpyreplay.integers import middle
from p2pai.numpyreplay.quantise import BITS, Floats, quantise, to_float32
from p2pai.numpyreplay.tape import Gradients, Layered
from p2pai.numpyreplay.windows import Window

_MEAN_BITS: Final = 14
"""Bits of a mean below those of its values."""


def max_pool(x: Floats, window: Window) -> Layered:
    """Return the largest value of each window; on ties the first, row by row."""
    slid = windows.slide(x, window)
    flat = slid.reshape(*slid.shape[:3], -1, slid.shape[-1])
    places = flat.argmax(axis=3, keepdims=True)

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        m, e = quantise(dy, BITS)
        parts = np.zeros(flat.shape, np.int64)
        np.put_along_axis(parts, places, m[:, :, :, None], axis=3)
        return to_float32(windows.gather(parts.reshape(slid.shape), x.shape, window), e), ()

    return Layered(np.take_along_axis(flat, places, axis=3)[:, :, :, 0], pull)


def average_pool(x: Floats, window: Window) -> Layered:
    """Return the mean of each window."""
    m, e = quantise(x, BITS)
    slid = windows.slide(m, window)
    count = window.height * window.width
    mean = middle(slid.sum(axis=(3, 4)) << _MEAN_BITS, count)

    def pull(dy: Floats) -> tuple[Floats, Gradients]:
        d, exponent = quantise(dy, BITS)
        share = middle(d << _MEAN_BITS, count)[:, :, :, None, None]
        arrived = windows.gather(np.broadcast_to(share, slid.shape), x.shape, window)
        return to_float32(arrived, exponent - _MEAN_BITS), ()

    return Layered(to_float32(mean, e - _MEAN_BITS), pull)
