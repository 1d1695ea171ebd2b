"""The book of remotes: no flood of addresses washes good ones out; whom to dial is spread and drawn."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.gossip.addresses import Scope, read
from p2pai.gossip.remotes import (
    ANCHORS,
    FAILURES_MAX,
    HEARD_MAX,
    PAUSE_MS_MAX,
    SUBNET_MAX,
    TRIED_FOR_MS,
    TRIED_MAX,
    Book,
)
from p2pai.primitives.ids import PeerId

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
OWN = PeerId("1" * 40)


def name(number):
    digits = []
    for _ in range(8):
        number, digit = divmod(number, 58)
        digits.append(ALPHABET[digit])
    return "z" * 32 + "".join(digits)


def at(host, number, port=4001):
    return read(f"/ip4/{host}/tcp/{port}/p2p/{name(number)}")


def public(network, number):
    """An address of one of 20,000 networks, whose neighbours are each of another subnet."""
    return at(f"{20 + network // 256}.{network % 256}.{number // 250 % 250}.{number % 250 + 1}", number)


def make(seed=0):
    return Book(OWN, random.Random(seed).randrange)


class TestHeard:
    def test_an_address_counts_once_and_for_its_first_teller(self):
        book = make()
        assert book.hear(public(1, 1), 1, "teller a")
        assert not book.hear(public(1, 1), 2, "teller b")
        assert [entry.teller for entry in book.heard] == ["teller a"]

    def test_our_own_address_is_nobodys(self):
        assert not make().hear(read(f"/ip4/8.8.8.8/tcp/1/p2p/{OWN}"), 1)

    @pytest.mark.parametrize(
        ("host", "teller", "taken"),
        [
            ("127.0.0.1", Scope.WORLD, False),
            ("192.168.1.1", Scope.WORLD, False),
            ("8.8.8.8", Scope.WORLD, True),
            ("127.0.0.1", Scope.SITE, False),
            ("192.168.1.1", Scope.SITE, True),
            ("127.0.0.1", Scope.MACHINE, True),
        ],
    )
    def test_nobody_names_what_he_can_not_reach(self, host, teller, taken):
        assert make().hear(at(host, 1), 1, "them", teller) is taken

    def test_a_flood_from_one_teller_washes_out_itself(self):
        book = make()
        honest = [public(n, n) for n in range(50)]
        for number, address in enumerate(honest):
            book.hear(address, 1, f"honest {number % 5}")
        for number in range(5_000):
            book.hear(public(1_000 + number, 100_000 + number), 2, "flood")
        texts = {entry.address.text for entry in book.heard}
        assert len(book.heard) == HEARD_MAX
        assert all(address.text in texts for address in honest)

    def test_a_subnet_has_few_entries_and_its_loudest_teller_loses(self):
        book = make()
        for number in range(200):
            book.hear(at(f"8.8.8.{number + 1}", number), 1, "flood")
        assert len(book.heard) == SUBNET_MAX
        late = at("8.8.8.250", 999)
        assert book.hear(late, 2, "honest")
        assert len(book.heard) == SUBNET_MAX

    def test_failures_end_what_never_was_good_but_not_when_all_fails(self):
        book = make()
        address = public(1, 1)
        book.hear(address, 1)
        for _ in range(3 * FAILURES_MAX):
            book.note_failure(address, 1, alone=True)
        assert len(book) == 1
        book.note_failure(address, 1, alone=False)
        assert len(book) == 0


class TestTried:
    def test_saying_gets_nobody_in(self):
        book = make()
        book.hear(public(1, 1), 1)
        assert book.tried == ()
        book.note_good(public(1, 1), 2)
        assert [entry.address for entry in book.tried] == [public(1, 1)]
        assert book.heard == ()

    def test_a_remote_that_moves_keeps_its_age(self):
        book = make()
        book.note_good(public(1, 1), 10)
        book.note_good(at("9.9.9.9", 1), 20)
        (entry,) = book.tried
        assert (entry.since_ms, entry.good_ms, entry.address.host) == (10, 20, "9.9.9.9")

    def test_who_came_last_of_the_largest_network_goes_first(self):
        book = make()
        honest = [public(n, n) for n in range(100)]
        for moment, address in enumerate(honest):
            book.note_good(address, moment)
        for number in range(1_000):
            book.note_good(public(500 + number % 4, 10_000 + 251 * number), 1_000 + number)
        remotes = {entry.address.remote for entry in book.tried}
        assert len(book.tried) == TRIED_MAX
        assert all(address.remote in remotes for address in honest)

    def test_a_full_subnet_keeps_who_answers(self):
        book = make()
        for number in range(SUBNET_MAX + 10):
            book.note_good(at(f"8.8.8.{number + 1}", number), number)
        assert [entry.address.remote for entry in book.tried] == [name(n) for n in range(SUBNET_MAX)]
        book.note_failure(at("8.8.8.1", 0), 100, alone=False)
        book.note_good(at("8.8.8.99", 99), 101)
        assert name(0) not in {entry.address.remote for entry in book.tried}
        assert name(99) in {entry.address.remote for entry in book.tried}

    def test_a_remote_that_was_good_is_remembered_for_long(self):
        book = make()
        book.note_good(public(1, 1), 0)
        for _ in range(50):
            book.note_failure(public(1, 1), TRIED_FOR_MS, alone=False)
        assert len(book.tried) == 1
        book.note_failure(public(1, 1), TRIED_FOR_MS + 1, alone=False)
        assert book.tried == ()


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 10**6)), min_size=300, max_size=700),
)
def test_a_network_within_its_share_loses_nothing(seed, honest_networks, hostile_networks, flood):
    """20 hostile addresses for each honest one, from as many networks as the attacker likes."""
    book = make(seed)
    share = TRIED_MAX // (honest_networks + hostile_networks)
    honest = [public(n, 251 * k + n) for n in range(honest_networks) for k in range(min(share, 3))]
    order = random.Random(seed)
    acts = [(book.note_good, address, 1) for address in honest]
    acts += [(book.note_good, public(1_000 + n % hostile_networks, 10**7 + k), 2) for n, k in flood]
    order.shuffle(acts)
    for act, address, moment in acts:
        act(address, moment)
    remotes = {entry.address.remote for entry in book.tried}
    assert len(remotes) <= TRIED_MAX
    assert all(address.remote in remotes for address in honest)
    subnets = Counter(entry.address.subnet for entry in book.tried)
    assert max(subnets.values()) <= SUBNET_MAX


class TestChoice:
    def test_it_is_spread_over_networks_as_far_as_there_are_such(self):
        book = make()
        for number in range(50):
            book.note_good(public(number % 5, 251 * number), number)
        chosen = book.choose(5, 1_000, (), (), ())
        assert len({address.network for address in chosen}) == 5
        chosen = book.choose(8, 1_000, (), (), ())
        assert len({address.network for address in chosen}) == 5
        assert len({address.remote for address in chosen}) == 8

    def test_networks_that_are_taken_come_last(self):
        book = make()
        for number in range(20):
            book.hear(public(number, number), 1)
        taken = [public(number, number).network for number in range(15)]
        chosen = book.choose(5, 1_000, (), taken, ())
        assert {address.network for address in chosen}.isdisjoint(taken)
        assert len(book.choose(9, 1_000, (), taken, ())) == 9

    def test_the_oldest_of_different_networks_come_first(self):
        book = make()
        for number in range(100):
            book.note_good(public(number // 2, number), number)
        wanted = {name(number) for number in range(0, 2 * ANCHORS, 2)}
        assert {address.remote for address in book.choose(ANCHORS, 1_000, (), (), ())} == wanted

    def test_those_of_our_tasks_come_before_all(self):
        book = make()
        for number in range(100):
            book.note_good(public(number, number), number)
        first = [PeerId(name(n)) for n in (71, 72, 73)]
        taken = [public(71, 71).network]
        assert [address.remote for address in book.choose(3, 1_000, (), taken, first)] == first

    def test_busy_remotes_are_left_out_and_no_remote_comes_twice(self):
        book = make()
        book.hear(at("8.8.8.8", 1), 1)
        book.hear(at("9.9.9.9", 1), 1)
        book.hear(at("7.7.7.7", 2), 1)
        assert [a.remote for a in book.choose(9, 2, [PeerId(name(2))], (), ())] == [name(1)]

    def test_both_tables_have_their_turn(self):
        book = make()
        for number in range(100):
            book.note_good(public(number, number), number)
            book.hear(public(200 + number, 1_000 + number), 1)
        chosen = book.choose(60, 1_000, (), (), ())
        heard = sum(address.text in {e.address.text for e in book.heard} for address in chosen)
        assert 15 < heard < 45

    def test_who_failed_is_dialled_later_and_later_never_all_at_once(self):
        book = make()
        address = public(1, 1)
        book.note_good(address, 0)
        now, pauses = 0, []
        for _ in range(12):
            book.note_failure(address, now, alone=False)
            (entry,) = book.tried
            pauses.append(entry.due_ms - now)
            assert book.choose(1, entry.due_ms - 1, (), (), ()) == []
            now = entry.due_ms
            assert book.choose(1, now, (), (), ()) == [address]
        assert pauses[0] <= 500
        assert PAUSE_MS_MAX // 2 <= pauses[-1] <= PAUSE_MS_MAX
        assert len(set(pauses[-4:])) > 1

    def test_who_ends_each_connection_at_once_is_dialled_later_and_later(self):
        book, address, pauses = make(), public(1, 1), []
        now = 0
        for _ in range(8):
            book.note_good(address, now)
            book.note_failure(address, now, alone=False)
            (entry,) = book.tried
            pauses.append(entry.due_ms - now)
            now = entry.due_ms
        assert pauses[-1] > 16 * pauses[0]
        book.note_good(address, now)
        book.note_steady(address, now)
        book.note_failure(address, now, alone=False)
        assert book.tried[0].due_ms - now <= 500


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 23), marks=pytest.mark.slow)])
def test_sybils_four_to_one_with_twenty_addresses_each_do_not_eclipse(seeds):
    """A node that knew honest remotes before keeps two of them outbound at each of its restarts.

    100 honest nodes, of which one in ten is down at a time; 400 Sybils in 200 networks that answer always,
    and that name 20 addresses for each honest one. The node dials 8 at a time, 16 links in all, and each
    that answers enters the table of good ones.
    """
    starved = 0
    for seed in seeds:
        dice = random.Random(seed)
        book = Book(OWN, dice.randrange)
        honest = [public(n, n) for n in range(100)]
        for moment, address in enumerate(dice.sample(honest, 30)):
            book.note_good(address, moment)
        sybils = [public(1_000 + n % 200, 100_000 + n) for n in range(400)]
        answers = {a.remote for a in sybils}
        for number in range(2_000):
            junk = sybils[number] if number < 400 else public(1_000 + number % 200, 200_000 + number)
            book.hear(junk, 50, junk.network)
        for restart in range(50):
            now = 1_000_000 * (restart + 1)
            up = {a.remote for a in honest if dice.random() < 0.9}
            links = []
            while len(links) < 16:
                busy, taken = [a.remote for a in links], [a.network for a in links]
                for address in book.choose(8, now, busy, taken, ()):
                    if address.remote in up or address.remote in answers:
                        book.note_good(address, now)
                        links.append(address)
                    else:
                        book.note_failure(address, now, alone=False)
            starved += sum(address.remote in up for address in links) < 2
    assert starved == 0
