"""Secrets of 32 bytes sealed to an Ed25519 key, and complaints about them that anybody can judge.

Theory of operation: a sender draws one secret scalar r for all its receivers and publishes the point R = r *
B. With a receiver's key Y = x * B it shares the point K = r * Y = x * R, and K is hashed to a pad that hides
one secret. There is no authentication: who opens a secret holds it against public commitments, and a receiver
that finds it wrong reveals K with a proof in zero knowledge that K and Y have the same x (Chaum-Pedersen).
Then everyone opens the same secret and sees who lied. A revealed K opens what this one sender sealed to this
one receiver under this point, nothing else.

Two duties of the caller. One ephemeral secret seals one plain text only for each receiver, context and index.
And a receiver reveals x * R only for a point R whose sender has proven to know r: otherwise a sender could
set R to a point that a draw's input hashes to, and a complaint would tell it the receiver's draw.

Source: ETHDKG, ePrint 2019/985, section 4; Chaum and Pedersen, "Wallet Databases with Observers", 1992.
"""

from dataclasses import dataclass
from hashlib import sha512
from typing import Final

from p2pai.primitives import ed25519
from p2pai.primitives.ed25519 import multiply, multiply_base, subtract
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, VrfPublicKey

PROOF_SIZE: Final = 48
"""c 16, s 32."""

_CHALLENGE_SIZE: Final = 16
"""Half the group's size in bits, as in RFC 9381, section 5.5."""
_NONCE: Final = b"p2pai/sealing/nonce"


@dataclass(frozen=True, slots=True)
class Revealed:
    """The point that a sender and a receiver share, and the proof that it is this one."""

    shared: bytes
    proof: bytes


def seal(secret: bytes, receiver: VrfPublicKey, context: Hash32, index: int, plain: bytes) -> Hash32:
    """Seal 32 bytes to a receiver.

    Args:
      secret: the sender's ephemeral Ed25519 seed, of which `ed25519.public_key` is the public point.
      receiver: the receiver's key.
      context: names the sender and the occasion.
      index: the receiver's place, from 1.
      plain: what to seal, 32 bytes.

    Raises:
      InvalidProof: the receiver's key is not a point of the prime-order subgroup.
    """
    ed25519.check_point(receiver, "receiver's key")
    r, _ = ed25519.expand(secret)
    shared = multiply(r, receiver)
    return _mask(plain, shared, ed25519.public_key(secret), receiver, context, index)


def open_sealed(secret: bytes, point: VrfPublicKey, context: Hash32, index: int, sealed: Hash32) -> bytes:
    """Return what was sealed to the key of `secret`, 32 bytes; any 32 bytes open to something.

    Raises:
      InvalidProof: the sender's point is not one of the prime-order subgroup.
    """
    shared = _share(secret, point)
    return _mask(sealed, shared, point, ed25519.public_key(secret), context, index)


def reveal(secret: bytes, point: VrfPublicKey, context: Hash32) -> Revealed:
    """Return the point shared with a sender, and the proof of it; always the same bytes.

    Raises:
      InvalidProof: the sender's point is not one of the prime-order subgroup.
    """
    shared = _share(secret, point)
    x, prefix = ed25519.expand(secret)
    # 32 bytes follow the prefix in a draw's nonce and more in this one, so the two never have one input.
    k = ed25519.reduce(sha512(prefix + _NONCE + point + context).digest())
    key = ed25519.public_key(secret)
    c = _challenge(context, key, point, shared, multiply_base(k), multiply(k, point))
    s = ed25519.add_scalars(k, ed25519.multiply_scalars(_scalar(c), x))
    return Revealed(shared, c + s)


def open_revealed(
    receiver: VrfPublicKey,
    point: VrfPublicKey,
    revealed: Revealed,
    context: Hash32,
    index: int,
    sealed: Hash32,
) -> bytes:
    """Return what was sealed to `receiver`, 32 bytes, opened by what the receiver revealed.

    Raises:
      InvalidProof: a point that is none of the prime-order subgroup, or the proof does not hold.
    """
    _check_revealed(receiver, point, revealed, context)
    return _mask(sealed, revealed.shared, point, receiver, context, index)


def _check_revealed(key: VrfPublicKey, point: VrfPublicKey, revealed: Revealed, context: Hash32) -> None:
    shared, proof = revealed.shared, revealed.proof
    if len(proof) != PROOF_SIZE:
        raise InvalidProof(f"proof of a shared point has {len(proof)} bytes, not {PROOF_SIZE}")
    c, s = proof[:_CHALLENGE_SIZE], proof[_CHALLENGE_SIZE:]
    if not ed25519.is_reduced(s):
        raise InvalidProof("scalar of a shared point's proof is not reduced")
    for each, name in ((key, "receiver's key"), (point, "sender's point"), (shared, "shared point")):
        ed25519.check_point(each, name)
    u = subtract(multiply_base(s), multiply(_scalar(c), key))
    v = subtract(multiply(s, point), multiply(_scalar(c), shared))
    if _challenge(context, key, point, shared, u, v) != c:
        raise InvalidProof("proof of a shared point does not hold")


def _share(secret: bytes, point: VrfPublicKey) -> bytes:
    ed25519.check_point(point, "sender's point")
    x, _ = ed25519.expand(secret)
    return multiply(x, point)


def _mask(data: bytes, shared: bytes, point: bytes, key: bytes, context: Hash32, index: int) -> Hash32:
    assert len(data) == len(context) == ed25519.SECRET_SIZE, "a sealed secret and a context have 32 bytes"
    pad = tagged_hash("p2pai/sealing/pad", shared, point, key, context, index.to_bytes(4, "big"))
    return Hash32(bytes(a ^ b for a, b in zip(data, pad, strict=True)))


def _challenge(*parts: bytes) -> bytes:
    return tagged_hash("p2pai/sealing/challenge", *parts)[:_CHALLENGE_SIZE]


def _scalar(challenge: bytes) -> bytes:
    return challenge + bytes(ed25519.SCALAR_SIZE - _CHALLENGE_SIZE)
