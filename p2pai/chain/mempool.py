"""Transactions that wait for a block.

The pool keeps the state that its transactions lead to from the tip, in the order they came, so that a
transaction may spend what another one in the pool makes. A plain transfer changes nothing but unspent
outputs: taking it out again puts those back, and following a new tip moves them once more, without any of the
ledger's other rules. Only other data are applied anew, and no signature is checked twice.

What conflicts with waiting transactions replaces them if it pays for it. When the pool is full, what pays
least leaves, and the least fee rate to get in rises, to fall again with the blocks. What waited too long
leaves too.

Source: PoUW §3.2; RELIABILITY L2; BIP-125; Bitcoin Core, txmempool; docs/adr/0027.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from p2pai.chain import transition
from p2pai.chain.block import Block
from p2pai.chain.fraud import NOTHING_JUDGED, Judgements
from p2pai.chain.packages import Entry, Packages, descendants, is_duty
from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.chain.template import Template, fill
from p2pai.chain.transaction import ChargeForTask, Output, Transaction
from p2pai.primitives.errors import InvalidInput, InvalidTransaction
from p2pai.primitives.ids import Amount, Hash32, Outpoint

SIZE_BYTES_MAX: Final = 32 << 20
"""Bytes of all waiting transactions. Source: RELIABILITY L2."""

COUNT_MAX: Final = 50_000
"""Source: RELIABILITY L2."""

SPARE_PERCENT: Final = 1
"""Of its room a full pool frees at once: taking out what is no plain transfer costs a walk through all."""

FEE_RATE_MIN: Final = 1
"""Atoms per byte, so that filling the pool costs something, and replacing what is in it too."""

FLOOR_DECAY_DIVISOR: Final = 8
"""With every block the least fee rate falls by an eighth of what it is above the minimum."""

EVICTED_MAX: Final = 100
"""Transactions that one replaces. Source: BIP-125, rule 5."""

EXPIRY_BLOCKS: Final = 2016
"""Blocks that a transaction waits at most. Source: Bitcoin Core, two weeks."""

TEMPLATE_BYTES_MAX: Final = 768 << 10
"""Bytes of transactions in a block that we make; a work proof with three whole IT_RES must fit besides."""


class Mempool:
    """Waiting transactions, all of them valid one after the other on top of the tip."""

    def __init__(self, state: State, params: Params, judged: Judgements = NOTHING_JUDGED) -> None:
        self.params, self._judged = params, judged
        self._waiting = Packages()
        self._sequence = 0
        self._tip = state
        self.state = state
        """The tip's state with every waiting transaction applied."""
        self.fee_rate_min = FEE_RATE_MIN
        """Atoms per byte that an ordinary transaction must pay now to get in."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, txid: Hash32) -> bool:
        return self._waiting.get(txid) is not None

    @property
    def size(self) -> int:
        """Bytes of all waiting transactions."""
        return self._waiting.size

    def get(self, txid: Hash32) -> Transaction | None:
        """Return a waiting transaction."""
        entry = self._waiting.get(txid)
        return entry.tx if entry else None

    def spent(self, txid: Hash32) -> tuple[Output, ...]:
        """Return what the inputs of a waiting transaction stand for."""
        entry = self._waiting.get(txid)
        return entry.spent if entry else ()

    def transactions(self) -> tuple[Transaction, ...]:
        """Return the waiting transactions in order of arrival."""
        return tuple(entry.tx for entry in self._waiting)

    @property
    def by_wtxid(self) -> dict[Hash32, Transaction]:
        """The waiting transactions, whose signatures were checked when they came, by all their bytes.

        In order of arrival.
        """
        return self._waiting.by_wtxid

    def missing(self, tx: Transaction) -> Outpoint | None:
        """Return the first output that a transaction spends and nobody has made yet, as far as we know."""
        for outpoint in tx.inputs:
            if outpoint not in self.state.utxos and self._waiting.spender(outpoint) is None:
                return outpoint
        return None

    def add(self, tx: Transaction) -> None:
        """Accept a transaction, perhaps in place of some that it conflicts with.

        Raises:
          InvalidInput: it is invalid on top of the tip and the pool, known already, or pays too little.
          Unjudged: it is a FRAUD_PROOF about a block that has to be replayed first.
        """
        if tx.txid in self:
            raise InvalidTransaction("the transaction is known already")
        conflicts = self._waiting.conflicts(tx)
        leaving = descendants(conflicts)
        self._check_parents(tx, conflicts, leaving)
        before = self._returned(tx, conflicts)
        spent = _outputs(before, tx)
        after, fee = transition.apply_transaction(before, tx, self.params, judged=self._judged)
        self._check_fee(tx, fee)
        if conflicts:
            _check_replacement(tx, fee, conflicts, leaving)
        self._waiting.check_limits(tx, leaving)
        if leaving:
            before, leaving = self._without(leaving)
            after, _ = transition.apply_transaction(before, tx, self.params, trusted=True)
            self._drop(leaving)
        self.state = after
        self._trim(self._insert(tx, fee, spent, self._tip.height))

    def rebase(self, state: State, returned: tuple[Block, ...] = ()) -> None:
        """Follow a new tip: drop what it confirmed or made invalid, take back what left the chain."""
        risen = max(0, state.height - self._tip.height)
        for _ in range(risen):
            above = self.fee_rate_min - FEE_RATE_MIN
            self.fee_rate_min -= -(-above // FLOOR_DECAY_DIVISOR)
        self._tip = state
        staying = [entry for entry in self._waiting if entry.height + EXPIRY_BLOCKS > state.height]
        if returned:
            self._restart(returned, staying)
            return
        expired = [entry for entry in self._waiting if entry.height + EXPIRY_BLOCKS <= state.height]
        self.state, failed = self._replay(staying)
        self._drop([*expired, *failed])

    def template(self) -> tuple[Transaction, ...]:
        """Return transactions for a block on the tip: best fee rate first, ancestors before children."""
        return self.fill().transactions

    def fill(self) -> Template:
        """Return transactions for a block on the tip, with their fees and the state that they lead to."""
        return fill(self._waiting, self._tip, self.params, TEMPLATE_BYTES_MAX)

    # --- whether a newcomer gets in

    def _check_parents(self, tx: Transaction, conflicts: list[Entry], leaving: list[Entry]) -> None:
        if not conflicts:
            return
        gone = dict.fromkeys(leaving)
        old = dict.fromkeys(outpoint for entry in conflicts for outpoint in entry.tx.inputs)
        for outpoint in tx.inputs:
            maker = self._waiting.get(outpoint.txid)
            if maker in gone:
                raise InvalidTransaction("it spends an output of a transaction that it would replace")
            if maker is not None and outpoint not in old:
                raise InvalidTransaction("a replacement spends no new output that waits itself")

    def _returned(self, tx: Transaction, conflicts: list[Entry]) -> State:
        """Return the pool's state with what `tx` spends put back."""
        wanted = dict.fromkeys(tx.inputs)
        back = {
            outpoint: output
            for entry in conflicts
            for outpoint, output in zip(entry.tx.inputs, entry.spent, strict=True)
            if outpoint in wanted
        }
        return replace(self.state, utxos=self.state.utxos.update(back)) if back else self.state

    def _check_fee(self, tx: Transaction, fee: Amount) -> None:
        if isinstance(tx.data, ChargeForTask):
            return
        rate = FEE_RATE_MIN if is_duty(tx) else self.fee_rate_min
        if fee < rate * tx.size:
            raise InvalidTransaction(f"the fee is {fee} atoms, at least {rate * tx.size} are needed")

    # --- what the pool holds

    def _insert(self, tx: Transaction, fee: Amount, spent: tuple[Output, ...], height: int) -> Entry:
        entry = Entry(tx, fee, self._sequence, height, spent)
        self._sequence += 1
        self._waiting.add(entry)
        return entry

    def _drop(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._waiting.drop(entry)

    def _without(self, leaving: list[Entry]) -> tuple[State, list[Entry]]:
        """Return the pool's state without some entries and all that then fails; those, newest first."""
        leaving = sorted(leaving, key=lambda entry: -entry.sequence)
        if all(entry.is_plain for entry in leaving):
            return _undone(self.state, leaving), leaving
        gone = dict.fromkeys(leaving)
        state, failed = self._replay([entry for entry in self._waiting if entry not in gone])
        return state, [*reversed(failed), *leaving]

    def _replay(self, entries: list[Entry]) -> tuple[State, list[Entry]]:
        """Apply entries to the tip one after the other; return the state, and those that fail."""
        state, utxos = self._tip, self._tip.utxos.mutate()
        failed = []
        for entry in entries:
            inputs = entry.tx.inputs
            if any(utxos.get(o) != output for o, output in zip(inputs, entry.spent, strict=True)):
                failed.append(entry)
            elif entry.is_plain:
                for outpoint in inputs:
                    del utxos[outpoint]
                for outpoint, made in zip(entry.outpoints, entry.tx.outputs, strict=True):
                    utxos[outpoint] = made
            else:
                state = replace(state, utxos=utxos.finish())
                try:
                    state, _ = transition.apply_transaction(state, entry.tx, self.params, trusted=True)
                except InvalidInput:
                    failed.append(entry)
                utxos = state.utxos.mutate()
        return replace(state, utxos=utxos.finish()), failed

    def _restart(self, returned: tuple[Block, ...], staying: list[Entry]) -> None:
        """Begin anew with what left the chain, and then what waits: it may spend of the former."""
        self._waiting = Packages()
        self.state = self._tip
        for block in reversed(returned):
            for tx in block.transactions[1:]:
                self._readmit(tx, self._tip.height)
        for entry in staying:
            self._readmit(entry.tx, entry.height)
        self._trim()

    def _readmit(self, tx: Transaction, height: int) -> None:
        # Signatures were checked when the transaction first came.
        try:
            self._waiting.check_limits(tx)
            spent = _outputs(self.state, tx)
            state, fee = transition.apply_transaction(self.state, tx, self.params, trusted=True)
        except InvalidInput:
            return
        if tx.txid not in self:
            self.state = state
            self._insert(tx, fee, spent, height)

    def _trim(self, newcomer: Entry | None = None) -> None:
        """Make room in a full pool: the least fee rate with descendants goes first.

        Raises:
          InvalidTransaction: the newcomer pays least.
        """
        if not self._is_full():
            return
        leaving: dict[Entry, None] = {}
        while self._is_full(0 if newcomer in leaving else SPARE_PERCENT):
            package = descendants([self._waiting.worst()])
            self._raise_floor(package)
            self._drop(package)
            leaving.update(dict.fromkeys(package))
        self.state, gone = self._without(list(leaving))
        self._drop(entry for entry in gone if entry not in leaving)
        if newcomer in gone:
            raise InvalidTransaction(f"the mempool is full; it takes {self.fee_rate_min} atoms per byte now")

    def _is_full(self, spare_percent: int = 0) -> bool:
        """Return whether more waits than may, or than leaves so much room."""
        spare_count, spare_bytes = (limit * spare_percent // 100 for limit in (COUNT_MAX, SIZE_BYTES_MAX))
        return len(self) > COUNT_MAX - spare_count or self.size > SIZE_BYTES_MAX - spare_bytes

    def _raise_floor(self, evicted: list[Entry]) -> None:
        fees, size = sum(entry.fee for entry in evicted), sum(entry.own.size for entry in evicted)
        self.fee_rate_min = max(self.fee_rate_min, fees // size + FEE_RATE_MIN)


def _check_replacement(tx: Transaction, fee: Amount, conflicts: list[Entry], leaving: list[Entry]) -> None:
    """Check that a newcomer pays for those that it replaces.

    Raises:
      InvalidTransaction: there are too many, or they pay more. Source: BIP-125, rules 3 to 5.
    """
    if len(leaving) > EVICTED_MAX:
        raise InvalidTransaction(f"it would replace {len(leaving)} transactions, more than {EVICTED_MAX}")
    if any(fee * entry.own.size <= entry.fee * tx.size for entry in conflicts):
        raise InvalidTransaction("its inputs are spent already by a transaction that pays as much per byte")
    least = sum(entry.fee for entry in leaving) + FEE_RATE_MIN * tx.size
    if fee < least:
        raise InvalidTransaction(f"the fee is {fee} atoms, at least {least} are needed to replace others")


def _outputs(state: State, tx: Transaction) -> tuple[Output, ...]:
    """Return what the inputs of a transaction stand for, as far as it is there."""
    found = (state.utxos.get(outpoint) for outpoint in tx.inputs)
    return tuple(output for output in found if output is not None)


def _undone(state: State, leaving: list[Entry]) -> State:
    """Return a state without plain transfers, the newest first: nothing else spends what they made."""
    utxos = state.utxos.mutate()
    for entry in leaving:
        for outpoint in entry.outpoints:
            del utxos[outpoint]
        for outpoint, output in zip(entry.tx.inputs, entry.spent, strict=True):
            utxos[outpoint] = output
    return replace(state, utxos=utxos.finish())
