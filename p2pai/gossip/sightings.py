"""EVERYTHING that can be seen of gossip from inside a node (Arrived, Sent, Grafted, ...).

Meters, recordings and the tools on them are folds over these, so they give the same answers live, from a
running node, and from a file. A sighting says what happened, not when: whoever notes it has the clock.

Source: libp2p specs, gossipsub v1.1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2pai.primitives.ids import PeerId


class Outcome(StrEnum):
    """What became of a message that arrived."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    """Not properly signed, too large, or not on exactly one topic that we follow; nobody judged it."""


JUDGED: Final = (Outcome.ACCEPTED, Outcome.IGNORED, Outcome.REJECTED)
"""Of a message that was judged: its first sound copy."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as gossip carries it."""

    id: bytes
    """Author and sequence number together: gossipsub's own id."""
    author: bytes
    """Peer id of who published it; libp2p's form, at most 64 bytes where it is valid."""
    topic: str
    data: bytes
    """An envelope, if it is one of ours."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A remote sent a message; the first arrival is judged, the others are duplicates."""

    remote: PeerId
    message: Message
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Published:
    """We said something ourselves."""

    message: Message


@dataclass(frozen=True, slots=True)
class Sent:
    """A message was queued for a remote: our own, one passed on, or one that it asked for."""

    remote: PeerId
    topic: str
    id: bytes
    size: int
    """Bytes of the message's data."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message was not queued for a remote, because it reads too slowly."""

    remote: PeerId
    topic: str
    id: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Grafted:
    """A remote entered our mesh of a topic, because it or we asked for it."""

    remote: PeerId
    topic: str
    by_remote: bool


@dataclass(frozen=True, slots=True)
class Pruned:
    """A remote left our mesh of a topic."""

    remote: PeerId
    topic: str
    by_remote: bool


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A remote follows a topic."""

    remote: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A remote no longer follows a topic."""

    remote: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class Opened:
    """Gossip with a remote began: we have a stream to write to."""

    remote: PeerId


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream to a remote ended."""

    remote: PeerId


@dataclass(frozen=True, slots=True)
class Blamed:
    """A remote broke a rule."""

    remote: PeerId
    offence: str
    """`scores.Offence.label`."""
    times: int
    against: int
    """Points against it now; 0 after a ban, which settles it."""


@dataclass(frozen=True, slots=True)
class Banned:
    """A remote was disconnected for what it did, and is refused for a while."""

    remote: PeerId
    seconds: int


Sighting = (
    Arrived
    | Published
    | Sent
    | Dropped
    | Grafted
    | Pruned
    | Subscribed
    | Unsubscribed
    | Opened
    | Closed
    | Blamed
    | Banned
)

Observer = Callable[[Sighting], None]
"""Takes sightings in the order in which they happened; must not raise, nor wait."""
