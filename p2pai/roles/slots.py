"""What supervisors say to each other while they record a task's messages, and what they note in the journal.

A member is named by its place in the committee, counted from 1, as in the shares of the group key. What
carries a member's own signature holds whoever passes it on.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.chain.committee import (
    CertifiedSlot,
    HistoryStatement,
    MalformedStatement,
    PreparedStatement,
    Reason,
    SlotStatement,
    Statement,
    StatusStatement,
    ViewStatement,
)
from p2pai.chain.supervision import Equivocation
from p2pai.primitives import blob, record
from p2pai.primitives.ids import BlobId, BlsPublicKey, BlsSignature, Hash32, TaskId
from p2pai.roles.history import ModelAnnouncement

SAID_SIZE_MAX: Final = 96 * 1024
"""Bytes of one of these messages: a slot of 256 ids takes 9 KiB, 16 ballots on it 6 KiB, 256 announcements
75 KiB."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is agreed on: slot after slot, under the leader of a view of an epoch."""

    task: TaskId
    epoch: int
    view: int
    slot: int


@dataclass(frozen=True, slots=True)
class SlotOpening:
    """The leader asks in which order these messages came."""

    place: Place
    messages: tuple[Hash32, ...]
    """Ids, ascending."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A member's signed order of a slot's messages."""

    member: int
    order: bytes
    """Positions in the ascending ids, first come first."""
    signature: bytes
    """By the member's spending key (see ballots.py)."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """A member's answer to a SlotOpening."""

    place: Place
    candidates: Hash32
    """Root over the ascending ids."""
    ranking: Ranking


@dataclass(frozen=True, slots=True)
class SlotProposal:
    """The leader's count: which messages, in which order, by which ballots."""

    statement: SlotStatement
    messages: tuple[Hash32, ...]
    ballots: tuple[Ranking, ...]
    """None when the new view is bound to an earlier proposal."""
    signature: bytes
    """By the leader's spending key over `committee.proposal_digest`."""


@dataclass(frozen=True, slots=True)
class Share:
    """A member's share of a certificate."""

    statement: PreparedStatement | SlotStatement | HistoryStatement | MalformedStatement | StatusStatement
    member: int
    signature: BlsSignature


@dataclass(frozen=True, slots=True)
class Prepared:
    """The prepare certificate: in its view no other root can be certified."""

    statement: SlotStatement
    certificate: BlsSignature
    """Over PreparedStatement."""


@dataclass(frozen=True, slots=True)
class SlotProof:
    """A certified slot without its messages."""

    statement: SlotStatement
    certificate: BlsSignature


@dataclass(frozen=True, slots=True)
class Report:
    """Where a member stands when it gives up a leader: it votes in no view before `view` any more."""

    task: TaskId
    epoch: int
    view: int
    slot: int
    """The next that it has not recorded."""
    before: SlotProof | None
    """Shows that the slot before is certified; needless when it is registered on chain."""
    lock: Prepared | None
    """The newest prepare certificate for `slot` that the member voted to commit; of `view` itself only when
    a restart made it forget that this view had begun."""
    member: int
    signature: bytes
    """By the member's spending key (see views.py)."""


@dataclass(frozen=True, slots=True)
class ViewShare:
    """A share over the ViewStatement with this reason."""

    reason: Reason
    signature: BlsSignature


@dataclass(frozen=True, slots=True)
class ViewChange:
    """A member wants the leader of `report.view`."""

    report: Report
    shares: tuple[ViewShare, ...]
    """One with the least reason, so that shares of different reasons add up; perhaps one with its own."""
    messages: tuple[Hash32, ...]
    """Ids under the root of the lock."""


@dataclass(frozen=True, slots=True)
class NewView:
    """The new leader begins: t members gave up the ones before, and this is what they had locked."""

    statement: ViewStatement
    certificate: BlsSignature
    reports: tuple[Report, ...]
    messages: tuple[Hash32, ...]
    """Ids under the root of the newest lock for the furthest slot: what alone may be proposed there."""


@dataclass(frozen=True, slots=True)
class FinalModels:
    """The blob of models that ends a task's training."""

    models: tuple[ModelAnnouncement, ...]


@dataclass(frozen=True, slots=True)
class HistoryProposal:
    """The leader wants to register slots on chain; with `models`, to end the training."""

    statement: HistoryStatement
    models: tuple[ModelAnnouncement, ...]


@dataclass(frozen=True, slots=True)
class DataFault:
    """A miner found a fragment that is not what the definition says; supervisors look for themselves."""

    task: TaskId
    fragment: int
    """Position in the definition."""


Said = (
    SlotOpening
    | Ballot
    | SlotProposal
    | Share
    | Prepared
    | CertifiedSlot
    | ViewChange
    | NewView
    | Equivocation
    | HistoryProposal
    | DataFault
)


def task_of(said: Said) -> TaskId:
    """Return the task that a message is about."""
    match said:
        case SlotOpening(place) | Ballot(place):
            return place.task
        case ViewChange(report):
            return report.task
        case Equivocation(task) | DataFault(task):
            return task
        case Share(PreparedStatement(statement)):
            return statement.task
    return statement_task(said.statement)


def statement_task(statement: Statement) -> TaskId:
    """Return the task that a statement is about."""
    return statement.slot.task if isinstance(statement, PreparedStatement) else statement.task


@dataclass(frozen=True, slots=True)
class LockedSlot:
    """A prepare certificate with the ids under its root."""

    statement: SlotStatement
    messages: tuple[Hash32, ...]
    certificate: BlsSignature


@dataclass(frozen=True, slots=True)
class SlotSigned:
    """Journal: all that we promised for the next slot; a later one takes its place.

    In `epoch` we vote in no view before `view`; in this view for no other root than that of `proposal`.
    """

    task: TaskId
    epoch: int
    view: int
    slot: int
    proposal: SlotProposal | None
    """What we prepared in this view; our own carries its ballots, to be said again."""
    lock: LockedSlot | None
    """What we voted to commit last, in this view or an earlier one."""


@dataclass(frozen=True, slots=True)
class RecordBegun:
    """Journal: what follows about a task's slots belongs to the record under this group key."""

    task: TaskId
    key: BlsPublicKey


@dataclass(frozen=True, slots=True)
class SlotRecorded:
    """Journal: a certified slot whose messages are in the blob store under its root."""

    slot: CertifiedSlot
    final: tuple[bytes, ...]
    """Those of its messages that are the last of their miners; a final model is checked against them."""


def models_blob(models: tuple[ModelAnnouncement, ...]) -> BlobId:
    """Return the content id under which the final models are registered."""
    return blob.blob_id_of(record.encode(FinalModels(models)))


def read_models(data: bytes) -> tuple[ModelAnnouncement, ...]:
    """Read the blob of final models.

    Raises:
      InvalidMessage: malformed.
    """
    return record.decode(FinalModels, data, size_max=SAID_SIZE_MAX).models
