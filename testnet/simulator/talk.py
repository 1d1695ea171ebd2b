"""How much was said in a simulated world: by the name of the topic, over time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pai import effects, events
from p2pai.effects import Verdict
from testnet.outcome import Traffic

INTERVALS_MAX: Final = 240
"""More make a picture no clearer."""

INTERVAL_MS: Final = 250
"""At first; it doubles as often as the run's length demands."""


@dataclass(slots=True)
class _Count:
    published: int = 0
    published_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    ignored: int = 0
    refused: int = 0
    now_bytes: int = 0
    """Received in this interval."""
    past: list[int] = field(default_factory=list)


class Talk:
    """Counts of what nodes said and heard."""

    def __init__(self, start_ms: int) -> None:
        self.interval_ms = INTERVAL_MS
        self._start_ms, self._end_ms = start_ms, start_ms + INTERVAL_MS
        self._intervals = 0
        """That are over."""
        self._names: dict[str, _Count] = {}
        self._topics: dict[str, _Count] = {}

    def pass_time(self, now_ms: int) -> None:
        """Close the intervals that are over."""
        while now_ms >= self._end_ms:
            self._intervals += 1
            for count in self._names.values():
                count.past.append(count.now_bytes)
                count.now_bytes = 0
            if self._intervals == INTERVALS_MAX:
                self._coarsen()
            self._end_ms += self.interval_ms

    def _coarsen(self) -> None:
        self.interval_ms *= 2
        self._intervals //= 2
        for count in self._names.values():
            count.past = [a + b for a, b in zip(count.past[::2], count.past[1::2], strict=True)]

    def publish(self, effect: effects.Publish) -> None:
        """Count what a node says."""
        count = self._topics.get(effect.topic) or self._topic(effect.topic)
        count.published += 1
        count.published_bytes += len(effect.data)

    def receive(self, event: events.Received, verdict: Verdict) -> None:
        """Count what a node hears."""
        count = self._topics.get(event.topic) or self._topic(event.topic)
        count.received += 1
        count.received_bytes += len(event.data)
        count.now_bytes += len(event.data)
        if verdict is Verdict.IGNORE:
            count.ignored += 1
        elif verdict is Verdict.REJECT:
            count.refused += 1

    def carry(self, name: str, size: int) -> None:
        """Count bytes that came in another way than by gossip."""
        count = self._name(name)
        count.published += 1
        count.published_bytes += size
        count.received += 1
        count.received_bytes += size
        count.now_bytes += size

    def _topic(self, topic: str) -> _Count:
        return self._topics.setdefault(topic, self._name(_said_on(topic)))

    def _name(self, name: str) -> _Count:
        if name not in self._names:
            self._names[name] = _Count(past=[0] * self._intervals)
        return self._names[name]

    def traffic(self, duplicates: Mapping[str, int]) -> tuple[Traffic, ...]:
        """Return it all, by name; `duplicates` are copies that no core saw, by topic."""
        again = Counter[str]()
        for topic, copies in duplicates.items():
            again[_said_on(topic)] += copies
        return tuple(
            Traffic(
                name,
                count.published,
                count.published_bytes,
                count.received,
                count.received_bytes,
                again[name],
                count.ignored,
                count.refused,
                (*count.past, count.now_bytes),
            )
            for name, count in sorted(self._names.items())
        )


def _said_on(topic: str) -> str:
    """Return the name in a topic."""
    return topic.rsplit("/", 2)[-2] if topic.count("/") > 1 else topic
