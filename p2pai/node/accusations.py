"""FRAUD_PROOFs: others' that wait for our own replay, and ours.

Nobody's word counts. A proof about a block that we have not replayed is held, a few at a time, while the
block is replayed; a block that we do not have comes from a remote. Then the proof is passed on and we leave
the block, or it is dropped. Who posted it says it again (core.py), so nothing is lost by holding few.

Source: PROTOCOL section 9; docs/adr/0029-fraud-proofs.md.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2pai.chain import fraud
from p2pai.chain.block import read_header
from p2pai.chain.state import State
from p2pai.chain.tickets import Context
from p2pai.chain.transaction import FraudProof, Pay, Transaction, VerifyReveal, sign
from p2pai.gossip import sync
from p2pai.node import wallet
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Amount, Hash32, Outpoint

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

HELD_MAX: Final = 16
"""Proofs, and blocks, that wait for a replay; the oldest makes room."""

PATH_MAX: Final = 64
"""Blocks that we lack, one on top of the other, below a block that somebody accuses."""

OUTPUT_BYTES: Final = 64
"""More than an output takes."""


class Accusations:
    """See the module."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self.held: dict[Hash32, Transaction] = {}
        """By wtxid."""
        self.waiting: dict[Hash32, None] = {}
        """Blocks that are accused in blocks, which wait."""
        self._turn = 0
        self._asking = False

    def hold(self, block: Hash32, tx: Transaction | None) -> None:
        """Have a block replayed; keep the proof that accuses it meanwhile. None: it stands in a block."""
        if tx is None:
            self.waiting[block] = None
        else:
            self.held[tx.wtxid] = tx
        for queue in (self.held, self.waiting):
            while len(queue) > HELD_MAX:
                queue.pop(next(iter(queue)))
        self._judge(block)

    def judged(self, block: Hash32) -> None:
        """Go on with what waited for a block's replay."""
        for identity, tx in list(self.held.items()):
            if isinstance(tx.data, FraudProof) and tx.data.block == block:
                del self.held[identity]
                with suppress(InvalidInput, Unavailable):
                    self._core.ledger.admit(tx)
                    self._core.ledger.pass_on(tx)
        if block in self.waiting:
            del self.waiting[block]
            self._core.ledger.keep_up()
        self._core.attend()

    def _judge(self, block: Hash32) -> None:
        if block in self._core.ledger.tree:
            self._core.judging.begin(block, accused=True)
        elif not self._asking:
            self._ask(block, block, ())

    def _ask(self, block: Hash32, missing: Hash32, path: tuple[bytes, ...]) -> None:
        """Get a block that is not ours, back to one that is; `path` is what came so far, newest first."""
        remote = self._core.next_remote(self._turn)
        self._turn += 1
        self._asking = remote is not None and len(path) < PATH_MAX
        if remote is not None and self._asking:
            question = record.encode_tagged(sync.AskBodies((missing,)))
            self._core.ask(remote, question, lambda body: self._answered(block, missing, path, body))

    def _answered(self, block: Hash32, missing: Hash32, path: tuple[bytes, ...], body: bytes | None) -> None:
        self._asking = False
        with suppress(InvalidInput, Unavailable):
            found = sync.read_blocks(body or b"")[:1]
            header = read_header(found[0]) if found else None
            if header is None or header.hash != missing:
                return
            if header.prev not in self._core.ledger.tree:
                self._ask(block, header.prev, (*path, *found))
                return
            for data in reversed((*path, *found)):
                self._core.ledger.connect(data)
        if block in self._core.ledger.tree:
            self._core.judging.begin(block, accused=True)

    # --- our own

    def accuse(self, block: Hash32) -> None:
        """Prove a block that our replay found false, and leave it.

        Raises:
          InvalidInput: no coin is left for the fee.
          Unavailable: the keys are locked.
        """
        core = self._core
        tree = core.ledger.tree
        state = tree.without(block).state if tree.may_leave(block) else core.pool
        core.announce(self._funded(self._proof(block, state), state))

    def _proof(self, block: Hash32, state: State) -> FraudProof:
        """Return the proof with all approvals that are known, of tickets that have a stake still."""
        judgement, found = self._core.judged[block], dict[Outpoint, bytes]()
        waiting = self._core.ledger.mempool.transactions()
        for tx in (*self._core.ledger.tree.approvals(block), *waiting):
            if isinstance(tx.data, VerifyReveal) and fraud.approves(tx, block):
                found[tx.data.ticket] = tx.encoded
        approvals = tuple(a for t, a in found.items() if t in state.tickets and t in state.utxos)
        return FraudProof(block, judgement.height, judgement.ticket, judgement.found, approvals)

    def _funded(self, proof: FraudProof, state: State) -> Transaction:
        """Return the signed transaction; its reward pays for the output that takes it."""
        core, account = self._core, self._core.accounts.get(0)
        context = Context(core.params, state.height + 1, account.public)
        _, reward = fraud.apply_fraud_proof(state, proof, context, core.judged)
        coins = [o for o in core.accounts.confirmed(account, core.state) if o in core.pool.utxos]
        rate = core.ledger.mempool.fee_rate_min
        tx = wallet.fund(state, account, (coins,), proof, (), rate).tx
        output = Pay(Amount(reward - OUTPUT_BYTES * rate), account.key_hash)
        if output.value <= 0:
            return tx
        assert account.secret is not None, "an account that is locked has signed something"
        return sign(replace(tx, outputs=(*tx.outputs, output), witnesses=()), state.chain, account.secret)
