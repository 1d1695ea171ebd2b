"""Mini-batches as bytes that describe themselves, and the cutting of a dataset into fragments of them.

    magic "P2MB" || version 2 || kind (0 uint8, 1 float32) || shift || targets || samples u32 || features u32
    || features, row by row || labels                                                   all little-endian

A uint8 feature v stands for v * 2^-shift, at most 1; the shift is the same over a dataset. A float32
feature stands for itself: zero, or from 2^-100 to 2^16 either way, never minus zero. Labels are u16 classes
where targets is 0, else that many float32 numbers a sample, of the same range. A fragment is a blob whose
chunks are its batches.

Source: PoUW section 4.2.2; PROTOCOL section 5.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import numpy as np

from p2pai.chain.task import BATCH_BYTES_MAX, TaskDefinition
from p2pai.primitives.errors import InvalidInput, InvalidMessage

MAGIC: Final = b"P2MB"
VERSION: Final = 2
UINT8: Final = 0
FLOAT32: Final = 1
FEATURE_MAX: Final = 65536.0
"""Largest float32 feature, either sign: keeps every product far from the clamps of quantisation."""

FEATURE_MIN: Final = 2.0**-100
"""Smallest float32 feature but zero, either sign: what is smaller is zero to every operation."""

SHIFT_MAX: Final = 8
TARGETS_MAX: Final = 255

_HEADER: Final = Struct("<4sBBBBII")
_DTYPES: Final[dict[int, np.dtype[Any]]] = {UINT8: np.dtype("u1"), FLOAT32: np.dtype("<f4")}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """A mini-batch ready for the device."""

    x: Array
    """float32 (samples, features)."""
    y: Array
    """int32 (samples,), or float32 (samples, targets)."""


def read_batch(task: TaskDefinition, chunk: bytes) -> Batch:
    """Read a mini-batch of a task.

    Raises:
      InvalidMessage: malformed, or not of this task's dataset.
    """
    data = task.dataset
    return parse(chunk, features=data.features, classes=data.classes, targets=data.targets)


def parse(chunk: bytes, *, features: int, classes: int, targets: int) -> Batch:
    """Read a mini-batch of a dataset with so many features, and classes or targets.

    Raises:
      InvalidMessage: anything that `serialise` would not have written.
    """
    kind, shift, samples = _parse_header(chunk, features, targets)
    values = np.frombuffer(chunk, _DTYPES[kind], samples * features, _HEADER.size)
    if kind == FLOAT32:
        _require(_in_range(values), "a feature is out of range")
    x = np.multiply(values, np.float32(2.0**-shift), dtype=np.float32).reshape(samples, features)
    return Batch(x, _parse_labels(chunk, _HEADER.size + values.nbytes, samples, classes, targets))


def _parse_labels(chunk: bytes, offset: int, samples: int, classes: int, targets: int) -> Array:
    if targets:
        numbers = np.frombuffer(chunk, "<f4", samples * targets, offset)
        _require(_in_range(numbers), "a label is out of range")
        return numbers.astype(np.float32).reshape(samples, targets)
    labels = np.frombuffer(chunk, "<u2", samples, offset)
    _require(bool(np.all(labels < classes)), "a label is out of range")
    return labels.astype(np.int32)


def serialise(x: Array, y: Array, shift: int) -> bytes:
    """Write a mini-batch.

    Args:
      x: uint8 or float32 (samples, features); what is too small becomes zero.
      y: classes below 2^16 (samples,), or floats (samples, targets).
      shift: of uint8 features.
    """
    kind, targets = (UINT8 if x.dtype == np.uint8 else FLOAT32), y.shape[1] if y.ndim > 1 else 0
    header = _HEADER.pack(MAGIC, VERSION, kind, shift, targets, x.shape[0], x.shape[1])
    features = x.tobytes() if kind == UINT8 else _clean(x).tobytes()
    return b"".join((header, features, _clean(y).tobytes() if targets else y.astype("<u2").tobytes()))


def _clean(values: Array) -> Array:
    """Return little-endian float32 without minus zero and what is too small to count."""
    numbers = values.astype(np.float32)
    return np.where(np.abs(numbers) < FEATURE_MIN, np.float32(0), numbers).astype("<f4")


def cut(x: Array, y: Array, fragment_count: int, batch_size: int) -> list[tuple[bytes, ...]]:
    """Cut a dataset into consecutive fragments of mini-batches.

    Fragments have ceil(samples / fragment_count) samples but for the last, batches within a fragment have
    `batch_size` but for its last.

    Raises:
      InvalidInput: too few samples for so many fragments, or a batch above 1 MiB.
    """
    per_fragment = -(-len(x) // fragment_count)
    if len(x) <= per_fragment * (fragment_count - 1):
        raise InvalidInput(f"{len(x)} samples cannot be cut into {fragment_count} fragments")
    label_size = 4 * y.shape[1] if y.ndim > 1 else 2
    if _HEADER.size + batch_size * (x.shape[1] * x.itemsize + label_size) > BATCH_BYTES_MAX:
        raise InvalidInput(f"a batch of {batch_size} samples is above 1 MiB; choose a smaller batch size")
    shift = scale_shift(x)
    return [
        tuple(
            serialise(x[i : min(i + batch_size, stop)], y[i : min(i + batch_size, stop)], shift)
            for i in range(start, stop, batch_size)
        )
        for start in range(0, len(x), per_fragment)
        for stop in [min(start + per_fragment, len(x))]
    ]


def scale_shift(x: Array) -> int:
    """Return the smallest k with max <= 2^k for uint8 features; 0 for float32."""
    return max(int(x.max()) - 1, 0).bit_length() if x.dtype == np.uint8 else 0


def _parse_header(chunk: bytes, features: int, targets: int) -> tuple[int, int, int]:
    _require(len(chunk) >= _HEADER.size, "too short")
    magic, version, kind, shift, numbers, samples, declared = _HEADER.unpack_from(chunk)
    _require(magic == MAGIC and version == VERSION, "not a mini-batch")
    _require(numbers == targets, f"{numbers} numbers in a label, expected {targets}")
    _require(kind in _DTYPES and shift <= (SHIFT_MAX if kind == UINT8 else 0), "unknown kind of feature")
    _require(declared == features, f"{declared} features, expected {features}")
    size = _HEADER.size + samples * (features * _DTYPES[kind].itemsize + (4 * targets or 2))
    _require(samples > 0 and len(chunk) == size, "wrong size")
    return kind, shift, samples


def _in_range(values: Array) -> bool:
    size = np.abs(values)
    normal = (size >= FEATURE_MIN) & (size <= FEATURE_MAX)  # NaN compares false
    return bool(np.all(normal | ((size == 0) & ~np.signbit(values))))


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidMessage(f"mini-batch: {rule}")
