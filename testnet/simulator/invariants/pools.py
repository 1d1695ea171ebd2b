"""A mempool holds only what is valid on the tip, each transaction after those before it.

I18. What is added is looked at alone; all that waits is looked at when the tip changes, as the pool itself
does: every input is unspent at the tip, or made by an earlier one, and spent once. Now and then, and at the
end, all rules of the ledger are applied again.

Source: RELIABILITY (4), I18.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from p2pai.chain import transition
from p2pai.chain.mempool import Mempool
from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.chain.transaction import Transaction
from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, Outpoint, PeerId
from testnet.simulator.invariants.step import Broken

AUDIT_BLOCKS: Final = 25
"""Blocks between two applications of all rules to a node's mempool."""


@dataclass
class _Pool:
    """A mempool as it was when it was looked at last."""

    mempool: Mempool
    version: int
    tip: Hash32
    known: dict[Hash32, None] = field(default_factory=dict)
    """By wtxid."""
    made: dict[Outpoint, None] = field(default_factory=dict)
    spent: dict[Outpoint, None] = field(default_factory=dict)

    def take(self, transactions: Iterable[Transaction], tip: State) -> str:
        """Take in what waits next; return what is wrong with it."""
        for tx in transactions:
            self.known[tx.wtxid] = None
            for outpoint in tx.inputs:
                if outpoint in self.spent:
                    return "spends what another one that waits spends"
                if outpoint not in tip.utxos and outpoint not in self.made:
                    return "spends what is not there"
                self.spent[outpoint] = None
            self.made |= {Outpoint(tx.txid, i): None for i in range(len(tx.outputs))}
        return ""


@dataclass
class Pools:
    """The mempools of all honest nodes."""

    params: Params
    looked: int = 0
    """Mempools that had changed."""
    _seen: dict[PeerId, _Pool] = field(default_factory=dict)

    def look(self, name: PeerId, core: NodeCore) -> None:
        """I18: look at a node's mempool, if it changed."""
        ledger = core.ledger
        pool = self._seen.get(name)
        if pool is not None and pool.version == ledger.pool_version and pool.mempool is ledger.mempool:
            return
        self.looked += 1
        tip, waiting = ledger.state, ledger.mempool.by_wtxid
        known = pool.known if pool is not None else {}
        if pool is not None and pool.mempool is ledger.mempool and pool.tip == tip.tip:
            new = [*takewhile(lambda wtxid: wtxid not in known, reversed(waiting))]
            if len(known) + len(new) == len(waiting):
                pool.version = ledger.pool_version
                self._take(name, pool, [waiting[wtxid] for wtxid in reversed(new)], tip)
                return
        pool = self._seen[name] = _Pool(ledger.mempool, ledger.pool_version, tip.tip)
        self._take(name, pool, waiting.values(), tip)
        if tip.height % AUDIT_BLOCKS == 0:
            check_pool(name, core, self.params)

    def _take(self, name: PeerId, pool: _Pool, transactions: Iterable[Transaction], tip: State) -> None:
        wrong = pool.take(transactions, tip)
        if wrong:
            raise Broken(f"I18: {name} has a transaction waiting that {wrong}", name)


def check_pool(name: PeerId, core: NodeCore, params: Params) -> None:
    """I18: apply all that waits at a node to its tip, every rule but signatures, in order."""
    state = core.state
    for tx in core.ledger.mempool.transactions():
        try:
            state, _ = transition.apply_transaction(state, tx, params, trusted=True)
        except InvalidInput as error:
            raise Broken(f"I18: {name} has a {tx.kind} waiting that is invalid: {error}", name) from error
