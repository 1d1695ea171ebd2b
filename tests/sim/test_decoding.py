"""Every message of a whole simulated history is understood and said in one line; damaged ones say what is
wrong."""

import json
from dataclasses import replace

import pytest
from life import life

from p2pai.cli.summary import printable, summarize
from p2pai.gossip import condition, topics
from p2pai.gossip.envelope import open_envelope, seal
from p2pai.node.decoding import UNREAD, decode, field_names
from p2pai.primitives import address, cbor, ecdsa, record
from testnet.simulator.network import ROLES
from tests.chain.ledger import keys

pytestmark = pytest.mark.usefixtures("shared")

EACH = 200
"""Messages of each topic that are looked at."""


@pytest.fixture(scope="module")
def history():
    return life()


def decoded(history, name):
    prefix = history.network.spec.prefix
    return [(decode(event.topic, event.data, prefix), event) for event in history.heard[name][-EACH:]]


def fields_of(message):
    return {"name": message.name, "kind": message.kind, "sender": message.sender, "body": message.body}


@pytest.mark.parametrize("name", ["tx", "block", "it_res", "message_history", "dkg", "model"])
def test_what_a_history_said_is_understood(history, name):
    chain = history.network
    accounts = {
        address.encode(chain.spec.prefix, ecdsa.key_hash(ecdsa.public_key(keys(a).spending))) for a in ROLES
    }
    for message, event in decoded(history, name):
        assert (message.fault, message.name) == ("", name)
        assert message.kind != UNREAD
        assert message.sender in accounts
        assert message.task == (topics.parse(event.topic).scope or b"").hex()
        assert 0 <= chain.world.now_ms - message.sent_ms < 10 * 60 * 1000
        line = summarize(message)
        assert line
        assert line.isprintable()
        json.dumps(message.body)


def test_what_people_look_for_is_in_the_line(history):
    core = history.network.core(0)
    lines = {message.kind: summarize(message) for message, _ in decoded(history, "block")}
    block = next(m for m, _ in reversed(decoded(history, "block")) if m.body["height"] < core.state.height)
    assert f"height {block.body['height']}, hash {block.body['hash'][:6]}" in summarize(block)
    assert set(lines) == {"BLOCK"}
    iteration = decoded(history, "it_res")[-1][0]
    for said in (f"iteration {iteration.body['iteration']}", f"{iteration.body['elements']} elements in"):
        assert said in summarize(iteration)
    kinds = {m.kind for m, _ in decoded(history, "message_history")}
    assert {"SlotOpening", "Ballot", "SlotProposal", "Share", "Prepared", "CertifiedSlot"} <= kinds


def test_every_field_that_is_there_can_be_asked_for(history):
    def names(value):
        if isinstance(value, dict):
            yield from value
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from names(item)

    for name in history.heard:
        for message, _ in decoded(history, name):
            assert set(names(message.body)) <= field_names()


def test_conditions_choose_among_real_messages(history):
    messages = [m for name in history.heard for m, _ in decoded(history, name)]
    wanted = condition.parse("name == it_res and iteration >= 40 and elements > 0", field_names())
    chosen = [m for m in messages if wanted.holds(fields_of(m))]
    assert chosen == [
        m for m in messages
        if m.name == "it_res" and m.body["iteration"] >= 40 and m.body["elements"]
    ]  # fmt: skip
    assert 0 < len(chosen) < len(messages)


class TestFaults:
    @pytest.fixture
    def sound(self, history):
        event = history.heard["it_res"][0]
        return event.topic, event.data

    def test_no_envelope(self, sound):
        message = decode(sound[0], b"\x1b[31m", "dpai")
        assert message.fault.startswith("not an envelope")
        assert (message.name, message.sender, message.kind) == ("it_res", "", UNREAD)

    def test_another_topic(self, sound):
        other = sound[0].replace("it_res", "model")
        message = decode(other, sound[1], "dpai")
        assert message.fault == "envelope: message belongs to another topic"

    def test_a_wrong_signature_leaves_the_body_readable(self, sound):
        envelope = open_envelope(sound[1], sound[0])
        forged = record.encode(replace(envelope, sequence=envelope.sequence + 1))
        message = decode(sound[0], forged, "dpai")
        assert message.fault == "envelope: signature does not match"
        assert (message.kind, message.body) == ("IT_RES", decode(*sound, "dpai").body)

    def test_a_body_of_something_else(self, sound):
        message = decode(sound[0], seal(keys(1).spending, sound[0], 1, b"junk"), "dpai")
        assert (message.kind, message.body) == (UNREAD, {"size": 4, "data": b"junk".hex()})
        assert message.fault

    @pytest.mark.parametrize("name", ["consider_pause", "vote", "candidate"])
    def test_reserved_topics_show_values(self, sound, name):
        topic = sound[0].replace("it_res", name)
        message = decode(topic, seal(keys(1).spending, topic, 1, cbor.encode([1, "a"])), "dpai")
        assert (message.kind, message.body, message.fault) == ("reserved", {"value": [1, "a"]}, "")

    def test_what_is_no_topic_of_ours(self):
        assert (
            decode("elsewhere", seal(keys(1).spending, "elsewhere", 1, b""), "dpai").fault
            == "not a topic of p2pai"
        )


INJECTIONS = (
    "\x1b[2Jcleared", "line\nbreak", "back\b\b", "\r over", "\u202eturned", "\x9b31m", "\x07",
    "zero\u200bwidth", "\u2028separator", "[bold]markup[/bold]",
)  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_remotes_wrote_stays_on_its_line(text):
    topic = str(topics.Topic("00000000", None, "vote"))
    message = decode(topic, seal(keys(1).spending, topic, 1, cbor.encode({text: [text]})), "dpai")
    line = summarize(message)
    assert line.isprintable()
    assert printable(text) in line
    assert not printable(text).startswith("\\") or text not in line
