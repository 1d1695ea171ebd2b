"""BLS: every published vector, the four edges where blspy alone is wrong, and proofs of possession."""

import json
from functools import partial
from pathlib import Path

import pytest

from p2pai.primitives import bls
from p2pai.primitives.errors import InvalidProof

ROOT = Path(__file__).parents[3] / "shared/vectors/bls/ef/bls"
CASES = sorted(ROOT.rglob("*.json"))
HANDLERS = {}

SECRETS = [bytes(31) + bytes([i]) for i in (1, 2, 3)]
KEYS = [bls.public_key(secret) for secret in SECRETS]
MESSAGE = b"message"
INFINITY_KEY = bytes([0xC0]) + bytes(47)
INFINITY_SIGNATURE = bytes([0xC0]) + bytes(95)
ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001


def handler(function):
    HANDLERS[function.__name__] = function
    return function


def raw(text):
    return bytes.fromhex(text.removeprefix("0x"))


@handler
def sign(case):
    return bls.sign(raw(case["privkey"]), raw(case["message"]))


@handler
def verify(case):
    bls.verify(raw(case["pubkey"]), raw(case["message"]), raw(case["signature"]))
    return True


@handler
def aggregate(case):
    return bls.aggregate([raw(s) for s in case])


@handler
def fast_aggregate_verify(case):
    keys = [raw(k) for k in case["pubkeys"]]
    bls.verify_same_message(keys, raw(case["message"]), raw(case["signature"]))
    return True


@handler
def aggregate_verify(case):
    keys, messages = [raw(k) for k in case["pubkeys"]], [raw(m) for m in case["messages"]]
    bls.verify_each_message(keys, messages, raw(case["signature"]))
    return True


@handler
def deserialization_G1(case):  # noqa: N802
    return is_well_formed(raw(case["pubkey"]), bls.sign(SECRETS[0], MESSAGE))


@handler
def deserialization_G2(case):  # noqa: N802
    return is_well_formed(KEYS[0], raw(case["signature"]))


def is_well_formed(key, signature):
    try:
        bls.verify(key, MESSAGE, signature)
    except InvalidProof as error:
        return "malformed" not in str(error)
    return True


@pytest.mark.parametrize("path", [p for p in CASES if p.parent.name in HANDLERS], ids=lambda p: p.stem)
def test_published_vector(path):
    case = json.loads(path.read_text())
    expected = case["output"]
    try:
        got = HANDLERS[path.parent.name](case["input"])
    except (InvalidProof, AssertionError):
        assert expected in (None, False)
        return
    assert got == (raw(expected) if isinstance(expected, str) else expected)


@pytest.mark.skipif(not CASES, reason="published vectors are not here")
def test_no_published_vector_is_left_unread():
    assert len([p for p in CASES if p.parent.name in HANDLERS]) == 96
    assert {p.parent.name for p in CASES} - set(HANDLERS) == {"batch_verify", "hash_to_G2"}


def test_a_published_signature():
    # Source: ethereum/bls12-381-tests, sign_case_84d45c9c7cca6b92.
    secret = raw("0x328388aff0d4a5b7dc9205abd374e7e98f3cd9f3418edb4eafda5fb16473d216")
    signature = bls.sign(secret, raw("0x" + "ab" * 32))
    assert signature.hex() == (
        "ae82747ddeefe4fd64cf9cedb9b04ae3e8a43420cd255e3c7cd06a8d88b7c7f8638543719981c5d16fa3527c468c25f0"
        "026704a6951bde891360c7e8d12ddee0559004ccdbe6046b55bae1b257ee97f7cdb955773d7cf29adf3ccbb9975e4eb9"
    )


def test_signatures_over_one_message():
    together = bls.aggregate([bls.sign(secret, MESSAGE) for secret in SECRETS])
    bls.verify_same_message(KEYS, MESSAGE, together)
    for keys, message in (
        (KEYS[:2], MESSAGE),
        ([*KEYS, KEYS[0]], MESSAGE),
        (KEYS, b"another"),
        ([], MESSAGE),
    ):
        with pytest.raises(InvalidProof):
            bls.verify_same_message(keys, message, together)


def test_signatures_over_a_message_each():
    messages = [b"a", b"b", b"c"]
    together = bls.aggregate([bls.sign(s, m) for s, m in zip(SECRETS, messages, strict=True)])
    bls.verify_each_message(KEYS, messages, together)
    for keys, said in ((KEYS, messages[::-1]), (KEYS[:2], messages), (KEYS, messages[:2]), ([], [])):
        with pytest.raises(InvalidProof):
            bls.verify_each_message(keys, said, together)


def test_nothing_and_infinity_prove_nothing():
    with pytest.raises(InvalidProof):
        bls.aggregate([])
    with pytest.raises(InvalidProof):
        bls.verify_each_message([], [], INFINITY_SIGNATURE)
    with pytest.raises(InvalidProof):
        bls.verify_same_message([], MESSAGE, INFINITY_SIGNATURE)
    with pytest.raises(InvalidProof, match="infinity"):
        bls.verify_same_message([INFINITY_KEY], MESSAGE, INFINITY_SIGNATURE)
    with pytest.raises(InvalidProof, match="infinity"):
        bls.verify_each_message([INFINITY_KEY], [MESSAGE], INFINITY_SIGNATURE)
    with pytest.raises(InvalidProof):
        bls.verify(KEYS[0], MESSAGE, INFINITY_SIGNATURE)


def test_a_signer_at_infinity_is_refused_among_others():
    signature = bls.sign(SECRETS[0], MESSAGE)
    with pytest.raises(InvalidProof, match="infinity"):
        bls.verify_same_message([KEYS[0], INFINITY_KEY], MESSAGE, signature)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_proof_of_possession_holds_for_its_key_alone(secret):
    proof = bls.prove_possession(secret)
    bls.verify_possession(bls.public_key(secret), proof)
    for key in (*KEYS, INFINITY_KEY, b"", bytes(48)):
        if key != bls.public_key(secret):
            with pytest.raises(InvalidProof):
                bls.verify_possession(key, proof)


def test_a_proof_of_possession_that_held_is_not_checked_again_and_a_wrong_one_is():
    key, proof = KEYS[0], bls.prove_possession(SECRETS[0])
    wrong = bls.prove_possession(SECRETS[1])
    bls.verify_possession(key, proof)
    before = bls.verify_possession.cache_info()
    bls.verify_possession(key, proof)
    for _ in range(2):
        with pytest.raises(InvalidProof):
            bls.verify_possession(key, wrong)
    after = bls.verify_possession.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 2)


def test_a_signature_of_ones_own_key_is_no_proof_of_possession():
    with pytest.raises(InvalidProof):
        bls.verify_possession(KEYS[0], bls.sign(SECRETS[0], KEYS[0]))
    with pytest.raises(InvalidProof):
        bls.verify(KEYS[0], KEYS[0], bls.prove_possession(SECRETS[0]))


@pytest.mark.parametrize("proof", [b"", bytes(96), INFINITY_SIGNATURE, bytes(95), b"\xff" * 96])
def test_a_malformed_proof_of_possession_is_refused(proof):
    with pytest.raises(InvalidProof):
        bls.verify_possession(KEYS[0], proof)


@pytest.mark.parametrize("place", [0, 1, 47, 48, 95])
def test_a_changed_bit_of_a_signature_is_refused(place):
    changed = bytearray(bls.sign(SECRETS[0], MESSAGE))
    changed[place] ^= 1
    with pytest.raises(InvalidProof):
        bls.verify(KEYS[0], MESSAGE, bytes(changed))


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), SECRETS[0][1:], SECRETS[0] + b"\x01", ORDER.to_bytes(32, "big")]
)
def test_a_bad_secret_is_our_own_fault(secret):
    for act in (bls.public_key, bls.prove_possession, lambda s: bls.sign(s, MESSAGE)):
        with pytest.raises(AssertionError):
            act(secret)


def scalar(value):
    return (value % ORDER).to_bytes(32, "big")


@pytest.mark.parametrize("scale", [1, 7, ORDER - 1, pow(6, -1, ORDER)])
@pytest.mark.parametrize("weights", [(1, 1), (3, -2), (0, 5), (2**40 + 1, -(2**33)), (ORDER - 1, ORDER - 2)])
def test_polynomials_are_evaluated_in_the_exponent(weights, scale):
    polynomials = [(5, 7, 11), (13, 17, 19)]
    committed = [[bls.public_key(scalar(a)) for a in each] for each in polynomials]
    places = [0, 1, 2, 31, 1000]
    values = bls.evaluate(committed, weights, places, scale=scale)
    for place, value in zip(places, values, strict=True):
        f, g = (sum(a * place**k for k, a in enumerate(each)) for each in polynomials)
        assert value == bls.public_key(scalar(scale * (weights[0] * f + weights[1] * g)))


def test_a_value_of_zero_is_infinity_and_no_key():
    # x - 2, and 2 - x beside it.
    line = [bls.public_key(scalar(-2)), KEYS[0]]
    assert bls.evaluate([line], [1], [2]) == (INFINITY_KEY,)
    assert bls.evaluate([line, line], [1, -1], [5]) == (INFINITY_KEY,)
    with pytest.raises(InvalidProof, match="infinity"):
        bls.check_key(INFINITY_KEY)


# The least x with a point on the curve that is outside the subgroup.
OUTSIDE = bytes([0x80]) + bytes(46) + bytes([4])


@pytest.mark.parametrize("bad", [INFINITY_KEY, OUTSIDE, b"", bytes(48), KEYS[0][:-1], b"\xff" * 48])
def test_bad_keys_are_refused_among_commitments(bad):
    bls.check_key(KEYS[0])
    with pytest.raises(InvalidProof):
        bls.check_key(bad)
    for polynomials in ([[bad]], [[KEYS[0], bad]], [[KEYS[0], KEYS[1]], [bad, KEYS[0]]]):
        with pytest.raises(InvalidProof):
            bls.evaluate(polynomials, [1] * len(polynomials), [1])


@pytest.mark.parametrize("scale", [1, 3, pow(3, -1, ORDER)])
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 1, -1), (0, 0, 1), (ORDER - 5, 2**60, -1)])
def test_signatures_combine_like_their_secrets(weights, scale):
    signatures = [bls.sign(secret, MESSAGE) for secret in SECRETS]
    total = scalar(scale * sum(w * n for w, n in zip(weights, (1, 2, 3), strict=True)))
    if any(total):
        assert bls.combine(signatures, weights, scale=scale) == bls.sign(total, MESSAGE)
    else:
        with pytest.raises(InvalidProof, match="infinity"):
            bls.combine(signatures, weights, scale=scale)


@pytest.mark.parametrize("bad", [INFINITY_SIGNATURE, b"", bytes(96), bytes(95), b"\xff" * 96])
def test_bad_signatures_are_not_combined(bad):
    with pytest.raises(InvalidProof):
        bls.combine([bls.sign(SECRETS[0], MESSAGE), bad], [1, 1])


def test_signatures_that_cancel_out_are_not_combined():
    signature = bls.sign(SECRETS[0], MESSAGE)
    with pytest.raises(InvalidProof, match="infinity"):
        bls.combine([signature, signature], [1, -1])
    with pytest.raises(AssertionError):
        bls.combine([], [])


class TestSums:
    """One key, many messages, one signature that is the sum of all."""

    SECRET = bytes(31) + b"\x11"
    KEY = bls.public_key(SECRET)
    MESSAGES = tuple(bytes([i]) * 32 for i in range(6))
    SIGNATURES = tuple(map(partial(bls.sign, SECRET), MESSAGES))

    def of(self, *places):
        """Return the messages at some places, and their sum."""
        return [self.MESSAGES[i] for i in places], bls.aggregate([self.SIGNATURES[i] for i in places])

    @pytest.mark.parametrize("places", [(0,), (0, 1), (0, 1, 2, 3, 4, 5), (3, 3)])
    def test_a_sum_holds_where_the_library_says_so(self, places):
        messages, signature = self.of(*places)
        bls.verify_sum(self.KEY, messages, signature)
        bls.verify_sums(self.KEY, [(messages, signature)])
        bls.verify_each_message([self.KEY] * len(messages), messages, signature)

    @pytest.mark.parametrize(
        ("signed", "claimed"), [((0, 1), (0, 2)), ((0,), (0, 1)), ((0, 1), (0,)), ((0,), (1,))]
    )
    def test_a_sum_of_other_messages_is_refused(self, signed, claimed):
        messages, signature = self.of(*claimed)[0], self.of(*signed)[1]
        for check in (
            lambda: bls.verify_sum(self.KEY, messages, signature),
            lambda: bls.verify_sums(self.KEY, [(messages, signature), self.of(4, 5)]),
        ):
            with pytest.raises(InvalidProof, match="does not match"):
                check()

    def test_another_key_is_refused(self):
        other = bls.public_key(bytes(31) + b"\x12")
        with pytest.raises(InvalidProof):
            bls.verify_sum(other, *self.of(0, 1))
        with pytest.raises(InvalidProof):
            bls.verify_sums(other, [self.of(0, 1), self.of(2)])

    def test_many_sums_hold_together(self):
        bls.verify_sums(self.KEY, [self.of(0, 1), self.of(2), self.of(3, 4, 5), self.of(0, 1)])

    def test_wrong_sums_do_not_make_up_for_each_other(self):
        (first, a), (second, b) = self.of(0, 1), self.of(2)
        bls.verify_each_message([self.KEY] * 3, [*first, *second], bls.aggregate([a, b]))
        with pytest.raises(InvalidProof, match="does not match"):
            bls.verify_sums(self.KEY, [(first, b), (second, a)])

    def test_nothing_proves_nothing(self):
        infinity = bytes([0xC0]) + bytes(95)
        for sums in ([], [([], infinity)], [(self.MESSAGES, infinity)], [self.of(0), ([], infinity)]):
            with pytest.raises(InvalidProof):
                bls.verify_sums(self.KEY, sums)
        for messages in ([], self.MESSAGES):
            with pytest.raises(InvalidProof):
                bls.verify_sum(self.KEY, messages, infinity)

    @pytest.mark.parametrize("signature", [b"", bytes(96), bytes(95), b"\xff" * 96])
    def test_malformed_parts_are_refused(self, signature):
        with pytest.raises(InvalidProof):
            bls.verify_sum(self.KEY, self.MESSAGES, signature)
        with pytest.raises(InvalidProof):
            bls.verify_sums(self.KEY, [self.of(0), (self.MESSAGES, signature)])
        with pytest.raises(InvalidProof):
            bls.verify_sum(bytes([0xC0]) + bytes(47), *self.of(0))
