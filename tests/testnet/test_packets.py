"""Addresses of packets, and checksums that stay right when addresses change."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testnet.devnet.packets import TCP, UDP, Flow, checksum, destination_of, flow_of, is_multicast, readdress

addresses = st.integers(0, 2**32 - 1)
endpoints = st.tuples(addresses, st.integers(0, 2**16 - 1))
payloads = st.binary(max_size=40)


def ip_packet(protocol, source, destination, inner, options=b"", fragment=0):
    head = bytearray(struct.pack(
        ">BBHHHBBHII", 0x40 | (5 + len(options) // 4), 0, 20 + len(options) + len(inner), 7, fragment, 64,
        protocol, 0, source, destination,
    ))  # fmt: skip
    head += options
    head[10:12] = struct.pack(">H", checksum(bytes(head)))
    return bytes(head) + inner


def pseudo_header(protocol, source, destination, inner):
    return struct.pack(">IIBBH", source, destination, 0, protocol, len(inner)) + inner


def tcp_packet(source, destination, payload=b"", **ip):
    inner = bytearray(
        struct.pack(">HHIIBBHHH", source[1], destination[1], 1, 2, 0x50, 0x10, 512, 0, 0) + payload
    )
    inner[16:18] = struct.pack(">H", checksum(pseudo_header(TCP, source[0], destination[0], bytes(inner))))
    return ip_packet(TCP, source[0], destination[0], bytes(inner), **ip)


def udp_packet(source, destination, payload=b"", *, with_checksum=True):
    inner = bytearray(struct.pack(">HHHH", source[1], destination[1], 8 + len(payload), 0) + payload)
    if with_checksum:
        total = checksum(pseudo_header(UDP, source[0], destination[0], bytes(inner)))
        inner[6:8] = struct.pack(">H", total or 0xFFFF)
    return ip_packet(UDP, source[0], destination[0], bytes(inner))


def are_checksums_right(packet):
    start = 4 * (packet[0] & 0xF)
    source, destination = struct.unpack_from(">II", packet, 12)
    inner = pseudo_header(packet[9], source, destination, packet[start:])
    return checksum(packet[:start]) == 0 and checksum(inner) == 0


def test_the_checksum_is_that_of_the_rfc():
    # RFC 1071 section 3 sums these words to ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@given(endpoints, endpoints, payloads)
def test_a_flow_is_what_the_headers_say(source, destination, payload):
    assert flow_of(tcp_packet(source, destination, payload)) == Flow(TCP, source, destination)
    assert flow_of(udp_packet(source, destination, payload)) == Flow(UDP, source, destination)
    assert destination_of(tcp_packet(source, destination)) == destination[0]


@given(endpoints, endpoints, endpoints, endpoints, payloads, st.sampled_from((b"", b"\1\1\1\0")))
def test_a_readdressed_packet_is_the_one_that_had_been_sent_so(a, b, c, d, payload, options):
    changed = readdress(tcp_packet(a, b, payload, options=options), c, d)
    assert flow_of(changed) == Flow(TCP, c, d)
    assert are_checksums_right(changed)
    assert changed.endswith(payload)


@given(endpoints, endpoints, endpoints, endpoints, payloads)
def test_udp_keeps_a_right_checksum_and_keeps_having_none(a, b, c, d, payload):
    assert are_checksums_right(readdress(udp_packet(a, b, payload), c, d))
    assert readdress(udp_packet(a, b, payload, with_checksum=False), c, d)[26:28] == b"\0\0"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x60" + bytes(39),
        ip_packet(1, 1, 2, bytes(8)),
        ip_packet(TCP, 1, 2, bytes(19)),
        tcp_packet((1, 2), (3, 4), fragment=0x2000),
        tcp_packet((1, 2), (3, 4), fragment=9),
    ],
    ids=["empty", "ipv6", "icmp", "too short", "first fragment", "later fragment"],
)
def test_what_has_no_ports_is_no_flow(packet):
    assert flow_of(packet) is None


def test_an_unfragmentable_packet_is_a_flow():
    assert flow_of(tcp_packet((1, 2), (3, 4), fragment=0x4000)) is not None


def test_groups_are_known_by_their_addresses():
    assert is_multicast(0xE00000FB)
    assert not is_multicast(0x0B4E0001)
