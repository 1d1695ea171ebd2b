"""Which arithmetic carries the integers of a matrix product.

The integers are the same whichever is used, so a machine may take its fastest: int8 into int32, float32 or
float64. Mantissas of 13 bits are split in two limbs for int8 and float32; those of 7 bits are one limb. A
carrier is used only after it has answered known questions right on this machine; where int8 or float32 fail,
float64 takes over.

Bounds: limbs of 13 bits are in [-64, 64] and K is cut into pieces of at most 2048, so every partial sum of a
limb product is at most 2^12 * 2^11 = 2^23, exact in int32, float32 and even a 24-bit accumulator. Mantissas
of 7 bits are in [-127, 127], pieces at most 1024 long: below 2^24. Whole mantissas of 13 bits are at most
2^13, so a float64 sum stays below 2^26 * 2^26 = 2^52.

Source: PROTOCOL section 7; docs/EXACT.md, "Bounds".
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

from p2pai.jaxtrain.exact.quantise import BYTE_BITS

Carrier = Literal["int8", "float32", "float64"]
Dimensions = tuple[tuple[int], tuple[int]]
"""The contracted axis of the left and of the right operand."""

WORK_MIN: Final = 1 << 23
"""Multiplications from which an accelerator multiplies 13-bit mantissas in int8 limbs."""

_LIMB_PIECE: Final = 2048
_BYTE_PIECE: Final = 1024

_forced: ContextVar[Carrier | None] = ContextVar("forced", default=None)


def choose(work: int, platform: str, bits: int) -> Carrier:
    """Pick the carrier for a product of `work` multiplications.

    A CPU takes float32 for 7 bits, a plain float32 product, and float64 for 13. Accelerators have many
    times more int8 than float64 arithmetic.

    Args:
      work: rows * K * columns.
      platform: JAX's name of the backend: "cpu", "gpu", ...
      bits: of the mantissas.

    Raises:
      AssertionError: not even float64 products are right on this machine.
    """
    forced = _forced.get()
    if forced is not None:
        return forced
    wanted = _fastest(work, platform, bits)
    if trusted(wanted, bits):
        return wanted
    assert trusted("float64", bits), "this machine multiplies wrongly; it cannot train"
    return "float64"


def _fastest(work: int, platform: str, bits: int) -> Carrier:
    if platform == "cpu":
        return "float32" if bits == BYTE_BITS else "float64"
    return "int8" if bits == BYTE_BITS or work >= WORK_MIN else "float64"


@contextmanager
def using(carrier: Carrier) -> Iterator[None]:
    """Make every product traced inside use one carrier."""
    token = _forced.set(carrier)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def trusted(carrier: Carrier, bits: int) -> bool:
    """Whether the carrier gives the known answers here: extremes, odd lengths, and pieces."""
    return all(_answers(carrier, bits, *shape) for shape in ((3, 12, 5), (33, 257, 10), (2, 4099, 4)))


def multiply(left: Array, right: Array, dimensions: Dimensions, carrier: Carrier, bits: int) -> Array:
    """Return the exact product of two matrices of mantissas, float64-carried, (rows, columns).

    Args:
      left: integers of so many bits, carried by any type.
      right: the same.
      dimensions: the contracted axis of each, of one length K <= 2^26.
      carrier: what to compute with.
      bits: 7 or 13.
    """
    length = left.shape[dimensions[0][0]]
    step = length if carrier == "float64" else _BYTE_PIECE if bits == BYTE_BITS else _LIMB_PIECE
    starts = range(0, length, step)
    pieces = [_piece(left, right, dimensions, carrier, bits, i, min(i + step, length)) for i in starts]
    return sum(pieces[1:], start=pieces[0])


def _piece(
    left: Array, right: Array, dimensions: Dimensions, carrier: Carrier, bits: int, start: int, stop: int
) -> Array:
    a = lax.slice_in_dim(left, start, stop, axis=dimensions[0][0])
    b = lax.slice_in_dim(right, start, stop, axis=dimensions[1][0])
    if carrier == "float64" or bits == BYTE_BITS:
        dtype = jnp.dtype(carrier)
        return _contract(a.astype(dtype), b.astype(dtype), dimensions)
    high_a, low_a = _limbs(a, carrier)
    high_b, low_b = _limbs(b, carrier)
    high = _contract(high_a, high_b, dimensions)
    middle = _contract(high_a, low_b, dimensions) + _contract(low_a, high_b, dimensions)
    return high * 16384.0 + middle * 128.0 + _contract(low_a, low_b, dimensions)


def _limbs(mantissa: Array, carrier: Carrier) -> tuple[Array, Array]:
    """Split m = 128 * high + low, low in [-64, 63]; |m| <= 2^13 gives high in [-64, 64]."""
    m = mantissa.astype(jnp.int32)
    low = ((m + 64) & 127) - 64
    return ((m - low) >> 7).astype(jnp.dtype(carrier)), low.astype(jnp.dtype(carrier))


def _contract(a: Array, b: Array, dimensions: Dimensions) -> Array:
    wide = jnp.int32 if a.dtype == jnp.int8 else a.dtype
    product = lax.dot_general(a, b, (dimensions, ((), ())), precision="highest", preferred_element_type=wide)
    return product.astype(jnp.float64)


def _answers(carrier: Carrier, bits: int, rows: int, length: int, columns: int) -> bool:
    most = 127 if bits == BYTE_BITS else 1 << bits
    grid = np.arange(max(rows, columns) * length, dtype=np.int64)
    values = (grid * 40_503 % (2 * most + 1) - most).astype(np.int32)
    values[::7] = most
    values[1::7] = -most
    left = values[: rows * length].reshape(rows, length)
    right = values[::-1][: length * columns].reshape(length, columns)
    expected = left.astype(np.int64) @ right.astype(np.int64)
    with jax.ensure_compile_time_eval():
        product = jax.jit(multiply, static_argnums=(2, 3, 4))(left, right, ((1,), (0,)), carrier, bits)
        return np.array_equal(np.asarray(product).astype(np.int64), expected)
