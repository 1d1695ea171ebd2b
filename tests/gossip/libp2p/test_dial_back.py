"""Remotes tell whether they reach a node, by calling it anew, and what time it is."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from gossip_lab import CHAIN, Recorder, Start, meet, until
from libp2p.host.autonat.autonat import AUTONAT_PROTOCOL_ID, AutoNATService
from libp2p.host.autonat.pb.autonat_pb2 import Message
from libp2p.network.stream.exceptions import StreamError
from libp2p.stream_muxer.exceptions import MuxedStreamError
from multiaddr import Multiaddr

from p2pai.gossip.libp2p import dial_back, outside
from p2pai.gossip.libp2p.dial_back import DialBacks
from p2pai.gossip.libp2p.host import stop_listening
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.gossip.libp2p.traversal import Ways
from p2pai.gossip.reachability import Reach
from p2pai.primitives.errors import Unavailable


@pytest.mark.trio
async def test_nodes_learn_that_they_are_reached_and_what_time_it_is(start: Start) -> None:
    hub = await start("hub")
    node = await start("node", hub)
    await meet(hub, node)
    await until(lambda: hub.network.outlook().tried_by and node.network.outlook().tried_by)
    for each in (hub, node):
        outlook = each.network.outlook()
        assert outlook.reach is Reach.REACHABLE
        assert outlook.addresses == (each.network.addresses[0].partition("/p2p/")[0],)
        assert outlook.clocks == 1
        assert abs(outlook.clock_ahead_ms) <= outlook.clock_error_ms + 5


@pytest.mark.trio
async def test_a_node_that_nobody_can_call_learns_it_although_it_is_connected(start: Start) -> None:
    hub = await start("hub")
    node = await start("node", hub)
    await meet(hub, node)
    # As behind a router: what it called stays connected, nobody calls it.
    listened = [str(address) for address in node.network._host.get_transport_addrs()]
    await stop_listening(node.network._host)
    asker = DialBacks(node.network._host, lambda remote: True)
    with trio.fail_after(10):
        assert (await asker.ask(hub.network._host.get_id(), listened)).address is None
    assert node.network.remotes() == (hub.network.peer_id,)


@pytest.mark.trio
async def test_a_remote_without_the_protocol_has_no_say(start: Start, monkeypatch) -> None:
    monkeypatch.setattr(outside, "POLL_S", 0.05)
    hub = await start("hub")
    hub.network._host.remove_stream_handler(AUTONAT_PROTOCOL_ID)
    node = await start("node", hub)
    await until(lambda: node.network.outlook().clocks)
    await trio.sleep(0.3)
    assert node.network.outlook().reach is Reach.UNKNOWN


@pytest.mark.trio
async def test_a_port_that_a_router_passes_on_is_called(start: Start, tmp_path: Path, nursery) -> None:
    hub = await start("hub")

    async def pass_on(caller):
        async with (
            caller,
            await trio.open_tcp_stream("127.0.0.1", port) as inside,
            trio.open_nursery() as both,
        ):
            both.start_soon(copy, caller, inside)
            both.start_soon(copy, inside, caller)

    async def copy(source, sink):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()

    (router,) = await nursery.start(partial(trio.serve_tcp, pass_on, 0, host="127.0.0.1"))
    outside = f"/ip4/127.0.0.1/tcp/{router.socket.getsockname()[1]}"
    mount = OwnHost(tmp_path / "node", ["/ip4/127.0.0.1/tcp/0"], ways=Ways(announce=(outside,)))
    network = Network(mount, [hub.network.addresses[0]], CHAIN, Recorder())
    await nursery.start(network.run)
    port = int(str(network._host.get_transport_addrs()[0]).split("/")[4])
    assert network.addresses == (f"{outside}/p2p/{network.peer_id}",)
    await until(lambda: network.outlook().tried_by)
    assert network.outlook().addresses == (outside,)


@pytest.mark.trio
async def test_a_remote_that_says_it_reached_another_port_is_not_believed(start: Start, monkeypatch) -> None:
    hub = await start("hub")
    node = await start("node", hub)
    await meet(hub, node)
    asker = DialBacks(node.network._host, lambda remote: True)

    async def lie(*_):
        return Message.OK, Multiaddr("/ip4/198.51.100.1/tcp/22").to_bytes()

    monkeypatch.setattr(asker, "query_server", lie)
    with pytest.raises(Unavailable, match="isn't ours"):
        await asker.ask(hub.network._host.get_id(), ["/ip4/0.0.0.0/tcp/4001"])


@pytest.mark.trio
async def test_one_remote_is_served_now_and_then(start: Start, monkeypatch) -> None:
    monkeypatch.setattr(outside, "POLL_S", 1000.0)
    hub = await start("hub")
    node = await start("node", hub)
    await meet(hub, node)
    server = DialBacks(hub.network._host, lambda remote: remote != hub.network._host.get_id())
    monkeypatch.setattr(dial_back, "RESTING_MAX", 2)
    remotes = [f"remote {number}" for number in range(4)]
    assert not server._may_ask(hub.network._host.get_id())
    assert server._may_ask(remotes[0])
    assert not server._may_ask(remotes[0])
    assert all(server._may_ask(remote) for remote in remotes[1:])
    assert len(server._served_at) == 2
    server._serving.update(remotes)
    assert not server._may_ask("remote 4")


@pytest.mark.trio
async def test_only_the_address_that_the_asker_comes_from_is_called() -> None:
    said = [
        Multiaddr("/ip4/192.168.1.5/tcp/4001"),
        Multiaddr("/ip4/198.51.100.9/tcp/22"),
        Multiaddr("/dns4/x.org"),
    ]
    addresses = [b"\xff garbage", *(address.to_bytes() for address in said)]
    called = DialBacks._filter_by_observed_ip(addresses, "203.0.113.7")
    assert [str(Multiaddr(address)) for address in called] == [
        "/ip4/203.0.113.7/tcp/4001",
        "/ip4/203.0.113.7/tcp/22",
    ]
    assert DialBacks._filter_by_observed_ip(addresses, None) == []
    many = [Multiaddr(f"/ip4/1.2.3.4/tcp/{port}").to_bytes() for port in range(1, 100)]
    assert len(DialBacks._filter_by_observed_ip(many, "203.0.113.7")) == dial_back.ADDRESSES_MAX


@pytest.mark.trio
async def test_garbage_ends_one_stream(start: Start, monkeypatch) -> None:
    monkeypatch.setattr(outside, "POLL_S", 1000.0)
    hub = await start("hub")
    node = await start("node", hub)
    await meet(hub, node)
    stream = await node.network._host.new_stream(hub.network._host.get_id(), [AUTONAT_PROTOCOL_ID])
    await stream.write(b"\x05garba")
    with trio.fail_after(5), pytest.raises((MuxedStreamError, StreamError)):
        await stream.read(100)
    assert await node.network.ask(hub.network.peer_id, b"there?", 2) == b"?ereht"


@pytest.mark.trio
async def test_the_librarys_own_service_calls_everybody_reachable(start: Start) -> None:
    """Why `DialBacks` exists; when this fails, py-libp2p has mended it."""
    hub = await start("hub")
    node = await start("node", hub)
    await meet(hub, node)
    listened = [address.to_bytes() for address in node.network._host.get_transport_addrs()]
    await stop_listening(node.network._host)
    AutoNATService(hub.network._host)
    with trio.fail_after(10):
        status, _ = await AutoNATService(node.network._host, serve=False).query_server(
            hub.network._host.get_id(), listened
        )
    assert status == Message.OK
