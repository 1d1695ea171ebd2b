"""Key derivation: fixed vectors, ranges, and silence about secrets."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives import bls, ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import BLS_ORDER, SPENDING_ORDER, Keys, derive_keys
from p2pai.vrf import ecvrf


def _digest(tag: str, *parts: bytes) -> bytes:
    # The tagged hash written out once more, so that a change of it is noticed.
    prefix = sha256(tag.encode()).digest() * 2
    return sha256(prefix + b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()


def test_derivation_follows_its_description():
    seed = bytes(range(32))
    keys = derive_keys(seed)
    assert keys.vrf == _digest("p2pai/secret/vrf", seed)
    assert keys.spending == _digest("p2pai/secret/spending", seed, bytes(4))
    candidates = (_digest("p2pai/secret/bls", seed, n.to_bytes(4, "big")) for n in range(100))
    assert keys.bls == next(c for c in candidates if int.from_bytes(c, "big") < BLS_ORDER)


@given(st.binary(min_size=32, max_size=32))
def test_every_seed_gives_keys_that_each_curve_accepts(seed):
    keys = derive_keys(seed)
    assert 0 < int.from_bytes(keys.spending, "big") < SPENDING_ORDER
    assert 0 < int.from_bytes(keys.bls, "big") < BLS_ORDER
    assert len({keys.spending, keys.vrf, keys.bls}) == 3
    assert derive_keys(seed) == keys


def test_rejection_is_exercised_for_bls():
    def first(seed: int) -> int:
        return int.from_bytes(_digest("p2pai/secret/bls", seed.to_bytes(32, "big"), bytes(4)), "big")

    rejected = next(seed for seed in range(100) if first(seed) >= BLS_ORDER)
    bls.public_key(derive_keys(rejected.to_bytes(32, "big")).bls)


def test_derived_keys_sign():
    keys = derive_keys(b"\x07" * 32)
    assert len(ecdsa.public_key(keys.spending)) == 33
    assert len(ecvrf.public_key(keys.vrf)) == 32
    assert len(bls.public_key(keys.bls)) == 48


def test_no_secret_shows_in_a_representation():
    keys = derive_keys(b"\x01" * 32)
    text = f"{keys!r} {keys}"
    for secret in (keys.spending, keys.vrf, keys.bls):
        assert secret.hex() not in text
        assert repr(secret) not in text


GOOD = bytes(31) + b"\x01"


@pytest.mark.parametrize(
    ("spending", "vrf", "bls_key"),
    [
        (bytes(32), GOOD, GOOD),
        (SPENDING_ORDER.to_bytes(32, "big"), GOOD, GOOD),
        (GOOD, GOOD, bytes(32)),
        (GOOD, GOOD, BLS_ORDER.to_bytes(32, "big")),
        (GOOD[1:], GOOD, GOOD),
        (GOOD, GOOD + b"\0", GOOD),
    ],
)
def test_keys_outside_their_group_are_refused(spending, vrf, bls_key):
    with pytest.raises(InvalidInput):
        Keys(spending, vrf, bls_key)


def test_the_greatest_scalars_are_accepted():
    Keys((SPENDING_ORDER - 1).to_bytes(32, "big"), bytes(32), (BLS_ORDER - 1).to_bytes(32, "big"))
