"""Doors of the tools that show gossip: a message of any bytes gives one printable line; a condition is read
or refused.

Decoding refuses nothing, so its door refuses what decoding finds at fault: then the harness sees that sound
messages have no fault, and damaged ones do.
"""

import json
from functools import cache

from p2pai.cli.summary import printable, summarize
from p2pai.gossip import condition, topics
from p2pai.gossip.envelope import seal
from p2pai.gossip.limits import BODY_SIZE_MAX
from p2pai.node.decoding import decode, field_names
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidMessage
from p2pai.roles.dealer import DealSeen
from p2pai.roles.pausing import Heartbeat
from tests.chain.ledger import devnet, keys, label
from tests.fuzz import wire
from tests.fuzz.harness import Door, Form
from tests.node.parts import iteration
from tests.roles.test_slots import MODEL, TICKET

ODD_TOPICS = ("", "t", "\x1b[2J\n", "/p2pai/00000000/chain/tx/2")


@cache
def all_topics():
    task = wire.chain().predefined
    scopes = {name: None if name in ("tx", "block") else task for name in topics.NAMES}
    return tuple(str(topics.Topic(devnet().short_id, scope, name)) for name, scope in scopes.items())


def shown(topic, data):
    """Decode a message, and hold everything to its word that is shown of it."""
    decoded = decode(topic, data, devnet().prefix)
    line = summarize(decoded)
    assert line.isprintable() or not line
    assert printable(decoded.fault).isprintable() or not decoded.fault
    json.dumps(decoded.body)
    return decoded


def read_body(data):
    for topic in ODD_TOPICS:
        assert shown(topic, data).fault
    faults = []
    for topic in all_topics():
        shown(topic, data)
        if len(data) <= BODY_SIZE_MAX:
            faults.append(shown(topic, seal(keys(1).spending, topic, 7, data)).fault)
    reserved = (
        topics.NAMES.index("consider_pause"),
        topics.NAMES.index("vote"),
        topics.NAMES.index("candidate"),
    )
    if all(fault for place, fault in enumerate(faults) if place not in reserved):
        raise InvalidMessage("of no topic")


def bodies():
    return (
        *(tx.encoded for _, tx in wire.played().values()),
        wire.next_block().encoded,
        wire.next_block().header.encode(),
        iteration(wire.chain(), 0),
        *wire.said(),
        record.encode(MODEL),
        record.encode(DealSeen(1, TICKET, label("deal"), bytes(71))),
        record.encode(Heartbeat(wire.chain().predefined)),
    )


CONDITIONS = (
    b"name == it_res and iteration > 10",
    b"not (sender == dpai1ab..xyz or body.slot in (1, 2, 'three'))",
    b'txid ~ "ab cd" or fault',
)


def read_condition(data):
    condition.parse(data.decode("latin-1"), field_names()).holds({"name": "tx", "body": {"slot": 3}})


DOORS = (
    Door("message", read_body, bodies),
    Door("condition", read_condition, lambda: CONDITIONS, Form.BYTES),
)
