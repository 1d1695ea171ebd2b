"""Getting through routers: what a host of our own does so that others reach it, in one place.

It tells addresses under which it can be reached (announcing.py). Where remotes can't call it, it keeps places
at relays (circuits.py) and makes circuits into direct connections (punching.py). It is a relay itself only if
its operator says so (relaying.py). UPnP isn't used: py-libp2p asks for mappings without an end, which stay in
the router when a node is killed.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service

from p2pai.gossip.libp2p.announcing import CIRCUIT, Announced
from p2pai.gossip.libp2p.circuits import LOOK_S, Circuits
from p2pai.gossip.libp2p.host import Host
from p2pai.gossip.libp2p.punching import Puncher
from p2pai.gossip.libp2p.relaying import Relay
from p2pai.gossip.reachability import Outlook, Reach
from p2pai.primitives.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Ways:
    """What a host may do to be reached."""

    announce: tuple[str, ...] = ()
    """Multiaddrs to tell others in place of those that it listens on."""
    circuits: bool = True
    """Use relays, and punch holes."""
    relay_service: bool = False
    """Be a relay for others of the chain."""


class Traversal:
    """All that, for one host."""

    def __init__(self, ways: Ways) -> None:
        """Begin.

        Raises:
          ValueError: an address to announce is none.
        """
        self._ways = ways
        self._announced = Announced(ways.announce)
        self._circuits: Circuits | None = None
        self._relay: Relay | None = None

    @asynccontextmanager
    async def running(self, host: Host) -> AsyncIterator[None]:
        """Serve on a host that runs, while inside."""
        self._announced.install(host)
        self._relay = Relay(host, serves=self._ways.relay_service)
        async with background_trio_service(self._relay):
            if not self._ways.circuits:
                yield
                return
            self._circuits = Circuits(host, self._announced)
            self._relay.relays = self._circuits.relays
            async with background_trio_service(Puncher(host)):
                yield

    async def run(self, outlook: Callable[[], Outlook], members: Mapping[ID, object]) -> None:
        """Act on what remotes say of us, until cancelled.

        Args:
          outlook: gives what they say.
          members: the remotes of our chain that can be asked, always as it is now.
        """
        assert self._relay is not None, "not running"
        self._relay.members = members
        async with trio.open_nursery() as nursery:
            if self._circuits is not None:
                nursery.start_soon(self._circuits.run, outlook, members)
            while True:
                found = outlook()
                self._announced.reached = found.addresses if found.reach is Reach.REACHABLE else ()
                await trio.sleep(LOOK_S)

    async def connect(self, host: Host, info: Any) -> None:  # noqa: ANN401
        """Connect to a remote at its one address, over a relay where that says so."""
        if CIRCUIT not in str(info.addrs[0]):
            await host.connect(info)
        elif self._circuits is not None:
            await self._circuits.connect(info)
        else:
            raise Unavailable("this node uses no relays")
