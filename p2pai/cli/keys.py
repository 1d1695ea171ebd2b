"""`p2pai wallet create` and `restore`: a key store from new words, or from those that were written down."""

import secrets
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from p2pai.cli import options, passwords, screen
from p2pai.primitives import address, ecdsa, mnemonic
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.mnemonic import KeyTree
from p2pai.shell import keystore
from p2pai.shell.specs import load_spec

WORDS_BYTES_MAX: Final = 4096
WORDS_ASKED: Final = 3
"""How many of the words are typed back, to see that they were written down."""

ATTEMPTS: Final = 3
COLUMNS: Final = 4

Chain = Annotated[str, typer.Option(metavar="NAME|FILE", help="The network whose form of address is shown.")]


def create(
    *,
    chain: Chain = "devnet",
    password_file: passwords.PasswordFile = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Make a new wallet: 24 words to write down, and a key store that a password opens."""
    directory = options.expand(data_dir)
    wallet = make(directory, password_file, quiet=as_json)
    _report(directory, chain, wallet, as_json=as_json, words=mnemonic.words_of(wallet.entropy))


def restore(
    *,
    chain: Chain = "devnet",
    password_file: passwords.PasswordFile = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Make a key store from words that were written down; asks for them, or reads standard input."""
    directory = options.expand(data_dir)
    keystore.check_absent(directory)
    wallet = KeyTree(mnemonic.entropy_of(_read_words()))
    keystore.create(directory, wallet, passwords.chosen(password_file))
    _report(directory, chain, wallet, as_json=as_json)


def make(directory: Path, password_file: Path | None, *, quiet: bool = False) -> KeyTree:
    """Make and store a new wallet; its words are shown once, unless `quiet`.

    Raises:
      InvalidInput: there is one already, there is no password, or the words were not written down.
    """
    keystore.check_absent(directory)
    password = passwords.chosen(password_file)
    wallet = KeyTree(secrets.token_bytes(mnemonic.ENTROPY_SIZE))
    words = mnemonic.words_of(wallet.entropy).split()
    if not quiet:
        _show(words)
        if passwords.is_terminal():
            _ask_back(words)
    keystore.create(directory, wallet, password)
    return wallet


def _show(words: list[str]) -> None:
    screen.show_line("Write these words down in their order, on paper. Who has them has the coins.")
    screen.show_line(
        "They are shown this once, and restore the wallet when the file or its password is lost."
    )
    rows = [words[first : first + COLUMNS] for first in range(0, len(words), COLUMNS)]
    for number, row in enumerate(rows):
        places = range(number * COLUMNS + 1, number * COLUMNS + 1 + len(row))
        screen.show_line("  ".join(f"{p:>4} {word:<8}" for p, word in zip(places, row, strict=True)).rstrip())


def _ask_back(words: list[str]) -> None:
    for place in sorted(secrets.SystemRandom().sample(range(len(words)), WORDS_ASKED)):
        for _ in range(ATTEMPTS):
            if input(f"To be sure, type word {place + 1}: ").strip().lower() == words[place]:
                break
            screen.complain("that is another word; look again")
        else:
            raise InvalidInput("the words were not written down, so nothing was stored; create a new wallet")


def _read_words() -> str:
    if sys.stdin.isatty():
        return input("The words, in their order, in one line: ")
    return sys.stdin.read(WORDS_BYTES_MAX)


def _report(directory: Path, chain: str, wallet: KeyTree, *, as_json: bool, words: str | None = None) -> None:
    public = ecdsa.public_key(wallet.account(0).spending)
    shown = address.encode(load_spec(chain).prefix, ecdsa.key_hash(public))
    file = directory / keystore.FILE_NAME
    if as_json:
        extra = {"words": words} if words else {}
        screen.show_json({"address": shown, "file": str(file), **extra})
    else:
        screen.show_line(f"Stored in {file}.")
        screen.show_line(f"Address of account 0: {shown}")
