"""ECVRF-EDWARDS25519-SHA512-TAI, a verifiable random function.

For one key and one input `alpha` exactly one output `beta` can be proven. The holder of the key can't choose
it, and nobody else can predict it; the proof `pi` convinces everyone.

Theory of operation: H is a point hashed from (key, alpha); Gamma = x * H; (c, s) proves in zero knowledge
that Gamma and the key Y = x * B have the same x; beta is a hash of 8 * Gamma.

Keys and Gammas with a part of low order are refused here, where the RFC would accept some proofs with them;
no honest key or proof is among these.

Source: RFC 9381, sections 5.1 to 5.4 and 5.5 (suite 0x03).
"""

from hashlib import sha512
from typing import Final

from p2pai.primitives import ed25519
from p2pai.primitives.ed25519 import multiply, multiply_base, subtract
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import VrfPublicKey
from p2pai.primitives.memo import pure

PROOF_SIZE: Final = 80
"""Gamma 32, c 16, s 32."""
OUTPUT_SIZE: Final = 64

_SUITE: Final = b"\x03"
_CHALLENGE_SIZE: Final = 16


def public_key(secret: bytes) -> VrfPublicKey:
    """Return the public key of `secret`, a 32-byte Ed25519 seed."""
    return ed25519.public_key(secret)


@pure()
def prove(secret: bytes, alpha: bytes) -> bytes:
    """Return `pi`, the proof of this key's output for `alpha`, 80 bytes; always the same bytes."""
    x, prefix = ed25519.expand(secret)
    key = public_key(secret)
    h = _hash_to_curve(key, alpha)
    gamma = multiply(x, h)
    k = ed25519.reduce(sha512(prefix + h).digest())
    c = _challenge(key, h, gamma, multiply_base(k), multiply(k, h))
    return gamma + c + ed25519.add_scalars(k, ed25519.multiply_scalars(_scalar(c), x))


@pure()
def verify(key: VrfPublicKey, alpha: bytes, pi: bytes) -> bytes:
    """Return `beta`, the 64-byte output that `pi` proves for `key` and `alpha`.

    Raises:
      InvalidProof: a malformed key or proof, a point outside the prime-order subgroup, or a proof of
        something else.
    """
    if len(pi) != PROOF_SIZE:
        raise InvalidProof(f"draw proof has {len(pi)} bytes, not {PROOF_SIZE}")
    gamma, c, s = pi[:32], pi[32:48], pi[48:]
    if not ed25519.is_reduced(s):
        raise InvalidProof("draw proof's scalar is not reduced")
    check_key(key)
    ed25519.check_point(gamma, "draw proof's Gamma")
    h = _hash_to_curve(key, alpha)
    u = subtract(multiply_base(s), multiply(_scalar(c), key))
    v = subtract(multiply(s, h), multiply(_scalar(c), gamma))
    if _challenge(key, h, gamma, u, v) != c:
        raise InvalidProof("draw proof does not hold for this key and input")
    return output(pi)


def output(pi: bytes) -> bytes:
    """Return the output of a proof that `prove` made or `verify` accepted, 64 bytes."""
    gamma = pi[: ed25519.POINT_SIZE]
    return sha512(_SUITE + b"\x03" + ed25519.times_8(gamma) + b"\x00").digest()


@pure()
def check_key(key: VrfPublicKey) -> None:
    """Check that `key` is a point that proofs can be verified against.

    Raises:
      InvalidProof: malformed, of low order, or outside the prime-order subgroup.
    """
    ed25519.check_point(key, "draw key")


def _hash_to_curve(key: bytes, alpha: bytes) -> bytes:
    # Try-and-increment; half of all strings are points, so 256 tries never fail.
    for counter in range(256):
        digest = sha512(_SUITE + b"\x01" + key + alpha + bytes([counter, 0])).digest()
        point = ed25519.clear_cofactor(digest[: ed25519.POINT_SIZE])
        if point is not None:
            return point
    raise AssertionError("no point in 256 tries")


def _challenge(*points: bytes) -> bytes:
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:_CHALLENGE_SIZE]


def _scalar(challenge: bytes) -> bytes:
    return challenge + bytes(ed25519.SCALAR_SIZE - _CHALLENGE_SIZE)
