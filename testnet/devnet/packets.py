"""IPv4 packets as bytes: who sends them to whom, and the same packet under another address.

Only what a router and an address translator look at. Changed addresses change the checksums of the IP header
and of TCP or UDP, which are mended from the difference alone.

Source: RFC 791, RFC 1624 (incremental update of the checksum), RFC 3022.
"""

import struct
from dataclasses import dataclass
from typing import Final

TCP: Final = 6
UDP: Final = 17

Endpoint = tuple[int, int]
"""An IPv4 address as an integer, and a port."""

_IP_HEADER_BYTES: Final = 20
_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset: ports stand in the first fragment only."""

_CHECKSUM_AT: Final = {TCP: 16, UDP: 6}
"""Bytes from the start of the transport header to its checksum."""

_TRANSPORT_BYTES: Final = {TCP: 20, UDP: 8}


@dataclass(frozen=True, slots=True)
class Flow:
    """Between whom a TCP or UDP packet travels."""

    protocol: int
    source: Endpoint
    destination: Endpoint


def destination_of(packet: bytes) -> int | None:
    """Return the address a packet is sent to; None when it is no IPv4 packet."""
    if len(packet) < _IP_HEADER_BYTES or packet[0] >> 4 != 4:
        return None
    return int.from_bytes(packet[16:20], "big")


def is_multicast(address: int) -> bool:
    """Tell whether an address names a group."""
    return address >> 28 == 0xE


def flow_of(packet: bytes) -> Flow | None:
    """Return a packet's flow; None when it is not whole TCP or UDP over IPv4."""
    if destination_of(packet) is None:
        return None
    start, protocol = _header_bytes(packet), packet[9]
    if protocol not in _TRANSPORT_BYTES or len(packet) < start + _TRANSPORT_BYTES[protocol]:
        return None
    if int.from_bytes(packet[6:8], "big") & _FRAGMENT:
        return None
    source, destination = struct.unpack_from(">II", packet, 12)
    source_port, destination_port = struct.unpack_from(">HH", packet, start)
    return Flow(protocol, (source, source_port), (destination, destination_port))


def readdress(packet: bytes, source: Endpoint, destination: Endpoint) -> bytes:
    """Return a packet of a flow (see `flow_of`) with other ends and right checksums."""
    changed = bytearray(packet)
    start, protocol = _header_bytes(packet), packet[9]
    addresses = struct.pack(">II", source[0], destination[0])
    ports = struct.pack(">HH", source[1], destination[1])
    header_sum = _mend(packet[10:12], packet[12:20], addresses)
    at = start + _CHECKSUM_AT[protocol]
    inner_sum = _mend(packet[at : at + 2], packet[12:20] + packet[start : start + 4], addresses + ports)
    changed[10:12], changed[12:20], changed[start : start + 4] = header_sum, addresses, ports
    if protocol == TCP:
        changed[at : at + 2] = inner_sum
    elif packet[at : at + 2] != b"\0\0":
        # For UDP, zero says that there is no checksum.
        changed[at : at + 2] = inner_sum if inner_sum != b"\0\0" else b"\xff\xff"
    return bytes(changed)


def checksum(data: bytes) -> int:
    """Return the ones' complement checksum of RFC 1071 over `data`."""
    return 0xFFFF - _fold(_word_sum(data))


def _header_bytes(packet: bytes) -> int:
    return 4 * (packet[0] & 0xF)


def _mend(before: bytes, old: bytes, new: bytes) -> bytes:
    """Return the checksum after words changed from `old` to `new`: HC' = ~(~HC + ~m + m')."""
    words = len(old) // 2
    total = (0xFFFF - int.from_bytes(before, "big")) + words * 0xFFFF - _word_sum(old) + _word_sum(new)
    return (0xFFFF - _fold(total)).to_bytes(2, "big")


def _word_sum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    return sum(struct.unpack(f">{len(padded) // 2}H", padded))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
