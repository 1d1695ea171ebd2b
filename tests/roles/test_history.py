"""Target: what was heard and what was certified become one history, whatever comes first."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.chain import it_res
from p2pai.primitives import ecdsa, merkle
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.ids import BlobId
from p2pai.roles.history import (
    ITERATIONS_MAX,
    SLOTS_KEPT,
    UNRECORDED_MAX,
    ModelAnnouncement,
    TaskHistory,
)
from tests.chain.ledger import MINERS, Chain, flip, keys, label, public
from tests.roles.lone import certified, ids_of, iteration

FIRST = MINERS[0]


@cache
def chain():
    return Chain()


@cache
def message(number, account=FIRST, said=0):
    """An IT_RES; with another `said` it is a twin for the same place."""
    return iteration(chain(), account, number, finished_s=1_780_000_001 + said)


@cache
def slot(number, *messages):
    return certified(chain(), number, messages)


def ticket_of(account):
    return chain().tickets("miner", account, task=chain().predefined)[0]


def add(history, data):
    return history.add_message(it_res.decode(data), data)


def history_of(*messages):
    history = TaskHistory()
    for data in messages:
        add(history, data)
    return history


class TestMessages:
    def test_a_message_is_kept_by_its_id_and_found_by_its_place(self):
        history = TaskHistory()
        identifier = add(history, message(3))
        assert identifier == it_res.message_id(message(3))
        assert history.messages[identifier] == message(3)
        assert history.decoded[identifier].iteration == 3
        assert history.places == {(ticket_of(FIRST), 3): identifier}
        assert list(history.unrecorded) == [identifier]

    def test_again_it_is_not_new(self):
        history = history_of(message(3))
        assert add(history, message(3)) is None
        assert len(history.unrecorded) == 1

    def test_the_unrecorded_stand_in_order_of_arrival(self):
        heard = [message(2), message(0, MINERS[1]), message(1)]
        assert list(history_of(*heard).unrecorded) == list(ids_of(heard))

    def test_the_latest_is_the_newest_and_not_the_last_heard(self):
        history = history_of(message(1), message(4), message(2), message(0, MINERS[1]))
        assert history.latest[ticket_of(FIRST)].iteration == 4
        assert history.latest[ticket_of(MINERS[1])].iteration == 0

    def test_what_waits_for_a_slot_is_limited(self):
        history = TaskHistory()
        first = it_res.decode(message(0))
        for number in range(UNRECORDED_MAX):
            other = replace(first, iteration=number + 1)
            assert history.add_message(other, other.encode()) is not None
        assert add(history, message(0)) is None
        assert len(history.messages) == UNRECORDED_MAX
        history.add_slot(slot(0, message(0)))
        assert add(history, message(0)) is not None, "what a slot names always has room"


class TestTwins:
    """A miner signed two messages for one place."""

    ONE, OTHER = message(5), message(5, said=1)

    def place(self, history):
        return history.places[ticket_of(FIRST), 5]

    def test_the_first_keeps_the_place(self):
        history = history_of(self.ONE)
        assert add(history, self.OTHER) is None
        assert self.place(history) == it_res.message_id(self.ONE)
        assert it_res.message_id(self.OTHER) not in history.messages

    @pytest.mark.parametrize("wanted", [True, False], ids=["proposed", "certified"])
    def test_what_the_committee_names_takes_the_place(self, wanted):
        history = history_of(self.ONE)
        (other,) = ids_of([self.OTHER])
        if wanted:
            history.wanted = (other,)
        else:
            history.add_slot(slot(0, self.OTHER))
        assert add(history, self.OTHER) == other
        assert self.place(history) == other
        assert it_res.message_id(self.ONE) not in history.unrecorded
        assert (other in history.unrecorded) == wanted

    def test_a_proposal_does_not_undo_what_is_recorded(self):
        history = history_of(self.ONE)
        history.add_slot(slot(0, self.ONE))
        history.wanted = ids_of([self.OTHER])
        assert add(history, self.OTHER) is None
        assert self.place(history) == it_res.message_id(self.ONE)


class TestSlots:
    def test_a_slot_takes_its_messages_off_the_unrecorded(self):
        history = history_of(message(0), message(1), message(2))
        assert history.add_slot(slot(0, message(1), message(0)))
        assert history.recorded == {ids_of([message(1)])[0]: (0, 0), ids_of([message(0)])[0]: (0, 1)}
        assert list(history.unrecorded) == list(ids_of([message(2)]))

    def test_a_message_that_comes_after_its_slot_is_recorded_already(self):
        history = TaskHistory()
        history.add_slot(slot(0, message(0)))
        assert add(history, message(0)) is not None
        assert not history.unrecorded

    def test_a_slot_is_taken_once(self):
        history = TaskHistory()
        assert history.add_slot(slot(0, message(0)))
        assert not history.add_slot(slot(0, message(1)))
        assert ids_of([message(1)])[0] not in history.recorded

    def test_slots_before_our_time_are_not_taken(self):
        history = TaskHistory()
        history.begin_at(3)
        history.begin_at(1)
        assert history.next_slot == 3, "it never goes back"
        assert not history.add_slot(slot(2, message(0)))

    def test_advance_stops_before_what_is_not_complete(self):
        history = history_of(message(0), message(2))
        for number in (0, 1, 2):
            history.add_slot(slot(number, message(number)))
        assert history.advance() == [0]
        assert (history.next_slot, history.advance()) == (1, [])
        add(history, message(1))
        assert history.advance() == [1, 2]
        assert history.next_slot == 3

    def test_advance_stops_before_an_unknown_slot(self):
        history = history_of(message(0), message(2))
        history.add_slot(slot(0, message(0)))
        history.add_slot(slot(2, message(2)))
        assert history.advance() == [0]
        history.begin_at(2)
        assert history.advance() == [2]

    def test_what_is_missing_is_named_once_in_the_order_of_the_slots(self):
        history = history_of(message(1))
        history.add_slot(slot(1, message(3), message(2)))
        history.add_slot(slot(0, message(0), message(1)))
        history.wanted = ids_of([message(4), message(0), message(1)])
        assert history.missing() == ids_of([message(0), message(3), message(2), message(4)])

    def test_what_old_slots_lack_is_not_missed(self):
        history = TaskHistory()
        history.add_slot(slot(0, message(0)))
        history.begin_at(1)
        assert history.missing() == ()

    def test_a_place_shows_the_message_under_the_root(self):
        messages = [message(n) for n in range(5)]
        history = history_of(*messages)
        history.add_slot(slot(7, *messages))
        root = history.slots[7].statement.root
        for index, data in enumerate(messages):
            (identifier,) = ids_of([data])
            recorded = history.place(identifier, first_slot=4)
            assert (recorded.message, recorded.slot, recorded.index, recorded.size) == (data, 3, index, 5)
            merkle.verify_inclusion(identifier, index, 5, recorded.path, root)


class TestForgetting:
    def test_messages_of_slots_long_gone_are_dropped(self):
        history = TaskHistory()
        first = it_res.decode(message(0))
        for number in range(SLOTS_KEPT + 2):
            other = replace(first, iteration=number)
            data = other.encode()
            history.add_message(other, data)
            history.add_slot(
                replace(
                    slot(0, message(0)),
                    statement=replace(slot(0, message(0)).statement, slot=number),
                    messages=ids_of([data]),
                )
            )
            history.advance()
        assert min(history.slots) == 3
        kept = SLOTS_KEPT - 1
        tables = (history.messages, history.decoded, history.places, history.recorded, history.slots)
        assert [len(table) for table in tables] == [kept] * len(tables)
        assert history.latest[first.ticket].iteration == SLOTS_KEPT + 1
        assert history.missing() == ()


PARTS = (
    *(("message", message(n)) for n in range(6)),
    ("slot", slot(0, message(1), message(0))),
    ("slot", slot(1, message(2))),
    ("slot", slot(2, message(4), message(3))),
)


@settings(max_examples=60, deadline=None)
@given(st.permutations(PARTS))
def test_the_order_of_arrival_does_not_matter(parts):
    history, done = TaskHistory(), []
    for kind, part in parts:
        _ = add(history, part) if kind == "message" else history.add_slot(part)
        done += history.advance()
    assert done == [0, 1, 2]
    assert history.missing() == ()
    assert list(history.unrecorded) == list(ids_of([message(5)]))
    assert {history.decoded[i].iteration: place for i, place in history.recorded.items()} == {
        1: (0, 0),
        0: (0, 1),
        2: (1, 0),
        4: (2, 0),
        3: (2, 1),
    }


class TestModelAnnouncement:
    def announcement(self, **changes):
        end = it_res.EndState(*(BlobId(label(p)) for p in ("w", "r", "o")), label("witness"))
        unsigned = ModelAnnouncement(chain().predefined, ticket_of(FIRST), 7, end, b"")
        unsigned = replace(unsigned, **changes)
        return replace(unsigned, signature=ecdsa.sign(keys(FIRST).spending, unsigned.digest))

    def test_its_miner_signed_it(self):
        self.announcement().verify(public(FIRST))
        with pytest.raises(InvalidProof):
            self.announcement().verify(public(MINERS[1]))

    @pytest.mark.parametrize(
        "changes",
        [
            {"task": label("another")},
            {"ticket": ticket_of(MINERS[1])},
            {"iteration": 8},
            {"after": it_res.EndState(*(BlobId(label(p)) for p in ("x", "r", "o")), label("witness"))},
            {"signature": b""},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_what_is_changed_afterwards_is_not_signed(self, changes):
        with pytest.raises(InvalidProof):
            replace(self.announcement(), **changes).verify(public(FIRST))

    def test_one_bit_of_the_signature_is_changed(self):
        good = self.announcement()
        with pytest.raises(InvalidProof):
            replace(good, signature=flip(good.signature, 300)).verify(public(FIRST))

    def test_an_iteration_beyond_four_bytes_is_refused_and_no_error_of_ours(self):
        with pytest.raises(InvalidProof, match="no task has that many iterations"):
            replace(self.announcement(), iteration=ITERATIONS_MAX).verify(public(FIRST))
