"""The grids on which weights and residuals live, and what happens at their edges.

A weight is float32 on the grid 2^-20, at most 2^24 - 1 units from zero (|theta| < 16), so float32 holds it
exactly. An update is a whole number of units: the sum of all peers' updates is applied at once and then
clipped to the edge, so neither order nor repetition of an index matters. A residual is int32 in units of
2^-26 of a weight (|residual| < 32) and is clipped to +-(2^31 - 1) when a gradient enters it; taking tau
out only moves it towards zero.

Bounds: at most 2^16 maps of tau <= 2^14 units move a weight by 2^30 units, below 2^31 with the weight itself.

Source: PoUW Algorithm 1; PROTOCOL section 7.
"""

from typing import Final

import jax.numpy as jnp
from jax import Array

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


def move(weights: Array, counts: Array, tau_bits: int) -> Array:
    """Return weights - counts * tau, clipped to the edge of the grid.

    Args:
      weights: float32 on the grid.
      counts: int32 of the same shape, |count| <= 2^16: how many updates of +tau, less those of -tau.
      tau_bits: tau = 2^-tau_bits, 6 to 20.
    """
    units = (weights * jnp.float32(_WEIGHT_SCALE)).astype(jnp.int32)
    moved = units - counts.astype(jnp.int32) * jnp.int32(1 << (WEIGHT_BITS - tau_bits))
    clipped = jnp.clip(moved, -WEIGHT_UNITS_MAX, WEIGHT_UNITS_MAX)
    result: Array = clipped.astype(jnp.float32) * jnp.float32(1 / _WEIGHT_SCALE)
    return result


def accumulate(residual: Array, contribution: Array) -> Array:
    """Return residual + contribution (int32 and int64, in units), clipped to the edge."""
    total = residual.astype(jnp.int64) + contribution
    return jnp.clip(total, -RESIDUAL_UNITS_MAX, RESIDUAL_UNITS_MAX).astype(jnp.int32)


def emit(residual: Array, tau_bits: int) -> tuple[Array, Array]:
    """Take one tau from every residual beyond +-tau.

    Returns:
      The residual that is left, int32, and the signs that were emitted, int8 in {-1, 0, 1}.
    """
    tau = jnp.int32(1 << (RESIDUAL_BITS - tau_bits))
    signs = (residual > tau).astype(jnp.int32) - (residual < -tau).astype(jnp.int32)
    return residual - signs * tau, signs.astype(jnp.int8)
