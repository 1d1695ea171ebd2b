"""A node's gossip in numbers, and messages published for tests, over its RPC."""

from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from recordings import OTHER, head, message
from test_rpc import BUSY_S, Node

from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.meter import Meter
from p2pai.gossip.recording import Reading
from p2pai.gossip.sightings import Arrived, Grafted, Opened, Outcome, Published, Sent, Subscribed
from p2pai.primitives.errors import InvalidInput
from p2pai.shell import rpc
from p2pai.shell.client import RpcClient
from p2pai.shell.recorder import Recorder
from p2pai.shell.watching import Watching

STANDING = (Opened(OTHER), Subscribed(OTHER, "t"), Grafted(OTHER, "t", True))


class Wire:
    """A network that sends what is published to three remotes, one of them twice."""

    def __init__(self):
        self.observers = []
        self.published = []

    async def publish(self, topic, data):
        self.published.append((topic, data))
        said = message(len(self.published))
        for sighting in (
            Published(type(said)(said.id, said.author, topic, data)),
            *(Sent(remote, topic, said.id, len(data)) for remote in ("a", "b", "c", "c")),
            Sent("d", topic, b"another message", 1),
        ):
            for observe in self.observers:
                observe(sighting)


@asynccontextmanager
async def served(directory):
    wire = Wire()
    watching = Watching(
        wire.observers, wire.publish, lambda remote: {"score": -len(remote)}, lambda: {"stream": 2}
    )
    gossip = Recorder(head(), wire.observers, watching.standing)
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(rpc.run_server, Node(), directory, 0, (), gossip, watching)
            yield wire, RpcClient(directory)
            nursery.cancel_scope.cancel()


async def test_numbers_since_the_start(tmp_path):
    async with served(tmp_path) as (wire, client):
        for sighting in (*STANDING, Arrived(OTHER, message(1), Outcome.ACCEPTED)):
            wire.observers[0](sighting)
        report = await trio.to_thread.run_sync(client.report)
    by_topic = {row["topic"]: row for row in report["topics"]}
    assert report["lost"] == {"stream": 2}
    assert by_topic[message(1).topic]["messages"] == 1
    assert by_topic["t"]["followers"] == [OTHER]
    assert [(m["remote"], m["by_remote"]) for m in by_topic["t"]["mesh"]] == [(OTHER, True)]
    assert [(row["remote"], row["score"]) for row in report["remotes"]] == [(OTHER, -len(OTHER))]
    assert report["began_us"] < by_topic["t"]["mesh"][0]["since_us"] <= report["now_us"]


async def test_publishing_tells_for_how_many_it_was_queued(tmp_path):
    async with served(tmp_path) as (wire, client):
        assert await trio.to_thread.run_sync(client.publish, "t", b"data") == 3
        assert wire.published == [("t", b"data")]
        assert len(wire.observers) == 1
        for topic, data in (("", b""), ("t" * 257, b""), ("t", bytes(GOSSIP_SIZE_MAX + 1))):
            with pytest.raises(InvalidInput):
                await trio.to_thread.run_sync(client.publish, topic, data)
        assert len(wire.published) == 1


async def test_strangers_neither_see_nor_publish(tmp_path):
    async with served(tmp_path) as (wire, client):
        url, _ = client._find()
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(url.replace("/rpc", "/gossip/report"))).status_code == 401
            assert (await http.post(url.replace("/rpc", "/gossip/publish?topic=t"))).status_code == 401
        assert not wire.published


def test_a_recording_begins_with_what_stands():
    observers = []
    watching = Watching(observers, Wire().publish, lambda remote: {})
    for sighting in STANDING:
        observers[0](sighting)
    with Recorder(head(), observers, watching.standing).reading() as feed:
        entries = list(Reading([feed.rest()]))
    assert tuple(entry.what for entry in entries) == STANDING
    again = Meter(0)
    for entry in entries:
        again.see(entry.what, entry.time_us)
    assert tuple(again.standing()) == STANDING
