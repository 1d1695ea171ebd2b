"""What remotes say of this node: whether they reach it from outside, and what time it is with them.

A node can't know by itself whether others can call it: its router, or a firewall on the way, decides that.
So it asks remotes to dial it back, each at the address that they see it come from. Each remote counts once,
with its latest answer, and the majority is believed: a remote in the same house reaches what others don't,
and anyone may lie.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median_low

from p2pai.primitives.ids import PeerId


class Reach(StrEnum):
    """Whether others can call this node."""

    UNKNOWN = "unknown"
    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class DialBack:
    """How one remote's attempt to call us went."""

    address: str | None
    """The multiaddr, without peer id, at which it reached us; None when it didn't."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What one remote's clock said."""

    ahead_ms: int
    """How far its clock is ahead of ours, if question and answer travelled equally long."""
    error_ms: int
    """How far wrong that may be: half the time that the question took."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What remotes say, in sum."""

    reach: Reach
    addresses: tuple[str, ...]
    """At which at least half of those remotes reached us."""
    reached_by: int
    """Remotes that reached us."""
    tried_by: int
    """Remotes that tried."""
    clock_ahead_ms: int | None
    """How far the middle one of the remotes' clocks is ahead of ours; None when nobody told."""
    clock_error_ms: int
    clocks: int
    """Remotes that told their time."""


@dataclass(slots=True)
class Answers:
    """The latest answers of remotes; who goes takes theirs along only when `forget` says so."""

    dials: dict[PeerId, DialBack] = field(default_factory=dict)
    clocks: dict[PeerId, ClockReading] = field(default_factory=dict)

    def forget(self, remote: PeerId) -> None:
        """Drop what a remote said."""
        self.dials.pop(remote, None)
        self.clocks.pop(remote, None)

    def sum_up(self) -> Outlook:
        """Return what all say together."""
        found = [dial.address for dial in self.dials.values() if dial.address is not None]
        ahead_ms, error_ms = middle(self.clocks)
        return Outlook(
            judge(len(found), len(self.dials)),
            tuple(address for address, count in Counter(found).items() if 2 * count >= len(found)),
            len(found),
            len(self.dials),
            ahead_ms,
            error_ms,
            len(self.clocks),
        )


def judge(reached: int, tried: int) -> Reach:
    """Return what the majority says of those that tried."""
    if 2 * reached > tried:
        return Reach.REACHABLE
    return Reach.UNREACHABLE if 2 * reached < tried else Reach.UNKNOWN


def middle(clocks: Mapping[PeerId, ClockReading]) -> tuple[int | None, int]:
    """Return the median of the differences, and how far wrong that one may be; None for nobody."""
    if not clocks:
        return None, 0
    ahead_ms = median_low(reading.ahead_ms for reading in clocks.values())
    return ahead_ms, min(reading.error_ms for reading in clocks.values() if reading.ahead_ms == ahead_ms)


def read_clock(sent_ms: int, remote_ms: int, received_ms: int) -> ClockReading:
    """Compare a remote's clock with ours, as NTP does with one server.

    Args:
      sent_ms: our time when the question left, Unix milliseconds.
      remote_ms: what the remote said.
      received_ms: our time when that came.

    Source: RFC 5905, section 8, with receive and transmit time of the server as one.
    """
    assert received_ms >= sent_ms, "our clock went backwards while a remote answered"
    return ClockReading(remote_ms - (sent_ms + received_ms) // 2, (received_ms - sent_ms + 1) // 2)
