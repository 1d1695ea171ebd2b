"""Encryption under a password: published stores, wrong passwords, what a planted file may ask for."""

import copy
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidInput
from p2pai.shell import eip2335
from p2pai.shell.eip2335 import decrypt, encrypt, normalise

PUBLISHED = Path(__file__).parents[3] / "shared/vectors/keys/eip2335_keystores.json"
VECTORS = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else {"keystores": []}
N = 2**4
"""Cost in tests."""


@pytest.mark.parametrize("store", VECTORS["keystores"], ids=lambda s: s["crypto"]["kdf"]["function"])
def test_published_stores_are_read(store):
    assert decrypt(store["crypto"], VECTORS["password"]).hex() == VECTORS["secret_hex"]
    with pytest.raises(InvalidInput, match="the password is wrong"):
        decrypt(store["crypto"], VECTORS["password"] + "x")


def test_a_password_is_normalised_as_the_standard_says():
    # Source: EIP-2335, test cases.
    fancy = "\U0001d531\U0001d522\U0001d530\U0001d531\U0001d52d\U0001d51e\U0001d530\U0001d530"
    assert normalise(fancy + "\U0001d534\U0001d52c\U0001d52f\U0001d521\U0001f511").hex() == (
        "7465737470617373776f7264f09f9491"
    )
    assert normalise("a\0b\x1fc\x7fd\x80e\x9ff\n") == b"abcdef"
    assert normalise("\u00e9") == normalise("e\u0301")


@given(st.binary(min_size=1, max_size=64), st.text(max_size=20))
def test_what_was_encrypted_is_decrypted(secret, password):
    crypto = json.loads(json.dumps(encrypt(secret, password, scrypt_n=N)))
    assert decrypt(crypto, unicodedata.normalize("NFD", password)) == secret
    with pytest.raises(InvalidInput, match="the password is wrong"):
        decrypt(crypto, password + "x")
    assert len(crypto["cipher"]["message"]) == 2 * len(secret)


def test_no_two_stores_are_alike():
    first, second = (encrypt(b"secret", "password", scrypt_n=N) for _ in range(2))
    for part, name in (("kdf", "salt"), ("cipher", "iv")):
        assert first[part]["params"][name] != second[part]["params"][name]
    assert first["cipher"]["message"] != second["cipher"]["message"]


def test_every_changed_bit_is_noticed():
    crypto = encrypt(b"secret", "password", scrypt_n=N)
    for part in ("cipher", "checksum"):
        message = bytearray.fromhex(crypto[part]["message"])
        for place in range(8 * len(message)):
            changed = bytearray(message)
            changed[place // 8] ^= 1 << place % 8
            spoilt = copy.deepcopy(crypto)
            spoilt[part]["message"] = changed.hex()
            with pytest.raises(InvalidInput):
                decrypt(spoilt, "password")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("kdf", {"n": 2**21}), ("kdf", {"n": 0}), ("kdf", {"n": 3}), ("kdf", {"n": "16"}),
        ("kdf", {"n": True}),
        ("kdf", {"r": 9}), ("kdf", {"p": 2}), ("kdf", {"dklen": 64}), ("kdf", {"salt": ""}),
        ("kdf", {"salt": "00" * 65}), ("cipher", {"iv": "00" * 15}), ("cipher", {"iv": 7}),
    ],
    ids=str,
)  # fmt: skip
def test_what_asks_for_too_much_is_refused(part, change):
    crypto = encrypt(b"secret", "password", scrypt_n=N)
    crypto[part]["params"].update(change)
    with pytest.raises((InvalidInput, ValueError, TypeError)):
        decrypt(crypto, "password")


@pytest.mark.parametrize(
    ("part", "name"), [("kdf", "argon2"), ("checksum", "crc"), ("cipher", "aes-128-ecb")]
)
def test_other_functions_are_named(part, name):
    crypto = encrypt(b"secret", "password", scrypt_n=N)
    crypto[part]["function"] = name
    with pytest.raises(InvalidInput, match=name):
        decrypt(crypto, "password")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("00" * 16),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.data())
def test_any_change_of_a_store_is_refused_cleanly(data):
    """keystore.py turns the built-in errors into one sentence."""
    crypto = encrypt(b"secret", "password", scrypt_n=N)
    part = data.draw(st.sampled_from(["kdf", "checksum", "cipher"]))
    where = data.draw(st.sampled_from([crypto, crypto[part], crypto[part]["params"]]))
    if not where:
        return
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    try:
        decrypt(crypto, "password")
    except (InvalidInput, KeyError, TypeError, ValueError):
        return


def test_the_limits_leave_room_for_the_standard():
    assert eip2335.SCRYPT_N_MAX >= eip2335.SCRYPT_N == 2**18
