"""The group of Ed25519: its laws, and that nothing from outside the prime-order subgroup gets in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from p2pai.primitives import ed25519
from p2pai.primitives.errors import InvalidProof

P = 2**255 - 19
SECRET = bytes(range(32))
POINT = ed25519.public_key(SECRET)
TORSION = (P - 1).to_bytes(32, "little")
"""The point of order 2."""

scalars = st.integers(1, ed25519.ORDER - 1)


def scalar(number):
    return number.to_bytes(32, "little")


def test_a_published_key():
    # Source: RFC 8032, section 7.1, TEST 2.
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    assert ed25519.public_key(secret).hex() == (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    )


def test_a_secret_expands_to_the_scalar_of_its_key():
    x, prefix = ed25519.expand(SECRET)
    assert ed25519.multiply_base(x) == POINT
    assert len(prefix) == 32
    assert prefix != x


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_bad_secret_is_our_own_fault(secret):
    with pytest.raises(AssertionError):
        ed25519.expand(secret)


@given(scalars, scalars)
@settings(max_examples=50)
def test_points_and_scalars_obey_the_same_laws(a, b):
    x, y = ed25519.multiply(scalar(a), POINT), ed25519.multiply(scalar(b), POINT)
    assert ed25519.add(x, y) == ed25519.multiply(ed25519.add_scalars(scalar(a), scalar(b)), POINT)
    assert ed25519.subtract(ed25519.add(x, y), y) == x
    product = ed25519.multiply_scalars(scalar(a), scalar(b))
    assert ed25519.multiply(product, POINT) == ed25519.multiply(scalar(b), x)
    assert int.from_bytes(product, "little") == a * b % ed25519.ORDER
    assert ed25519.times_8(x) == ed25519.multiply(scalar(8 * a % ed25519.ORDER), POINT)


def test_zero_gives_the_identity():
    assert ed25519.multiply(bytes(32), POINT) == ed25519.IDENTITY
    assert ed25519.multiply_base(bytes(32)) == ed25519.IDENTITY
    assert ed25519.add(POINT, ed25519.IDENTITY) == POINT
    assert ed25519.subtract(POINT, POINT) == ed25519.IDENTITY


@pytest.mark.parametrize("number", [0, 1, ed25519.ORDER, 2**511 + 12345])
def test_a_long_number_is_reduced(number):
    reduced = ed25519.reduce(number.to_bytes(64, "little"))
    assert int.from_bytes(reduced, "little") == number % ed25519.ORDER


def test_only_scalars_below_the_order_are_reduced():
    assert ed25519.is_reduced(scalar(ed25519.ORDER - 1))
    assert not ed25519.is_reduced(scalar(ed25519.ORDER))


@pytest.mark.parametrize("point", [POINT, ed25519.multiply_base(scalar(1))])
def test_points_of_the_subgroup_are_points(point):
    ed25519.check_point(point, "it")


@pytest.mark.parametrize(
    "point",
    [
        b"",
        POINT[:-1],
        POINT + b"\x00",
        ed25519.IDENTITY,
        (P + 1).to_bytes(32, "little"),
        TORSION,
        bindings.crypto_core_ed25519_add(POINT, TORSION),
        (2).to_bytes(32, "little"),
        b"\xff" * 32,
    ],
    ids=["empty", "short", "long", "identity", "identity again", "order 2", "mixed", "no point", "ones"],
)
def test_all_else_is_refused_by_name(point):
    with pytest.raises(InvalidProof, match="it is not a point of the prime-order subgroup"):
        ed25519.check_point(point, "it")


def test_the_identity_is_refused_without_the_librarys_check(monkeypatch):
    monkeypatch.setattr(bindings, "crypto_core_ed25519_is_valid_point", lambda point: True)
    with pytest.raises(InvalidProof, match="subgroup"):
        ed25519.check_point(ed25519.IDENTITY, "it")


def test_clearing_the_cofactor_leaves_the_subgroup_alone():
    mixed = ed25519.add(POINT, TORSION)
    assert ed25519.clear_cofactor(mixed) == ed25519.clear_cofactor(POINT) == ed25519.times_8(POINT)
    for none in (TORSION, ed25519.IDENTITY, (2).to_bytes(32, "little"), (P + 3).to_bytes(32, "little")):
        assert ed25519.clear_cofactor(none) is None
