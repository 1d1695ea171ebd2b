"""Nobody makes a node dial its own machine or local network who couldn't do so himself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import varint
from gossip_lab import Start, until
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from multiaddr import Multiaddr
from test_hostile import enemy_of

from p2pai.gossip.addresses import Scope
from p2pai.gossip.libp2p import census
from p2pai.gossip.libp2p.dial_gate import DialGate, scope_at
from p2pai.gossip.libp2p.host import guarded
from p2pai.gossip.libp2p.reading import BufferedReader

FAR = "8.8.8.8"


@asynccontextmanager
async def victim(calls: list[bytes]) -> AsyncIterator[int]:
    """A service of our own machine."""

    async def serve(stream: trio.SocketStream) -> None:
        calls.append(await stream.receive_some(64))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def some_id() -> ID:
    return ID.from_pubkey(create_new_key_pair().public_key)


async def lie(address: str, stream: Any) -> None:
    """Answer whoever looks for somebody that there is one at an address."""
    reader = BufferedReader(stream)
    while True:
        await reader.prefixed(1 << 16)
        answer = Message(type=Message.FIND_NODE)
        answer.closerPeers.add(id=some_id().to_bytes(), addrs=[Multiaddr(address).to_bytes()])
        data = answer.SerializeToString()
        await stream.write(varint.encode(len(data)) + data)


@pytest.mark.trio
@pytest.mark.parametrize("enemy_at", ["127.0.0.1", FAR])
async def test_the_dht_dials_what_whoever_is_connected_could_dial(
    enemy_at: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "_host_of", lambda _: enemy_at)
    node = await start("n")
    calls: list[bytes] = []
    async with victim(calls) as port, enemy_of(node) as enemy:
        enemy.set_stream_handler("/ipfs/kad/1.0.0", guarded(partial(lie, f"/ip4/127.0.0.1/tcp/{port}")))
        routing = node.network._discovery.search._dht.peer_routing
        with trio.fail_after(10):
            found = await routing._query_peer_for_closest(enemy.get_id(), b"key")
            await routing._query_peer_for_closest(found[0], b"key")
        if enemy_at == FAR:
            assert calls == []
        else:
            await until(lambda: calls)


@pytest.mark.trio
@pytest.mark.parametrize("enemy_at", ["127.0.0.1", FAR])
async def test_so_is_a_provider_that_is_looked_for(
    enemy_at: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "_host_of", lambda _: enemy_at)
    node, provider = await start("n"), some_id()
    calls: list[bytes] = []
    async with victim(calls) as port, enemy_of(node):
        store = node.network._host.get_peerstore()
        store.add_addrs(provider, [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")], 600)
        with trio.move_on_after(5):
            assert not await node.network._discovery.find(provider)
        assert bool(calls) is (enemy_at != FAR)


@pytest.mark.trio
async def test_what_was_chosen_is_dialled_wherever_it_is() -> None:
    gate, near = DialGate(), Multiaddr("/ip4/10.0.0.1/tcp/4001")
    relayed = Multiaddr(f"/ip4/10.0.0.1/tcp/4001/p2p/{some_id()}/p2p-circuit/p2p/{some_id()}")
    assert await gate.is_allowed(near)
    gate._farthest = Scope.WORLD
    for chosen in (near, relayed):
        assert not await gate.is_allowed(near)
        with gate.open_for(chosen):
            assert await gate.is_allowed(near)
            assert not await gate.is_allowed(Multiaddr("/ip4/10.0.0.1/tcp/4002"))
    assert not await gate.is_allowed(near)
    assert await gate.is_allowed(Multiaddr(f"/ip4/{FAR}/tcp/4001"))


@pytest.mark.parametrize(
    "text", ["/dns4/a.example/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1", "/ip4/0.0.0.0/tcp/1"]
)
def test_names_and_other_transports_are_not_dialled(text: str) -> None:
    assert scope_at(Multiaddr(text)) is None
