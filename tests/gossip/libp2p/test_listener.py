"""A listener hears real nodes, forwards what is signed and nothing else, and is asked nothing."""

import subprocess
import sys

import pytest
import trio
from gossip_lab import CHAIN, Start, follow, meet, until

from p2pai.gossip.envelope import seal
from p2pai.gossip.libp2p.listener import Listener
from p2pai.gossip.libp2p.observing import count_sent
from p2pai.gossip.sightings import Arrived, Outcome, Published
from p2pai.gossip.topics import Topic, matches
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, TaskId
from tests.chain.ledger import keys

BLOCK = str(Topic(CHAIN, None, "block"))
TX = str(Topic(CHAIN, None, "tx"))
IT_RES = str(Topic(CHAIN, TaskId(Hash32(bytes(32))), "it_res"))


@pytest.fixture
async def listen(nursery):
    """Start listeners that end with the test."""

    async def start_listener(wants, *nodes):
        listener = Listener(CHAIN, [node.network.addresses[0] for node in nodes], wants)
        listener.seen = []
        listener.observers.append(listener.seen.append)
        with trio.fail_after(5):
            await nursery.start(listener.run)
        return listener

    return start_listener


def sealed(topic, number):
    return seal(keys(1).spending, topic, number, b"body %d" % number)


def heard(listener, outcome=Outcome.ACCEPTED):
    return [s.message.data for s in listener.seen if isinstance(s, Arrived) and s.outcome is outcome]


@pytest.mark.trio
async def test_it_joins_by_pattern_follows_tasks_and_is_no_remote_to_ask(start: Start, listen) -> None:
    first = await start("a")
    second = await start("b", first)
    await meet(first, second)
    await follow(BLOCK, first, second)
    listener = await listen(lambda topic: matches(topic, "it_*") or matches(topic, "block"), first)
    await until(lambda: listener.joined() == (BLOCK,))
    await follow(TX, first, second)
    await follow(IT_RES, first, second)
    await until(lambda: set(listener.joined()) == {BLOCK, IT_RES})
    await until(lambda: first.network._pubsub.router.mesh[IT_RES] >= {listener._mount.id})
    await second.network.publish(IT_RES, sealed(IT_RES, 1))
    await second.network.publish(TX, sealed(TX, 2))
    await until(lambda: heard(listener) == [sealed(IT_RES, 1)])
    for node in (first, second):
        await node.network.leave(IT_RES)
    await until(lambda: listener.joined() == (BLOCK,))
    # It found the second node through the first one's DHT, and neither counts it among those it can ask.
    await until(lambda: listener._gossip.host.is_peer_connected(second.network._mount.id))
    assert listener.peer_id not in (*first.network.remotes(), *second.network.remotes())


@pytest.mark.trio
async def test_it_passes_on_what_is_signed_and_nothing_else(start: Start, listen) -> None:
    # The two nodes know nothing of each other: all that one hears of the other came through the listener.
    left, right = await start("a"), await start("b")
    for node in (left, right):
        await node.network.join(BLOCK)
    listener = await listen(lambda topic: True, left, right)
    await until(lambda: len(listener._gossip.router.mesh.get(BLOCK, ())) == 2)
    await until(lambda: left.network._pubsub.router.mesh[BLOCK])
    for data in (b"garbage", sealed(TX, 1), sealed(BLOCK, 2)):
        await left.network.publish(BLOCK, data)
    await until(lambda: right.seen.messages == [sealed(BLOCK, 2)])
    assert heard(listener, Outcome.REJECTED) == [b"garbage", sealed(TX, 1)]


@pytest.mark.trio
async def test_publishing_tells_how_many_it_was_sent_to(start: Start, listen) -> None:
    nodes = [await start("a")]
    nodes.append(await start("b", nodes[0]))
    await meet(*nodes)
    await follow(BLOCK, *nodes)
    assert await count_sent(nodes[0].network.observers, BLOCK, b"x", nodes[0].network.publish) == 1
    listener = await listen(lambda topic: False, *nodes)
    await until(lambda: len(listener._gossip.peer_topics.get(BLOCK, ())) == 2)
    assert listener.followed() == (BLOCK,)
    assert await listener.publish(BLOCK, sealed(BLOCK, 1)) == 2
    assert await listener.publish("nobody's", b"") == 0
    assert sum(isinstance(s, Published) for s in listener.seen) == 2
    assert len(listener.observers) == 1
    await until(lambda: all(sealed(BLOCK, 1) in node.seen.messages for node in nodes))


@pytest.mark.parametrize("bootstrap", [[], ["/ip4/127.0.0.1/tcp/1"], ["nowhere"]])
def test_a_wrong_address_is_refused(bootstrap) -> None:
    with pytest.raises(InvalidInput):
        Listener(CHAIN, bootstrap, lambda topic: True)


def test_nothing_of_it_loads_jax() -> None:
    code = (
        "import sys, p2pai.cli.main, p2pai.gossip.libp2p.listener, p2pai.shell.listening;"
        "sys.exit(any(name.split('.')[0] in ('jax', 'flax', 'numpy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
