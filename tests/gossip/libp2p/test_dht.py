"""What strangers store in our DHT is bounded in number and size."""

from typing import Any

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.pb.kademlia_pb2 import Record
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from p2pai.gossip.libp2p import dht
from p2pai.gossip.libp2p.host import make_host


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
