"""Relays within their limits, addresses that are told, and whom a hole is punched to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from gossip_lab import CHAIN, Recorder, until
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IncompleteReadError
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as CircuitPeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, STOP_PROTOCOL_ID
from libp2p.relay.circuit_v2.protocol_buffer import StatusCode
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.stream_muxer.exceptions import MuxedStreamError
from multiaddr import Multiaddr

from p2pai.gossip.libp2p import circuits, relaying, traversal
from p2pai.gossip.libp2p.announcing import Announced
from p2pai.gossip.libp2p.dialling import parse_bootstrap
from p2pai.gossip.libp2p.host import stop_listening
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.outside import Outside
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.gossip.libp2p.punching import ADDRESSES_MAX, Puncher, is_open
from p2pai.gossip.libp2p.traversal import Ways
from p2pai.gossip.reachability import Answers, DialBack
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import PeerId

UNREACHABLE = Answers({PeerId("somebody"): DialBack(None)}).sum_up()


class Lab:
    """Nodes on loopback; all but the relay think that nobody can call them."""

    def __init__(self, nursery, tmp_path):
        self._nursery, self._tmp_path = nursery, tmp_path

    async def start(self, name, *bootstrap, chain=CHAIN, **ways):
        mount = OwnHost(self._tmp_path / name, ["/ip4/127.0.0.1/tcp/0"], ways=Ways(**ways))
        network = Network(mount, bootstrap, chain, Recorder())
        with trio.fail_after(10):
            await self._nursery.start(network.run)
        return network


@pytest.fixture
async def lab(tmp_path: Path, nursery: trio.Nursery, monkeypatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(Outside, "outlook", lambda self: UNREACHABLE)
    for module in (circuits, traversal):
        monkeypatch.setattr(module, "LOOK_S", 0.05)
    yield Lab(nursery, tmp_path)
    nursery.cancel_scope.cancel()


def told(network):
    return [str(address) for address in network._host.get_addrs()]


def circuit_of(network):
    return next((text for text in told(network) if "/p2p-circuit/" in text), None)


async def reserved(lab, relay):
    """Start a node and wait until the relay keeps a place for it."""
    node = await lab.start("hidden", relay.addresses[0])
    await until(lambda: circuit_of(node))
    return node


async def dial(network, address):
    info = parse_info(address)
    with trio.fail_after(10):
        await network._discovery._mounted.connect(info)
    return info.peer_id


def parse_info(address):
    from libp2p.peer.peerinfo import info_from_p2p_addr

    return info_from_p2p_addr(Multiaddr(address))


async def hop(network, relay, message):
    """Say something to a relay; returns the status it answers, and the stream."""
    stream = await network._host.new_stream(ID.from_base58(relay.peer_id), [PROTOCOL_ID])
    await write_delimited_msg(stream, message)
    with trio.fail_after(10):
        answer = await read_delimited_msg(stream, HopMessage)
    return StatusCode(answer.status), stream


def connect_to(remote):
    return HopMessage(type=HopMessage.CONNECT, peer=CircuitPeerId(id=remote.to_bytes()))


@pytest.mark.trio
async def test_a_hidden_node_is_asked_over_a_relay(lab: Lab) -> None:
    relay = await lab.start("relay", relay_service=True)
    hidden = await reserved(lab, relay)
    assert circuit_of(hidden).endswith(f"/p2p/{relay.peer_id}/p2p-circuit/p2p/{hidden.peer_id}")
    await stop_listening(hidden._host)
    other = await lab.start("other", relay.addresses[0])
    await stop_listening(other._host)
    await until(lambda: relay.peer_id in other.remotes())
    remote = await dial(other, circuit_of(hidden))
    await until(lambda: hidden.peer_id in other.remotes() and other.peer_id in hidden.remotes())
    assert await other.ask(hidden.peer_id, b"there?", 5) == b"?ereht"
    for connection in other._host.get_network().get_connections(remote):
        assert any("/p2p-circuit/" in str(address) for address in connection.get_transport_addresses())


@pytest.mark.trio
async def test_nobody_relays_who_was_not_told_to(lab: Lab) -> None:
    ordinary = await lab.start("ordinary")
    node = await lab.start("node", ordinary.addresses[0])
    await until(lambda: node.remotes())
    await trio.sleep(0.5)
    assert circuit_of(node) is None


@pytest.mark.trio
async def test_a_node_may_do_without_relays(lab: Lab) -> None:
    relay = await lab.start("relay", relay_service=True)
    node = await lab.start("node", relay.addresses[0], circuits=False)
    await until(lambda: node.remotes())
    await trio.sleep(0.5)
    assert circuit_of(node) is None
    with pytest.raises(Unavailable, match="uses no relays"):
        await dial(node, f"{relay.addresses[0]}/p2p-circuit/p2p/{node.peer_id}")


@pytest.mark.trio
async def test_strangers_are_not_served(lab: Lab) -> None:
    relay = await lab.start("relay", relay_service=True)
    stranger = await lab.start("stranger", relay.addresses[0], chain="ffffffff")
    await until(lambda: stranger._host.get_connected_peers())
    status, _ = await hop(stranger, relay, HopMessage(type=HopMessage.RESERVE))
    assert status is StatusCode.PERMISSION_DENIED


@pytest.mark.trio
async def test_everybody_reserves_for_itself(lab: Lab) -> None:
    relay = await lab.start("relay", relay_service=True)
    node = await lab.start("node", relay.addresses[0], circuits=False)
    await until(lambda: node.peer_id in relay.remotes())
    victim = ID.from_base58("12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5")
    message = HopMessage(type=HopMessage.RESERVE, peer=CircuitPeerId(id=victim.to_bytes()))
    status, _ = await hop(node, relay, message)
    assert status is StatusCode.OK
    keeper = relay._mount._traversal._relay.resource_manager
    assert keeper.get_reservation(victim) is None
    assert keeper.get_reservation(node._host.get_id()) is not None


@pytest.mark.trio
async def test_circuits_lead_to_reserved_places_only(lab: Lab) -> None:
    relay = await lab.start("relay", relay_service=True)
    one = await lab.start("one", relay.addresses[0], circuits=False)
    other = await lab.start("other", relay.addresses[0], circuits=False)
    await until(lambda: len(relay.remotes()) == 2)
    status, _ = await hop(one, relay, connect_to(other._host.get_id()))
    assert status is StatusCode.NO_RESERVATION
    status, _ = await hop(one, relay, connect_to(one._host.get_id()))
    assert status is StatusCode.NO_RESERVATION


@pytest.mark.trio
async def test_one_remote_has_few_circuits(lab: Lab, monkeypatch) -> None:
    monkeypatch.setattr(relaying, "CIRCUITS_PER_REMOTE_MAX", 2)
    relay = await lab.start("relay", relay_service=True)
    hidden = await reserved(lab, relay)
    node = await lab.start("node", relay.addresses[0], circuits=False)
    await until(lambda: node.peer_id in relay.remotes())
    answers = [await hop(node, relay, connect_to(hidden._host.get_id())) for _ in range(3)]
    assert [status for status, _ in answers] == [
        StatusCode.OK,
        StatusCode.OK,
        StatusCode.RESOURCE_LIMIT_EXCEEDED,
    ]
    service = relay._mount._traversal._relay
    assert service._circuits == 2
    for _, stream in answers[:2]:
        await stream.reset()
    await until(lambda: service._circuits == 0)
    assert not service._carried


@pytest.mark.trio
@pytest.mark.parametrize("limit", [{"CIRCUIT_S_MAX": 0.7}, {"CIRCUIT_BYTES_MAX": 20_000}])
async def test_a_circuit_ends_idle_or_busy(lab: Lab, monkeypatch, limit) -> None:
    for name, value in limit.items():
        monkeypatch.setattr(relaying, name, value)
    monkeypatch.setattr(relaying, "Limit", lambda **_: None)
    relay = await lab.start("relay", relay_service=True)
    hidden = await reserved(lab, relay)
    node = await lab.start("node", relay.addresses[0], circuits=False)
    await until(lambda: node.peer_id in relay.remotes())
    status, stream = await hop(node, relay, connect_to(hidden._host.get_id()))
    assert status is StatusCode.OK
    service = relay._mount._traversal._relay
    assert service._circuits == 1
    if "CIRCUIT_BYTES_MAX" in limit:
        with trio.move_on_after(5):
            await stream.write(bytes(40_000))
    await until(lambda: service._circuits == 0, 5)


@pytest.mark.slow
@pytest.mark.trio
async def test_a_circuit_whose_time_is_over_is_opened_again(lab: Lab, monkeypatch) -> None:
    monkeypatch.setattr(relaying, "CIRCUIT_S_MAX", 2)
    relay = await lab.start("relay", relay_service=True)
    hidden = await reserved(lab, relay)
    await stop_listening(hidden._host)
    other = await lab.start("other", relay.addresses[0])
    await stop_listening(other._host)
    for _ in range(2):
        await until(lambda: hidden.peer_id in other.remotes())
        await until(lambda: hidden.peer_id not in other.remotes())


@pytest.mark.trio
async def test_a_circuit_that_nobody_ordered_is_refused(lab: Lab) -> None:
    node = await lab.start("node")
    remote = await lab.start("remote", node.addresses[0])
    await until(lambda: remote.peer_id in node.remotes())
    message = StopMessage(type=StopMessage.CONNECT, peer=CircuitPeerId(id=remote._host.get_id().to_bytes()))

    async def order():
        stream = await remote._host.new_stream(node._host.get_id(), [STOP_PROTOCOL_ID])
        await write_delimited_msg(stream, message)
        return await read_delimited_msg(stream, StopMessage)

    # The reset may arrive at any of these steps.
    with (
        trio.fail_after(5),
        pytest.raises((StreamFailure, StreamError, MuxedStreamError, IncompleteReadError)),
    ):
        await order()


@pytest.mark.trio
async def test_a_relay_that_fails_is_left_alone(lab: Lab, monkeypatch) -> None:
    relay = await lab.start("relay", relay_service=True)
    hidden = await reserved(lab, relay)
    relay._host.remove_stream_handler(PROTOCOL_ID)
    client = hidden._mount._traversal._circuits
    attempts = []
    stock = client._reserve

    async def counted(remote):
        attempts.append(remote)
        await stock(remote)

    monkeypatch.setattr(client, "_reserve", counted)
    # The place is to be renewed now, and the relay no longer does that.
    client._renew_at[relay._host.get_id()] = trio.current_time()
    await until(lambda: circuit_of(hidden) is None)
    await trio.sleep(1)
    assert attempts == [relay._host.get_id()]


@pytest.mark.trio
async def test_a_full_node_takes_no_circuit(lab: Lab) -> None:
    relay = await lab.start("relay", relay_service=True)
    hidden = await reserved(lab, relay)
    node = await lab.start("node", relay.addresses[0], circuits=False)
    await until(lambda: node.peer_id in relay.remotes())
    hidden._host.get_network().connection_config.max_connections = 1
    status, _ = await hop(node, relay, connect_to(hidden._host.get_id()))
    assert status is StatusCode.CONNECTION_FAILED


class StandInHost:
    def __init__(self, *listened):
        self._listened = [Multiaddr(text) for text in listened]

    def get_id(self):
        return "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"

    def get_transport_addrs(self):
        return self._listened


@pytest.mark.parametrize(
    ("fixed", "listened", "reached", "tells"),
    [
        ((), ["/ip4/192.168.1.2/tcp/1"], (), ["/ip4/192.168.1.2/tcp/1"]),
        ((), ["/ip4/0.0.0.0/tcp/1"], (), ["/ip4/0.0.0.0/tcp/1"]),
        ((), ["/ip4/0.0.0.0/tcp/1"], ("/ip4/8.8.8.8/tcp/1",), ["/ip4/8.8.8.8/tcp/1"]),
        (("/ip4/9.9.9.9/tcp/7",), ["/ip4/0.0.0.0/tcp/1"], ("/ip4/8.8.8.8/tcp/1",), ["/ip4/9.9.9.9/tcp/7"]),
        (("/dns4/node.example/tcp/7",), ["/ip4/10.0.0.1/tcp/1"], (), ["/dns4/node.example/tcp/7"]),
    ],
)
def test_addresses_that_others_can_use_are_told(fixed, listened, reached, tells):
    host, announced = StandInHost(*listened), Announced(fixed)
    announced.install(host)
    announced.reached = reached
    assert [str(at) for at in host.get_addrs()] == [f"{text}/p2p/{host.get_id()}" for text in tells]


def test_what_cannot_be_announced_is_refused():
    for text in ("nonsense", "/ip4/8.8.8.8/udp/1"):
        with pytest.raises(ValueError, match="not the multiaddr"):
            Announced([text])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/ip4/8.8.8.8/tcp/4001", True),
        ("/ip4/127.0.0.1/tcp/4001", False),
        ("/ip4/192.168.1.1/tcp/80", False),
        ("/ip4/169.254.169.254/tcp/80", False),
        ("/ip4/0.0.0.0/tcp/80", False),
        ("/ip4/8.8.8.8/udp/4001", False),
        ("/dns4/example.org/tcp/80", False),
        ("/ip6/::1/tcp/80", False),
    ],
)
def test_a_remote_cannot_make_us_dial_our_own_network(address, expected):
    assert is_open(Multiaddr(address)) is expected


def test_of_many_addresses_a_few_are_dialled():
    said = [Multiaddr(f"/ip4/8.8.8.8/tcp/{port}").to_bytes() for port in range(1, 100)]
    puncher = Puncher.__new__(Puncher)
    assert len(puncher._decode_observed_addrs(said)) == ADDRESSES_MAX


def test_an_address_over_a_relay_is_one_to_start_from():
    relay = "/ip4/8.8.8.8/tcp/1/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
    assert parse_bootstrap(f"{relay}/p2p-circuit/p2p/12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq")
