"""What a node wrote down it does after a restart: its own transactions wait again.

I13, the other way round: that something is durable before others see it helps nobody if the node forgets it.

Source: RELIABILITY (2), "crash, restart": nothing promised is forgotten.
"""

from dataclasses import dataclass, field
from typing import Final

from p2pai import events
from p2pai.chain import transition
from p2pai.chain.transaction import FraudProof, Transaction
from p2pai.node import journal
from p2pai.node.core import ANNOUNCE_MS, NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from testnet.simulator.invariants.step import Broken

AFTER_MS: Final = 2 * ANNOUNCE_MS
"""From a node's start to when it must have put its transactions back: some follow a block that a crash lost,
and are taken at the next announcement after it is there again."""


@dataclass
class Restarts:
    """The journals with which the nodes of a world began."""

    looked: int = 0
    """Transactions that were asked for again."""
    _begun: dict[PeerId, tuple[int, tuple[bytes, ...]]] = field(default_factory=dict)
    """When by the node's clock, and with what."""

    def look(self, name: PeerId, core: NodeCore, event: events.Event) -> None:
        """I13: look at a node once, a while after it started."""
        if isinstance(event, events.Started):
            self._begun[name] = core.now_ms, event.journal
        elif name in self._begun and core.now_ms >= self._begun[name][0] + AFTER_MS:
            for data in self._begun.pop(name)[1]:
                entry = journal.read(data)
                if isinstance(entry, journal.TransactionPosted):
                    self._check(name, core, Transaction.decode(entry.transaction))

    def _check(self, name: PeerId, core: NodeCore, tx: Transaction) -> None:
        """Require that a transaction waits, or can't be confirmed any more; a proof may wait for a replay."""
        self.looked += 1
        if tx.txid in core.ledger.mempool or isinstance(tx.data, FraudProof):
            return
        try:
            transition.apply_transaction(core.ledger.mempool.state, tx, core.params, trusted=True)
        except InvalidInput:
            return  # it is in the chain, or was overtaken
        raise Broken(f"I13: {name} forgot a {tx.kind} that it had posted before its restart", name)
