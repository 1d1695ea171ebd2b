"""What goes on in gossip, as numbers: a fold over sightings, by topic and by remote.

A message counts once, when it is first seen; its copies are duplicates, counted for the remotes that send
them. Two times are measured: *latency*, from the sender's stamp (`envelope.stamp_ms`, by the sender's clock)
to the first copy; and *lag*, from the first copy to each later one, which needs one clock only.

Memory is bounded whatever remotes do. A topic or a remote that finds no room is counted in one row for all of
these, `OTHERS`; where a topic of ours needs room, one that only remotes speak of makes place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from p2pai.gossip import envelope, sightings
from p2pai.gossip.histogram import Histogram, Rate
from p2pai.gossip.sightings import Outcome, Sighting
from p2pai.primitives.ids import PeerId

TOPICS_MAX: Final = 256
REMOTES_MAX: Final = 512
"""Rows; the remote that went first makes place for another."""

NAME_LENGTH_MAX: Final = 256
"""Characters of a topic's name; one of ours has 98."""

MESSAGES_KEPT: Final = 8192
"""Messages whose later copies are measured: more than a minute at 100 a second."""

ID_SIZE_MAX: Final = 128
"""Bytes of a message's id; those of ours have 46."""

OTHERS: Final = "(others)"
WINDOWS_S: Final = (10, 60)
PERCENTILES: Final = (50, 90, 99)


@dataclass(slots=True)
class Counts:
    """What was seen of one topic, or of one remote."""

    messages: int = 0
    """New ones; of a remote: those that it brought first."""
    size: int = 0
    """Bytes of them."""
    arrived: int = 0
    arrived_size: int = 0
    """All that remotes sent, copies and what is refused included."""
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    published: int = 0
    sent: int = 0
    sent_size: int = 0
    dropped: int = 0
    rate: Rate = field(default_factory=Rate)
    latency: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)

    def report(self, now_s: int) -> dict[str, Any]:
        """Return the numbers in JSON's types; times in microseconds."""
        rates = {f"last_{window}_s": list(self.rate.last(now_s, window)) for window in WINDOWS_S}
        return {
            "messages": self.messages,
            "bytes": self.size,
            "arrived": self.arrived,
            "arrived_bytes": self.arrived_size,
            **{str(outcome): count for outcome, count in self.outcomes.items()},
            "published": self.published,
            "sent": self.sent,
            "sent_bytes": self.sent_size,
            "dropped": self.dropped,
            **rates,
            "latency_us": _percentiles(self.latency),
            "lag_us": _percentiles(self.lag),
        }


@dataclass(slots=True)
class _Topic:
    counts: Counts = field(default_factory=Counts)
    is_ours: bool = False
    """Whether this node has to do with it; else a remote only says that it follows it."""
    followers: dict[PeerId, None] = field(default_factory=dict)
    mesh: dict[PeerId, tuple[int, bool]] = field(default_factory=dict)
    """Since when, and whether the remote asked for it."""


@dataclass(slots=True)
class _Remote:
    counts: Counts = field(default_factory=Counts)
    since_us: int | None = None
    """When gossip with it began; None when it has ended."""
    against: int = 0
    """Points when it was blamed last (scores.py)."""
    offences: dict[str, int] = field(default_factory=dict)
    bans: int = 0


class Meter:
    """Counts what it is shown; times are Unix microseconds."""

    def __init__(self, now_us: int) -> None:
        self._began_us = now_us
        self._topics: dict[str, _Topic] = {}
        self._remotes: dict[PeerId, _Remote] = {}
        self._first: dict[bytes, int] = {}

    def see(self, sighting: Sighting, now_us: int) -> None:
        """Take one sighting."""
        match sighting:
            case sightings.Arrived():
                self._arrive(sighting, now_us)
            case sightings.Published(message):
                self._publish(message, now_us)
            case sightings.Sent(remote, topic, _, size):
                for counts in self._both(remote, topic):
                    counts.sent += 1
                    counts.sent_size += size
            case sightings.Dropped(remote, topic):
                for counts in self._both(remote, topic):
                    counts.dropped += 1
            case sightings.Grafted(remote, topic, by_remote):
                if self._has_room(remote):
                    self._topic(topic, ours=True).mesh[remote] = (now_us, by_remote)
            case sightings.Pruned(remote, topic):
                self._topic(topic, ours=True).mesh.pop(remote, None)
            case _:
                self._meet(sighting, now_us)

    def standing(self) -> Iterator[Sighting]:
        """Return what holds now: a meter that is shown these knows the same remotes, followers and mesh."""
        for name, remote in self._remotes.items():
            if remote.since_us is not None:
                yield sightings.Opened(name)
        for topic, row in self._topics.items():
            yield from (sightings.Subscribed(name, topic) for name in row.followers)
            yield from (
                sightings.Grafted(name, topic, by_remote) for name, (_, by_remote) in row.mesh.items()
            )

    def report(self, now_us: int) -> dict[str, Any]:
        """Return all numbers in JSON's types."""
        now_s = now_us // 1_000_000
        return {
            "began_us": self._began_us,
            "now_us": now_us,
            "topics": [_topic_row(name, topic, now_s) for name, topic in sorted(self._topics.items())],
            "remotes": [_remote_row(name, remote, now_s) for name, remote in self._remotes.items()],
        }

    def _arrive(self, sighting: sightings.Arrived, now_us: int) -> None:
        message, outcome = sighting.message, sighting.outcome
        size = len(message.data)
        both = self._both(sighting.remote, message.topic, ours=outcome is not Outcome.INVALID)
        for counts in both:
            counts.arrived += 1
            counts.arrived_size += size
            counts.outcomes[outcome] += 1
        if outcome is Outcome.DUPLICATE:
            first_us = self._first.get(message.id)
            if first_us is not None:
                _add_all([counts.lag for counts in both], now_us - first_us)
        elif outcome is not Outcome.INVALID:
            self._note_new(message, both, now_us)
            sent_ms = envelope.stamp_ms(message.data)
            if sent_ms is not None:
                _add_all([counts.latency for counts in both], now_us - 1000 * sent_ms)

    def _publish(self, message: sightings.Message, now_us: int) -> None:
        counts = self._topic(message.topic, ours=True).counts
        counts.published += 1
        self._note_new(message, (counts,), now_us)

    def _note_new(self, message: sightings.Message, rows: tuple[Counts, ...], now_us: int) -> None:
        for counts in rows:
            counts.messages += 1
            counts.size += len(message.data)
            counts.rate.add(now_us // 1_000_000, len(message.data))
        if len(message.id) <= ID_SIZE_MAX:
            if len(self._first) >= MESSAGES_KEPT:
                del self._first[next(iter(self._first))]
            self._first[message.id] = now_us

    def _meet(self, sighting: Sighting, now_us: int) -> None:
        match sighting:
            case sightings.Subscribed(remote, topic):
                if self._has_room(remote):
                    self._topic(topic).followers[remote] = None
            case sightings.Unsubscribed(remote, topic):
                self._topic(topic).followers.pop(remote, None)
            case sightings.Blamed(remote, offence, times, against):
                row = self._remote(remote)
                row.against = against
                row.offences[offence] = row.offences.get(offence, 0) + times
            case sightings.Banned(remote):
                self._remote(remote).bans += 1
            case sightings.Opened(remote):
                self._remote(remote).since_us = now_us
            case sightings.Closed(remote):
                self._remote(remote).since_us = None
                for topic_row in self._topics.values():
                    topic_row.mesh.pop(remote, None)

    def _both(self, remote: PeerId, topic: str, *, ours: bool = True) -> tuple[Counts, Counts]:
        return self._topic(topic, ours=ours).counts, self._remote(remote).counts

    def _topic(self, name: str, *, ours: bool = False) -> _Topic:
        found = self._topics.get(name)
        if found is None:
            if len(name) > NAME_LENGTH_MAX or not self._has_place(ours=ours):
                return self._topics.setdefault(OTHERS, _Topic())
            found = self._topics[name] = _Topic()
        found.is_ours = found.is_ours or ours
        return found

    def _has_place(self, *, ours: bool) -> bool:
        if len(self._topics) < TOPICS_MAX:
            return True
        idle = next((n for n, topic in self._topics.items() if not topic.is_ours and n != OTHERS), None)
        if idle is None or not ours:
            return False
        del self._topics[idle]
        return True

    def _has_room(self, remote: PeerId) -> bool:
        # Only a remote with a row of its own stands among followers and in meshes, so these are bounded too.
        return self._remote(remote) is not self._remotes.get(PeerId(OTHERS))

    def _remote(self, name: PeerId) -> _Remote:
        found = self._remotes.get(name)
        if found is None:
            if len(self._remotes) >= REMOTES_MAX and not self._forget_remote():
                return self._remotes.setdefault(PeerId(OTHERS), _Remote())
            found = self._remotes[name] = _Remote()
        return found

    def _forget_remote(self) -> bool:
        gone = next((n for n, r in self._remotes.items() if r.since_us is None and n != OTHERS), None)
        if gone is None:
            return False
        del self._remotes[gone]
        for topic in self._topics.values():
            topic.followers.pop(gone, None)
            topic.mesh.pop(gone, None)
        return True


def _topic_row(name: str, topic: _Topic, now_s: int) -> dict[str, Any]:
    mesh = [
        {"remote": remote, "since_us": since_us, "by_remote": by_remote}
        for remote, (since_us, by_remote) in topic.mesh.items()
    ]
    followers = list(topic.followers)
    return {
        "topic": name,
        "ours": topic.is_ours,
        "followers": followers,
        "mesh": mesh,
        **topic.counts.report(now_s),
    }


def _remote_row(name: PeerId, remote: _Remote, now_s: int) -> dict[str, Any]:
    return {
        "remote": name,
        "since_us": remote.since_us,
        "score": -remote.against,
        "offences": dict(remote.offences),
        "bans": remote.bans,
        **remote.counts.report(now_s),
    }


def _add_all(histograms: list[Histogram], duration_us: int) -> None:
    for histogram in histograms:
        histogram.add(duration_us)


def _percentiles(histogram: Histogram) -> dict[str, int | None]:
    values = zip(PERCENTILES, histogram.percentiles(PERCENTILES), strict=True)
    return {"count": histogram.count, **{f"p{percent}": value for percent, value in values}}
