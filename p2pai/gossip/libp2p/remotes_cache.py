"""The file of good remotes on disk: written in one piece or not at all, and read whatever stands in it."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from p2pai.gossip import remotes_file
from p2pai.gossip.addresses import Address
from p2pai.gossip.remotes import Book
from p2pai.primitives.ids import Millis

_log = structlog.get_logger(__name__)


def load(path: Path, book: Book, chain: str, now_ms: Millis) -> None:
    """Put into a book what the file holds; a missing or damaged one is no reason not to start."""
    try:
        with path.open("rb") as file:
            data = file.read(remotes_file.FILE_SIZE_MAX)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("the cache of remotes can't be read", path=str(path), reason=str(error))
        return
    damaged = remotes_file.restore(book, data, chain, now_ms)
    if damaged:
        _log.warning("the cache of remotes is damaged; the rest of it is used", lines=damaged, path=str(path))


def save(path: Path, book: Book, chain: str, linked: Iterable[Address]) -> None:
    """Write a book's good remotes, and those that dialled us, mode 0600; a full disk is logged, and no more.

    It need not survive a loss of power: the old file or none is as good.
    """
    draft = None
    try:
        descriptor, draft = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(remotes_file.encode(book, chain, linked))
        Path(draft).replace(path)
    except OSError as error:
        _log.warning("the cache of remotes can't be written", path=str(path), reason=str(error))
        if draft is not None:
            with suppress(OSError):
                Path(draft).unlink()
