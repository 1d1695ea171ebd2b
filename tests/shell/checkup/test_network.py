"""What the network says of a machine: a real one on loopback, and answers of all kinds."""

import socket
import threading

import pytest
import trio

from p2pai.chain.params import Params, future_time_s_max
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.shell.checkup import network
from p2pai.shell.checkup.finding import Level

CHAIN = "0a1b2c3d"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
WORLD = "/ip4/0.0.0.0/tcp/4001"
NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
ANSWER = {
    "addresses": [], "remotes": 3, "reach": "reachable", "reached_at": ["/ip4/8.8.8.8/tcp/4001"],
    "reached_by": 2, "tried_by": 3, "clock_ahead_ms": 12, "clock_error_ms": 30, "clocks": 3,
}  # fmt: skip


@pytest.fixture
def hub():
    """A node of the chain in a thread of its own; gives its address."""
    made, ends = Network(OwnHost(None, [LOOPBACK]), (), CHAIN, network._Mute()), []
    ready = threading.Event()

    async def serve():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await nursery.start(made.run)
                ends.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
                ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(20)
    yield made.addresses[0]
    token, scope = ends[0]
    token.run_sync_soon(scope.cancel)
    thread.join(10)
    assert not thread.is_alive()


def test_a_machine_is_seen_from_outside(hub):
    answer = network.look_around(LOOPBACK, [hub], CHAIN)
    assert (answer["remotes"], answer["reach"], answer["clocks"]) == (1, "reachable", 1)
    assert network.check_remotes(answer).level is Level.OK
    assert network.check_clock(answer, Params()).level is Level.OK
    finding = network.check_reach(answer, LOOPBACK)
    assert finding.level is Level.WARN
    assert "other machines can't" in finding.found


def test_a_network_that_is_not_there_is_found(monkeypatch):
    monkeypatch.setattr(network, "LOOK_S_MAX", 0.5)
    answer = network.look_around(LOOPBACK, [NOBODY], CHAIN)
    assert network.check_remotes(answer).level is Level.FAIL
    assert network.check_reach(answer, LOOPBACK).level is Level.WARN
    assert network.check_clock(answer, Params()).level is Level.WARN


def test_wrong_addresses_are_sentences():
    with pytest.raises(InvalidInput, match="multiaddr"):
        network.look_around(LOOPBACK, ["nonsense"], CHAIN)
    with pytest.raises(Unavailable, match="can't be listened on"):
        network.look_around("/ip4/192.0.2.1/tcp/4001", [NOBODY], CHAIN)


def test_a_busy_port_is_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}"
        finding = network.check_port(listen)
        assert finding.level is Level.FAIL
        assert "another program listens" in finding.found
        held = network.check_port(listen, [f"{listen}/p2p/{'1' * 52}"])
        assert (held.level, held.found) == (Level.OK, f"the node is at {listen}")
    assert network.check_port(listen).level is Level.OK


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("/ip4/192.0.2.1/tcp/4001", "can't be listened on"),
        ("/ip4/127.0.0.1/udp/4001", "not the multiaddr of a TCP port"),
        ("nonsense", "not the multiaddr"),
    ],
)
def test_addresses_that_are_not_ours_are_found(listen, said):
    finding = network.check_port(listen)
    assert finding.level is Level.FAIL
    assert said in finding.found


@pytest.mark.parametrize(
    ("changed", "listen", "level", "said"),
    [
        ({}, WORLD, Level.OK, "2 of 3 remotes reached this node, at /ip4/8.8.8.8/tcp/4001"),
        ({"reached_at": ["/ip4/192.168.1.9/tcp/4001"]}, WORLD, Level.OK, "outside this local network"),
        ({"reach": "unreachable", "reached_by": 0}, WORLD, Level.WARN, "3 of 3 remotes can't call this node"),
        ({"reach": "unreachable", "reached_by": 0}, LOOPBACK, Level.WARN, "it listens on"),
        ({"tried_by": 0, "reached_by": 0}, WORLD, Level.WARN, "no remote has tried"),
    ],
)
def test_reach_is_judged(changed, listen, level, said):
    finding = network.check_reach({**ANSWER, **changed}, listen)
    assert finding.level is level
    assert said in finding.found


def test_advice_names_the_port():
    unreachable = {**ANSWER, "reach": "unreachable", "reached_by": 0}
    assert "TCP port 4001" in network.check_reach(unreachable, WORLD).advice


@pytest.mark.parametrize(
    ("ahead_ms", "error_ms", "level"),
    [
        (900, 0, Level.OK),
        (1_500, 20, Level.WARN),
        (1_500, 600, Level.OK),
        (-1_500, 20, Level.WARN),
        (1000 * future_time_s_max(Params()) + 100, 50, Level.FAIL),
        (-1000 * future_time_s_max(Params()) - 100, 50, Level.FAIL),
    ],
)
def test_a_clock_is_judged_by_what_is_sure(ahead_ms, error_ms, level):
    answer = {**ANSWER, "clock_ahead_ms": ahead_ms, "clock_error_ms": error_ms}
    finding = network.check_clock(answer, Params())
    assert finding.level is level
    assert ("behind" if ahead_ms > 0 else "ahead of") in finding.found
