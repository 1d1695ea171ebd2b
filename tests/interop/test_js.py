"""Nodes of js-libp2p take part in our network: what docs/WIRE.md says is enough to write one.

Skipped where Node.js or the packages of package.json are missing; `make interop` installs them.
"""

import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from gossip_lab import CHAIN, Node, Shelf, Start, dial_nobody, follow, meet, until

from p2pai.gossip import envelope
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId
from tests.interop.js_node import INSTALLED, JsError, JsNode, js_node, until_js

pytestmark = pytest.mark.skipif(not INSTALLED, reason="make interop installs what this needs")
slow = pytest.mark.slow

TOPIC = f"/p2pai/{CHAIN}/chain/tx/1"
SECRET = bytes(31) + b"\x07"
VECTORS = Path(__file__).parents[2] / "docs/vectors/wire.json"


@pytest.fixture
async def js() -> AsyncIterator[JsNode]:
    async with js_node(CHAIN) as node:
        yield node


def is_envelope(data: bytes) -> bool:
    try:
        envelope.open_envelope(data, TOPIC)
    except InvalidInput:
        return False
    return True


async def connect(js: JsNode, node: Node) -> None:
    await js.call("connect", remote=node.network.addresses[0])
    await until(lambda: PeerId(js.peer_id) in node.network.remotes())


async def join(js: JsNode, *nodes: Node) -> None:
    """Follow the topic on all sides, and wait until JavaScript and its first neighbour send to each other."""
    for node in nodes:
        await node.network.join(TOPIC)
    await js.call("join", topic=TOPIC)
    await until_js(js, "mesh", lambda mesh: nodes[0].network.peer_id in mesh, topic=TOPIC)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


@pytest.mark.trio
async def test_vectors(js: JsNode) -> None:
    result = await js.call("vectors", path=str(VECTORS))
    assert result["differing"] == []
    assert result["checked"] > 40


@slow
@pytest.mark.trio
async def test_connection_identify_and_ping(js: JsNode, start: Start) -> None:
    node = await start("n")
    await connect(js, node)
    described = await js.call("identify", remote=node.network.addresses[0])
    assert described["encryption"] == "/noise"
    assert described["multiplexer"] == "/yamux/1.0.0"
    assert {f"/p2pai/{CHAIN}/ask/1", "/meshsub/1.1.0", "/ipfs/kad/1.0.0"} <= set(described["protocols"])
    assert 0 <= await js.call("ping", remote=node.network.addresses[0]) < 1000


@pytest.mark.trio
async def test_gossip_both_ways_and_on(js: JsNode, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # js - middle - far: the two ends are not connected.
    dial_nobody(monkeypatch)
    middle = await start("m")
    far = await start("f", middle)
    await meet(middle, far)
    await far.network.hangup(PeerId(js.peer_id), 60)
    middle.seen.accept = far.seen.accept = is_envelope
    await connect(js, middle)
    await follow(TOPIC, middle, far)
    await join(js, middle)
    bodies = [b"small", bytes(200_000)]
    for number, body in enumerate(bodies):
        await js.call("publish", topic=TOPIC, secret=SECRET.hex(), sequence=number, body=body.hex())
    await until(lambda: len(far.seen.messages) == len(bodies))
    opened = [envelope.open_envelope(data, TOPIC) for data in far.seen.messages]
    assert [e.body for e in opened] == bodies
    assert {e.sender for e in opened} == {ecdsa.public_key(SECRET)}

    for number, body in enumerate(bodies):
        await far.network.publish(TOPIC, envelope.seal(SECRET, TOPIC, 10 + number, body))
    heard = await until_js(js, "heard", lambda heard: len(heard) == len(bodies))
    assert [h["digest"] for h in heard] == [
        digest(envelope.seal(SECRET, TOPIC, 10 + number, body)) for number, body in enumerate(bodies)
    ]
    assert {h["verdict"] for h in heard} == {"accept"}
    assert {h["from"] for h in heard} == {far.network.peer_id}


@slow
@pytest.mark.trio
async def test_false_envelopes_go_no_further(
    js: JsNode, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial_nobody(monkeypatch)
    middle = await start("m")
    far = await start("f", middle)
    await meet(middle, far)
    await far.network.hangup(PeerId(js.peer_id), 60)
    middle.seen.accept = is_envelope
    await connect(js, middle)
    await follow(TOPIC, middle, far)
    await join(js, middle)
    given = {"topic": TOPIC, "secret": SECRET.hex(), "body": b"body".hex()}
    await js.call("publish", **given, sequence=1, spoil=True)
    await js.call("publishBytes", topic=TOPIC, data=b"no envelope".hex())
    await js.call("publish", **given, sequence=2)
    await until(lambda: far.seen.messages)
    await trio.sleep(1.2)
    assert len(middle.seen.messages) == 3
    assert far.seen.messages == [envelope.seal(SECRET, TOPIC, 2, b"body")]

    middle.seen.accept = lambda data: True
    await far.network.publish(TOPIC, b"no envelope either")
    heard = await until_js(js, "heard", bool)
    assert [h["verdict"] for h in heard] == ["reject"]


@pytest.mark.trio
async def test_questions_both_ways(js: JsNode, start: Start) -> None:
    node = await start("n")
    await connect(js, node)
    remote = node.network.addresses[0]
    question = b"question" * 20_000
    answer = await js.call("ask", remote=remote, question=question.hex(), patience_ms=5000)
    assert bytes.fromhex(answer) == question[::-1]
    assert await node.network.ask(PeerId(js.peer_id), question, 10) == question[::-1]
    assert await js.call("asked") == [question.hex()]
    with pytest.raises(JsError, match="ABSENT"):
        await js.call("ask", remote=remote, question=b"nothing".hex(), patience_ms=5000)


@slow
@pytest.mark.trio
async def test_the_time_and_whom_one_knows(js: JsNode, start: Start) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await connect(js, node)
    remote = node.network.addresses[0]
    assert abs(await js.call("clock", remote=remote) - time.time() * 1000) < 10_000
    assert await js.call("known", remote=remote) == list(hub.network.addresses)


@slow
@pytest.mark.trio
async def test_blobs_both_ways(js: JsNode, start: Start) -> None:
    node = await start("n")
    await connect(js, node)
    remote = node.network.addresses[0]
    chunks = [bytes([number]) * (1 << 20) for number in range(2)] + [b"the end"]
    blob = node.seen.share(chunks)
    fetched = await js.call("fetch", remote=remote, blob=blob.hex())
    assert fetched == {"chunks": 3, "size": (2 << 20) + 7, "digest": digest(b"".join(chunks))}
    with pytest.raises(JsError, match="ABSENT"):
        await js.call("fetch", remote=remote, blob=bytes(32).hex())
    node.seen.blobs[blob][1] = b"a lie"
    with pytest.raises(JsError, match="not the chunk that the manifest names"):
        await js.call("fetch", remote=remote, blob=blob.hex())

    data = bytes(range(256)) * 5000
    theirs = bytes.fromhex(await js.call("share", data=data.hex()))
    shelf = Shelf()
    leaves = await node.network.fetch(theirs, (PeerId(js.peer_id),), shelf)
    assert b"".join(shelf.got[leaf] for leaf in leaves) == data
    with pytest.raises(Unavailable):
        await node.network.fetch(bytes(32), (PeerId(js.peer_id),), Shelf())


@slow
@pytest.mark.trio
async def test_the_dht_both_ways(js: JsNode, start: Start) -> None:
    hub = await start("hub")
    node = await start("n", hub)
    await meet(hub, node)
    await connect(js, hub)
    key = await js.call("chainKey")
    found = await until_js(js, "findProviders", bool, key=key)
    assert {info["id"] for info in found} <= {hub.network.peer_id, node.network.peer_id}
    assert all(info["addresses"] for info in found)

    # Somebody who knows only the hub finds the JavaScript node by what it put into the hub's table.
    await js.call("provide", key=key)
    late = await start("late", hub)
    await until(lambda: PeerId(js.peer_id) in late.network.remotes(), 20)


@slow
@pytest.mark.trio
async def test_joining_a_busy_topic(js: JsNode, start: Start, nursery: trio.Nursery) -> None:
    # Stock py-libp2p writes recent messages beside its queue, and the frames tear: 8 of 8 joins failed.
    hub = await start("hub")
    await connect(js, hub)
    await hub.network.join(TOPIC)
    sealed = [envelope.seal(SECRET, TOPIC, number, bytes(100_000)) for number in range(60)]

    async def chatter() -> None:
        for data in sealed:
            await hub.network.publish(TOPIC, data)
            await trio.sleep(0.02)

    nursery.start_soon(chatter)
    await trio.sleep(0.4)
    await js.call("join", topic=TOPIC)
    last = digest(sealed[-1])
    heard = await until_js(js, "heard", lambda heard: any(h["digest"] == last for h in heard))
    found = {h["digest"] for h in heard}
    assert len(found) == len(heard)
    assert found >= {digest(data) for data in sealed[40:]}
    assert hub.seen.gone == []


@slow
@pytest.mark.trio
async def test_offers_and_requests_name_the_same_messages(start: Start) -> None:
    # With another message id each offer looks new, is asked for in vain, and costs our node its score there.
    node = await start("n")
    async with js_node(CHAIN, "lazy") as js:
        await connect(js, node)
        await node.network.join(TOPIC)
        await js.call("join", topic=TOPIC)
        await until_js(js, "followers", lambda known: node.network.peer_id in known, topic=TOPIC)
        await trio.sleep(1)
        for number in range(5):
            await node.network.publish(TOPIC, envelope.seal(SECRET, TOPIC, number, b"body"))
        await until_js(js, "heard", lambda heard: len(heard) == 5)
        assert await js.call("mesh", topic=TOPIC) == []
        await trio.sleep(4.5)
        assert len(await js.call("heard")) == 5
        assert min(await js.call("scores")) >= 0


@slow
@pytest.mark.trio
async def test_killed_and_back(start: Start) -> None:
    node = await start("n")
    async with js_node(CHAIN) as first:
        await connect(first, node)
        await join(first, node)
        first.kill()
        await until(lambda: node.seen.gone == [first.peer_id], 5)
    async with js_node(CHAIN) as second:
        await connect(second, node)
        await join(second, node)
        await second.call("publish", topic=TOPIC, secret=SECRET.hex(), sequence=1, body=b"back".hex())
        await until(lambda: node.seen.messages)
        await node.network.publish(TOPIC, envelope.seal(SECRET, TOPIC, 2, b"welcome"))
        await until_js(second, "heard", lambda heard: len(heard) == 1)
