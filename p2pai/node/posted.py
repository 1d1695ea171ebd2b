"""Our own transactions until they are on the chain: said again and again, also after a restart.

Source: RELIABILITY (2), "nothing promised is forgotten".
"""

from collections.abc import Callable, Iterator
from typing import Final

from p2pai.chain.transaction import Transaction
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32

REFUSALS_MAX: Final = 4
"""Turns at which the ledger may refuse a transaction before it is given up, half a minute: it is on the chain
or overtaken by it, or follows a block that a crash lost and others tell again."""


class Posted:
    """See the module."""

    def __init__(self) -> None:
        self._waiting: dict[Hash32, Transaction] = {}
        self._refusals: dict[Hash32, int] = {}

    def __contains__(self, txid: Hash32) -> bool:
        return txid in self._waiting

    def take(self, tx: Transaction) -> None:
        """Look after a transaction from now on."""
        self._waiting[tx.txid] = tx

    def turn(self, admit: Callable[[Transaction], None]) -> Iterator[Transaction]:
        """Yield those to be said again: `admit` puts them into the mempool, or refuses as `Ledger.admit`."""
        for txid, tx in list(self._waiting.items()):
            try:
                admit(tx)
            except Unavailable:
                continue  # a proof, of which a crash took the replay
            except InvalidInput:
                self._refuse(txid)
                continue
            self._refusals.pop(txid, None)
            yield tx

    def _refuse(self, txid: Hash32) -> None:
        self._refusals[txid] = self._refusals.get(txid, 0) + 1
        if self._refusals[txid] >= REFUSALS_MAX:
            del self._waiting[txid], self._refusals[txid]
