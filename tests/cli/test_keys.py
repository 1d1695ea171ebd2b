"""Making keys: from new words or old ones, with a password from a terminal or a file, never over others."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2pai.cli import passwords, start
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.primitives.mnemonic import KeyTree, entropy_of, words_of
from p2pai.shell import config, keystore
from p2pai.shell.specs import published_keys

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse"
ENTROPY = bytes(range(32))
SCRIPT_S_MAX = 30


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def cheap(monkeypatch):
    """Storing costs nothing."""
    monkeypatch.setitem(keystore.create.__kwdefaults__, "scrypt_n", 16)


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(f"{PASSWORD}\n")
    return path


def test_new_words_open_a_new_store(p2pai_json, directory, password_file):
    answer = p2pai_json("wallet", "create", "--password-file", password_file)
    assert answer["address"].startswith("dpai1")
    wallet = keystore.unlock(directory, PASSWORD)
    assert wallet == KeyTree(entropy_of(answer["words"]))
    assert len(answer["words"].split()) == 24
    assert json.loads((directory / "keys.json").read_text())["crypto"]["kdf"]["params"]["n"] == 2**18


def test_the_same_words_make_the_same_wallet(p2pai, directory, password_file, monkeypatch, cheap):
    monkeypatch.setattr(sys, "stdin", io.StringIO(words_of(ENTROPY).upper().replace(" ", "\n")))
    status, out, err = p2pai("wallet", "restore", "--password-file", password_file)
    assert (status, err) == (0, "")
    assert keystore.unlock(directory, PASSWORD) == KeyTree(ENTROPY)
    assert not set(words_of(ENTROPY).split()) & set(out.split()), "words that are known are not shown again"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "a wallet has 24 words"),
        (words_of(ENTROPY).replace("absurd", "absurt"), "'absurt', is not a word of BIP-39"),
        (" ".join(reversed(words_of(ENTROPY).split())), "fail their checksum"),
    ],
)
def test_mistyped_words_make_nothing(p2pai, directory, password_file, monkeypatch, words, sentence):
    monkeypatch.setattr(sys, "stdin", io.StringIO(words))
    status, out, err = p2pai("wallet", "restore", "--password-file", password_file)
    assert (status, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not directory.exists()


def test_a_store_is_never_replaced(p2pai, directory, password_file):
    keystore.create(directory, KeyTree(ENTROPY), PASSWORD, scrypt_n=16)
    for command in ("create", "restore"):
        status, _, err = p2pai("wallet", command, "--password-file", password_file)
        assert status == 1
        assert "already holds keys" in err
    assert keystore.unlock(directory, PASSWORD) == KeyTree(ENTROPY)


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("correct horse\n", 0o644, "others can read"),
        ("correct horse\n", 0o620, "others can read"),
        ("", 0o600, "must hold the password in one line"),
        ("\n", 0o600, "must hold the password in one line"),
        ("correct\nhorse", 0o600, "must hold the password in one line"),
        ("x" * 5000, 0o600, "is no password: it is longer than 4096 bytes"),
        ("short", 0o600, "at least 8 characters"),
        ("\x01\x02\x03\x04\x05\x06\x07\x08", 0o600, "at least 8 characters"),
    ],
)
def test_a_bad_password_file_is_one_sentence(p2pai, directory, password_file, text, mode, sentence):
    password_file.write_text(text)
    password_file.chmod(mode)
    status, out, err = p2pai("wallet", "create", "--password-file", password_file)
    assert (status, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert not directory.exists()


def test_other_files_are_refused(p2pai, tmp_path, password_file):
    (tmp_path / "link").symlink_to(password_file)
    (tmp_path / "binary").touch(mode=0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfd" * 4)
    for name in ("absent", "link", "binary", "."):
        status, _, err = p2pai("wallet", "create", "--password-file", tmp_path / name)
        assert (status, err.count("\n")) == (1, 1), err


def test_without_a_terminal_or_a_file_nothing_is_asked(p2pai, directory, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    status, _, err = p2pai("wallet", "create")
    assert status == 1
    assert err == "p2pai: there is no terminal to ask for the password; give --password-file FILE\n"
    assert not directory.exists()


class TestStarting:
    def test_a_node_without_keys_is_told_how_to_make_them(self, p2pai, directory, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
        status, out, err = p2pai("start")
        assert (status, out) == (1, "")
        assert f"p2pai wallet create --data-dir {directory}" in err
        assert not directory.exists()

    def test_a_wrong_password_starts_nothing(self, p2pai, directory, password_file):
        keystore.create(directory, KeyTree(ENTROPY), "another password", scrypt_n=16)
        status, out, err = p2pai("start", "--password-file", password_file)
        assert (status, out, err) == (1, "", "p2pai: the password is wrong\n")
        assert [path.name for path in directory.iterdir()] == ["keys.json"]

    def test_a_published_account_does_not_mix_with_a_store(self, p2pai, directory):
        keystore.create(directory, KeyTree(ENTROPY), PASSWORD, scrypt_n=16)
        status, _, err = p2pai("start", "--dev-account", 3)
        assert status == 1
        assert "holds other keys" in err

    def test_a_published_account_stays_with_its_directory(self, directory, monkeypatch):
        started = []
        monkeypatch.setattr(
            start.trio, "run", lambda run, settings, source, ready: started.append((settings, source))
        )
        start.start(dev_account=3, data_dir=directory)
        directory.mkdir()
        settings, source = started[0]
        config.save(config.NodeRecord(settings, PeerId("12D3"), PublicKey(bytes(33))))
        start.start(data_dir=directory)
        assert started[1] == (settings, source)
        assert (settings.dev_account, source) == (3, published_keys("devnet", 3))

    def test_an_account_that_is_not_published(self, p2pai):
        status, _, err = p2pai("start", "--dev-account", 10)
        assert (status, "it has 0 to 9" in err) == (1, True)


class Terminal:
    """A command on a terminal of its own, which a test types on."""

    def __init__(self, *arguments):
        self._terminal, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2pai", *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(slave)
        self.said = ""
        self._end_s = time.monotonic() + SCRIPT_S_MAX

    def until(self, pattern):
        while not (found := re.search(pattern, self.said)):
            left_s = self._end_s - time.monotonic()
            assert select.select([self._terminal], [], [], max(0, left_s))[0], self.said
            try:
                self.said += os.read(self._terminal, 4096).decode()
            except OSError:  # the other side is closed
                found = re.search(pattern, self.said)
                assert found, self.said
                break
        self.said = self.said[found.end() :]
        return found

    def type(self, line):
        os.write(self._terminal, f"{line}\n".encode())

    def close(self):
        self.process.kill()
        self.process.wait(10)
        os.close(self._terminal)


@pytest.fixture
def terminal():
    started = []

    def start(*arguments):
        started.append(Terminal(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_on_a_terminal_words_are_typed_back_and_the_password_is_not_shown(terminal, directory):
    command = terminal("wallet", "create")
    for prompt in ("New password: ", "Again: "):
        command.until(prompt)
        command.type(PASSWORD)
    shown = command.until(r"(?s)shown this once.*?\n(.*)To be sure, type word \d+: ")
    assert PASSWORD not in shown[0]
    words = re.findall(r"[a-z]+", shown[1])
    command.type("wrongword")
    command.until("another word")
    for _ in range(3):
        place = int(command.until(r"type word (\d+): ")[1])
        command.type(words[place - 1])
    command.until("Address of account 0: dpai1")
    assert command.process.wait(SCRIPT_S_MAX) == 0
    assert keystore.unlock(directory, PASSWORD) == KeyTree(entropy_of(" ".join(words)))


def test_whoever_did_not_write_the_words_down_has_no_store(p2pai, directory, monkeypatch, cheap):
    monkeypatch.setattr(passwords, "is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: "wrongword")
    typed = iter([PASSWORD, PASSWORD])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    status, _, err = p2pai("wallet", "create")
    assert status == 1
    assert "nothing was stored" in err
    assert not directory.exists()


def test_two_ways_of_typing_a_password_are_none(p2pai, directory, monkeypatch):
    typed = iter([PASSWORD, PASSWORD + "s"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert p2pai("wallet", "create") == (1, "", "p2pai: the two passwords differ; nothing was stored\n")
    assert not directory.exists()


def test_start_offers_to_make_a_wallet(terminal, directory):
    command = terminal("start")
    command.until("holds no keys yet")
    command.type("n")
    command.until("p2pai wallet create")
    assert command.process.wait(SCRIPT_S_MAX) == 1
    assert not (directory / config.FILE_NAME).exists()


def test_start_asks_for_the_password(terminal, directory):
    keystore.create(directory, KeyTree(ENTROPY), PASSWORD, scrypt_n=16)
    command = terminal("start")
    command.until("Password of the key store: ")
    command.type("another password")
    command.until("the password is wrong")
    assert command.process.wait(SCRIPT_S_MAX) == 1


def test_a_place_that_takes_no_file_is_one_sentence(p2pai, tmp_path, password_file, cheap):
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "wallet"
    status, _, err = p2pai("wallet", "create", "--password-file", password_file, "--data-dir", below)
    assert (status, err) == (1, f"p2pai: {below} can't be used: Not a directory\n")
