"""What must survive a crash besides the chain: everything that was signed, and what a role can't find again.

Recovery is a fold over these records, oldest first: each goes back to the role that wrote it. What promises
something leaves the node only after its record is durable.

Source: RELIABILITY (1) and (4), I12 and I13.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.node import trust
from p2pai.node.accounts import AccountAdded
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.roles.client import ModelDelivered, TaskPosted
from p2pai.roles.evaluator import ConclusionReached
from p2pai.roles.memory import IterationSent, StateKept
from p2pai.roles.replaying import VerdictReached
from p2pai.roles.slots import RecordBegun, SlotRecorded, SlotSigned
from p2pai.roles.validator import CheckpointVoted

RECORD_SIZE_MAX: Final = 20 << 20
"""Bytes: the last messages of the largest group, 64 KiB each, may all be in one slot."""


@dataclass(frozen=True, slots=True)
class TransactionPosted:
    """A transaction of our own, to announce again after a restart."""

    transaction: bytes


Record = (
    TransactionPosted
    | trust.Record
    | AccountAdded
    | TaskPosted
    | ModelDelivered
    | ConclusionReached
    | IterationSent
    | StateKept
    | RecordBegun
    | SlotRecorded
    | SlotSigned
    | VerdictReached
    | CheckpointVoted
)


def write(entry: object) -> bytes:
    """Return a record's bytes."""
    return record.encode_tagged(entry)


def read(data: bytes) -> Record:
    """Read a record; a journal that holds anything else is damaged.

    Raises:
      InvalidInput: not a record of this version.
    """
    try:
        entry: Record = record.decode_tagged(Record, data, size_max=RECORD_SIZE_MAX)
    except InvalidInput as error:
        raise InvalidInput(f"the journal holds a record that this version cannot read: {error}") from error
    return entry
