"""Signed messages: they hold for one address and one text, and can never be a transaction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.transaction import signing_digest
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.keys import derive_keys
from p2pai.primitives.signed_message import sign_message, verify_message
from tests.chain.ledger import Chain

SECRET = derive_keys(b"\x05" * 32).spending
OWNER = ecdsa.key_hash(ecdsa.public_key(SECRET))
OTHER = ecdsa.key_hash(ecdsa.public_key(derive_keys(b"\x06" * 32).spending))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(TEXTS, TEXTS)
def test_a_signature_holds_for_its_text_alone(message, other):
    signature = sign_message(SECRET, message)
    verify_message(OWNER, message, signature)
    verify_message(OWNER, message, signature.upper())
    if other != message:
        with pytest.raises(InvalidInput, match="not of that message"):
            verify_message(OWNER, other, signature)
    with pytest.raises(InvalidInput, match="not by the key of that address"):
        verify_message(OTHER, message, signature)


def test_what_is_signed_is_tagged():
    data = bytes.fromhex(sign_message(SECRET, "hello"))
    ecdsa.verify(ecdsa.public_key(SECRET), tagged_hash("p2pai/message", b"hello"), data[33:])


def test_a_signature_of_a_transaction_is_none_of_a_message():
    """Nor the other way round: no message has a transaction's digest."""
    chain = Chain()
    tx = chain.fund(7)
    digest = signing_digest(tx, chain.state.chain)
    signature = (ecdsa.public_key(SECRET) + ecdsa.sign(SECRET, digest)).hex()
    for text in (tx.txid.hex(), digest.hex(), digest.decode("latin-1")):
        with pytest.raises(InvalidInput, match="not of that message"):
            verify_message(OWNER, text, signature)


def test_every_changed_digit_is_noticed():
    signature = sign_message(SECRET, "hello")
    for place in range(len(signature)):
        changed = "0" if signature[place] != "0" else "1"
        with pytest.raises(InvalidInput):
            verify_message(OWNER, "hello", signature[:place] + changed + signature[place + 1 :])


@pytest.mark.parametrize("signature", ["", "xyz", "00", "02" * 33, "ab" * 200, "é" * 20])
def test_what_is_no_signature_is_said(signature):
    with pytest.raises(InvalidInput, match="that is no signature"):
        verify_message(OWNER, "hello", signature)


@given(st.text(max_size=300))
def test_any_text_is_refused_cleanly(signature):
    with pytest.raises(InvalidInput):
        verify_message(OWNER, "hello", signature)


def test_text_without_bytes_is_refused():
    with pytest.raises(InvalidInput, match="UTF-8"):
        sign_message(SECRET, "\ud800")
