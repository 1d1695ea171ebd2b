"""A message map: which weights an iteration moves, and which way.

    form (0 list, 1 bitmap) || number of elements (LEB128) || payload

A list holds 4 bytes an element, big-endian and ascending, the top bit being 1 for +1; a bitmap 2 bits a
weight, lowest first: 01 for +1, 11 for -1. A map with at most one element in 16 weights is a list.

Source: docs/SPEC.md, "Training and IT_RES": message map.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pai.numpyreplay.integers import Integers
from p2pai.primitives.errors import InvalidMessage

_LIST: Final = 0
_BITMAP: Final = 1
_SPARSE: Final = 16
_UP: Final = 1 << 31
_VARINT_SIZE_MAX: Final = 5


def encode(signs: Integers) -> bytes:
    """Return the one encoding of signs (weights), each of -1, 0 and 1."""
    indices = np.flatnonzero(signs)
    if _SPARSE * len(indices) <= len(signs):
        elements = indices + _UP * (signs[indices] > 0)
        return bytes([_LIST]) + _varint(len(indices)) + elements.astype(">u4").tobytes()
    pairs = np.zeros((-(-len(signs) // 4), 4), np.uint8)
    pairs.reshape(-1)[: len(signs)] = signs & 3
    packed = pairs[:, 0] | pairs[:, 1] << 2 | pairs[:, 2] << 4 | pairs[:, 3] << 6
    return bytes([_BITMAP]) + _varint(len(indices)) + packed.tobytes()


def decode(data: bytes, count: int) -> Integers:
    """Read the signs of a map over so many weights.

    Raises:
      InvalidMessage: it is not the one encoding of any map.
    """
    _require(data[:1] in (bytes([_LIST]), bytes([_BITMAP])), "of an unknown form")
    size = _varint_size(data)
    payload = data[1 + size :]
    signs = _decode_list(payload, count) if data[0] == _LIST else _decode_bitmap(payload, count)
    # One map has one encoding: number of elements, form and spare bits are right when it comes out again.
    _require(encode(signs) == data, "not in its one encoding")
    return signs


def _decode_list(payload: bytes, count: int) -> Integers:
    _require(len(payload) % 4 == 0 and len(payload) // 4 * _SPARSE <= count, "list of a wrong size")
    elements = np.frombuffer(payload, ">u4").astype(np.int64)
    indices = elements % _UP
    _require(bool((indices < count).all()), "no such weight")
    _require(bool((np.diff(indices) > 0).all()), "not ascending")
    signs = np.zeros(count, np.int64)
    signs[indices] = np.where(elements >= _UP, 1, -1)
    return signs


def _decode_bitmap(payload: bytes, count: int) -> Integers:
    _require(len(payload) == -(-count // 4), "bitmap of a wrong size")
    packed: NDArray[np.uint8] = np.frombuffer(payload, np.uint8)
    pairs = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).reshape(-1)[:count]
    _require(bool((pairs != 2).all()), "a sign that does not exist")  # noqa: PLR2004
    return (pairs & 1).astype(np.int64) * np.where(pairs >> 1, -1, 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:  # noqa: PLR2004
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out) + bytes([value])


def _varint_size(data: bytes) -> int:
    for size, octet in enumerate(data[1 : 1 + _VARINT_SIZE_MAX], start=1):
        if octet < 128:  # noqa: PLR2004
            return size
    raise InvalidMessage("message map: malformed number of elements")


def _require(holds: bool, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidMessage(f"message map: {what}")
