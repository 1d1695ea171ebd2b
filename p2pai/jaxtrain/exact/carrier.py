"""Which arithmetic carries the integers of a matrix product.

The integers are the same whichever is used, so a machine may take its fastest: int8 limbs into int32, the
same limbs in float32, or whole mantissas in float64. A carrier is used only after it has answered a known
question right on this machine; where int8 or float32 fail, float64 takes over.

Bounds: limbs are in [-64, 64] and K is cut into pieces of at most 2048, so every partial sum of a limb
product is at most 2^12 * 2^11 = 2^23, exact in int32, float32 and even a 24-bit accumulator. Whole
mantissas are at most 2^13, so a float64 sum stays below 2^26 * 2^20 = 2^46.

Source: PROTOCOL section 7.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Final, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Carrier = Literal["int8", "float32", "float64"]
Dimensions = tuple[tuple[int], tuple[int]]
"""The contracted axis of the left and of the right operand."""

PIECE: Final = {"int8": 2048, "float32": 2048, "float64": 1 << 20}
"""Longest K summed in one go."""

WORK_MIN: Final = 1 << 23
"""Multiplications from which an accelerator multiplies int8 limbs; smaller products are not worth a split."""

_forced: ContextVar[Carrier | None] = ContextVar("forced", default=None)


def choose(work: int, platform: str) -> Carrier:
    """Pick the carrier for a product of `work` multiplications.

    A CPU takes float64: measured on 2 AVX-512 cores, an iteration of a 670,000-weight network takes 8 ms with
    it and 13 ms with the limbs. Accelerators have many times more int8 than float64 arithmetic.

    Args:
      work: rows * K * columns.
      platform: JAX's name of the backend: "cpu", "gpu", ...

    Raises:
      AssertionError: not even float64 products are right on this machine.
    """
    forced = _forced.get()
    if forced is not None:
        return forced
    if platform != "cpu" and work >= WORK_MIN and trusted("int8"):
        return "int8"
    assert trusted("float64"), "this machine multiplies wrongly; it cannot train"
    return "float64"


@contextmanager
def using(carrier: Carrier) -> Iterator[None]:
    """Make every product traced inside use one carrier."""
    token = _forced.set(carrier)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def trusted(carrier: Carrier) -> bool:
    """Whether the carrier gives the known answers here: extremes, odd lengths, and pieces."""
    return all(_answers(carrier, *shape) for shape in ((3, 12, 5), (33, 257, 10), (2, 4099, 4)))


def multiply(left: Array, right: Array, dimensions: Dimensions, carrier: Carrier) -> Array:
    """Return the exact product of two integer matrices, float64-carried, (rows, columns).

    Args:
      left: int32, |m| <= 2^13.
      right: int32, |m| <= 2^13.
      dimensions: the contracted axis of each, of one length K <= 2^20.
      carrier: what to compute with.
    """
    length = left.shape[dimensions[0][0]]
    step = PIECE[carrier]
    pieces = [
        _piece(left, right, dimensions, carrier, i, min(i + step, length)) for i in range(0, length, step)
    ]
    return sum(pieces[1:], start=pieces[0])


def _piece(
    left: Array, right: Array, dimensions: Dimensions, carrier: Carrier, start: int, stop: int
) -> Array:
    a = lax.slice_in_dim(left, start, stop, axis=dimensions[0][0])
    b = lax.slice_in_dim(right, start, stop, axis=dimensions[1][0])
    if carrier == "float64":
        return _contract(a.astype(jnp.float64), b.astype(jnp.float64), dimensions)
    high_a, low_a = _limbs(a, carrier)
    high_b, low_b = _limbs(b, carrier)
    high = _contract(high_a, high_b, dimensions)
    middle = _contract(high_a, low_b, dimensions) + _contract(low_a, high_b, dimensions)
    return high * 16384.0 + middle * 128.0 + _contract(low_a, low_b, dimensions)


def _limbs(m: Array, carrier: Carrier) -> tuple[Array, Array]:
    """Split m = 128 * high + low, low in [-64, 63]; |m| <= 2^13 gives high in [-64, 64]."""
    low = ((m + 64) & 127) - 64
    dtype = jnp.int8 if carrier == "int8" else jnp.float32
    return ((m - low) >> 7).astype(dtype), low.astype(dtype)


def _contract(a: Array, b: Array, dimensions: Dimensions) -> Array:
    wide = jnp.int32 if a.dtype == jnp.int8 else a.dtype
    product = lax.dot_general(a, b, (dimensions, ((), ())), precision="highest", preferred_element_type=wide)
    return product.astype(jnp.float64)


def _answers(carrier: Carrier, rows: int, length: int, columns: int) -> bool:
    grid = np.arange(max(rows, columns) * length, dtype=np.int64)
    values = (grid * 40_503 % 16_385 - 8_192).astype(np.int32)
    values[::7] = 8_192
    values[1::7] = -8_192
    left = values[: rows * length].reshape(rows, length)
    right = values[::-1][: length * columns].reshape(length, columns)
    expected = left.astype(np.int64) @ right.astype(np.int64)
    with jax.ensure_compile_time_eval():
        product = jax.jit(multiply, static_argnums=(2, 3))(left, right, ((1,), (0,)), carrier)
        return np.array_equal(np.asarray(product).astype(np.int64), expected)
