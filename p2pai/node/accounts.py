"""The accounts of this node's wallet, and where their coins lie.

Account 0 is the node's own: its tickets and messages are signed with it. Further ones have a spending key
alone; the journal remembers how many there are, with their public keys, so that a core without secrets knows
them too.

An output can be one of ours only if a transaction made it, or the genesis state. So what is ours is found by
a walk through all unspent outputs once, and from then on by looking at each block that follows; whatever else
happens to the chain starts anew.

Source: docs/adr/0028-wallet.md.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from p2pai.chain.fork_choice import Switch
from p2pai.chain.state import State
from p2pai.chain.transaction import Transaction
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, KeyHash, Outpoint, PublicKey
from p2pai.primitives.keys import KeySource
from p2pai.roles.base import Identity

ACCOUNTS_MAX: Final = 1000
"""Accounts of one wallet."""


@dataclass(frozen=True, slots=True)
class AccountAdded:
    """Journal: the wallet has one more account."""

    public: PublicKey


@dataclass(frozen=True, slots=True)
class Account:
    """One account; without its secret key its coins can be seen, not spent."""

    number: int
    public: PublicKey
    key_hash: KeyHash
    secret: bytes | None = field(repr=False)


class Accounts:
    """See the module."""

    def __init__(self, identity: Identity, source: KeySource | None) -> None:
        secret = identity.secret.spending if identity.secret else None
        self._source = source
        self._all = [Account(0, identity.public, identity.key_hash, secret)]
        self._outpoints: dict[KeyHash, dict[Outpoint, None]] = {}
        """Unspent outputs of each owner after the block `_tip`."""
        self._tip: Hash32 | None = None
        """None: they are to be looked for."""
        self._change: dict[Outpoint, KeyHash] = {}
        """What transactions of our own, which waited when we last looked, give back to us."""

    def __iter__(self) -> Iterator[Account]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, number: object) -> Account:
        """Return an account.

        Raises:
          InvalidInput: the wallet has no such account.
        """
        if type(number) is not int or not 0 <= number < len(self._all):
            raise InvalidInput(
                f"this wallet has accounts 0 to {len(self._all) - 1}; p2pai wallet accounts --new adds one"
            )
        return self._all[number]

    def next_record(self) -> AccountAdded:
        """Return the journal's record of one more account.

        Raises:
          InvalidInput: there can't be one.
        """
        if len(self._all) >= ACCOUNTS_MAX:
            raise InvalidInput(f"a wallet has at most {ACCOUNTS_MAX} accounts")
        if self._source is None:
            raise InvalidInput("this node's wallet is locked")
        return AccountAdded(ecdsa.public_key(self._source.account(len(self._all)).spending))

    def add(self, record: AccountAdded) -> Account:
        """Add an account."""
        number, secret = len(self._all), None
        if self._source is not None:
            secret = self._source.account(number).spending
            assert ecdsa.public_key(secret) == record.public, "the journal is of another wallet"
        self._all.append(Account(number, record.public, ecdsa.key_hash(record.public), secret))
        self._tip = None
        return self._all[-1]

    def follow(self, switch: Switch) -> None:
        """Look at how the best chain changed."""
        for block in switch.joined:
            if block.header.prev != self._tip:
                self._tip = None
                return
            for outpoint, key_hash in self.received(block.transactions):
                self._outpoints[key_hash][outpoint] = None
            spent = [outpoint for tx in block.transactions for outpoint in tx.inputs]
            for owned in self._outpoints.values():
                for outpoint in spent:
                    owned.pop(outpoint, None)
            self._tip = block.hash

    def post(self, tx: Transaction) -> None:
        """Note a transaction of our own that waits."""
        self._change.update(self.received((tx,)))

    def received(self, transactions: Iterable[Transaction]) -> list[tuple[Outpoint, KeyHash]]:
        """Return the outputs of some transactions that are ours."""
        ours = {account.key_hash for account in self._all}
        return [
            (Outpoint(tx.txid, position), output.key_hash)
            for tx in transactions
            for position, output in enumerate(tx.outputs)
            if output.key_hash in ours
        ]

    def confirmed(self, account: Account, tip: State) -> tuple[Outpoint, ...]:
        """Return an account's unspent outputs at the tip; of some the whole value may be slashed."""
        if self._tip != tip.tip:
            self._tip, self._outpoints = tip.tip, {each.key_hash: {} for each in self._all}
            for outpoint, output in tip.utxos.items():
                if output.key_hash in self._outpoints:
                    self._outpoints[output.key_hash][outpoint] = None
        return tuple(self._outpoints[account.key_hash])

    def waiting(self, account: Account, tip: State, pool: State) -> tuple[Outpoint, ...]:
        """Return what transactions of our own that are not in a block yet give back to an account."""
        # What a block holds stays noted while it is unspent: should the block be left, it waits again.
        self._change = {o: key_hash for o, key_hash in self._change.items() if o in pool.utxos}
        ours = (o for o, key_hash in self._change.items() if key_hash == account.key_hash)
        return tuple(o for o in ours if o not in tip.utxos)
