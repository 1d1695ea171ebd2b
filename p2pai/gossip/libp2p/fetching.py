"""Fetching blobs over the network: whom to ask, and how to reach them.

First the connected remotes, those that are named as providers before the others; when they give nothing, the
named ones that aren't connected, and whoever the DHT says has the blob. These are dialled.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio
from libp2p.peer.id import ID

from p2pai.gossip.libp2p.asking import Asker
from p2pai.gossip.libp2p.lanes import Allotment
from p2pai.gossip.libp2p.links import Links
from p2pai.gossip.libp2p.providing import Providing
from p2pai.gossip.libp2p.transfer import Offence, Shelf, Transfer
from p2pai.primitives.ids import BlobId, Hash32, PeerId

LINK_TIMEOUT_S: Final = 5.0
"""Seconds from a new connection to a stream that can be asked."""

LOOKED_PAUSE_S: Final = 60.0
"""Seconds in which a blob is looked for in the DHT once: small ones have no records there, and whoever wants
one asks again every few seconds."""

LOOKED_MAX: Final = 1024
"""Blobs of which that is remembered."""

STRANGERS_SOUGHT_MAX: Final = 4
"""Providers named but not connected that are looked up; each may cost half a minute."""


class Fetching:
    """All transfers of a node."""

    def __init__(
        self,
        own: PeerId,
        links: Links,
        connect: Callable[[ID], Awaitable[bool]],
        providing: Providing,
        offence: Offence,
    ) -> None:
        self._own, self._links, self._connect = own, links, connect
        self._providing, self._offence = providing, offence
        self._allotment = Allotment()
        self._looked_s: dict[BlobId, float] = {}

    async def fetch(self, blob: BlobId, providers: Sequence[PeerId], shelf: Shelf) -> tuple[Hash32, ...]:
        """Get what is missing of a blob; see `Network.fetch`."""
        named = [remote for remote in dict.fromkeys(providers) if parse_id(remote) and remote != self._own]

        async def connected() -> Sequence[PeerId]:
            here = {PeerId(str(remote)): None for remote in self._links.askers}
            return [*(remote for remote in named if remote in here), *here]

        async def strangers() -> Sequence[PeerId]:
            unknown = [r for r in named if parse_id(r) not in self._links.askers]
            return unknown[:STRANGERS_SOUGHT_MAX]

        async def found() -> Sequence[PeerId]:
            return await self._providing.find(blob) if self._may_look(blob) else ()

        transfer = Transfer(blob, shelf, self._reach, self._offence, self._allotment)
        return await transfer.run((connected, strangers, found))

    def _may_look(self, blob: BlobId) -> bool:
        now_s = trio.current_time()
        if now_s - self._looked_s.get(blob, -LOOKED_PAUSE_S) < LOOKED_PAUSE_S:
            return False
        self._looked_s.pop(blob, None)
        self._looked_s[blob] = now_s
        if len(self._looked_s) > LOOKED_MAX:
            del self._looked_s[next(iter(self._looked_s))]
        return True

    async def _reach(self, remote: PeerId) -> Asker | None:
        known = parse_id(remote)
        if known is None:
            return None
        if known not in self._links.askers and await self._connect(known):
            await self._links.wait_for(known, LINK_TIMEOUT_S)
        return self._links.askers.get(known)


def parse_id(remote: PeerId) -> ID | None:
    """Read a peer id; a name may come from a remote, and one that can't be read is nobody's."""
    try:
        return ID.from_base58(remote)
    except ValueError:
        return None
