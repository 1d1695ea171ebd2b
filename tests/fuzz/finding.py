"""Doors for where others are: addresses that remotes tell, records of mDNS, and the cache on disk."""

from p2pai.gossip import addresses, exchange, remotes_file
from p2pai.gossip.libp2p import mdns
from p2pai.gossip.remotes import HEARD_MAX, TRIED_MAX
from p2pai.primitives.errors import InvalidMessage
from tests.fuzz.harness import Door, Form
from tests.gossip.test_remotes import make, public

CHAIN, NOW_MS = "0a1b2c3d", 2_000_000_000_000
PLACES = [public(number, number) for number in range(20)]


def read_address(data):
    text = data.decode("latin-1")
    assert addresses.read(text).text == text


def read_told(data):
    assert len(exchange.parse(data)) <= exchange.TOLD_MAX


def read_record(data):
    found = mdns.parse(data)
    assert len(found) <= mdns.TEXTS_MAX
    for text in found:
        addresses.read(text)


def cache():
    book = make()
    for moment, place in enumerate(PLACES[:10]):
        book.note_good(place, moment)
    return (remotes_file.encode(book, CHAIN, PLACES[10:]),)


def read_cache(data):
    """Whatever is read can be written, and comes back."""
    book = make()
    damaged = remotes_file.restore(book, data, CHAIN, NOW_MS)
    assert len(book.tried) <= TRIED_MAX
    assert len(book.heard) <= HEARD_MAX
    again = make()
    assert remotes_file.restore(again, remotes_file.encode(book, CHAIN), CHAIN, NOW_MS) == 0
    assert again.tried == book.tried
    if damaged:
        raise InvalidMessage(f"{damaged} lines are damaged")


DOORS = (
    Door("remote_address", read_address, lambda: tuple(place.text.encode() for place in PLACES), Form.BYTES),
    Door("remotes_told", read_told, lambda: ("\n".join(p.text for p in PLACES[:16]).encode(),), Form.LINES),
    Door("mdns_record", read_record, lambda: (mdns.text_of([p.text for p in PLACES]),), Form.BYTES),
    Door("remotes_cache", read_cache, cache, Form.LINES),
)
