"""The three secret keys of an account, and how they follow from seeds.

A seed is hashed under a tag of its own for each key, so that no key says anything about another. Accounts
that a chain spec publishes have one seed for all three; a wallet's accounts have a seed for each
(primitives/mnemonic.py). The scalars (spending, BLS) are drawn by rejection: a digest that is zero or not
below the group's order is discarded and the next counter is tried, so every scalar is equally likely. BLS
needs this more than half of the time (its order is 0.45 x 2^256), secp256k1 practically never.

Source: PROTOCOL section 2; RELIABILITY (5), "separate keys".
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash

SEED_SIZE: Final = 32
KEY_SIZE: Final = 32

SPENDING_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of secp256k1. Source: SEC 2, section 2.4.1."""

BLS_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""Order of the groups of BLS12-381. Source: draft-irtf-cfrg-pairing-friendly-curves, section 4.2.1."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Secret keys, 32 bytes each; they never show in a representation.

    Raises:
      InvalidInput: a key of the wrong size, or a scalar that is zero or not below its group's order.
    """

    spending: bytes = field(repr=False)
    """secp256k1 scalar, big-endian: signs transactions and off-chain messages."""
    vrf: bytes = field(repr=False)
    """Ed25519 seed: draws."""
    bls: bytes = field(repr=False)
    """BLS12-381 scalar, big-endian: the supervisors' committee."""

    def __post_init__(self) -> None:
        """Refuse what no curve accepts."""
        if any(len(key) != KEY_SIZE for key in (self.spending, self.vrf, self.bls)):
            raise InvalidInput("a secret key has 32 bytes")
        if not _is_scalar(self.spending, SPENDING_ORDER):
            raise InvalidInput("the spending key is outside the group of secp256k1")
        if not _is_scalar(self.bls, BLS_ORDER):
            raise InvalidInput("the BLS key is outside the group of BLS12-381")


class KeySource(Protocol):
    """Something that has the keys of one or more accounts."""

    def account(self, number: int) -> Keys:
        """Return an account's keys, the same each time; InvalidInput when there is no such account."""


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """An account whose seed everybody knows, for development; it stands alone."""

    seed: bytes

    def account(self, number: int) -> Keys:
        """Return the keys of account 0.

        Raises:
          InvalidInput: another account.
        """
        if number != 0:
            raise InvalidInput(
                "an account that the chain publishes stands alone; make a wallet to have several"
            )
        return derive_keys(self.seed)


def derive_keys(seed: bytes) -> Keys:
    """Return the keys that follow from one 32-byte seed, the same each time."""
    assert len(seed) == SEED_SIZE, "a seed has 32 bytes"
    return make_keys(_scalar("p2pai/secret/spending", seed, SPENDING_ORDER), seed, seed)


def make_keys(spending: bytes, vrf_seed: bytes, bls_seed: bytes) -> Keys:
    """Return a spending key as it is, with the VRF and BLS keys that follow from seeds of 32 bytes."""
    return Keys(
        spending=spending,
        vrf=tagged_hash("p2pai/secret/vrf", vrf_seed),
        bls=_scalar("p2pai/secret/bls", bls_seed, BLS_ORDER),
    )


def _scalar(tag: str, seed: bytes, order: int) -> bytes:
    counter = 0
    while True:
        digest = tagged_hash(tag, seed, counter.to_bytes(4, "big"))
        if _is_scalar(digest, order):
            return digest
        counter += 1


def _is_scalar(data: bytes, order: int) -> bool:
    return 0 < int.from_bytes(data, "big") < order
