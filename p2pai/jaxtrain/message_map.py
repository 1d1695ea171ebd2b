"""Message maps on the wire: which weights moved, and which way.

    form (1 byte: 0 list, 1 bitmap) || number of elements (LEB128 varint) || payload

List: 4 bytes an element, big-endian, ascending by index; the leftmost bit is 1 where the residual was above
+tau (e(1, i) of the paper) and 0 where it was below -tau, the other 31 bits are the weight's flat index.
Bitmap: 2 bits a weight, the sign in two's complement (01 above +tau, 11 below -tau, 00 neither), lowest
bits of a byte first, unused bits zero. A list is written up to a density of 1/16, a bitmap above, so one
map has exactly one encoding, and equal maps have equal bytes.

Source: PoUW Algorithm 1 and section 4.3; PROTOCOL section 7.
"""

from typing import Any, Final

import numpy as np

from p2pai.primitives.errors import InvalidMessage

LIST: Final = 0
BITMAP: Final = 1
DENSITY_INVERSE: Final = 16
"""A bitmap costs 2 bits a weight, a list 32 bits an element: even at one element in 16 weights."""

_POSITIVE: Final = 1 << 31
_VARINT_SIZE_MAX: Final = 5

Signs = np.ndarray[Any, np.dtype[np.int8]]
Units = np.ndarray[Any, Any]
"""Whole numbers of any width, one for each weight."""


def encode(*parts: Signs) -> bytes:
    """Write a map given as int8 signs of all weights, flat, in one or more parts."""
    weight_count = sum(len(signs) for signs in parts)
    indices = [_nonzero(signs) for signs in parts]
    count = sum(len(found) for found in indices)
    if count * DENSITY_INVERSE > weight_count:
        return bytes([BITMAP]) + _varint(count) + _pack(np.concatenate(parts))
    elements, start = [], 0
    for signs, found in zip(parts, indices, strict=True):
        positive = np.where(signs[found] > 0, np.uint32(_POSITIVE), np.uint32(0))
        elements.append((found + start).astype(np.uint32) | positive)
        start += len(signs)
    return bytes([LIST]) + _varint(count) + np.concatenate(elements).astype(">u4").tobytes()


def decode(data: bytes, weight_count: int) -> Signs:
    """Read a map as int8 signs of all weights, flat.

    Raises:
      InvalidMessage: not the one encoding of a map over `weight_count` weights.
    """
    signs = np.zeros(weight_count, np.int8)
    add_to(signs, data, 1)
    return signs


def add_to(units: Units | Signs, data: bytes, unit: int) -> None:
    """Add a map's signs times `unit` to `units`, flat, one per weight; unchanged if the map is refused.

    Raises:
      InvalidMessage: not the one encoding of a map over `len(units)` weights.
    """
    form, count, payload = _header(data)
    if form == LIST:
        indices, signs = _read_list(payload, count, len(units))
        units[indices] += signs.astype(units.dtype) * units.dtype.type(unit)
    else:
        units += _unpack(payload, count, len(units)).astype(units.dtype) * units.dtype.type(unit)


def element_count(data: bytes) -> int:
    """Return the number of elements that a map declares.

    Raises:
      InvalidMessage: the header is malformed.
    """
    return _header(data)[1]


def _nonzero(signs: Signs) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Find non-zero bytes, eight at a time: maps are sparse, so most words are skipped."""
    whole = len(signs) // 8 * 8
    octets = np.ascontiguousarray(signs[:whole]).view(np.uint64)
    words = np.flatnonzero(octets != 0)
    places = np.flatnonzero(octets[words].view(np.uint8) != 0)
    found = words[places >> 3] * 8 + (places & 7)
    return np.concatenate([found, whole + np.flatnonzero(signs[whole:])])


def _header(data: bytes) -> tuple[int, int, memoryview]:
    if not data or data[0] not in (LIST, BITMAP):
        raise InvalidMessage("message map: unknown form")
    count, size = _read_varint(data[1 : 1 + _VARINT_SIZE_MAX])
    return data[0], count, memoryview(data)[1 + size :]


def _read_list(payload: memoryview, count: int, weight_count: int) -> tuple[Any, Signs]:
    if count * DENSITY_INVERSE > weight_count:
        raise InvalidMessage("message map: too dense for a list")
    if len(payload) != 4 * count:
        raise InvalidMessage("message map: payload and number of elements differ")
    elements = np.frombuffer(payload, ">u4").astype(np.int64)
    indices = elements & (_POSITIVE - 1)
    if count and (indices[-1] >= weight_count or np.any(indices[1:] <= indices[:-1])):
        raise InvalidMessage("message map: indices are not ascending or out of range")
    return indices, np.where(elements >= _POSITIVE, 1, -1).astype(np.int8)


def _pack(signs: Signs) -> bytes:
    padded = np.zeros(-(-len(signs) // 4) * 4, np.uint8)
    padded[: len(signs)] = signs.view(np.uint8) & 3
    quads = padded.reshape(-1, 4)
    return bytes((quads[:, 0] | quads[:, 1] << 2 | quads[:, 2] << 4 | quads[:, 3] << 6).astype(np.uint8))


def _unpack(payload: memoryview, count: int, weight_count: int) -> Signs:
    if count * DENSITY_INVERSE <= weight_count:
        raise InvalidMessage("message map: too sparse for a bitmap")
    if len(payload) != -(-weight_count // 4):
        raise InvalidMessage("message map: bitmap of a wrong size")
    octets = np.frombuffer(payload, np.uint8)
    codes = np.stack([octets >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).reshape(-1)
    if np.any(codes == 2) or np.any(codes[weight_count:]):  # noqa: PLR2004
        raise InvalidMessage("message map: unused bits are set")
    if np.count_nonzero(codes) != count:
        raise InvalidMessage("message map: bitmap and number of elements differ")
    signs: Signs = np.array([0, 1, 0, -1], np.int8)[codes[:weight_count]]
    return signs


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes) -> tuple[int, int]:
    """Return the value and its size in bytes."""
    value = 0
    for size, octet in enumerate(data, start=1):
        value |= (octet & 0x7F) << (7 * (size - 1))
        if octet < 0x80:  # noqa: PLR2004
            if octet == 0 and size > 1:
                break
            return value, size
    raise InvalidMessage("message map: malformed number of elements")
