"""Sound recordings for tests, with an entry of each kind."""

from p2pai.chain.state import Checkpoint
from p2pai.events import Answered, Asked, Fetched, Received, Started, Submitted, TimerFired, Trained
from p2pai.gossip import sightings
from p2pai.gossip.recording import (
    FORMAT,
    Birth,
    BodyRead,
    Entry,
    Found,
    Happened,
    HashRead,
    HeightRead,
    Holds,
    NamesRead,
    Noted,
    Place,
    Reacted,
    Recording,
    begin,
    encode,
)
from p2pai.gossip.sightings import Message, Outcome
from p2pai.jobs import Failed
from p2pai.primitives.ids import BlobId, Hash32, PeerId, PublicKey
from p2pai.shell.specs import load_spec

ONE, OTHER = PeerId("12D3KooWone"), PeerId("12D3KooWother")
TOPIC = "/p2pai/0a1b2c3d/chain/tx/1"
HASH = Hash32(bytes(range(32)))
BEGAN_US = 1_780_000_000_000_000


def head(*, peer=ONE, holds=(Holds.GOSSIP,), birth=None):
    """Return a head."""
    return Recording(FORMAT, "0.1", HASH, peer, ("peer",), PublicKey(bytes(33)), BEGAN_US, holds, birth)


def birth():
    """Return what a node of the devnet was made from."""
    return Birth(load_spec("devnet"), Checkpoint(7, HASH, BlobId(HASH)))


def message(number, topic=TOPIC):
    """Return a message."""
    return Message(b"author" + number.to_bytes(8, "big"), b"author", topic, b"data %d" % number)


STEPS = (
    Found(Place.JOURNAL, b"a record"),
    Found(Place.SNAPSHOT, b""),
    Happened(5, Started(())),
    BodyRead(HASH, b"block"),
    BodyRead(HASH, None),
    HeightRead(HASH, 8),
    HashRead(8, None),
    NamesRead(HASH, HASH, 2, (HASH,)),
    Reacted(("SetTimer",), (HASH,)),
    Happened(6, Received(OTHER, TOPIC, b"data")),
    Happened(6, Asked(1, OTHER, b"question")),
    Happened(7, Answered(1, OTHER, None)),
    Happened(7, TimerFired("attend")),
    Happened(8, Trained(HASH, Failed("no reason"))),
    Happened(9, Fetched(BlobId(HASH), (HASH,), b"data")),
    Happened(9, Submitted("wallet.send", b"\xa0")),
    Noted(9, 3, HASH, HASH),
)
SEEN = (
    sightings.Opened(OTHER),
    sightings.Subscribed(OTHER, TOPIC),
    sightings.Grafted(OTHER, TOPIC, by_remote=True),
    *(sightings.Arrived(OTHER, message(1), outcome) for outcome in Outcome),
    sightings.Published(message(2)),
    sightings.Sent(OTHER, TOPIC, message(2).id, 6),
    sightings.Dropped(OTHER, TOPIC, message(2).id, 6),
    sightings.Pruned(OTHER, TOPIC, by_remote=False),
    sightings.Unsubscribed(OTHER, TOPIC),
    sightings.Blamed(OTHER, "forged", 1, 30),
    sightings.Banned(OTHER, 60),
    sightings.Closed(OTHER),
)
ENTRIES = tuple(Entry(BEGAN_US + n, what) for n, what in enumerate((*STEPS, *SEEN)))


def written(entries=ENTRIES, **changes):
    """Return a recording's bytes."""
    return begin(head(**changes)) + b"".join(map(encode, entries))
