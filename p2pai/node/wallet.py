"""Our coins: choosing them, paying with them.

Source: PoUW §3.2.
"""

from dataclasses import dataclass

from p2pai.chain.coins import is_locked
from p2pai.chain.mempool import FEE_RATE_MIN
from p2pai.chain.state import State
from p2pai.chain.transaction import VERSION, Data, Output, Pay, Stake, Transaction, sign
from p2pai.primitives.ids import Amount, KeyHash, Outpoint
from p2pai.roles.base import Identity

FEE_MARGIN_BYTES = 32
"""Signatures vary by a byte or two between estimate and transaction."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What a key owns, atoms."""

    spendable: Amount
    staked: Amount


def coins(state: State, key_hash: KeyHash) -> list[tuple[int, Outpoint]]:
    """Return what a key can spend, largest first."""
    found = (
        (output.value, outpoint)
        for outpoint, output in state.utxos.items()
        if output.key_hash == key_hash and not (isinstance(output, Stake) and is_locked(state, outpoint))
    )
    return sorted(found, key=lambda coin: (-coin[0], coin[1]))


def balance(state: State, key_hash: KeyHash) -> Balance:
    """Return a key's spendable and locked money."""
    total = sum(output.value for output in state.utxos.values() if output.key_hash == key_hash)
    spendable = sum(value for value, _ in coins(state, key_hash))
    return Balance(Amount(spendable), Amount(total - spendable))


def fund(state: State, identity: Identity, data: Data, outputs: tuple[Output, ...]) -> Transaction | None:
    """Return a signed transaction that pays for `outputs` and its fee; None when the coins do not suffice."""
    wanted = sum(output.value for output in outputs)
    inputs: list[Outpoint] = []
    total = 0
    for value, outpoint in coins(state, identity.key_hash):
        inputs.append(outpoint)
        total += value
        tx = _with_change(state, identity, data, outputs, tuple(inputs), total - wanted)
        if tx is not None:
            return tx
    return None


def _with_change(
    state: State,
    identity: Identity,
    data: Data,
    outputs: tuple[Output, ...],
    inputs: tuple[Outpoint, ...],
    surplus: int,
) -> Transaction | None:
    if surplus <= 0:
        return None
    draft = Transaction(VERSION, inputs, (*outputs, Pay(Amount(surplus), identity.key_hash)), data)
    size = sign(draft, state.chain, identity.keys.spending).size + FEE_MARGIN_BYTES
    change = surplus - size * FEE_RATE_MIN
    if change <= 0:
        return None
    paid = (*outputs, Pay(Amount(change), identity.key_hash))
    return sign(Transaction(VERSION, inputs, paid, data), state.chain, identity.keys.spending)
