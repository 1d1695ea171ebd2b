"""The library's DHT, and its book of remotes, with bounds on what strangers say.

The stock DHT (py-libp2p 0.8.1) keeps the providers of any number of keys with any number of addresses, 50,000
values of a megabyte, and reads messages of 4 MiB. An answer that named 6,000 addresses of somebody cost
3 s of CPU, of which 1.7 at a stretch, growing with the square. Here there are bounds; the oldest goes first.
Nodes tell again and again what they provide, and store no values, so nothing of ours is lost for long.

Source: GHSA-xqvc-92cf-94j4 and libp2p/py-libp2p #1438, for what else such a handler has to bound.
"""

from typing import Any, Final

from libp2p.kad_dht import kad_dht, peer_routing, provider_store, value_store
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.peerinfo import PeerInfo

from p2pai.gossip.libp2p.host import Host

KEYS_MAX: Final = 2_048
"""Keys with providers; 20 of each, as the library has it."""

ADDRESSES_MAX: Final = 8
"""Addresses of one provider."""

STORED_ADDRESSES_MAX: Final = 16
"""Addresses of one remote, whoever named them."""

PROTOCOLS_MAX: Final = 128
PROTOCOL_LENGTH_MAX: Final = 128
"""Protocols that one remote says it speaks, and characters of one."""

RECORD_SIZE_MAX: Final = 4 << 10
"""Bytes of a signed record of a remote's addresses."""

VALUES_MAX: Final = 256
VALUE_SIZE_MAX: Final = 8 << 10
"""Values, and bytes of one with its key."""

KEY_SIZE_MAX: Final = 256

MESSAGE_SIZE_MAX: Final = 64 << 10
"""Bytes of one message: 40 remotes with 16 addresses and a record each take two thirds of it."""


def make_dht(host: Host) -> Any:  # noqa: ANN401
    """Build a DHT that serves on a host of our own."""
    for module in (kad_dht, peer_routing, provider_store, value_store):
        module.MAX_DHT_MESSAGE_SIZE = MESSAGE_SIZE_MAX
    _bound_remotes(host.get_peerstore())
    dht = KadDHT(host, DHTMode.SERVER)
    _bound_table(dht.routing_table)
    _bound_providers(dht.provider_store)
    _bound_values(dht.value_store)
    return dht


def _bound_remotes(store: Any) -> None:  # noqa: ANN401
    add, add_protocols, consume = store.add_addrs, store.add_protocols, store.consume_peer_record

    def add_bounded(remote: Any, addresses: Any, ttl: int = 0) -> None:  # noqa: ANN401
        add(remote, list(addresses)[:STORED_ADDRESSES_MAX], ttl)
        if remote in store.peer_data_map:
            del store.peer_data_map[remote].addrs[:-STORED_ADDRESSES_MAX]

    def add_short(remote: Any, protocols: Any) -> None:  # noqa: ANN401
        short = [name for name in protocols[:PROTOCOLS_MAX] if len(name) <= PROTOCOL_LENGTH_MAX]
        add_protocols(remote, short)

    def consume_small(envelope: Any, ttl: int) -> Any:  # noqa: ANN401
        return len(envelope.raw_payload) <= RECORD_SIZE_MAX and consume(envelope, ttl)

    store.add_addrs, store.add_protocols = add_bounded, add_short
    store.consume_peer_record = consume_small


def _bound_table(table: Any) -> None:  # noqa: ANN401
    add = table.add_peer

    async def add_bounded(remote: Any, **options: bool) -> Any:  # noqa: ANN401
        if isinstance(remote, PeerInfo):
            remote = PeerInfo(remote.peer_id, list(remote.addrs)[:STORED_ADDRESSES_MAX])
        return await add(remote, **options)

    table.add_peer = add_bounded


def _bound_providers(store: Any) -> None:  # noqa: ANN401
    add = store.add_provider

    def add_bounded(key: bytes, provider: Any) -> None:  # noqa: ANN401
        if not 0 < len(key) <= KEY_SIZE_MAX:
            return
        if key not in store.providers:
            _make_room(store.providers, KEYS_MAX)
        add(key, PeerInfo(provider.peer_id, list(provider.addrs)[:ADDRESSES_MAX]))

    store.add_provider = add_bounded


def _bound_values(store: Any) -> None:  # noqa: ANN401
    put = store.put_record

    def put_bounded(key: bytes, record: Any) -> None:  # noqa: ANN401
        if len(key) + len(record.value) > VALUE_SIZE_MAX:
            return
        if key not in store.store:
            _make_room(store.store, VALUES_MAX)
        put(key, record)

    store.put_record = put_bounded


def _make_room(entries: dict[bytes, Any], count_max: int) -> None:
    while len(entries) >= count_max:
        del entries[next(iter(entries))]
