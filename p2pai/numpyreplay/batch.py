"""A mini-batch: features and labels of some samples, from their wire form.

    "P2MB" || version 2 || kind (0 uint8, 1 float32) || shift || targets || samples u32 || features u32
    || features, row by row || labels

Integers are little-endian. A uint8 feature v stands for v * 2^-shift. Labels are u16 classes where targets is
0, else so many float32 numbers a sample.

Source: docs/SPEC.md, "Data and schedule": mini-batch.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from p2pai.chain.task import Dataset
from p2pai.numpyreplay.integers import Integers
from p2pai.numpyreplay.quantise import Floats
from p2pai.primitives.errors import InvalidMessage

_HEADER: Final = struct.Struct("<4sBBBBII")
_MAGIC: Final = b"P2MB"
_VERSION: Final = 2
_SHIFT_MAX: Final = 8
_LARGEST: Final = np.float32(2.0**16)
_SMALLEST: Final = np.float32(2.0**-100)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples, decoded."""

    features: Floats
    """(samples, features)."""
    labels: Integers | Floats
    """(samples) classes, or (samples, targets) numbers."""


def decode(data: bytes, dataset: Dataset, samples: int | None = None) -> Batch:
    """Read a mini-batch that must have so many samples (None: at most the dataset's batch size).

    Raises:
      InvalidMessage: malformed, or not of this dataset.
    """
    _require(len(data) >= _HEADER.size, "cut short")
    magic, version, kind, shift, targets, count, features = _HEADER.unpack_from(data)
    _require((magic, version) == (_MAGIC, _VERSION), "of another format")
    _require(kind <= 1 and shift <= (0 if kind else _SHIFT_MAX), "of an unknown kind")
    _require((targets, features) == (dataset.targets, dataset.features), "not of this dataset")
    wanted = f"1 to {dataset.batch_size}" if samples is None else str(samples)
    _require(1 <= count <= dataset.batch_size and samples in (None, count), f"{count} samples, not {wanted}")
    body = data[_HEADER.size :]
    cut = count * features * (4 if kind else 1)
    _require(len(body) == cut + count * (4 * targets or 2), "of a wrong size")
    values = _numbers(body[:cut]) if kind else _bytes(body[:cut], shift)
    return Batch(values.reshape(count, features), _labels(body[cut:], dataset, count))


def _labels(data: bytes, dataset: Dataset, samples: int) -> Integers | Floats:
    if dataset.targets:
        return _numbers(data).reshape(samples, dataset.targets)
    classes = np.frombuffer(data, "<u2").astype(np.int64)
    _require(bool((classes < dataset.classes).all()), "a label that is no class")
    return classes


def _bytes(data: bytes, shift: int) -> Floats:
    return np.ldexp(np.frombuffer(data, np.uint8).astype(np.float32), -shift)


def _numbers(data: bytes) -> Floats:
    values = np.frombuffer(data, "<f4").astype(np.float32)
    size = np.abs(values)
    zero = (values == 0) & ~np.signbit(values)
    _require(bool((zero | (size >= _SMALLEST) & (size <= _LARGEST)).all()), "a number out of range")
    return values


def _require(holds: bool, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidMessage(f"mini-batch: {what}")
