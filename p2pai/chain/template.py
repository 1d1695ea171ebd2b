"""Filling a block: duties in the order they came, then the packages that pay most per byte.

Ancestors go in before children, and what is chosen is applied to the ledger as it is chosen, so that the
block is valid by construction. Duties keep their order because it has a meaning: who closes the commits of
a block closes them for those that come later.

Source: Bitcoin Core, node/miner (BlockAssembler); docs/adr/0027.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from p2pai.chain import transition
from p2pai.chain.packages import Entry, Packages, Total, ancestors, descendants, package_rate
from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.chain.tickets import ticket_count
from p2pai.chain.transaction import BuyTickets, Transaction
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, Hash32

MISSES_MAX: Final = 200
"""Packages in a row that do not go in before a block counts as full. Source: Bitcoin Core, with 1,000."""

ESCORT_BYTES_MAX: Final = 1_000
"""Of ordinary transactions that a duty takes along to the front, four transfers: no way in for junk."""


@dataclass(frozen=True, slots=True)
class Template:
    """Transactions for a block on the tip."""

    transactions: tuple[Transaction, ...]
    state: State
    """The tip's with them applied."""
    fees: Amount


def fill(waiting: Packages, state: State, params: Params, bytes_max: int) -> Template:
    """Choose transactions for a block after `state`, of at most `bytes_max` bytes."""
    filling = _Filling(state, params, bytes_max)
    for entry in waiting.duties():
        if filling.rest(entry).limited_bytes <= ESCORT_BYTES_MAX:
            filling.offer(entry)
    filling.misses = 0
    for entry in waiting.best():
        filling.take_raised(before=(-package_rate(entry.own, entry.above), entry.sequence))
        if filling.misses > MISSES_MAX:
            break
        if entry not in filling.rests:
            filling.offer(entry)
    filling.take_raised()
    return Template(tuple(filling.chosen.values()), filling.state, Amount(filling.fees))


@dataclass(slots=True)
class _Filling:
    state: State
    params: Params
    room: int
    fees: int = 0
    tickets: int = 0
    misses: int = 0
    chosen: dict[Hash32, Transaction] = field(default_factory=dict)
    rests: dict[Entry, Total] = field(default_factory=dict)
    """What is left of the packages of which some is chosen."""
    raised: list[tuple[int, int]] = field(default_factory=list)
    """Rate and order of arrival of those in `rests`, best first; outdated ones among them."""
    arrivals: dict[int, Entry] = field(default_factory=dict)
    """The same entries by order of arrival."""

    def take_raised(self, before: tuple[int, int] | None = None) -> None:
        """Offer those that became better than the best of the others."""
        while self.raised and (before is None or self.raised[0] < before) and self.misses <= MISSES_MAX:
            key, sequence = heappop(self.raised)
            entry = self.arrivals[sequence]
            waits = entry.tx.txid not in self.chosen
            if waits and key == -package_rate(entry.own, self.rest(entry)):
                self.offer(entry)

    def rest(self, entry: Entry) -> Total:
        """Return what an entry adds to the block with those of its ancestors that are not chosen."""
        return self.rests.get(entry, entry.above)

    def offer(self, entry: Entry) -> None:
        """Take an entry with its ancestors, if there is room and the ledger takes them."""
        package = [e for e in ancestors([entry]) if e.tx.txid not in self.chosen]
        package.sort(key=lambda e: e.sequence)
        bought = sum(ticket_count(e.tx) for e in package if isinstance(e.tx.data, BuyTickets))
        if self.tickets + bought > self.params.tickets_per_block_max:
            return
        if self.rest(entry).size <= self.room and self._apply(package):
            self.tickets += bought
            self._choose(package)
        else:
            self.misses += 1

    def _apply(self, package: list[Entry]) -> bool:
        state, fees = self.state, 0
        try:
            for entry in package:
                state, fee = transition.apply_transaction(state, entry.tx, self.params, trusted=True)
                fees += fee
        except InvalidInput:
            return False
        self.state, self.fees = state, self.fees + fees
        return True

    def _choose(self, package: list[Entry]) -> None:
        self.misses = 0
        for entry in package:
            self.chosen[entry.tx.txid] = entry.tx
            self.room -= entry.own.size
            for each in descendants([entry]):
                self.rests[each] = self.rest(each).minus(entry.own)
        for child in descendants(package):
            if child.tx.txid not in self.chosen:
                self.arrivals[child.sequence] = child
                heappush(self.raised, (-package_rate(child.own, self.rests[child]), child.sequence))
