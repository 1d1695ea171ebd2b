"""Data directories that are full, not writable, not private, or of another form."""

import os
import sqlite3
import subprocess
from contextlib import closing

import pytest

from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.primitives.mnemonic import KeyTree
from p2pai.shell import config, database, keystore
from p2pai.shell.checkup import data_directory
from p2pai.shell.checkup.finding import Level


@pytest.fixture
def tmpfs(tmp_path):
    """Mount a small file system, as the test says; gone after it."""
    mounted = []

    def mount(options):
        place = tmp_path / "small"
        place.mkdir()
        command = ("mount", "-t", "tmpfs", "-o", options, "none", place)
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("file systems can't be mounted here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(("umount", place), check=True)


def test_a_small_disk_is_full(tmpfs):
    finding = data_directory.check_space(tmpfs("size=8m") / "node")
    assert finding.level is Level.FAIL
    assert finding.found.startswith("0.0 GiB free")


def test_room_is_judged_in_three_steps(tmp_path):
    assert data_directory.check_space(tmp_path, wanted=1 << 60, needed=1).level is Level.WARN
    assert data_directory.check_space(tmp_path, wanted=1, needed=1).level is Level.OK


def test_a_disk_that_can_only_be_read_is_found(tmpfs):
    finding = data_directory.check_writing(tmpfs("size=8m,ro") / "node")
    assert finding.level is Level.FAIL
    assert "Read-only file system" in finding.found


def test_a_disk_that_is_full_to_the_last_byte_is_found(tmpfs):
    place = tmpfs("size=64k")
    with pytest.raises(OSError, match="No space"):
        (place / "all").write_bytes(bytes(1 << 20))
    assert data_directory.check_writing(place).level is Level.FAIL


def test_writing_is_timed_where_the_directory_will_be(tmp_path, monkeypatch):
    monkeypatch.setattr(data_directory, "SYNC_S_WANTED", 10.0)
    monkeypatch.setattr(data_directory, "SYNC_S_MAX", 20.0)
    assert data_directory.check_writing(tmp_path / "not" / "there").level is Level.OK
    monkeypatch.setattr(data_directory, "SYNC_S_WANTED", 0.0)
    assert data_directory.check_writing(tmp_path).level is Level.WARN
    monkeypatch.setattr(data_directory, "SYNC_S_MAX", 0.0)
    assert data_directory.check_writing(tmp_path).level is Level.FAIL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "level"), [(0o700, Level.OK), (0o750, Level.WARN), (0o701, Level.WARN)])
def test_others_shall_not_look_in(tmp_path, mode, level):
    tmp_path.chmod(mode)
    finding = data_directory.check_privacy(tmp_path)
    tmp_path.chmod(0o700)
    assert finding.level is level


def test_a_directory_that_is_not_there_yet_will_be_private(tmp_path):
    assert data_directory.check_privacy(tmp_path / "node").level is Level.OK


def make_keys(directory):
    keystore.create(directory, KeyTree(bytes(range(32))), "a password", scrypt_n=2**4)
    return directory / keystore.FILE_NAME


def test_keys_are_whole_and_private(tmp_path):
    assert data_directory.check_keys(tmp_path).level is Level.WARN
    path = make_keys(tmp_path)
    assert data_directory.check_keys(tmp_path).level is Level.OK
    path.chmod(0o644)
    finding = data_directory.check_keys(tmp_path)
    assert finding.level is Level.FAIL
    assert f"chmod 600 {path}" in finding.found


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"version": 4}', b'{"version": 4, "crypto": 1, "pubkey": ""}', b"[]"]
)
def test_a_damaged_key_store_is_found_without_its_password(tmp_path, text):
    make_keys(tmp_path).write_bytes(text)
    assert data_directory.check_keys(tmp_path).level is Level.FAIL


def test_published_keys_need_no_store(tmp_path):
    settings = config.Config(tmp_path, "devnet", dev_account=3)
    config.save(config.NodeRecord(settings, PeerId("12D3KooWtest"), PublicKey(b"\2" * 33)))
    finding = data_directory.check_keys(tmp_path)
    assert finding.level is Level.OK
    assert "account 3" in finding.found


def test_a_journal_of_another_version_is_found(tmp_path):
    path = tmp_path / database.FILE_NAME
    assert data_directory.check_journal(tmp_path).level is Level.OK
    database.open_for_writing(path).close()
    assert data_directory.check_journal(tmp_path).level is Level.OK
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")
    finding = data_directory.check_journal(tmp_path)
    assert finding.level is Level.FAIL
    assert "schema version 99" in finding.found


def test_a_journal_that_is_none_is_found(tmp_path):
    (tmp_path / database.FILE_NAME).write_bytes(
        b"this is not a database, but it is long enough to be one" * 20
    )
    finding = data_directory.check_journal(tmp_path)
    assert finding.level is Level.FAIL
    assert "can't be read as a journal" in finding.found
