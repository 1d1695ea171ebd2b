"""Blobs in the DHT: telling who looks for them that we have them, and finding who has one.

A blob's content id is a SHA-256 digest, so behind the two bytes that say so it is the multihash that the DHT
wants (a CID without its codec): anybody's DHT can be asked for it. Records expire after two days; ours are
renewed twice a day, one after the other with pauses, newest blob first. A record can't be called back, so a
withdrawn one lives on elsewhere until it expires; who follows it is told that the blob is absent.

What the DHT says is only a hint: what a provider gives is checked as all else is.
"""

from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from p2pai.gossip.libp2p.host import Host
from p2pai.primitives.ids import BlobId, PeerId

PROVIDED_MAX: Final = 1024
"""Blobs provided; the one shared longest ago makes room. Renewing all takes an hour and a half."""

PAUSE_S: Final = 5.0
"""Seconds between two records: each costs a look-up, and nodes take 10 records in 10 s from one remote."""

RENEW_S: Final = 12 * 3600.0
RETRY_S: Final = 60.0
"""Seconds until a record that nobody took is tried again."""

LOOKUP_TIMEOUT_S: Final = 15.0
"""Seconds for a look-up in the DHT, some dials of vanished nodes included."""

ASKED_MAX: Final = 8
"""Nodes closest to a content id that are asked for its providers."""

PROVIDERS_MAX: Final = 8
"""Providers that are enough."""

ADDRESS_TTL_S: Final = 600
"""Seconds for which a provider's addresses are kept."""

_SHA256_MULTIHASH: Final = b"\x12\x20"
_log = structlog.get_logger(__name__)


def content_key(blob: BlobId) -> bytes:
    """Return what the DHT knows a blob by: the multihash of its content id."""
    return _SHA256_MULTIHASH + blob


class Providing:
    """Provider records of blobs; without a DHT, none."""

    def __init__(self, host: Host, dht: Any | None) -> None:  # noqa: ANN401
        self._host, self._dht = host, dht
        self._due_s: dict[BlobId, float] = {}
        self._changed = trio.Event()

    def provide(self, blob: BlobId) -> None:
        """Tell the DHT of a blob soon, and again and again."""
        if blob in self._due_s:
            return
        self._due_s[blob] = trio.current_time()
        if len(self._due_s) > PROVIDED_MAX:
            self.withdraw(next(iter(self._due_s)))
        self._changed.set()

    def withdraw(self, blob: BlobId) -> None:
        """Tell it no more."""
        if self._due_s.pop(blob, None) is not None and self._dht is not None:
            self._dht.provider_store.providers.get(content_key(blob), {}).pop(str(self._host.get_id()), None)

    @property
    def provided(self) -> tuple[BlobId, ...]:
        """Return the blobs that the DHT is told of, the last shared one last."""
        return tuple(self._due_s)

    async def run(self) -> None:
        """Make records until cancelled."""
        while self._dht is not None:
            now_s = trio.current_time()
            due = next((blob for blob in reversed(self._due_s) if self._due_s[blob] <= now_s), None)
            if due is not None:
                done = await self._tell(due)
                if due in self._due_s:
                    self._due_s[due] = trio.current_time() + (RENEW_S if done else RETRY_S)
                await trio.sleep(PAUSE_S)
                continue
            self._changed = trio.Event()
            with trio.move_on_at(min(self._due_s.values(), default=now_s + RENEW_S)):
                await self._changed.wait()

    async def _tell(self, blob: BlobId) -> bool:
        assert self._dht is not None
        done = False
        store, key = self._dht.provider_store, content_key(blob)
        try:
            with trio.move_on_after(LOOKUP_TIMEOUT_S):
                done = bool(await store.provide(key))
        except Exception as error:  # noqa: BLE001
            # What a remote's answer makes the library raise is not ours to die of.
            _log.info("blob not provided", blob=blob.hex(), error=repr(error))
        # The library would renew all of its own at once.
        store.providing_keys.discard(key)
        return done

    async def find(self, blob: BlobId) -> tuple[PeerId, ...]:
        """Return remotes that say they have a blob; their addresses are noted. Never raises."""
        found: dict[ID, PeerInfo] = {}
        if self._dht is None:
            return ()
        try:
            with trio.move_on_after(LOOKUP_TIMEOUT_S):
                await self._find(content_key(blob), found)
        except Exception as error:  # noqa: BLE001
            _log.info("look-up failed", blob=blob.hex(), error=repr(error))
        found.pop(self._host.get_id(), None)
        chosen = list(found.values())[:PROVIDERS_MAX]
        for info in chosen:
            if not self._host.is_peer_connected(info.peer_id):
                self._host.get_peerstore().add_addrs(info.peer_id, info.addrs, ADDRESS_TTL_S)
        return tuple(PeerId(str(info.peer_id)) for info in chosen)

    async def _find(self, key: bytes, found: dict[ID, PeerInfo]) -> None:
        assert self._dht is not None
        store = self._dht.provider_store
        # The library's own look-up stops at the local records, and we may be in them.
        self._note(store.get_providers(key), found)
        closest = await self._dht.peer_routing.find_closest_peers_network(key)
        async with trio.open_nursery() as nursery:
            for remote in closest[:ASKED_MAX]:
                if remote != self._host.get_id():
                    nursery.start_soon(self._ask, remote, key, found)

    async def _ask(self, remote: ID, key: bytes, found: dict[ID, PeerInfo]) -> None:
        assert self._dht is not None
        providers, _ = await self._dht.provider_store._get_providers_from_peer_with_closers(remote, key)
        self._note(providers, found)

    def _note(self, infos: list[PeerInfo], found: dict[ID, PeerInfo]) -> None:
        for info in infos:
            if info.addrs:
                found.setdefault(info.peer_id, info)
