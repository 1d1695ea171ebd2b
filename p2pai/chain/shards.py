"""The list of a dataset's shards: which content ids the Reed-Solomon shards of each fragment have.

The list is a blob with one chunk for each fragment, in the order of the definition: the content ids of its
data and parity shards, 32 bytes each. The definition names the blob, so whoever has one chunk can prove it
with a Merkle path, and a shard is checked by its own content id.

Source: PoUW §4.2.3; PROTOCOL section 5; docs/adr/0021-assignment-and-redundancy.md.
"""

from collections.abc import Sequence

from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import ReedSolomon
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32

Row = tuple[BlobId, ...]
"""Shards of one fragment, those of data first."""


def write(rows: Sequence[Row]) -> tuple[bytes, ...]:
    """Return the chunks of the list."""
    return tuple(b"".join(row) for row in rows)


def read(task: TaskDefinition, data: bytes) -> tuple[Row, ...]:
    """Read the list of a task with Reed-Solomon; one row for each of its fragments.

    Raises:
      InvalidMessage: the bytes are not of that form, or not those that the definition names.
    """
    assert isinstance(task.redundancy, ReedSolomon)
    size = task.redundancy.shards * HASH_SIZE
    if len(data) != size * len(task.dataset.fragments):
        raise InvalidMessage("the list of shards does not have a row for each fragment")
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    if blob.blob_id(chunks) != task.dataset.shards:
        raise InvalidMessage("the list of shards is not cut into rows, or not the task's")
    return tuple(_row(chunk) for chunk in chunks)


def _row(chunk: bytes) -> Row:
    return tuple(BlobId(Hash32(chunk[i : i + HASH_SIZE])) for i in range(0, len(chunk), HASH_SIZE))
