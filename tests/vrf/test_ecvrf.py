"""The draw: the examples of RFC 9381, and that no key and no proof gives a second output."""

import json
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from p2pai.primitives import ed25519
from p2pai.primitives.errors import InvalidProof
from p2pai.vrf import ecvrf

PUBLISHED = Path(__file__).parents[3] / "shared/vectors/vrf/ecvrf_rfc9381.json"
SUITE = "ECVRF-EDWARDS25519-SHA512-TAI"
VECTORS = (
    [v for v in json.loads(PUBLISHED.read_text())["vectors"] if v["suite"] == SUITE]
    if PUBLISHED.exists()
    else []
)

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
SECRET = bytes(range(32))
KEY = ecvrf.public_key(SECRET)
ALPHA = b"alpha"
PI = ecvrf.prove(SECRET, ALPHA)

# Every encoding that libsodium could decode to one of the eight points of low order.
# Source: libsodium, ge25519_has_small_order; RFC 8032, section 5.1.3.
ORDER_8 = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
TWO = P - 1
LOW_ORDER = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, TWO, P, P + 1, *(int.from_bytes(bytes.fromhex(t), "little") for t in ORDER_8))
    for sign in (0, 1)
]
TORSION = [TWO.to_bytes(32, "little"), bytes(32), bytes.fromhex(ORDER_8[0])]


def test_example_17_of_the_rfc():
    # Source: RFC 9381, appendix B.3; its hash to the curve needs a second try.
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    pi = ecvrf.prove(secret, b"\x72")
    assert pi.hex() == (
        "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed593"
        "3bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926d"
        "a3ef39226bbc355bdc9850112c8f4b02"
    )
    assert ecvrf.verify(ecvrf.public_key(secret), b"\x72", pi).hex() == (
        "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb"
        "5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031"
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["example"]))
def test_published_example(vector):
    secret, key, alpha = (bytes.fromhex(vector[name]) for name in ("SK", "PK", "alpha"))
    assert ecvrf.public_key(secret) == key
    assert ecvrf.prove(secret, alpha).hex() == vector["pi"]
    assert ecvrf.verify(key, alpha, bytes.fromhex(vector["pi"])).hex() == vector["beta"]


@pytest.mark.skipif(not VECTORS, reason="published vectors are not here")
def test_all_published_examples_of_the_suite_are_here():
    assert [v["example"] for v in VECTORS] == [16, 17, 18]


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
@settings(max_examples=50)
def test_what_is_proven_verifies(secret, alpha):
    pi = ecvrf.prove(secret, alpha)
    key = ecvrf.public_key(secret)
    ecvrf.check_key(key)
    assert len(pi) == ecvrf.PROOF_SIZE
    assert ecvrf.verify(key, alpha, pi) == ecvrf.output(pi)
    assert len(ecvrf.output(pi)) == ecvrf.OUTPUT_SIZE


def test_the_key_is_the_ed25519_key_of_the_seed():
    assert bindings.crypto_sign_seed_keypair(SECRET)[0] == KEY


def test_outputs_differ_by_key_and_input():
    outputs = {ecvrf.output(ecvrf.prove(bytes([i]) * 32, bytes([j]))) for i in range(5) for j in range(5)}
    assert len(outputs) == 25


@pytest.mark.parametrize("place", range(ecvrf.PROOF_SIZE))
def test_every_changed_bit_of_a_proof_is_refused(place):
    for bit in range(8):
        changed = bytearray(PI)
        changed[place] ^= 1 << bit
        with pytest.raises(InvalidProof):
            ecvrf.verify(KEY, ALPHA, bytes(changed))


@pytest.mark.parametrize("place", range(32))
def test_every_changed_bit_of_a_key_is_refused(place):
    for bit in range(8):
        changed = bytearray(KEY)
        changed[place] ^= 1 << bit
        with pytest.raises(InvalidProof):
            ecvrf.verify(bytes(changed), ALPHA, PI)


def test_a_proof_is_for_one_key_and_one_input():
    with pytest.raises(InvalidProof, match="does not hold"):
        ecvrf.verify(KEY, b"beta", PI)
    with pytest.raises(InvalidProof, match="does not hold"):
        ecvrf.verify(ecvrf.public_key(bytes(32)), ALPHA, PI)


@pytest.mark.parametrize("multiple", [1, 2, 7, 15])
def test_a_scalar_has_one_form(multiple):
    s = int.from_bytes(PI[48:], "little") + multiple * ORDER
    with pytest.raises(InvalidProof, match="not reduced"):
        ecvrf.verify(KEY, ALPHA, PI[:48] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("pi", [b"", PI[:-1], PI + b"\x00", PI * 2])
def test_another_length_is_refused(pi):
    with pytest.raises(InvalidProof, match="bytes"):
        ecvrf.verify(KEY, ALPHA, pi)


@given(st.binary(min_size=80, max_size=80), st.binary(min_size=30, max_size=34))
@settings(max_examples=200)
def test_any_bytes_are_no_proof(pi, key):
    for candidate in (pi, PI[:32] + pi[32:], PI[:48] + pi[48:79] + b"\x00"):
        with pytest.raises(InvalidProof):
            ecvrf.verify(KEY, ALPHA, candidate)
    with pytest.raises(InvalidProof):
        ecvrf.verify(key, ALPHA, PI)


@pytest.mark.parametrize("scalars", [bytes(48), bytes(16) + PI[48:], PI[32:48] + bytes(32)])
def test_zero_scalars_are_computed_with_and_refused(scalars):
    with pytest.raises(InvalidProof, match="does not hold"):
        ecvrf.verify(KEY, ALPHA, PI[:32] + scalars)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda p: p.hex())
def test_points_of_low_order_are_refused(point):
    with pytest.raises(InvalidProof, match="subgroup"):
        ecvrf.check_key(point)
    with pytest.raises(InvalidProof, match="subgroup"):
        ecvrf.verify(point, ALPHA, PI)
    with pytest.raises(InvalidProof, match="subgroup"):
        ecvrf.verify(KEY, ALPHA, point + PI[32:])


@pytest.mark.parametrize("key", [b"", KEY[:-1], KEY + b"\x00", b"\xff" * 32, (2).to_bytes(32, "little")])
def test_keys_that_are_no_points_are_refused(key):
    with pytest.raises(InvalidProof, match="subgroup"):
        ecvrf.check_key(key)


@pytest.mark.parametrize("torsion", TORSION, ids=["order 2", "order 4", "order 8"])
def test_a_key_with_a_part_of_low_order_is_refused(torsion):
    mixed = bindings.crypto_core_ed25519_add(KEY, torsion)
    with pytest.raises(InvalidProof, match="subgroup"):
        ecvrf.check_key(mixed)


def test_a_proof_with_a_part_of_low_order_is_refused():
    # The owner of a key can make one in every two of these hold: c * T is the identity when c is even.
    x, _ = ed25519.expand(SECRET)
    h = ecvrf._hash_to_curve(KEY, ALPHA)
    gamma = bindings.crypto_core_ed25519_add(PI[:32], TORSION[0])
    for attempt in range(64):
        k = bindings.crypto_core_ed25519_scalar_reduce(sha512(bytes([attempt])).digest())
        c = ecvrf._challenge(KEY, h, gamma, ed25519.multiply_base(k), ed25519.multiply(k, h))
        if c[0] % 2 == 0:
            break
    cx = bindings.crypto_core_ed25519_scalar_mul(c + bytes(16), x)
    forged = gamma + c + bindings.crypto_core_ed25519_scalar_add(k, cx)
    assert c[0] % 2 == 0
    assert ecvrf.output(forged) == ecvrf.output(PI)
    with pytest.raises(InvalidProof, match="subgroup"):
        ecvrf.verify(KEY, ALPHA, forged)


def test_the_subgroup_check_does_not_lean_on_the_librarys(monkeypatch):
    # libsodium before 1.0.21 answered True for some of these (CVE-2025-69277).
    monkeypatch.setattr(bindings, "crypto_core_ed25519_is_valid_point", lambda point: True)
    monkeypatch.setattr(bindings, "crypto_scalarmult_ed25519_noclamp", multiply_without_checks)
    ecvrf.check_key(KEY)
    for torsion in TORSION:
        with pytest.raises(InvalidProof, match="subgroup"):
            ecvrf.check_key(bindings.crypto_core_ed25519_add(KEY, torsion))


def multiply_without_checks(scalar, point):
    total = (1).to_bytes(32, "little")
    for bit in f"{int.from_bytes(scalar, 'little'):b}":
        total = bindings.crypto_core_ed25519_add(total, total)
        if bit == "1":
            total = bindings.crypto_core_ed25519_add(total, point)
    return total


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), bytes(64)])
def test_a_bad_secret_is_our_own_fault(secret):
    with pytest.raises(AssertionError):
        ecvrf.prove(secret, ALPHA)
    with pytest.raises(AssertionError):
        ecvrf.public_key(secret)
