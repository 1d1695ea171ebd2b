"""Fraud proofs: a block whose lucky iteration was not done as recorded, whatever its verifiers said.

Training is exact, so whoever has a block's capsule can do its lucky iteration once more, and gets the same
bits or knows that the miner lied. That takes time and data from elsewhere, so the rules take the outcome as
an input: `Judgements`, what this node's own replays said, block by block. A FRAUD_PROOF about a block that is
not judged yet has to wait for the replay; about an honest block it is invalid; about a false one it takes the
whole stake of the miner and of each verifier whose signed approval it shows. The author gets a share of it.

It stands on a branch without the false block (fork_choice.py), where neither that block nor what its
verifiers said exists; so the transaction carries everything that its effect depends on, but the judgement.

A later proof of the same block takes from those whose approval has come to light since; nobody loses a stake
twice, because it is gone.

Source: PROTOCOL section 9; docs/adr/0029-fraud-proofs.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from p2pai.chain.confiscation import confiscate
from p2pai.chain.params import VERIFY_REVEAL_SIZE_MAX
from p2pai.chain.state import State
from p2pai.chain.tickets import Context
from p2pai.chain.transaction import FraudProof, Transaction, VerifyReveal, signing_digest
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidProof, InvalidTicket, InvalidTransaction, Unavailable
from p2pai.primitives.ids import Amount, Hash32, Outpoint


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a replay said about a block that keeps all other rules."""

    height: int
    ticket: Outpoint
    """Of the block's miner."""
    found: Hash32
    """The nonce precursor that the replay gave."""
    reason: str
    """What differs, for a person; empty: nothing."""


Judgements = Mapping[Hash32, Judgement]

NOTHING_JUDGED: Final[Judgements] = MappingProxyType({})


class Unjudged(Unavailable):
    """A FRAUD_PROOF names a block that has not been replayed here."""

    def __init__(self, block: Hash32) -> None:
        super().__init__(f"block {block.hex()[:16]} has to be replayed first")
        self.block = block


def apply_fraud_proof(
    state: State, data: FraudProof, context: Context, judged: Judgements | None
) -> tuple[State, Amount]:
    """Take the stakes of a false block's miner and of those who approved it.

    Args:
      state: the ledger, of a branch without the false block.
      data: the proof.
      context: of the transaction.
      judged: what replays said; None where the transaction was checked before.

    Returns:
      The state, and the atoms that the author may spend of what was taken.

    Raises:
      Unjudged: the block has to be replayed first.
      InvalidInput: the proof does not hold.
    """
    if data.height <= state.checkpoint.height:
        raise InvalidTransaction("the block is not above the last checkpoint")
    liars = [data.ticket, *(_approver(state, data.block, a, checked=judged is None) for a in data.approvals)]
    if len(dict.fromkeys(liars)) != len(liars):
        raise InvalidTransaction("a ticket is accused twice")
    if judged is not None:
        _check_judgement(data, judged)
    burned = state.burned
    for liar in liars:
        state = confiscate(state, liar, context.height)
    reward = (state.burned - burned) * context.params.prover_share_percent // 100
    return replace(state, burned=Amount(state.burned - reward)), Amount(reward)


def approves(tx: Transaction, block: Hash32) -> bool:
    """Return whether a transaction reveals an approval of a block."""
    return isinstance(tx.data, VerifyReveal) and tx.data.block == block and tx.data.approved


def _check_judgement(data: FraudProof, judged: Judgements) -> None:
    judgement = judged.get(data.block)
    if judgement is None:
        raise Unjudged(data.block)
    if not judgement.reason:
        raise InvalidProof("the block's iteration gives what its miner recorded")
    if (data.height, data.ticket) != (judgement.height, judgement.ticket):
        raise InvalidTransaction("the block has another height or miner")
    if data.found != judgement.found:
        raise InvalidProof("a replay of the block gives something else")


def _approver(state: State, block: Hash32, approval: bytes, *, checked: bool) -> Outpoint:
    """Return the verifier's ticket whose owner signed that it approves a block."""
    if len(approval) > VERIFY_REVEAL_SIZE_MAX:
        raise InvalidTransaction(f"an approval is larger than {VERIFY_REVEAL_SIZE_MAX} bytes")
    tx = Transaction.decode(approval)
    if not isinstance(tx.data, VerifyReveal) or not approves(tx, block):
        raise InvalidTransaction("not an approval of the block")
    ticket = state.tickets.get(tx.data.ticket)
    if ticket is None or ticket.role != "verifier":
        raise InvalidTicket("an approval is of no verifier of this chain")
    if not tx.witnesses or tx.witnesses[0].key != ticket.owner:
        raise InvalidProof("an approval is not signed by the verifier")
    if not checked:
        ecdsa.verify(ticket.owner, signing_digest(tx, state.chain), tx.witnesses[0].signature)
    return tx.data.ticket
