"""The one door to PyNaCl: the prime-order group of Ed25519.

Points are their canonical 32 bytes, scalars 32 bytes little-endian. A secret is an Ed25519 seed; its scalar
is clamped and need not be reduced.

libsodium multiplies only points of the prime-order subgroup, and refuses to return the identity; `multiply`
answers for the zero scalar itself. What comes from outside passes `check_point` first. The subgroup is
checked by an identity of our own, since libsodium before 1.0.21 took some outsiders (CVE-2025-69277) and
nodes with different versions must agree.

Source: RFC 8032, section 5.1; libsodium's documentation, "Finite field arithmetic".
"""

from hashlib import sha512
from typing import Final

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import VrfPublicKey

SECRET_SIZE: Final = 32
POINT_SIZE: Final = 32
SCALAR_SIZE: Final = 32

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""Order of the subgroup that the base point generates. Source: RFC 8032, section 5.1."""

IDENTITY: Final = b"\x01" + bytes(31)

_INVERSE_OF_8: Final = pow(8, -1, ORDER).to_bytes(SCALAR_SIZE, "little")
_FIELD: Final = 2**255 - 19


def expand(secret: bytes) -> tuple[bytes, bytes]:
    """Return a seed's clamped scalar and 32-byte prefix of nonces. Source: RFC 8032, section 5.1.5."""
    assert len(secret) == SECRET_SIZE, "not an Ed25519 seed"
    digest = bytearray(sha512(secret).digest())
    digest[0] &= 0xF8
    digest[31] = digest[31] & 0x7F | 0x40
    return bytes(digest[:32]), bytes(digest[32:])


def public_key(secret: bytes) -> VrfPublicKey:
    """Return the public key of `secret`, a 32-byte Ed25519 seed."""
    scalar, _ = expand(secret)
    return VrfPublicKey(bindings.crypto_scalarmult_ed25519_base_noclamp(scalar))


def check_point(point: bytes, name: str) -> None:
    """Check that `point` is the canonical form of a point of the prime-order subgroup, not the identity.

    Raises:
      InvalidProof: it is not; the message calls it `name`.
    """
    if not _is_point(point):
        raise InvalidProof(f"{name} is not a point of the prime-order subgroup")


def multiply(scalar: bytes, point: bytes) -> bytes:
    """Return scalar * point, for a point of the prime-order subgroup and a reduced or a clamped scalar."""
    # In the prime-order subgroup such a scalar gives the identity only when it is zero.
    return bindings.crypto_scalarmult_ed25519_noclamp(scalar, point) if any(scalar) else IDENTITY


def multiply_base(scalar: bytes) -> bytes:
    """Return scalar * B."""
    return bindings.crypto_scalarmult_ed25519_base_noclamp(scalar) if any(scalar) else IDENTITY


def add(a: bytes, b: bytes) -> bytes:
    """Return a + b, for any two points of the curve."""
    return bindings.crypto_core_ed25519_add(a, b)


def subtract(a: bytes, b: bytes) -> bytes:
    """Return a - b, for any two points of the curve."""
    return bindings.crypto_core_ed25519_sub(a, b)


def times_8(point: bytes) -> bytes:
    """Return 8 * point, for any point of the curve."""
    for _ in range(3):
        point = add(point, point)
    return point


def clear_cofactor(candidate: bytes) -> bytes | None:
    """Return 8 times the point that 32 bytes encode; None if they encode none, or one of low order."""
    # libsodium decodes y and y + p to the same point; the RFC refuses the latter.
    if int.from_bytes(candidate, "little") & (2**255 - 1) >= _FIELD:
        return None
    try:
        point = times_8(candidate)
    except SodiumError:
        return None
    return None if point == IDENTITY else point


def is_reduced(scalar: bytes) -> bool:
    """Return whether a scalar is below the group's order."""
    return int.from_bytes(scalar, "little") < ORDER


def reduce(digest: bytes) -> bytes:
    """Return a 64-byte number modulo the group's order."""
    return bindings.crypto_core_ed25519_scalar_reduce(digest)


def add_scalars(a: bytes, b: bytes) -> bytes:
    """Return a + b modulo the group's order."""
    return bindings.crypto_core_ed25519_scalar_add(a, b)


def multiply_scalars(a: bytes, b: bytes) -> bytes:
    """Return a * b modulo the group's order."""
    return bindings.crypto_core_ed25519_scalar_mul(a, b)


def _is_point(point: bytes) -> bool:
    # 8 * (P / 8) is P exactly when P has no part of low order, and its bytes are the canonical ones.
    if len(point) != POINT_SIZE or point == IDENTITY:
        return False
    if not bindings.crypto_core_ed25519_is_valid_point(point):
        return False
    return times_8(multiply(_INVERSE_OF_8, point)) == point
