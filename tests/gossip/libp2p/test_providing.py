"""Provider records: made one after the other, renewed, bounded, withdrawn; and whom they lead to."""

import pytest
import trio
from gossip_lab import Node, Start, until

from p2pai.gossip.libp2p import providing
from p2pai.gossip.libp2p.providing import content_key
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId

BLOBS = [BlobId(tagged_hash("p2pai/test", bytes([number]))) for number in range(5)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providing, "PAUSE_S", 0.1)
    monkeypatch.setattr(providing, "RETRY_S", 0.2)


def record_s(node: Node, blob: BlobId, provider: Node) -> float:
    """Return when a node got a provider's record; 0 when it has none."""
    records = node.network._providing._dht.provider_store.providers.get(content_key(blob), {})
    known = records.get(provider.network.peer_id)
    return known.timestamp if known else 0


@pytest.mark.trio
async def test_records_are_made_one_after_the_other_and_renewed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providing, "RENEW_S", 0.5)
    hub = await start("hub")
    node = await start("n", hub)
    await until(lambda: hub.network.remotes() and node.network.remotes())
    for blob in BLOBS[:3]:
        node.network.provide(blob)
    await until(lambda: all(record_s(hub, blob, node) for blob in BLOBS[:3]))
    first = [record_s(hub, blob, node) for blob in BLOBS[:3]]
    assert min(abs(a - b) for a in first for b in first if a != b) >= 0.09, "with pauses"
    await until(lambda: all(record_s(hub, blob, node) > first[0] + 0.5 for blob in BLOBS[:3]))


@pytest.mark.trio
async def test_what_nobody_took_is_tried_again(start: Start) -> None:
    hub = await start("hub")
    address = hub.network.addresses[0]
    await hub.stop()
    node = await start("n", address)
    node.network.provide(BLOBS[0])
    await trio.sleep(0.3)
    hub = await start("hub", listen=address.split("/p2p/")[0])
    await until(lambda: record_s(hub, BLOBS[0], node))


@pytest.mark.trio
async def test_what_is_withdrawn_is_found_here_no_more(start: Start) -> None:
    node = await start("n")
    node.network.provide(BLOBS[0])
    await until(lambda: record_s(node, BLOBS[0], node))
    node.network.withdraw(BLOBS[0])
    assert not record_s(node, BLOBS[0], node)
    assert node.network._providing.provided == ()
    node.network.withdraw(BLOBS[1])


@pytest.mark.trio
async def test_only_so_many_are_provided(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providing, "PROVIDED_MAX", 2)
    node = await start("n")
    for blob in (*BLOBS[:3], BLOBS[2]):
        node.network.provide(blob)
    assert node.network._providing.provided == (BLOBS[1], BLOBS[2])


@pytest.mark.trio
async def test_a_look_up_finds_others_and_never_us(start: Start) -> None:
    hub = await start("hub")
    node, holder = await start("n", hub), await start("h", hub)
    await until(lambda: len(hub.network.remotes()) == 2)
    for provider in (node, holder):
        provider.network.provide(BLOBS[0])
        await until(lambda provider=provider: record_s(hub, BLOBS[0], provider))
    assert await node.network._providing.find(BLOBS[0]) == (holder.network.peer_id,)
    assert await node.network._providing.find(BLOBS[1]) == ()
