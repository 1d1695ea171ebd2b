"""What a validator signs: that a block, with the ledger after it, is final.

The signature is the vote's own, not its transaction's: two votes of one ticket for one height are evidence
against it, whoever saw them and wherever they stood.

Source: PoUW §7.3, "Long-range attacks"; PROTOCOL section 9.
"""

from dataclasses import dataclass

from p2pai.primitives import ecdsa
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Outpoint, PublicKey


@dataclass(frozen=True, slots=True)
class CheckpointVote:
    """CHECKPOINT_VOTE: the owner of a drawn ticket takes the block at a height for final."""

    ticket: Outpoint
    height: int
    block: Hash32
    snapshot: BlobId
    """Of the state after the block."""
    signature: bytes
    """By the ticket's owner over `vote_digest`."""

    @property
    def place(self) -> tuple[Outpoint, int]:
        """What a ticket votes on once."""
        return self.ticket, self.height

    def contradicts(self, other: "CheckpointVote") -> bool:
        """Return whether no honest validator signs both."""
        return self.place == other.place and (self.block, self.snapshot) != (other.block, other.snapshot)


@dataclass(frozen=True, slots=True)
class VoteEquivocation:
    """VOTE_EQUIVOCATION: two votes of one ticket for one height, the lower block, or snapshot, first."""

    key: PublicKey
    """Of the ticket's owner; the ticket may be gone, while its stake is not spent yet."""
    first: CheckpointVote
    second: CheckpointVote


def vote_digest(chain: Hash32, ticket: Outpoint, height: int, block: Hash32, snapshot: BlobId) -> Hash32:
    """Return what a validator signs."""
    place = height.to_bytes(8, "little")
    return tagged_hash("p2pai/checkpoint", chain, ticket.encode(), place, block, snapshot)


def cast(
    secret: bytes, chain: Hash32, ticket: Outpoint, height: int, block: Hash32, snapshot: BlobId
) -> CheckpointVote:
    """Return a signed vote."""
    digest = vote_digest(chain, ticket, height, block, snapshot)
    return CheckpointVote(ticket, height, block, snapshot, ecdsa.sign(secret, digest))


def verify(vote: CheckpointVote, key: PublicKey, chain: Hash32) -> None:
    """Check whose vote it is.

    Raises:
      InvalidProof: not this key's.
    """
    digest = vote_digest(chain, vote.ticket, vote.height, vote.block, vote.snapshot)
    ecdsa.verify(key, digest, vote.signature)


def evidence(key: PublicKey, one: CheckpointVote, other: CheckpointVote) -> VoteEquivocation:
    """Return the one form of the evidence that two votes are."""
    first, second = sorted((one, other), key=lambda vote: (vote.block, vote.snapshot))
    return VoteEquivocation(key, first, second)
