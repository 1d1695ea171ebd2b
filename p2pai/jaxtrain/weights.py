"""Models, residuals and optimiser states as bytes: canonical to hash and replay, safetensors to deliver.

Canonical bytes are arrays one after another in canonical order, little-endian, C order, without any header:
the task says all that a header could. A model is its weights, then its running statistics.

Source: PROTOCOL section 7; docs/EXACT.md.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from p2pai.chain.training import Adam, Momentum, Optimiser, RmsProp
from p2pai.jaxtrain import optimiser as optimisers
from p2pai.jaxtrain.exact.grid import RESIDUAL_UNITS_MAX, WEIGHT_BITS, WEIGHT_UNITS_MAX
from p2pai.jaxtrain.hashing import view
from p2pai.jaxtrain.model import Architecture, HostLeaves
from p2pai.primitives.errors import InvalidMessage

STATISTIC_BITS: Final = 24
STATISTIC_UNITS_MAX: Final = 1 << 45

Flat = np.ndarray[Any, Any]

_ALIGNMENT: Final = 64

_BLOCK: Final = 1 << 16
"""Weights that are checked at a time: as many as a processor's cache holds several times over."""

_INT32_MAX: Final = (1 << 31) - 1
_LIMITS: Final[dict[type, tuple[tuple[int, int], ...]]] = {
    Momentum: ((-_INT32_MAX, _INT32_MAX),),
    RmsProp: ((0, 1 << 60),),
    Adam: ((-(1 << 30), 1 << 30), (0, 1 << 60)),
}
"""Least and greatest value of each slot of an optimiser's state."""


def pack(arrays: Sequence[Any]) -> bytes:
    """Return the canonical bytes of arrays in canonical order."""
    return b"".join(view(array) for array in arrays)


def unpack_model(data: bytes, architecture: Architecture) -> tuple[HostLeaves, HostLeaves]:
    """Read weights (float32 leaves) and running statistics (int64).

    Raises:
      InvalidMessage: wrong size, a weight that is not on its grid, or a statistic that is out of range.
    """
    size = 4 * architecture.weight_count
    counts = [prod(shape) for shape in architecture.statistics]
    _require_size(data, size + 8 * sum(counts), "model")
    flat = _take(data, np.float32, architecture.weight_count)
    _require_on_grid(flat)
    statistics = np.frombuffer(data, "<i8", offset=size).astype(np.int64, copy=False)
    parts = tuple(np.split(statistics, np.cumsum(counts)[:-1])) if counts else ()
    in_range = bool(np.all((statistics >= -STATISTIC_UNITS_MAX) & (statistics <= STATISTIC_UNITS_MAX)))
    if not in_range or any(np.any(variance < 0) for variance in parts[1::2]):
        raise InvalidMessage("model: a running statistic is out of range")
    return architecture.split(flat), parts


def unpack_residual(data: bytes, architecture: Architecture) -> HostLeaves:
    """Read int32 leaves.

    Raises:
      InvalidMessage: wrong size, or the one value that no residual takes.
    """
    _require_size(data, 4 * architecture.weight_count, "residual")
    flat = _take(data, np.int32, architecture.weight_count)
    if flat.min(initial=0) < -RESIDUAL_UNITS_MAX:
        raise InvalidMessage("residual: a value is beyond the grid")
    leaves: HostLeaves = architecture.split(flat)
    return leaves


def unpack_optimiser(data: bytes, architecture: Architecture, optimiser: Optimiser) -> tuple[HostLeaves, ...]:
    """Read the slots of an optimiser's state, each as leaves.

    Raises:
      InvalidMessage: wrong size, or a value that no state takes.
    """
    dtypes = [np.dtype(dtype) for dtype in optimisers.slots(optimiser)]
    count = architecture.weight_count
    _require_size(data, count * sum(dtype.itemsize for dtype in dtypes), "optimiser state")
    slots, offset = [], 0
    for dtype, (least, greatest) in zip(dtypes, _LIMITS.get(type(optimiser), ()), strict=True):
        flat = _take(data, dtype, count, offset)
        if flat.min(initial=least) < least or flat.max(initial=greatest) > greatest:
            raise InvalidMessage("optimiser state: a value is out of range")
        slots.append(architecture.split(flat))
        offset += count * dtype.itemsize
    return tuple(slots)


def export_safetensors(weights: HostLeaves, statistics: HostLeaves, architecture: Architecture) -> bytes:
    """Return a safetensors file with one float32 tensor per leaf and statistic, such as "layer0/kernel".

    A dense kernel's shape is (inputs, units), a convolution's (height, width, channels, filters). The same
    model gives the same bytes: the library writes several entries of metadata in any order, so there is one.
    """
    tensors = dict(zip(architecture.names, (np.ascontiguousarray(x) for x in weights), strict=True))
    for name, statistic in zip(architecture.statistic_names, statistics, strict=True):
        tensors[name] = np.ldexp(statistic.astype(np.float64), -STATISTIC_BITS).astype(np.float32)
    file: bytes = save(tensors, metadata={"format": "np"})
    return file


def _take(data: bytes, dtype: npt.DTypeLike, count: int, offset: int = 0) -> Flat:
    """Copy little-endian numbers to where the device can use them in place: memory aligned to 64 bytes."""
    size = count * np.dtype(dtype).itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    flat: Flat = room[start : start + size].view(dtype)
    flat[:] = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), count, offset)
    return flat


def _require_on_grid(flat: Flat) -> None:
    if not all(_is_on_grid(flat[i : i + _BLOCK]) for i in range(0, len(flat), _BLOCK)):
        raise InvalidMessage("model: a weight is not on the grid")


def _is_on_grid(flat: Flat) -> bool:
    """Whether all weights of a block come back from whole units bit by bit; minus zero and NaN do not."""
    with np.errstate(invalid="ignore", over="ignore"):
        units = flat * np.float32(1 << WEIGHT_BITS)
    if not (units.min() >= -WEIGHT_UNITS_MAX and units.max() <= WEIGHT_UNITS_MAX):  # not so with a NaN
        return False
    back = units.astype(np.int32).astype(np.float32) * np.float32(2.0**-WEIGHT_BITS)
    return bool(np.array_equal(back.view(np.int32), flat.view(np.int32)))


def _require_size(data: bytes, size: int, what: str) -> None:
    if len(data) != size:
        raise InvalidMessage(f"{what}: {len(data)} bytes, expected {size}")
