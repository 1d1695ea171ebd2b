"""Windows that slide over images: what all of them see at one place, and the way back.

Source: docs/EXACT.md, "Convolution".
"""

import jax.numpy as jnp
from jax import Array, lax


def window_count(length: int, side: int, stride: int) -> int:
    """Return how many windows of a side fit in a length."""
    return (length - side) // stride + 1


def see(images: Array, place: tuple[int, int], out: tuple[int, int], stride: int) -> Array:
    """Return the values that all windows see at one of their places.

    Args:
      images: (batch, height, width, channels).
      place: row and column in a window.
      out: windows down and across.
      stride: from one window to the next.

    Returns:
      (batch, *out, channels).
    """
    stops = [at + (count - 1) * stride + 1 for at, count in zip(place, out, strict=True)]
    shape = images.shape
    return lax.slice(images, (0, *place, 0), (shape[0], *stops, shape[3]), (1, stride, stride, 1))


def put_back(values: Array, place: tuple[int, int], size: tuple[int, int], stride: int) -> Array:
    """Put (batch, *out, channels) back to where `see` took them from, in images of `size`, among zeros."""
    spaces = [
        (at, length - at - (count - 1) * stride - 1, stride - 1)
        for at, length, count in zip(place, size, values.shape[1:3], strict=True)
    ]
    return lax.pad(values, jnp.zeros((), values.dtype), ((0, 0, 0), *spaces, (0, 0, 0)))
