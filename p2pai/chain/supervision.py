"""What workers post about their task: the common key, the messages recorded, who misbehaved, pauses.

Source: PoUW §4.2.1, §4.3, §7.3, Appendix C; PROTOCOL sections 3, 5, 6.
"""

from dataclasses import dataclass
from enum import Enum

from p2pai.chain.committee import Reason, SlotStatement
from p2pai.chain.dkg import Accusation, Deal
from p2pai.primitives.ids import BlobId, BlsPublicKey, BlsSignature, Hash32, Outpoint, TaskId


@dataclass(frozen=True, slots=True)
class DkgDeal:
    """DKG_DEAL: one supervisor's public deal to the others."""

    task: TaskId
    attempt: int
    ticket: Outpoint
    deal: Deal
    signature: bytes
    """By the owner over `keying.deal_digest`: two under one context are evidence."""


@dataclass(frozen=True, slots=True)
class WrongShare:
    """The accuser's share of a deal does not fit its commitments, as anybody can check."""

    dealer: Outpoint
    accusation: Accusation


@dataclass(frozen=True, slots=True)
class TwoDeals:
    """A dealer signed two deals for one attempt."""

    dealer: Outpoint
    first: Hash32
    first_signature: bytes
    second: Hash32
    second_signature: bytes


@dataclass(frozen=True, slots=True)
class DkgComplaint:
    """DKG_COMPLAINT: one of two supervisors lied; the chain decides which."""

    task: TaskId
    attempt: int
    ticket: Outpoint
    """Of the accuser."""
    evidence: WrongShare | TwoDeals


@dataclass(frozen=True, slots=True)
class DkgSuccessful:
    """DKG_SUCCESSFUL: a supervisor holds its share of this group key."""

    task: TaskId
    attempt: int
    ticket: Outpoint
    key: BlsPublicKey


@dataclass(frozen=True, slots=True)
class ReplaceLeader:
    """REPLACE_LEADER: in an epoch, the leaders of views before this one lead no more."""

    task: TaskId
    epoch: int
    view: int
    reason: Reason
    signature: BlsSignature


@dataclass(frozen=True, slots=True)
class Equivocation:
    """EQUIVOCATION: a leader proposed two slots for one place; `first.root < second.root`."""

    task: TaskId
    ticket: Outpoint
    first: SlotStatement
    first_signature: bytes
    second: SlotStatement
    second_signature: bytes


@dataclass(frozen=True, slots=True)
class ReportMalformed:
    """REPORT_MALFORMED: the supervisors certify that a revealed fragment is not what the task says."""

    task: TaskId
    fragment: int
    signature: BlsSignature


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """NODE_STATUS: the supervisors certify a miner as offline; from an epoch on the others do its work."""

    task: TaskId
    ticket: Outpoint
    """Of the miner."""
    epoch: int
    """As counted without end."""
    signature: BlsSignature


class Suspicion(Enum):
    """Why a worker considers a pause."""

    DOS_ATTACK = "dos_attack"


@dataclass(frozen=True, slots=True)
class ConsiderPause:
    """CONSIDER_PAUSE: a worker suspects an attack on its task."""

    task: TaskId
    ticket: Outpoint
    reason: Suspicion


@dataclass(frozen=True, slots=True)
class Pause:
    """PAUSE: a majority considers it, so the task pauses."""

    task: TaskId
    ticket: Outpoint


@dataclass(frozen=True, slots=True)
class ConsiderResume:
    """CONSIDER_RESUME: a worker finds the attack over."""

    task: TaskId
    ticket: Outpoint


@dataclass(frozen=True, slots=True)
class Resume:
    """RESUME: a majority considers it, so the task goes on."""

    task: TaskId
    ticket: Outpoint


@dataclass(frozen=True, slots=True)
class MessageHistory:
    """MESSAGE_HISTORY: registers slots `first` to `last`; with `models`, training is over."""

    task: TaskId
    first: int
    last: int
    root: Hash32
    """RFC 6962 root over the slots' roots."""
    models: BlobId | None
    """Content id of the miners' model announcements."""
    signature: BlsSignature
    """Under the supervisors' group key."""
