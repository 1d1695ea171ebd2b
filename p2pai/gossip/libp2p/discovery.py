"""Who else is on our chain, and staying connected to them.

Bootstrap addresses are dialled for ever. Every node tells the DHT that it provides its chain's key, and
connects to others who do. The DHT's table is shared with whoever speaks `/ipfs/kad/1.0.0` (the library
ignores other prefixes), so what it says is only a hint: a remote counts once it speaks our ask protocol.
"""

from collections.abc import Sequence
from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from multiaddr import Multiaddr

from p2pai.gossip.libp2p.mount import Mounted, Welcome
from p2pai.primitives.hashing import tagged_hash

REMOTES_WANTED: Final = 16
"""Connections that are enough; more may still come in."""

KNOWN_MAX: Final = 256
"""Remotes of our chain whose addresses are remembered."""

ADDRESSES_TRIED_MAX: Final = 4
"""Addresses of one remote that are dialled before giving up for now."""

DIAL_TIMEOUT_S: Final = 10.0
LOOKUP_TIMEOUT_S: Final = 15.0
"""Seconds for a look-up in the DHT, some dials of vanished nodes included."""

ASKED_MAX: Final = 8
"""Nodes closest to the chain's key that are asked for its providers."""

PAUSE_S_MIN: Final = 0.25
PAUSE_S_MAX: Final = 30.0
"""Seconds between two attempts; they grow."""

HOLD_PAUSE_S_MAX: Final = 5.0
"""Seconds between two dials of a bootstrap address: a network that restarts should meet again soon."""

LOSS_PAUSE_S: Final = 1.0
"""Seconds from the loss of a remote to the next search, so that one that flaps costs little."""

WATCH_S: Final = 1.0
"""Seconds between two looks at whether a bootstrap connection is still there."""

_SHA256_MULTIHASH: Final = b"\x12\x20"
_log = structlog.get_logger(__name__)


class Discovery:
    """Finds remotes and dials them; `is_welcome` tells whom not to dial."""

    def __init__(
        self,
        mounted: Mounted,
        chain_id: str,
        bootstrap: Sequence[str],
        is_welcome: Welcome,
        *,
        provides: bool = True,
    ) -> None:
        """Take note of the parts; `provides`: whether others shall find this node in the DHT."""
        self._mounted, self._provides = mounted, provides
        self._host = mounted.host
        self._dht = mounted.dht
        self._key = _SHA256_MULTIHASH + tagged_hash("p2pai/providers", chain_id.encode())
        self._bootstrap = [parse_address(address) for address in bootstrap]
        self._is_welcome = is_welcome
        self._known: dict[ID, PeerInfo] = {}
        self._next_dial: dict[ID, tuple[float, float]] = {}
        self._changed = trio.Event()
        self._searched = False

    async def run(self) -> None:
        """Search and redial until cancelled."""
        async with trio.open_nursery() as nursery:
            for info in self._bootstrap:
                if info.peer_id != self._host.get_id():
                    nursery.start_soon(self._hold, info)
            nursery.start_soon(self._search)

    def note_arrival(self) -> None:
        """Search at once when a first remote came: only now there is somebody to ask."""
        if not self._searched:
            self._changed.set()

    def note_loss(self) -> None:
        """Search again soon: a remote went."""
        self._changed.set()

    async def find(self, remote: ID) -> bool:
        """Connect to a remote by its id, through the DHT; False when that fails."""
        if self._is_connected(remote):
            return True
        info = self._known.get(remote)
        if info is None and self._dht is not None:
            with trio.move_on_after(LOOKUP_TIMEOUT_S):
                info = await self._dht.find_peer(remote)
        return info is not None and self._is_welcome(remote) and await self._dial(info)

    async def _hold(self, info: PeerInfo) -> None:
        pause_s = PAUSE_S_MIN
        while True:
            if self._is_connected(info.peer_id) or await self._dial(info):
                if self._dht is not None:
                    await self._dht.add_peer(info.peer_id)
                pause_s = PAUSE_S_MIN
                await trio.sleep(WATCH_S)
            else:
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, HOLD_PAUSE_S_MAX)

    async def _search(self) -> None:
        pause_s = PAUSE_S_MIN
        while True:
            self._changed = trio.Event()
            if self._host.get_connected_peers():
                self._searched = True
                await self._search_once()
                pause_s = min(3 * pause_s, PAUSE_S_MAX)
            with trio.move_on_after(pause_s) as waiting:
                await self._changed.wait()
            if not waiting.cancelled_caught:
                # A burst of losses is one loss.
                pause_s = LOSS_PAUSE_S
                await trio.sleep(PAUSE_S_MIN if not self._searched else LOSS_PAUSE_S)

    async def _search_once(self) -> None:
        if self._dht is not None:
            await self._search_dht(self._dht)
        await self._dial_known()

    async def _search_dht(self, dht: Any) -> None:  # noqa: ANN401
        try:
            with trio.move_on_after(LOOKUP_TIMEOUT_S):
                for remote in self._host.get_connected_peers():
                    await dht.add_peer(remote)
                if self._provides:
                    await dht.provider_store.provide(self._key)
                await self._learn_providers(dht)
        except Exception as error:  # noqa: BLE001
            # What a remote's answer makes the library raise is not ours to die of.
            _log.info("search failed", error=repr(error))

    async def _learn_providers(self, dht: Any) -> None:  # noqa: ANN401
        store = dht.provider_store
        # The library's own look-up stops at the local records, and we are in them.
        self._remember(store.get_providers(self._key))
        closest = await dht.peer_routing.find_closest_peers_network(self._key)
        for remote in closest[:ASKED_MAX]:
            if remote != self._host.get_id():
                providers, _ = await store._get_providers_from_peer_with_closers(remote, self._key)
                self._remember(providers)

    def _remember(self, infos: Sequence[PeerInfo]) -> None:
        for info in infos:
            if info.peer_id == self._host.get_id() or not info.addrs:
                continue
            if info.peer_id not in self._known and len(self._known) >= KNOWN_MAX:
                forgotten = next(iter(self._known))
                del self._known[forgotten]
                self._next_dial.pop(forgotten, None)
            self._known[info.peer_id] = info

    async def _dial_known(self) -> None:
        for info in list(self._known.values()):
            if len(self._host.get_connected_peers()) >= REMOTES_WANTED:
                return
            due, pause_s = self._next_dial.get(info.peer_id, (0.0, PAUSE_S_MIN))
            if trio.current_time() < due or not self._is_welcome(info.peer_id):
                continue
            if self._is_connected(info.peer_id) or await self._dial(info):
                self._next_dial.pop(info.peer_id, None)
            else:
                self._next_dial[info.peer_id] = (trio.current_time() + pause_s, min(2 * pause_s, PAUSE_S_MAX))

    async def _dial(self, info: PeerInfo) -> bool:
        for address in info.addrs[:ADDRESSES_TRIED_MAX]:
            if not self._is_welcome(info.peer_id):
                return False
            self._mounted.forget_dials(info.peer_id)
            try:
                with trio.move_on_after(DIAL_TIMEOUT_S):
                    await self._host.connect(PeerInfo(info.peer_id, [address]))
                    return True
            except Exception as error:  # noqa: BLE001
                _log.debug("dial failed", address=str(address), error=repr(error))
        return False

    def _is_connected(self, remote: ID) -> bool:
        return bool(self._host.is_peer_connected(remote))


def parse_address(address: str) -> Any:  # noqa: ANN401
    """Read a full multiaddr, `/ip4/.../tcp/.../p2p/ID`.

    Raises:
      ValueError: not a multiaddr, or it names no peer id.
    """
    try:
        return info_from_p2p_addr(Multiaddr(address))
    except Exception as error:
        raise ValueError(f"not a full multiaddr (/ip4/ADDRESS/tcp/PORT/p2p/ID): {address}") from error
