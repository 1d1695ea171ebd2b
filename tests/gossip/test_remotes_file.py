"""The cache of good remotes comes back whole, and whatever happened to it, as far as it is sound."""

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip import remotes_file
from p2pai.gossip.remotes import TRIED_MAX, Book
from tests.gossip.test_remotes import OWN, make, name, public

CHAIN, NOW = "0a1b2c3d", 2_000_000_000_000


def full(count=40):
    book = make()
    for number in range(count):
        book.note_good(public(number, number), 1_000 + number)
        book.note_good(public(number, number), 5_000 + number)
    return book


def entries(book):
    return [(e.address, e.since_ms, e.good_ms) for e in book.tried]


def read_back(data, chain=CHAIN, now=NOW):
    book = Book(OWN, random.Random(0).randrange)
    return book, remotes_file.restore(book, data, chain, now)


def test_what_was_written_comes_back():
    book, damaged = read_back(remotes_file.encode(full(), CHAIN))
    assert entries(book) == entries(full())
    assert damaged == 0


def test_a_full_table_fits():
    data = remotes_file.encode(full(TRIED_MAX), CHAIN)
    assert len(data) <= remotes_file.FILE_SIZE_MAX
    book, damaged = read_back(data)
    assert (len(book.tried), damaged) == (TRIED_MAX, 0)


def test_who_dialled_us_is_only_heard_of():
    linked = [public(1, 1), public(90, 90), public(91, 91)]
    book, damaged = read_back(remotes_file.encode(full(), CHAIN, linked))
    assert entries(book) == entries(full())
    assert [entry.address for entry in book.heard] == linked[1:]
    assert damaged == 0
    crowd = [public(n, n) for n in range(1000)]
    assert len(read_back(remotes_file.encode(make(), CHAIN, crowd))[0].heard) == remotes_file.CLAIMED_MAX


def test_a_damaged_line_costs_itself_alone():
    lines = remotes_file.encode(full(), CHAIN).split(b"\n")
    lines[3] = lines[3].replace(b"/tcp/", b"/tpc/")
    lines[7] = b"\xff\x00" + lines[7][2:]
    book, damaged = read_back(b"\n".join(lines))
    assert damaged == 2
    assert len(book.tried) == 38


def test_another_chains_file_and_an_empty_one_give_nothing():
    for data in (remotes_file.encode(full(), "ffffffff"), b"", b"\n\n"):
        book, damaged = read_back(data)
        assert entries(book) == []
        assert damaged > 0


def test_times_of_a_wrong_clock_are_cut():
    book, _ = read_back(remotes_file.encode(full(1), CHAIN), now=500)
    assert [(e.since_ms, e.good_ms) for e in book.tried] == [(500, 500)]


def test_more_than_a_table_is_not_read():
    data = remotes_file.encode(full(TRIED_MAX), CHAIN)
    extra = b"".join(b"1 1 " + public(900 + n, n).text.encode() + b"\n" for n in range(5_000))
    book, _ = read_back(data + extra)
    extra_read = remotes_file.LINES_MAX - TRIED_MAX
    assert {e.address.remote for e in book.tried} <= {name(n) for n in range(TRIED_MAX + extra_read)}


@given(st.data())
def test_whatever_happens_to_the_file_something_sensible_is_read(data):
    original = remotes_file.encode(full(), CHAIN)
    sound = set(entries(full()))
    broken = bytearray(original)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(broken) - 1)) if broken else 0
        match data.draw(st.integers(0, 2)):
            case 0:
                broken[place : place + 1] = data.draw(st.binary(min_size=1, max_size=4))
            case 1:
                del broken[place : place + data.draw(st.integers(1, 300))]
            case _:
                broken[place:place] = broken[: data.draw(st.integers(0, 300))]
    book, damaged = read_back(bytes(broken))
    assert len(book.tried) <= TRIED_MAX
    assert damaged <= broken.count(b"\n") + broken.count(b"\r") + broken.count(b"\x0b") + 10
    if bytes(broken).startswith(original):
        assert sound <= set(entries(book))


@given(st.binary(max_size=2_000))
def test_any_bytes_are_read(data):
    read_back(data)
    read_back(remotes_file.encode(full(2), CHAIN) + data)
