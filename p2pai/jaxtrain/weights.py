"""Weights and residuals as bytes: canonical for hashing and replay, safetensors for delivery.

Canonical bytes are the leaves in canonical order, little-endian, C order, without any header: the task says
all that a header could.

Source: PROTOCOL section 7.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from p2pai.jaxtrain.exact.grid import RESIDUAL_UNITS_MAX, WEIGHT_BITS, WEIGHT_UNITS_MAX
from p2pai.jaxtrain.model import Architecture, HostLeaves
from p2pai.primitives.errors import InvalidMessage


def pack(leaves: Sequence[Any]) -> bytes:
    """Return the canonical bytes of float32 or int32 leaves."""
    arrays = (np.asarray(leaf) for leaf in leaves)
    return b"".join(a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes() for a in arrays)


def unpack_weights(data: bytes, architecture: Architecture) -> HostLeaves:
    """Read float32 leaves.

    Raises:
      InvalidMessage: wrong size, or a value that is not on the weight grid.
    """
    flat = _flat(data, "<f4", architecture, "weights")
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.ldexp(flat, WEIGHT_BITS)
        on_grid = (np.abs(units) <= WEIGHT_UNITS_MAX) & (units == np.rint(units))
    negative_zero = (flat == 0) & np.signbit(flat)
    if not np.all(on_grid) or np.any(negative_zero):
        raise InvalidMessage("weights: a value is not on the grid")
    return architecture.split(flat.astype(np.float32, copy=False))


def unpack_residual(data: bytes, architecture: Architecture) -> HostLeaves:
    """Read int32 leaves.

    Raises:
      InvalidMessage: wrong size, or the one value that no residual takes.
    """
    flat = _flat(data, "<i4", architecture, "residual")
    if np.any(flat < -RESIDUAL_UNITS_MAX):
        raise InvalidMessage("residual: a value is beyond the grid")
    return architecture.split(flat.astype(np.int32, copy=False))


def export_safetensors(leaves: HostLeaves, architecture: Architecture) -> bytes:
    """Return a safetensors file with one tensor per leaf, named such as "layer0/kernel".

    A kernel's shape is (inputs, units). The same weights give the same bytes: the library writes several
    entries of metadata in any order, so there is one.
    """
    tensors = dict(zip(architecture.names, (np.ascontiguousarray(x) for x in leaves), strict=True))
    file: bytes = save(tensors, metadata={"format": "np"})
    return file


def _flat(data: bytes, dtype: str, architecture: Architecture, what: str) -> np.ndarray[Any, Any]:
    if len(data) != 4 * architecture.weight_count:
        raise InvalidMessage(f"{what}: {len(data)} bytes, expected {4 * architecture.weight_count}")
    return np.frombuffer(data, dtype)
