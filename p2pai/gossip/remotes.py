"""Whom a node knows, and whom of them it dials: a book that a flood of addresses can't wash clean.

An eclipse begins with addresses: whoever fills a node's memory with his own is soon all that it talks to.
So there are two tables.

* *Heard*: what others said, never verified. When it is full, the network that told us most loses something:
  a flood from few networks washes out itself.
* *Tried*: remotes that we dialled ourselves and that spoke our protocol. Saying doesn't get anybody in.
  When it is full, the network that most of its entries lie in loses something.

In both, of one subnet only a few are known, by the same two rules. What follows, and is tested: whoever's
network holds at most its share, the table's size by the number of networks, loses nothing, whatever the
others do.

Of whom to dial, the first are the oldest of the tried, each of another network: an attacker who came later
can't take their place. The others are drawn, evenly from both tables, and as far as there are such from
networks to which no connection leads yet.

Times are Unix milliseconds and come from outside, as do the dice.

Source: Bitcoin Core's address manager; Heilman et al., "Eclipse Attacks on Bitcoin" (2015).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from p2pai.gossip.addresses import Address, Scope
from p2pai.primitives.ids import Millis, PeerId

HEARD_MAX: Final = 1024
"""Addresses in the table of what was heard, 300 kB."""

TRIED_MAX: Final = 256
"""Remotes in the table of those that were good."""

SUBNET_MAX: Final = 16
"""Entries of one subnet in each table; a machine's own loopback is free of it, being nobody else's."""

ANCHORS: Final = 4
"""Oldest good remotes that are dialled before all others."""

PAUSE_MS_MIN: Final = 500
PAUSE_MS_MAX: Final = 60_000
"""Milliseconds between two dials of one address; they double, and half to all of that is waited."""

FAILURES_MAX: Final = 4
"""Failed dials after which an address that never was good is forgotten."""

TRIED_FOR_MS: Final = 30 * 24 * 3600 * 1000
"""Milliseconds for which a remote that was good is remembered when it no longer is."""

Dice = Callable[[int], int]
"""Returns a number from 0 to below its argument, each as likely."""


@dataclass(slots=True)
class Known:
    """One address, and how it went with it."""

    address: Address
    teller: str
    """The network of who told us; empty for our own sources."""
    heard_ms: int
    since_ms: int = 0
    """When it was good first."""
    good_ms: int = 0
    """When it was good last."""
    failures: int = 0
    """Failed dials in a row."""
    due_ms: int = 0
    """When it may be dialled again."""


class Book:
    """All remotes that a node knows of."""

    def __init__(self, own: PeerId, dice: Dice) -> None:
        self._own = own
        self._dice = dice
        self._heard: dict[str, Known] = {}
        self._tried: dict[PeerId, Known] = {}

    def __len__(self) -> int:
        return len(self._heard) + len(self._tried)

    @property
    def tried(self) -> tuple[Known, ...]:
        """Remotes that were good, oldest first."""
        return tuple(sorted(self._tried.values(), key=_age))

    @property
    def heard(self) -> tuple[Known, ...]:
        """Addresses that were only heard of."""
        return tuple(self._heard.values())

    def hear(self, address: Address, now_ms: Millis, teller: str = "", scope: Scope = Scope.MACHINE) -> bool:
        """Note what somebody said; whoever said it first counts as its teller.

        Args:
          address: of whom we were told.
          now_ms: the time.
          teller: the network of who told us; empty for the operator, the cache and the local network.
          scope: from where the teller's own address can be reached. A remote out in the world has no say
            about addresses of our site or machine: dialling them for it would probe what it can't reach.

        Returns:
          Whether it is noted now and wasn't before.
        """
        known = self._tried.get(address.remote)
        if address.remote == self._own or address.scope < scope or address.text in self._heard:
            return False
        if known is not None and known.address == address:
            return False
        self._heard[address.text] = Known(address, teller, now_ms)
        for crowd in _crowds(self._heard.values(), address, HEARD_MAX, lambda entry: entry.teller):
            del self._heard[max(crowd, key=_worth_least_heard).address.text]
        return address.text in self._heard

    def note_good(self, address: Address, now_ms: Millis) -> None:
        """Note that a remote which we dialled there speaks our protocol."""
        known = self._tried.pop(address.remote, None)
        self._heard.pop(address.text, None)
        self.restore(address, known.since_ms if known else now_ms, now_ms)
        if known is not None and address.remote in self._tried:
            self._tried[address.remote].failures = known.failures

    def note_steady(self, address: Address, now_ms: Millis) -> None:
        """Note that the connection lasts: what failed before is forgiven."""
        known = self._tried.get(address.remote)
        if known is not None and known.address == address:
            known.failures, known.good_ms = 0, now_ms

    def restore(self, address: Address, since_ms: int, good_ms: int) -> None:
        """Take back a remote that was good, from the cache."""
        if address.remote == self._own:
            return
        self._tried[address.remote] = Known(address, "", good_ms, since_ms, good_ms)
        for crowd in _crowds(self._tried.values(), address, TRIED_MAX, lambda entry: entry.address.network):
            del self._tried[max(crowd, key=_worth_least_tried).address.remote]

    def note_failure(self, address: Address, now_ms: Millis, *, alone: bool) -> None:
        """Note that a dial failed; `alone` when none succeeds, so that the fault is probably ours."""
        for entry in self._entries(address):
            pause_ms = min(PAUSE_MS_MIN << min(entry.failures, 16), PAUSE_MS_MAX)
            entry.failures += 1
            entry.due_ms = now_ms + pause_ms // 2 + self._dice(pause_ms // 2 + 1)
        if alone:
            return
        heard = self._heard.get(address.text)
        if heard is not None and heard.failures >= FAILURES_MAX:
            del self._heard[address.text]
        known = self._tried.get(address.remote)
        if known is not None and known.failures and now_ms - known.good_ms > TRIED_FOR_MS:
            del self._tried[address.remote]

    def addresses_of(self, remote: PeerId) -> tuple[Address, ...]:
        """Return where a remote may be found, the address that was good first."""
        known = self._tried.get(remote)
        heard = (entry.address for entry in self._heard.values() if entry.address.remote == remote)
        return (*([known.address] if known else ()), *heard)

    def choose(
        self,
        count: int,
        now_ms: Millis,
        busy: Collection[PeerId],
        taken: Iterable[str],
        first: Iterable[PeerId],
    ) -> list[Address]:
        """Return up to `count` addresses to dial now, of different remotes.

        Args:
          count: how many at most.
          now_ms: the time.
          busy: remotes that are connected, being dialled or refused.
          taken: networks to which connections of ours lead; others are preferred.
          first: remotes that are preferred to all others, such as those of our tasks.
        """
        chosen: dict[PeerId, Address] = {}
        networks, near = set(taken), list[Address]()

        def take(addresses: Iterable[Address], *, spread: bool) -> None:
            for address in addresses:
                if len(chosen) >= count:
                    return
                if spread and address.network in networks:
                    near.append(address)
                elif address.remote not in busy:
                    chosen.setdefault(address.remote, address)
                    networks.add(address.network)

        preferred = [address for remote in first for address in self.addresses_of(remote)]
        take((a for a in preferred if self._is_due(a, now_ms)), spread=False)
        take(self.anchors(now_ms), spread=False)
        take(self._drawn(now_ms), spread=True)
        take(near, spread=False)
        return list(chosen.values())

    def anchors(self, now_ms: Millis) -> list[Address]:
        """Return the oldest good remotes that are due, each of another network."""
        spread: dict[str, Address] = {}
        for entry in sorted(self._tried.values(), key=_age):
            if entry.due_ms <= now_ms:
                spread.setdefault(entry.address.network, entry.address)
        return list(spread.values())[:ANCHORS]

    def _drawn(self, now_ms: Millis) -> Iterator[Address]:
        tables = [
            [entry.address for entry in table.values() if entry.due_ms <= now_ms]
            for table in (self._tried, self._heard)
        ]
        while any(tables):
            table = tables[self._dice(2)] or tables[0] or tables[1]
            place = self._dice(len(table))
            table[place], table[-1] = table[-1], table[place]
            yield table.pop()

    def _is_due(self, address: Address, now_ms: Millis) -> bool:
        return all(entry.due_ms <= now_ms for entry in self._entries(address))

    def _entries(self, address: Address) -> list[Known]:
        known, entry = self._tried.get(address.remote), self._heard.get(address.text)
        found = [known] if known is not None and known.address == address else []
        return [*found, *([entry] if entry is not None else [])]


def _crowds(
    entries: Collection[Known], newest: Address, size_max: int, group: Callable[[Known], str]
) -> Iterator[list[Known]]:
    """Give what must lose an entry: of the newest one's subnet, then of all, the largest group."""
    subnet = [entry for entry in entries if entry.address.subnet == newest.subnet]
    if newest.scope is not Scope.MACHINE and len(subnet) > SUBNET_MAX:
        yield _crowd(subnet, group)
    if len(entries) > size_max:
        yield _crowd(entries, group)


def _crowd(entries: Collection[Known], group: Callable[[Known], str]) -> list[Known]:
    sizes = Counter(map(group, entries))
    largest = max(sizes, key=lambda name: (sizes[name], name))
    return [entry for entry in entries if group(entry) == largest]


def _age(entry: Known) -> tuple[int, str]:
    return entry.since_ms, entry.address.text


def _worth_least_heard(entry: Known) -> tuple[int, int, str]:
    return entry.failures, entry.heard_ms, entry.address.text


def _worth_least_tried(entry: Known) -> tuple[bool, int, str]:
    # Of those that answer, who came last goes first.
    return bool(entry.failures), entry.since_ms, entry.address.text
