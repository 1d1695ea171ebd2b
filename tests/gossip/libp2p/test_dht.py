"""What strangers store in our DHT is bounded in number and size."""

import time
from functools import partial
from typing import Any

import pytest
import trio
from gossip_lab import Start
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.pb.kademlia_pb2 import Message, Record
from libp2p.peer.envelope import seal_record
from libp2p.peer.id import ID
from libp2p.peer.peer_record import PeerRecord
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr
from test_hostile import enemy_of

from p2pai.gossip.libp2p import dht
from p2pai.gossip.libp2p.host import guarded, make_host
from p2pai.gossip.libp2p.reading import BufferedReader, with_prefix


def somebody(addresses: int = 1) -> Any:
    remote = ID.from_pubkey(create_new_key_pair().public_key)
    return PeerInfo(remote, [Multiaddr(f"/ip4/10.0.0.1/tcp/{port}") for port in range(1, addresses + 1)])


@pytest.mark.trio
async def test_providers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht, "KEYS_MAX", 10)
    store = dht.make_dht(make_host(create_new_key_pair(), [])).provider_store
    for number in range(50):
        store.add_provider(b"%d" % number, somebody(100))
    assert list(store.providers) == [b"%d" % number for number in range(40, 50)]
    assert len(store.get_providers(b"49")[0].addrs) == dht.ADDRESSES_MAX
    store.add_provider(bytes(dht.KEY_SIZE_MAX + 1), somebody())
    store.add_provider(b"", somebody())
    assert len(store.providers) == 10


@pytest.mark.trio
async def test_values_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht, "VALUES_MAX", 10)
    store = dht.make_dht(make_host(create_new_key_pair(), [])).value_store
    for number in range(50):
        store.put_record(b"%d" % number, Record(key=b"%d" % number, value=b"value"))
    store.put_record(b"large", Record(key=b"large", value=bytes(dht.VALUE_SIZE_MAX)))
    assert list(store.store) == [b"%d" % number for number in range(40, 50)]


@pytest.mark.trio
async def test_addresses_of_one_remote_are_bounded_and_the_newest_stay() -> None:
    host, many = make_host(create_new_key_pair(), []), somebody(100)
    made = dht.make_dht(host)
    store = host.get_peerstore()
    for address in many.addrs:
        store.add_addrs(many.peer_id, [address], 60)
    assert store.addrs(many.peer_id) == many.addrs[-dht.STORED_ADDRESSES_MAX :]
    assert await made.routing_table.add_peer(many, skip_server_mode_check=True)
    known = made.routing_table.get_peer_info(many.peer_id)
    assert known.addrs == many.addrs[: dht.STORED_ADDRESSES_MAX]


async def answer(data: bytes, stream: Any) -> None:
    await BufferedReader(stream).prefixed(1 << 16)
    await stream.write(with_prefix(data))


@pytest.mark.trio
async def test_an_answer_that_names_thousands_of_addresses_holds_up_nothing(start: Start) -> None:
    # They took 3 s; what twice as many take is four times that, and in 4 MiB there is room for far more.
    node, victim = await start("n"), somebody(6_000)
    large = Message(type=Message.FIND_NODE)
    large.closerPeers.add(
        id=victim.peer_id.to_bytes(), addrs=[address.to_bytes() for address in victim.addrs]
    )
    too_large = large.SerializeToString() + bytes.fromhex("7a") + with_prefix(bytes(dht.MESSAGE_SIZE_MAX))
    routing = node.network._discovery.search._dht.peer_routing
    async with enemy_of(node) as enemy:
        for data, found in ((large.SerializeToString(), [victim.peer_id]), (too_large, [])):
            enemy.set_stream_handler("/ipfs/kad/1.0.0", guarded(partial(answer, data)))
            began_s = time.process_time()
            with trio.fail_after(10):
                assert await routing._query_peer_for_closest(enemy.get_id(), b"key") == found
            assert time.process_time() - began_s < 1
    assert len(node.network._host.get_peerstore().addrs(victim.peer_id)) == dht.STORED_ADDRESSES_MAX


@pytest.mark.trio
async def test_what_a_remote_says_of_itself_is_bounded() -> None:
    # A million bytes of it were kept for each of a thousand names.
    host, remote = make_host(create_new_key_pair(), []), somebody().peer_id
    dht.make_dht(host)
    store = host.get_peerstore()
    store.add_protocols(remote, [bytes(1000).decode(), *(f"/x/{number}" for number in range(10_000))])
    assert store.get_protocols(remote) == [f"/x/{number}" for number in range(dht.PROTOCOLS_MAX - 1)]
    author = create_new_key_pair()
    name = ID.from_pubkey(author.public_key)
    for count, is_kept in ((1_000, False), (dht.STORED_ADDRESSES_MAX, True)):
        envelope = seal_record(PeerRecord(name, somebody(count).addrs), author.private_key)
        assert store.consume_peer_record(envelope, 60) is is_kept
        assert (store.get_peer_record(name) is not None) is is_kept
