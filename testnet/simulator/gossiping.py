"""How a message gets from who publishes it to all who follow its topic."""

from collections import Counter
from typing import Protocol

from p2pai import events
from p2pai.effects import Verdict
from p2pai.primitives.ids import PeerId
from testnet.simulator.connections import Agenda
from testnet.simulator.host import Host
from testnet.simulator.links import Links


class Gossip(Protocol):
    """What carries messages; the world tells it what nodes do."""

    traffic: Counter[str]
    """`messages` and `bytes` that were sent, and what else an implementation counts."""

    duplicates: Counter[str]
    """Copies that came for nothing, which no core saw, by topic."""

    def join(self, host: Host, topic: str) -> None:
        """Let a host follow a topic."""

    def leave(self, host: Host, topic: str) -> None:
        """Let a host follow a topic no more."""

    def publish(self, host: Host, topic: str, data: bytes) -> None:
        """Send a host's own message."""

    def judged(self, host: Host, event: events.Received, verdict: Verdict) -> None:
        """Take what a host thinks of a message that it was given."""

    def author(self, event: events.Received) -> PeerId:
        """Return who published the message that a core is looking at."""

    def depart(self, host: Host) -> None:
        """Forget a host that is gone, with all that it followed."""

    def disconnected(self, one: PeerId, other: PeerId) -> None:
        """Take it that a connection has ended."""


class Direct:
    """One hop: whoever publishes sends to every follower that it is connected with."""

    def __init__(self, agenda: Agenda, links: Links) -> None:
        self._agenda, self._links = agenda, links
        self._followers: dict[str, dict[PeerId, Host]] = {}
        self.traffic: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()

    def join(self, host: Host, topic: str) -> None:
        """Let a host follow a topic."""
        self._followers.setdefault(topic, {})[host.name] = host

    def leave(self, host: Host, topic: str) -> None:
        """Let a host follow a topic no more."""
        self._followers.get(topic, {}).pop(host.name, None)

    def publish(self, host: Host, topic: str, data: bytes) -> None:
        """Send a message to all followers."""
        name, remotes, size = host.name, host.remotes, len(data)
        event = events.Received(name, topic, data)
        count = 0
        for target, follower in self._followers.get(topic, {}).items():
            if target in remotes:
                count += 1
                for delay_ms in self._links.gossip(name, target, size):
                    self._agenda.post(follower, delay_ms, event)
        self.traffic["messages"] += count
        self.traffic["bytes"] += count * size

    def judged(self, host: Host, event: events.Received, verdict: Verdict) -> None:
        """Do nothing: nobody passes anything on."""

    def author(self, event: events.Received) -> PeerId:
        """Return who published a message: whoever sent it."""
        return event.remote

    def depart(self, host: Host) -> None:
        """Forget a host that is gone."""
        for topic in host.topics:
            self.leave(host, topic)

    def disconnected(self, one: PeerId, other: PeerId) -> None:
        """Do nothing: messages go to those who are connected."""
