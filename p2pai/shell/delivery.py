"""Delivered files: a stored blob, written where the user looks for it."""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId
from p2pai.shell.blobs import BlobStore
from p2pai.shell.files import make_directory, sync_directory

DIRECTORY_NAME: Final = "models"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""No separator, no leading dot: a name can't leave the directory or hide in it."""


def deliver(blobs: BlobStore, blob: BlobId, models_dir: Path, name: str) -> Path:
    """Write a blob's bytes to `models_dir/name`, in one piece, chunk by chunk.

    Returns:
      The file's path.

    Raises:
      InvalidInput: the name is not a plain file name.
      Unavailable: the blob is not stored whole.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput("a delivered file's name has letters, digits, dots, dashes and underscores only")
    leaves = blobs.manifest(blob)
    if leaves is None:
        raise Unavailable(f"blob {blob.hex()} is not stored")
    path = make_directory(models_dir) / name
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=models_dir)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for leaf in leaves:
                file.write(blobs.chunk(leaf))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(models_dir)
    return path
