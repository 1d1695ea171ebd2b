"""What was seen of gossip as names and plain values: for JSON, for conditions, and for a line to be made of.

Source: gossip/sightings.py.
"""

from typing import Any, Final

from p2pai.gossip import sightings
from p2pai.gossip.sightings import Message, Sighting
from p2pai.node.decoding import decode, field_names, place_of
from p2pai.node.fields import Fields, fields_of, names_of
from p2pai.primitives import base58

_OWN: Final = ("time_us", "seen", "outcome", "author", "latency_ms")


def entry_fields(time_us: int, sighting: Sighting, prefix: str) -> Fields:
    """Return everything that an entry says; a message in it is decoded.

    Args:
      time_us: when it was seen, Unix microseconds.
      sighting: what was seen.
      prefix: of the network's addresses.
    """
    head: Fields = {"time_us": time_us, "seen": type(sighting).__name__.lower()}
    match sighting:
        case sightings.Arrived(remote, message, outcome):
            return {**head, "remote": remote, "outcome": str(outcome), **_message(message, time_us, prefix)}
        case sightings.Published(message):
            return {**head, **_message(message, time_us, prefix)}
    rest = fields_of(sighting, prefix)
    return {**head, **rest, **(place_of(rest["topic"]) if "topic" in rest else {})}


def entry_names() -> frozenset[str]:
    """Return the names of all fields that an entry can have."""
    return field_names() | names_of(Sighting) | frozenset(_OWN)


def topic_of(sighting: Sighting) -> str | None:
    """Return the topic that something was seen of; None when it is of no single one."""
    about: Any = getattr(sighting, "message", sighting)
    return getattr(about, "topic", None)


def _message(message: Message, time_us: int, prefix: str) -> Fields:
    decoded = decode(message.topic, message.data, prefix)
    sent_ms = decoded.sent_ms
    return {
        **place_of(message.topic),
        "sender": decoded.sender,
        "sent_ms": sent_ms,
        "latency_ms": None if sent_ms is None else time_us // 1000 - sent_ms,
        "size": len(message.data),
        "id": message.id.hex(),
        "author": base58.encode(message.author[: base58.SIZE_MAX]),
        "kind": decoded.kind,
        "fault": decoded.fault,
        "body": decoded.body,
    }
