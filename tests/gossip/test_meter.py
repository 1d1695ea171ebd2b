"""The meter's numbers against a naive computation over all sightings, and its memory under a flood."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.gossip import meter
from p2pai.gossip.envelope import seal, sequence_at
from p2pai.gossip.meter import OTHERS, Meter
from p2pai.gossip.sightings import (
    Arrived,
    Closed,
    Dropped,
    Grafted,
    Message,
    Opened,
    Outcome,
    Pruned,
    Published,
    Sent,
    Subscribed,
    Unsubscribed,
)
from tests.chain.ledger import keys

START_US = 1_780_000_000_000_000
TOPICS, REMOTES = ("t1", "t2"), ("r1", "r2", "r3")

topics, remotes = st.sampled_from(TOPICS), st.sampled_from(REMOTES)
messages = st.builds(
    lambda n, topic: Message(bytes([n]), b"author", topic, bytes(n)), st.integers(0, 9), topics
)
sightings = st.one_of(
    st.builds(Arrived, remotes, messages, st.sampled_from(Outcome)),
    st.builds(Published, messages),
    st.builds(Sent, remotes, topics, st.just(b"id"), st.integers(0, 9)),
    st.builds(Dropped, remotes, topics, st.just(b"id"), st.integers(0, 9)),
    st.builds(Grafted, remotes, topics, st.booleans()),
    st.builds(Pruned, remotes, topics, st.booleans()),
    st.builds(Subscribed, remotes, topics),
    st.builds(Unsubscribed, remotes, topics),
    st.builds(Opened, remotes),
    st.builds(Closed, remotes),
)
histories = st.lists(st.tuples(sightings, st.integers(0, 3_000_000)), max_size=80)


def times(history):
    now = START_US
    for sighting, gap_us in history:
        now += gap_us
        yield sighting, now


def is_new(sighting):
    return isinstance(sighting, Published) or (
        isinstance(sighting, Arrived) and sighting.outcome not in (Outcome.DUPLICATE, Outcome.INVALID)
    )


def mesh_of(history, topic):
    mesh = {}
    for sighting, now in times(history):
        match sighting:
            case Grafted(remote, at, by_remote) if at == topic:
                mesh[remote] = {"remote": remote, "since_us": now, "by_remote": by_remote}
            case Pruned(remote, at) if at == topic:
                mesh.pop(remote, None)
            case Closed(remote):
                mesh.pop(remote, None)
    return mesh


@settings(max_examples=150, deadline=None)
@given(histories)
def test_numbers_are_those_of_a_naive_count(history):
    metered = Meter(START_US)
    for sighting, now in times(history):
        metered.see(sighting, now)
    seen = list(times(history))
    end = seen[-1][1] if seen else START_US
    report = metered.report(end)
    for row in report["topics"]:
        mine = [(s, at) for s, at in seen if getattr(getattr(s, "message", s), "topic", None) == row["topic"]]
        new = [(s, at) for s, at in mine if is_new(s)]
        arrived = [s for s, _ in mine if isinstance(s, Arrived)]
        assert row["messages"] == len(new)
        assert row["bytes"] == sum(len(s.message.data) for s, _ in new)
        assert (row["arrived"], row["published"]) == (len(arrived), len(new) - sum(map(is_new, arrived)))
        assert {str(o): row[str(o)] for o in Outcome} == {str(o): 0 for o in Outcome} | {
            str(o): count for o, count in Counter(s.outcome for s in arrived).items()
        }
        last = [s for s, at in new if at // 1_000_000 > end // 1_000_000 - 10]
        assert row["last_10_s"] == [len(last), sum(len(s.message.data) for s in last)]
        assert {m["remote"]: m for m in row["mesh"]} == mesh_of(history, row["topic"])
        assert row["sent"] == sum(isinstance(s, Sent) for s, _ in mine)
        assert row["dropped"] == sum(isinstance(s, Dropped) for s, _ in mine)
    for row in report["remotes"]:
        mine = [s for s, _ in seen if isinstance(s, Arrived) and s.remote == row["remote"]]
        assert row["messages"] == sum(map(is_new, mine))
        assert row["duplicate"] == sum(s.outcome is Outcome.DUPLICATE for s in mine)
        assert row["arrived_bytes"] == sum(len(s.message.data) for s in mine)


def arrived(remote, number, outcome=Outcome.ACCEPTED, data=b"x", topic="t"):
    return Arrived(remote, Message(number.to_bytes(8, "big"), b"author", topic, data), outcome)


def row_of(report, kind, name):
    return next(row for row in report[kind] if name in (row.get("topic"), row.get("remote")))


def test_lag_is_from_the_first_copy_to_the_later_ones():
    metered = Meter(START_US)
    for number in range(100):
        at = START_US + number * 1_000_000
        metered.see(arrived("fast", number), at)
        metered.see(arrived("slow", number, Outcome.DUPLICATE), at + 1_000 * (number + 1))
    report = metered.report(START_US)
    assert row_of(report, "remotes", "fast")["lag_us"]["count"] == 0
    lag = row_of(report, "remotes", "slow")["lag_us"]
    assert lag["count"] == 100
    assert 50_000 <= lag["p50"] <= 56_250
    assert 99_000 <= lag["p99"] <= 111_375


def test_latency_is_from_the_senders_stamp():
    metered = Meter(START_US)
    for number in range(10):
        sent_ms = START_US // 1000 + number
        data = seal(keys(1).spending, "t", sequence_at(sent_ms, number), b"body")
        metered.see(arrived("r", number, data=data), sent_ms * 1000 + 20_000)
    metered.see(arrived("r", 10, data=b"no envelope"), START_US)
    latency = row_of(metered.report(START_US), "topics", "t")["latency_us"]
    assert latency["count"] == 10
    assert 20_000 <= latency["p50"] <= 22_500


def test_a_flood_of_topics_takes_one_row_and_leaves_room_for_ours():
    metered = Meter(START_US)
    for number in range(3 * meter.TOPICS_MAX):
        metered.see(Subscribed("r", f"flood {number}"), START_US)
        metered.see(arrived("r", number, Outcome.INVALID, topic=f"more {number}"), START_US)
    metered.see(Subscribed("r", "x" * 1_000_000), START_US)
    assert len(metered._topics) == meter.TOPICS_MAX + 1
    metered.see(Published(Message(b"1", b"a", "ours", b"data")), START_US)
    assert row_of(metered.report(START_US), "topics", "ours")["messages"] == 1
    assert len(metered._topics) == meter.TOPICS_MAX + 1
    assert max(map(len, metered._topics)) <= meter.NAME_LENGTH_MAX


def test_a_flood_of_remotes_makes_those_place_that_are_gone():
    metered = Meter(START_US)
    for number in range(meter.REMOTES_MAX):
        metered.see(Opened(f"r{number}"), START_US)
        metered.see(Subscribed(f"r{number}", "t"), START_US)
    metered.see(Opened("late"), START_US)
    metered.see(Subscribed("late", "t"), START_US)
    metered.see(Grafted("late", "t", True), START_US)
    assert "late" not in metered._remotes
    assert OTHERS in metered._remotes
    metered.see(Closed("r7"), START_US)
    metered.see(Opened("later"), START_US)
    metered.see(Grafted("later", "t", True), START_US)
    followers = row_of(metered.report(START_US), "topics", "t")["followers"]
    assert "r7" not in followers
    assert len(followers) == meter.REMOTES_MAX - 1
    assert [m["remote"] for m in row_of(metered.report(START_US), "topics", "t")["mesh"]] == ["later"]


def test_old_and_oversized_ids_are_forgotten():
    metered = Meter(START_US)
    for number in range(2 * meter.MESSAGES_KEPT):
        metered.see(arrived("r", number), START_US)
    metered.see(Arrived("r", Message(bytes(1 << 20), b"a", "t", b""), Outcome.ACCEPTED), START_US)
    assert len(metered._first) == meter.MESSAGES_KEPT
