"""An envelope opens on its own topic, unchanged, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.envelope import Envelope, open_envelope, seal
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.primitives import ecdsa, record
from p2pai.primitives.errors import InvalidInput, InvalidMessage, InvalidProof

SECRET = bytes(31) + b"\x07"
TOPIC = "/p2pai/0a1b2c3d/chain/tx/1"


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_round_trip(body: bytes, sequence: int) -> None:
    envelope = open_envelope(seal(SECRET, TOPIC, sequence, body), TOPIC)
    assert (envelope.sender, envelope.topic) == (ecdsa.public_key(SECRET), TOPIC)
    assert (envelope.sequence, envelope.body) == (sequence, body)


@given(st.data())
def test_one_changed_bit_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(seal(SECRET, TOPIC, 5, b"body"))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << place % 8
    with pytest.raises(InvalidInput):
        open_envelope(bytes(sealed), TOPIC)


@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        open_envelope(data, TOPIC)


def test_another_topic_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="topic"):
        open_envelope(seal(SECRET, TOPIC, 1, b"body"), "/p2pai/0a1b2c3d/chain/block/1")


def test_signature_covers_every_field() -> None:
    good = open_envelope(seal(SECRET, TOPIC, 1, b"body"), TOPIC)
    other = "/p2pai/0a1b2c3d/chain/block/1"
    for forged, topic in [
        (Envelope(ecdsa.public_key(bytes(31) + b"\x08"), TOPIC, 1, b"body", good.signature), TOPIC),
        (Envelope(good.sender, other, 1, b"body", good.signature), other),
        (Envelope(good.sender, TOPIC, 2, b"body", good.signature), TOPIC),
        (Envelope(good.sender, TOPIC, 1, b"Body", good.signature), TOPIC),
    ]:
        with pytest.raises(InvalidProof):
            open_envelope(record.encode(forged), topic)


def test_size_limit() -> None:
    largest = seal(SECRET, TOPIC, 1, bytes(GOSSIP_SIZE_MAX - 160))
    assert len(open_envelope(largest, TOPIC).body) == GOSSIP_SIZE_MAX - 160
    with pytest.raises(AssertionError):
        seal(SECRET, TOPIC, 1, bytes(GOSSIP_SIZE_MAX))
    with pytest.raises(InvalidMessage):
        open_envelope(bytes(GOSSIP_SIZE_MAX + 1), TOPIC)
