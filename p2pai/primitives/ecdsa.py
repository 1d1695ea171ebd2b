"""The one door to coincurve: ECDSA over secp256k1, one signature for one key and digest.

libsecp256k1 refuses a high S when it verifies, but it reads an r or s beyond the group's order as zero, and
takes keys of 65 bytes as well. Here one point has one key, and a signature must be exactly the bytes that
encoding its (r, s) gives, so nobody can change a signed message's bytes without the key.

Signatures are deterministic (RFC 6979, SHA-256), low-S, DER. Keys are compressed points, 33 bytes.
Source: SEC 1 version 2.0; RFC 6979; BIP-66 (strict DER); BIP-146 (low S).
"""

from typing import Final

import coincurve
from coincurve.ecdsa import cdata_to_der, der_to_cdata

from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import HASH_SIZE, Hash32, KeyHash, PublicKey
from p2pai.primitives.memo import know, pure

SECRET_SIZE: Final = 32
PUBLIC_KEY_SIZE: Final = 33
SIGNATURE_SIZE_MAX: Final = 71
"""Bytes of a DER signature with a low S: 6 of framing, 33 for r, 32 for s."""

_KEY_HASH_SIZE: Final = 20
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pure()
def public_key(secret: bytes) -> PublicKey:
    """Return the public key of `secret`, a 32-byte big-endian scalar in [1, order)."""
    return PublicKey(_secret(secret).public_key.format(compressed=True))


def _know_signed(signature: bytes, secret: bytes, digest: Hash32) -> None:
    """Verify nothing that was signed here."""
    know(verify, None, public_key(secret), digest, signature)


@pure(then=_know_signed)
def sign(secret: bytes, digest: Hash32) -> bytes:
    """Sign a digest; DER, low S, the same bytes each time."""
    assert len(digest) == HASH_SIZE, "not a digest"
    return _secret(secret).sign(digest, hasher=None)


@pure()
def verify(key: PublicKey, digest: Hash32, signature: bytes) -> None:
    """Check one signature.

    Raises:
      InvalidProof: the key or the signature is malformed, the signature is not in its one canonical form, or
        it does not match.
    """
    assert len(digest) == HASH_SIZE, "not a digest"
    point = _point(key)
    _check_canonical(signature)
    if not point.verify(signature, digest, hasher=None):
        raise InvalidProof("signature does not match")


@pure()
def key_hash(key: PublicKey) -> KeyHash:
    """Return what an output names instead of the key."""
    return KeyHash(tagged_hash("p2pai/key", key)[:_KEY_HASH_SIZE])


@pure()
def _secret(secret: bytes) -> coincurve.PrivateKey:
    # coincurve pads short secrets with zeros; a short secret is a bug of ours.
    assert len(secret) == SECRET_SIZE, "secret key does not have 32 bytes"
    assert 0 < int.from_bytes(secret, "big") < _ORDER, "secret key is out of range"
    return coincurve.PrivateKey(secret)


def _point(key: PublicKey) -> coincurve.PublicKey:
    # coincurve also reads the 65-byte forms; one point has one key here.
    if len(key) != PUBLIC_KEY_SIZE:
        raise InvalidProof(f"public key has {len(key)} bytes, not {PUBLIC_KEY_SIZE}")
    try:
        return coincurve.PublicKey(key)
    except ValueError as error:
        raise InvalidProof("malformed public key") from error


def _check_canonical(signature: bytes) -> None:
    # An r or s beyond the group's order is read as zero, hence it does not survive the round trip either.
    try:
        canonical = cdata_to_der(der_to_cdata(signature))
    except ValueError as error:
        raise InvalidProof("signature is not strict DER") from error
    if canonical != signature:
        raise InvalidProof("signature is not in canonical form")
