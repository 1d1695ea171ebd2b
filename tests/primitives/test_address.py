"""Addresses: the published bech32m strings, and one clear sentence for each way to mistype one."""

import pytest
from bech32 import CHARSET, bech32_encode, convertbits
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput

KEY_HASH = bytes(range(20))
TEXT = address.encode("dpai", KEY_HASH)
MISTYPED = "mistyped"

# Source: BIP-350, test vectors.
VALID_BUT_NOT_20_BYTES = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
INVALID = [
    "\x201xj0phk",
    "\x7f1g6xzxy",
    "\x801vctc34",
    "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
    "qyrz8wqd2c9m",
    "1qyrz8wqd2c9m",
    "y1b0jsk6g",
    "lt1igcx5c0",
    "in1muywd",
    "mm1crxm3i",
    "au1s5cgom",
    "M1VUXWEZ",
    "16plkw9",
    "1p2gdwpf",
]


def test_the_published_string_of_20_bytes():
    text = "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx"
    data = bytes(convertbits(range(31, -1, -1), 5, 8, pad=False))
    assert address.decode("abcdef", text) == data
    assert address.encode("abcdef", data) == text
    assert address.decode("abcdef", text.upper()) == data


@pytest.mark.parametrize("text", VALID_BUT_NOT_20_BYTES)
def test_other_published_strings_pass_all_but_the_last_check(text):
    prefix = text.lower().rpartition("1")[0]
    with pytest.raises(InvalidInput, match="does not hold 20 bytes"):
        address.decode(prefix, text)


@pytest.mark.parametrize("text", INVALID)
def test_published_invalid_strings_are_refused(text):
    with pytest.raises(InvalidInput) as caught:
        address.decode(text.lower().rpartition("1")[0], text)
    assert "20 bytes" not in str(caught.value)


@given(st.binary(min_size=20, max_size=20), st.sampled_from(["pai", "tpai", "dpai"]))
def test_a_round_trip_is_the_identity(key_hash, prefix):
    text = address.encode(prefix, key_hash)
    assert text.startswith(prefix + "1")
    assert address.decode(prefix, text) == key_hash


@given(st.data())
def test_up_to_four_mistyped_characters_are_found(data):
    start = len("dpai1")
    places = data.draw(st.lists(st.integers(start, len(TEXT) - 1), min_size=1, max_size=4, unique=True))
    letters = list(TEXT)
    for place in places:
        letters[place] = data.draw(st.sampled_from([c for c in CHARSET if c != TEXT[place]]))
    with pytest.raises(InvalidInput, match=MISTYPED):
        address.decode("dpai", "".join(letters))


def test_an_address_of_another_network_says_so():
    with pytest.raises(InvalidInput, match="another network"):
        address.decode("pai", TEXT)


def test_the_older_checksum_is_refused():
    with pytest.raises(InvalidInput, match=MISTYPED):
        address.decode("dpai", bech32_encode("dpai", convertbits(KEY_HASH, 8, 5)))


@pytest.mark.parametrize("size", [19, 21, 32])
def test_another_length_is_refused(size):
    words = convertbits(bytes(size), 8, 5)
    text = "dpai1" + "".join(CHARSET[w] for w in words + address._checksum("dpai", words))
    with pytest.raises(InvalidInput, match="20 bytes"):
        address.decode("dpai", text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not an address"),
        ("dpai", "not an address"),
        ("1" + TEXT[5:], "not an address"),
        ("D" + TEXT[1:], "upper and lower"),
        (TEXT[:10].upper() + TEXT[10:], "upper and lower"),
        (TEXT + " ", "not an address"),
        ("\u212a" + TEXT[1:].upper(), "not an address"),
        (TEXT[:20] + "b" + TEXT[21:], "'b'"),
        (TEXT[:9], "too short"),
        (TEXT[:-1], MISTYPED),
        ("dpai1" + "q" * 200, "not an address"),
    ],
)
def test_each_mistake_has_its_sentence(text, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        address.decode("dpai", text)


@given(st.text(max_size=100))
def test_any_text_is_refused_or_an_address(text):
    try:
        key_hash = address.decode("dpai", text)
    except InvalidInput:
        return
    assert address.encode("dpai", key_hash) == text.lower()


def test_what_is_no_key_hash_or_prefix_is_our_own_fault():
    for prefix, key_hash in (("dpai", bytes(19)), ("", KEY_HASH), ("DPAI", KEY_HASH)):
        with pytest.raises(AssertionError):
            address.encode(prefix, key_hash)
