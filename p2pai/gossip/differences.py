"""What two nodes saw differently: messages that one did not get, verdicts, order, and how much later.

A fold over both recordings at once. A message that one side had waits for the other side's in memory; once
both had it, a few numbers are left of it. What one side had while the other was not recording is not counted
as missing.

Source: docs/RECORDING.md.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from p2pai.gossip.clocks import Clocks, Offset
from p2pai.gossip.recording import Entry, Recording
from p2pai.gossip.sightings import Arrived, Message, Outcome, Published
from p2pai.primitives.ids import PeerId

WAITING_MAX: Final = 500_000
"""Messages that only one side had so far; the oldest then counts as missing. Some 200 MB."""

LISTED_MAX: Final = 10_000
"""Differences of each kind that are listed; all are counted."""

PERCENTILES: Final = (0, 50, 90, 99, 100)
PUBLISHED: Final = "published"

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """How one side first had a message."""

    side: int
    time_us: int
    position: int
    """Among this side's messages of the topic."""
    topic: str
    size: int
    outcome: str
    remote: PeerId | None
    """Who brought it; None: this node published it."""


@dataclass(slots=True)
class _Topic:
    """One topic on both sides."""

    counts: list[int] = field(default_factory=lambda: [0, 0])
    both: int = 0
    positions: tuple["array[int]", "array[int]"] = field(default_factory=lambda: (array("Q"), array("Q")))
    later_us: "array[int]" = field(default_factory=lambda: array("q"))
    """How much later the second side had each message, by the two clocks."""


class Differences:
    """See the module."""

    def __init__(self, heads: tuple[Recording, Recording]) -> None:
        self._heads = heads
        self._clocks = Clocks(2)
        self._waiting: dict[bytes, Seen] = {}
        self._topics: dict[str, _Topic] = {}
        self._verdicts: list[Report] = []
        self._verdict_count = 0
        self._dropped: list[int] = [0, 0]
        self._duplicates = [0, 0]
        self._invalid = [0, 0]
        self._ends_us = [head.began_us for head in heads]

    def see(self, side: int, entry: Entry) -> None:
        """Take in an entry of the first (0) or second (1) recording."""
        self._ends_us[side] = max(self._ends_us[side], entry.time_us)
        match entry.what:
            case Arrived(_, _, Outcome.DUPLICATE):
                self._duplicates[side] += 1
            case Arrived(_, _, Outcome.INVALID):
                # Nobody signed it, so its id may be that of another message.
                self._invalid[side] += 1
            case Arrived(remote, message, outcome):
                self._have(side, entry.time_us, message, outcome.value, remote)
            case Published(message):
                self._have(side, entry.time_us, message, PUBLISHED, None)

    def _have(self, side: int, time_us: int, message: Message, outcome: str, remote: PeerId | None) -> None:
        other = self._waiting.get(message.id)
        if other is not None and other.side == side:
            return
        topic = self._topics.setdefault(message.topic, _Topic())
        position = topic.counts[side]
        topic.counts[side] += 1
        seen = Seen(side, time_us, position, message.topic, len(message.data), outcome, remote)
        if other is None:
            self._wait(message.id, seen)
        else:
            del self._waiting[message.id]
            self._match(message.id, (other, seen) if side else (seen, other), topic)

    def _wait(self, message: bytes, seen: Seen) -> None:
        self._waiting[message] = seen
        if len(self._waiting) > WAITING_MAX:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            self._dropped[oldest.side] += 1

    def _match(self, message: bytes, both: tuple[Seen, Seen], topic: _Topic) -> None:
        first, second = both
        topic.both += 1
        later_us = second.time_us - first.time_us
        topic.later_us.append(later_us)
        for positions, seen in zip(topic.positions, both, strict=True):
            positions.append(seen.position)
        if second.remote == self._heads[0].peer:
            self._clocks.passed(0, 1, later_us)
        if first.remote == self._heads[1].peer:
            self._clocks.passed(1, 0, -later_us)
        # Whoever published a message did not judge it.
        if first.outcome != second.outcome and PUBLISHED not in (first.outcome, second.outcome):
            self._verdict_count += 1
            if len(self._verdicts) < LISTED_MAX:
                self._verdicts.append(
                    {"id": message.hex(), "topic": first.topic, "outcomes": [first.outcome, second.outcome]}
                )

    def report(self) -> Report:
        """Return all differences, in JSON's types; times in microseconds."""
        offset = self._clocks.offsets()[1]
        missing = [list(self._missing(side, offset)) for side in (0, 1)]
        return {
            "nodes": [head.peer for head in self._heads],
            "clock": None if offset is None else {"ahead_us": offset.us, "error_us": offset.error_us},
            "duplicates": self._duplicates,
            "invalid": self._invalid,
            "both": sum(topic.both for topic in self._topics.values()),
            "only": [len(found) + dropped for found, dropped in zip(missing, self._dropped, strict=True)],
            "verdicts": self._verdict_count,
            "topics": [_topic_row(name, self._topics[name], offset) for name in sorted(self._topics)],
            "only_listed": [found[:LISTED_MAX] for found in missing],
            "verdicts_listed": self._verdicts,
        }

    def _missing(self, side: int, offset: Offset | None) -> Iterator[Report]:
        """Give the messages that one side alone had while both recorded."""
        other = 1 - side
        ahead_us = offset.us if offset else 0
        to_other_us = -ahead_us if side else ahead_us
        for message, seen in self._waiting.items():
            at_us = seen.time_us + to_other_us
            if seen.side == side and self._heads[other].began_us <= at_us <= self._ends_us[other]:
                yield {
                    "id": message.hex(),
                    "topic": seen.topic,
                    "size": seen.size,
                    "outcome": seen.outcome,
                    "from": seen.remote,
                    "time_us": seen.time_us,
                }


def _topic_row(name: str, topic: _Topic, offset: Offset | None) -> Report:
    later = sorted(value - (offset.us if offset else 0) for value in topic.later_us)
    return {
        "topic": name,
        "messages": topic.counts,
        "both": topic.both,
        "out_of_order": _out_of_order(topic.positions),
        "later_us": {f"p{p}": later[(len(later) - 1) * p // 100] for p in PERCENTILES} if later else None,
    }


def _out_of_order(positions: tuple[Sequence[int], Sequence[int]]) -> int:
    """Count messages that the second side had after one that the first had later."""
    latest, count = -1, 0
    for _, position in sorted(zip(positions[1], positions[0], strict=True)):
        count += position < latest
        latest = max(latest, position)
    return count
