"""What the stock gossip does to messages without a word (docs/upstream), and ours does not."""

from typing import Any

import pytest
import trio
from gossip_lab import Node, Start, follow, meet, until
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from multiaddr import Multiaddr
from test_hostile import GOSSIP, enemy_of, message, send

from p2pai.gossip.libp2p.reading import with_prefix
from p2pai.gossip.libp2p.router import HEARTBEAT_S, MeshRouter


async def start_pair(start: Start) -> tuple[Node, Node]:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    return hub, node


def test_the_heartbeat_stays_as_it_is() -> None:
    # Stock: a node that is alone goes from 1 s to 30 s.
    router = MeshRouter()
    router.network_health_score = 0.0
    router._adapt_gossip_parameters()
    assert router.heartbeat_interval == HEARTBEAT_S


@pytest.mark.trio
async def test_an_older_record_costs_no_message(start: Start) -> None:
    node = await start("n")
    await node.network.join("t")
    key_pair = create_new_key_pair()
    author = ID.from_pubkey(key_pair.public_key)
    frames = []
    for number, sequence in enumerate((2**62, 2**62 - 1)):
        rpc = rpc_pb2.RPC(publish=[message(key_pair, b"%d" % number, number)])
        record = PeerRecord(author, [Multiaddr("/ip4/127.0.0.1/tcp/1")], sequence)
        rpc.senderRecord = seal_record(record, key_pair.private_key).marshal_envelope()
        frames.append(with_prefix(rpc.SerializeToString()))
    async with enemy_of(node) as enemy:
        await send(enemy, node, GOSSIP, *frames)
        await until(lambda: node.seen.messages == [b"0", b"1"])


@pytest.mark.trio
async def test_no_record_is_sent(start: Start) -> None:
    # Stock: one in every RPC, verified by each receiver each time.
    hub, node = await start_pair(start)
    await follow("t", hub, node)
    sent: list[bytes] = []
    remote = ID.from_base58(node.network.peer_id)
    outbox = hub.network._pubsub.peer_queues[remote]
    stock = outbox.push
    outbox.push = lambda frame, **given: sent.append(frame) or stock(frame, **given)
    await hub.network.publish("t", b"x")
    await hub.network.join("u")
    await hub.network._pubsub.router.emit_graft("t", remote)
    await until(lambda: node.seen.messages and len(sent) >= 3)
    for frame in sent:
        rpc = rpc_pb2.RPC()
        rpc.ParseFromString(frame[1 if frame[0] < 0x80 else 2 :])
        assert not rpc.HasField("senderRecord")


@pytest.mark.trio
async def test_offers_name_messages_as_they_are_known(start: Start) -> None:
    hub, node = await start_pair(start)
    await follow("t", hub, node)
    await hub.network.publish("t", b"x")
    await until(lambda: node.seen.messages)
    (offered,) = hub.network._pubsub.router.mcache.window("t")
    assert node.network._pubsub.seen_messages.has(offered)


@pytest.mark.trio
async def test_no_message_is_kept_for_good(start: Start) -> None:
    # Stock: up to 1,000 whole messages, and 100 more for every remote that doesn't follow the topic.
    hub, node = await start_pair(start)
    await hub.network.join("t")
    router = hub.network._pubsub.router
    for number in range(200):
        await hub.network.publish("t", number.to_bytes(4, "big"))
    for _ in range(router.mcache.history_size):
        router.mcache.shift()
    assert not router.mcache.msgs
    assert not router.equivocation_detection
    assert not router._pending_messages
    assert node.seen.messages == []


@pytest.mark.trio
async def test_a_node_is_not_muted_by_what_it_refuses_itself(start: Start) -> None:
    hub, node = await start_pair(start)
    await follow("t", hub, node)
    node.seen.accept = lambda data: False
    for number in range(20):
        await node.network.publish("t", b"%d" % number)
    await until(lambda: len(hub.seen.messages) == 20)
    assert node.seen.messages == []


@pytest.mark.trio
async def test_nobody_is_dialled_because_a_remote_names_him(start: Start) -> None:
    # Stock: a PRUNE makes a node connect to up to 16 others, whoever they are.
    node, victim = await start("n"), await start("v", chain="ffffffff")
    await node.network.join("t")
    record = PeerRecord(ID.from_base58(victim.network.peer_id), [address_of(victim)])
    named = rpc_pb2.PeerInfo(peerID=record.peer_id.to_bytes())
    private_key = victim.network._host.get_private_key()
    named.signedPeerRecord = seal_record(record, private_key).marshal_envelope()
    control = rpc_pb2.ControlMessage(prune=[rpc_pb2.ControlPrune(topicID="t", peers=[named])])
    last = message(create_new_key_pair(), b"last")
    async with enemy_of(node) as enemy:
        pruning, speaking = rpc_pb2.RPC(control=control), rpc_pb2.RPC(publish=[last])
        frames = [with_prefix(rpc.SerializeToString()) for rpc in (pruning, speaking)]
        await send(enemy, node, GOSSIP, *frames)
        await until(lambda: node.seen.messages)
        await trio.sleep(0.5)
        assert record.peer_id not in node.network._host.get_connected_peers()


@pytest.mark.trio
async def test_a_topic_followed_while_a_stream_opens_is_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, node = await start("hub"), await start("n")
    host = node.network._host
    stock = host.new_stream

    async def open_slowly(remote: Any, protocols: Any) -> Any:
        stream = await stock(remote, protocols)
        write = stream.write

        async def write_slowly(data: bytes) -> None:
            await trio.sleep(0.3)
            await write(data)

        stream.write = write_slowly
        await trio.sleep(0.3)
        return stream

    monkeypatch.setattr(host, "new_stream", open_slowly)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.connect, info_from_p2p_addr(Multiaddr(hub.network.addresses[0])))
        for number in range(16):
            await node.network.join(str(number))
            await trio.sleep(0.05)
    topics = hub.network._pubsub.peer_topics
    await until(lambda: all(host.get_id() in topics.get(str(number), ()) for number in range(16)))


def address_of(node: Node) -> Multiaddr:
    return Multiaddr(node.network.addresses[0].split("/p2p/")[0])


@pytest.mark.slow
@pytest.mark.trio
async def test_a_full_mesh_of_ten_loses_nothing(start: Start) -> None:
    # Stock: 61 % delivered, because who prunes does not back off. Joining through one seed is quick, too.
    seed = await start("0")
    nodes = [seed, *[await start(str(number), seed) for number in range(1, 10)]]
    began = trio.current_time()
    await until(lambda: all(len(node.network.remotes()) == 9 for node in nodes), 60)
    assert trio.current_time() - began < 30
    await follow("t", *nodes)
    for number in range(60):
        await nodes[number % 10].network.publish("t", b"%d" % number)
        await trio.sleep(0.25)
    await until(lambda: all(len(node.seen.messages) == 54 for node in nodes), 20)
    assert all(len(set(node.seen.messages)) == 54 for node in nodes)
