"""Transactions that wait for a block.

The pool keeps the state that its transactions lead to from the tip, in the order they came, so that a
transaction may spend what another one in the pool makes. Blocks take the transactions that pay most per byte,
an ancestor always before what spends it.

Source: PoUW §3.2; RELIABILITY L2.
"""

from dataclasses import dataclass
from typing import Final

from sortedcontainers import SortedKeyList

from p2pai.chain import transition
from p2pai.chain.block import Block
from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.chain.tickets import ticket_count
from p2pai.chain.transaction import BuyTickets, ChargeForTask, PayForTask, Transaction
from p2pai.primitives.errors import InvalidInput, InvalidTransaction
from p2pai.primitives.ids import Amount, Hash32

SIZE_BYTES_MAX: Final = 32 << 20
"""Bytes of all waiting transactions. Source: RELIABILITY L2."""

COUNT_MAX: Final = 50_000
"""Source: RELIABILITY L2."""

FEE_RATE_MIN: Final = 1
"""Atoms per byte, so that filling the pool costs something."""

TEMPLATE_BYTES_MAX: Final = 48 * 1024
"""Bytes of transactions in a block that we make; three IT_RES of 64 KiB must fit besides."""

MISSES_MAX: Final = 200
"""Packages in a row that do not fit into a block before it counts as full. Source: Bitcoin Core."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A waiting transaction."""

    tx: Transaction
    txid: Hash32
    fee: Amount
    size: int
    sequence: int
    """Order of arrival."""
    parents: tuple[Hash32, ...]
    """Waiting transactions that it depends on directly."""


class Mempool:
    """Waiting transactions, all of them valid one after the other on top of the tip."""

    def __init__(self, state: State, params: Params) -> None:
        self._params = params
        self._entries: dict[Hash32, Entry] = {}
        self._by_rate: SortedKeyList = SortedKeyList(key=_rate_key)
        self._last: dict[bytes, Hash32] = {}
        """The last waiting transaction about a block or a task."""
        self._bytes = 0
        self._sequence = 0
        self.state = state
        """The tip's state with every waiting transaction applied."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, txid: Hash32) -> bool:
        return txid in self._entries

    def get(self, txid: Hash32) -> Transaction | None:
        """Return a waiting transaction."""
        entry = self._entries.get(txid)
        return entry.tx if entry else None

    def transactions(self) -> tuple[Transaction, ...]:
        """Return the waiting transactions in order of arrival."""
        return tuple(entry.tx for entry in self._entries.values())

    def add(self, tx: Transaction) -> None:
        """Accept a transaction.

        Raises:
          InvalidInput: it is invalid on top of the tip and the pool, known already, or pays too little.
        """
        txid, size = tx.txid, tx.size
        if txid in self._entries:
            raise InvalidTransaction("the transaction is known already")
        if len(self._entries) >= COUNT_MAX or self._bytes + size > SIZE_BYTES_MAX:
            raise InvalidTransaction("the mempool is full")
        state, fee = transition.apply_transaction(self.state, tx, self._params)
        if fee < FEE_RATE_MIN * size and not isinstance(tx.data, ChargeForTask):
            raise InvalidTransaction(f"the fee is {fee} atoms, at least {FEE_RATE_MIN * size} are needed")
        self.state = state
        self._insert(tx, txid, fee, size)

    def rebase(self, state: State, returned: tuple[Block, ...] = ()) -> None:
        """Follow a new tip: drop what it confirmed or made invalid, take back what left the chain."""
        back = [tx for block in reversed(returned) for tx in block.transactions[1:]]
        waiting = [*back, *self.transactions()]
        self._entries.clear()
        self._by_rate.clear()
        self._last.clear()
        self._bytes = 0
        self.state = state
        for tx in waiting:
            self._readmit(tx)

    def template(self) -> tuple[Transaction, ...]:
        """Return transactions for a block on the tip: best fee rate first, ancestors before children."""
        chosen: dict[Hash32, Transaction] = {}
        size = tickets = misses = 0
        for best in self._by_rate:
            if misses > MISSES_MAX:
                break
            package = self._with_ancestors(best, chosen)
            package_size = sum(entry.size for entry in package)
            package_tickets = sum(_tickets(entry.tx) for entry in package)
            if size + package_size > TEMPLATE_BYTES_MAX:
                misses += 1
                continue
            if tickets + package_tickets > self._params.tickets_per_block_max:
                continue
            size, tickets, misses = size + package_size, tickets + package_tickets, 0
            chosen.update({entry.txid: entry.tx for entry in package})
        return tuple(sorted(chosen.values(), key=lambda tx: self._entries[tx.txid].sequence))

    def _readmit(self, tx: Transaction) -> None:
        # Signatures were checked when the transaction first came.
        try:
            state, fee = transition.apply_transaction(self.state, tx, self._params, trusted=True)
        except InvalidInput:
            return
        self.state = state
        self._insert(tx, tx.txid, fee, tx.size)

    def _insert(self, tx: Transaction, txid: Hash32, fee: Amount, size: int) -> None:
        entry = Entry(tx, txid, fee, size, self._sequence, self._parents(tx))
        self._entries[txid] = entry
        self._by_rate.add(entry)
        self._last.update(dict.fromkeys(_subjects(tx), txid))
        self._bytes += size
        self._sequence += 1

    def _parents(self, tx: Transaction) -> tuple[Hash32, ...]:
        """Return the waiting transactions that one depends on directly.

        Besides outputs, a protocol transaction may depend on any earlier one of the same block or task (a
        reveal on its commit); each of those depends on the one before it, so the last stands for all.
        """
        makers = [outpoint.txid for outpoint in tx.inputs if outpoint.txid in self._entries]
        return tuple(makers + [self._last[s] for s in _subjects(tx) if s in self._last])

    def _with_ancestors(self, entry: Entry, chosen: dict[Hash32, Transaction]) -> list[Entry]:
        """Return the entry and what it depends on that is not chosen yet, or too much of that."""
        wanted: dict[Hash32, Entry] = {}
        waiting, size = [entry.txid], 0
        while waiting and size <= TEMPLATE_BYTES_MAX:
            txid = waiting.pop()
            if txid not in chosen and txid not in wanted:
                wanted[txid] = self._entries[txid]
                size += wanted[txid].size
                waiting.extend(wanted[txid].parents)
        return list(wanted.values())


def _subjects(tx: Transaction) -> list[bytes]:
    """Return the block or the tasks that a transaction is about; one that it posts is among them."""
    names = ("block", "task", "replaces")
    posted = [tx.txid] if isinstance(tx.data, PayForTask) else []
    return posted + [value for name in names if (value := getattr(tx.data, name, None)) is not None]


def _rate_key(entry: Entry) -> tuple[bool, int, int]:
    # A CHARGE_FOR_TASK pays nothing, and a whole group's money waits for it.
    charges = isinstance(entry.tx.data, ChargeForTask)
    return not charges, -(entry.fee << 32) // entry.size, entry.sequence


def _tickets(tx: Transaction) -> int:
    return ticket_count(tx) if isinstance(tx.data, BuyTickets) else 0
