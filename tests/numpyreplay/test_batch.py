"""Mini-batches, and their refusals."""

import struct
from dataclasses import replace

import kinds
import numpy as np
import pytest

from p2pai.numpyreplay import batch
from p2pai.primitives.errors import InvalidMessage

CLASSES = replace(kinds.DENSE.dataset, features=3, classes=5, batch_size=4)
NUMBERS = replace(CLASSES, classes=0, targets=2)


def header(kind=1, shift=0, targets=0, samples=2, features=3, version=2, magic=b"P2MB"):
    return magic + struct.pack("<BBBBII", version, kind, shift, targets, samples, features)


def floats(*values):
    return np.array(values, "<f4").tobytes()


LABELS = b"\4\0\1\0"
SIX = floats(0, 2.0**-100, -1, 65536, -65536, 0.5)


def test_bytes_and_classes():
    read = batch.decode(header(0, 8) + bytes([0, 128, 255, 1, 2, 3]) + LABELS, CLASSES, 2)
    assert (read.features * 256).tolist() == [[0, 128, 255], [1, 2, 3]]
    assert read.labels.tolist() == [4, 1]


def test_numbers():
    read = batch.decode(header(targets=2) + SIX + floats(1, 0, -2, 65536), NUMBERS)
    assert read.features.tolist() == [[0, 2.0**-100, -1], [65536, -65536, 0.5]]
    assert read.labels.tolist() == [[1, 0], [-2, 65536]]


@pytest.mark.parametrize(
    "data",
    [
        b"P2MB",
        header(magic=b"P2MX") + SIX + LABELS,
        header(version=1) + SIX + LABELS,
        header(kind=2) + SIX + LABELS,
        header(shift=1) + SIX + LABELS,
        header(kind=0, shift=9) + bytes(6) + LABELS,
        header(targets=2) + SIX + floats(0, 0, 0, 0),
        header(samples=1) + SIX[:12] + LABELS[:2],
        header(samples=5) + bytes(60) + bytes(10),
        header(samples=0),
        header(features=2) + bytes(16) + LABELS,
        header() + SIX + LABELS + b"\0",
        header() + SIX + LABELS[:-1],
        header() + SIX + b"\5\0\1\0",
        header() + floats(0, 0, 0, 0, 0, -0.0) + LABELS,
        header() + floats(0, 0, 0, 0, 0, float("nan")) + LABELS,
        header() + floats(0, 0, 0, 0, 0, 65537) + LABELS,
        header() + floats(0, 0, 0, 0, 0, 2.0**-101) + LABELS,
    ],
)
def test_what_no_mini_batch_has_is_refused(data):
    with pytest.raises(InvalidMessage):
        batch.decode(data, CLASSES, 2)
