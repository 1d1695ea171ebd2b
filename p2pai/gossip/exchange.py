"""What one node tells another that asks "whom do you know?": a few addresses, and none that could do harm.

Told are remotes that we dialled ourselves not long ago, and those that are linked with us now and say that
they listen at the very IP address from which they talk to us. So nobody gets a third party's address passed
on by claiming it. An asker out in the world hears nothing of our machine or site.

The answer is text, an address a line, so that it can be read by anybody in any language.
"""

from collections.abc import Iterable
from typing import Final

from p2pai.gossip.addresses import ADDRESS_SIZE_MAX, Address, Scope, read_or_none
from p2pai.gossip.remotes import Book, Dice
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Millis, PeerId

TOLD_MAX: Final = 16
"""Addresses in one answer."""

GOOD_FOR_MS: Final = 3 * 3600 * 1000
"""Milliseconds since it was good last, after which a remote is no longer passed on."""

ANSWER_SIZE_MAX: Final = TOLD_MAX * (ADDRESS_SIZE_MAX + 1)


def answer(
    book: Book, linked: Iterable[Address], asker: PeerId, scope: Scope, now_ms: Millis, dice: Dice
) -> bytes:
    """Return what to tell.

    Args:
      book: whom we know.
      linked: where remotes that are linked now listen, by their word and by where they talk from.
      asker: who asks; it isn't told of itself.
      scope: from where the asker's address can be reached.
      now_ms: the time.
      dice: draws when there is more than one answer holds.
    """
    good = (entry.address for entry in book.tried if now_ms - entry.good_ms <= GOOD_FOR_MS)
    fit = {
        address.text: None
        for address in (*good, *linked)
        if address.remote != asker and address.scope >= scope
    }
    pile = list(fit)
    drawn = [pile.pop(dice(len(pile))) for _ in range(min(TOLD_MAX, len(pile)))]
    return "\n".join(drawn).encode()


def parse(data: bytes) -> list[Address]:
    """Read an answer; single addresses of a kind that we don't know are left out.

    Raises:
      InvalidMessage: it is no such answer.
    """
    if len(data) > ANSWER_SIZE_MAX or not data.isascii():
        raise InvalidMessage("not a list of addresses")
    lines = data.decode().split("\n") if data else []
    if len(lines) > TOLD_MAX:
        raise InvalidMessage("too many addresses")
    return [address for address in map(read_or_none, lines) if address is not None]
