"""Planted differences between two recordings are found, and nothing else."""

import json
from itertools import count

from recordings import BEGAN_US, ONE, OTHER, TOPIC, head, message

from p2pai.gossip import differences
from p2pai.gossip.differences import Differences
from p2pai.gossip.recording import Entry
from p2pai.gossip.sightings import Arrived, Outcome, Published

THIRD = "12D3KooWthird"


def said(number, at_us):
    return Entry(BEGAN_US + at_us, Published(message(number)))


def came(number, at_us, remote=THIRD, outcome=Outcome.ACCEPTED):
    return Entry(BEGAN_US + at_us, Arrived(remote, message(number), outcome))


def compare(a, b):
    """Fold two lists of entries, in the order of their times."""
    found = Differences((head(peer=ONE), head(peer=OTHER)))
    both = [(entry.time_us, side, next(NUMBERS), entry) for side, part in enumerate((a, b)) for entry in part]
    for _, side, _, entry in sorted(both, key=lambda item: item[:3]):
        found.see(side, entry)
    report = found.report()
    assert json.loads(json.dumps(report)) == report
    return report


NUMBERS = count()


def test_equal_recordings_have_no_differences():
    entries = [came(n, n * 10) for n in range(20)]
    report = compare(entries, entries)
    assert (report["both"], report["only"], report["verdicts"]) == (20, [0, 0], 0)
    (topic,) = report["topics"]
    assert (topic["topic"], topic["out_of_order"]) == (TOPIC, 0)
    assert set(topic["later_us"].values()) == {0}


def test_a_missing_message_is_named():
    entries = [came(n, n * 10) for n in range(20)]
    report = compare(entries, entries[:7] + entries[8:])
    assert report["only"] == [1, 0]
    assert report["only_listed"][0][0]["id"] == message(7).id.hex()


def test_what_came_while_the_other_did_not_record_is_not_missing():
    entries = [came(n, n * 10) for n in range(20)]
    assert compare(entries, entries[:10])["only"] == [0, 0]


def test_another_verdict_is_named():
    a = [came(n, n * 10) for n in range(5)]
    b = [came(n, n * 10, outcome=Outcome.REJECTED if n == 3 else Outcome.ACCEPTED) for n in range(5)]
    report = compare(a, b)
    assert report["verdicts"] == 1
    assert report["verdicts_listed"] == [
        {"id": message(3).id.hex(), "topic": TOPIC, "outcomes": ["accepted", "rejected"]}
    ]


def test_who_published_did_not_judge():
    report = compare([said(1, 0)], [came(1, 5, ONE, Outcome.IGNORED)])
    assert (report["both"], report["verdicts"]) == (1, 0)


def test_copies_are_counted_and_change_nothing():
    a = [came(1, 0), came(1, 3, outcome=Outcome.DUPLICATE), came(2, 10)]
    report = compare(a, [came(1, 0), came(2, 10)])
    assert (report["duplicates"], report["both"], report["only"]) == ([1, 0], 2, [0, 0])


def test_order_is_compared_by_topic():
    a = [came(n, n * 10) for n in range(4)]
    b = [came(n, at * 10) for at, n in enumerate((1, 0, 2, 3))]
    assert compare(a, b)["topics"][0]["out_of_order"] == 1


def test_the_second_clock_is_corrected():
    """It is 5 s ahead; a message takes 30 us there and 50 us back."""
    a = [said(1, 0), came(2, 150, OTHER)]
    b = [came(1, 5_000_030, ONE), said(2, 5_000_100)]
    report = compare(a, b)
    assert report["clock"] == {"ahead_us": 4_999_990, "error_us": 40}
    assert report["topics"][0]["later_us"]["p100"] == 40


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(differences, "WAITING_MAX", 10)
    report = compare([came(n, n) for n in range(50)], [came(99, 0), came(98, 60)])
    assert report["only"][0] == 50


def test_what_nobody_signed_is_counted_and_compared_with_nothing():
    report = compare([came(1, 0, outcome=Outcome.INVALID), came(1, 5)], [came(1, 3)])
    assert (report["invalid"], report["both"], report["verdicts"]) == ([1, 0], 1, 0)
