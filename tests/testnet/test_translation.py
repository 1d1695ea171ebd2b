"""What routers let in and out, by kind."""

import pytest
from test_packets import are_checksums_right, ip_packet, tcp_packet

from testnet.devnet.packets import flow_of
from testnet.devnet.translation import Kind, Translator

PUBLIC, HOST = 0x0B4E0001, (0xC0A80102, 4001)
ALICE, ALICE_ELSEWHERE, BOB = (0x0B4E0002, 80), (0x0B4E0002, 81), (0x0B4E0003, 80)
IDLE_S = 100.0
KINDS = list(Kind)


def router(kind):
    return Translator(kind, PUBLIC, IDLE_S)


def leave(nat, remote, now_s=0.0, source=HOST):
    """Send to a remote; returns the packet's public source."""
    packet = nat.leave(tcp_packet(source, remote), now_s)
    assert are_checksums_right(packet)
    return flow_of(packet).source


def gets_in(nat, remote, public, now_s=0.0):
    packet = nat.enter(tcp_packet(remote, public), now_s)
    if packet is None:
        return False
    assert flow_of(packet).destination == HOST
    assert flow_of(packet).source == remote
    assert are_checksums_right(packet)
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_gets_in_and_a_stranger_before_anything_was_sent_does_not(kind):
    nat = router(kind)
    assert not gets_in(nat, ALICE, (PUBLIC, HOST[1]))
    public = leave(nat, ALICE)
    assert public[0] == PUBLIC
    assert gets_in(nat, ALICE, public)


@pytest.mark.parametrize(
    ("kind", "same_port", "elsewhere", "stranger"),
    [
        (Kind.FULL_CONE, True, True, True),
        (Kind.PORT_RESTRICTED, True, False, False),
        (Kind.SYMMETRIC, False, False, False),
    ],
)
def test_kinds_differ_in_ports_and_in_whom_they_let_in(kind, same_port, elsewhere, stranger):
    nat = router(kind)
    public = leave(nat, ALICE)
    assert gets_in(nat, ALICE_ELSEWHERE, public) is elsewhere
    assert gets_in(nat, BOB, public) is stranger
    assert (leave(nat, BOB) == public) is same_port


def test_hosts_that_punch_at_once_meet_unless_one_is_symmetric():
    left, right = router(Kind.PORT_RESTRICTED), Translator(Kind.PORT_RESTRICTED, BOB[0], IDLE_S)
    left_public, right_public = leave(left, ALICE), leave(right, ALICE)
    leave(left, right_public)
    leave(right, left_public)
    assert gets_in(left, right_public, left_public)
    assert gets_in(right, left_public, right_public)


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_mapping_expires_and_a_used_one_does_not(kind):
    nat = router(kind)
    public = leave(nat, ALICE, 0.0)
    assert gets_in(nat, ALICE, public, 90.0)
    assert gets_in(nat, ALICE, public, 180.0)
    assert not gets_in(nat, ALICE, public, 281.0)
    assert leave(nat, BOB, 282.0)
    assert gets_in(nat, ALICE, public, 282.0) is (kind is Kind.FULL_CONE)


@pytest.mark.parametrize("kind", [Kind.FULL_CONE, Kind.PORT_RESTRICTED])
def test_cones_keep_a_port_that_is_free(kind):
    nat = router(kind)
    assert leave(nat, ALICE)[1] == HOST[1]
    assert leave(nat, ALICE, source=(HOST[0] + 1, HOST[1]))[1] != HOST[1]


def test_ports_run_out_and_come_back():
    nat = Translator(Kind.SYMMETRIC, PUBLIC, IDLE_S, ports=50)
    assert len({leave(nat, (ALICE[0], port)) for port in range(50)}) == 50
    assert nat.leave(tcp_packet(HOST, BOB), 1.0) is None
    assert leave(nat, BOB, 2 * IDLE_S)


def test_what_has_no_ports_stays():
    nat = router(Kind.FULL_CONE)
    assert nat.leave(ip_packet(1, HOST[0], ALICE[0], bytes(8)), 0.0) is None
    assert nat.enter(ip_packet(1, ALICE[0], PUBLIC, bytes(8)), 0.0) is None
