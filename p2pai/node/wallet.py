"""Our coins: what an account owns, and paying with it.

Confirmed coins are spent first, then the change of our own transactions that still wait; never what somebody
else's waiting transaction promises. A stake is never spent while a ticket or a task holds it.

Source: PoUW §3.2; docs/adr/0028-wallet.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from p2pai.chain.coins import is_locked
from p2pai.chain.mempool import FEE_RATE_MIN
from p2pai.chain.params import ATOMS_PER_COIN, INPUT_COUNT_MAX, MONEY_MAX, TRANSACTION_SIZE_MAX
from p2pai.chain.state import State
from p2pai.chain.transaction import VERSION, Data, Output, Pay, Stake, Transaction, Transfer, Witness, sign
from p2pai.node.accounts import Account
from p2pai.node.coin_selection import Choice, Coin, Costs, choose
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import ZERO_HASH, Amount, KeyHash, Outpoint, PublicKey

FEE_RATE_MAX: Final = 10_000
"""Atoms per byte: a transfer of 300 bytes then costs 0.03 coins; more is a typing mistake."""

COUNT_BYTES: Final = 4
"""What two counts, of inputs and of witnesses, may grow by with the coins chosen."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What a key owns, atoms."""

    spendable: Amount
    staked: Amount

    @property
    def total(self) -> int:
        """All of it."""
        return self.spendable + self.staked


@dataclass(frozen=True, slots=True)
class Funded:
    """A transaction that pays for itself, signed."""

    tx: Transaction
    fee: Amount


def coins(state: State, key_hash: KeyHash, outpoints: Iterable[Outpoint]) -> list[Coin]:
    """Return which of some outputs a key can spend."""
    found = ((outpoint, state.utxos.get(outpoint)) for outpoint in outpoints)
    return [
        Coin(output.value, outpoint)
        for outpoint, output in found
        if output is not None and output.key_hash == key_hash and not _is_locked(state, outpoint, output)
    ]


def balance(state: State, key_hash: KeyHash, outpoints: Iterable[Outpoint]) -> Balance:
    """Return how much of some outputs a key can spend, and how much is locked."""
    ours = [(o, out) for o in outpoints if (out := state.utxos.get(o)) and out.key_hash == key_hash]
    total = sum(output.value for _, output in ours)
    staked = sum(output.value for outpoint, output in ours if _is_locked(state, outpoint, output))
    return Balance(Amount(total - staked), Amount(staked))


def fund(
    state: State,
    account: Account,
    purses: Iterable[Iterable[Outpoint]],
    data: Data,
    outputs: tuple[Output, ...],
    rate: int = FEE_RATE_MIN,
) -> Funded:
    """Return a signed transaction that pays for outputs and its fee.

    Args:
      state: the ledger that it will be applied to.
      account: who pays, and gets the change.
      purses: outputs to choose from; a later purse is opened only if those before it together do not suffice.
      data: what the transaction is for.
      outputs: what is paid.
      rate: atoms per byte, FEE_RATE_MIN to FEE_RATE_MAX.

    Raises:
      InvalidInput: the coins do not suffice, or too many of them would be needed.
      Unavailable: the account is locked.
    """
    if not FEE_RATE_MIN <= rate <= FEE_RATE_MAX:
        raise InvalidInput(f"a fee rate is {FEE_RATE_MIN} to {FEE_RATE_MAX} atoms per byte")
    costs = costs_of(data, outputs, rate)
    wanted = sum(output.value for output in outputs)
    at_hand: list[Coin] = []
    for purse in purses:
        at_hand += coins(state, account.key_hash, purse)
        choice = choose(at_hand, wanted, costs)
        if choice is not None:
            return _sign(state, account, data, outputs, choice)
    raise _too_little(at_hand, wanted, costs)


def costs_of(data: Data, outputs: tuple[Output, ...], rate: int) -> Costs:
    """Return what a transaction costs at a rate, by the largest that its parts can be."""
    outpoint = Outpoint(ZERO_HASH, 0xFFFF)
    witness = Witness(PublicKey(bytes(ecdsa.PUBLIC_KEY_SIZE)), bytes(ecdsa.SIGNATURE_SIZE_MAX))
    change = Pay(Amount(MONEY_MAX), KeyHash(bytes(20)))
    base = Transaction(VERSION, (), outputs, data)
    with_coin = replace(base, inputs=(outpoint,), witnesses=(witness,))
    with_change = replace(base, outputs=(*outputs, change))
    size, coin, more = (tx.size for tx in (base, with_coin, with_change))
    size, coin, more = size + COUNT_BYTES, coin - size, more - size + COUNT_BYTES
    most = min(INPUT_COUNT_MAX, (TRANSACTION_SIZE_MAX - size - more) // coin)
    return Costs(size * rate, coin * rate, more * rate, most)


def collect(state: State, account: Account, found: Sequence[Coin], rate: int = FEE_RATE_MIN) -> Funded:
    """Return a signed transaction that pays coins to their own account, in one piece.

    Raises:
      InvalidInput: they are worth no more than the fee.
    """
    costs = costs_of(Transfer(), (), rate)
    taken = tuple(found[: costs.coins_max])
    total = sum(coin.value for coin in taken)
    rest = total - costs.base - costs.change - costs.coin * len(taken)
    if rest <= 0:
        raise InvalidInput("that is worth no more than the fee for it")
    return _sign(state, account, Transfer(), (), Choice(taken, Amount(rest)))


def _sign(state: State, account: Account, data: Data, outputs: tuple[Output, ...], choice: Choice) -> Funded:
    if account.secret is None:
        raise Unavailable("the keys are locked; start the node to pay")
    change = (Pay(choice.change, account.key_hash),) if choice.change else ()
    inputs = tuple(coin.outpoint for coin in choice.coins)
    tx = Transaction(VERSION, inputs, (*outputs, *change), data)
    fee = sum(coin.value for coin in choice.coins) - sum(output.value for output in tx.outputs)
    return Funded(sign(tx, state.chain, account.secret), Amount(fee))


def _is_locked(state: State, outpoint: Outpoint, output: Output) -> bool:
    return isinstance(output, Stake) and is_locked(state, outpoint)


def _too_little(at_hand: list[Coin], wanted: int, costs: Costs) -> InvalidInput:
    total = sum(coin.value for coin in at_hand)
    if total > wanted and len(at_hand) > costs.coins_max:
        return InvalidInput(
            f"that takes more than the {costs.coins_max} coins that fit into a transaction; "
            "first send less to an address of your own"
        )
    whole, rest = divmod(total, ATOMS_PER_COIN)
    return InvalidInput(
        f"the wallet cannot pay that amount and the fee; it can spend {whole:,} coins and {rest} atoms"
    )
