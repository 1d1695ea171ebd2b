"""The DHT as a place to meet: we leave word that we are there, and ask who else is (gossip/rendezvous.py).

Its table is shared with whoever speaks `/ipfs/kad/1.0.0` (the library ignores other prefixes), so what it
says is only a hint. The library would repeat a record for ever, at first after 22 hours, and its own
look-up stops at the local records, in which we are: both are done here.
"""

from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID

from p2pai.gossip.libp2p.host import Host
from p2pai.gossip.rendezvous import Meeting, current_key, provided_keys
from p2pai.primitives.ids import Millis

LOOKUP_TIMEOUT_S: Final = 15.0
"""Seconds for a look-up in the DHT, some dials of vanished nodes included."""

ASKED_MAX: Final = 8
"""Nodes closest to a key that are asked for its providers."""

PROVIDED_MAX: Final = 32
"""Providers taken from one node's answer; the protocol's own limit is 20."""

ADDRESSES_MAX: Final = 8
"""Addresses taken of one of them."""

PAUSE_S_MIN: Final = 4.0
PAUSE_S_MAX: Final = 400.0
"""Seconds after which our record is put again: first soon, since we know few nodes then; at last often enough
that the next hour's is put in the ten minutes before it."""

_log = structlog.get_logger(__name__)


class MeetingPlace:
    """One host's part in the DHT."""

    def __init__(self, host: Host, dht: Any) -> None:  # noqa: ANN401
        self._host = host
        self._dht = dht
        self._due: dict[Meeting, tuple[float, float]] = {}

    async def add(self, remote: ID) -> None:
        """Take a connected remote into the routing table, if it takes part in the DHT."""
        await self._guarded(self._dht.add_peer(remote))

    async def find_remote(self, remote: ID) -> list[str]:
        """Look up where a remote is; full multiaddrs."""
        info = await self._guarded(self._dht.find_peer(remote))
        return [] if info is None else _texts(info)

    async def show_up(self, meeting: Meeting, now_ms: Millis) -> None:
        """Leave word that we are there, if that is due."""
        due, pause_s = self._due.get(meeting, (0.0, PAUSE_S_MIN))
        if trio.current_time() < due:
            return
        self._due[meeting] = (trio.current_time() + pause_s, min(2 * pause_s, PAUSE_S_MAX))
        for key in provided_keys(meeting, now_ms):
            await self._guarded(self._dht.provider_store.provide(key))
            self._dht.provider_store.providing_keys.discard(key)

    def leave(self, meeting: Meeting, now_ms: Millis) -> None:
        """Leave no more word; what others hold ends with its hour."""
        self._due.pop(meeting, None)
        for key in provided_keys(meeting, now_ms):
            self._dht.provider_store.providers.get(key, {}).pop(str(self._host.get_id()), None)

    async def look(self, meeting: Meeting, now_ms: Millis) -> list[tuple[ID, list[str]]]:
        """Return who says that somebody is there, ourselves included, and the full multiaddrs said."""
        key, own = current_key(meeting, now_ms), self._host.get_id()
        said = [(own, _all_texts(self._dht.provider_store.get_providers(key)))]
        closest = await self._guarded(self._dht.peer_routing.find_closest_peers_network(key)) or []

        async def ask(remote: ID) -> None:
            question = self._dht.provider_store._get_providers_from_peer_with_closers
            answer = await self._guarded(question(remote, key))
            said.append((remote, _all_texts(answer[0] if answer else [])))

        async with trio.open_nursery() as nursery:
            for remote in [node for node in closest if node != own][:ASKED_MAX]:
                nursery.start_soon(ask, remote)
        return said

    async def _guarded(self, question: Any) -> Any:  # noqa: ANN401
        # What a remote's answer makes the library raise is not ours to die of.
        try:
            with trio.move_on_after(LOOKUP_TIMEOUT_S):
                return await question
        except Exception as error:  # noqa: BLE001
            _log.debug("look-up failed", error=repr(error))
        return None


def _all_texts(infos: Any) -> list[str]:  # noqa: ANN401
    return [text for info in infos[:PROVIDED_MAX] for text in _texts(info)]


def _texts(info: Any) -> list[str]:  # noqa: ANN401
    return [full_text(address, info.peer_id) for address in info.addrs[:ADDRESSES_MAX]]


def full_text(address: Any, remote: ID) -> str:  # noqa: ANN401
    """Return an address as full multiaddr; some name the remote already."""
    text, suffix = str(address), f"/p2p/{remote}"
    return text if text.endswith(suffix) else text + suffix
