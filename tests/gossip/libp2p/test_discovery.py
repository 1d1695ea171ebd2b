"""Nodes find each other by every source of addresses, remember who was good, and halves find together."""

from pathlib import Path

import dns.message
import dns.rrset
import pytest
import trio
from gossip_lab import CHAIN, Node, Start, dial_nobody, meet, until
from multiaddr import Multiaddr

from p2pai.gossip import exchange, rendezvous
from p2pai.gossip.libp2p import census, discovery, meeting, names, remotes_cache, search
from p2pai.gossip.libp2p.frames import Kind
from p2pai.gossip.rendezvous import Meeting
from p2pai.gossip.topics import Topic
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import Hash32, TaskId

TASK = TaskId(Hash32(bytes([7]) * 32))
TOPIC = str(Topic(CHAIN, TASK, "it_res"))


def ids(*nodes: Node) -> set[str]:
    return {node.network.peer_id for node in nodes}


def linked(node: Node) -> set[str]:
    return set(node.network.remotes())


@pytest.mark.trio
async def test_without_a_dht_remotes_tell_whom_they_know(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def search_nowhere(search: discovery.Search) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(discovery.Search, "run", search_nowhere)
    hub = await start("hub")
    early = await start("e", hub)
    await meet(hub, early)
    await trio.sleep(1)
    late = await start("l", hub)
    await until(lambda: linked(late) == ids(hub, early))


@pytest.mark.trio
async def test_whom_a_node_knows_is_told_now_and_then(start: Start) -> None:
    hub = await start("hub")
    node, other = await start("n", hub), await start("o", hub)
    await meet(hub, node, other)
    await until(lambda: all(len(link.claims) == 1 for link in hub.network._discovery._census))
    link = hub.network._discovery._census.get(node.network._mount.id)
    assert link is not None
    link.told_s = float("-inf")
    asker = node.network._links.askers[hub.network._mount.id]
    told = exchange.parse(await asker.request(Kind.KNOWN, b"", 5))
    assert {address.text for address in told} == {other.network.addresses[0]}
    with pytest.raises(Unavailable):
        await asker.request(Kind.KNOWN, b"", 5)


@pytest.mark.trio
async def test_the_status_says_who_dialled_and_when_nobody_is_there(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "ALONE_S", 0.3)
    hub = await start("hub")
    assert not hub.network.company()["alone"]
    await until(lambda: hub.network.company()["alone"])
    node = await start("n", hub)
    await meet(hub, node)
    await until(lambda: not hub.network.company()["alone"])
    assert (hub.network.company()["inbound"], hub.network.company()["outbound"]) == (1, 0)
    assert (node.network.company()["inbound"], node.network.company()["outbound"]) == (0, 1)
    await node.stop()
    await until(lambda: hub.network.company()["alone"])


@pytest.mark.trio
async def test_a_node_without_bootstrap_comes_back_by_its_cache(start: Start, tmp_path: Path) -> None:
    cache = tmp_path / "remotes.txt"
    hub = await start("hub")
    node = await start("n", hub, cache=cache)
    await meet(hub, node)
    await node.stop()
    assert hub.network.addresses[0] in cache.read_text()
    assert cache.stat().st_mode & 0o777 == 0o600
    again = await start("n", cache=cache)
    await meet(hub, again)
    await again.stop()

    # What is damaged costs only itself; a file that can't be read or written stops nobody.
    cache.write_bytes(b"\xff\n" + cache.read_bytes())
    lost = await start("n", cache=cache)
    await trio.sleep(0.5)
    assert linked(lost) == set()
    await lost.stop()
    nowhere = await start("n", hub, cache=tmp_path / "no" / "such" / "directory")
    await meet(hub, nowhere)


@pytest.mark.trio
async def test_halves_find_together_when_one_address_becomes_reachable(start: Start, tmp_path: Path) -> None:
    # Four nodes know each other; one dies. Somewhere else are three who know nothing of them.
    hub = await start("hub")
    left = [await start(f"l{n}", hub, cache=tmp_path / f"l{n}.txt") for n in range(3)]
    await meet(hub, *left)
    await hub.stop()
    await until(lambda: all(len(linked(node)) == 2 for node in left))
    moved = await start("other")
    right = [await start(f"r{n}", moved) for n in range(2)]
    await meet(moved, *right)
    assert not any(linked(node) & ids(moved, *right) for node in left)
    # One of the left half dials one address of the right.
    await left[0].network._discovery._reach(moved.network.addresses)
    everybody = [moved, *left, *right]
    await until(lambda: all(linked(n) == ids(*everybody) - ids(n) for n in everybody), 20)


@pytest.mark.trio
async def test_those_of_a_task_and_of_a_role_in_it_are_found(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial_nobody(monkeypatch)
    monkeypatch.setattr(discovery, "ACQUAINTED_S", 60)  # nobody asks whom others know
    hub = await start("hub")
    follower, leader, late = [await start(f"n{n}", hub) for n in range(3)]
    await until(lambda: len(linked(hub)) == 3)
    await follower.network.join(TOPIC)
    await leader.network.join(TOPIC)
    await leader.network.take_part(TASK, "supervisor")
    await until(lambda: leader.network.peer_id in linked(follower), 20)

    found = late.network._discovery.search._interests._found
    assert found == {}
    await late.network.join(TOPIC)
    task, led = Meeting(CHAIN, TASK), Meeting(CHAIN, TASK, "supervisor")
    await until(lambda: set(found.get(task, ())) >= ids(follower, leader), 20)
    await until(lambda: set(found.get(led, ())) == ids(leader), 20)
    await until(lambda: linked(late) >= ids(follower, leader), 20)

    await leader.network.leave(TOPIC)
    assert leader.network._discovery.search._interests.provided == (Meeting(CHAIN),)


@pytest.mark.trio
async def test_a_stranger_that_was_dialled_is_let_go_and_dialled_less_and_less(start: Start) -> None:
    stranger = await start("s", chain="ffffffff")
    node = await start("n")
    address = discovery.read_or_none(stranger.network.addresses[0])
    assert address is not None
    own = node.network._discovery
    own._hear([address], "somebody", address.scope)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "LINK_TIMEOUT_S", 0.2)
        await until(lambda: own._book.heard and own._book.heard[0].failures)
    await until(lambda: not node.network._host.get_connected_peers())
    assert own._book.tried == ()


@pytest.mark.trio
async def test_outbound_links_are_kept_however_many_come_in(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "LINKS_WANTED", 2)
    monkeypatch.setattr(census, "OUTBOUND_WANTED", 2)
    honest = [await start(f"h{n}") for n in range(2)]
    node = await start("n")
    crowd = [await start(f"c{n}", node) for n in range(3)]
    await until(lambda: linked(node) >= ids(*crowd))
    addresses = [discovery.read_or_none(n.network.addresses[0]) for n in honest]
    node.network._discovery._hear([a for a in addresses if a], "somebody", addresses[0].scope)
    await until(lambda: linked(node) >= ids(*honest))
    assert node.network.company()["outbound"] == 2


@pytest.mark.trio
async def test_one_more_link_is_made_now_and_then_and_the_oldest_of_these_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial_nobody(monkeypatch)
    monkeypatch.setattr(discovery, "ROVE_S", 0.3)
    monkeypatch.setattr(discovery, "ROVERS_MAX", 1)
    monkeypatch.setattr(discovery, "ACQUAINTED_S", 60)
    others = [await start(f"o{n}") for n in range(3)]
    node = await start("n")
    addresses = [discovery.read_or_none(n.network.addresses[0]) for n in others]
    node.network._discovery._hear([a for a in addresses if a], "somebody", addresses[0].scope)
    met: set[str] = set()

    def all_met() -> bool:
        met.update(linked(node))
        return met == ids(*others)

    await until(all_met, 20)
    assert len(linked(node)) <= 2


@pytest.mark.trio
async def test_names_of_dns_are_resolved(start: Start) -> None:
    hub = await start("hub")
    text = hub.network.addresses[0].replace("/ip4/127.0.0.1/", "/dns4/localhost/")
    assert [str(a) for a in await names.resolve(Multiaddr(text))] == list(hub.network.addresses)
    node = await start("n", text)
    await meet(hub, node)
    unknown = text.replace("localhost", "no-such-name.invalid")
    assert await names.resolve(Multiaddr(unknown)) == []


@pytest.mark.trio
async def test_a_list_of_addresses_behind_a_name(
    start: Start, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    hub = await start("hub")
    records = {
        "_dnsaddr.net.test.": ["dnsaddr=/dnsaddr/more.net.test", "nonsense", "dnsaddr=garbage"],
        "_dnsaddr.more.net.test.": [f"dnsaddr={hub.network.addresses[0]}"],
        "_dnsaddr.loop.test.": ["dnsaddr=/dnsaddr/loop.test"],
    }
    port = await nursery.start(serve_dns, records)
    stock = names.DNSResolver.__init__

    def point_here(resolver: names.DNSResolver) -> None:
        stock(resolver)
        resolver._resolver.nameservers, resolver._resolver.port = ["127.0.0.1"], port

    monkeypatch.setattr(names.DNSResolver, "__init__", point_here)
    found = await names.resolve(Multiaddr("/dnsaddr/net.test"))
    assert [str(address) for address in found] == list(hub.network.addresses)
    assert await names.resolve(Multiaddr("/dnsaddr/loop.test")) == []
    assert await names.resolve(Multiaddr("/dnsaddr/nobody.test")) == []
    node = await start("n", "/dnsaddr/net.test")
    await meet(hub, node)


async def serve_dns(records: dict[str, list[str]], task_status: trio.TaskStatus[int]) -> None:
    """Answer questions for TXT records on loopback."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        task_status.started(socket.getsockname()[1])
        while True:
            data, asker = await socket.recvfrom(4096)
            question = dns.message.from_wire(data)
            answer = dns.message.make_response(question)
            name = question.question[0].name
            texts = records.get(name.to_text(), [])
            if texts:
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *(f'"{t}"' for t in texts)))
            await socket.sendto(answer.to_wire(), asker)


def test_a_cache_that_is_no_file_is_no_reason_to_stop(tmp_path: Path) -> None:
    book = discovery.Book("own", lambda n: 0)
    remotes_cache.load(tmp_path, book, CHAIN, 0)
    remotes_cache.save(tmp_path / "gone" / "x", book, CHAIN, ())
    remotes_cache.save(tmp_path, book, CHAIN, ())
    assert list(tmp_path.iterdir()) == []


def test_the_next_hours_record_is_always_put_before_it_begins() -> None:
    search_s = 1.25 * search.PAUSE_S_MAX
    assert 1000 * (meeting.PAUSE_S_MAX + search_s + meeting.LOOKUP_TIMEOUT_S) < rendezvous.AHEAD_MS


@pytest.mark.trio
async def test_who_showed_up_is_found_in_that_hour_and_the_next_only_if_it_was_near(start: Start) -> None:
    hub = await start("hub")
    node, other = await start("n", hub), await start("o", hub)
    await meet(hub, node, other)
    came, looks = (n.network._discovery.search._place for n in (node, other))
    task, hour_ms = Meeting(CHAIN, TASK), rendezvous.PERIOD_MS

    async def found(now_ms: int) -> bool:
        said = await looks.look(task, now_ms)
        return any(node.network.peer_id in text for _, texts in said for text in texts)

    now_ms = 1000 * hour_ms
    await came.show_up(task, now_ms)
    assert await found(now_ms + hour_ms - 1)
    assert not await found(now_ms + hour_ms)
    came.leave(task, now_ms)
    await came.show_up(task, now_ms + hour_ms - rendezvous.AHEAD_MS)
    assert await found(now_ms + hour_ms)
    assert not await found(now_ms + 2 * hour_ms)
