"""Who is connected with whom, as nodes are told: on arriving, on going away, when nothing passes for long.

Every node wants a connection with every other, and looks now and then for those that it lacks. One that is
killed is missed at once; one from which nothing comes and to which nothing gets, after `DEAD_AFTER_MS`; who
hung up is let in again when its time is over.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from p2pai import events
from p2pai.events import Event
from p2pai.primitives.ids import PeerId
from testnet.simulator.host import Host, Hosts
from testnet.simulator.links import Links

DEAD_AFTER_MS: Final = 20_000
"""A connection on which nothing passes is given up after this. Source: gossip/libp2p/tuning.py."""

LOOK_MS: Final = 1_000
"""How often who lacks a connection tries again. Source: gossip/libp2p/discovery.py, LOOK_S."""

TOLD_MS: Final = 1
"""From a connection, or its end, until its nodes know."""


class Agenda(Protocol):
    """What the world offers for things to happen later."""

    now_ms: int

    def post(self, host: Host, delay_ms: int, event: Event) -> None: ...

    def deliver(
        self,
        host: Host,
        delay_ms: int,
        burden: tuple[PeerId, int] | None,
        finish: Callable[[], Iterable[Event]],
    ) -> None: ...

    def at(self, delay_ms: int, what: str, action: Callable[[], None]) -> None: ...


class Connections:
    """The connections of all hosts."""

    def __init__(self, agenda: Agenda, hosts: Hosts, links: Links) -> None:
        self._agenda, self._hosts, self._links = agenda, hosts, links
        self._refused: dict[tuple[PeerId, PeerId], int] = {}
        """Until when two nodes don't speak."""
        self._silent: dict[tuple[PeerId, PeerId], int] = {}
        """Since when nothing has passed between two that are connected."""
        self._is_looking = False
        self.admits: Callable[[PeerId, PeerId], bool] = lambda *_: True
        """Whether two nodes may have a connection; for those who want to model who lets whom in."""
        self.ended: Callable[[PeerId, PeerId], None] = lambda *_: None
        """Told of every connection that ends."""
        links.changed.append(self._look_for_silence)

    def arrive(self, host: Host) -> None:
        """Connect a host that has come up with all that are there."""
        for other in self._hosts.values():
            self._connect(host, other)
        self._look_later()

    def depart(self, host: Host) -> None:
        """Let all others know that a host is gone."""
        for remote in list(host.remotes):
            self.disconnect(host.name, remote)

    def refuse(self, one: PeerId, other: PeerId, duration_ms: int) -> None:
        """End a connection, and make none for a while."""
        until_ms = self._agenda.now_ms + duration_ms
        self._refused[one, other] = self._refused[other, one] = until_ms
        self.disconnect(one, other)
        self._agenda.at(duration_ms, "dial", lambda: self.dial(one, other))

    def disconnect(self, one: PeerId, other: PeerId) -> None:
        """End a connection if there is one; it is made again unless something forbids it."""
        if other not in self._hosts[one].remotes:
            return
        for here, there in ((one, other), (other, one)):
            del self._hosts[here].remotes[there]
            self._agenda.post(self._hosts[here], TOLD_MS, events.Disconnected(there))
        self._silent.pop((one, other), None)
        self._silent.pop((other, one), None)
        self.ended(one, other)
        self._look_later()

    def dial(self, one: PeerId, other: PeerId) -> None:
        """Connect two nodes if nothing is in the way."""
        self._connect(self._hosts[one], self._hosts[other])

    def _connect(self, host: Host, other: Host) -> None:
        if other.name in host.remotes or not self._may_connect(host, other):
            return
        for here, there in ((host, other), (other, host)):
            here.remotes[there.name] = None
            self._agenda.post(here, TOLD_MS, events.Connected(there.name))

    def _may_connect(self, host: Host, other: Host) -> bool:
        now_ms = self._agenda.now_ms
        return (
            host is not other
            and max(host.up_ms, other.up_ms) <= now_ms
            and self._refused.get((host.name, other.name), 0) <= now_ms
            and not self._links.are_apart(host.name, other.name)
            and not self._links.are_apart(other.name, host.name)
            and self.admits(host.name, other.name)
        )

    # --- those that are lacking

    def _look_later(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._agenda.at(LOOK_MS, "look", self._look)

    def _look(self) -> None:
        self._is_looking = False
        is_complete = True
        hosts = [host for host in self._hosts.values() if host.up_ms <= self._agenda.now_ms]
        for number, host in enumerate(hosts):
            for other in hosts[:number]:
                self._connect(host, other)
                is_complete = is_complete and other.name in host.remotes
        if not is_complete:
            self._look_later()

    # --- those that are dead

    def _look_for_silence(self) -> None:
        now_ms = self._agenda.now_ms
        silent = [(host.name, remote) for host in self._hosts.values() for remote in host.remotes]
        silent = [pair for pair in silent if self._is_silent(*pair)]
        before, self._silent = self._silent, {}
        for pair in silent:
            self._silent[pair] = before.get(pair, now_ms)
        if any(pair not in before for pair in silent):
            self._agenda.at(DEAD_AFTER_MS, "silence", self._give_up)

    def _give_up(self) -> None:
        latest_ms = self._agenda.now_ms - DEAD_AFTER_MS
        for (one, other), since_ms in list(self._silent.items()):
            if since_ms <= latest_ms:
                self.disconnect(one, other)

    def _is_silent(self, one: PeerId, other: PeerId) -> bool:
        return self._links.are_apart(one, other) and self._links.are_apart(other, one)
