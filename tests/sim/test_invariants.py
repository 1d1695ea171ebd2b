"""The watchers themselves: each breach of a promise is seen (a check that can't fail checks nothing)."""

import pytest
from life import life

from p2pai import effects, events
from p2pai.gossip.envelope import open_envelope, seal
from p2pai.node import journal
from p2pai.primitives.ids import PeerId
from testnet.simulator.invariants import Agreement, Honesty, check_ledgers, places_of
from testnet.simulator.network import name_of, network

pytestmark = pytest.mark.usefixtures("shared")

A = PeerId("a")


def first(name):
    """An IT_RES of a real history, as published."""
    event = life().heard[name][0]
    return effects.Publish(event.topic, event.data)


def sent_record(kind):
    for data in life().training.disks[name_of(4)].journal:
        entry = journal.read(data)
        if type(entry).__name__ == kind:
            return data, entry
    raise AssertionError(kind)


def test_what_leaves_before_it_is_durable_is_seen():
    with pytest.raises(AssertionError, match="before it was durable"):
        Agreement()(A, events.Started(()), [first("it_res")])


def test_what_leaves_after_it_is_durable_is_fine():
    data, entry = sent_record("IterationSent")
    topic = next(e.topic for e in life().heard["it_res"] if entry.task.hex() in e.topic)
    publish = effects.Publish(topic, seal(bytes(31) + b"\1", topic, 1, entry.message))
    watch = Agreement()
    watch(A, events.Started(()), [effects.Persist(1, data)])
    with pytest.raises(AssertionError, match="before it was durable"):
        watch(A, events.TimerFired("x"), [publish])
    watch(A, events.Persisted(1), [publish])
    assert watch.counts == {"iteration": 1}


def test_a_journal_that_lost_a_record_does_not_excuse_a_second_statement():
    data, entry = sent_record("IterationSent")
    topic = next(e.topic for e in life().heard["it_res"] if entry.task.hex() in e.topic)
    other = entry.message[:-1] + bytes([entry.message[-1] ^ 1])
    watch = Agreement()
    watch(A, events.Started((data,)), [])
    watch(
        A, events.TimerFired("x"), [effects.Publish(topic, seal(bytes(31) + b"\1", topic, 1, entry.message))]
    )
    with pytest.raises(AssertionError, match="two statements"):
        watch(A, events.TimerFired("x"), [effects.Publish(topic, seal(bytes(31) + b"\1", topic, 2, other))])


def test_only_the_honest_are_held_to_the_rules():
    Agreement(Honesty({A: None}))(A, events.Started(()), [first("it_res")])


def test_every_kind_of_record_makes_a_place_durable():
    places = {type(journal.read(d)).__name__: places_of(journal.read(d)) for d in all_records()}
    assert {name: places[0][0] for name, places in places.items()} == {
        "TransactionPosted": "transaction",
        "IterationSent": "iteration",
        "StateKept": "StateKept",
        "SlotSigned": "view",
        "RecordBegun": "RecordBegun",
        "SlotRecorded": "SlotRecorded",
        "VerdictReached": "verdict",
        "ConclusionReached": "conclusion",
        "TaskPosted": "TaskPosted",
        "ModelDelivered": "ModelDelivered",
    }


def all_records():
    return [data for host in life().network.world.hosts.values() for data in host.disk.journal]


def test_published_envelopes_of_a_real_history_are_all_signed():
    for heard in life().heard.values():
        for event in heard:
            open_envelope(event.data, event.topic)


def test_nodes_on_different_tips_are_seen():
    net = network(1)
    net.world.run(lambda: net.core(4).state.height >= 1, 60)
    net.start(8)
    assert net.core(8).state.height == 0
    with pytest.raises(AssertionError, match="different tips"):
        check_ledgers(net.spec, net.cores)
