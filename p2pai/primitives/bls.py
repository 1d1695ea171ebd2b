"""The one door to blspy: four guards the library lacks.

blspy 2.0.3 agrees with the published vectors except at four edges, where it
answers instead of refusing.  Each guard below closes one of them:

* an empty aggregate of signatures,
* an empty list of signers with the signature at infinity,
* a public key at infinity among the signers,
* a secret key of zero.

An aggregate over one message proves nothing about a key whose owner may have
computed it from the others' keys; a proof of possession, checked once when the
key is registered, excludes that.

Threshold signatures need sums of multiples of points, and the library has no
scalar multiplication.  Here it is doubling and adding over `+`, whose time
tells the scalar: for public numbers alone.  A secret becomes a point only by
`PrivateKey.get_g1()` and by signing.

Scheme: BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_, keys in G1.
Source: draft-irtf-cfrg-bls-signature, sections 2 and 3.3.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeVar

from blspy import G1Element, G2Element, PopSchemeMPL, PrivateKey

from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsPublicKey, BlsSignature
from p2pai.primitives.memo import know, pure

_SUITE = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
"""Separates the hashes of messages to points from those of other schemes."""
_FACTOR_SIZE = 16
"""Bytes of a factor in a check of many sums."""
POSSESSIONS_MAX: Final = 4096
"""Proofs of possession remembered."""

_INFINITY_PUBLIC_KEY = bytes([0xC0]) + bytes(47)
_INFINITY_SIGNATURE = bytes([0xC0]) + bytes(95)

Point = TypeVar("Point", G1Element, G2Element)


def check_key(key: BlsPublicKey) -> None:
    """Check that `key` is a point that signatures can be verified against.

    Raises:
      InvalidProof: malformed, outside the prime-order subgroup, or infinity.
    """
    _g1(key)


def _know_signed(signature: BlsSignature, secret_key: bytes, message: bytes) -> None:
    """Verify nothing that was signed here."""
    know(verify, None, public_key(secret_key), message, signature)


@pure(then=_know_signed)
def sign(secret_key: bytes, message: bytes) -> BlsSignature:
    """Sign `message`; the signature is unique for the key and the message."""
    return BlsSignature(bytes(PopSchemeMPL.sign(_secret(secret_key), message)))


@pure()
def public_key(secret_key: bytes) -> BlsPublicKey:
    """Return the public key of `secret_key`, a 32-byte big-endian scalar."""
    return BlsPublicKey(bytes(_secret(secret_key).get_g1()))


@pure()
def verify(key: BlsPublicKey, message: bytes, signature: BlsSignature) -> None:
    """Check one signature.

    Raises:
      InvalidProof: the key or signature is malformed, or does not match.
    """
    if not PopSchemeMPL.verify(_g1(key), message, _g2(signature)):
        raise InvalidProof("signature does not match")


def prove_possession(secret_key: bytes) -> BlsSignature:
    """Return the proof that the owner of the public key knows `secret_key`."""
    return BlsSignature(bytes(PopSchemeMPL.pop_prove(_secret(secret_key))))


@lru_cache(POSSESSIONS_MAX)
def verify_possession(key: BlsPublicKey, proof: BlsSignature) -> None:
    """Check a proof of possession; to be done before `key` is put into any aggregate.

    One that held is remembered for a while: what buys tickets is applied again with every block until it is
    in one, and a pairing takes milliseconds.

    Raises:
      InvalidProof: the key or the proof is malformed, or the proof is not of this key.
    """
    if not PopSchemeMPL.pop_verify(_g1(key), _g2(proof)):
        raise InvalidProof("proof of possession does not match the key")


@pure(lambda signatures: tuple(signatures))
def aggregate(signatures: Sequence[BlsSignature]) -> BlsSignature:
    """Combine signatures into one."""
    if not signatures:
        raise InvalidProof("nothing to aggregate")
    return BlsSignature(bytes(PopSchemeMPL.aggregate([_g2(s) for s in signatures])))


@pure(lambda keys, message, signature: (tuple(keys), message, signature))
def verify_same_message(keys: Sequence[BlsPublicKey], message: bytes, signature: BlsSignature) -> None:
    """Check that every key signed `message`; the caller has checked each proof of possession."""
    if not keys:
        raise InvalidProof("no signers")
    if not PopSchemeMPL.fast_aggregate_verify([_g1(k) for k in keys], message, _g2(signature)):
        raise InvalidProof("aggregate signature does not match")


@pure(lambda keys, messages, signature: (tuple(keys), tuple(messages), signature))
def verify_each_message(
    keys: Sequence[BlsPublicKey], messages: Sequence[bytes], signature: BlsSignature
) -> None:
    """Check that each key signed its own message."""
    if not keys or len(keys) != len(messages):
        raise InvalidProof("signers and messages do not pair up")
    points = [_g1(k) for k in keys]
    if not PopSchemeMPL.aggregate_verify(points, list(messages), _g2(signature)):
        raise InvalidProof("aggregate signature does not match")


@pure(lambda key, messages, signature: (key, tuple(messages), signature))
def verify_sum(key: BlsPublicKey, messages: Sequence[bytes], signature: BlsSignature) -> None:
    """Check that one key signed all of `messages`, where `signature` is the sum of the signatures.

    Raises:
      InvalidProof: a malformed part, no messages, or the sum does not match.
    """
    _check_sum(_g1(key), _hash_sum(messages), _g2(signature))


def verify_sums(key: BlsPublicKey, sums: Sequence[tuple[Sequence[bytes], BlsSignature]]) -> None:
    """Check that `verify_sum` accepts each of many sums of one key, for the price of little more than one.

    Signatures that are wrong alone must not make up for each other, so each sum counts times a factor of 128
    bits that depends on all of them: who wants them to cancel out can only try, with 2^-128 each time.

    Raises:
      InvalidProof: a malformed part, or at least one sum does not match.
    """
    if not sums:
        raise InvalidProof("no signatures")
    transcript = tagged_hash("p2pai/sums", key, *(part for messages, s in sums for part in (*messages, s)))
    factors = [
        int.from_bytes(
            tagged_hash("p2pai/sums-factor", transcript, i.to_bytes(8, "big"))[:_FACTOR_SIZE], "big"
        )
        for i in range(len(sums))
    ]
    hashes = _weigh([_hash_sum(messages) for messages, _ in sums], factors, G2Element())
    signatures = _weigh([_g2(signature) for _, signature in sums], factors, G2Element())
    _check_sum(_g1(key), hashes, signatures)


def _hash_sum(messages: Sequence[bytes]) -> G2Element:
    if not messages:
        raise InvalidProof("nothing was signed")
    total = G2Element()
    for message in messages:
        total = total + G2Element.from_message(message, _SUITE)
    return total


def _check_sum(key: G1Element, hashes: G2Element, signatures: G2Element) -> None:
    if key.pair(hashes) != G1Element.generator().pair(signatures):
        raise InvalidProof("signature does not match")


def evaluate(
    polynomials: Sequence[Sequence[BlsPublicKey]],
    weights: Sequence[int],
    places: Sequence[int],
    *,
    scale: int = 1,
) -> tuple[BlsPublicKey, ...]:
    """Evaluate a weighted sum of polynomials in the exponent: scale * sum of weight * f(place), times G.

    Args:
      polynomials: commitments to the coefficients of each f, the constant first; all of one length.
      weights: one public integer for each polynomial, of either sign; small ones are fast.
      places: public integers from 0; small ones are fast.
      scale: a public factor of the whole, not negative.

    Returns:
      One point for each place. A value of zero gives infinity, under which no signature verifies.

    Raises:
      InvalidProof: a commitment is malformed or infinity.
    """
    parsed = [[_g1(key) for key in polynomial] for polynomial in polynomials]
    columns = zip(*parsed, strict=True)
    coefficients = [_combine(column, weights, scale, G1Element()) for column in columns]
    return tuple(BlsPublicKey(bytes(_horner(coefficients, place))) for place in places)


@pure(lambda signatures, weights, *, scale=1: (tuple(signatures), tuple(weights), scale))
def combine(signatures: Sequence[BlsSignature], weights: Sequence[int], *, scale: int = 1) -> BlsSignature:
    """Return scale * sum of weight * signature.

    Args:
      signatures: at least one.
      weights: one public integer for each signature, of either sign; small ones are fast.
      scale: a public factor of the whole, not negative.

    Raises:
      InvalidProof: a signature is malformed or infinity, or the sum is.
    """
    if any(signature == _INFINITY_SIGNATURE for signature in signatures):
        raise InvalidProof("signature is the point at infinity")
    total = bytes(_combine([_g2(s) for s in signatures], weights, scale, G2Element()))
    if total == _INFINITY_SIGNATURE:
        raise InvalidProof("signatures sum to the point at infinity")
    return BlsSignature(total)


def _combine(points: Sequence[Point], weights: Sequence[int], scale: int, infinity: Point) -> Point:
    total = _weigh(points, weights, infinity)
    return total if scale == 1 else _weigh([total], [scale], infinity)


def _weigh(points: Sequence[Point], weights: Sequence[int], infinity: Point) -> Point:
    # All points share the doublings (Straus), so a point costs half as many additions as its weight has bits.
    assert points, "nothing to combine"
    terms = [(p.negate(), -w) if w < 0 else (p, w) for p, w in zip(points, weights, strict=True)]
    total = infinity
    for bit in reversed(range(max(weight.bit_length() for _, weight in terms))):
        total = total + total
        for point, weight in terms:
            if weight >> bit & 1:
                total = total + point
    return total


def _horner(coefficients: Sequence[G1Element], place: int) -> G1Element:
    total = G1Element()
    for coefficient in reversed(coefficients):
        total = _weigh([total], [place], G1Element()) + coefficient
    return total


@pure()
def _secret(secret_key: bytes) -> PrivateKey:
    assert any(secret_key), "secret key is zero"
    try:
        return PrivateKey.from_bytes(secret_key)
    except ValueError as error:
        raise AssertionError("secret key is not a scalar of 32 bytes") from error


@pure()
def _g1(key: BlsPublicKey) -> G1Element:
    if key == _INFINITY_PUBLIC_KEY:
        raise InvalidProof("public key is the point at infinity")
    try:
        return G1Element.from_bytes(key)
    except ValueError as error:
        raise InvalidProof("malformed public key") from error


@pure()
def _g2(signature: BlsSignature) -> G2Element:
    try:
        return G2Element.from_bytes(signature)
    except ValueError as error:
        raise InvalidProof("malformed signature") from error
