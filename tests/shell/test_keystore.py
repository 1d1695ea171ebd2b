"""A wallet at rest: encrypted, private, whole, never overwritten."""

import json
import os

import pytest

from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.mnemonic import KeyTree, words_of
from p2pai.shell import eip2335, keystore

WALLET = KeyTree(bytes(range(32)))
PASSWORD = "correct horse"
N = 2**4
"""Cost in tests."""


def create(directory, wallet=WALLET, password=PASSWORD):
    keystore.create(directory, wallet, password, scrypt_n=N)


def test_what_was_stored_is_unlocked(tmp_path):
    create(tmp_path / "new" / "node")
    assert keystore.unlock(tmp_path / "new" / "node", PASSWORD) == WALLET


def test_a_wrong_password_is_one_sentence(tmp_path):
    create(tmp_path)
    with pytest.raises(InvalidInput, match=r"^the password is wrong$") as caught:
        keystore.unlock(tmp_path, "correct horse ")
    assert caught.value.__cause__ is None


def test_the_file_is_private_alone_and_gives_nothing_away(tmp_path):
    create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["keys.json"]
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "keys.json").read_text()
    keys = WALLET.account(0)
    for secret in (WALLET.entropy, keys.spending, keys.vrf, keys.bls):
        assert secret.hex() not in text
    assert not set(words_of(WALLET.entropy).split()) & set(json.loads(text)["description"].split())
    assert PASSWORD not in text


def test_the_form_is_the_standards(tmp_path):
    create(tmp_path)
    store = json.loads((tmp_path / "keys.json").read_text())
    assert set(store) == {"crypto", "description", "pubkey", "path", "uuid", "version"}
    assert store["version"] == 4
    assert store["pubkey"] == ecdsa.public_key(WALLET.account(0).spending).hex()
    assert eip2335.decrypt(store["crypto"], PASSWORD) == WALLET.entropy


def test_keys_are_never_overwritten(tmp_path):
    create(tmp_path)
    with pytest.raises(InvalidInput, match="already holds keys"):
        create(tmp_path, KeyTree(bytes(32)))
    assert keystore.unlock(tmp_path, PASSWORD) == WALLET
    assert [p.name for p in tmp_path.iterdir()] == ["keys.json"]


def test_not_even_those_that_come_in_between(tmp_path, monkeypatch):
    monkeypatch.setattr(keystore, "check_absent", lambda directory: None)
    create(tmp_path)
    with pytest.raises(InvalidInput, match="already holds keys"):
        create(tmp_path, KeyTree(bytes(32)))
    assert keystore.unlock(tmp_path, PASSWORD) == WALLET
    assert [p.name for p in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_open_is_refused(tmp_path, mode):
    create(tmp_path)
    (tmp_path / "keys.json").chmod(mode)
    with pytest.raises(InvalidInput, match="chmod 600"):
        keystore.unlock(tmp_path, PASSWORD)


def test_a_link_is_refused(tmp_path):
    create(tmp_path / "real")
    (tmp_path / "keys.json").symlink_to(tmp_path / "real" / "keys.json")
    with pytest.raises(InvalidInput, match="can't be opened"):
        keystore.unlock(tmp_path, PASSWORD)


def test_no_keys_is_unavailable(tmp_path):
    assert not keystore.exists(tmp_path)
    with pytest.raises(Unavailable, match="holds no keys yet"):
        keystore.unlock(tmp_path, PASSWORD)


def _stored(secret=WALLET.entropy, **changes):
    values = {
        "crypto": eip2335.encrypt(secret, PASSWORD, scrypt_n=N),
        "pubkey": ecdsa.public_key(WALLET.account(0).spending).hex(),
        "version": 4,
    }
    return json.dumps({**values, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "[" * 4000,
        json.dumps({"version": 1, "spending": "11" * 32, "vrf": "22" * 32, "bls": "33" * 32}),
        _stored(version=3),
        _stored(version="4"),
        _stored(crypto=None),
        _stored(crypto={}),
        _stored(pubkey="02" * 33),
        _stored(secret=bytes(33)),
        _stored(secret=bytes(32)),
        _stored()[:-20],
        "\udc80",
    ],
)
def test_damaged_files_are_refused_without_quoting_them(tmp_path, text):
    path = tmp_path / "keys.json"
    path.touch(mode=0o600)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInput) as caught:
        keystore.unlock(tmp_path, PASSWORD)
    assert "keys.json" in str(caught.value)
    assert len(str(caught.value)) < 120 + len(str(path))
    assert caught.value.__cause__ is None


def test_a_crash_while_storing_leaves_no_half(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        create(tmp_path)
    assert list(tmp_path.iterdir()) == []
