"""Spending: who may spend which output, and what that changes.

An output is spent by the key that it names. A stake can't be spent while a ticket or a task that is not over
holds it; who spends the stake of an expired ticket gives the ticket up.

Source: PROTOCOL section 3.
"""

from dataclasses import replace

from p2pai.chain.state import State
from p2pai.chain.transaction import Output, Stake, Transaction, signing_digest
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import Outpoint, PublicKey, TaskId


class Coins:
    """The tables of a state that spending changes, in the making.

    Each change of a persistent map copies the way to its root; here that is copied once for any number of
    transactions. After an error the draft is of no use; the state that it began with is as it was.
    """

    def __init__(self, state: State) -> None:
        self._before = state
        self._utxos = state.utxos.mutate()
        self._tickets = state.tickets.mutate()

    def check_witnesses(self, tx: Transaction, *, signed: bool) -> None:
        """Check that the owners of its inputs signed a transaction, and that none of them is locked.

        Args:
          tx: any but a coinbase and a CHARGE_FOR_TASK, which need no witness.
          signed: its signatures were checked before; they are not checked again.

        Raises:
          InvalidTransaction: an input is unknown, locked, or of another key.
          InvalidProof: a signature does not hold.
        """
        if len(tx.witnesses) != len(tx.inputs):
            raise InvalidTransaction("every input needs a witness")
        checked: dict[PublicKey, bytes] = {}
        for outpoint, witness in zip(tx.inputs, tx.witnesses, strict=True):
            output = self._unspent(outpoint)
            if ecdsa.key_hash(witness.key) != output.key_hash:
                raise InvalidTransaction("an input belongs to another key")
            if isinstance(output, Stake) and is_locked(self._before, outpoint):
                raise InvalidTransaction("an input is a stake that is still locked")
            if not signed and checked.get(witness.key) != witness.signature:
                digest = signing_digest(tx, self._before.chain)
                ecdsa.verify(witness.key, digest, witness.signature)
                checked[witness.key] = witness.signature

    def spend(self, tx: Transaction) -> int:
        """Take a transaction's inputs; return their sum, atoms.

        Raises:
          InvalidTransaction: one of them is unknown or spent already.
        """
        total = 0
        for outpoint in tx.inputs:
            total += self._unspent(outpoint).value
            del self._utxos[outpoint]
            self._tickets.pop(outpoint, None)  # expired: who spends its stake gives the ticket up
        return total

    def add(self, tx: Transaction) -> None:
        """Make a transaction's outputs unspent."""
        txid = tx.txid
        for position, output in enumerate(tx.outputs):
            self._utxos[Outpoint(txid, position)] = output

    def state(self) -> State:
        """Close the draft and return the state with what was changed."""
        return replace(self._before, utxos=self._utxos.finish(), tickets=self._tickets.finish())

    def _unspent(self, outpoint: Outpoint) -> Output:
        output = self._utxos.get(outpoint)
        if output is None:
            raise InvalidTransaction("an input is unknown or spent already")
        return output


def is_locked(state: State, outpoint: Outpoint) -> bool:
    """Return whether a ticket or a task that is not over holds a stake, in the block after `state`.

    An expired ticket holds it until the blocks that it was drawn to verify are settled; whoever is drawn to
    vote on a checkpoint until others are.
    """
    if state.voting is not None and outpoint in state.voting.validators:
        return True
    ticket = state.tickets.get(outpoint)
    if ticket is not None:
        verifies = any(outpoint in v.verifiers for v in state.verifications.values())
        return verifies or not ticket.is_expired(state.height + 1)
    task = state.tasks.get(TaskId(outpoint.txid))
    return task is not None and task.stake == outpoint and not task.stage.is_over
