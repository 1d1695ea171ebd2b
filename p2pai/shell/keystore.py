"""A wallet at rest: `DIR/keys.json`, encrypted with a password.

The file has the shape of EIP-2335, version 4. What is encrypted is the BIP-39 entropy, so the file and the 24
words say the same; in clear stand the public spending key of account 0 and a random name of the store. It
belongs to its owner alone: written with mode 0600, in one piece, never over another one, and refused when
anybody else may read it.

Source: EIP-2335; RELIABILITY (5), "keys".
"""

import json
import uuid
from pathlib import Path
from typing import Any, Final

from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.mnemonic import ENTROPY_SIZES, KeyTree
from p2pai.shell import eip2335
from p2pai.shell.files import make_directory, read_private, write_new

FILE_NAME: Final = "keys.json"
FORMAT_VERSION: Final = 4
FILE_BYTES_MAX: Final = 4096
DESCRIPTION: Final = "BIP-39 entropy of a p2pai wallet"


def create(directory: Path, wallet: KeyTree, password: str, *, scrypt_n: int = eip2335.SCRYPT_N) -> None:
    """Store a wallet under a password.

    Args:
      directory: the node's data directory; made if it isn't there.
      wallet: what to store.
      password: not empty.
      scrypt_n: as in `eip2335.encrypt`.

    Raises:
      InvalidInput: the directory already holds keys; they are never overwritten.
    """
    check_absent(directory)
    store = {
        "crypto": eip2335.encrypt(wallet.entropy, password, scrypt_n=scrypt_n),
        "description": DESCRIPTION,
        "pubkey": _public_key(wallet),
        "path": "",
        "uuid": str(uuid.uuid4()),
        "version": FORMAT_VERSION,
    }
    make_directory(directory)
    try:
        write_new(directory / FILE_NAME, json.dumps(store, indent=1).encode())
    except FileExistsError as error:
        raise _occupied(directory) from error


def unlock(directory: Path, password: str) -> KeyTree:
    """Return the wallet that a directory holds.

    Raises:
      Unavailable: it holds none.
      InvalidInput: the password is wrong, others may read the file, or it is not a key store.
    """
    path = directory / FILE_NAME
    try:
        text = read_private(path, FILE_BYTES_MAX)
    except Unavailable as error:
        raise Unavailable(f"{directory} holds no keys yet") from error
    try:
        return _read(path, json.loads(text), password)
    except (ValueError, KeyError, TypeError, RecursionError):
        # Without its cause: the error would quote the file.
        raise _damaged(path) from None


def check_form(path: Path, text: bytes) -> None:
    """See that a key store has all its parts, as far as that is seen without its password.

    Raises:
      InvalidInput: it hasn't.
    """
    try:
        store = json.loads(text)
        _check_version(path, store)
        complete = all(isinstance(store[name], kind) for name, kind in (("crypto", dict), ("pubkey", str)))
    except (ValueError, KeyError, TypeError, RecursionError):
        complete = False
    if not complete:
        raise _damaged(path)


def exists(directory: Path) -> bool:
    """Tell whether a directory holds keys."""
    return (directory / FILE_NAME).exists()


def check_absent(directory: Path) -> None:
    """Refuse a directory that holds keys.

    Raises:
      InvalidInput: it does.
    """
    if exists(directory):
        raise _occupied(directory)


def _occupied(directory: Path) -> InvalidInput:
    path = directory / FILE_NAME
    return InvalidInput(f"{path} already holds keys; move it away, or name another --data-dir")


def _read(path: Path, store: Any, password: str) -> KeyTree:  # noqa: ANN401
    _check_version(path, store)
    entropy = eip2335.decrypt(store["crypto"], password)
    if len(entropy) not in ENTROPY_SIZES:
        raise ValueError("entropy")
    wallet = KeyTree(entropy)
    if store["pubkey"] != _public_key(wallet):
        raise ValueError("pubkey")
    return wallet


def _check_version(path: Path, store: Any) -> None:  # noqa: ANN401
    if not isinstance(store, dict) or store.get("version") != FORMAT_VERSION:
        raise InvalidInput(f"{path} is not a key store of version {FORMAT_VERSION}")


def _damaged(path: Path) -> InvalidInput:
    return InvalidInput(f"{path} is damaged; restore it from a backup or from your words")


def _public_key(wallet: KeyTree) -> str:
    return ecdsa.public_key(wallet.account(0).spending).hex()
