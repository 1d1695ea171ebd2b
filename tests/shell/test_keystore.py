"""Keys at rest: private, whole, never overwritten."""

import json

import pytest

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.keys import derive_keys
from p2pai.shell import keystore

SEED = b"\x05" * 32


def test_created_keys_load_and_differ_between_nodes(tmp_path):
    first = keystore.create(tmp_path / "a")
    assert keystore.load(tmp_path / "a") == first
    assert keystore.create(tmp_path / "b") != first
    assert keystore.create_from_seed(tmp_path / "c", SEED) == derive_keys(SEED)
    assert keystore.load(tmp_path / "c") == derive_keys(SEED)


def test_the_file_is_private_and_alone(tmp_path):
    keystore.create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["keys.json"]
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_keys_are_never_overwritten(tmp_path):
    keys = keystore.create(tmp_path)
    with pytest.raises(InvalidInput, match="already holds keys"):
        keystore.create(tmp_path)
    assert keystore.load(tmp_path) == keys
    assert [p.name for p in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_open_is_refused(tmp_path, mode):
    keystore.create(tmp_path)
    (tmp_path / "keys.json").chmod(mode)
    with pytest.raises(InvalidInput, match="chmod 600"):
        keystore.load(tmp_path)


def test_a_link_is_refused(tmp_path):
    keystore.create(tmp_path / "real")
    (tmp_path / "keys.json").symlink_to(tmp_path / "real" / "keys.json")
    with pytest.raises(InvalidInput, match="can't be opened"):
        keystore.load(tmp_path)


def test_no_keys_is_unavailable(tmp_path):
    assert not keystore.exists(tmp_path)
    with pytest.raises(Unavailable):
        keystore.load(tmp_path)


def _stored(**changes):
    keys = derive_keys(SEED)
    values = {
        "version": 1, "spending": keys.spending.hex(), "vrf": keys.vrf.hex(), "bls": keys.bls.hex(),
    }  # fmt: skip
    return json.dumps({**values, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "[" * 4000,
        _stored(version=2),
        _stored(vrf=7),
        _stored(vrf="xy"),
        _stored(vrf="00"),
        _stored(spending="00" * 32),
        _stored(bls="ff" * 32),
        _stored()[:-20],
        "\udc80",
    ],
)
def test_damaged_files_are_refused_without_quoting_them(tmp_path, text):
    path = tmp_path / "keys.json"
    path.touch(mode=0o600)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInput) as caught:
        keystore.load(tmp_path)
    assert derive_keys(SEED).spending.hex() not in str(caught.value)
    assert caught.value.__cause__ is None
