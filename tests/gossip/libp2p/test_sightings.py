"""What observers of gossip see, in order, on real nodes."""

from typing import Any

import pytest
import trio
from gossip_lab import Node, Start, follow, meet, until

from p2pai.gossip.sightings import (
    Arrived,
    Closed,
    Grafted,
    Opened,
    Outcome,
    Pruned,
    Published,
    Sent,
    Sighting,
    Subscribed,
    Unsubscribed,
)


def watch(node: Node) -> list[Sighting]:
    seen: list[Sighting] = []
    node.network.observers.append(seen.append)
    return seen


def of(seen: list[Sighting], kind: type) -> list[Any]:
    return [sighting for sighting in seen if type(sighting) is kind]


@pytest.mark.trio
async def test_a_message_is_seen_where_it_is_said_and_where_it_arrives(start: Start) -> None:
    node, friend = await start("n"), None
    ours = watch(node)
    friend = await start("f", node)
    theirs = watch(friend)
    await meet(node, friend)
    await follow("t", node, friend)
    await friend.network.publish("t", b"hello")
    await until(lambda: of(ours, Arrived))
    published = of(theirs, Published)[0].message
    assert (published.topic, published.data) == ("t", b"hello")
    assert of(ours, Arrived) == [Arrived(friend.network.peer_id, published, Outcome.ACCEPTED)]
    assert of(theirs, Sent) == [Sent(node.network.peer_id, "t", published.id, 5)]


@pytest.mark.trio
@pytest.mark.parametrize(
    ("accepts", "outcome"), [(True, Outcome.ACCEPTED), (False, Outcome.IGNORED)], ids=["accepted", "ignored"]
)
async def test_the_outcome_is_the_nodes_verdict(accepts: bool, outcome: Outcome, start: Start) -> None:  # noqa: FBT001
    node = await start("n")
    friend = await start("f", node)
    seen = watch(node)
    node.seen.accept = lambda data: accepts
    await meet(node, friend)
    await follow("t", node, friend)
    await friend.network.publish("t", b"hello")
    await until(lambda: of(seen, Arrived))
    assert [sighting.outcome for sighting in of(seen, Arrived)] == [outcome]


@pytest.mark.trio
async def test_a_second_path_gives_a_duplicate(start: Start) -> None:
    nodes = [await start("a")]
    for name in ("b", "c"):
        nodes.append(await start(name, *nodes))
    await meet(*nodes)
    await follow("t", *nodes)
    seen = watch(nodes[0])
    for number in range(20):
        await nodes[2].network.publish("t", bytes([number]))
        await trio.sleep(0.01)
    await until(lambda: any(sighting.outcome is Outcome.DUPLICATE for sighting in of(seen, Arrived)))
    firsts = [sighting for sighting in of(seen, Arrived) if sighting.outcome is Outcome.ACCEPTED]
    assert len({sighting.message.id for sighting in firsts}) == len(firsts)


@pytest.mark.trio
async def test_coming_following_grafting_and_the_way_back(start: Start) -> None:
    node = await start("n")
    seen = watch(node)
    friend = await start("f", node)
    remote = friend.network.peer_id
    await meet(node, friend)
    await follow("t", node, friend)
    assert of(seen, Opened) == [Opened(remote)]
    assert of(seen, Subscribed) == [Subscribed(remote, "t")]
    assert [(s.remote, s.topic) for s in of(seen, Grafted)] == [(remote, "t")]
    await friend.network.leave("t")
    await until(lambda: of(seen, Unsubscribed))
    assert of(seen, Pruned) == [Pruned(remote, "t", by_remote=True)]
    await friend.stop()
    await until(lambda: of(seen, Closed))
