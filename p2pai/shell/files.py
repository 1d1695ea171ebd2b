"""Private files, written in one piece or not at all.

A file appears under its name only when all its bytes are there: they go to a temporary file beside it, which
is then renamed. Whoever reads at the same time, or after a crash, sees the old file, the new one, or none.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def make_directory(path: Path) -> Path:
    """Create a directory, and those above it, for its owner alone; an existing one is left as it is."""
    path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, data: bytes, *, scratch: Path | None = None, durable: bool = True) -> None:
    """Write `data` to `path`, mode 0600, replacing what stood there.

    Args:
      path: the file's final name.
      data: all its bytes.
      scratch: directory of the temporary file, on the same file system; the file's own by default.
      durable: return only when the file and its name survive a loss of power.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=scratch or path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
