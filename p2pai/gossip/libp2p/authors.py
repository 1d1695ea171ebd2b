"""Who wrote a gossip message, and whether he signed it.

Implementations differ in what they take. py-libp2p takes an author whose key is too large for his peer id and
travels beside the message, and looks at no such key otherwise; others refuse a message whose key isn't its
author's, or whose number has not 8 bytes. Whoever passes on what others refuse loses their trust by it, so
one author could have honest nodes shunned. Hence here only what all understand alike is judged and passed
on, and nobody is blamed for the rest (`is_understood`) but who passes on what nobody takes (`is_signed`).
"""

from functools import lru_cache
from typing import Any, Final

from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

SEQNO_SIZE: Final = 8
"""Bytes of a sequence number. Source: libp2p specs, pubsub: 64 bits."""

AUTHOR_SIZE_MAX: Final = 64
"""Bytes of an author's peer id; an Ed25519 key's has 38."""

_PREFIX: Final = PUBSUB_SIGNING_PREFIX.encode()


def is_understood(msg: Any) -> bool:  # noqa: ANN401
    """Tell whether all read a message's author and number alike: its key lies in its author's peer id."""
    key = _key_of(msg.from_id)
    return key is not None and len(msg.seqno) == SEQNO_SIZE and msg.key in (b"", key.serialize())


def is_signed(msg: Any) -> bool:  # noqa: ANN401
    """Tell whether a message carries its author's signature."""
    key = _key_of(msg.from_id)
    if key is None:
        return False
    signed = rpc_pb2.Message(data=msg.data, topicIDs=msg.topicIDs, from_id=msg.from_id, seqno=msg.seqno)
    try:
        return bool(key.verify(_PREFIX + signed.SerializeToString(), msg.signature))
    except Exception:  # noqa: BLE001
        return False


@lru_cache(maxsize=1024)
def _key_of(author: bytes) -> Any:  # noqa: ANN401
    if len(author) > AUTHOR_SIZE_MAX:
        return None
    try:
        key = ID(author).extract_public_key()
        # A key has one peer id, though its bytes could be wrapped in others.
        return key if key is not None and ID.from_pubkey(key).to_bytes() == author else None
    except Exception:  # noqa: BLE001
        return None
