"""The identity file."""

import stat
from pathlib import Path

import pytest

from p2pai.gossip.libp2p.host import load_or_create_identity


def test_identity_is_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    made = load_or_create_identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_identity(path).private_key.serialize() == made.private_key.serialize()
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    path.write_bytes(b"not a key")
    with pytest.raises(ValueError, match="key"):
        load_or_create_identity(path)
    assert path.read_bytes() == b"not a key"
