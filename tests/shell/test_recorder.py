"""A node's gossip over its RPC: a recording from now on, free where nobody reads, safe where one is slow."""

import json

import httpx
import pytest
import trio
import trio.lowlevel
from recordings import OTHER, head, message
from test_rpc import BUSY_S, Node
from test_runtime import until

from p2pai.gossip.recording import Holds, Reading
from p2pai.gossip.sightings import Closed, Published
from p2pai.primitives.errors import Unavailable
from p2pai.shell import recorder, rpc
from p2pai.shell.client import RpcClient
from p2pai.shell.recorder import Feed, Recorder


async def test_a_reader_gets_what_is_seen_from_now_on():
    observers = []
    source = Recorder(head(holds=()), observers)
    with source.reading() as feed:
        observers[0](Closed(OTHER))
        reading = Reading([await feed.take()])
    assert reading.head.holds == (Holds.GOSSIP,)
    assert [entry.what for entry in reading] == [Closed(OTHER)]


async def test_nobody_observes_where_nobody_reads():
    observers = []
    source = Recorder(head(), observers)
    with source.reading(), source.reading():
        assert len(observers) == 1
    assert not observers


async def test_there_are_not_too_many_readers():
    source = Recorder(head(), [])
    readers = [source.reading() for _ in range(recorder.READERS_MAX)]
    for reader in readers:
        reader.__enter__()
    with pytest.raises(Unavailable, match="8 readers"), source.reading():
        pass
    readers[0].__exit__(None, None, None)
    with source.reading():
        pass


async def test_a_slow_reader_gets_what_was_there_before_and_then_the_end():
    feed = Feed(100)
    for part in (b"a" * 60, b"b" * 60, b"c"):
        feed.put(part)
    assert feed.is_cut
    with trio.fail_after(1):
        assert await feed.take() == b"a" * 60
        assert await feed.take() == b""


def _read(directory, seconds=None):
    with RpcClient(directory).gossip(seconds) as pieces:
        return [entry.what for entry in Reading(pieces)]


async def test_the_stream_over_http(tmp_path):
    observers = []
    gossip = Recorder(head(), observers)
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(rpc.run_server, Node(), tmp_path, 0, (), gossip)
            read = []

            async def be_reader():
                read.extend(await trio.to_thread.run_sync(_read, tmp_path, 1))

            async with trio.open_nursery() as readers:
                readers.start_soon(be_reader)
                await until(lambda: observers)
                for number in range(3):
                    observers[0](Published(message(number)))
                    await trio.sleep(0.01)
            assert read == [Published(message(number)) for number in range(3)]
            assert not observers
            nursery.cancel_scope.cancel()


async def test_a_reader_at_the_door_that_never_reads_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "READER_BYTES_MAX", 20_000)
    observers = []
    gossip = Recorder(head(), observers)
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(rpc.run_server, Node(), tmp_path, 0, (), gossip)
            token = json.loads((tmp_path / rpc.FILE_NAME).read_text())["token"]
            async with await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port) as stream:
                request = f"GET /gossip HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
                await stream.send_all(request.encode())
                await until(lambda: observers)
                (feed,) = gossip._readers
                while not feed.is_cut:
                    observers[0](Published(message(1)))
                    await trio.lowlevel.checkpoint()
                assert feed._size <= 20_000
            await until(lambda: not observers)
            nursery.cancel_scope.cancel()


async def test_strangers_get_nothing(tmp_path):
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(rpc.run_server, Node(), tmp_path, 0, (), Recorder(head(), []))
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await http.get(url.replace("/rpc", "/gossip"))).status_code == 401
            nursery.cancel_scope.cancel()


async def test_a_reader_that_is_cut_off_is_told(tmp_path):
    observers = []
    gossip = Recorder(head(), observers)
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(rpc.run_server, Node(), tmp_path, 0, (), gossip)

            async def be_reader():
                with pytest.raises(Unavailable, match="cut this reader off"):
                    await trio.to_thread.run_sync(_read, tmp_path)

            async with trio.open_nursery() as readers:
                readers.start_soon(be_reader)
                await until(lambda: observers)
                gossip._readers[0].put(bytes(recorder.READER_BYTES_MAX + 1))
            nursery.cancel_scope.cancel()


async def test_a_node_without_gossip_says_so(tmp_path):
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(rpc.run_server, Node(), tmp_path, 0, ())
            with pytest.raises(Unavailable, match="readers"):
                await trio.to_thread.run_sync(_read, tmp_path, 1)
            nursery.cancel_scope.cancel()
