"""What a node leaves about itself, and finding chain specs."""

import json
from pathlib import Path

import pytest

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.shell import config
from p2pai.shell.config import Config, NodeRecord
from p2pai.shell.specs import load_spec


def _record(directory, **changes):
    values = {
        "chain": "devnet",
        "roles": ("miner", "verifier"),
        "listen": "/ip4/127.0.0.1/tcp/4001",
        "bootstrap": ("/ip4/127.0.0.1/tcp/1/p2p/12D3",),
    }
    return NodeRecord(Config(directory, **{**values, **changes}), PeerId("12D3KooW"), PublicKey(b"\2" * 33))


@pytest.mark.parametrize("account", [None, 3])
def test_a_record_comes_back(tmp_path, account):
    record = _record(tmp_path, dev_account=account)
    config.save(record)
    assert config.load(tmp_path) == config.find(tmp_path) == record


def test_a_directory_without_a_node_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="p2pai start"):
        config.load(tmp_path)
    assert config.find(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [
        {"chain": 7}, {"roles": "miner"}, {"roles": [7]}, {"listen": None}, {"dev_account": "3"},
        {"dev_account": True}, {"public_key": "xy"}, {"public_key": 7},
    ],
)  # fmt: skip
def test_damaged_records_are_refused(tmp_path, change):
    config.save(_record(tmp_path))
    path = tmp_path / "node.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidInput, match="damaged"):
        config.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 5000])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "node.json").write_text(text)
    with pytest.raises(InvalidInput, match="damaged"):
        config.load(tmp_path)


def test_settled_settings_mean_the_same_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.toml").touch()
    settled = config.settle(Config(Path("node"), "own.toml"))
    assert settled.data_dir == tmp_path / "node"
    assert settled.chain == str(tmp_path / "own.toml")
    assert config.settle(Config(Path("node"), "devnet")).chain == "devnet"
    assert settled.blobs_dir.parent == settled.identity.parent == tmp_path / "node"


def test_an_unknown_chain_is_one_sentence(tmp_path):
    for name in ("nonet", "../presets/devnet", str(tmp_path / "absent.toml")):
        with pytest.raises(InvalidInput, match="there is no chain"):
            load_spec(name)


def test_an_unreadable_chain_spec_is_one_sentence(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    for name in (path, tmp_path):
        with pytest.raises(InvalidInput, match="can't be read"):
            load_spec(str(name))
