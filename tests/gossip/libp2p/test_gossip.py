"""Messages reach whom they should, once, under the loads and changes that broke the stock library."""

import pytest
import trio
from gossip_lab import Node, Start, dial_nobody, follow, meet, until

from p2pai.gossip.limits import GOSSIP_SIZE_MAX


async def start_line(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[Node, Node, Node]:
    # The two ends refuse each other, so what one says reaches the other through the middle only.
    dial_nobody(monkeypatch)
    middle = await start("m")
    left, right = await start("l", middle), await start("r", middle)
    await left.network.hangup(right.network.peer_id, 60)
    await right.network.hangup(left.network.peer_id, 60)
    await until(lambda: len(middle.network.remotes()) == 2)
    return left, middle, right


@pytest.mark.trio
async def test_a_refused_message_goes_no_further(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    left, middle, right = await start_line(start, monkeypatch)
    await follow("t", left, middle, right)
    middle.seen.accept = lambda data: data.startswith(b"good")
    await left.network.publish("t", b"bad")
    await left.network.publish("t", b"good")
    await until(lambda: right.seen.messages)
    await trio.sleep(1.5)
    assert middle.seen.messages == [b"bad", b"good"]
    assert right.seen.messages == [b"good"]


@pytest.mark.trio
async def test_messages_travel_on_and_come_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    left, middle, right = await start_line(start, monkeypatch)
    await follow("t", left, middle, right)
    for number in range(100):
        await left.network.publish("t", b"%d" % number)
    await until(lambda: len(right.seen.messages) == 100)
    await trio.sleep(1.2)
    assert right.seen.messages == middle.seen.messages == [b"%d" % number for number in range(100)]
    assert left.seen.messages == []


@pytest.mark.trio
async def test_a_burst_loses_nothing(start: Start) -> None:
    # The stock queues hold 32 messages and drop the rest without a word.
    nodes = [await start("0")]
    for name in "123":
        nodes.append(await start(name, nodes[0]))  # noqa: PERF401
    await meet(*nodes)
    await follow("t", *nodes)
    for number in range(400):
        await nodes[1].network.publish("t", number.to_bytes(4, "big").ljust(1024, b"."))
    others = [nodes[0], *nodes[2:]]
    await until(lambda: all(len(node.seen.messages) == 400 for node in others), 15)
    assert all(len(set(node.seen.messages)) == 400 for node in others)


@pytest.mark.trio
async def test_joining_a_busy_topic_tears_no_frame(start: Start, nursery: trio.Nursery) -> None:
    # Stock: recent messages are written beside the queue, and 8 of 8 joins ended in garbage.
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await hub.network.join("t")

    async def chatter() -> None:
        for number in range(60):
            await hub.network.publish("t", number.to_bytes(4, "big") + bytes(100_000))
            await trio.sleep(0.02)

    nursery.start_soon(chatter)
    await trio.sleep(0.3)
    await node.network.join("t")
    streams = dict(hub.network._pubsub.peers)
    await until(lambda: any(message[3] == 59 for message in node.seen.messages))
    heard = {message[3] for message in node.seen.messages}
    assert len(heard) == len(node.seen.messages)
    assert heard >= set(range(30, 60))
    assert hub.network._pubsub.peers == streams, "a gossip stream was replaced"


@pytest.mark.trio
async def test_leaving_and_joining_again_heals_at_once(start: Start) -> None:
    # Stock: the mesh stays one-sided for over 20 s.
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await follow("t", hub, node)
    await node.network.leave("t")
    await until(lambda: not hub.network._pubsub.router.mesh["t"])
    await hub.network.publish("t", b"nobody hears this")
    await follow("t", node, hub)
    await hub.network.publish("t", b"to the node")
    await node.network.publish("t", b"to the hub")
    await until(lambda: b"to the node" in node.seen.messages and hub.seen.messages == [b"to the hub"], 3)


@pytest.mark.trio
async def test_largest_message_and_foreign_topic(start: Start) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await follow("t", hub, node)
    await node.network.publish("other", b"nobody follows this")
    await node.network.publish("t", bytes(GOSSIP_SIZE_MAX))
    await until(lambda: hub.seen.messages == [bytes(GOSSIP_SIZE_MAX)])
    with pytest.raises(AssertionError):
        await node.network.publish("t", bytes(GOSSIP_SIZE_MAX + 1))


@pytest.mark.trio
async def test_a_late_joiner_gets_the_last_messages(start: Start) -> None:
    hub = await start("hub")
    await hub.network.join("t")
    await hub.network.publish("t", b"a moment ago")
    node = await start("n", hub)
    await node.network.join("t")
    await until(lambda: node.seen.messages == [b"a moment ago"], 5)
