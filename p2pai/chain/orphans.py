"""Transactions that the ledger refuses only yet: what they spend, or are about, may still come.

Each waits for one thing: the first output it spends that nobody has made, or news of the block or the task
that it is about. Only what waits for a thing is tried again when the thing comes. Hardly anything is checked
before an orphan is kept, so their count and bytes are bounded, and the oldest leave first.

Source: Bitcoin Core, txorphanage; docs/adr/0027.
"""

from typing import Final

from p2pai.chain.packages import subjects
from p2pai.chain.state import State
from p2pai.chain.transaction import Transaction
from p2pai.primitives.ids import Hash32, Outpoint

COUNT_MAX: Final = 512
SIZE_BYTES_MAX: Final = 2 << 20
"""Bytes of all orphans."""

Cause = Outpoint | bytes
"""What an orphan waits for: an output, or a block or task."""


class Orphans:
    """Transactions by what they wait for.

    They are told apart by all their bytes: a copy with a spoilt witness has the same txid, and must not keep
    the real one out.
    """

    def __init__(self) -> None:
        self._causes: dict[Hash32, Cause] = {}
        self._transactions: dict[Hash32, Transaction] = {}
        self._waiting: dict[Cause, dict[Hash32, None]] = {}
        self.size = 0
        """Bytes of all."""

    def __len__(self) -> int:
        return len(self._transactions)

    def __contains__(self, wtxid: Hash32) -> bool:
        return wtxid in self._transactions

    def keep(self, tx: Transaction, missing: Outpoint | None) -> None:
        """Keep a refused transaction if it may become valid, and note what it waits for now."""
        about = subjects(tx)
        cause: Cause | None = missing if missing is not None else about[0] if about else None
        if cause is None:
            self.remove(tx)
            return
        if tx.wtxid in self._transactions:
            self._forget_cause(tx.wtxid)
        else:
            self._transactions[tx.wtxid] = tx
            self.size += tx.size
        self._causes[tx.wtxid] = cause
        self._waiting.setdefault(cause, {})[tx.wtxid] = None
        while len(self) > COUNT_MAX or self.size > SIZE_BYTES_MAX:
            self.remove(next(iter(self._transactions.values())))

    def remove(self, tx: Transaction) -> None:
        """Forget a transaction, if it is here."""
        if self._transactions.pop(tx.wtxid, None) is not None:
            self._forget_cause(tx.wtxid)
            self.size -= tx.size

    def forget_older_half(self) -> None:
        """Drop the older half of what still does not fit."""
        for tx in list(self._transactions.values())[: len(self) // 2 + 1]:
            self.remove(tx)

    def woken_by(self, tx: Transaction) -> list[Transaction]:
        """Return those that wait for an output of a new transaction, or for what it is about."""
        made = [Outpoint(tx.txid, i) for i in range(len(tx.outputs))]
        causes: list[Cause] = [*made, *subjects(tx)]
        return [self._transactions[wtxid] for cause in causes for wtxid in self._waiting.get(cause, ())]

    def woken_at(self, state: State) -> list[Transaction]:
        """Return those whose missing output is there after a new tip, and all that wait for no output."""
        return [
            self._transactions[wtxid]
            for wtxid, cause in self._causes.items()
            if not isinstance(cause, Outpoint) or cause in state.utxos
        ]

    def _forget_cause(self, wtxid: Hash32) -> None:
        cause = self._causes.pop(wtxid)
        self._waiting[cause].pop(wtxid)
        if not self._waiting[cause]:
            del self._waiting[cause]
