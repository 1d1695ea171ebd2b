"""ECDSA: deterministic signatures, and that nobody without the key can write one in a second way."""

from hashlib import sha256

import coincurve
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.hashing import tagged_hash

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRET = bytes(31) + b"\x07"
KEY = ecdsa.public_key(SECRET)
DIGEST = sha256(b"a message").digest()
SIGNATURE = ecdsa.sign(SECRET, DIGEST)

# RFC 6979 nonces over secp256k1 with SHA-256; secret, message, r || low s.
# Source: Bitcoin Core, src/test/key_tests.cpp and the trezor-crypto tests.
DETERMINISTIC = [
    (
        1,
        b"Satoshi Nakamoto",
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
        "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
    ),
    (
        1,
        b"All those moments will be lost in time, like tears in rain. Time to die...",
        "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b"
        "547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
    ),
    (
        ORDER - 1,
        b"Satoshi Nakamoto",
        "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0"
        "6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
    ),
]


def integer(value):
    raw = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(raw)]) + raw


def der(r, s):
    body = integer(r) + integer(s)
    return b"\x30" + bytes([len(body)]) + body


def parts(signature):
    length = signature[3]
    r, rest = signature[4 : 4 + length], signature[4 + length :]
    return int.from_bytes(r, "big"), int.from_bytes(rest[2:], "big")


@pytest.mark.parametrize(("secret", "message", "expected"), DETERMINISTIC)
def test_published_deterministic_signatures(secret, message, expected):
    key = secret.to_bytes(32, "big")
    signature = ecdsa.sign(key, sha256(message).digest())
    r, s = parts(signature)
    assert (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex() == expected
    ecdsa.verify(ecdsa.public_key(key), sha256(message).digest(), signature)


def test_public_key_of_one_is_the_generator():
    # Source: SEC 2, section 2.4.1.
    generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    assert ecdsa.public_key(bytes(31) + b"\x01").hex() == generator


def test_key_hash_is_the_start_of_a_tagged_hash():
    assert ecdsa.key_hash(KEY) == tagged_hash("p2pai/key", KEY)[:20]


@given(st.integers(1, ORDER - 1), st.binary(min_size=32, max_size=32))
def test_what_is_signed_verifies_and_is_canonical(secret, digest):
    key = secret.to_bytes(32, "big")
    signature = ecdsa.sign(key, digest)
    ecdsa.verify(ecdsa.public_key(key), digest, signature)
    r, s = parts(signature)
    assert s <= ORDER // 2
    assert signature == der(r, s)
    assert len(signature) <= ecdsa.SIGNATURE_SIZE_MAX


def test_a_high_s_is_refused():
    r, s = parts(SIGNATURE)
    with pytest.raises(InvalidProof):
        ecdsa.verify(KEY, DIGEST, der(r, ORDER - s))


@pytest.mark.parametrize("bit", range(len(SIGNATURE) * 8))
def test_every_changed_bit_of_a_signature_is_refused(bit):
    changed = (int.from_bytes(SIGNATURE, "big") ^ (1 << bit)).to_bytes(len(SIGNATURE), "big")
    with pytest.raises(InvalidProof):
        ecdsa.verify(KEY, DIGEST, changed)


def odd_forms():
    r, s = parts(SIGNATURE)
    body = SIGNATURE[2:]
    negative = b"\x02\x20\x80" + r.to_bytes(32, "big")[1:] + integer(s)
    padded = b"\x02" + bytes([SIGNATURE[3] + 1]) + b"\x00" + SIGNATURE[4:]
    return {
        "empty": b"",
        "trailing byte": SIGNATURE + b"\x00",
        "trailing byte counted": b"\x30" + bytes([len(body) + 1]) + body + b"\x00",
        "truncated": SIGNATURE[:-1],
        "long form length": b"\x30\x81" + bytes([len(body)]) + body,
        "indefinite length": b"\x30\x80" + body + b"\x00\x00",
        "padded r": b"\x30" + bytes([len(padded)]) + padded,
        "zero r": der(0, s),
        "zero s": der(r, 0),
        "r of the order": der(ORDER, s),
        "r plus the order": der(r + ORDER, s),
        "s plus the order": der(r, s + ORDER),
        "compact": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "compact and a tag": r.to_bytes(32, "big") + s.to_bytes(32, "big") + b"\x01",
        "very long": SIGNATURE + bytes(1 << 16),
        "negative r": b"\x30" + bytes([len(negative)]) + negative,
    }


@pytest.mark.parametrize("name", odd_forms())
def test_another_form_of_a_signature_is_refused(name):
    assert odd_forms()[name] != SIGNATURE
    with pytest.raises(InvalidProof):
        ecdsa.verify(KEY, DIGEST, odd_forms()[name])


@pytest.mark.parametrize("name", ["zero r", "zero s"])
def test_zero_is_no_part_of_a_signature(name):
    with pytest.raises(InvalidProof, match="does not match"):
        ecdsa.verify(KEY, DIGEST, odd_forms()[name])


@pytest.mark.parametrize("name", ["r of the order", "r plus the order", "s plus the order", "negative r"])
def test_a_number_beyond_the_order_is_refused_as_such(name):
    with pytest.raises(InvalidProof, match="canonical"):
        ecdsa.verify(KEY, DIGEST, odd_forms()[name])


@pytest.mark.parametrize("tag", [4, 6])
def test_the_long_forms_of_the_right_key_are_refused(tag):
    point = coincurve.PublicKey(KEY).format(compressed=False)
    key = bytes([tag if tag == 4 else 6 + point[-1] % 2]) + point[1:]
    assert coincurve.PublicKey(key).format() == KEY
    with pytest.raises(InvalidProof, match="65 bytes"):
        ecdsa.verify(key, DIGEST, SIGNATURE)


@given(st.binary(max_size=80))
def test_any_bytes_are_no_signature(data):
    with pytest.raises(InvalidProof):
        ecdsa.verify(KEY, DIGEST, data)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        KEY[:-1],
        KEY + b"\x00",
        bytes(33),
        b"\x05" + KEY[1:],
        b"\x04" + KEY[1:],
        b"\x02" + b"\xff" * 32,
        b"\x02" + bytes(31) + b"\x05",
        bytes.fromhex(
            "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
            "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
        ),
        ecdsa.public_key(bytes(31) + b"\x08"),
        bytes([KEY[0] ^ 1]) + KEY[1:],
    ],
    ids=[
        "empty",
        "short",
        "long",
        "zero",
        "bad tag",
        "uncompressed tag",
        "above p",
        "off curve",
        "uncompressed",
        "another",
        "negated",
    ],
)
def test_malformed_and_other_keys_are_refused(key):
    with pytest.raises(InvalidProof):
        ecdsa.verify(key, DIGEST, SIGNATURE)


def test_a_signature_is_for_one_digest():
    with pytest.raises(InvalidProof):
        ecdsa.verify(KEY, sha256(b"another").digest(), SIGNATURE)


@pytest.mark.parametrize("secret", [b"", bytes(32), SECRET[1:], SECRET + b"\x00", ORDER.to_bytes(32, "big")])
def test_a_bad_secret_is_our_own_fault(secret):
    with pytest.raises(AssertionError):
        ecdsa.sign(secret, DIGEST)
    with pytest.raises(AssertionError):
        ecdsa.public_key(secret)


def test_a_message_that_is_no_digest_is_our_own_fault():
    with pytest.raises(AssertionError):
        ecdsa.sign(SECRET, b"message")
    with pytest.raises(AssertionError):
        ecdsa.verify(KEY, b"message", SIGNATURE)
