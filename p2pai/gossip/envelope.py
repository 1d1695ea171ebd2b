"""What every gossip message travels in: who says it, on which topic, as which message, signed.

The signature covers the topic, so that no message can be repeated on another one, and the sequence number, so
that the sender's messages can be told apart and ordered.

Source: PROTOCOL section 13.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.primitives import ecdsa, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Millis, PublicKey
from p2pai.primitives.memo import pure

SEQUENCE_SIZE: Final = 8
"""Bytes of the sequence number under the signature, little-endian."""

_COUNTER_BITS: Final = 20
"""Of a sequence number: its lowest bits count, those above are the sender's clock."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One signed gossip message."""

    sender: PublicKey
    topic: str
    sequence: int
    body: bytes
    signature: bytes
    """ECDSA by `sender` over `signed_digest`."""


def seal(secret: bytes, topic: str, sequence: int, body: bytes) -> bytes:
    """Sign `body` and return the message's bytes.

    Args:
      secret: the sender's spending key, 32 bytes.
      topic: where it will be published.
      sequence: unsigned 64-bit; never used twice by one sender on one topic.
      body: small enough for the whole to stay within `GOSSIP_SIZE_MAX`.
    """
    sender = ecdsa.public_key(secret)
    signature = ecdsa.sign(secret, signed_digest(sender, topic, sequence, body))
    data = record.encode(Envelope(sender, topic, sequence, body, signature))
    assert len(data) <= GOSSIP_SIZE_MAX, "message is too large for gossip"
    return data


@pure()
def open_envelope(data: bytes, topic: str) -> Envelope:
    """Read and check a message that arrived on `topic`, cheapest checks first.

    Raises:
      InvalidMessage: malformed, too large, or made for another topic.
      InvalidProof: the signature does not hold.
    """
    envelope = record.decode(Envelope, data, size_max=GOSSIP_SIZE_MAX)
    check_signature(envelope, topic)
    return envelope


def check_signature(envelope: Envelope, topic: str) -> None:
    """Check that its sender sealed an envelope for `topic`.

    Raises:
      InvalidMessage: made for another topic.
      InvalidProof: the signature does not hold.
    """
    if envelope.topic != topic:
        raise InvalidMessage("message belongs to another topic")
    digest = signed_digest(envelope.sender, topic, envelope.sequence, envelope.body)
    ecdsa.verify(envelope.sender, digest, envelope.signature)


def sequence_at(now_ms: Millis, count: int) -> int:
    """Return the sequence number of the `count`-th message of a sender whose clock shows `now_ms`."""
    return now_ms << _COUNTER_BITS | count & ((1 << _COUNTER_BITS) - 1)


def stamp_ms(data: bytes) -> Millis | None:
    """Return when a message was sealed by its sender's clock, nothing of it checked; None of other bytes."""
    try:
        return stamp_of(record.decode(Envelope, data, size_max=GOSSIP_SIZE_MAX))
    except InvalidMessage:
        return None


def stamp_of(envelope: Envelope) -> Millis:
    """Return when an envelope was sealed, by its sender's clock."""
    return Millis(envelope.sequence >> _COUNTER_BITS)


def signed_digest(sender: PublicKey, topic: str, sequence: int, body: bytes) -> Hash32:
    """Return what the sender signs."""
    return tagged_hash(
        "p2pai/envelope", sender, topic.encode(), sequence.to_bytes(SEQUENCE_SIZE, "little"), body
    )
