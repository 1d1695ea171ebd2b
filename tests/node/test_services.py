"""Targets: every request becomes one effect, and its answer reaches whoever asked, once; a fetch is shared;
what nobody waits for is nothing.

`Services` itself, given events by hand.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai import effects, events, jobs
from p2pai.node import journal
from p2pai.node.journal import TransactionPosted
from p2pai.node.services import Services
from p2pai.primitives import blob
from p2pai.primitives.ids import BlobId, PeerId
from tests.chain.ledger import label
from tests.node.parts import of

BLOB, OTHER = BlobId(label("blob")), BlobId(label("other"))
FOUND = events.Fetched(BLOB, (label("leaf"),), b"data")
A, B, C = (PeerId(name) for name in "abc")


@pytest.fixture
def services():
    return Services()


@pytest.fixture
def heard():
    """What came back, in order."""
    return []


class TestPersist:
    def test_the_record_is_written_and_then_runs_when_it_is_durable(self, services, heard):
        record = TransactionPosted(b"tx")
        services.persist(record, lambda: heard.append("durable"))
        (effect,) = services.take_effects()
        assert journal.read(effect.record) == record
        assert heard == []
        assert services.answer(events.Persisted(effect.token))
        assert heard == ["durable"]

    def test_each_record_has_its_own_then(self, services, heard):
        for name in ("first", "second"):
            services.persist(TransactionPosted(name.encode()), lambda name=name: heard.append(name))
        first, second = services.take_effects()
        services.answer(events.Persisted(second.token))
        services.answer(events.Persisted(first.token))
        assert heard == ["second", "first"]

    def test_what_runs_may_ask_for_more(self, services, heard):
        again = TransactionPosted(b"again")
        services.persist(TransactionPosted(b""), lambda: services.persist(again, lambda: heard.append(1)))
        (first,) = services.take_effects()
        services.answer(events.Persisted(first.token))
        (second,) = services.take_effects()
        assert second.token != first.token
        services.answer(events.Persisted(second.token))
        assert heard == [1]


class TestTimers:
    def test_a_timer_runs_once(self, services, heard):
        services.set_timer("t", 5, lambda: heard.append("t"))
        assert services.take_effects() == [effects.SetTimer("t", 5)]
        services.answer(events.TimerFired("t"))
        services.answer(events.TimerFired("t"))
        assert heard == ["t"]

    def test_setting_it_again_replaces_what_runs(self, services, heard):
        services.set_timer("t", 5, lambda: heard.append("old"))
        services.set_timer("t", 9, lambda: heard.append("new"))
        services.answer(events.TimerFired("t"))
        assert heard == ["new"]

    def test_a_timer_may_set_itself_again(self, services, heard):
        def tick():
            heard.append(len(heard))
            services.set_timer("t", 1, tick)

        tick()
        for _ in range(3):
            services.answer(events.TimerFired("t"))
        assert heard == [0, 1, 2, 3]

    def test_a_timer_of_a_former_life_is_nothing(self, services):
        assert services.answer(events.TimerFired("slot:of a task before the restart"))
        assert services.take_effects() == []


class TestTraining:
    def test_each_result_reaches_who_asked(self, services, heard):
        for session in ("s", "t"):
            services.train(jobs.Keep(session), lambda result, s=session: heard.append((s, result)))
        first, second = services.take_effects()
        assert (first.job, second.job) == (jobs.Keep("s"), jobs.Keep("t"))
        assert first.request != second.request
        services.answer(events.Trained(second.request, jobs.Failed("no")))
        services.answer(events.Trained(first.request, jobs.Validated(())))
        assert heard == [("t", jobs.Failed("no")), ("s", jobs.Validated(()))]

    def test_the_same_job_twice_is_two_requests(self, services):
        for _ in range(2):
            services.train(jobs.Keep("s"), lambda _: None)
        first, second = services.take_effects()
        assert first.request != second.request


class TestFetching:
    def test_who_wants_the_same_blob_shares_the_fetch(self, services, heard):
        for name in ("first", "second"):
            services.fetch(BLOB, (A,), lambda fetched, name=name: heard.append((name, fetched)))
        assert services.take_effects() == [effects.Fetch(BLOB, (A,))]
        services.answer(FOUND)
        assert heard == [("first", FOUND), ("second", FOUND)]

    def test_all_learn_that_nobody_had_it_and_may_ask_again(self, services, heard):
        for _ in range(2):
            services.fetch(BLOB, (), heard.append)
        nobody = events.Fetched(BLOB, None, None)
        services.answer(nobody)
        assert heard == [nobody, nobody]
        services.take_effects()
        services.fetch(BLOB, (B,), heard.append)
        assert services.take_effects() == [effects.Fetch(BLOB, (B,))]

    def test_who_asks_again_when_told_gets_a_new_fetch(self, services, heard):
        services.fetch(BLOB, (), lambda _: services.fetch(BLOB, (), heard.append))
        services.answer(events.Fetched(BLOB, None, None))
        assert len(services.take_effects()) == 2
        assert heard == []
        services.answer(FOUND)
        assert heard == [FOUND]

    def test_other_blobs_stay_awaited(self, services, heard):
        services.fetch(OTHER, (), heard.append)
        services.answer(FOUND)
        assert heard == []

    def test_a_blob_that_nobody_waits_for_is_nothing(self, services):
        assert services.answer(FOUND)
        assert services.answer(FOUND)
        assert services.take_effects() == []

    @given(st.lists(st.sampled_from(["want", "want other", "found", "found other"]), max_size=30))
    def test_everyone_is_answered_exactly_once(self, steps):
        services, waiting, told = Services(), {BLOB: [], OTHER: []}, []
        for number, step in enumerate(steps):
            wanted = OTHER if "other" in step else BLOB
            if step.startswith("want"):
                services.fetch(wanted, (), lambda _, number=number: told.append(number))
                assert bool(services.take_effects()) == (waiting[wanted] == [])
                waiting[wanted].append(number)
            else:
                told.clear()
                services.answer(events.Fetched(wanted, None, None))
                assert told == waiting[wanted]
                waiting[wanted] = []


class TestAsking:
    def test_the_answer_reaches_who_asked(self, services, heard):
        services.ask(A, b"one", lambda body: heard.append(("one", body)))
        services.ask(A, b"two", lambda body: heard.append(("two", body)))
        first, second = services.take_effects()
        assert [(e.remote, e.body) for e in (first, second)] == [(A, b"one"), (A, b"two")]
        services.answer(events.Answered(second.request, A, None))
        services.answer(events.Answered(first.request, A, b"yes"))
        assert heard == [("two", None), ("one", b"yes")]


class TestBlobs:
    def test_a_blob_of_ours_is_stored_for_all_under_its_content_id(self, services):
        chunks = (b"one", b"two")
        assert services.put_blob(chunks) == blob.blob_id(chunks)
        assert services.take_effects() == [effects.PutBlob(chunks, shared=True)]

    def test_sharing_and_delivering(self, services):
        services.share(BLOB)
        services.deliver(OTHER, "model.safetensors")
        asked = [effects.Share(BLOB), effects.Deliver(OTHER, "model.safetensors")]
        assert services.take_effects() == asked


class TestRemotes:
    def test_each_turn_takes_another_one(self, services):
        for remote in (C, A, B):
            services.answer(events.Connected(remote))
        assert [services.next_remote(turn) for turn in range(4)] == [A, B, C, A]

    def test_who_left_is_not_asked(self, services):
        services.answer(events.Connected(A))
        services.answer(events.Connected(B))
        services.answer(events.Disconnected(A))
        services.answer(events.Disconnected(C))
        assert {services.next_remote(turn) for turn in range(4)} == {B}

    def test_alone_there_is_nobody(self, services):
        assert services.next_remote(0) is None

    def test_connecting_twice_is_one_remote(self, services):
        for _ in range(2):
            services.answer(events.Connected(A))
        services.answer(events.Disconnected(A))
        assert services.next_remote(0) is None


def test_effects_are_taken_once_and_in_order(services):
    services.share(BLOB)
    services.set_timer("t", 1, lambda: None)
    taken = services.take_effects()
    assert [type(e) for e in taken] == [effects.Share, effects.SetTimer]
    assert services.take_effects() == []


@pytest.mark.parametrize(
    "event",
    [
        events.Started(()),
        events.Received(A, "topic", b""),
        events.Submitted("m", b""),
        events.Asked(1, A, b""),
    ],
)
def test_what_answers_no_request_is_left_to_the_core(services, event):
    assert not services.answer(event)
    assert services.take_effects() == []


def test_two_nodes_asking_alike_ask_in_the_same_words(services):
    """Requests are numbered, not drawn: a history can be repeated."""
    other = Services()
    for each in (services, other):
        each.train(jobs.Keep("s"), lambda _: None)
        each.ask(A, b"", lambda _: None)
    assert services.take_effects() == (mine := other.take_effects())
    assert len(of(mine, effects.Train)) == 1
