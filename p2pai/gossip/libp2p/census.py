"""Who is linked with us now: which side dialled, from where they talk, and how many are wanted.

Of the links a certain number is ours to choose: those that we dialled. Whoever fills our inbound side gets no
further than that.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import trio
from libp2p.peer.id import ID

from p2pai.gossip import addresses
from p2pai.gossip.addresses import Address, Scope
from p2pai.gossip.libp2p.host import Host
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId

OUTBOUND_WANTED: Final = 8
"""Links that we dialled, whoever else is there. Source: Bitcoin."""

LINKS_WANTED: Final = 16
"""Links in all that are enough; more may still come in."""

FOR_TASKS_MAX: Final = 8
"""Links beyond those that are dialled for the sake of our tasks."""

PER_NETWORK: Final = 2
"""Links that we dialled to one network of the open internet, as far as they count among those wanted: who has
many names at one place, and leaves word with each that it works on our tasks, makes us dial no others."""


@dataclass(slots=True)
class Linked:
    """A remote that can be asked."""

    remote: ID
    is_outbound: bool
    network: str
    """Where it talks from, as of gossip/addresses.py; empty when that isn't known."""
    scope: Scope
    dialled: Address | None
    """Where we reached it, if we dialled."""
    host: str = ""
    claims: tuple[Address, ...] = ()
    """Where it says that it listens, at the IP address that it talks from."""
    since_s: float = field(default_factory=trio.current_time)
    told_s: float = float("-inf")
    """When it was told last whom we know."""

    @property
    def name(self) -> PeerId:
        """Its id as the core knows it."""
        return PeerId(str(self.remote))


class Census:
    """All links."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._links: dict[ID, Linked] = {}
        self._dialled: dict[ID, Address] = {}
        self.changed = trio.Event()
        """Set, and replaced, when a link comes or goes."""

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Linked]:
        return iter(list(self._links.values()))

    def get(self, remote: ID) -> Linked | None:
        """Return the link to a remote."""
        return self._links.get(remote)

    def note_dial(self, remote: ID, address: Address | None) -> None:
        """Remember where a remote is being dialled, until its link comes."""
        self._dialled.pop(remote, None)
        if address is not None:
            self._dialled[remote] = address

    def add(self, remote: ID) -> Linked:
        """Note a new link."""
        connections = list(self._host.get_network().get_connections(remote))
        is_outbound = any(_is_outbound(connection) for connection in connections)
        host = next((found for found in map(_host_of, connections) if found), "")
        dialled = self._dialled.pop(remote, None) if is_outbound else None
        linked = Linked(remote, is_outbound, *_whereabouts(host), dialled, host)
        self._links[remote] = linked
        self._tell()
        return linked

    def whereabouts(self, remote: ID) -> tuple[str, Scope]:
        """Return the network that a connected remote talks from, and its scope; nothing known is far away."""
        return _whereabouts(next(map(_host_of, self._host.get_network().get_connections(remote)), ""))

    def farthest(self) -> Scope:
        """Return the widest scope of all who are connected: who named an address may be any of them."""
        return max(map(scope_of, self._host.get_network().get_connections()), default=Scope.MACHINE)

    def remove(self, remote: ID) -> Linked | None:
        """Note that a link is gone."""
        self._tell()
        return self._links.pop(remote, None)

    @property
    def names(self) -> frozenset[PeerId]:
        """Who is linked."""
        return frozenset(linked.name for linked in self._links.values())

    @property
    def outbound(self) -> int:
        """How many links we dialled."""
        return sum(linked.is_outbound for linked in self._links.values())

    @property
    def wanted(self) -> int:
        """How many links are missing."""
        return max(OUTBOUND_WANTED - self.outbound + self._crowd, LINKS_WANTED - len(self), 0)

    @property
    def room_for_tasks(self) -> int:
        """How many links may be dialled for the sake of our tasks, whatever else is there."""
        return max(min(LINKS_WANTED + FOR_TASKS_MAX - self.outbound, FOR_TASKS_MAX - self._crowd), 0)

    @property
    def _crowd(self) -> int:
        """How many of the links that we dialled are to networks that have enough of them."""
        dialled = (linked for linked in self._links.values() if linked.is_outbound)
        counts = Counter(
            linked.network for linked in dialled if linked.network and linked.scope is Scope.WORLD
        )
        return sum(max(0, count - PER_NETWORK) for count in counts.values())

    @property
    def networks(self) -> frozenset[str]:
        """Networks to which links that we dialled lead."""
        return frozenset(linked.network for linked in self._links.values() if linked.is_outbound)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


def _is_outbound(connection: Any) -> bool:  # noqa: ANN401
    return bool(getattr(connection.muxed_conn, "is_initiator", False))


def scope_of(connection: Any) -> Scope:  # noqa: ANN401
    """Return from where the other end of a connection can be reached; nothing known is far away."""
    return _whereabouts(_host_of(connection))[1]


def _whereabouts(host: str) -> tuple[str, Scope]:
    try:
        return addresses.network_of(host), addresses.host_scope(host)
    except InvalidMessage:
        return "", Scope.WORLD


def _host_of(connection: Any) -> str:  # noqa: ANN401
    # Not every transport of somebody else's host can tell.
    with suppress(Exception):
        host, _ = connection.muxed_conn.get_remote_address()
        return str(host).removeprefix("::ffff:")
    return ""
