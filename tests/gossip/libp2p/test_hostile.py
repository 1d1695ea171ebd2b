"""Whatever a remote sends ends one stream at most; the node goes on serving others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from gossip_lab import CHAIN, Node, Start, follow, meet, until
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from multiaddr import Multiaddr

from p2pai.gossip.libp2p.host import make_host, reset
from p2pai.gossip.libp2p.reading import with_prefix
from p2pai.primitives.ids import PeerId

ASK = f"/p2pai/{CHAIN}/ask/1"
GOSSIP = "/meshsub/1.1.0"


@asynccontextmanager
async def enemy_of(node: Node) -> AsyncIterator[Any]:
    """Connect a bare host that speaks as the test makes it."""
    listen = "/ip4/127.0.0.1/tcp/0"
    host = make_host(create_new_key_pair(), [listen])
    async with host.run([Multiaddr(listen)]):
        try:
            await host.connect(info_from_p2p_addr(Multiaddr(node.network.addresses[0])))
            yield host
        finally:
            with trio.move_on_after(2) as scope:
                scope.shield = True
                for connection in host.get_network().get_connections():
                    await connection.close()


async def send(host: Any, node: Node, protocol: str, *parts: bytes) -> None:
    stream = await host.new_stream(node.network._host.get_id(), [protocol])
    for part in parts:
        await stream.write(part)
    await trio.sleep(0.05)
    await stream.reset()


async def check_alive(node: Node, friend: Node) -> None:
    with trio.fail_after(5):
        assert await friend.network.ask(node.network.peer_id, b"abc", 5) == b"cba"
        await friend.network.publish("t", b"still here")
        await until(lambda: b"still here" in node.seen.messages)


@pytest.mark.trio
@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (GOSSIP, b"\x05\xff\xff\xff\xff\xff"),
        (GOSSIP, b"\xff" * 12),
        (GOSSIP, b"\xff\xff\xff\x7f"),
        (GOSSIP, with_prefix(rpc_pb2.RPC(senderRecord=b"garbage").SerializeToString())),
        (GOSSIP, with_prefix(b"\x0a\x06\x08\x01\x12\x02\xff\xfe")),
        (GOSSIP, b"\x02"),
        (ASK, b"\xff\xff\xff\xff" + bytes(100)),
        (ASK, b"\x01\x00\x00\x00\x00"),
        (ASK, b"\x05\x00\x00\x00\x01\x00\x00\x00\x63"),
        (ASK, b"\x05\x00\x00\x00\x01\x00\x00\x00\x10"),
        (ASK, b"\x05\x00\x00\x00\x01\x00\x00\x00\x00"),
        (ASK, b"\x06\x00\x00\x00\x01\x00\x00\x00\x01\x00"),
        (ASK, b"\x06\x00\x00\x00\x01\x00\x00\x00\x02\x00"),
        ("/ipfs/kad/1.0.0", b"\x05\xff\xff\xff\xff\xff"),
        ("/ipfs/kad/1.0.0", b"\xff" * 12),
        ("/ipfs/id/1.0.0", b"\xff" * 12),
        ("/ipfs/id/push/1.0.0", b"\x05\xff\xff\xff\xff\xff"),
        ("/ipfs/ping/1.0.0", b"short"),
    ],
)
async def test_garbage_ends_its_stream_only(protocol: str, data: bytes, start: Start) -> None:
    node = await start("n")
    friend = await start("f", node)
    await meet(node, friend)
    await follow("t", node, friend)
    async with enemy_of(node) as enemy:
        await send(enemy, node, protocol, data)
        await check_alive(node, friend)
    assert friend.seen.gone == []


@pytest.mark.trio
async def test_a_protocol_name_that_is_not_text(start: Start) -> None:
    node = await start("n")
    friend = await start("f", node)
    await meet(node, friend)
    await follow("t", node, friend)
    async with enemy_of(node) as enemy:
        stream = await enemy.get_network().new_stream(node.network._host.get_id())
        await stream.write(b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n")
        await check_alive(node, friend)


def message(key_pair: Any, data: bytes, number: int = 1) -> Any:
    """Sign a message as libp2p does."""
    author = key_pair_id(key_pair)
    made = rpc_pb2.Message(data=data, topicIDs=["t"], from_id=author, seqno=number.to_bytes(8, "big"))
    made.signature = key_pair.private_key.sign(b"libp2p-pubsub:" + made.SerializeToString())
    return made


def key_pair_id(key_pair: Any) -> bytes:
    from libp2p.peer.id import ID

    return bytes(ID.from_pubkey(key_pair.public_key).to_bytes())


def forged_messages(victim: bytes) -> list[Any]:
    key_pair, other = create_new_key_pair(), create_new_key_pair()
    changed = message(key_pair, b"changed")
    changed.data = b"Changed"
    unsigned = message(key_pair, b"unsigned")
    unsigned.signature = b""
    stolen = message(key_pair, b"stolen")
    stolen.from_id = key_pair_id(other)
    ours = message(key_pair, b"in the node's own name")
    ours.from_id = victim
    nameless = message(key_pair, b"nameless")
    nameless.from_id = b"\xff" * 1000
    bad_key = message(key_pair, b"bad key")
    bad_key.key, bad_key.from_id = b"\xff\xff", b"\x12\x20" + bytes(32)
    two_topics = message(key_pair, b"two topics")
    two_topics.topicIDs.append("u")
    return [changed, unsigned, stolen, ours, nameless, bad_key, two_topics]


@pytest.mark.trio
async def test_forged_messages_are_not_judged(start: Start) -> None:
    node = await start("n")
    await node.network.join("t")
    honest = message(create_new_key_pair(), b"honest")
    async with enemy_of(node) as enemy:
        forged = forged_messages(node.network._host.get_id().to_bytes())
        frame = with_prefix(rpc_pb2.RPC(publish=[*forged, honest]).SerializeToString())
        await send(enemy, node, GOSSIP, frame, frame)
        await until(lambda: node.seen.messages)
    assert node.seen.messages == [b"honest"]


@pytest.mark.trio
async def test_a_topic_that_is_not_text_is_blamed(start: Start) -> None:
    node = await start("n")
    async with enemy_of(node) as enemy:
        await send(enemy, node, GOSSIP, with_prefix(b"\x0a\x06\x08\x01\x12\x02\xff\xfe"))
        remote = PeerId(str(enemy.get_id()))
        await until(lambda: node.network.warden.report(remote)["offences"] == {"malformed": 1})


@pytest.mark.trio
async def test_crumbs_cost_little(start: Start) -> None:
    # Stock: 8,000 messages in one frame cost 10 s of CPU.
    node = await start("n")
    await node.network.join("t")
    key_pair = create_new_key_pair()
    crumb = message(key_pair, b".")
    crumbs = [crumb] * 8000
    async with enemy_of(node) as enemy:
        frame = with_prefix(rpc_pb2.RPC(publish=crumbs).SerializeToString()[: 1 << 20])
        last = with_prefix(rpc_pb2.RPC(publish=[message(key_pair, b"last", 2)]).SerializeToString())
        began = trio.current_time()
        await send(enemy, node, GOSSIP, frame, last)
        await until(lambda: b"last" in node.seen.messages)
        assert trio.current_time() - began < 3


@pytest.mark.trio
async def test_plaintext_is_refused(start: Start) -> None:
    # The stock host accepts it.
    node = await start("n")
    key_pair = create_new_key_pair()
    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    host = new_host(
        key_pair=key_pair, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)}, listen_addrs=listen
    )
    async with host.run(listen):
        with trio.fail_after(20), pytest.raises(Exception, match="unable to connect"):
            await host.connect(info_from_p2p_addr(Multiaddr(node.network.addresses[0])))


@pytest.mark.trio
async def test_streams_of_one_remote_are_bounded(start: Start) -> None:
    node = await start("n")
    friend = await start("f", node)
    await meet(node, friend)
    await follow("t", node, friend)
    async with enemy_of(node) as enemy:
        streams = [await enemy.new_stream(node.network._host.get_id(), [ASK]) for _ in range(20)]
        await trio.sleep(0.1)
        assert node.network._serving.count(enemy.get_id()) == 2
        with trio.fail_after(2), pytest.raises(StreamError):
            await streams[-1].read(1)
        await check_alive(node, friend)


@pytest.mark.trio
async def test_who_comes_and_goes_is_noticed_less_and_less_often(start: Start) -> None:
    # Each time the core asks him what is new: four times a second, or as often as he opens a stream to us.
    node = await start("n")
    async with enemy_of(node) as enemy:
        enemy.set_stream_handler(ASK, reset)
        with trio.move_on_after(2.5):
            while True:
                await send(enemy, node, ASK)
                await trio.sleep(0.1)
    assert 1 <= len(node.seen.here) <= 5
