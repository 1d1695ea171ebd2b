"""Finding the others, and staying linked with enough of them.

Sources of addresses, none of them needed: bootstrap addresses of the operator, dialled for ever; the cache of
remotes that were good; what remotes tell when they are asked whom they know; the DHT (search.py); the local
network (mdns.py). All but the first go through one book (gossip/remotes.py), which says whom to dial.

A remote counts as good once it speaks our ask protocol, whose name carries the chain's id. Links are wanted
as census.py says; each minute or so one more is made with somebody drawn from the book, and the one before
the last of these is closed. So halves of a network that each have links enough find together again too, and
what the book holds is tried.
"""

import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from multiaddr.utils import get_thin_waist_addresses

from p2pai.gossip import exchange
from p2pai.gossip.addresses import Address, Scope, read_or_none
from p2pai.gossip.libp2p import mdns, names, remotes_cache
from p2pai.gossip.libp2p.census import Census, Linked
from p2pai.gossip.libp2p.dialling import Dialler, jittered, parse_bootstrap, read_info
from p2pai.gossip.libp2p.frames import Kind
from p2pai.gossip.libp2p.links import Links
from p2pai.gossip.libp2p.meeting import full_text
from p2pai.gossip.libp2p.mount import Mounted, Welcome
from p2pai.gossip.libp2p.search import Search
from p2pai.gossip.remotes import Book
from p2pai.primitives.errors import InvalidMessage, Unavailable
from p2pai.primitives.ids import Millis, PeerId

DIALS_MAX: Final = 8
"""Addresses that are dialled at once."""

ADDRESSES_TRIED_MAX: Final = 4
"""Addresses of one remote that are dialled when it is looked for; anybody may have named them."""

LINK_TIMEOUT_S: Final = 5.0
"""Seconds from a connection to a link."""

LOOK_S: Final = 1.0
"""Seconds between two looks at whether links are missing."""

PAUSE_S_MIN: Final = 0.25
HOLD_PAUSE_S_MAX: Final = 5.0
"""Seconds between two dials of a bootstrap address: a network that restarts should meet again soon."""

STEADY_S: Final = 30.0
"""Seconds after which a link counts as one that lasts; one that ends before is dialled later and later."""

ACQUAINTED_S: Final = 0.5
"""Seconds from a link to the first question: by then it is known where the remote says that it listens."""

CLAIMS_MAX: Final = 8
"""Addresses of its own that are taken from one remote."""

EXCHANGE_S: Final = 60.0
EXCHANGE_S_IDLE: Final = 600.0
"""Seconds between two questions to one remote whom it knows, while links are missing and when none is."""

TELL_S_MIN: Final = 10.0
"""Seconds between two answers to one remote."""

ROVE_S: Final = 60.0
ROVERS_MAX: Final = 2
"""Seconds between two links beyond those wanted, and how many of them are kept."""

SAVE_S: Final = 60.0
SAVE_SOON_S: Final = 5.0
"""Seconds between two writes of the cache; and to the next one when somebody came or went."""

ALONE_S: Final = 10.0
"""Seconds without any link after which a node says that it is alone."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a node looks for others, beside the DHT."""

    bootstrap: Sequence[str] = ()
    """Multiaddrs; names of DNS are allowed."""
    cache: Path | None = None
    """File of the remotes that were good; None: they are forgotten."""
    mdns: bool = False
    """Whether to look, and to be found, on the local network."""


class Discovery:
    """Looks for remotes and dials them, for one network."""

    def __init__(
        self, mounted: Mounted, chain: str, places: Places, is_welcome: Welcome, links: Links | None
    ) -> None:
        """Take note of the parts; without `links` connections count as such, and nobody shall find us."""
        self._mounted, self._host = mounted, mounted.host
        self._chain, self._places, self._links = chain, places, links
        self._bootstrap = [parse_bootstrap(text) for text in places.bootstrap]
        self._began_ms = time.time_ns() // 1_000_000 - int(1000 * trio.current_time())
        self._book = Book(PeerId(str(self._host.get_id())), secrets.randbelow)
        self._census = Census(self._host)
        self._dialler = Dialler(mounted, self._census, is_welcome)
        self.search = Search(
            mounted, chain, self._census, self._hear, self._now_ms, provides=links is not None
        )
        self._dialling: set[PeerId] = set()
        self._rovers: deque[ID] = deque()
        self._looking = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._is_alone = False

    async def run(self) -> None:
        """Search and dial until cancelled."""
        if self._places.cache is not None:
            remotes_cache.load(self._places.cache, self._book, self._chain, self._now_ms())
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for linked in self._census:
                    nursery.start_soon(self._attend, linked)
                for address in self._bootstrap:
                    nursery.start_soon(self._hold, address)
                for loop in (self._fill, self._rove, self.search.run, self._remember, self._watch_company):
                    nursery.start_soon(loop)
                if self._places.mdns:
                    nursery.start_soon(mdns.run, self._chain, self._on_interfaces(), self._hear_neighbour)
        finally:
            self._nursery = None
            self._save()

    # --- what the network tells

    def note_arrival(self, remote: ID) -> None:
        """Learn that a remote can be asked."""
        linked = self._census.add(remote)
        if linked.dialled is not None:
            self._book.note_good(linked.dialled, self._now_ms())
        if len(self._census) == 1:
            self.search.hurry()
        if self._nursery is not None:
            self._nursery.start_soon(self._attend, linked)

    def note_loss(self, remote: ID) -> None:
        """Learn that it no longer can."""
        linked = self._census.remove(remote)
        if linked is not None and linked.dialled and trio.current_time() - linked.since_s < STEADY_S:
            self._book.note_failure(linked.dialled, self._now_ms(), alone=False)
        self._looking.set()
        self.search.hurry()

    def tell(self, remote: ID) -> bytes | None:
        """Answer a remote that asks whom we know; None when it asks too often."""
        linked, now_s = self._census.get(remote), trio.current_time()
        if linked is None or now_s - linked.told_s < TELL_S_MIN:
            return None
        linked.told_s = now_s
        claims = [address for other in self._census for address in other.claims]
        return exchange.answer(
            self._book, claims, linked.name, linked.scope, self._now_ms(), secrets.randbelow
        )

    def company(self) -> dict[str, Any]:
        """Return how many there are, for the node's status."""
        return {
            "inbound": len(self._census) - self._census.outbound,
            "outbound": self._census.outbound,
            "known": len(self._book),
            "alone": self._is_alone,
        }

    async def find(self, remote: ID) -> bool:
        """Connect to a remote by its id; False when that fails."""
        if self._host.is_peer_connected(remote):
            return True
        name = PeerId(str(remote))
        texts = [address.text for address in self._book.addresses_of(name)]
        if not texts:
            texts = self._near(self._stored(remote)) or self._near(await self.search.find(remote))
        return await self._reach(texts[:ADDRESSES_TRIED_MAX]) is not None

    def _near(self, texts: Sequence[str]) -> list[str]:
        # Who told the library of these isn't known.
        scope = self._census.farthest()
        found = (read_or_none(text) for text in texts)
        return [address.text for address in found if address is not None and address.scope >= scope]

    # --- dialling

    async def _hold(self, bootstrap: Any) -> None:  # noqa: ANN401
        """Stay connected with one bootstrap address, whoever of several is behind its name."""
        held, pause_s = None, PAUSE_S_MIN
        while True:
            if held is None or not self._host.is_peer_connected(held):
                addresses = await names.resolve(bootstrap)
                held = await self._reach([str(address) for address in addresses])
            if held is not None:
                pause_s = PAUSE_S_MIN
                await trio.sleep(LOOK_S)
            else:
                await trio.sleep(jittered(pause_s))
                pause_s = min(2 * pause_s, HOLD_PAUSE_S_MAX)

    async def _reach(self, texts: Sequence[str]) -> ID | None:
        for text in texts:
            remote: ID | None = await self._dialler.dial(text)
            if remote is not None:
                return remote
        return None

    async def _fill(self) -> None:
        """Dial as long as links are missing."""
        while True:
            self._looking = trio.Event()
            if self._links is None:
                self._count_connections()
            missing = self.search.missing() if self._census.room_for_tasks else ()
            wanted = max(self._census.wanted, min(len(missing), self._census.room_for_tasks))
            self._dial(min(wanted, DIALS_MAX) - len(self._dialling), missing)
            with trio.move_on_after(LOOK_S):
                await self._looking.wait()

    def _dial(self, count: int, first: Sequence[PeerId] = ()) -> list[Address]:
        assert self._nursery is not None, "not running"
        if count <= 0:
            return []
        connected = {PeerId(str(remote)) for remote in self._host.get_connected_peers()}
        busy = connected | self._dialling
        chosen = self._book.choose(count, self._now_ms(), busy, self._census.networks, first)
        for address in chosen:
            self._dialling.add(address.remote)
            self._nursery.start_soon(self._try, address)
        return chosen

    async def _try(self, address: Address) -> None:
        try:
            remote = await self._dialler.dial(address.text)
            if remote is not None and self._links is not None:
                await self._links.wait_for(remote, LINK_TIMEOUT_S)
            if remote is None or (self._links is not None and self._census.get(remote) is None):
                self._book.note_failure(address, self._now_ms(), alone=not self._census)
                if remote is not None:
                    await self._dialler.let_go(remote)
        finally:
            # The next dial waits for its turn: of addresses where nobody is there may be many.
            self._dialling.discard(address.remote)

    def _count_connections(self) -> None:
        connected = set(self._host.get_connected_peers())
        for linked in self._census:
            if linked.remote not in connected:
                self.note_loss(linked.remote)
        for remote in connected:
            if self._census.get(remote) is None:
                self.note_arrival(remote)

    async def _rove(self) -> None:
        while True:
            await trio.sleep(jittered(ROVE_S))
            if self._census.wanted or not self._mounted.is_ours:
                continue
            for address in self._dial(1):
                info = read_info(address.text)
                self._rovers.extend([info.peer_id] if info is not None else [])
            while len(self._rovers) > ROVERS_MAX:
                rover = self._census.get(self._rovers.popleft())
                if rover is not None and rover.is_outbound:
                    await self._dialler.let_go(rover.remote)

    # --- asking and looking

    async def _attend(self, linked: Linked) -> None:
        """Get acquainted with a remote, and ask it again and again whom it knows."""
        await self.search.add(linked.remote)
        await trio.sleep(jittered(ACQUAINTED_S))
        while self._census.get(linked.remote) is linked:
            self._hear_claims(linked)
            await self._ask(linked)
            await trio.sleep(STEADY_S)
            if self._census.get(linked.remote) is linked and linked.dialled is not None:
                self._book.note_steady(linked.dialled, self._now_ms())
            await trio.sleep(jittered(EXCHANGE_S if self._census.wanted else EXCHANGE_S_IDLE))

    def _hear_claims(self, linked: Linked) -> None:
        stored = map(read_or_none, self._stored(linked.remote)[:CLAIMS_MAX])
        claims = [address for address in stored if address is not None]
        linked.claims = tuple(claim for claim in claims if claim.host == linked.host)
        self._hear(claims, linked.network, linked.scope)

    async def _ask(self, linked: Linked) -> None:
        asker = None if self._links is None else self._links.askers.get(linked.remote)
        if asker is None:
            return
        try:
            told = exchange.parse(await asker.request(Kind.KNOWN, b"", LINK_TIMEOUT_S))
        except (Unavailable, InvalidMessage) as error:
            _log.debug("no addresses", remote=linked.name, reason=str(error))
        else:
            self._hear(told, linked.network, linked.scope)

    def _on_interfaces(self) -> list[str]:
        """Return where neighbours find us: 0.0.0.0 stands for the address of each interface."""
        listened = self._host.get_transport_addrs()
        found = [address for each in listened for address in get_thin_waist_addresses(each)]
        return [full_text(address, self._host.get_id()) for address in found]

    def _hear_neighbour(self, address: Address) -> None:
        self._hear([address], "mdns", Scope.SITE)

    def _hear(self, told: Sequence[Address], teller: str, scope: Scope) -> None:
        for address in told:
            if self._book.hear(address, self._now_ms(), teller, scope):
                self._looking.set()

    # --- remembering

    async def _remember(self) -> None:
        while True:
            with trio.move_on_after(SAVE_S):
                await self._census.changed.wait()
            await trio.sleep(SAVE_SOON_S)
            self._save()

    def _save(self) -> None:
        if self._places.cache is not None:
            claims = [address for linked in self._census for address in linked.claims]
            remotes_cache.save(self._places.cache, self._book, self._chain, claims)

    async def _watch_company(self) -> None:
        while True:
            changed = self._census.changed
            if self._census:
                if self._is_alone:
                    _log.info("no longer alone")
                self._is_alone = False
                await changed.wait()
                continue
            with trio.move_on_after(ALONE_S) as waiting:
                await changed.wait()
            if waiting.cancelled_caught and not self._is_alone:
                self._is_alone = True
                _log.warning(
                    "no other node answers: this one works alone, and goes on trying", known=len(self._book)
                )

    # --- odds

    def _now_ms(self) -> Millis:
        # A clock that is set meanwhile doesn't make what waits wait longer.
        return Millis(self._began_ms + int(1000 * trio.current_time()))

    def _stored(self, remote: ID) -> list[str]:
        try:
            return [full_text(address, remote) for address in self._host.get_peerstore().addrs(remote)]
        except Exception:  # noqa: BLE001
            return []
