"""Private files, written in one piece or not at all.

A file appears under its name only when all its bytes are there: they go to a temporary file beside it, which
is then renamed. Whoever reads at the same time, or after a crash, sees the old file, the new one, or none.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, Final

from p2pai.primitives.errors import InvalidInput, Unavailable

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600

_OTHERS: Final = 0o077


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
    with replacing(path, scratch=scratch, durable=durable) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, *, scratch: Path | None = None, durable: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write to, which stands at `path` when all went well; see `write_atomically`."""
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=scratch or path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file as `write_atomically` does, but never over another.

    Raises:
      FileExistsError: there is one.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    write_atomically(fresh, data)
    try:
        # A link, unlike a rename, refuses to replace what is there.
        os.link(fresh, path)
    finally:
        fresh.unlink()
    sync_directory(path.parent)


def open_new(path: Path) -> RawIOBase:
    """Make a private file to be written bit by bit, each at once.

    Raises:
      InvalidInput: there is one already, or it can't be made.
    """
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb", buffering=0)
    except FileExistsError as error:
        raise InvalidInput(f"{path} exists already; choose another name") from error
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from error


def read_private(path: Path, size_max: int) -> bytes:
    """Return the first `size_max` bytes of a file that is its owner's alone.

    Raises:
      Unavailable: there is none.
      InvalidInput: others may open it, it is a link, or it can't be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unavailable(f"there is no file {path}") from error
    except OSError as error:
        raise InvalidInput(f"{path} can't be opened: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & _OTHERS or status.st_uid != os.geteuid():
                raise InvalidInput(f"others can read {path}; run: chmod 600 {path}")
            return file.read(size_max)
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Return when the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
