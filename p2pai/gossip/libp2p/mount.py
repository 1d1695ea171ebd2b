"""What a network stands on: a libp2p host, its gossip, and perhaps its DHT; ours, or somebody else's.

`OwnHost` (own_host.py) makes all three and runs them; `GuestHost` (guest.py) is p2pai on a host that another
program made and runs. All that the network does differently on the one and the other is here and in these
two. On somebody else's host it is a guest: a connection also carries the streams of other protocols, so a
hangup ends our own streams and leaves the connection alone, and the address book is not ours to clear.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
import trio
from libp2p.peer.id import ID

from p2pai.effects import Verdict
from p2pai.gossip.libp2p.dial_gate import DialGate
from p2pai.gossip.libp2p.host import Host, close_connection
from p2pai.gossip.libp2p.traversal import Traversal
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.sightings import Observer

Judge = Callable[[ID, str, bytes], Verdict]
"""Takes forwarder, topic and data; ACCEPT lets the message travel on."""

Welcome = Callable[[ID], bool]
"""Tells whether a remote isn't refused at present."""

_log = structlog.get_logger(__name__)


class Gossip(Protocol):
    """Topics."""

    async def subscribe(self, topic: str) -> object:
        """Follow a topic."""

    async def unsubscribe(self, topic: str) -> object:
        """Stop following it."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Send a message to all who follow a topic."""

    def followers(self, topic: str) -> Collection[ID]:
        """Return the remotes that follow a topic, as far as they told us."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A host that runs, with its gossip."""

    host: Host
    gossip: Gossip
    dht: Any | None
    is_ours: bool
    """Whether everything on the host is p2pai's."""
    traversal: Traversal | None = None
    """What gets it through routers; on a host of our own alone."""
    gate: DialGate | None = None
    """What keeps the library from dialling; on a host of our own alone."""

    async def connect(self, info: Any) -> None:  # noqa: ANN401
        """Connect to a remote at its one address; raises whatever the library does."""
        with nullcontext() if self.gate is None else self.gate.open_for(info.addrs[0]):
            if self.traversal is None:
                await self.host.connect(info)
            else:
                await self.traversal.connect(self.host, info)

    async def disconnect(self, remote: ID) -> None:
        """Close the connections to a remote, where they are ours to close."""
        if self.is_ours:
            async with trio.open_nursery() as nursery:
                for connection in self.host.get_network().get_connections(remote):
                    nursery.start_soon(close_connection, connection.muxed_conn)

    def forget_dials(self, remote: ID) -> None:
        """Let a remote be dialled at the address that comes next, at once.

        The library dials one stored address only, perhaps of an earlier life of the remote, and after a
        failure refuses to dial again for a minute. A guest lives with that.
        """
        if not self.is_ours:
            return
        try:
            self.host.get_peerstore().clear_addrs(remote)
        except Exception as error:  # noqa: BLE001
            _log.debug("no stored addresses", error=repr(error))
        self.host.get_network().unblock_peer(remote)


class Mount(Protocol):
    """Gives a network its place."""

    @property
    def id(self) -> ID:
        """The host's id, known before anything runs."""

    def running(
        self, judge: Judge, warden: Warden, observers: Sequence[Observer]
    ) -> AbstractAsyncContextManager[Mounted]:
        """Hold the place while inside.

        Args:
          judge: gets each message of a followed topic once, never our own.
          warden: told what remotes do; knows with whom to have to do.
          observers: see all gossip; the list may change at any time.
        """
