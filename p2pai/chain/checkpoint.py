"""Checkpoints: what enough drawn validators voted for is final.

    block c, a multiple of `checkpoint_blocks`            is a candidate
    block c + W                                           its approvals are settled: its hash draws validators
    every ROUND_BLOCKS until the votes are reached        the block's hash draws others
    block c + checkpoint_blocks + W                       the next candidate takes its place

The votes of one draw count together, and only those for the same block and snapshot. Nobody knows who will be
drawn before the candidate is W blocks deep.

A draw is repeated until it succeeds, so by itself it says little: half of the owners, cut off from the
others, would be lucky sooner or later. So nothing is drawn unless two thirds of the verifiers approved the
blocks since the candidate before: of two parts of a network at most one goes on to certify.

Two votes of one ticket for one height cost it all of its stake. The stakes of those drawn stay locked until
the next draw, or the next candidate's time, so that the evidence finds them.

Source: PoUW §7.3, "Long-range attacks"; PROTOCOL section 9; docs/adr/0026-checkpoints.md.
"""

from dataclasses import replace
from typing import Final

from p2pai.chain import draws, votes
from p2pai.chain.confiscation import confiscate
from p2pai.chain.params import Params, quorum
from p2pai.chain.state import Candidate, Checkpoint, State, Vote, Voting
from p2pai.chain.tickets import Context, require_ticket
from p2pai.chain.transaction import Stake
from p2pai.chain.votes import CheckpointVote, VoteEquivocation
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import Hash32, TaskId

ROUND_BLOCKS: Final = 4
"""Blocks between two draws: one to see the draw, three to get the votes mined."""


def apply_checkpoint_vote(state: State, data: CheckpointVote, context: Context) -> State:
    """Count a validator's vote; with the last one needed the checkpoint moves.

    Raises:
      InvalidTransaction: there is nothing to vote on for this ticket.
      InvalidTicket: not the author's.
      InvalidProof: the vote is not signed by the owner.
    """
    require_ticket(state, data.ticket, context)
    voting = _open_voting(state, data)
    if data.ticket not in voting.validators:
        raise InvalidTransaction("the ticket is not drawn to vote on this checkpoint")
    if any(v.ticket == data.ticket for v in voting.votes):
        raise InvalidTransaction("the ticket has voted already")
    votes.verify(data, context.author, state.chain)
    voting = replace(voting, votes=(*voting.votes, Vote(data.ticket, data.snapshot)))
    state = replace(state, voting=voting)
    if sum(v.snapshot == data.snapshot for v in voting.votes) < context.params.checkpoint_votes:
        return state
    return replace(state, checkpoint=Checkpoint(data.height, data.block, data.snapshot))


def _open_voting(state: State, data: CheckpointVote) -> Voting:
    voting = state.voting
    if voting is None or voting.height != data.height:
        raise InvalidTransaction(f"the block at height {data.height} is not voted on")
    if state.checkpoint.height >= data.height:
        raise InvalidTransaction("the checkpoint is made already")
    if voting.block != data.block:
        raise InvalidTransaction("the vote is for a block of another chain")
    return voting


def apply_vote_equivocation(state: State, data: VoteEquivocation, context: Context) -> State:
    """Destroy the stake of a ticket that voted twice for one height; it is drawn no more.

    Raises:
      InvalidTransaction: no two votes for one place, or there is no stake any more.
      InvalidProof: not the owner's signatures.
    """
    first, second = data.first, data.second
    if not first.contradicts(second) or data != votes.evidence(data.key, first, second):
        raise InvalidTransaction("the votes are not two for one height, the lower one first")
    stake = state.utxos.get(first.ticket)
    if not isinstance(stake, Stake) or stake.key_hash != ecdsa.key_hash(data.key):
        raise InvalidTransaction("the ticket has no stake, or another owner")
    if TaskId(first.ticket.txid) in state.tasks:
        # Its client could destroy the fee that others work for, and their stakes would stay locked.
        raise InvalidTransaction("the stake is a task's fee, no ticket's")
    votes.verify(first, data.key, state.chain)
    votes.verify(second, data.key, state.chain)
    return confiscate(state, first.ticket, context.height)


def pass_deadlines(state: State, block: Hash32, height: int, params: Params) -> State:
    """Draw validators where it is time, at the end of block `height`, with its hash as the beacon."""
    settled = height - params.verification_window_blocks
    if settled == state.candidate.height:
        state = _take_up(state)
    voting = state.voting
    if voting is not None and _is_open(state) and (settled - voting.height) % ROUND_BLOCKS == 0:
        drawn = draws.draw_validators(state, block, height, params)
        state = replace(state, voting=Voting(voting.height, voting.block, drawn))
    if height % params.checkpoint_blocks == 0:
        state = replace(state, candidate=Candidate(height, block))
    return state


def _take_up(state: State) -> State:
    """Vote on the candidate from now on, if the chain up to it has most verifiers with it."""
    candidate, (approvals, verifiers) = state.candidate, state.approvals
    voting = state.voting if _is_open(state) else None
    if candidate.height > state.checkpoint.height and 0 < quorum(verifiers) <= approvals:
        voting = Voting(candidate.height, candidate.block)
    return replace(state, approvals=(0, 0), voting=voting)


def _is_open(state: State) -> bool:
    return state.voting is not None and state.voting.height > state.checkpoint.height
