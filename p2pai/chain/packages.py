"""Waiting transactions and what they spend of each other: packages, their fee rates, their limits.

Money ties waiting transactions together: a child spends an output of its parents. A block can take a child
only with all its *ancestors*, and losing a transaction loses all its *descendants*; so what a place in a
block is worth is the fee rate with ancestors, and what keeping a transaction is worth the fee rate with
descendants. Both are kept up to date for every entry, in two sorted lists.

A *duty* is a transaction that money or the chain's weight waits for, and that only somebody drawn for it can
send, once: it counts as if it paid `DUTY_WORTH_ATOMS` more (docs/adr/0027).

Source: Bitcoin Core, txmempool and policy/packages.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sortedcontainers import SortedKeyList

from p2pai.chain.params import ATOMS_PER_COIN
from p2pai.chain.transaction import (
    BuyTickets,
    FraudProof,
    Output,
    Pay,
    PayForTask,
    RevokeTask,
    Transaction,
    Transfer,
)
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import Amount, Hash32, Outpoint

PACKAGE_COUNT_MAX: Final = 25
"""Transactions, duties not counted, among one and its ancestors, or its descendants. Source: Bitcoin Core."""

PACKAGE_BYTES_MAX: Final = 101_000
"""Their bytes. Source: Bitcoin Core."""

DUTY_WORTH_ATOMS: Final = 10 * ATOMS_PER_COIN
"""What a duty is worth beyond its fee: the least stake of a ticket. Source: docs/adr/0027."""

ORDINARY: Final = (Transfer, BuyTickets, PayForTask, RevokeTask, FraudProof)
"""Data that whoever has money can send as often as he likes.

All others are duties: the state takes one for each ticket, or certificate, and place.
"""


class Total(NamedTuple):
    """What some transactions pay and take."""

    worth: int
    """Fees, and what duties are worth besides, atoms."""
    size: int
    """Bytes."""
    limited_count: int
    """Of those that limits count."""
    limited_bytes: int
    """Bytes of those that limits count."""

    def plus(self, other: "Total") -> "Total":
        """Return the sum."""
        return Total(*(a + b for a, b in zip(self, other, strict=True)))

    def minus(self, other: "Total") -> "Total":
        """Return the difference."""
        return Total(*(a - b for a, b in zip(self, other, strict=True)))

    @property
    def rate(self) -> int:
        """Atoms per byte, times 2^40."""
        return (self.worth << 40) // self.size


NOTHING: Final = Total(0, 0, 0, 0)


@dataclass(slots=True, eq=False)
class Entry:
    """A waiting transaction."""

    tx: Transaction
    fee: Amount
    sequence: int
    """Order of arrival."""
    height: int
    """Of the tip when it came."""
    spent: tuple[Output, ...]
    """What its inputs stand for."""
    parents: list["Entry"] = field(default_factory=list)
    children: list["Entry"] = field(default_factory=list)
    own: Total = field(init=False)
    above: Total = field(init=False)
    """With its ancestors."""
    below: Total = field(init=False)
    """With its descendants."""
    outpoints: tuple[Outpoint, ...] = field(init=False)
    """Of its outputs."""
    is_plain: bool = field(init=False)
    """Whether unspent outputs are all that it changes."""

    def __post_init__(self) -> None:
        self.own = self.above = self.below = weigh(self.tx, self.fee)
        txid = self.tx.txid
        self.outpoints = tuple(Outpoint(txid, i) for i in range(len(self.tx.outputs)))
        paid = all(isinstance(output, Pay) for output in self.spent)
        self.is_plain = paid and isinstance(self.tx.data, Transfer)


def is_duty(tx: Transaction) -> bool:
    """Return whether money or the chain's weight waits for a transaction."""
    return not isinstance(tx.data, ORDINARY)


def weigh(tx: Transaction, fee: Amount) -> Total:
    """Return what one transaction pays and takes."""
    if is_duty(tx):
        return Total(fee + DUTY_WORTH_ATOMS, tx.size, 0, 0)
    return Total(fee, tx.size, 1, tx.size)


def subjects(tx: Transaction) -> list[bytes]:
    """Return the block or the tasks that a transaction is about; one that it posts is among them."""
    posted = [tx.txid] if isinstance(tx.data, PayForTask) else []
    values = (getattr(tx.data, name, None) for name in ("block", "task", "replaces"))
    return [value for value in values if value is not None] + posted


class Packages:
    """Waiting transactions by id, by what they spend, and by what they are worth."""

    def __init__(self) -> None:
        self._entries: dict[Hash32, Entry] = {}
        self._spenders: dict[Outpoint, Entry] = {}
        self._duties: dict[Entry, None] = {}
        self._best: SortedKeyList = SortedKeyList(key=_package_key)
        self._worst: SortedKeyList = SortedKeyList(key=_keeping_key)
        self.by_wtxid: dict[Hash32, Transaction] = {}
        """The same, by all their bytes."""
        self.size = 0
        """Bytes of all."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Go through all in order of arrival."""
        return iter(self._entries.values())

    def get(self, txid: Hash32) -> Entry | None:
        """Return a waiting transaction."""
        return self._entries.get(txid)

    def spender(self, outpoint: Outpoint) -> Entry | None:
        """Return who spends an output."""
        return self._spenders.get(outpoint)

    def duties(self) -> list[Entry]:
        """Return the duties in order of arrival."""
        return list(self._duties)

    def best(self) -> Iterator[Entry]:
        """Return all, the best fee rate with ancestors first."""
        return iter(self._best)

    def worst(self) -> Entry:
        """Return the one with the least fee rate with descendants."""
        entry: Entry = self._worst[0]
        return entry

    def add(self, entry: Entry) -> None:
        """Take in a transaction whose parents, if they wait, are here; no children of it are."""
        entry.parents = self.parents(entry.tx)
        for parent in entry.parents:
            parent.children.append(entry)
        for ancestor in ancestors(entry.parents):
            entry.above = entry.above.plus(ancestor.own)
            self._reweigh_below(ancestor, ancestor.below.plus(entry.own))
        self._entries[entry.tx.txid] = entry
        self.by_wtxid[entry.tx.wtxid] = entry.tx
        self._spenders.update(dict.fromkeys(entry.tx.inputs, entry))
        if is_duty(entry.tx):
            self._duties[entry] = None
        self._best.add(entry)
        self._worst.add(entry)
        self.size += entry.own.size

    def drop(self, entry: Entry) -> None:
        """Take out one transaction; what is tied to it stays."""
        for ancestor in ancestors(entry.parents):
            self._reweigh_below(ancestor, ancestor.below.minus(entry.own))
        for descendant in descendants(entry.children):
            self._reweigh_above(descendant, descendant.above.minus(entry.own))
        for parent in entry.parents:
            parent.children.remove(entry)
        for child in entry.children:
            child.parents.remove(entry)
        self._duties.pop(entry, None)
        self._best.remove(entry)
        self._worst.remove(entry)
        del self._entries[entry.tx.txid], self.by_wtxid[entry.tx.wtxid]
        for outpoint in entry.tx.inputs:
            del self._spenders[outpoint]
        self.size -= entry.own.size

    def parents(self, tx: Transaction) -> list[Entry]:
        """Return the waiting transactions that one spends outputs of."""
        found = dict.fromkeys(outpoint.txid for outpoint in tx.inputs if outpoint.txid in self._entries)
        return [self._entries[txid] for txid in found]

    def conflicts(self, tx: Transaction) -> list[Entry]:
        """Return the waiting transactions that spend what one spends, in order of its inputs."""
        found = (self._spenders.get(outpoint) for outpoint in tx.inputs)
        return list(dict.fromkeys(entry for entry in found if entry is not None))

    def check_limits(self, tx: Transaction, leaving: Iterable[Entry] = ()) -> None:
        """Check that a newcomer's package stays small, once those that are `leaving` are gone.

        Raises:
          InvalidTransaction: it has too many ancestors, or one of them too many descendants.
        """
        own, gone = weigh(tx, Amount(0)), dict.fromkeys(leaving)
        above = own
        for ancestor in ancestors(self.parents(tx)):
            above = above.plus(ancestor.own)
            below = ancestor.below
            if gone:
                kept = (entry.own for entry in descendants([ancestor]) if entry not in gone)
                below = _sum(kept)
            if _is_large(below.plus(own)):
                raise InvalidTransaction("a transaction that it depends on has too many descendants waiting")
        if _is_large(above):
            raise InvalidTransaction("it depends on too many transactions that wait themselves")

    def _reweigh_above(self, entry: Entry, above: Total) -> None:
        self._best.remove(entry)
        entry.above = above
        self._best.add(entry)

    def _reweigh_below(self, entry: Entry, below: Total) -> None:
        self._worst.remove(entry)
        entry.below = below
        self._worst.add(entry)


def ancestors(parents: Iterable[Entry]) -> list[Entry]:
    """Return some entries and all that they depend on."""
    return _closure(parents, lambda entry: entry.parents)


def descendants(entries: Iterable[Entry]) -> list[Entry]:
    """Return some entries and all that depend on them."""
    return _closure(entries, lambda entry: entry.children)


def package_rate(own: Total, above: Total) -> int:
    """Return what a place in a block is worth: a parent that pays more needs no child to pay for it."""
    return min(own.rate, above.rate)


def _closure(entries: Iterable[Entry], step: Callable[[Entry], list[Entry]]) -> list[Entry]:
    found = dict.fromkeys(entries)
    waiting = list(found)
    while waiting:
        for entry in step(waiting.pop()):
            if entry not in found:
                found[entry] = None
                waiting.append(entry)
    return list(found)


def _sum(totals: Iterable[Total]) -> Total:
    total = NOTHING
    for each in totals:
        total = total.plus(each)
    return total


def _is_large(total: Total) -> bool:
    return total.limited_count > PACKAGE_COUNT_MAX or total.limited_bytes > PACKAGE_BYTES_MAX


def _package_key(entry: Entry) -> tuple[int, int]:
    return -package_rate(entry.own, entry.above), entry.sequence


def _keeping_key(entry: Entry) -> tuple[int, int]:
    # Of equals the newest goes first.
    return max(entry.own.rate, entry.below.rate), -entry.sequence
