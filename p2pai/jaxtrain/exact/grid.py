"""The grids on which weights and residuals live, and what happens at their edges.

A weight is float32 on the grid 2^-20, at most 2^24 - 1 units from zero (|theta| < 16), so float32 holds it
exactly. An update is a whole number of units: the sum of all peers' updates is applied at once and then
clipped to the edge, so neither order nor repetition of an index matters. A residual is int32 in units of
2^-26 of a weight (|residual| < 32) and is clipped to +-(2^31 - 1) when a gradient enters it; taking tau
out only moves it towards zero.

Bounds: at most 2^16 maps of tau <= 2^14 units move a weight by 2^30 units, below 2^31 with the weight itself.

Source: PoUW Algorithm 1; PROTOCOL section 7; docs/EXACT.md, "One iteration".
"""

from collections.abc import Sequence
from typing import Final

import jax.numpy as jnp
from jax import Array, lax

WEIGHT_BITS: Final = 20
"""A weight's grid is 2^-20."""

WEIGHT_UNITS_MAX: Final = (1 << 24) - 1
"""Largest weight in units, either sign."""

RESIDUAL_BITS: Final = 26
"""A residual's grid is 2^-26 of a weight: tau = 2^-18 is still 256 units."""

RESIDUAL_UNITS_MAX: Final = (1 << 31) - 1
"""Largest residual in units, either sign."""

MAP_COUNT_MAX: Final = 1 << 16
"""Message maps applied in one iteration."""

_WEIGHT_SCALE: Final = 2.0**WEIGHT_BITS


def move(weights: Array, units: Array) -> Array:
    """Return weights - units, clipped to the edge of the grid.

    Args:
      weights: float32 on the grid.
      units: int32 of the same shape, at most 2^30 either way.
    """
    moved = (weights * jnp.float32(_WEIGHT_SCALE)).astype(jnp.int32) - units
    clipped = jnp.clip(moved, -WEIGHT_UNITS_MAX, WEIGHT_UNITS_MAX)
    result: Array = clipped.astype(jnp.float32) * jnp.float32(1 / _WEIGHT_SCALE)
    return result


def shift_of(signs: Array, tau_bits: Array | int) -> Array:
    """Return what signs of updates subtract from weights, int32 units; tau = 2^-tau_bits."""
    return signs.astype(jnp.int32) << (WEIGHT_BITS - jnp.asarray(tau_bits, jnp.int32))


def accumulate(residual: Array, contribution: Array) -> Array:
    """Return residual + contribution (int32, in units, |contribution| < 2^31), clipped to the edge."""
    total = residual + contribution
    # Two addends of one sign overflow to the other sign.
    wrapped = ((residual ^ total) & (contribution ^ total)) < 0
    edge = jnp.where(residual < 0, -RESIDUAL_UNITS_MAX, RESIDUAL_UNITS_MAX)
    return jnp.maximum(jnp.where(wrapped, edge, total), -RESIDUAL_UNITS_MAX)


def emit(
    residuals: Sequence[Array], tau_bits: Array | int, elements_max: int | None
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Take one tau from every residual beyond +-tau * 2^i, with the smallest i that emits few enough.

    Args:
      residuals: int32 leaves.
      tau_bits: tau = 2^-tau_bits.
      elements_max: most elements that may be emitted from all leaves; None where any number fits.

    Returns:
      The residuals that are left, int32, and the signs that were emitted, int8 in {-1, 0, 1}.
    """
    shift = RESIDUAL_BITS - jnp.asarray(tau_bits, jnp.int32)
    levels = tuple(_level(r, shift) for r in residuals)
    i = jnp.int8(0) if elements_max is None else _doublings(levels, elements_max)
    signs = tuple((level > i).astype(jnp.int8) - (level < -i).astype(jnp.int8) for level in levels)
    left = tuple(r - (s.astype(jnp.int32) << shift) for r, s in zip(residuals, signs, strict=True))
    return left, signs


def _level(residual: Array, shift: Array) -> Array:
    """Return how many of 2^shift, 2^(shift + 1), ... a residual is beyond, with the residual's sign, int8.

    |r| > 2^(shift + i) where (|r| - 1) >> shift is at least 2^i, so has more than i bits: at most 31.
    """
    whole = jnp.maximum(jnp.abs(residual) - 1, 0) >> shift
    bits = 32 - lax.clz(whole)
    return jnp.where(residual < 0, -bits, bits).astype(jnp.int8)


def _doublings(levels: Sequence[Array], elements_max: int) -> Array:
    """Return the smallest i for which few enough levels are beyond +-i, int8; none is beyond +-31."""

    def emitted(i: Array) -> Array:
        counts = [_count((jnp.abs(level) > i).astype(jnp.int8)) for level in levels]
        return sum(counts[1:], start=counts[0])

    result: Array = lax.while_loop(
        lambda i: emitted(i) > elements_max, lambda i: i + jnp.int8(1), jnp.int8(0)
    )
    return result


def _count(flags: Array) -> Array:
    """Add up int8 zeros and ones, as int32: first 64 at a time, side by side, in bytes."""
    columns = jnp.pad(flags.reshape(-1), (0, -flags.size % 64)).reshape(64, -1)
    return jnp.sum(jnp.sum(columns, axis=0, dtype=jnp.int8), dtype=jnp.int32)
