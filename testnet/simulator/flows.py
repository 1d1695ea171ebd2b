"""Whose money moved in a block, and why.

Stakes stay their owners' money until they are slashed, fees of tasks until they are paid out. So of every
account: what it had at genesis, and all that came, less all that went, is what it has.

Source: PROTOCOL sections 3, 9, 10.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from p2pai.chain.block import Block
from p2pai.chain.state import State
from p2pai.chain.transaction import ChargeForTask, Output, Stake, Transaction
from p2pai.primitives.ids import KeyHash, Outpoint

Flows = Counter[tuple[KeyHash, str]]
"""Atoms by account and by a field of `testnet.outcome.Account`; positive whichever way they went."""


def flows_of(before: State, block: Block, after: State) -> Flows:
    """Return what moved in a block between two states."""
    found: Flows = Counter()
    made = {Outpoint(tx.txid, i): output for tx in block.transactions for i, output in enumerate(tx.outputs)}
    _add_coinbase(found, block.transactions[0].outputs, after.issued - before.issued)
    for tx in block.transactions[1:]:
        inputs = [made[o] if o in made else before.utxos[o] for o in tx.inputs]
        if isinstance(tx.data, ChargeForTask):
            _add(found, "tasks", inputs)
            _add(found, "worked", tx.outputs)
        else:
            _add_payment(found, inputs, tx.outputs)
    charged = any(isinstance(tx.data, ChargeForTask) for tx in block.transactions)
    if charged or after.burned != before.burned:
        _add_slashed(found, before, block.transactions, after)
    return found


def _add_coinbase(found: Flows, outputs: Sequence[Output], issued: int) -> None:
    """Split what a coinbase pays: fees come first, then the miner's part of an older block, then others'."""
    fees = sum(output.value for output in outputs) - issued
    _add(found, "mined", outputs[: 2 if fees and issued else 1])
    _add(found, "verified", outputs[2 if fees and issued else 1 :])


def _add_payment(found: Flows, inputs: Sequence[Output], outputs: Sequence[Output]) -> None:
    if not inputs:
        return
    payer = inputs[0].key_hash
    gained = _by_owner(outputs)
    gained.subtract(_by_owner(inputs))
    fee = max(0, -gained.total())
    found[payer, "fees"] += fee
    gained[payer] += fee
    for owner, atoms in gained.items():
        found[owner, "received" if atoms > 0 else "sent"] += abs(atoms)


def _add_slashed(found: Flows, before: State, transactions: Iterable[Transaction], after: State) -> None:
    spent = {outpoint: None for tx in transactions for outpoint in tx.inputs}
    for outpoint, output in before.utxos.items():
        if isinstance(output, Stake) and outpoint not in spent:
            left = after.utxos.get(outpoint)
            found[output.key_hash, "slashed"] += output.value - (left.value if left else 0)


def _add(found: Flows, field: str, outputs: Iterable[Output]) -> None:
    for owner, atoms in _by_owner(outputs).items():
        found[owner, field] += atoms


def _by_owner(outputs: Iterable[Output]) -> Counter[KeyHash]:
    found: Counter[KeyHash] = Counter()
    for output in outputs:
        found[output.key_hash] += output.value
    return found
