"""A message's way is put together from what each node saw, whatever their clocks say."""

import json

import pytest
from recordings import BEGAN_US, TOPIC, head, message

from p2pai.gossip.message_names import read_name
from p2pai.gossip.recording import Entry
from p2pai.gossip.sightings import Arrived, Dropped, Outcome, Published, Sent
from p2pai.gossip.traces import Witness, trace
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId

A, B, C, D = (PeerId(f"12D3KooW{name}") for name in "abcd")
AHEAD_US = {A: 0, B: 7_000_000, C: -3_000_000, D: 0}
MESSAGE = message(1)


def seen(node, at_us, what):
    return Entry(BEGAN_US + at_us + AHEAD_US[node], what)


def came(node, at_us, remote, outcome=Outcome.ACCEPTED, number=1):
    return seen(node, at_us, Arrived(remote, message(number), outcome))


HISTORY = {
    A: [seen(A, 0, Published(MESSAGE)), seen(A, 1, Sent(B, TOPIC, MESSAGE.id, 6)), came(A, 900, B, number=2)],
    B: [came(B, 101, A), came(B, 350, C, Outcome.DUPLICATE), seen(B, 800, Published(message(2))),
        came(B, 700, C, number=3)],
    C: [came(C, 240, B), seen(C, 250, Dropped(D, TOPIC, MESSAGE.id, 6)), seen(C, 600, Published(message(3)))],
    D: [],
}  # fmt: skip


def witnesses(text, *nodes, history=HISTORY):
    found = [Witness(head(peer=node), read_name(text)) for node in nodes]
    for witness in found:
        for entry in history[witness.head.peer]:
            witness.see(entry)
    return found


def test_the_way_is_a_tree_of_first_arrivals():
    report = trace(witnesses(MESSAGE.id.hex(), A, B, C, D))
    assert json.loads(json.dumps(report)) == report
    (root,) = report["tree"]
    assert (root["node"], root["after_us"]) == (A, 0)
    assert [(b["node"], [c["node"] for c in b["children"]]) for b in root["children"]] == [(B, [C])]
    assert report["author"] == A


def test_times_are_by_one_clock_within_what_is_known_of_the_others():
    report = trace(witnesses(MESSAGE.id.hex(), A, B, C, D))
    for node, true_us in ((A, 0), (B, 101), (C, 240)):
        row = next(row for row in report["nodes"] if row["node"] == node)
        assert abs(row["first_us"] - true_us) <= row["clock"]["error_us"] <= 250
        assert abs(row["clock"]["ahead_us"] - AHEAD_US[node]) <= row["clock"]["error_us"]


def test_copies_verdicts_and_losses_are_told():
    rows = {row["node"]: row for row in trace(witnesses(MESSAGE.id.hex(), A, B, C, D))["nodes"]}
    assert [c["outcome"] for c in rows[B]["copies"]] == ["accepted", "duplicate"]
    assert rows[A]["sent"][0]["to"] == B
    assert rows[C]["dropped"][0]["to"] == D
    assert rows[D]["first_us"] is None
    assert rows[D]["clock"] is None


def test_who_was_not_recorded_is_a_root():
    (root,) = trace(witnesses(MESSAGE.id.hex(), B, C))["tree"]
    assert (root["node"], root["recorded"]) == (A, False)
    assert root["children"][0]["node"] == B


@pytest.mark.parametrize("text", [MESSAGE.id.hex()[-6:], f"{MESSAGE.id.hex()[:4]}..{MESSAGE.id.hex()[-4:]}"])
def test_the_end_of_an_id_is_enough(text):
    assert trace(witnesses(text, A, B))["id"] == MESSAGE.id.hex()


def test_a_name_that_means_several_is_refused():
    with pytest.raises(InvalidInput, match="3 messages"):
        trace(witnesses(MESSAGE.author.hex(), A, B, C))


def test_a_message_that_nobody_saw_is_refused():
    with pytest.raises(InvalidInput, match="saw such a message"):
        trace(witnesses("ffff", A, B))


def test_one_node_twice_is_refused():
    with pytest.raises(InvalidInput, match="same node"):
        trace(witnesses(MESSAGE.id.hex(), A, A))


@pytest.mark.parametrize("text", ["", "abc", "xyzw", "..", "ab..c", "00..11..22"])
def test_no_name_of_a_message(text):
    with pytest.raises(InvalidInput, match="hexadecimal digits"):
        read_name(text)


def test_a_forged_copy_is_told_and_neither_the_first_nor_a_clock():
    forged = seen(B, -(10**9), Arrived(D, MESSAGE, Outcome.INVALID))
    history = {**HISTORY, B: [forged, *HISTORY[B]]}
    rows = {
        row["node"]: row for row in trace(witnesses(MESSAGE.id.hex(), A, B, C, D, history=history))["nodes"]
    }
    assert [c["outcome"] for c in rows[B]["copies"]] == ["invalid", "accepted", "duplicate"]
    assert rows[B]["from"] == A
    assert rows[D]["clock"] is None
