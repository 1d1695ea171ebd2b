"""What supervisors say to each other while they record a task's messages, and what they note in the journal.

Source: PoUW §4.3; PROTOCOL section 6.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.chain.committee import CertifiedSlot, HistoryStatement, SlotStatement
from p2pai.primitives import blob, record
from p2pai.primitives.ids import BlobId, BlsSignature, Hash32, Outpoint
from p2pai.roles.history import ModelAnnouncement

SAID_SIZE_MAX: Final = 96 * 1024
"""Bytes of one of these messages: a slot of 256 ids takes 9 KiB, 256 announcements 75 KiB."""


@dataclass(frozen=True, slots=True)
class SlotProposal:
    """The leader's next slot: which messages, in which order."""

    statement: SlotStatement
    messages: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class SlotSignature:
    """A supervisor agrees to a slot."""

    statement: SlotStatement
    ticket: Outpoint
    signature: BlsSignature


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
class HistorySignature:
    """A supervisor agrees to register slots."""

    statement: HistoryStatement
    ticket: Outpoint
    signature: BlsSignature


Said = SlotProposal | SlotSignature | CertifiedSlot | HistoryProposal | HistorySignature


@dataclass(frozen=True, slots=True)
class SlotSigned:
    """Journal: what we signed for a slot; a proposal of our own carries its messages."""

    statement: SlotStatement
    messages: tuple[Hash32, ...]


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
