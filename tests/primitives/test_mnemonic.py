"""Words and keys: published vectors of BIP-39 and BIP-32, our own paths, sentences about mistyped words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives import ecdsa, mnemonic
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import make_keys
from p2pai.primitives.mnemonic import COIN_TYPE, KeyTree, entropy_of, secret_at, seed_of, words_of

BIP39 = [
    ("00" * 16, "abandon " * 11 + "about"),
    ("7f" * 16, "legal winner thank year wave sausage worth useful legal winner thank yellow"),
    ("80" * 16, "letter advice cage absurd amount doctor acoustic avoid letter advice cage above"),
    ("ff" * 16, "zoo " * 11 + "wrong"),
    ("00" * 32, "abandon " * 23 + "art"),
    ("7f" * 32, "legal winner thank year wave sausage worth useful " * 2
        + "legal winner thank year wave sausage worth title"),
    ("ff" * 32, "zoo " * 23 + "vote"),
]  # fmt: skip
"""Entropy and words. Source: the reference vectors of BIP-39."""


@pytest.mark.parametrize(("entropy", "words"), BIP39)
def test_published_words(entropy, words):
    assert words_of(bytes.fromhex(entropy)) == words
    assert entropy_of(words) == bytes.fromhex(entropy)


def test_published_seed_and_keys():
    # Source: the seed of "abandon ... about" without passphrase, as wallets publish it; BIP-32, vector 1.
    seed = seed_of(BIP39[0][1])
    assert seed.hex() == (
        "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
        "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
    )
    first = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    assert secret_at(first, ()).hex() == "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35"
    assert secret_at(first, (0,)).hex() == "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea"


@given(st.binary(min_size=32, max_size=32))
def test_words_stand_for_their_entropy(entropy):
    words = words_of(entropy)
    assert len(words.split()) == 24
    assert entropy_of(f"  {words.upper()}\n") == entropy


def test_an_accounts_keys_follow_from_its_paths():
    wallet = KeyTree(bytes(range(32)))
    seed = seed_of(words_of(bytes(range(32))))
    for number in (0, 1, mnemonic.ACCOUNT_MAX):
        parts = [secret_at(seed, (44, 7364969, number, use, 0)) for use in range(3)]
        assert wallet.account(number) == make_keys(*parts)
        assert wallet.account(number).spending == parts[0]
    assert COIN_TYPE.to_bytes(3, "big") == b"pai"


def test_accounts_share_no_key():
    wallet = KeyTree(bytes(32))
    keys = [wallet.account(number) for number in range(5)]
    assert len({secret for k in keys for secret in (k.spending, k.vrf, k.bls)}) == 15
    assert len({ecdsa.public_key(k.spending) for k in keys}) == 5
    assert KeyTree(bytes(31) + b"\1").account(0) != keys[0]


def test_keys_stay_what_they_are():
    # Money lies on these keys: another derivation would lose it.
    wallet = KeyTree(bytes(range(32)))
    public = [ecdsa.public_key(wallet.account(number).spending).hex() for number in (0, 1)]
    assert public == PINNED


PINNED = [
    "034dabd9144a84338bb9828f1e16cbb146f18ce8e899067c633bdce96775f9c91e",
    "025dab9c6d0bb29b2d74b2b41adfe6a8b9e9397bf12b55af83622a6cf7f82d37fb",
]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "24 words (or 12, 15, 18, 21), not 0"),
        ("abandon " * 23, "not 23"),
        ("abandon " * 10 + "abandn about", "word 11, 'abandn', is not a word"),
        ("abandon " * 12, "fail their checksum"),
        ("abandon " * 24, "fail their checksum"),
        ("about " + "abandon " * 11, "fail their checksum"),
        ("\0 " * 12, "word 1"),
        ("słowo " * 12, "word 1, 'słowo'"),
    ],
)
def test_what_is_wrong_with_words_is_said(text, sentence):
    with pytest.raises(InvalidInput) as caught:
        entropy_of(text)
    assert sentence in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(max_size=200))
def test_any_text_is_words_or_refused(text):
    try:
        entropy = entropy_of(text)
    except InvalidInput:
        return
    assert words_of(entropy).split() == text.lower().split()


def test_no_secret_shows_in_a_representation():
    text = repr(KeyTree(b"\x11" * 32))
    assert "11" * 32 not in text
    assert repr(b"\x11" * 32) not in text
