"""The one door to PyNaCl: ECVRF-EDWARDS25519-SHA512-TAI, a verifiable random function.

For one key and one input `alpha` exactly one output `beta` can be proven. The holder of the key can't choose
it, and nobody else can predict it; the proof `pi` convinces everyone.

Theory of operation: H is a point hashed from (key, alpha); Gamma = x * H; (c, s) proves in zero knowledge
that Gamma and the key Y = x * B have the same x; beta is a hash of 8 * Gamma.

libsodium multiplies only points of the prime-order subgroup, and refuses to return the identity. So keys and
Gammas with a part of low order are refused here, where the RFC would accept some proofs with them; no honest
key or proof is among these. The subgroup is checked by an identity of our own, since libsodium before 1.0.21
took some outsiders (CVE-2025-69277) and nodes with different versions must agree.

Source: RFC 9381, sections 5.1 to 5.4 and 5.5 (suite 0x03).
"""

from hashlib import sha512
from typing import Final

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import VrfPublicKey

SECRET_SIZE: Final = 32
PROOF_SIZE: Final = 80
"""Gamma 32, c 16, s 32."""
OUTPUT_SIZE: Final = 64

_SUITE: Final = b"\x03"
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_INVERSE_OF_8: Final = pow(8, -1, _ORDER).to_bytes(32, "little")
_IDENTITY: Final = b"\x01" + bytes(31)
_CHALLENGE_SIZE: Final = 16
_POINT_SIZE: Final = 32


def public_key(secret: bytes) -> VrfPublicKey:
    """Return the public key of `secret`, a 32-byte Ed25519 seed."""
    x, _ = _expand(secret)
    return VrfPublicKey(bindings.crypto_scalarmult_ed25519_base_noclamp(x))


def prove(secret: bytes, alpha: bytes) -> bytes:
    """Return `pi`, the proof of this key's output for `alpha`, 80 bytes; always the same bytes."""
    x, prefix = _expand(secret)
    key = public_key(secret)
    h = _hash_to_curve(key, alpha)
    gamma = _multiply(x, h)
    k = bindings.crypto_core_ed25519_scalar_reduce(sha512(prefix + h).digest())
    c = _challenge(key, h, gamma, _multiply_base(k), _multiply(k, h))
    cx = bindings.crypto_core_ed25519_scalar_mul(_scalar(c), x)
    return gamma + c + bindings.crypto_core_ed25519_scalar_add(k, cx)


def verify(key: VrfPublicKey, alpha: bytes, pi: bytes) -> bytes:
    """Return `beta`, the 64-byte output that `pi` proves for `key` and `alpha`.

    Raises:
      InvalidProof: a malformed key or proof, a point outside the prime-order subgroup, or a proof of
        something else.
    """
    if len(pi) != PROOF_SIZE:
        raise InvalidProof(f"draw proof has {len(pi)} bytes, not {PROOF_SIZE}")
    gamma, c, s = pi[:32], pi[32:48], pi[48:]
    if int.from_bytes(s, "little") >= _ORDER:
        raise InvalidProof("draw proof's scalar is not reduced")
    _check_point(key, "draw key")
    _check_point(gamma, "draw proof's Gamma")
    h = _hash_to_curve(key, alpha)
    u = bindings.crypto_core_ed25519_sub(_multiply_base(s), _multiply(_scalar(c), key))
    v = bindings.crypto_core_ed25519_sub(_multiply(s, h), _multiply(_scalar(c), gamma))
    if _challenge(key, h, gamma, u, v) != c:
        raise InvalidProof("draw proof does not hold for this key and input")
    return output(pi)


def output(pi: bytes) -> bytes:
    """Return the output of a proof that `prove` made or `verify` accepted, 64 bytes."""
    gamma = pi[:_POINT_SIZE]
    return sha512(_SUITE + b"\x03" + _times_8(gamma) + b"\x00").digest()


def check_key(key: VrfPublicKey) -> None:
    """Check that `key` is a point that proofs can be verified against.

    Raises:
      InvalidProof: malformed, of low order, or outside the prime-order subgroup.
    """
    _check_point(key, "draw key")


def _expand(secret: bytes) -> tuple[bytes, bytes]:
    # The secret scalar, clamped, and the secret prefix of nonces. Source: RFC 8032, section 5.1.5.
    assert len(secret) == SECRET_SIZE, "not an Ed25519 seed"
    digest = bytearray(sha512(secret).digest())
    digest[0] &= 0xF8
    digest[31] = digest[31] & 0x7F | 0x40
    return bytes(digest[:32]), bytes(digest[32:])


def _hash_to_curve(key: bytes, alpha: bytes) -> bytes:
    # Try-and-increment; half of all strings are points, so 256 tries never fail.
    for counter in range(256):
        digest = sha512(_SUITE + b"\x01" + key + alpha + bytes([counter, 0])).digest()
        candidate = digest[:_POINT_SIZE]
        if not _is_reduced(candidate):
            continue
        try:
            point = _times_8(candidate)
        except SodiumError:
            continue
        if point != _IDENTITY:
            return point
    raise AssertionError("no point in 256 tries")


def _challenge(*points: bytes) -> bytes:
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:_CHALLENGE_SIZE]


def _check_point(point: bytes, name: str) -> None:
    # 8 * (P / 8) is P exactly when P has no part of low order, and its bytes are the canonical ones.
    if len(point) != _POINT_SIZE or not bindings.crypto_core_ed25519_is_valid_point(point):
        raise InvalidProof(f"{name} is not a point of the prime-order subgroup")
    if _times_8(_multiply(_INVERSE_OF_8, point)) != point:
        raise InvalidProof(f"{name} is not a point of the prime-order subgroup")


def _is_reduced(point: bytes) -> bool:
    # libsodium decodes y and y + p to the same point; the RFC refuses the latter.
    return int.from_bytes(point, "little") & (2**255 - 1) < 2**255 - 19


def _scalar(challenge: bytes) -> bytes:
    return challenge + bytes(32 - _CHALLENGE_SIZE)


def _multiply(scalar: bytes, point: bytes) -> bytes:
    # In the prime-order subgroup a reduced scalar gives the identity only when it is zero.
    return bindings.crypto_scalarmult_ed25519_noclamp(scalar, point) if any(scalar) else _IDENTITY


def _multiply_base(scalar: bytes) -> bytes:
    return bindings.crypto_scalarmult_ed25519_base_noclamp(scalar) if any(scalar) else _IDENTITY


def _times_8(point: bytes) -> bytes:
    for _ in range(3):
        point = bindings.crypto_core_ed25519_add(point, point)
    return point
