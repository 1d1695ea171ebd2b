"""Initial weights from a seed, in integers: Glorot uniform on the weight grid, biases zero.

Each kernel is read from SHAKE-256(seed || layer index, u32 little-endian || "kernel") as little-endian u32
words; a word u gives the weight (u * (2L + 1) >> 32) - L in units, L = isqrt(6 * 2^40 / (inputs + units)).
L < 2^21, so the product fits 64 bits and no value is likelier than another by more than one part in 2^10.

Source: Glorot and Bengio 2010, equation 16; PROTOCOL section 7.
"""

from hashlib import shake_256
from math import isqrt

import numpy as np

from p2pai.jaxtrain.exact.grid import WEIGHT_BITS
from p2pai.jaxtrain.model import Architecture, HostLeaves
from p2pai.primitives.ids import Hash32


def initial_weights(architecture: Architecture, seed: Hash32) -> HostLeaves:
    """Return float32 leaves on the grid."""
    return tuple(
        np.zeros(shape, np.float32) if len(shape) == 1 else _kernel(shape[0], shape[1], seed, i // 2)
        for i, shape in enumerate(architecture.shapes)
    )


def initial_residual(architecture: Architecture) -> HostLeaves:
    """Return int32 leaves of zeros."""
    return tuple(np.zeros(shape, np.int32) for shape in architecture.shapes)


def _kernel(
    inputs: int, units: int, seed: Hash32, layer: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    limit = isqrt((6 << (2 * WEIGHT_BITS)) // (inputs + units))
    stream = shake_256(seed + layer.to_bytes(4, "little") + b"kernel").digest(4 * inputs * units)
    words = np.frombuffer(stream, "<u4").astype(np.uint64)
    drawn = (words * np.uint64(2 * limit + 1) >> np.uint64(32)).astype(np.int64) - limit
    return np.ldexp(drawn.astype(np.float32), -WEIGHT_BITS).reshape(inputs, units)
