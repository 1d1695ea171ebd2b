"""Secrets shared among n members: polynomials over the scalars of BLS12-381, and what t members do together.

Theory of operation: a dealer hides its secret as f(0) of a polynomial with t random coefficients, commits to
each coefficient a_k by a_k * G, and gives f(i) to member i, from 1 to n. Commitments are added like secrets,
so anybody can compute f(i) * G and check a share. The sum of several dealers' polynomials has a secret that
no dealer knows; any t members' shares or signatures give that of the secret by Lagrange's interpolation at 0.

Resharing: members i of an old committee deal polynomials with their old shares as f(0). Weighted by the
Lagrange coefficients of the dealers, the polynomials add up to one with the old secret and fresh shares.

A Lagrange coefficient is a fraction of small numbers. Points are multiplied by small numerators over a common
denominator, so one long multiplication remains, and none at all if the members are 1 to t.

Shares and coefficients are multiplied as Python integers, whose time may depend on their values; a member
computes with its own, once per key generation.

Source: Pedersen, "A Threshold Cryptosystem without a Trusted Party", 1991 (Joint-Feldman); ETHDKG, ePrint
2019/985, section 4; Boldyreva, ePrint 2002/118 (threshold BLS).
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import lcm, prod
from typing import Final

from p2pai.primitives import bls
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsPublicKey, BlsSignature
from p2pai.primitives.keys import BLS_ORDER

SEED_SIZE: Final = 32
SHARE_SIZE: Final = 32

Polynomial = tuple[int, ...]
"""Coefficients modulo BLS_ORDER, the constant first."""


def polynomial(seed: bytes, threshold: int, constant: bytes | None = None) -> Polynomial:
    """Return the polynomial that follows from a secret seed, always the same.

    Args:
      seed: 32 secret bytes, for one polynomial.
      threshold: how many coefficients it has, and how many shares give its secret.
      constant: the secret to share, a nonzero scalar, 32 bytes big-endian; left out, it comes from the seed.
    """
    assert len(seed) == SEED_SIZE, "a seed has 32 bytes"
    assert threshold >= 1, "nobody could sign"
    drawn = [_coefficient(seed, place) for place in range(threshold)]
    return tuple(drawn if constant is None else [_scalar(constant), *drawn[1:]])


def commitments(coefficients: Polynomial) -> tuple[BlsPublicKey, ...]:
    """Return a commitment to each coefficient, the constant's first."""
    return tuple(bls.public_key(_bytes(coefficient)) for coefficient in coefficients)


def secret(coefficients: Polynomial) -> bytes:
    """Return the secret that a polynomial shares, 32 bytes."""
    return _bytes(coefficients[0])


def share(coefficients: Polynomial, index: int) -> bytes:
    """Return the share of a member, 32 bytes; indices count from 1, for the secret is at 0."""
    assert index >= 1, "indices count from 1"
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * index + coefficient) % BLS_ORDER
    return _bytes(total)


def is_share(data: bytes, commitment: Sequence[BlsPublicKey], index: int) -> bool:
    """Return whether 32 bytes are the share that a dealer committed to for a member.

    A share of zero is none, whatever the commitments: its owner could not sign.

    Raises:
      InvalidProof: a commitment is malformed or infinity.
    """
    if not 0 < int.from_bytes(data, "big") < BLS_ORDER:
        return False
    return (bls.public_key(data),) == bls.evaluate([commitment], [1], [index])


def combine_shares(shares: Mapping[int, bytes], *, renewed: bool) -> bytes:
    """Return a member's share of the sum of several dealers' secrets, 32 bytes.

    Args:
      shares: the share from each dealer, by the dealer's index.
      renewed: the dealers reshared: weigh by the Lagrange coefficients of their indices.
    """
    weights = lagrange(shares) if renewed else dict.fromkeys(shares, 1)
    return _bytes(sum(weights[i] * _scalar(data) for i, data in shares.items()) % BLS_ORDER)


def combine_commitments(
    dealt: Mapping[int, Sequence[BlsPublicKey]], places: Sequence[int], *, renewed: bool
) -> tuple[BlsPublicKey, ...]:
    """Return the public keys of the sum of several dealers' secrets: at 0 the group's, at i that of member i.

    Args:
      dealt: commitments of each dealer, by the dealer's index; all of one length.
      places: where to evaluate.
      renewed: the dealers reshared: weigh by the Lagrange coefficients of their indices.

    Raises:
      InvalidProof: a commitment is malformed or infinity.
    """
    numerators, denominator = _fractions(dealt) if renewed else (dict.fromkeys(dealt, 1), 1)
    weights = [numerators[i] for i in dealt]
    return bls.evaluate(list(dealt.values()), weights, places, scale=_inverse(denominator))


def combine_signatures(signatures: Mapping[int, BlsSignature]) -> BlsSignature:
    """Return the group's signature, from those of t members with their shares, by the members' indices.

    The same bytes for every t members. One false signature among them spoils the whole: check it against
    the group's key, or each before.

    Raises:
      InvalidProof: a signature is malformed or infinity, or their sum is.
    """
    numerators, denominator = _fractions(signatures)
    weights = [numerators[i] for i in signatures]
    return bls.combine(list(signatures.values()), weights, scale=_inverse(denominator))


def lagrange(indices: Iterable[int]) -> dict[int, int]:
    """Return the weight of each member's share in the secret, modulo BLS_ORDER."""
    numerators, denominator = _fractions(indices)
    inverse = _inverse(denominator)
    return {index: numerator * inverse % BLS_ORDER for index, numerator in numerators.items()}


def _fractions(indices: Iterable[int]) -> tuple[dict[int, int], int]:
    """Return the Lagrange coefficients at 0, numerators over the least common denominator."""
    chosen = sorted(indices)
    assert chosen, "nothing to interpolate"
    assert chosen[0] >= 1, "indices count from 1"
    assert all(a < b for a, b in pairwise(chosen)), "a member stands twice"
    exact = {i: _coefficient_at_0(i, [j for j in chosen if j != i]) for i in chosen}
    denominator = lcm(*(fraction.denominator for fraction in exact.values()))
    return {i: (fraction * denominator).numerator for i, fraction in exact.items()}, denominator


def _coefficient_at_0(index: int, others: Sequence[int]) -> Fraction:
    return Fraction(prod(others), prod(other - index for other in others))


def _inverse(denominator: int) -> int:
    return pow(denominator, -1, BLS_ORDER)


def _coefficient(seed: bytes, place: int) -> int:
    counter = 0
    while True:
        digest = tagged_hash(
            "p2pai/dkg/coefficient", seed, place.to_bytes(4, "big"), counter.to_bytes(4, "big")
        )
        if 0 < int.from_bytes(digest, "big") < BLS_ORDER:
            return int.from_bytes(digest, "big")
        counter += 1


def _scalar(data: bytes) -> int:
    value = int.from_bytes(data, "big")
    assert len(data) == SHARE_SIZE, "a scalar has 32 bytes"
    assert value < BLS_ORDER, "a scalar is below the group's order"
    return value


def _bytes(scalar: int) -> bytes:
    return scalar.to_bytes(SHARE_SIZE, "big")
