"""Initial weights from a seed, in integers, and everything else that training begins with.

Each kernel is read from SHAKE-256(seed || layer index, u32 little-endian || "kernel"): uniform weights from
one u32 word each, normal ones from the sum of twelve u16 words. Biases are zero, scales one, running means
zero and variances one; residuals and optimiser states are zero.

Source: Glorot and Bengio 2010; He et al. 2015; docs/EXACT.md, "Initial state".
"""

from hashlib import shake_256
from typing import Any, Final

import numpy as np

from p2pai.chain.layers import Part, Weights
from p2pai.chain.training import Distribution, Initialiser, Optimiser, spread_units
from p2pai.jaxtrain.exact.grid import WEIGHT_BITS, WEIGHT_UNITS_MAX
from p2pai.jaxtrain.exact.normalise import STATISTIC_BITS
from p2pai.jaxtrain.model import Architecture, HostLeaves
from p2pai.jaxtrain.optimiser import slots
from p2pai.primitives.ids import Hash32

NORMAL_WORDS: Final = 12
"""Uniform 16-bit words whose sum is a normal number: their variance is 12 * 2^32 / 12."""

_NORMAL_MEAN: Final = NORMAL_WORDS * 65535 // 2

Units = np.ndarray[Any, np.dtype[np.int64]]


def initial_weights(architecture: Architecture, initialiser: Initialiser, seed: Hash32) -> HostLeaves:
    """Return float32 leaves on the grid."""
    units = (_units(tensor, initialiser, seed) for tensor in architecture.weights)
    return tuple(
        np.ldexp(drawn.astype(np.float32), -WEIGHT_BITS).reshape(shape)
        for drawn, shape in zip(units, architecture.shapes, strict=True)
    )


def initial_statistics(architecture: Architecture) -> HostLeaves:
    """Return running means of 0 and variances of 1, int64."""
    return tuple(
        np.full(shape, (i % 2) << STATISTIC_BITS, np.int64) for i, shape in enumerate(architecture.statistics)
    )


def initial_residual(architecture: Architecture) -> HostLeaves:
    """Return int32 leaves of zeros."""
    return tuple(np.zeros(shape, np.int32) for shape in architecture.shapes)


def initial_optimiser(architecture: Architecture, optimiser: Optimiser) -> tuple[HostLeaves, ...]:
    """Return leaves of zeros for each slot of an optimiser's state."""
    return tuple(tuple(np.zeros(shape, d) for shape in architecture.shapes) for d in slots(optimiser))


def _units(tensor: Weights, initialiser: Initialiser, seed: Hash32) -> Units:
    """Return a tensor's weights in units of the grid, flat."""
    count = int(np.prod(tensor.shape))
    if tensor.part is not Part.KERNEL:
        return np.full(count, (1 << WEIGHT_BITS) if tensor.part is Part.SCALE else 0, np.int64)
    spread = spread_units(initialiser, tensor.fan_in, tensor.fan_out, WEIGHT_BITS)
    stream = shake_256(seed + tensor.layer.to_bytes(4, "little") + b"kernel")
    if initialiser.distribution is Distribution.UNIFORM:
        words = np.frombuffer(stream.digest(4 * count), "<u4").astype(np.uint64)
        return (words * np.uint64(2 * spread + 1) >> np.uint64(32)).astype(np.int64) - spread
    words = np.frombuffer(stream.digest(2 * NORMAL_WORDS * count), "<u2").reshape(count, NORMAL_WORDS)
    z = words.sum(axis=1, dtype=np.int64) - _NORMAL_MEAN
    units: Units = np.clip((z * spread + (1 << 15)) >> 16, -WEIGHT_UNITS_MAX, WEIGHT_UNITS_MAX)
    return units
