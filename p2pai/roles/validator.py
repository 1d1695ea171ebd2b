"""The validator: every node votes on checkpoints when a ticket of its owner is drawn, whatever its roles.

A vote is in the journal before it leaves, and there is one for each height: who voted for a block at a height
says the same again when it is drawn again, and nothing when another block stands there.

Every node also looks out for two votes of one ticket for one height, in transactions and in blocks of
whatever branch, and posts the evidence.

Source: PoUW §7.3, "Long-range attacks"; RELIABILITY (4), I12.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

from p2pai.chain import votes
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Voting
from p2pai.chain.votes import CheckpointVote, VoteEquivocation
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import BlobId, Hash32, Millis, Outpoint
from p2pai.roles.base import Node, Role

K = TypeVar("K")
V = TypeVar("V")

SEEN_MAX: Final = 4096
"""Others' votes remembered to compare, and pieces of evidence that wait; the oldest go first."""


@dataclass(frozen=True, slots=True)
class CheckpointVoted:
    """Journal: a vote of ours, before it is said."""

    vote: CheckpointVote


class Validator(Role):
    """See the module."""

    name: ClassVar[str] = "validator"

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._cast: dict[tuple[Outpoint, int], CheckpointVote] = {}
        """Our votes, which bind us."""
        self.seen: dict[tuple[Outpoint, int], CheckpointVote] = {}
        self.evidence: dict[Outpoint, VoteEquivocation] = {}
        self._snapshot: tuple[Hash32, BlobId] | None = None
        """Of the block voted on last: it takes time to compute."""

    def restore(self, record: object) -> None:
        """Take back our votes."""
        if isinstance(record, CheckpointVoted):
            self._cast[record.vote.place] = record.vote

    def tip_changed(self) -> None:
        """Vote where a ticket of ours is drawn and has not voted."""
        self._accuse()
        state, pool = self.node.state, self.node.pool
        if state.voting is None or pool.checkpoint.height >= state.voting.height:
            return
        voted = [vote.ticket for vote in pool.voting.votes] if pool.voting else []
        for outpoint in state.voting.validators:
            ticket = state.tickets.get(outpoint)
            if ticket is not None and ticket.owner == self.node.identity.public and outpoint not in voted:
                self._vote(outpoint, state.voting)

    def _vote(self, ticket: Outpoint, voting: Voting) -> None:
        place = (ticket, voting.height)
        earlier = self._cast.get(place)
        vote = earlier or self._sign(ticket, voting)
        if vote is None or vote.block != voting.block:
            return
        if self.node.post(vote, note=lambda _: CheckpointVoted(vote)) is not None:
            self._cast[place] = vote

    def _sign(self, ticket: Outpoint, voting: Voting) -> CheckpointVote | None:
        if self._snapshot is None or self._snapshot[0] != voting.block:
            state = self.node.state_after(voting.block)
            if state is None:
                return None
            self._snapshot = voting.block, snapshot_id(state)
        secret, chain = self.node.identity.keys.spending, self.node.state.chain
        return votes.cast(secret, chain, ticket, voting.height, *self._snapshot)

    # --- others

    def heard(self, vote: CheckpointVote) -> None:
        """Compare a vote, valid on whatever branch or nowhere, with those heard before."""
        first = self.seen.get(vote.place)
        if first is not None and not first.contradicts(vote):
            return
        state = self.node.state
        ticket = state.tickets.get(vote.ticket)
        if ticket is None or vote.height > state.height or vote.height % self.node.params.checkpoint_blocks:
            return
        try:
            votes.verify(vote, ticket.owner, state.chain)
        except InvalidProof:
            return
        if first is None:
            _keep(self.seen, vote.place, vote)
            return
        _keep(self.evidence, vote.ticket, votes.evidence(ticket.owner, first, vote))
        # Not at once: the block that it stands in is being connected.
        self.node.set_timer("evidence", Millis(0), self._accuse)

    def _accuse(self) -> None:
        for ticket, evidence in list(self.evidence.items()):
            if ticket not in self.node.pool.utxos or self.node.post(evidence) is not None:
                del self.evidence[ticket]


def _keep(table: dict[K, V], key: K, value: V) -> None:
    table[key] = value
    if len(table) > SEEN_MAX:
        del table[next(iter(table))]
