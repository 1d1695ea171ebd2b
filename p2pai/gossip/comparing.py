"""What one node has and another lacks of a set of ids, found out in a few bytes an id.

The asker sends four bytes of each of its ids, from a place in the id that changes with each question; the
other names the ids of its own that have no such bytes. Two ids that agree there hide one of them this time
and differ the next time: whoever makes ids to collide would have to make them collide at all 29 places.

Source: LIBP2P, decision 5 (gossip alone never suffices).
"""

from collections.abc import Iterable
from typing import Final

from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import HASH_SIZE, Hash32

PIECE_SIZE: Final = 4
"""Bytes of an id; two of 4,096 others agree with one by chance once in a million."""

PIECES_MAX: Final = 4096
"""Pieces in one question, 16 KiB; as many messages as a node keeps that are in no slot."""

PLACES: Final = HASH_SIZE - PIECE_SIZE + 1
"""Places where a piece can begin."""


def pieces(ids: Iterable[Hash32], place: int) -> bytes:
    """Return the pieces of ids, one behind the other."""
    assert 0 <= place < PLACES, "no such place"
    return b"".join(i[place : place + PIECE_SIZE] for i in ids)


def others(ids: Iterable[Hash32], place: int, known: bytes, count_max: int) -> tuple[Hash32, ...]:
    """Return those of our ids that have none of the known pieces, at most `count_max`.

    They come in the order of their pieces, so that each question gets others where there are too many.

    Raises:
      InvalidMessage: there is no such place, a piece is cut off, or there are too many.
    """
    if not 0 <= place < PLACES or len(known) % PIECE_SIZE or len(known) > PIECES_MAX * PIECE_SIZE:
        raise InvalidMessage("malformed pieces of ids")
    there = {known[i : i + PIECE_SIZE]: None for i in range(0, len(known), PIECE_SIZE)}
    lacking = (i for i in ids if i[place : place + PIECE_SIZE] not in there)
    return tuple(sorted(lacking, key=lambda i: i[place : place + PIECE_SIZE])[:count_max])
