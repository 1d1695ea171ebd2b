"""Verifiers' verdicts on a block: commit, collect, reveal, and what they are worth.

A verifier replays the lucky iteration and commits to H(ticket, block, precursor, verdict, salt), which nobody
can copy. When the block's miner has collected the commits, or half the window is over, commits are closed and
verdicts are revealed: whoever sees a reveal can commit no more.
An approval must show the nonce precursor that the replay gave, so an approval without a replay is impossible
unless the precursor leaks. Approvals give the block its weight and pay its subsidy.

Source: PoUW §5.2; PROTOCOL sections 8, 9.
"""

from dataclasses import replace

from p2pai.chain import difficulty, it_res
from p2pai.chain.params import Params
from p2pai.chain.rewards import block_payouts
from p2pai.chain.state import Revealed, Sealed, State, Verification
from p2pai.chain.tickets import Context, require_ticket, slash
from p2pai.chain.transaction import CollectVerifications, Pay, VerifyCommit, VerifyReveal
from p2pai.primitives.errors import InvalidProof, InvalidTransaction
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Amount, Hash32, Outpoint


def commitment(ticket: Outpoint, block: Hash32, precursor: Hash32, approved: bool, salt: Hash32) -> Hash32:  # noqa: FBT001
    """Return what VERIFY_COMMIT shows of a verdict."""
    verdict = b"\x01" if approved else b"\x00"
    return tagged_hash("p2pai/verdict", ticket.encode(), block, precursor, verdict, salt)


def apply_verify_commit(state: State, data: VerifyCommit, context: Context) -> State:
    """Record a hidden verdict.

    Raises:
      InvalidTransaction: the block takes no commit from this ticket.
    """
    require_ticket(state, data.ticket, context)
    verification = _open_verification(state, data.block)
    if data.ticket not in verification.verifiers:
        raise InvalidTransaction("the ticket was not drawn to verify this block")
    if _commits_closed(verification, context):
        raise InvalidTransaction("the commits of this block are closed")
    if any(c.ticket == data.ticket for c in verification.commits):
        raise InvalidTransaction("the verdict is already committed")
    commits = (*verification.commits, Sealed(data.ticket, data.commitment))
    return _store(state, data.block, replace(verification, commits=commits))


def apply_collect_verifications(state: State, data: CollectVerifications, context: Context) -> State:
    """Close the commits of a block, by its miner.

    Raises:
      InvalidTransaction: not the miner, nothing to collect, or collected already.
    """
    verification = _open_verification(state, data.block)
    if context.author_hash != verification.miner:
        raise InvalidTransaction("only the block's miner collects its verifications")
    if verification.collected or not verification.commits:
        raise InvalidTransaction("there is nothing to collect")
    return _store(state, data.block, replace(verification, collected=True))


def apply_verify_reveal(state: State, data: VerifyReveal, context: Context) -> State:
    """Open a verdict; an approval adds to the chain's weight.

    Raises:
      InvalidTransaction: too early, twice, or not what was committed.
      InvalidProof: the precursor does not give the block's nonce.
    """
    require_ticket(state, data.ticket, context)
    verification = _open_verification(state, data.block)
    if not _commits_closed(verification, context):
        raise InvalidTransaction("the commits of this block are still open")
    if any(r.ticket == data.ticket for r in verification.reveals):
        raise InvalidTransaction("the verdict is already revealed")
    opened = commitment(data.ticket, data.block, data.precursor, data.approved, data.salt)
    if Sealed(data.ticket, opened) not in verification.commits:
        raise InvalidTransaction("the verdict is not the one committed")
    _check_replayed(data, verification)
    reveals = (*verification.reveals, Revealed(data.ticket, data.approved))
    after = replace(verification, reveals=reveals)
    gained = approved_work(after) - approved_work(verification)
    return replace(_store(state, data.block, after), weight=state.weight + gained)


def _check_replayed(data: VerifyReveal, verification: Verification) -> None:
    """Check that who approves knows what the replay gives."""
    if data.approved and it_res.nonce(data.precursor) != verification.nonce:
        raise InvalidProof("the precursor does not give the block's nonce")


def approved_work(verification: Verification) -> int:
    """Return a block's weight: its work in proportion to the approvals. Source: PROTOCOL section 9."""
    if not verification.verifiers:
        return 0
    work = difficulty.work(difficulty.decode_bits(verification.bits))
    return work * verification.approvals // len(verification.verifiers)


def settle(state: State, height: int, params: Params) -> tuple[State, tuple[Pay, ...]]:
    """Close the window of the block W below `height`: pay its subsidy, slash verdicts kept back.

    Returns:
      The state, and the outputs that the coinbase at `height` must have for it.
    """
    due = height - params.verification_window_blocks
    block = state.pending.get(due)
    if block is None:
        return state, ()
    verification = state.verifications[block]
    pays = block_payouts(state, verification, params)
    revealed = [r.ticket for r in verification.reveals]
    for sealed in verification.commits:
        if sealed.ticket not in revealed:
            state = slash(state, sealed.ticket, params.offline_penalty_percent)
    approvals, drawn = state.approvals
    state = replace(
        state,
        approvals=(approvals + verification.approvals, drawn + len(verification.verifiers)),
        verifications=state.verifications.delete(block),
        pending=state.pending.delete(due),
        issued=Amount(state.issued + sum(p.value for p in pays)),
    )
    return state, pays


def _commits_closed(verification: Verification, context: Context) -> bool:
    half = context.params.verification_window_blocks // 2
    return verification.collected or context.height > verification.height + half


def _open_verification(state: State, block: Hash32) -> Verification:
    verification = state.verifications.get(block)
    if verification is None:
        raise InvalidTransaction("the block is not on this chain, or its window is over")
    return verification


def _store(state: State, block: Hash32, verification: Verification) -> State:
    return replace(state, verifications=state.verifications.set(block, verification))
