"""Secret keys at rest: `DIR/keys.json`.

The file belongs to its owner alone: it is written with mode 0600, in one piece, never over existing keys, and
refused when anybody else may read it. **The keys in it are not encrypted yet**: whoever reads the file has
them.

Format: a JSON object with `version` 1 and `spending`, `vrf`, `bls`, each 64 hex digits.
"""

import json
import os
from pathlib import Path
from typing import Final

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.keys import SEED_SIZE, Keys, derive_keys
from p2pai.shell.files import make_directory, sync_directory, write_atomically

FILE_NAME: Final = "keys.json"
FORMAT_VERSION: Final = 1
FILE_BYTES_MAX: Final = 4096

_OTHERS: Final = 0o077
_KINDS: Final = ("spending", "vrf", "bls")


def create(directory: Path) -> Keys:
    """Make new keys from the system's entropy and store them; as `create_from_seed` otherwise."""
    return create_from_seed(directory, os.urandom(SEED_SIZE))


def create_from_seed(directory: Path, seed: bytes) -> Keys:
    """Store the keys that follow from a 32-byte secret seed, and return them.

    Raises:
      InvalidInput: the directory already holds keys; they are never overwritten.
    """
    make_directory(directory)
    path = directory / FILE_NAME
    keys = derive_keys(seed)
    named = {kind: getattr(keys, kind).hex() for kind in _KINDS}
    text = json.dumps({"version": FORMAT_VERSION, **named}, indent=1)
    fresh = directory / f".{FILE_NAME}.{os.getpid()}"
    write_atomically(fresh, text.encode())
    try:
        # A link, unlike a rename, refuses to replace what is there.
        os.link(fresh, path)
    except FileExistsError as error:
        raise InvalidInput(f"{path} already holds keys; move it away to make new ones") from error
    finally:
        fresh.unlink()
    sync_directory(directory)
    return keys


def load(directory: Path) -> Keys:
    """Return the stored keys.

    Raises:
      Unavailable: there are none.
      InvalidInput: others may read the file, or it is not a key file.
    """
    path = directory / FILE_NAME
    text = _read_private(path)
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.get("version") != FORMAT_VERSION:
            raise InvalidInput(f"{path} is not a key file of version {FORMAT_VERSION}")
        return Keys(*(bytes.fromhex(values[kind]) for kind in _KINDS))
    except (ValueError, KeyError, TypeError, RecursionError):
        # Without its cause: the error would quote the file.
        raise InvalidInput(f"{path} is damaged; restore it from a backup") from None


def exists(directory: Path) -> bool:
    """Tell whether a directory holds keys."""
    return (directory / FILE_NAME).exists()


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unavailable(f"{path.parent} holds no keys yet") from error
    except OSError as error:
        raise InvalidInput(f"{path} can't be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & _OTHERS or status.st_uid != os.geteuid():
            raise InvalidInput(f"others can read {path}; run: chmod 600 {path}")
        return file.read(FILE_BYTES_MAX)
