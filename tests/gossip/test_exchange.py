"""Whom a node tells of, and that what it is told is read with suspicion."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip import exchange
from p2pai.gossip.addresses import Scope
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId
from tests.gossip.test_remotes import at, make, name, public

NOBODY = PeerId("2" * 40)


def told(book, linked=(), asker=NOBODY, scope=Scope.MACHINE, now=0):
    return exchange.parse(exchange.answer(book, linked, asker, scope, now, random.Random(0).randrange))


def test_only_who_was_good_is_told_of_and_not_the_asker():
    book = make()
    book.hear(public(1, 1), 0)
    book.note_good(public(2, 2), 0)
    book.note_good(public(3, 3), 0)
    assert told(book, asker=PeerId(name(3))) == [public(2, 2)]


def test_who_is_linked_is_told_of():
    assert told(make(), [public(1, 1), public(1, 1)]) == [public(1, 1)]


def test_what_was_good_long_ago_is_not_told():
    book = make()
    book.note_good(public(2, 2), 0)
    assert told(book, now=exchange.GOOD_FOR_MS + 1) == []


def test_our_site_and_machine_are_nobody_elses_business():
    book = make()
    for number, host in enumerate(("127.0.0.1", "192.168.1.1", "8.8.8.8")):
        book.note_good(at(host, number), 0)
    hosts = {scope: {a.host for a in told(book, scope=scope)} for scope in Scope}
    assert hosts[Scope.WORLD] == {"8.8.8.8"}
    assert hosts[Scope.SITE] == {"8.8.8.8", "192.168.1.1"}
    assert hosts[Scope.MACHINE] == {"8.8.8.8", "192.168.1.1", "127.0.0.1"}


def test_an_answer_is_bounded_and_drawn():
    book = make()
    for number in range(200):
        book.note_good(public(number, number), 0)
    answers = {
        exchange.answer(book, (), NOBODY, Scope.WORLD, 0, random.Random(seed).randrange) for seed in range(5)
    }
    assert len(answers) == 5
    assert all(len(exchange.parse(answer)) == exchange.TOLD_MAX for answer in answers)


def test_kinds_that_are_not_known_are_left_out():
    text = b"/ip9/x\n" + public(1, 1).text.encode()
    assert exchange.parse(text) == [public(1, 1)]


@pytest.mark.parametrize("data", [b"\xff", b"\n" * exchange.TOLD_MAX, b"x" * (exchange.ANSWER_SIZE_MAX + 1)])
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(InvalidMessage):
        exchange.parse(data)


@given(st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(data):
    with suppress(InvalidMessage):
        assert len(exchange.parse(data)) <= exchange.TOLD_MAX
