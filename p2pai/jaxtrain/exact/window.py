"""Windows that slide along an axis: what all of them see at one place, and the way back.

Source: docs/EXACT.md, "Convolution" and "Max pooling".
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax


def window_count(length: int, side: int, stride: int) -> int:
    """Return how many windows of a side fit in a length."""
    return (length - side) // stride + 1


def see(x: Array, axis: int, side: int, stride: int) -> list[Array]:
    """Return, for each place of a window, what all windows along an axis have there."""
    reach = (window_count(x.shape[axis], side, stride) - 1) * stride + 1
    return [lax.slice_in_dim(x, place, place + reach, stride, axis) for place in range(side)]


def put_back(seen: Sequence[Array], axis: int, length: int, stride: int) -> Array:
    """Put what `see` took from an axis of so many values back, and add up what meets there.

    Nothing meets, and nothing is added, where the stride is at least a window's side.
    """
    if stride >= len(seen):
        return _interleave(seen, axis, length, stride)
    total = jnp.zeros((), seen[0].dtype)
    for place, part in enumerate(seen):
        reach = (part.shape[axis] - 1) * stride + 1
        total = total + _pad(part, axis, (place, length - place - reach, stride - 1))
    return total


def _interleave(seen: Sequence[Array], axis: int, length: int, stride: int) -> Array:
    windows = _pad(jnp.stack(seen, axis + 1), axis + 1, (0, stride - len(seen), 0))
    shape = seen[0].shape
    line = windows.reshape(*shape[:axis], shape[axis] * stride, *shape[axis + 1 :])
    return _pad(line, axis, (0, length - line.shape[axis], 0))


def _pad(x: Array, axis: int, zeros: tuple[int, int, int]) -> Array:
    """Put zeros before, behind (or cut off), and between the values of an axis."""
    spaces = [(0, 0, 0)] * x.ndim
    spaces[axis] = zeros
    return lax.pad(x, jnp.zeros((), x.dtype), spaces)
