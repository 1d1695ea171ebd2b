"""Nodes find each other, talk, stop, and come back."""

import gc
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from gossip_lab import Recorder, Shelf, Start, follow, meet, until
from multiaddr import Multiaddr

from p2pai.gossip.libp2p.dialling import parse_bootstrap
from p2pai.gossip.libp2p.host import check_free
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId

ID = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq"


@pytest.mark.trio
async def test_two_who_know_only_a_third_find_each_other(start: Start) -> None:
    bridge = await start("b")
    left, right = await start("a", bridge), await start("c", bridge)
    await meet(bridge, left, right)
    assert set(left.network.remotes()) == {bridge.network.peer_id, right.network.peer_id}
    await follow("t", bridge, left, right)
    for node, data in ((left, b"from left"), (right, b"from right"), (bridge, b"from bridge")):
        await node.network.publish("t", data)
    await until(lambda: all(len(node.seen.messages) == 2 for node in (bridge, left, right)))
    await trio.sleep(0.3)
    assert sorted(left.seen.messages) == [b"from bridge", b"from right"]
    assert sorted(right.seen.messages) == [b"from bridge", b"from left"]
    assert sorted(bridge.seen.messages) == [b"from left", b"from right"]


@pytest.mark.trio
async def test_a_node_that_restarts_keeps_its_id_and_is_heard(start: Start, tmp_path: Path) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await follow("t", hub, node)
    for number in range(60):
        await node.network.publish("t", b"first life %d" % number)
    await until(lambda: len(hub.seen.messages) == 60)
    await node.stop()
    await until(lambda: hub.seen.gone == [node.network.peer_id])
    again = await start("n", hub)
    assert again.network.peer_id == node.network.peer_id
    assert stat.S_IMODE((tmp_path / "n.key").stat().st_mode) == 0o600
    await meet(hub, again)
    await follow("t", hub, again)
    for number in range(60):
        await again.network.publish("t", b"second life %d" % number)
    await until(lambda: len(hub.seen.messages) == 120)


@pytest.mark.trio
async def test_a_remote_that_is_killed_is_gone(start: Start, tmp_path: Path) -> None:
    hub = await start("hub")
    code = f"""
import trio
from pathlib import Path
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from gossip_lab import CHAIN, Recorder
host = OwnHost(Path({str(tmp_path / "k")!r}), ["/ip4/127.0.0.1/tcp/0"])
network = Network(host, {hub.network.addresses!r}, CHAIN, Recorder())
trio.run(network.run)
"""
    paths = f"{Path(__file__).parents[3]}:{Path(__file__).parent}"
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        await until(lambda: hub.network.remotes(), 20)
        (remote,) = hub.network.remotes()
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: hub.seen.gone == [remote], 5)
        assert hub.network.remotes() == ()
        with pytest.raises(Unavailable):
            await hub.network.ask(remote, b"there?", 1)
    finally:
        child.kill()
        child.wait()


@pytest.mark.trio
async def test_stopping_is_quick_and_leaves_no_socket(start: Start) -> None:
    first = await start("a")
    second = await start("b", first)
    await meet(first, second)
    began = trio.current_time()
    await second.stop()
    await first.stop()
    assert trio.current_time() - began < 2
    for node in (first, second):
        await check_free(Multiaddr(node.network.addresses[0].split("/p2p/")[0]))
    # An unclosed socket warns when collected, and warnings are errors here.
    gc.collect()


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/nonsense"])
def test_only_tcp_addresses_are_listened_on(address: str) -> None:
    with pytest.raises(ValueError, match="not the multiaddr of a TCP port"):
        OwnHost(None, [address])


@pytest.mark.trio
async def test_a_bootstrap_node_that_comes_later_is_found(start: Start) -> None:
    early = await start("hub")
    address = early.network.addresses[0]
    await early.stop()
    node = await start("n", address)
    await trio.sleep(0.5)
    assert node.network.remotes() == ()
    hub = await start("hub", listen=address.split("/p2p/")[0])
    await meet(hub, node)


@pytest.mark.trio
async def test_a_lost_remote_is_redialled(start: Start) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await node.network._host.disconnect(node.network._host.get_connected_peers()[0])
    await until(lambda: node.seen.gone and len(node.seen.here) == 2 and len(hub.seen.here) == 2)


@pytest.mark.trio
async def test_other_chains_are_strangers(start: Start) -> None:
    hub = await start("hub")
    stranger = await start("s", hub, chain="ffffffff")
    friend = await start("f", hub)
    await until(lambda: hub.network.remotes())
    await trio.sleep(0.7)
    assert hub.network.remotes() == (friend.network.peer_id,)
    assert stranger.seen.here == []


@pytest.mark.trio
async def test_a_refused_remote_stays_away_for_a_while(start: Start) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await hub.network.hangup(node.network.peer_id, 1.5)
    await until(lambda: hub.network.remotes() == ())
    await trio.sleep(1)
    assert hub.network.remotes() == ()
    await until(lambda: node.network.peer_id in hub.network.remotes(), 15)


@pytest.mark.trio
@pytest.mark.parametrize("door", ["received", "asked", "connected", "manifest"])
async def test_a_bug_of_ours_stops_the_node_with_its_error(
    door: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("a bug of ours")

    hub, buggy = await start("hub"), Recorder()
    monkeypatch.setattr(buggy, door, fail)
    host = OwnHost(tmp_path / "x.key", ["/ip4/127.0.0.1/tcp/0"])
    network = Network(host, hub.network.addresses, "0a1b2c3d", buggy)

    caught = trio.Event()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        try:
            await network.run(task_status)
        except AssertionError as error:
            assert str(error) == "a bug of ours"  # noqa: PT017
            caught.set()

    await nursery.start(run)
    with trio.move_on_after(8):
        await hub.network.join("t")
        await network.join("t")
        blob = BlobId(Hash32(bytes(32)))
        while not caught.is_set():
            await hub.network.publish("t", b"message")
            with suppress(Unavailable):
                await hub.network.ask(network.peer_id, b"question", 0.2)
            with suppress(Unavailable):
                await hub.network.fetch(blob, (), Shelf())
            await trio.sleep(0.1)
    assert caught.is_set()


@pytest.mark.trio
async def test_refused_messages_and_handlers_do_not_stop_the_node(start: Start) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    with pytest.raises(Unavailable):
        await hub.network.ask(node.network.peer_id, b"nothing", 5)
    assert await hub.network.ask(node.network.peer_id, b"abc", 5) == b"cba"


@pytest.mark.trio
async def test_a_port_in_use_is_an_error(start: Start, tmp_path: Path) -> None:
    # The library would share the port, and each node would get half of the callers.
    first = await start("a")
    taken = first.network.addresses[0].split("/p2p/")[0]
    with pytest.raises(OSError, match=f"{taken} can't be listened on: .* in use"):
        await Network(OwnHost(tmp_path / "b.key", [taken]), [], "0a1b2c3d", Recorder()).run()


@pytest.mark.trio
async def test_names_of_nobody_are_unavailable(start: Start) -> None:
    node = await start("a")
    nobody = PeerId("not a peer id")
    with pytest.raises(Unavailable):
        await node.network.ask(nobody, b"abc", 1)
    with pytest.raises(Unavailable):
        await node.network.fetch(BlobId(Hash32(bytes(32))), [nobody, PeerId("")], Shelf())
    await node.network.hangup(nobody, 1)


def test_a_bootstrap_address_without_an_id_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiaddr"):
        Network(OwnHost(tmp_path / "k", []), ["/ip4/127.0.0.1/tcp/1"], "0a1b2c3d", Recorder())
    with pytest.raises(ValueError, match="multiaddr"):
        parse_bootstrap("localhost:4001")


@pytest.mark.parametrize("typed", [f"{ID}a", ID[:-1], f"{ID[:9]}x{ID[9:]}", f"{ID[:20]}0{ID[21:]}"])
def test_a_mistyped_peer_id_is_named(typed: str) -> None:
    for text in (f"/ip4/8.8.8.8/tcp/1/p2p/{typed}", f"/ip4/8.8.8.8/tcp/1/p2p/{typed}/p2p-circuit/p2p/{ID}"):
        with pytest.raises(ValueError, match=f"{typed} is no peer id"):
            parse_bootstrap(text)


@pytest.mark.trio
async def test_a_node_on_all_interfaces_says_where_it_is_found(start: Start) -> None:
    node = await start("a", listen="/ip4/0.0.0.0/tcp/0")
    addresses = node.network.addresses
    assert not any("/0.0.0.0/" in address for address in addresses)
    assert all(address.endswith(f"/p2p/{node.network.peer_id}") for address in addresses)
    assert addresses[-1].startswith("/ip4/127.0.0.1/")
    for number, address in enumerate(addresses):
        caller = await start(f"caller{number}", address)
        await until(lambda caller=caller: node.network.peer_id in caller.network.remotes())
