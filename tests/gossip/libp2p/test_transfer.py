"""Blobs arrive whole and true, from whoever has them, or not at all."""

import pytest
import trio
from gossip_lab import CHAIN, Node, Shelf, Start, dial_nobody, meet, until

from p2pai.gossip import gathering
from p2pai.gossip.libp2p import providing
from p2pai.gossip.libp2p.frames import Frame, FrameStream, Kind
from p2pai.gossip.libp2p.host import Stream, guarded
from p2pai.gossip.scores import Standing
from p2pai.primitives import merkle
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId

CHUNKS = [bytes([number]) * (1 << 20) for number in range(5)] + [b"the end"]


async def answer_badly(node: Node, pause_s: float) -> None:
    """Let a node that nobody is connected to give its manifests at once and each chunk after a while."""

    async def handle(stream: Stream) -> None:
        frames = FrameStream(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(frames.run_writer)
            while True:
                question = await frames.read()
                if question.kind not in (Kind.MANIFEST, Kind.CHUNK):
                    await frames.write(Frame(question.request, Kind.ABSENT))
                    continue
                blob = BlobId(Hash32(question.payload[:32]))
                answer = b"".join(node.seen.manifests[blob])
                if question.kind is Kind.CHUNK:
                    await trio.sleep(pause_s)
                    answer = node.seen.blobs[blob][int.from_bytes(question.payload[32:], "little")]
                await frames.write(Frame(question.request, Kind.ANSWER, answer))

    node.network._host.set_stream_handler(node.network._protocol, guarded(handle))


async def start_star(start: Start, count: int) -> tuple[Node, ...]:
    hub = await start("0")
    nodes = (hub, *[await start(str(number), hub) for number in range(1, count)])
    await meet(*nodes)
    return nodes


async def fetch(node: Node, blob: BlobId, *providers: Node) -> tuple[tuple[Hash32, ...], dict[Hash32, bytes]]:
    shelf = Shelf()
    with trio.fail_after(20):
        leaves = await node.network.fetch(blob, [p.network.peer_id for p in providers], shelf)
    return leaves, shelf.got


@pytest.mark.trio
async def test_a_blob_of_many_chunks(start: Start) -> None:
    node, holder = await start_star(start, 2)
    blob = holder.seen.share(CHUNKS)
    leaves, got = await fetch(node, blob, holder)
    assert [got[leaf] for leaf in leaves] == CHUNKS
    assert merkle.root(leaves) == blob


@pytest.mark.trio
async def test_equal_chunks_are_fetched_once(start: Start) -> None:
    node, holder = await start_star(start, 2)
    leaves, got = await fetch(node, holder.seen.share([b"same", b"same", b"other"]), holder)
    assert [got[leaf] for leaf in leaves] == [b"same", b"same", b"other"]
    assert len(holder.seen.chunks_asked) == 2


@pytest.mark.trio
async def test_a_liar_then_an_honest_remote(start: Start) -> None:
    node, liar, holder = await start_star(start, 3)
    blob = liar.seen.share(CHUNKS)
    holder.seen.share(CHUNKS)
    liar.seen.blobs[blob][4] = b"not what was asked for"
    leaves, got = await fetch(node, blob, liar, holder)
    assert [got[leaf] for leaf in leaves] == CHUNKS
    standings = [node.network.warden.standing(n.network._mount.id) for n in (liar, holder)]
    assert standings == [Standing.UNWANTED, Standing.GOOD], "a lie is held against who told it"
    # What the liar gave truly is not asked for again.
    assert 4 in holder.seen.chunks_asked
    assert 0 not in holder.seen.chunks_asked


@pytest.mark.trio
async def test_a_false_manifest_is_refused(start: Start) -> None:
    node, liar = await start_star(start, 2)
    blob = liar.seen.share(CHUNKS)
    for manifest in [(merkle.leaf_hash(b"x"),), (Hash32(blob), Hash32(blob))]:
        liar.seen.manifests[blob] = manifest
        with pytest.raises(Unavailable):
            await fetch(node, blob, liar)
    assert liar.seen.chunks_asked == []


@pytest.mark.trio
async def test_chunks_of_several_incomplete_holders(start: Start) -> None:
    node, first, second = await start_star(start, 3)
    blob = first.seen.share(CHUNKS)
    second.seen.share(CHUNKS)
    del first.seen.blobs[blob][5]
    del second.seen.blobs[blob][0]
    leaves, got = await fetch(node, blob, first, second)
    assert [got[leaf] for leaf in leaves] == CHUNKS


@pytest.mark.trio
async def test_four_holders_of_disjoint_parts(start: Start) -> None:
    node, *holders = await start_star(start, 5)
    chunks = [bytes([number]) * 1000 for number in range(40)]
    for number, holder in enumerate(holders):
        blob = holder.seen.share(chunks)
        holder.seen.blobs[blob] = {index: chunks[index] for index in range(number, 40, 4)}
    leaves, got = await fetch(node, blob, *holders[:1])
    assert [got[leaf] for leaf in leaves] == chunks
    for holder in holders:
        assert len(holder.seen.chunks_asked) == len(set(holder.seen.chunks_asked)), "asked for a chunk twice"


@pytest.mark.trio
async def test_a_liar_a_silent_and_a_slow_remote_hold_up_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "STALE_MS", 300)
    honest, liar = await start("hub"), await start("liar")
    silent, slow = await start("silent"), await start("slow")
    await answer_badly(silent, 60)
    await answer_badly(slow, 0.2)
    chunks = [bytes([number]) * 50_000 for number in range(60)]
    for holder in (honest, liar, silent, slow):
        blob = holder.seen.share(chunks)
    liar.seen.blobs[blob] = dict.fromkeys(range(60), b"a lie")
    node = await start("n", honest, liar, silent, slow)
    await until(lambda: len(node.network.remotes()) == 4)
    offences: list[tuple[str, str]] = []
    monkeypatch.setattr(node.network._fetching, "_offence", lambda *what: offences.append(what))
    began = trio.current_time()
    leaves, got = await fetch(node, blob, liar, silent, slow)
    assert [got[leaf] for leaf in leaves] == chunks
    assert trio.current_time() - began < 15, "less than a chunk is waited for"
    assert offences == [(liar.network.peer_id, "chunk is not what the manifest names")]
    assert len(liar.seen.chunks_asked) <= 2, "a liar is asked for nothing more"


@pytest.mark.trio
async def test_what_is_here_is_not_fetched(start: Start) -> None:
    node, holder = await start_star(start, 2)
    blob = holder.seen.share(CHUNKS)
    shelf = Shelf(here={merkle.leaf_hash(chunk): chunk for chunk in CHUNKS[:4]})
    with trio.fail_after(5):
        await node.network.fetch(blob, [holder.network.peer_id], shelf)
    assert sorted(holder.seen.chunks_asked) == [4, 5]
    assert (1, 1) in shelf.reports
    with trio.fail_after(5):
        await node.network.fetch(blob, [holder.network.peer_id], Shelf(here=shelf.here | shelf.got))
    assert len(holder.seen.chunks_asked) == 2


@pytest.mark.trio
async def test_a_small_blob_does_not_wait_for_a_large_one(start: Start, nursery: trio.Nursery) -> None:
    node, holder = await start_star(start, 2)
    large = holder.seen.share([number.to_bytes(4, "big") * 100_000 for number in range(150)])
    small = holder.seen.share([b"a", b"b", b"c", b"d"])
    shelf = Shelf()
    nursery.start_soon(node.network.fetch, large, [holder.network.peer_id], shelf)
    await until(lambda: len(shelf.got) >= 10)
    await fetch(node, small, holder)
    assert len(shelf.got) < 75
    await until(lambda: len(shelf.got) == 150)


@pytest.mark.trio
async def test_a_shelf_that_is_full_ends_the_transfer(start: Start) -> None:
    class Full(Shelf):
        def put(self, leaf: Hash32, chunk: bytes) -> None:
            raise OSError("no space left")

    node, holder = await start_star(start, 2)
    with pytest.raises(OSError, match="no space"), trio.fail_after(5):
        await node.network.fetch(holder.seen.share(CHUNKS), [], Full())


@pytest.mark.trio
async def test_a_holder_that_goes_away_in_the_middle(start: Start) -> None:
    hub, holder = await start("hub"), await start("h")
    await answer_badly(holder, 0.05)
    blob = holder.seen.share([bytes([number]) * 1000 for number in range(100)])
    node = await start("n", hub, holder)
    await until(lambda: len(node.network.remotes()) == 2)
    shelf, failures = Shelf(), []

    async def go() -> None:
        try:
            await node.network.fetch(blob, [], shelf)
        except Unavailable as error:
            failures.append(str(error))

    async with trio.open_nursery() as going:
        going.start_soon(go)
        await until(lambda: len(shelf.got) >= 5)
        await holder.stop()
        await until(lambda: failures)
    assert 5 <= len(shelf.got) < 100
    assert failures == [f"{100 - len(shelf.got)} of 100 chunks could not be had"]


@pytest.mark.trio
async def test_a_connection_that_breaks_is_made_again_and_the_rest_comes(start: Start) -> None:
    holder = await start("h")
    await answer_badly(holder, 0.02)
    chunks = [bytes([number]) * 1000 for number in range(60)]
    blob = holder.seen.share(chunks)
    node = await start("n", holder)
    await until(lambda: node.network.remotes())
    shelf = Shelf()
    async with trio.open_nursery() as going:
        going.start_soon(node.network.fetch, blob, [], shelf)
        await until(lambda: len(shelf.got) >= 5)
        await node.network._host.disconnect(holder.network._mount.id)
        await until(lambda: node.seen.gone)
        assert len(shelf.got) < 60
        await until(lambda: len(shelf.got) == 60, 20)


@pytest.mark.trio
async def test_what_is_not_shared_stays(start: Start) -> None:
    node, holder = await start_star(start, 2)
    holder.seen.share([b"something else"])
    with pytest.raises(Unavailable):
        await fetch(node, BlobId(merkle.leaf_hash(b"private")), holder)


@pytest.mark.trio
async def test_any_connected_remote_may_have_it(start: Start) -> None:
    node, other, holder = await start_star(start, 3)
    _, got = await fetch(node, holder.seen.share([b"chunk"]), other)
    assert list(got.values()) == [b"chunk"]


@pytest.mark.trio
async def test_a_provider_that_is_not_connected_is_found(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial_nobody(monkeypatch)
    hub = await start("hub")
    node, holder = await start("n", hub), await start("h", hub)
    await until(lambda: len(hub.network.remotes()) == 2)
    assert holder.network.peer_id not in node.network.remotes()
    _, got = await fetch(node, holder.seen.share([b"chunk"]), holder)
    assert list(got.values()) == [b"chunk"]
    assert holder.network.peer_id in node.network.remotes()
    assert CHAIN in node.network._protocol


@pytest.mark.trio
async def test_a_holder_that_nobody_named_is_found_in_the_dht(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial_nobody(monkeypatch)
    hub = await start("hub")
    node, holder = await start("n", hub), await start("h", hub)
    await until(lambda: len(hub.network.remotes()) == 2)
    blob = holder.seen.share(CHUNKS)
    holder.network.provide(blob)
    key = providing.content_key(blob)
    await until(lambda: hub.network._providing._dht.provider_store.get_providers(key))
    _, got = await fetch(node, blob)
    assert len(got) == len(CHUNKS)
    assert holder.network.peer_id in node.network.remotes()


@pytest.mark.trio
async def test_what_nobody_has_is_looked_for_in_the_dht_once_a_minute(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = await start_star(start, 2)
    looked: list[BlobId] = []
    find = node.network._providing.find

    async def look(blob: BlobId) -> tuple[PeerId, ...]:
        looked.append(blob)
        return await find(blob)

    monkeypatch.setattr(node.network._providing, "find", look)
    blobs = [BlobId(merkle.leaf_hash(bytes([number]))) for number in range(2)]
    for blob in (*blobs, *blobs):
        with pytest.raises(Unavailable, match="no remote has the blob"):
            await fetch(node, blob)
    assert looked == blobs
