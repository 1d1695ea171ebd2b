"""Targets: the commands that take a chain out, in, and check it say what they did, and what is wrong."""

import sys
from io import BytesIO, TextIOWrapper

import pytest

from p2pai.cli import chain as commands
from p2pai.primitives.ids import PeerId
from p2pai.shell import chain_disk, chain_file, config
from p2pai.shell.store import Store
from tests.chain.ledger import devnet, public
from tests.node.parts import grown


@pytest.fixture(scope="module")
def chain():
    return grown(3)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The data directory of a node that has run."""
    monkeypatch.setattr(chain_disk, "load_spec", lambda _: devnet())
    path = tmp_path / "node"
    config.save(config.NodeRecord(config.Config(path, "devnet"), PeerId("peer7"), public(7)))
    Store.open(path).close()
    monkeypatch.setenv("P2PAI_DATA_DIR", str(path))
    return path


@pytest.fixture
def packed(tmp_path, chain):
    path = tmp_path / "blocks"
    with path.open("wb") as stream:
        chain_file.write(stream, devnet().id, [block.encoded for block in chain.blocks])
    return path


def test_in_verified_and_out_again(home, packed, p2pai, p2pai_json, tmp_path, chain, monkeypatch):
    monkeypatch.setattr(commands, "TOLD_S", 0.0)
    status, out, err = p2pai("chain", "import", packed)
    assert (status, out) == (0, "3 new blocks, 0 known before; the chain is at height 3\n")
    assert p2pai("chain", "import", packed)[1].startswith("0 new blocks, 3 known before")
    status, out, err = p2pai("chain", "verify")
    assert status == 0
    assert out.startswith("3 blocks are valid and lead to the state ")
    assert "height 3, 0 s" in err
    monkeypatch.setattr(commands, "TOLD_S", 60.0)
    assert p2pai_json("chain", "verify")["blocks"] == 3
    again = tmp_path / "again"
    status, out, _ = p2pai("chain", "export", again)
    assert (status, out) == (0, f"3 blocks, height 1 to 3, are in {again}\n")
    assert again.read_bytes() == packed.read_bytes()
    assert p2pai("chain", "export", again, "--from", 2, "--to", 2)[0] == 0
    assert again.read_bytes().count(chain.blocks[1].encoded) == 1


def test_pipes(home, packed, p2pai, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(packed.read_bytes())))
    assert p2pai("chain", "import", "-")[0] == 0
    out = TextIOWrapper(BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    p2pai("chain", "export", "-")
    assert out.buffer.getvalue() == packed.read_bytes()


def test_what_was_good_is_told_before_what_is_wrong(home, packed, p2pai, chain):
    packed.write_bytes(packed.read_bytes()[:-36])
    status, out, err = p2pai("chain", "import", packed)
    assert status == 1
    assert out.startswith("3 new blocks")
    assert err == "p2pai: the file is cut off\n"


@pytest.mark.parametrize(("first", "last"), [(4, None), (1, 9), (3, 2)])
def test_a_range_that_the_chain_has_not(home, packed, p2pai, tmp_path, first, last):
    p2pai("chain", "import", packed)
    more = () if last is None else ("--to", last)
    status, _, err = p2pai("chain", "export", tmp_path / "out", "--from", first, *more)
    assert status == 1
    assert f"the chain has blocks 1 to 3, not {first} to" in err
    assert not (tmp_path / "out").exists()


def test_a_chain_without_blocks(home, p2pai, tmp_path):
    assert "no block yet but genesis" in p2pai("chain", "export", tmp_path / "out")[2]


def test_files_that_can_not_be_opened(home, p2pai, tmp_path, packed):
    p2pai("chain", "import", packed)
    assert "can't be read: No such file" in p2pai("chain", "import", tmp_path / "missing")[2]
    assert "can't be written: No such file" in p2pai("chain", "export", tmp_path / "no" / "file")[2]


@pytest.mark.parametrize("command", [("export", "out"), ("verify",)])
def test_there_must_have_been_a_node(p2pai, tmp_path, monkeypatch, command):
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path / "none"))
    status, _, err = p2pai("chain", *command)
    assert status == 1
    assert "p2pai start" in err
