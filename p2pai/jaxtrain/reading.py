"""Reading files and compressed streams no further than a limit.

What a header or an archive's directory says about sizes is only a claim: bytes are counted as they come out,
so a small file that unpacks to a huge one is refused while it is unpacked.

Source: docs/THREATS.md.
"""

from pathlib import Path
from typing import Final, Protocol

from p2pai.primitives.errors import InvalidInput

DATA_BYTES_MAX: Final = 1 << 30
"""Bytes of a data file and of each array in it, also unpacked: they are held in memory while they are cut."""

_PIECE_BYTES: Final = 1 << 20


class Stream(Protocol):
    """What bytes come out of: a file, or what unpacks one."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""


def check_file(file: Path) -> None:
    """Check that a data file is one, and not too large.

    Raises:
      InvalidInput: a directory, a device or a pipe, empty, or beyond the limit.
      OSError: there is no such file, or it can't be looked at.
    """
    size = file.stat().st_size
    if not file.is_file():
        raise InvalidInput("it is a directory" if file.is_dir() else "it is not a regular file")
    if size == 0:
        raise InvalidInput("it is empty")
    check_size(size)


def check_size(size: int) -> None:
    """Check that so many bytes may be held; raises InvalidInput."""
    if size > DATA_BYTES_MAX:
        raise InvalidInput(f"it holds, or says that it holds, more than {DATA_BYTES_MAX:,} bytes of data")


def read_at_most(stream: Stream, size: int) -> bytearray:
    """Read a stream until its end or until `size` bytes, whichever comes first.

    The memory that this takes grows with what is there, not with `size`.
    """
    data = bytearray()
    while len(data) < size:
        piece = stream.read(min(_PIECE_BYTES, size - len(data)))
        if not piece:
            break
        data += piece
    return data
