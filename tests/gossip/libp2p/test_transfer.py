"""Blobs arrive whole and true, from whoever has them, or not at all."""

import pytest
import trio
from gossip_lab import CHAIN, Node, Shelf, Start, dial_nobody, meet, until

from p2pai.primitives import merkle
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32

CHUNKS = [bytes([number]) * (1 << 20) for number in range(5)] + [b"the end"]


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
