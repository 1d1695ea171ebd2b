"""What a task's supervisors certify together: which messages were sent, in which order, and who leads.

A slot is an ordered list of IT_RES messages; its root is their RFC 6962 Merkle root. A certificate is one BLS
signature under the committee's group key, whose secret nobody knows: any t = ceil(2n/3) of its n members'
shares give it, and always the same bytes, whoever signed (see chain/dkg.py and keying.py). So a change of
members leaves the group key, and every certificate, as it is.

Slots are agreed on in two votes, as in PBFT: t shares over `PreparedStatement` show that no other root can be
prepared in that view; t shares over `SlotStatement` certify the slot. A new leader takes over with what was
prepared, so that no place is ever certified twice.

Source: PoUW §4.2.1, §4.3, Appendix D; Castro and Liskov, "Practical Byzantine Fault Tolerance" (OSDI 1999);
PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from p2pai.chain.dkg import Deal
from p2pai.chain.params import SLOT_MESSAGES_MAX, SLOTS_PER_TERM, VIEW_MAX
from p2pai.primitives import bls, dkg, merkle, record
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, BlsPublicKey, BlsSignature, Hash32, Outpoint, TaskId
from p2pai.primitives.memo import Same, pure


@dataclass(frozen=True, slots=True)
class Dealt:
    """A deal that the chain took."""

    ticket: Outpoint
    index: int
    """Of the dealer: its place, from 1, among the dealers; when resharing, in the committee before."""
    context: Hash32
    """What the deal was made for: this dealer's part in this attempt."""
    deal: Deal
    signature: bytes
    """By the dealer's owner over context and deal; empty in genesis."""


@dataclass(frozen=True, slots=True)
class Committee:
    """Supervisors with a common key: share i belongs to `members[i - 1]`."""

    members: tuple[Outpoint, ...]
    threshold: int
    """Shares that make a signature."""
    key: BlsPublicKey
    """The group key; it stays when members change."""
    shares: tuple[BlsPublicKey, ...]
    """Public key of each member's share."""
    dealt: tuple[Dealt, ...]
    """The public transcript, from which each member opens its secret share."""
    context: Hash32
    """What the deals were made for."""
    renewed: bool
    """Whether the deals reshared an earlier committee's key."""


@dataclass(frozen=True, slots=True)
class SlotStatement:
    """What certifies one place (task, epoch, view, slot)."""

    task: TaskId
    epoch: int
    view: int
    slot: int
    root: Hash32


@dataclass(frozen=True, slots=True)
class PreparedStatement:
    """The first vote on a slot: of all roots, only this one can be certified in its view."""

    slot: SlotStatement


class Reason(Enum):
    """Why a leader is replaced. Source: PoUW §4.3."""

    SILENT = "silent"
    SLOW = "slow"
    MALICIOUS = "malicious"


@dataclass(frozen=True, slots=True)
class ViewStatement:
    """What replaces a leader: in `epoch`, leaders of views before `view` lead no more."""

    task: TaskId
    epoch: int
    view: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class HistoryStatement:
    """What certifies a MESSAGE_HISTORY: slots `first` to `last` have this root."""

    task: TaskId
    first: int
    last: int
    root: Hash32
    models: BlobId | None


@dataclass(frozen=True, slots=True)
class MalformedStatement:
    """What certifies that a task's data are not what its definition says."""

    task: TaskId
    fragment: int
    """Position of the fragment in the definition."""


@dataclass(frozen=True, slots=True)
class StatusStatement:
    """What certifies that a miner is offline: from an epoch on the others do its work."""

    task: TaskId
    ticket: Outpoint
    epoch: int
    """As counted without end."""


@dataclass(frozen=True, slots=True)
class CertifiedSlot:
    """A slot as supervisors announce it: the statement, the message ids under its root, the certificate."""

    statement: SlotStatement
    messages: tuple[Hash32, ...]
    signature: BlsSignature


Statement = (
    SlotStatement
    | PreparedStatement
    | ViewStatement
    | HistoryStatement
    | MalformedStatement
    | StatusStatement
)


def digest(statement: Statement) -> Hash32:
    """Return the 32 bytes that are signed."""
    return tagged_hash("p2pai/committee", record.encode_tagged(statement))


def sign(share: bytes, statement: Statement) -> BlsSignature:
    """Sign a statement with one member's share."""
    return bls.sign(share, digest(statement))


def verify_share(statement: Statement, index: int, signature: BlsSignature, committee: Committee) -> None:
    """Check one member's share of a signature; `index` counts from 1.

    Raises:
      InvalidProof: malformed, or not of that member.
    """
    bls.verify(committee.shares[index - 1], digest(statement), signature)


def combine(signatures: Mapping[int, BlsSignature]) -> BlsSignature:
    """Make t checked shares, by index from 1, one signature under the group key."""
    return dkg.combine_signatures(dict(signatures))


def verify(statement: Statement, signature: BlsSignature, key: BlsPublicKey) -> None:
    """Check that the committee with a group key certified `statement`.

    Raises:
      InvalidProof: it did not.
    """
    bls.verify(key, digest(statement), signature)


@dataclass(frozen=True, slots=True)
class Certified:
    """Statements of one committee and the sum of their certificates, unchecked."""

    key: BlsPublicKey
    statements: tuple[Statement, ...]
    certificate: BlsSignature

    @property
    def digests(self) -> tuple[Hash32, ...]:
        """What is signed."""
        return tuple(digest(statement) for statement in self.statements)

    def verify(self) -> None:
        """Check the certificate.

        Raises:
          InvalidProof: the committee did not certify all of the statements.
        """
        bls.verify_sum(self.key, self.digests, self.certificate)


def verify_together(certified: Iterable[Certified]) -> tuple[Certified, ...]:
    """Check many certificates, those of one committee at once; return what holds.

    Where one of them does not hold, nothing is said of that committee's others: each can be checked alone.
    """
    by_key: dict[BlsPublicKey, list[Certified]] = {}
    for claim in certified:
        by_key.setdefault(claim.key, []).append(claim)
    return tuple(c for key, claims in by_key.items() if _hold(key, claims) for c in claims)


def _hold(key: BlsPublicKey, claims: Sequence[Certified]) -> bool:
    try:
        bls.verify_sums(key, [(claim.digests, claim.certificate) for claim in claims])
    except InvalidProof:
        return False
    return True


def is_in_place(statement: SlotStatement) -> bool:
    """Return whether a slot names the epoch that it belongs to, and a view that exists."""
    return statement.epoch == epoch_of(statement.slot) and statement.view <= VIEW_MAX


def epoch_of(slot: int) -> int:
    """Return the committee's epoch that a slot belongs to: one leader's term."""
    return slot // SLOTS_PER_TERM


@pure(lambda slot, key: (Same(slot), key))
def verify_slot(slot: CertifiedSlot, key: BlsPublicKey) -> None:
    """Check an announced slot: its ids give its root, and the committee certified it.

    Raises:
      InvalidMessage: no messages, too many, or another root.
      InvalidProof: the certificate does not hold.
    """
    if not 1 <= len(slot.messages) <= SLOT_MESSAGES_MAX:
        raise InvalidMessage(f"a slot has 1 to {SLOT_MESSAGES_MAX} messages")
    if not is_in_place(slot.statement):
        raise InvalidMessage("the slot names an epoch or a view that is not its own")
    if merkle.root(slot.messages) != slot.statement.root:
        raise InvalidMessage("message ids do not give the slot's root")
    verify(slot.statement, slot.signature, key)


def history_root(slot_roots: Sequence[Hash32]) -> Hash32:
    """Return the RFC 6962 root over consecutive slots' roots."""
    return merkle.root([merkle.leaf_hash(root) for root in slot_roots])


def leader(supervisor_count: int, epoch: int, view: int) -> int:
    """Return the index of the supervisor that leads. Source: PROTOCOL section 6."""
    return (epoch + view) % supervisor_count


def proposal_digest(statement: SlotStatement, key: BlsPublicKey) -> Hash32:
    """Return what a leader signs with its spending key under a proposal: two for one place are evidence.

    The group key stands for the record: on another fork a task may have another, with other slots.
    """
    return tagged_hash("p2pai/proposal", key, record.encode(statement))
