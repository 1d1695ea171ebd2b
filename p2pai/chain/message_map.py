"""The rules of a message map's wire form, so that nobody passes on what trainers would refuse.

    form (1 byte: 0 list, 1 bitmap) || number of elements (LEB128 varint) || payload

jaxtrain/message_map.py reads and writes maps and says what they mean; here a map is only checked, in
integers. A miner that could spread a map which no trainer reads would stop every other miner of its task.

Source: PoUW Algorithm 1; PROTOCOL section 7.
"""

from itertools import pairwise
from typing import Final

from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.memo import pure

LIST: Final = 0
BITMAP: Final = 1
DENSITY_INVERSE: Final = 16
"""Above one element in so many weights a map is a bitmap, up to it a list."""

_INDEX_MASK: Final = (1 << 31) - 1
_VARINT_SIZE_MAX: Final = 5


@pure()
def check(data: bytes, weight_count: int) -> None:
    """Check that `data` is the one encoding of a map over `weight_count` weights.

    Raises:
      InvalidMessage: it is not.
    """
    if not data or data[0] not in (LIST, BITMAP):
        raise InvalidMessage("message map: unknown form")
    count, size = _read_varint(data)
    payload = data[1 + size :]
    if data[0] == LIST:
        _check_list(payload, count, weight_count)
    else:
        _check_bitmap(payload, count, weight_count)


def element_count(data: bytes) -> int:
    """Return the number of elements that a map declares.

    Raises:
      InvalidMessage: the number is malformed.
    """
    return _read_varint(data)[0]


def _read_varint(data: bytes) -> tuple[int, int]:
    """Return the number of elements and the bytes that it takes."""
    value = 0
    for size, octet in enumerate(data[1 : 1 + _VARINT_SIZE_MAX], start=1):
        value |= (octet & 0x7F) << 7 * (size - 1)
        if octet < 0x80:
            if octet == 0 and size > 1:
                break
            return value, size
    raise InvalidMessage("message map: malformed number of elements")


def _check_list(payload: bytes, count: int, weight_count: int) -> None:
    if count * DENSITY_INVERSE > weight_count:
        raise InvalidMessage("message map: too dense for a list")
    if len(payload) != 4 * count:
        raise InvalidMessage("message map: payload and number of elements differ")
    elements = (int.from_bytes(payload[i : i + 4], "big") for i in range(0, len(payload), 4))
    indices = [element & _INDEX_MASK for element in elements]
    if any(a >= b for a, b in pairwise(indices)) or (indices and indices[-1] >= weight_count):
        raise InvalidMessage("message map: indices are not ascending or out of range")


def _check_bitmap(payload: bytes, count: int, weight_count: int) -> None:
    if count * DENSITY_INVERSE <= weight_count:
        raise InvalidMessage("message map: too sparse for a bitmap")
    if len(payload) != -(-weight_count // 4):
        raise InvalidMessage("message map: bitmap of a wrong size")
    # Two bits a weight, all weights at once: the low bit says moved, the high one that it was down.
    bits = int.from_bytes(payload, "little")
    low = int.from_bytes(b"\x55" * len(payload), "little")
    moved, down = bits & low, bits >> 1 & low
    if down & ~moved or bits >> 2 * weight_count:
        raise InvalidMessage("message map: unused bits are set")
    if moved.bit_count() != count:
        raise InvalidMessage("message map: bitmap and number of elements differ")
