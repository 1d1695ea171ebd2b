"""The state as bytes: what a node keeps to restart from, and serves to remotes that start from a checkpoint.

One state has one encoding, or none: a head, then each table's rows in order of their keys, `PAGE_ROWS` to a
page, so that nobody ever holds a large table a second time as CBOR's types. Head and pages are records, each
behind its length as u32 big-endian. The id of a snapshot is the content id of these bytes, and with it the
state's digest: equal on every node with the same chain.

Source: PROTOCOL section 9, "checkpoints"; RELIABILITY (5), "disk".
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Final

from immutables import Map

from p2pai.chain.state import Candidate, Checkpoint, State, Task, Ticket, Verification, Voting
from p2pai.chain.transaction import Output
from p2pai.primitives import record
from p2pai.primitives.blob import blob_id_of
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Amount, BlobId, Hash32, Outpoint, TaskId

PAGE_ROWS: Final = 256
"""Rows of a page; a page of tasks with their keys has a few MiB."""

WEIGHT_SIZE: Final = 64
"""Bytes of the chain's weight, which grows by up to 2^256 a block."""

_LENGTH_SIZE: Final = 4


@dataclass(frozen=True, slots=True)
class Head:
    """What a state has but once."""

    chain: Hash32
    height: int
    tip: Hash32
    times: tuple[int, ...]
    bits: int
    anchor: tuple[int, int, int] | None
    weight: bytes
    issued: Amount
    burned: Amount
    checkpoint: Checkpoint
    candidate: Candidate
    approvals: tuple[int, int]
    voting: Voting | None
    ticket_price: Amount
    ticket_pool: int
    rows: tuple[int, ...]
    """Of each table, so that an encoding which was cut off is none."""


@dataclass(frozen=True, slots=True)
class Utxos:
    """A page of unspent outputs."""

    rows: tuple[tuple[Outpoint, Output], ...]


@dataclass(frozen=True, slots=True)
class Tickets:
    """A page of tickets."""

    rows: tuple[tuple[Outpoint, Ticket], ...]


@dataclass(frozen=True, slots=True)
class Tasks:
    """A page of tasks."""

    rows: tuple[tuple[TaskId, Task], ...]


@dataclass(frozen=True, slots=True)
class Verifications:
    """A page of blocks under verification."""

    rows: tuple[tuple[Hash32, Verification], ...]


@dataclass(frozen=True, slots=True)
class Pending:
    """A page of blocks whose subsidy is not paid yet."""

    rows: tuple[tuple[int, Hash32], ...]


Part = Head | Utxos | Tickets | Tasks | Verifications | Pending

TABLES: Final[dict[str, Any]] = {
    "utxos": Utxos,
    "tickets": Tickets,
    "tasks": Tasks,
    "verifications": Verifications,
    "pending": Pending,
}
"""The state's tables, in the order in which they are written."""

_HEAD_FIELDS: Final = tuple(f.name for f in fields(Head) if f.name not in ("weight", "rows"))


def encode(state: State) -> bytes:
    """Return the one encoding of a state."""
    return b"".join(_frame(record.encode_tagged(part)) for part in _parts(state))


def decode(data: bytes) -> State:
    """Read a state.

    Raises:
      InvalidMessage: not the encoding of any state.
    """
    head: Head | None = None
    tables: dict[str, dict[Any, Any]] = {name: {} for name in TABLES}
    names = {page: name for name, page in TABLES.items()}
    for body in _frames(data):
        part: Part = record.decode_tagged(Part, body, size_max=len(body))
        if isinstance(part, Head):
            head = part
        else:
            tables[names[type(part)]].update(part.rows)
    if head is None or len(head.weight) != WEIGHT_SIZE or not head.times:
        raise InvalidMessage("a snapshot has a head with times and a weight")
    values: dict[str, Any] = {name: getattr(head, name) for name in _HEAD_FIELDS}
    values |= {name: Map(rows) for name, rows in tables.items()}
    state = State(weight=int.from_bytes(head.weight, "big"), **values)
    # Also the order of parts and rows, their number, full pages: whatever differs is another encoding.
    if encode(state) != data:
        raise InvalidMessage("not the encoding of a state")
    return state


def snapshot_id(state: State) -> BlobId:
    """Return the content id of a state's encoding, cut every MiB: the state's digest."""
    return blob_id_of(encode(state))


def _parts(state: State) -> Iterator[Part]:
    yield Head(
        weight=state.weight.to_bytes(WEIGHT_SIZE, "big"),
        rows=tuple(len(getattr(state, name)) for name in TABLES),
        **{name: getattr(state, name) for name in _HEAD_FIELDS},
    )
    for name, page in TABLES.items():
        table: Map[Any, Any] = getattr(state, name)
        keys = iter(sorted(table))
        while rows := tuple((key, table[key]) for key in islice(keys, PAGE_ROWS)):
            yield page(rows)


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(_LENGTH_SIZE, "big") + body


def _frames(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        body = start + _LENGTH_SIZE
        end = body + int.from_bytes(data[start:body], "big")
        if end > len(data):
            raise InvalidMessage("a snapshot is cut off")
        yield data[body:end]
        start = end
