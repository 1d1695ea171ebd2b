"""The supervisors' certificates: which messages were sent, in which order.

A slot is an ordered list of IT_RES messages; its root is their RFC 6962 Merkle root. A certificate is the
BLS aggregate of at least t = ceil(2n/3) supervisors' own signatures over one statement, checked against the
keys in their tickets, whose possession was proven when they were bought.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0004-aggregate-certificates.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2pai.chain.params import SLOT_MESSAGES_MAX, SLOTS_PER_TERM, quorum
from p2pai.primitives import bls, merkle, record
from p2pai.primitives.errors import InvalidMessage, InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, BlsPublicKey, BlsSignature, Hash32, TaskId


@dataclass(frozen=True, slots=True)
class SlotStatement:
    """What a supervisor signs for one place (task, epoch, view, slot)."""

    task: TaskId
    epoch: int
    view: int
    slot: int
    root: Hash32


@dataclass(frozen=True, slots=True)
class HistoryStatement:
    """What a supervisor signs for a MESSAGE_HISTORY: slots `first` to `last` have this root."""

    task: TaskId
    first: int
    last: int
    root: Hash32
    models: BlobId | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """Signers as a bitmap over the task's supervisors in order, and their aggregate signature."""

    signers: int
    signature: BlsSignature


@dataclass(frozen=True, slots=True)
class CertifiedSlot:
    """A slot as supervisors announce it: the statement, the message ids under its root, and the proof."""

    statement: SlotStatement
    messages: tuple[Hash32, ...]
    certificate: Certificate


Statement = SlotStatement | HistoryStatement


def digest(statement: Statement) -> Hash32:
    """Return the 32 bytes that are signed."""
    return tagged_hash("p2pai/committee", record.encode_tagged(statement))


def sign(secret: bytes, statement: Statement) -> BlsSignature:
    """Sign a statement as one supervisor."""
    return bls.sign(secret, digest(statement))


def combine(signatures: dict[int, BlsSignature]) -> Certificate:
    """Aggregate signatures by supervisor index; the caller has checked each."""
    signers = sum(1 << index for index in signatures)
    return Certificate(signers, bls.aggregate([signatures[i] for i in sorted(signatures)]))


def verify(statement: Statement, certificate: Certificate, keys: Sequence[BlsPublicKey]) -> None:
    """Check that a quorum of the committee signed `statement`.

    Args:
      statement: what was signed.
      certificate: who signed.
      keys: the committee's keys in order, possession proven.

    Raises:
      InvalidProof: unknown signers, too few, or the aggregate does not match.
    """
    if certificate.signers >> len(keys):
        raise InvalidProof("certificate names a supervisor that the task does not have")
    signers = [key for i, key in enumerate(keys) if certificate.signers >> i & 1]
    if len(signers) < quorum(len(keys)):
        raise InvalidProof(f"{len(signers)} of {len(keys)} supervisors signed, {quorum(len(keys))} needed")
    bls.verify_same_message(signers, digest(statement), certificate.signature)


def is_in_place(statement: SlotStatement) -> bool:
    """Return whether a slot names the epoch that it belongs to; views other than 0 do not exist yet."""
    return statement.epoch == epoch_of(statement.slot) and statement.view == 0


def epoch_of(slot: int) -> int:
    """Return the committee's epoch that a slot belongs to: one leader's term."""
    return slot // SLOTS_PER_TERM


def verify_slot(slot: CertifiedSlot, keys: Sequence[BlsPublicKey]) -> None:
    """Check an announced slot: its ids give its root, and a quorum signed it.

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
    verify(slot.statement, slot.certificate, keys)


def history_root(slot_roots: Sequence[Hash32]) -> Hash32:
    """Return the RFC 6962 root over consecutive slots' roots."""
    return merkle.root([merkle.leaf_hash(root) for root in slot_roots])


def leader(supervisor_count: int, epoch: int, view: int) -> int:
    """Return the index of the supervisor that leads. Source: PROTOCOL section 6."""
    return (epoch + view) % supervisor_count
