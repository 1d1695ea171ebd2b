"""Which keys a data directory works with, unlocked.

A key store needs its password. An account that the chain publishes needs none, because everybody has its
keys; they are derived each time, and stored nowhere.
"""

from pathlib import Path

from p2pai.cli import passwords
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.keys import KeySource
from p2pai.shell import config, keystore
from p2pai.shell.specs import published_keys


def unlock(directory: Path, password_file: Path | None) -> KeySource:
    """Return the keys of a data directory, as its node last ran.

    Raises:
      InvalidInput: the password is wrong, or can't be had.
      Unavailable: it has no keys; says how to make them.
    """
    if keystore.exists(directory):
        return keystore.unlock(directory, passwords.known(password_file))
    record = config.find(directory)
    if record is not None and record.config.dev_account is not None:
        return published_keys(record.config.chain, record.config.dev_account)
    raise Unavailable(f"{directory} holds no keys; make them with p2pai wallet create --data-dir {directory}")


def published_before(directory: Path) -> int | None:
    """Return the number of the published account that a directory is of; None: of none."""
    record = config.find(directory)
    return record.config.dev_account if record else None
