"""p2pai on a stock py-libp2p host that belongs to somebody else, beside that host's own protocols."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from gossip_lab import CHAIN, Node, Recorder, Shelf, Start, meet, until
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2pai.effects import Verdict
from p2pai.gossip.libp2p import guest as guest_module
from p2pai.gossip.libp2p.guest import GuestHost
from p2pai.gossip.libp2p.guest_gossip import GuestGossip
from p2pai.gossip.libp2p.guest_view import View, happened
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.sightings import (
    Arrived,
    Closed,
    Grafted,
    Opened,
    Outcome,
    Pruned,
    Published,
    Subscribed,
    Unsubscribed,
)
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId

ECHO = "/owner/echo/1"
SETTINGS = {"heartbeat_interval": 1, "spam_protection_enabled": False, "adaptive_gossip_enabled": False}


@dataclass
class Owner:
    """A host that somebody else made, with a protocol and a topic of its own."""

    host: Any
    pubsub: Any
    heard: list[bytes]

    @property
    def remote(self) -> PeerId:
        return PeerId(str(self.host.get_id()))


@asynccontextmanager
async def stock_host() -> AsyncIterator[Owner]:
    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    host = new_host(key_pair=create_new_key_pair(), listen_addrs=listen)
    router = GossipSub([PROTOCOL_ID_V11], 3, 2, 6, **SETTINGS)
    pubsub = Pubsub(host, router)
    owner = Owner(host, pubsub, [])

    async def echo(stream: Any) -> None:
        await stream.write(await stream.read(100))
        await stream.close()

    async def hear(subscription: Any) -> None:
        async for message in subscription:
            owner.heard.append(message.data)

    host.set_stream_handler(ECHO, echo)
    async with host.run(listen), background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear, await pubsub.subscribe("owner-topic"))
            try:
                yield owner
            finally:
                nursery.cancel_scope.cancel()
                await close_all(host)


async def close_all(host: Any) -> None:
    """Close the sockets that the stock host leaves open: their warnings are errors here."""
    with trio.move_on_after(2) as scope:
        scope.shield = True
        for connection in host.get_network().get_connections():
            await connection.close()
            await connection.muxed_conn.secured_conn.close()


@asynccontextmanager
async def guest_on(
    owner: Owner, *bootstrap: Node, chain: str = CHAIN, dht: Any = None
) -> AsyncIterator[Node]:
    seen = Recorder()
    addresses = [node.network.addresses[0] for node in bootstrap]
    network = Network(GuestHost(owner.host, owner.pubsub, dht), addresses, chain, seen)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield Node(network, seen, nursery.cancel_scope, trio.Event())
        nursery.cancel_scope.cancel()


async def follow(*nodes: Node) -> None:
    """Let all follow a topic, know it of each other, and be in one another's mesh."""
    for node in nodes:
        await node.network.join("t")
    # A stock router's graft overtakes its subscription, and to whom doesn't follow a topic nobody sends.
    await until(lambda: all(mesh_of(node) and pubsub_of(node).peer_topics.get("t") for node in nodes))


def mesh_of(node: Node) -> Any:
    return pubsub_of(node).router.mesh["t"]


def pubsub_of(node: Node) -> Any:
    gossip = node.network._pubsub
    return gossip._pubsub if isinstance(gossip, GuestGossip) else gossip


async def ask_echo(owner: Owner, data: bytes) -> bytes:
    """Ask the owner's own protocol, from a host of its own."""
    asker = new_host(key_pair=create_new_key_pair())
    async with asker.run([]):
        await asker.connect(info_from_p2p_addr(owner.host.get_addrs()[0]))
        stream = await asker.new_stream(owner.host.get_id(), [ECHO])
        await stream.write(data)
        try:
            return bytes(await stream.read(100))
        finally:
            await close_all(asker)


def marks_on(owner: Owner) -> tuple[Any, ...]:
    """Everything on a host that a guest might leave behind, or take away."""
    return (
        dict(owner.host.get_mux().handlers),
        list(owner.host.get_network().notifees),
        dict(owner.pubsub.topic_validators),
        set(owner.pubsub.topic_ids),
        set(owner.pubsub.router.mesh),
        set(owner.pubsub.blacklisted_peers),
    )


@pytest.mark.trio
async def test_a_guest_speaks_with_our_own_nodes(start: Start) -> None:
    node = await start("n")
    blob = node.seen.share([b"one chunk", b"and another"])
    async with stock_host() as owner, guest_on(owner, node) as guest:
        await meet(node, guest)
        assert guest.network.peer_id == owner.remote
        for one, other in ((node, guest), (guest, node)):
            assert await one.network.ask(other.network.peer_id, b"abc", 5) == b"cba"
        shelf = Shelf()
        await guest.network.fetch(blob, [node.network.peer_id], shelf)
        assert sorted(shelf.got.values()) == [b"and another", b"one chunk"]
        await follow(node, guest)
        for number in range(50):
            await node.network.publish("t", b"node %d" % number)
            await guest.network.publish("t", b"guest %d" % number)
            await trio.sleep(0.01)
        await until(lambda: len(node.seen.messages) == len(guest.seen.messages) == 50)
        assert set(guest.seen.messages) == {b"node %d" % number for number in range(50)}
        assert set(node.seen.messages) == {b"guest %d" % number for number in range(50)}


@pytest.mark.trio
async def test_a_guest_leaves_no_trace_and_comes_again(start: Start) -> None:
    node = await start("n")
    async with stock_host() as owner:
        before = marks_on(owner)
        for visit in range(2):
            async with guest_on(owner, node) as guest:
                await meet(node, guest)
                await follow(node, guest)
                await guest.network.publish("t", b"visit %d" % visit)
                await until(lambda: len(node.seen.messages) == visit + 1)  # noqa: B023
                assert marks_on(owner) != before
            assert marks_on(owner) == before
            await until(lambda: not node.network.remotes())
            assert owner.host.is_peer_connected(node.network._host.get_id()), "the guest closed a connection"
            assert await ask_echo(owner, b"still here") == b"still here"
    assert len(node.seen.here) == 2


@pytest.mark.trio
async def test_with_the_hosts_dht_a_guest_finds_who_it_was_not_told_of(start: Start) -> None:
    hub = await start("hub")
    far = await start("far", hub)
    async with stock_host() as owner:
        dht = KadDHT(owner.host, DHTMode.SERVER)
        async with background_trio_service(dht):
            async with guest_on(owner, hub, dht=dht) as guest:
                await meet(hub, far, guest)
            assert dht.manager.is_running


@pytest.mark.trio
async def test_the_owners_topic_and_protocol_go_on_beside_a_guest(start: Start) -> None:
    node = await start("n")
    async with stock_host() as owner, stock_host() as friend, guest_on(owner, node) as guest:
        await meet(node, guest)
        await friend.host.connect(info_from_p2p_addr(owner.host.get_addrs()[0]))
        with trio.fail_after(10):
            while not owner.heard:
                # Stock hosts may need a heartbeat or two to find each other's topics.
                await friend.pubsub.publish("owner-topic", b"from a friend")
                await trio.sleep(0.1)
        assert set(owner.heard) == {b"from a friend"}
        assert await ask_echo(owner, b"echo") == b"echo"
        assert guest.seen.messages == []


@pytest.mark.trio
async def test_guests_of_two_chains_share_a_host_and_one_of_a_chain_twice_does_not(start: Start) -> None:
    node, other = await start("n"), await start("o", chain="ffffffff")
    async with stock_host() as owner, guest_on(owner, node) as guest:
        async with guest_on(owner, other, chain="ffffffff") as second:
            await meet(node, guest)
            await meet(other, second)
            assert await node.network.ask(owner.remote, b"abc", 5) == b"cba"
            assert await other.network.ask(owner.remote, b"def", 5) == b"fed"
        with pytest.raises(ExceptionGroup) as raised:
            await Network(GuestHost(owner.host, owner.pubsub), [], CHAIN, Recorder()).run()
        assert raised.group_contains(InvalidInput, match="already")
        assert await node.network.ask(owner.remote, b"abc", 5) == b"cba"


@pytest.mark.trio
async def test_two_hosts_of_one_program_have_guests_that_meet() -> None:
    async with (
        stock_host() as one,
        stock_host() as two,
        guest_on(one) as first,
        guest_on(two, first) as second,
    ):
        await meet(first, second)
        await follow(first, second)
        await first.network.publish("t", bytes(GOSSIP_SIZE_MAX))
        await second.network.publish("t", b"small")
        await until(lambda: first.seen.messages == [b"small"])
        await until(lambda: second.seen.messages == [bytes(GOSSIP_SIZE_MAX)])


@pytest.mark.trio
async def test_a_hangup_ends_our_streams_and_no_connection(start: Start) -> None:
    node = await start("n")
    async with stock_host() as owner, guest_on(owner, node) as guest:
        await meet(node, guest)
        await guest.network.hangup(node.network.peer_id, 1.5)
        await until(lambda: guest.network.remotes() == () == node.network.remotes())
        assert owner.host.is_peer_connected(node.network._host.get_id())
        with pytest.raises(Unavailable):
            await node.network.ask(owner.remote, b"abc", 1)
        await until(lambda: guest.network.remotes() and node.network.remotes(), 5)
        assert await node.network.ask(owner.remote, b"abc", 5) == b"cba"


@pytest.mark.trio
async def test_verdicts_are_carried_out_and_seen(start: Start) -> None:
    node, far = await start("n"), await start("f")
    async with stock_host() as owner, guest_on(owner, node, far) as guest:
        await until(lambda: len(guest.network.remotes()) == 2)
        # The two know each other through the guest alone.
        await node.network.hangup(far.network.peer_id, 60)
        await far.network.hangup(node.network.peer_id, 60)
        sightings: list[Any] = []
        guest.network.observers.append(sightings.append)
        guest.seen.received = lambda remote, topic, data: Verdict[data.decode().split()[0]]
        await follow(node, guest, far)
        await until(lambda: len(mesh_of(guest)) == 2)
        for data in (b"IGNORE this", b"REJECT this", b"ACCEPT this"):
            await node.network.publish("t", data)
        await guest.network.publish("t", b"ours")
        await until(lambda: len(far.seen.messages) == 2)
        await trio.sleep(1.2)
        assert sorted(far.seen.messages) == [b"ACCEPT this", b"ours"]
    for kind in (Subscribed, Grafted):
        found = {s.remote for s in sightings if isinstance(s, kind)}
        assert found == {node.network.peer_id, far.network.peer_id}, kind
    arrived = [s for s in sightings if isinstance(s, Arrived)]
    assert [s.outcome for s in arrived] == [Outcome.IGNORED, Outcome.REJECTED, Outcome.ACCEPTED]
    assert {s.remote for s in arrived} == {node.network.peer_id}
    assert [s.message.data for s in sightings if isinstance(s, Published)] == [b"ours"]


@pytest.mark.trio
@pytest.mark.parametrize("door", ["received", "asked", "connected"])
async def test_a_bug_of_ours_ends_the_guest_and_not_the_host(
    door: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("a bug of ours")

    node = await start("n")
    async with stock_host() as owner:
        before = marks_on(owner)
        seen = Recorder()
        monkeypatch.setattr(seen, door, fail)
        network = Network(GuestHost(owner.host, owner.pubsub), node.network.addresses, CHAIN, seen)

        async def provoke() -> None:
            await node.network.join("t")
            while True:
                await node.network.publish("t", b"message")
                with suppress(Unavailable):
                    await node.network.ask(owner.remote, b"question", 0.2)
                await trio.sleep(0.1)

        async def run() -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(network.run)
                await network.join("t")
                nursery.start_soon(provoke)

        with trio.fail_after(30), pytest.raises(ExceptionGroup) as raised:
            await run()
        assert raised.group_contains(AssertionError, match="a bug of ours")
        assert marks_on(owner) == before
        assert await ask_echo(owner, b"still here") == b"still here"


@pytest.mark.trio
async def test_a_topic_that_the_owner_follows_stays_theirs() -> None:
    async with stock_host() as owner, stock_host() as friend:
        await friend.host.connect(info_from_p2p_addr(owner.host.get_addrs()[0]))

        def take_all(remote: ID, message: Any) -> bool:
            return True

        owner.pubsub.set_topic_validator("owner-topic", take_all, is_async_validator=False)
        async with guest_on(owner) as guest:
            await guest.network.join("owner-topic")
            await until(lambda: owner.pubsub.router.mesh["owner-topic"])
            await friend.pubsub.publish("owner-topic", b"for both")
            await until(lambda: owner.heard == guest.seen.messages == [b"for both"])
        assert owner.pubsub.topic_validators["owner-topic"].validator is take_all
        await friend.pubsub.publish("owner-topic", b"for the owner")
        await until(lambda: owner.heard == [b"for both", b"for the owner"])


@pytest.mark.trio
async def test_hosts_that_no_node_would_understand_are_refused() -> None:
    host = new_host(key_pair=create_new_key_pair())
    with pytest.raises(InvalidInput, match="meshsub"):
        GuestHost(host, Pubsub(host, GossipSub([PROTOCOL_ID], 3, 2, 6)))
    with pytest.raises(InvalidInput, match="strict_signing"):
        GuestHost(host, Pubsub(host, GossipSub([PROTOCOL_ID_V11], 3, 2, 6), strict_signing=False))


@pytest.mark.trio
async def test_gossip_that_does_not_run_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "READY_TIMEOUT_S", 0.1)
    host = new_host(key_pair=create_new_key_pair())
    pubsub = Pubsub(host, GossipSub([PROTOCOL_ID_V11], 3, 2, 6))
    with pytest.raises(Unavailable, match="not running"):
        await Network(GuestHost(host, pubsub), [], CHAIN, Recorder()).run()


@pytest.mark.trio
async def test_lossy_settings_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()  # the commands, tried in this process, have set it up
    host = new_host(key_pair=create_new_key_pair())
    GuestHost(host, Pubsub(host, GossipSub([PROTOCOL_ID_V11], 3, 2, 6)))
    said = capsys.readouterr().out
    for setting in ("spam_protection_enabled", "adaptive_gossip_enabled", "heartbeat_interval"):
        assert setting in said


def test_a_guest_changes_nothing_of_the_library() -> None:
    # In a process of its own: a host of ours would have changed it for good.
    code = """
import logging
import libp2p.io.trio, libp2p.network.swarm, libp2p.stream_muxer.yamux.yamux as yamux
def state():
    return (dict(vars(yamux.Yamux)), dict(vars(yamux.YamuxStream)), yamux.MAX_MESSAGE_SIZE,
        dict(vars(libp2p.io.trio.TrioTCPStream)), libp2p.network.swarm._HAPPY_EYEBALLS_DELAY,
        logging.getLogger("libp2p").level)
before = state()
import trio
import test_guest
async def main():
    async with test_guest.stock_host() as one, test_guest.stock_host() as two:
        async with test_guest.guest_on(one) as first, test_guest.guest_on(two, first) as second:
            await test_guest.meet(first, second)
    assert state() == before
    print("unchanged")
trio.run(main)
"""
    paths = f"{Path(__file__).parents[3]}:{Path(__file__).parent}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "unchanged" in done.stdout, done.stderr


def test_what_happened_between_two_looks() -> None:
    one, two = PeerId("1"), PeerId("2")
    before = View(frozenset({one}), frozenset({(one, "t")}), frozenset({(one, "t")}))
    now = View(frozenset({two}), frozenset({(two, "t")}), frozenset())
    assert happened(before, now) == [
        Opened(two),
        Subscribed(two, "t"),
        Pruned(one, "t", by_remote=False),
        Unsubscribed(one, "t"),
        Closed(one),
    ]
    assert happened(now, now) == []
