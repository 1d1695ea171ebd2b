"""A checkpoint that an operator trusts, and what the journal keeps of a start from it.

Source: PROTOCOL section 9; docs/adr/0030-sync.md.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.chain.state import Checkpoint
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32

HEIGHT_MAX: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class SnapshotTrusted:
    """The chain on this disk begins at a snapshot that came from others."""

    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class SnapshotVerified:
    """All blocks up to there were connected from genesis, and gave that snapshot."""

    height: int


@dataclass(frozen=True, slots=True)
class SnapshotShared:
    """Remotes may fetch a snapshot from this node, until two newer ones are there."""

    snapshot: BlobId


Record = SnapshotTrusted | SnapshotVerified | SnapshotShared


def parse(text: str) -> Checkpoint:
    """Read what an operator gives.

    Raises:
      InvalidInput: not HEIGHT:BLOCK:SNAPSHOT.
    """
    parts = text.split(":")
    try:
        height, (block, snapshot) = int(parts[0]), map(bytes.fromhex, parts[1:])
        if not 0 < height <= HEIGHT_MAX or {len(block), len(snapshot)} != {HASH_SIZE}:
            raise ValueError(text)
    except ValueError as error:
        raise InvalidInput(
            "a checkpoint is HEIGHT:BLOCK:SNAPSHOT, as `p2pai status` of a node that you trust prints it"
        ) from error
    return Checkpoint(height, Hash32(block), BlobId(Hash32(snapshot)))
