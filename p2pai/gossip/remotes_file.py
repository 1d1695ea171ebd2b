"""The cache of remotes that were good, as text: what a node that starts again dials beside its bootstrap.

A head that names the chain, then a line for each remote: when it was good first, when last (Unix
milliseconds), and its address; zeros stand for one that dialled us and that we never did. Each line is read
with suspicion and by itself, so that what is damaged costs only itself: an entry is no more than an address
worth trying.
"""

import re
from collections.abc import Iterable
from typing import Final

from p2pai.gossip.addresses import ADDRESS_SIZE_MAX, Address, read
from p2pai.gossip.remotes import TRIED_MAX, Book
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Millis

LINE_SIZE_MAX: Final = ADDRESS_SIZE_MAX + 32
CLAIMED_MAX: Final = 64
"""Remotes that were linked and never dialled."""

LINES_MAX: Final = TRIED_MAX + CLAIMED_MAX
FILE_SIZE_MAX: Final = (LINES_MAX + 1) * LINE_SIZE_MAX
"""Bytes; what stands behind is not read."""

_LINE: Final = re.compile(r"([0-9]{1,14}) ([0-9]{1,14}) (/[!-~]+)")


def encode(book: Book, chain: str, linked: Iterable[Address] = ()) -> bytes:
    """Return the good remotes of a book, and of those that dialled us where they say that they listen."""
    tried = [f"{entry.since_ms} {entry.good_ms} {entry.address.text}" for entry in book.tried]
    known = {entry.address.remote for entry in book.tried}
    claimed = [f"0 0 {address.text}" for address in linked if address.remote not in known]
    return "\n".join((_head(chain), *tried, *claimed[:CLAIMED_MAX], "")).encode()


def restore(book: Book, data: bytes, chain: str, now_ms: Millis) -> int:
    """Put into a book what a file holds; return how many lines were damaged, all of another chain's file."""
    head, *lines = data[:FILE_SIZE_MAX].decode("ascii", "replace").splitlines() or [""]
    if head != _head(chain):
        return 1 + len(lines)
    return sum(not _restore_line(book, line, now_ms) for line in lines[:LINES_MAX])


def _restore_line(book: Book, line: str, now_ms: Millis) -> bool:
    match = _LINE.fullmatch(line)
    if match is None:
        return False
    try:
        address = read(match[3])
    except InvalidMessage:
        return False
    if not int(match[2]):
        book.hear(address, now_ms, "cache")
        return True
    # A clock that was wrong must not make an entry older or younger than it can be.
    good_ms = min(int(match[2]), now_ms)
    book.restore(address, min(int(match[1]), good_ms), good_ms)
    return True


def _head(chain: str) -> str:
    return f"p2pai remotes of {chain}, 1"
