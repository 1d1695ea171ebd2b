"""A directory is made afresh and locked, and nobody else's is touched."""

import subprocess
import sys

import pytest

from p2pai.primitives.errors import Unavailable
from testnet.devnet.claim import claim

MARKER = "p2pai-demo.json"


def take(directory):
    return claim(directory, MARKER, "a demonstration")


def test_replaces_what_a_demonstration_left(tmp_path):
    directory = tmp_path / "run"
    with take(directory):
        (directory / "client").mkdir()
        (directory / "client" / "old").write_text("old")
    with take(directory):
        assert not (directory / "client").exists()


def test_an_empty_directory_will_do(tmp_path):
    with take(tmp_path):
        assert (tmp_path / MARKER).is_file()


def test_refuses_what_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Unavailable, match="was not made by a demonstration"):
        take(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_refuses_a_file(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(Unavailable):
        take(tmp_path / "run")


def test_refuses_one_where_a_demonstration_runs(tmp_path):
    program = (
        "from pathlib import Path; from testnet.devnet.claim import claim; "
        f"claim(Path({str(tmp_path / 'x')!r}), {MARKER!r}, 'a demonstration')"
    )
    with take(tmp_path / "x"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert b"a demonstration runs in" in done.stderr
