"""Shared secrets: t members' shares give the secret and its signature, fewer give nothing."""

from hashlib import sha256
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.primitives import bls, dkg
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.keys import BLS_ORDER

SEED = bytes(range(32))
MESSAGE = b"message"
seeds = st.binary(min_size=32, max_size=32)
index_sets = st.sets(st.integers(1, 40), min_size=1, max_size=8)


def number(data):
    return int.from_bytes(data, "big")


def scalar(value):
    return (value % BLS_ORDER).to_bytes(32, "big")


def test_the_polynomial_follows_its_description():
    prefix = sha256(b"p2pai/dkg/coefficient").digest() * 2

    def digest(place, counter):
        parts = (SEED, place.to_bytes(4, "big"), counter.to_bytes(4, "big"))
        return number(sha256(prefix + b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest())

    drawn = [next(d for d in (digest(i, n) for n in range(100)) if d < BLS_ORDER) for i in range(8)]
    assert dkg.polynomial(SEED, 8) == tuple(drawn)
    assert any(digest(i, 0) >= BLS_ORDER for i in range(8)), "rejection is not exercised"


def test_a_given_constant_replaces_the_drawn_one_alone():
    fresh, given_constant = dkg.polynomial(SEED, 4), dkg.polynomial(SEED, 4, scalar(9))
    assert given_constant == (9, *fresh[1:])
    assert dkg.secret(given_constant) == scalar(9)


@given(seeds, st.integers(1, 6), st.integers(1, 50))
@settings(max_examples=30)
def test_a_share_fits_its_commitments_at_its_index_alone(seed, threshold, index):
    coefficients = dkg.polynomial(seed, threshold)
    commitments, share = dkg.commitments(coefficients), dkg.share(coefficients, index)
    assert number(share) == sum(a * index**k for k, a in enumerate(coefficients)) % BLS_ORDER
    assert dkg.is_share(share, commitments, index)
    assert dkg.is_share(share, commitments, index + 1) == (threshold == 1)
    assert not dkg.is_share(scalar(number(share) + 1), commitments, index)


def test_a_share_has_one_form_and_is_not_zero():
    through_zero = (3, BLS_ORDER - 1)
    commitments = dkg.commitments(through_zero)
    assert dkg.share(through_zero, 3) == bytes(32)
    assert not dkg.is_share(bytes(32), commitments, 3)
    assert dkg.is_share(scalar(2), commitments, 1)
    assert not dkg.is_share((2 + BLS_ORDER).to_bytes(32, "big"), commitments, 1)
    assert not dkg.is_share(b"\xff" * 32, commitments, 1)


@given(index_sets, seeds)
@settings(max_examples=50)
def test_lagrange_gives_the_constant(indices, seed):
    coefficients = dkg.polynomial(seed, len(indices))
    weights = dkg.lagrange(indices)
    total = sum(weights[i] * number(dkg.share(coefficients, i)) for i in indices)
    assert scalar(total) == dkg.secret(coefficients)


def test_lagrange_by_hand():
    assert dkg.lagrange([1, 2, 3]) == {1: 3, 2: BLS_ORDER - 3, 3: 1}
    assert dkg.lagrange([5]) == {5: 1}
    third = pow(3, -1, BLS_ORDER)
    assert dkg.lagrange([1, 4]) == {1: 4 * third % BLS_ORDER, 4: -third % BLS_ORDER}


@pytest.mark.parametrize("indices", [[], [0, 1], [-1, 2], [2, 2]])
def test_bad_indices_are_our_own_fault(indices):
    with pytest.raises(AssertionError):
        dkg.lagrange(indices)


@given(index_sets, seeds)
@settings(max_examples=30, deadline=None)
def test_signatures_combine_to_that_of_the_secret(indices, seed):
    coefficients = dkg.polynomial(seed, len(indices))
    signatures = {i: bls.sign(dkg.share(coefficients, i), MESSAGE) for i in indices}
    assert dkg.combine_signatures(signatures) == bls.sign(dkg.secret(coefficients), MESSAGE)


def test_every_t_members_sign_and_fewer_do_not():
    coefficients = dkg.polynomial(SEED, 3)
    key = dkg.commitments(coefficients)[0]
    signatures = {i: bls.sign(dkg.share(coefficients, i), MESSAGE) for i in range(1, 6)}
    for size in (3, 4, 5):
        for chosen in combinations(signatures, size):
            bls.verify(key, MESSAGE, dkg.combine_signatures({i: signatures[i] for i in chosen}))
    for size in (1, 2):
        for chosen in combinations(signatures, size):
            with pytest.raises(InvalidProof):
                bls.verify(key, MESSAGE, dkg.combine_signatures({i: signatures[i] for i in chosen}))


def test_a_signature_in_anothers_place_spoils_the_whole():
    coefficients = dkg.polynomial(SEED, 2)
    one, two = (bls.sign(dkg.share(coefficients, i), MESSAGE) for i in (1, 2))
    assert dkg.combine_signatures({1: two, 2: one}) != bls.sign(dkg.secret(coefficients), MESSAGE)


@pytest.mark.parametrize("bad", [bytes([0xC0]) + bytes(95), bytes(96), b"", b"\xff" * 96])
def test_malformed_signatures_do_not_combine(bad):
    good = bls.sign(scalar(5), MESSAGE)
    with pytest.raises(InvalidProof):
        dkg.combine_signatures({1: good, 2: bad})


def test_signatures_that_cancel_out_are_refused():
    # Weights at 0 are 2 and -1.
    one, two = bls.sign(scalar(5), MESSAGE), bls.sign(scalar(10), MESSAGE)
    with pytest.raises(InvalidProof, match="infinity"):
        dkg.combine_signatures({1: one, 2: two})


@given(st.sets(st.integers(1, 9), min_size=3, max_size=5), st.booleans())
@settings(max_examples=20, deadline=None)
def test_commitments_combine_like_shares(dealers, renewed):
    polynomials = {d: dkg.polynomial(bytes([d]) * 32, 3) for d in dealers}
    dealt = {d: dkg.commitments(p) for d, p in polynomials.items()}
    group, *keys = dkg.combine_commitments(dealt, range(5), renewed=renewed)
    weights = dkg.lagrange(dealers) if renewed else dict.fromkeys(dealers, 1)
    secret = sum(weights[d] * number(dkg.secret(p)) for d, p in polynomials.items())
    assert group == bls.public_key(scalar(secret))
    for index, key in enumerate(keys, 1):
        shares = {d: dkg.share(p, index) for d, p in polynomials.items()}
        assert bls.public_key(dkg.combine_shares(shares, renewed=renewed)) == key


@pytest.mark.parametrize("share", [b"", bytes(31), BLS_ORDER.to_bytes(32, "big")])
def test_a_share_that_nobody_checked_is_our_own_fault(share):
    with pytest.raises(AssertionError):
        dkg.combine_shares({1: share}, renewed=False)


def test_bad_arguments_are_our_own_fault():
    for act in (
        lambda: dkg.polynomial(bytes(31), 2),
        lambda: dkg.polynomial(SEED, 0),
        lambda: dkg.share((1, 2), 0),
        lambda: dkg.combine_signatures({}),
    ):
        with pytest.raises(AssertionError):
            act()
