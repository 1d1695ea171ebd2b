"""Where a command gets a password or words from: a terminal, or a file that is its owner's alone.

Never from the arguments or the environment, which other processes can see.
"""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from p2pai.primitives.errors import InvalidInput
from p2pai.shell import eip2335
from p2pai.shell.files import read_private

LENGTH_MIN: Final = 8
"""Characters of a new password. Source: NIST SP 800-63B."""

FILE_BYTES_MAX: Final = 4096

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Read the key store's password from a file that nobody else can read, instead of asking.",
    ),
]


def known(path: Path | None) -> str:
    """Return the password of a key store that exists.

    Raises:
      InvalidInput: others can read the file, it is empty, or there is no file and no terminal to ask on.
      Unavailable: there is no such file.
    """
    if path is not None:
        return _read(path)
    _need_terminal()
    return getpass.getpass("Password of the key store: ")


def chosen(path: Path | None) -> str:
    """Return the password for a new key store; on a terminal it is typed twice.

    Raises:
      InvalidInput: as `known`, or it is too short, or was typed in two ways.
    """
    if path is not None:
        password = _read(path)
    else:
        _need_terminal()
        password = getpass.getpass("New password: ")
        if getpass.getpass("Again: ") != password:
            raise InvalidInput("the two passwords differ; nothing was stored")
    if len(eip2335.normalise(password).decode()) < LENGTH_MIN:
        raise InvalidInput(f"a password has at least {LENGTH_MIN} characters; nothing was stored")
    return password


def is_terminal() -> bool:
    """Tell whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def agrees(question: str) -> bool:
    """Ask on the terminal; Enter alone is yes.

    Raises:
      KeyboardInterrupt: Ctrl-C, or the input has ended.
    """
    try:
        return typer.confirm(question, default=True)
    except typer.Abort:
        raise KeyboardInterrupt from None


def _need_terminal() -> None:
    if not sys.stdin.isatty():
        raise InvalidInput("there is no terminal to ask for the password; give --password-file FILE")


def _read(path: Path) -> str:
    try:
        data = read_private(path.expanduser(), FILE_BYTES_MAX + 1)
        text = data.decode()
    except ValueError:
        raise InvalidInput(f"{path} does not hold text in UTF-8") from None
    if len(data) > FILE_BYTES_MAX:
        raise InvalidInput(f"{path} is no password: it is longer than {FILE_BYTES_MAX} bytes")
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0]:
        raise InvalidInput(f"{path} must hold the password in one line, and nothing else")
    return lines[0]
