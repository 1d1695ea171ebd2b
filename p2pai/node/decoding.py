"""What a gossip message says: any bytes of any topic in, names and plain values out; nothing raises.

A message is shown as far as it can be read. What is wrong with it is its `fault`: an envelope that is none, a
signature that does not hold, a body that is not of its topic. Whether it *counts* needs a ledger and is not
said here.

The topics `consider_pause`, `vote` and `candidate` are reserved: of what stands there, the values are shown
as CBOR gives them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from p2pai.chain import it_res, message_map
from p2pai.chain.block import HEADER_SIZE, Block, Header
from p2pai.chain.transaction import Transaction
from p2pai.gossip import topics
from p2pai.gossip.envelope import Envelope, check_signature, stamp_of
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.topics import Topic
from p2pai.node.fields import Fields, fields_of, names_of, plain, short_hex
from p2pai.primitives import address, cbor, ecdsa, record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Millis
from p2pai.roles.dealer import SEEN_SIZE_MAX, DealSeen
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.pausing import HEARTBEAT_SIZE_MAX, Heartbeat
from p2pai.roles.slots import SAID_SIZE_MAX, Said

UNREAD: Final = "bytes"
"""Kind of a message whose body can't be read."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One message, as far as it can be read."""

    topic: str
    name: str = ""
    """What is said on the topic, one of `topics.NAMES`; empty when it is none of ours."""
    task: str = ""
    """In hex; empty for what concerns the whole chain."""
    sender: str = ""
    """Address of who signed the envelope."""
    sent_ms: Millis | None = None
    """By the sender's clock."""
    kind: str = UNREAD
    body: Fields | None = None
    fault: str = ""


def decode(topic: str, data: bytes, prefix: str) -> Decoded:
    """Read a message, the signature of its envelope included.

    Args:
      topic: that it came on.
      data: its bytes.
      prefix: of the network's addresses.
    """
    try:
        envelope = record.decode(Envelope, data, size_max=GOSSIP_SIZE_MAX)
    except InvalidInput as error:
        return Decoded(**place_of(topic), body=_raw(data), fault=f"not an envelope: {error}")
    kind, body, fault = _read(_parse(topic), envelope.body, prefix)
    return Decoded(
        **place_of(topic),
        sender=address.encode(prefix, ecdsa.key_hash(envelope.sender)),
        sent_ms=stamp_of(envelope),
        kind=kind,
        body=body,
        fault=_fault_of(envelope, topic) or fault,
    )


def place_of(topic: str) -> dict[str, Any]:
    """Return a topic with what is said on it and its task, as `Decoded` has them."""
    known = _parse(topic)
    if known is None:
        return {"topic": topic, "name": "", "task": ""}
    return {"topic": topic, "name": known.name, "task": known.scope.hex() if known.scope else ""}


@cache
def field_names() -> frozenset[str]:
    """Return the names of all fields that a decoded message can have."""
    records = (Transaction, Block, it_res.IterationResult, ModelAnnouncement, Said, DealSeen, Heartbeat)
    inner = frozenset().union(*map(names_of, records))
    return inner | frozenset(Decoded.__dataclass_fields__) | _ADDED


def _parse(topic: str) -> Topic | None:
    try:
        return topics.parse(topic)
    except InvalidInput:
        return None


def _fault_of(envelope: Envelope, topic: str) -> str:
    try:
        check_signature(envelope, topic)
    except InvalidInput as error:
        return f"envelope: {error}"
    return ""


def _read(known: Topic | None, body: bytes, prefix: str) -> tuple[str, Fields, str]:
    """Return what kind of body it is, its fields, and what is wrong with it."""
    if known is None:
        return UNREAD, _raw(body), "not a topic of p2pai"
    try:
        return *_READERS.get(known.name, _read_value)(body, prefix), ""
    except InvalidInput as error:
        return UNREAD, _raw(body), str(error)


def _raw(data: bytes) -> Fields:
    return {"size": len(data), "data": short_hex(data)}


def _read_transaction(body: bytes, prefix: str) -> tuple[str, Fields]:
    tx = Transaction.decode(body)
    return tx.kind, {"txid": tx.txid.hex(), "inputs": [str(i) for i in tx.inputs], **_transaction(tx, prefix)}


def _transaction(tx: Transaction, prefix: str) -> Fields:
    outputs = [fields_of(output, prefix) for output in tx.outputs]
    return {"outputs": outputs, "data": fields_of(tx.data, prefix)}


def _read_block(body: bytes, prefix: str) -> tuple[str, Fields]:
    if len(body) == HEADER_SIZE:
        return "HEADER", _header(Header.decode(body), prefix)
    block = Block.decode(body)
    first = block.transactions[0] if block.transactions else None
    mined = fields_of(first.data, prefix) if first is not None else {}
    listed = [{"txid": tx.txid.hex(), "type": tx.kind} for tx in block.transactions]
    return "BLOCK", {**mined, **_header(block.header, prefix), "transactions": listed}


def _header(header: Header, prefix: str) -> Fields:
    return {"hash": header.hash.hex(), **fields_of(header, prefix)}


def _read_iteration(body: bytes, prefix: str) -> tuple[str, Fields]:
    message = it_res.decode(body)
    size, elements = len(message.message_map), message_map.element_count(message.message_map)
    read = {"message": it_res.message_id(body).hex(), "map_size": size, "elements": elements}
    return "IT_RES", {**fields_of(message, prefix), **read}


def _read_said(body: bytes, prefix: str) -> tuple[str, Fields]:
    said = record.decode_tagged(Said, body, size_max=SAID_SIZE_MAX)
    return type(said).__name__, fields_of(said, prefix)


def _read_one(cls: type, size_max: int) -> "_Reader":
    def read(body: bytes, prefix: str) -> tuple[str, Fields]:
        return cls.__name__, fields_of(record.decode(cls, body, size_max=size_max), prefix)

    return read


def _read_value(body: bytes, prefix: str) -> tuple[str, Fields]:
    return "reserved", {"value": plain(cbor.decode(body, size_max=GOSSIP_SIZE_MAX), prefix)}


_Reader = Callable[[bytes, str], tuple[str, Fields]]
_ADDED: Final = frozenset(
    (
        "txid",
        "type",
        "hash",
        "message",
        "map_size",
        "elements",
        "transactions",
        "size",
        "value",
        "bytes",
        "begin",
    )
)
_READERS: Final[Mapping[str, _Reader]] = {
    "tx": _read_transaction,
    "block": _read_block,
    "it_res": _read_iteration,
    "model": _read_one(ModelAnnouncement, SAID_SIZE_MAX),
    "message_history": _read_said,
    "dkg": _read_one(DealSeen, SEEN_SIZE_MAX),
    "heartbeat": _read_one(Heartbeat, HEARTBEAT_SIZE_MAX),
}
