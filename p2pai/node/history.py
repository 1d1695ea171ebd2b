"""What came in and went out of the wallet, read from the blocks.

Nothing is stored: the chain is the record. The best chain is walked upwards once, a bounded number of blocks
at each question, so that a long chain stops nobody; who asks repeats the question until all of it is read.
What was read is kept for the next question, and read anew after a reorganisation that reaches below it.

A stake may be worth less when it is spent than when it was made, because a part was slashed. Where the ledger
before the block is at hand, the loss is an entry of its own; below the last snapshot it is not, and the fee
of a transaction that spends such a stake is not told.

Source: docs/adr/0028-wallet.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from p2pai.chain.block import Block
from p2pai.chain.genesis import genesis_state
from p2pai.chain.state import State
from p2pai.chain.transaction import Output, Stake, Transaction
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32, KeyHash, Outpoint

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Params = dict[str, Any]

BLOCKS_MAX: Final = 500
"""Read at one question."""

COUNT_DEFAULT: Final = 50
COUNT_MAX: Final = 10_000


def answer(core: NodeCore, params: Params) -> Params:
    """Return the newest entries, newest first, and how far the chain is read.

    Raises:
      InvalidInput: parameters that make no sense.
      Unavailable: a block of the chain is not here yet.
    """
    count, number = params.get("count", COUNT_DEFAULT), params.get("account")
    if type(count) is not int or not 1 <= count <= COUNT_MAX:
        raise InvalidInput(f"count is 1 to {COUNT_MAX}")
    chosen = list(core.accounts) if number is None else [core.accounts.get(number)]
    owners = frozenset(account.key_hash for account in chosen)
    known = core.history
    if known is None or known.owners != owners or not known.is_of(core):
        known = core.history = History(owners)
    known.read_on(core)
    is_read = known.height == core.state.height
    entries = [*known.entries[-count:], *(known.losses(core.state) if is_read else ())]
    newest = [_report(entry) for entry in entries[: -count - 1 : -1]]
    return {"read": known.height, "height": core.state.height, "entries": newest}


class Entry(NamedTuple):
    """Something that changed what the owners own."""

    height: int
    time: int
    kind: str
    amount: int
    """Atoms that came in; negative: that went out."""
    balance: int
    """After it."""
    txid: Hash32 | None = None
    fee: int | None = None


class History:
    """The entries of some accounts together, up to a block of the best chain."""

    def __init__(self, owners: frozenset[KeyHash]) -> None:
        self.owners = owners
        self.height = -1
        self.entries: list[Entry] = []
        """Oldest first."""
        self._last: Hash32 | None = None
        self._coins: dict[Outpoint, Output] = {}
        """Unspent outputs of the owners, as they were made."""
        self._balance = 0

    def is_of(self, core: NodeCore) -> bool:
        """Return whether all that was read is still on the best chain."""
        return self._last is None or core.is_best(self._last)

    def read_on(self, core: NodeCore) -> None:
        """Read the next blocks of the best chain, at most BLOCKS_MAX."""
        for _ in range(min(BLOCKS_MAX, core.state.height - self.height)):
            block = core.ledger.tree.block_at(self.height + 1)
            if block is None:
                raise Unavailable(f"block {self.height + 1} is not here yet; the history begins with it")
            if self._last is None:
                self._begin(core)
            else:
                self._read(core, block)
            self.height, self._last = self.height + 1, block.hash

    def losses(self, state: State) -> list[Entry]:
        """Return one entry for what was slashed of stakes that are not spent."""
        worth = sum(state.utxos[o].value for o in self._coins if o in state.utxos)
        lost = worth - sum(output.value for output in self._coins.values())
        return [Entry(state.height, state.times[-1], "SLASHED", lost, self._balance + lost)] if lost else []

    def _begin(self, core: NodeCore) -> None:
        first = genesis_state(core.spec)
        self._coins = {o: output for o, output in first.utxos.items() if output.key_hash in self.owners}
        amount = sum(output.value for output in self._coins.values())
        if amount:
            self._add(core.spec.genesis_time, 0, "GENESIS", amount)

    def _read(self, core: NodeCore, block: Block) -> None:
        height = self.height + 1
        for tx in block.transactions:
            spent = {o: self._coins.pop(o) for o in tx.inputs if o in self._coins}
            made = [output for output in tx.outputs if output.key_hash in self.owners]
            if not spent and not made:
                continue
            before = core.state_before(block) if any(isinstance(o, Stake) for o in spent.values()) else None
            lost = _lost(spent, before)
            if lost:
                self._add(block.header.time, height, "SLASHED", -lost)
            paid = sum(output.value for output in spent.values()) - (lost or 0)
            amount = sum(output.value for output in made) - paid
            fee = (
                paid - sum(o.value for o in tx.outputs) if lost is not None and _is_ours(tx, spent) else None
            )
            self._add(block.header.time, height, tx.kind, amount, tx.txid, fee)
            self._coins.update(self._made(tx))

    def _made(self, tx: Transaction) -> Iterable[tuple[Outpoint, Output]]:
        numbered = enumerate(tx.outputs)
        return ((Outpoint(tx.txid, i), output) for i, output in numbered if output.key_hash in self.owners)

    def _add(
        self,
        time: int,
        height: int,
        kind: str,
        amount: int,
        txid: Hash32 | None = None,
        fee: int | None = None,
    ) -> None:
        self._balance += amount
        self.entries.append(Entry(height, time, kind, amount, self._balance, txid, fee))


def _report(entry: Entry) -> Params:
    known = entry._asdict()
    return {"type": known.pop("kind"), **known, "txid": entry.txid.hex() if entry.txid else None}


def _is_ours(tx: Transaction, spent: dict[Outpoint, Output]) -> bool:
    return bool(tx.witnesses) and len(spent) == len(tx.inputs)


def _lost(spent: dict[Outpoint, Output], before: State | None) -> int | None:
    """Return what was slashed of outputs until they were spent; None when that can't be told."""
    if not any(isinstance(output, Stake) for output in spent.values()):
        return 0
    if before is None:
        return None
    return sum(output.value - before.utxos[o].value for o, output in spent.items() if o in before.utxos)
