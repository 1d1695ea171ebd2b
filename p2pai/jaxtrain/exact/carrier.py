"""Which arithmetic carries the integers of a matrix product.

The integers are the same whichever is used, so a machine may take its fastest: bfloat16 into float32, float32
or float64. Mantissas of 13 bits are split in two limbs for all but float64; those of 7 bits
are one limb. A carrier is used only after it has answered known questions right on this machine; where it
fails, float64 takes over.

Bounds: limbs of 13 bits are in [-64, 64] and K is cut into pieces of at most 2048, so every partial sum of a
limb product is at most 2^12 * 2^11 = 2^23, exact in float32 and even a 24-bit accumulator. Mantissas
of 7 bits are in [-127, 127], pieces at most 1024 long: below 2^24, so one piece's product is a float32
number. Whole mantissas of 13 bits are at most 2^13, so a float64 sum stays below 2^26 * 2^26 = 2^52.

bfloat16 holds all integers up to 2^8. Its product of two 13-bit operands takes three products of limbs, not
four (Karatsuba and Ofman 1962): a sum of two limbs is in [-128, 127], so with pieces of 1024 its partial sums
are at most 2^14 * 2^10 = 2^24, exact in float32; the other two are at most 2^22. The middle part, which is
the first less the others, is at most 2^23, and half subtracted 3 * 2^22.

Source: PROTOCOL section 7; docs/EXACT.md, "Bounds".
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from p2pai.jaxtrain.exact.quantise import BYTE_BITS
from p2pai.jaxtrain.platform import instructions

Carrier = Literal["bfloat16", "float32", "float64"]
Dimensions = tuple[tuple[int], tuple[int]]
"""The contracted axis of the left and of the right operand."""

WORK_MIN: Final = 1 << 23
"""Multiplications from which 13-bit mantissas are multiplied in limbs."""

_LIMB_PIECE: Final = 2048
_BYTE_PIECE: Final = 1024

_BFLOAT16_INSTRUCTIONS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""Instructions of processors that multiply bfloat16 at least twice as fast as float32."""

_forced: ContextVar[Carrier | None] = ContextVar("forced", default=None)


def choose(work: int, platform: str, bits: int) -> Carrier:
    """Pick the carrier for a product of `work` multiplications.

    Accelerators take bfloat16, and so does a CPU that has instructions for it. If not: float32 for 7 bits, a
    plain float32 product, and float64 for 13.

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
    is_whole = bits == BYTE_BITS
    if not is_whole and work < WORK_MIN:
        return "float64"
    if platform != "cpu" or instructions() & _BFLOAT16_INSTRUCTIONS:
        return "bfloat16"
    return "float32" if is_whole else "float64"


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
    """Whether the carrier gives the known answers here: extremes, odd lengths, pieces, either axis."""
    shapes = ((3, 12, 5), (33, 257, 10), (2, 4099, 4))
    sides: tuple[Dimensions, ...] = (((1,), (0,)), ((1,), (1,)), ((0,), (0,)))
    try:
        return all(_answers(carrier, bits, shape, axes) for shape in shapes for axes in sides)
    except (RuntimeError, AttributeError):  # this version of JAX doesn't know it
        return False


def multiply(left: Array, right: Array, dimensions: Dimensions, carrier: Carrier, bits: int) -> Array:
    """Return the exact product of two matrices of mantissas, (rows, columns).

    Args:
      left: integers of so many bits, carried by any type.
      right: the same.
      dimensions: the contracted axis of each, of one length K <= 2^26.
      carrier: what to compute with.
      bits: 7 or 13.

    Returns:
      Integers carried by float32, if they are less than 2^24 for sure, else by float64.
    """
    length = left.shape[dimensions[0][0]]
    step = length if carrier == "float64" else _piece_length(carrier, bits)
    starts = range(0, length, step)
    pieces = [_piece(left, right, dimensions, carrier, bits, i, min(i + step, length)) for i in starts]
    if len(pieces) == 1:
        return pieces[0]
    return sum((piece.astype(jnp.float64) for piece in pieces[1:]), start=pieces[0].astype(jnp.float64))


def _piece_length(carrier: Carrier, bits: int) -> int:
    return _BYTE_PIECE if bits == BYTE_BITS or carrier == "bfloat16" else _LIMB_PIECE


def _piece(
    left: Array, right: Array, dimensions: Dimensions, carrier: Carrier, bits: int, start: int, stop: int
) -> Array:
    a = lax.slice_in_dim(left, start, stop, axis=dimensions[0][0])
    b = lax.slice_in_dim(right, start, stop, axis=dimensions[1][0])
    if carrier == "float64":
        return _contract(a.astype(jnp.float64), b.astype(jnp.float64), dimensions)
    dtype = jnp.dtype(carrier)
    if bits == BYTE_BITS:
        return _contract(a.astype(dtype), b.astype(dtype), dimensions).astype(jnp.float32)
    if carrier == "bfloat16":
        return _three_products(a, b, dimensions)
    high_a, low_a = (limb.astype(dtype) for limb in _limbs(a))
    high_b, low_b = (limb.astype(dtype) for limb in _limbs(b))
    high, low = (_contract(x, y, dimensions) for x, y in ((high_a, high_b), (low_a, low_b)))
    middle = _contract(high_a, low_b, dimensions) + _contract(low_a, high_b, dimensions)
    return _recombine(high, middle, low)


def _three_products(a: Array, b: Array, dimensions: Dimensions) -> Array:
    """Return a @ b of 13-bit mantissas from products of bfloat16 limbs."""
    (high_a, low_a), (high_b, low_b) = _limbs(a), _limbs(b)
    factors = ((high_a, high_b), (high_a + low_a, high_b + low_b), (low_a, low_b))
    high, whole, low = (
        _contract(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16), dimensions) for x, y in factors
    )
    return _recombine(high, (whole - high) - low, low)


def _recombine(high: Array, middle: Array, low: Array) -> Array:
    wide = (part.astype(jnp.float64) for part in (high, middle, low))
    return next(wide) * 16384.0 + next(wide) * 128.0 + next(wide)


def _limbs(mantissa: Array) -> tuple[Array, Array]:
    """Split m = 128 * high + low, low in [-64, 63]; |m| <= 2^13 gives high in [-64, 64]. In float32."""
    m = mantissa.astype(jnp.float32)
    high = jnp.floor(m * jnp.float32(1 / 128) + jnp.float32(0.5))
    return high, m - high * jnp.float32(128)


def _contract(a: Array, b: Array, dimensions: Dimensions) -> Array:
    if a.dtype == jnp.bfloat16:
        return _contract_bfloat16(a, b, dimensions)
    return lax.dot_general(a, b, (dimensions, ((), ())), precision="highest", preferred_element_type=a.dtype)


def _contract_bfloat16(a: Array, b: Array, dimensions: Dimensions) -> Array:
    """Multiply so that a CPU's own instructions are used: the left side's contracted axis is its last one.

    Both operands are laid out as they are written, or the compiler turns a transposed one around to read it
    in place, and has no code for that.
    """
    if dimensions[0] == (0,):
        a, dimensions = a.T, ((1,), dimensions[1])
    a, b = _lay_out(a), _lay_out(b)
    return lax.dot_general(a, b, (dimensions, ((), ())), preferred_element_type=jnp.float32)


def _lay_out(matrix: Array) -> Array:
    """Ask the compiler to keep a matrix row by row in memory."""
    layout: Any = importlib.import_module("jax.experimental.layout")  # older versions have other names
    laid: Array = layout.with_layout_constraint(matrix, layout.Layout(major_to_minor=(0, 1)))
    return laid


def _answers(carrier: Carrier, bits: int, shape: tuple[int, int, int], dimensions: Dimensions) -> bool:
    rows, length, columns = shape
    most = 127 if bits == BYTE_BITS else 1 << bits
    grid = np.arange(max(rows, columns) * length, dtype=np.int64)
    values = (grid * 40_503 % (2 * most + 1) - most).astype(np.int32)
    values[::7] = most
    values[1::7] = -most
    left = values[: rows * length].reshape(rows, length)
    right = values[::-1][: length * columns].reshape(length, columns)
    expected = left.astype(np.int64) @ right.astype(np.int64)
    operands = (left.T if dimensions[0] == (0,) else left, right.T if dimensions[1] == (1,) else right)
    with jax.ensure_compile_time_eval():
        product = jax.jit(multiply, static_argnums=(2, 3, 4))(*operands, dimensions, carrier, bits)
        return np.array_equal(np.asarray(product).astype(np.int64), expected)
