"""Sealed secrets: only the receiver opens them, what it reveals can't be forged or used for more."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from p2pai.primitives import ed25519, sealing
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.sealing import Revealed
from p2pai.vrf import ecvrf

EPHEMERAL, SECRET, OTHER = (bytes([i]) * 32 for i in (1, 2, 3))
POINT, KEY, OTHER_KEY = (ed25519.public_key(s) for s in (EPHEMERAL, SECRET, OTHER))
CONTEXT = bytes([7]) * 32
PLAIN = bytes(range(32))
INDEX = 5
SEALED = sealing.seal(EPHEMERAL, KEY, CONTEXT, INDEX, PLAIN)
REVEALED = sealing.reveal(SECRET, POINT, CONTEXT)

P = 2**255 - 19
ORDER_2 = (P - 1).to_bytes(32, "little")
BAD_POINTS = {
    "empty": b"",
    "short": KEY[:-1],
    "long": KEY + b"\x00",
    "identity": ed25519.IDENTITY,
    "identity, not canonical": (P + 1).to_bytes(32, "little"),
    "order 2": ORDER_2,
    "mixed": bindings.crypto_core_ed25519_add(KEY, ORDER_2),
    "no point": (2).to_bytes(32, "little"),
}
bad_points = pytest.mark.parametrize("point", BAD_POINTS.values(), ids=BAD_POINTS)
seeds = st.binary(min_size=32, max_size=32)


def open_revealed(receiver=KEY, point=POINT, revealed=REVEALED, context=CONTEXT, index=INDEX):
    return sealing.open_revealed(receiver, point, revealed, context, index, SEALED)


@given(seeds, seeds, seeds, st.integers(1, 1000), seeds)
@settings(max_examples=50)
def test_what_is_sealed_opens(ephemeral, secret, context, index, plain):
    key, point = ed25519.public_key(secret), ed25519.public_key(ephemeral)
    sealed = sealing.seal(ephemeral, key, context, index, plain)
    assert sealing.open_sealed(secret, point, context, index, sealed) == plain
    revealed = sealing.reveal(secret, point, context)
    assert len(revealed.proof) == sealing.PROOF_SIZE
    assert sealing.open_revealed(key, point, revealed, context, index, sealed) == plain


def test_sealing_follows_its_description():
    r, _ = ed25519.expand(EPHEMERAL)
    shared = bindings.crypto_scalarmult_ed25519_noclamp(r, KEY)
    prefix = sha256(b"p2pai/sealing/pad").digest() * 2
    parts = (shared, POINT, KEY, CONTEXT, INDEX.to_bytes(4, "big"))
    pad = sha256(prefix + b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()
    assert bytes(a ^ b for a, b in zip(SEALED, PLAIN, strict=True)) == pad
    assert REVEALED.shared == shared


@pytest.mark.parametrize(
    "changed",
    [
        sealing.seal(OTHER, KEY, CONTEXT, INDEX, PLAIN),
        sealing.seal(EPHEMERAL, OTHER_KEY, CONTEXT, INDEX, PLAIN),
        sealing.seal(EPHEMERAL, KEY, PLAIN, INDEX, PLAIN),
        sealing.seal(EPHEMERAL, KEY, CONTEXT, INDEX + 1, PLAIN),
    ],
    ids=["sender", "receiver", "context", "index"],
)
def test_each_pad_is_used_once(changed):
    assert changed != SEALED
    assert sealing.open_sealed(SECRET, POINT, CONTEXT, INDEX, changed) != PLAIN


def test_another_key_opens_nothing():
    assert sealing.open_sealed(OTHER, POINT, CONTEXT, INDEX, SEALED) != PLAIN


@pytest.mark.parametrize("place", range(sealing.PROOF_SIZE))
def test_every_changed_bit_of_a_proof_is_refused(place):
    for bit in range(8):
        changed = bytearray(REVEALED.proof)
        changed[place] ^= 1 << bit
        with pytest.raises(InvalidProof):
            open_revealed(revealed=Revealed(REVEALED.shared, bytes(changed)))


@pytest.mark.parametrize("multiple", [1, 2, 15])
def test_a_scalar_has_one_form(multiple):
    s = int.from_bytes(REVEALED.proof[16:], "little") + multiple * ed25519.ORDER
    with pytest.raises(InvalidProof, match="not reduced"):
        open_revealed(revealed=Revealed(REVEALED.shared, REVEALED.proof[:16] + s.to_bytes(32, "little")))


@pytest.mark.parametrize("proof", [b"", REVEALED.proof[:-1], REVEALED.proof + b"\x00", bytes(80)])
def test_another_length_is_refused(proof):
    with pytest.raises(InvalidProof, match="bytes"):
        open_revealed(revealed=Revealed(REVEALED.shared, proof))


def test_zero_scalars_are_computed_with_and_refused():
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(revealed=Revealed(REVEALED.shared, bytes(sealing.PROOF_SIZE)))


def test_a_proof_is_for_one_receiver_one_sender_and_one_context():
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(receiver=OTHER_KEY)
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(point=OTHER_KEY)
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(context=PLAIN)


def test_another_point_is_not_the_shared_one():
    another = ed25519.add(REVEALED.shared, KEY)
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(revealed=Revealed(another, REVEALED.proof))


def test_whoever_knows_the_ephemeral_secret_cannot_answer_for_the_receiver():
    # It can compute the shared point, but proves knowledge of its own scalar.
    forged = sealing.reveal(EPHEMERAL, KEY, CONTEXT)
    assert forged.shared == REVEALED.shared
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(revealed=forged)


@bad_points
def test_points_outside_the_subgroup_are_refused(point):
    with pytest.raises(InvalidProof, match="receiver's key is not a point"):
        sealing.seal(EPHEMERAL, point, CONTEXT, INDEX, PLAIN)
    for act in (
        lambda: sealing.open_sealed(SECRET, point, CONTEXT, INDEX, SEALED),
        lambda: sealing.reveal(SECRET, point, CONTEXT),
        lambda: open_revealed(point=point),
    ):
        with pytest.raises(InvalidProof, match="sender's point is not a point"):
            act()
    with pytest.raises(InvalidProof, match="receiver's key is not a point"):
        open_revealed(receiver=point)
    with pytest.raises(InvalidProof, match="shared point is not a point"):
        open_revealed(revealed=Revealed(point, REVEALED.proof))


def test_a_complaint_is_no_draw_and_a_draw_no_complaint():
    # Were R the point that a draw's input hashes to, K would be the draw's Gamma; its proof is still another.
    point = ecvrf._hash_to_curve(KEY, b"alpha")
    revealed = sealing.reveal(SECRET, point, CONTEXT)
    pi = ecvrf.prove(SECRET, b"alpha")
    assert revealed.shared == pi[:32]
    with pytest.raises(InvalidProof, match="does not hold"):
        ecvrf.verify(KEY, b"alpha", revealed.shared + revealed.proof)
    with pytest.raises(InvalidProof, match="does not hold"):
        open_revealed(point=point, revealed=Revealed(pi[:32], pi[32:]))


def test_nonces_differ_by_point_and_context():
    # One nonce for two challenges would give the key away: s - s' = (c - c') * x.
    x, _ = ed25519.expand(SECRET)
    proofs = [
        sealing.reveal(SECRET, point, context).proof
        for point in (POINT, OTHER_KEY)
        for context in (CONTEXT, PLAIN)
    ]
    proofs.append(ecvrf.prove(SECRET, CONTEXT)[32:])
    nonces = {
        (int.from_bytes(p[16:], "little") - int.from_bytes(p[:16], "little") * int.from_bytes(x, "little"))
        % ed25519.ORDER
        for p in proofs
    }
    assert len(nonces) == len(proofs)


@pytest.mark.parametrize("plain", [b"", bytes(31), bytes(33)])
def test_a_plain_text_of_another_size_is_our_own_fault(plain):
    with pytest.raises(AssertionError):
        sealing.seal(EPHEMERAL, KEY, CONTEXT, INDEX, plain)
