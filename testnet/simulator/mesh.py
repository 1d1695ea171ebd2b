"""Gossip hop by hop, as gossipsub carries it: meshes, a cache of what was seen, lazy offers, and standings.

For each topic a node keeps about `degree` neighbours among those followers that it is connected with, grafts
when there are fewer and prunes when there are more than `SURPLUS` beyond. A message goes on to the neighbours
only after the node's core has said ACCEPT; what comes again ends at the cache of seen messages, before the
core. Each heartbeat the ids of the last messages are offered to followers outside the mesh, which ask for
those that they lack: so losses are mended.

What a remote may send and how it stands is decided by the very code of a real node (`gossip.conduct`,
`gossip.scores`, `gossip.seen`, `gossip.promises`): who is too fast has to wait, who misbehaves leaves the
mesh, is not listened to, and is refused in the end. Numbers are those of gossip/libp2p/router.py.

Left out: everybody knows at once who follows a topic, and frames have no cost but that of their messages.

Source: libp2p specs, gossipsub v1.0 and v1.1.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from p2pai import events
from p2pai.effects import Verdict
from p2pai.gossip import hearing
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.scores import Offence, Standing
from p2pai.gossip.sightings import Outcome
from p2pai.primitives.ids import PeerId
from testnet.simulator.connections import Agenda
from testnet.simulator.host import Host, Hosts
from testnet.simulator.links import Links
from testnet.simulator.router import Message, Router

SURPLUS: Final = 2
"""Neighbours beyond the degree before some are pruned, or grafts refused."""

HEARTBEAT_MS: Final = 1_000
BACK_OFF_MS: Final = 5_000
REPLAY_COUNT_MAX: Final = 8
"""Recent messages that a new neighbour is sent."""

ID_SIZE: Final = 46
"""Bytes of a message's id in an offer or a request."""

FRAME_SIZE: Final = 200
"""Bytes of a message beyond its data: author, number, topic, key, signature."""

_OUTCOMES: Final = {
    Verdict.ACCEPT: Outcome.ACCEPTED,
    Verdict.IGNORE: Outcome.IGNORED,
    Verdict.REJECT: Outcome.REJECTED,
}


class Mesh:
    """The routers of all hosts."""

    def __init__(
        self,
        agenda: Agenda,
        hosts: Hosts,
        links: Links,
        degree: int,
        dice: random.Random,
        refuse: Callable[[PeerId, PeerId, int], None],
    ) -> None:
        """Begin with nobody.

        Args:
          agenda: when things happen.
          hosts: of the world.
          links: what messages go through.
          degree: neighbours wanted in each topic.
          dice: what neighbours are drawn from.
          refuse: ends a host's connection with a remote and makes none for so many milliseconds.
        """
        self._agenda, self._hosts, self._links = agenda, hosts, links
        self._degree, self._dice, self._refuse = degree, dice, refuse
        self._followers: dict[str, dict[PeerId, None]] = {}
        self._routers: dict[PeerId, Router] = {}
        self._current: tuple[PeerId, Message] | None = None
        """Who brought the message that a core is looking at, and the message."""
        self.traffic: Counter[str] = Counter()
        """Messages and bytes sent, and those that came for nothing."""
        self.duplicates: Counter[str] = Counter()

    # --- what the world tells (Gossip)

    def join(self, host: Host, topic: str) -> None:
        """Let a host follow a topic."""
        router = self._router(host)
        for follower in self._followers.setdefault(topic, {}):
            self._routers[follower].welcome(topic, host.name)
        self._followers[topic][host.name] = None
        if topic not in router.mesh:
            router.mesh[topic] = {}
            self._fill(router, topic)

    def leave(self, host: Host, topic: str) -> None:
        """Let a host follow a topic no more."""
        self._followers.get(topic, {}).pop(host.name, None)
        router = self._routers.get(host.name)
        if router is not None:
            for neighbour in router.mesh.pop(topic, {}):
                self._prune(router, neighbour, topic)

    def publish(self, host: Host, topic: str, data: bytes) -> None:
        """Send a host's own message to its neighbours, or to some followers if it does not follow itself."""
        router = self._router(host)
        message = router.author(topic, data, self._agenda.now_ms)
        targets: Iterable[PeerId] = router.mesh.get(topic) or ()
        if topic not in router.mesh:
            targets = self._choose(router, self._candidates(router, topic, ()), self._degree)
        for target in targets:
            self._push(host, target, message)

    def judged(self, host: Host, event: events.Received, verdict: Verdict) -> None:
        """Pass on what a host's core accepts; hold against the sender what it rejects."""
        if self._current is None or self._current[1].topic != event.topic:
            return
        (remote, message), self._current = self._current, None
        router, outcome = self._routers.get(host.name), _OUTCOMES[verdict]
        if router is None:
            return
        evident = outcome is Outcome.REJECTED and (
            message.author == remote or hearing.judge(message.topic, message.data) is Verdict.REJECT
        )
        router.conduct.judged(remote, outcome, self._agenda.now_ms, is_evident=evident)
        if verdict is Verdict.ACCEPT:
            router.remember(message)
            for neighbour in router.mesh.get(message.topic, ()):
                if neighbour not in (remote, message.author):
                    self._push(host, neighbour, message)

    def author(self, event: events.Received) -> PeerId:
        """Return who published the message that a core is looking at."""
        return self._current[1].author if self._current is not None else event.remote

    def depart(self, host: Host) -> None:
        """Forget a host that is gone."""
        for topic in host.topics:
            self._followers.get(topic, {}).pop(host.name, None)
        self._routers.pop(host.name, None)

    def disconnected(self, one: PeerId, other: PeerId) -> None:
        """Take two hosts out of each other's meshes."""
        for here, there in ((one, other), (other, one)):
            if here in self._routers:
                self._routers[here].forget(there)

    # --- for those who want to look, or to misbehave

    def neighbours(self, name: PeerId, topic: str) -> tuple[PeerId, ...]:
        """Return a host's mesh."""
        router = self._routers.get(name)
        return tuple(router.mesh.get(topic, ())) if router is not None else ()

    def standing(self, name: PeerId, remote: PeerId) -> Standing:
        """Return how a remote stands with a host."""
        router = self._routers.get(name)
        return router.conduct.standing(remote, self._agenda.now_ms) if router is not None else Standing.GOOD

    def graft(self, name: PeerId, target: PeerId, topic: str) -> None:
        """Let a host ask for a place in a remote's mesh, wanted or not."""
        self._control(self._hosts[name], target, ID_SIZE, lambda there: self._grafted(there, name, topic))

    def send(self, name: PeerId, target: PeerId, topic: str, data: bytes) -> None:
        """Let a host publish to one remote alone."""
        host = self._hosts[name]
        self._push(host, target, self._router(host).author(topic, data, self._agenda.now_ms))

    # --- messages

    def _push(self, host: Host, target: PeerId, message: Message) -> None:
        there = self._hosts[target]
        if target not in host.remotes:
            return
        size = len(message.data) + FRAME_SIZE
        self.traffic["messages"] += 1
        self.traffic["bytes"] += size
        arrive = lambda: self._arrive(there, host.name, message)  # noqa: E731
        for delay_ms in self._links.gossip(host.name, target, size):
            self._agenda.deliver(there, delay_ms, (host.name, size), arrive)

    def _arrive(self, host: Host, remote: PeerId, message: Message) -> Iterator[events.Event]:
        router = self._routers.get(host.name)
        if router is None or remote not in host.remotes:
            return
        wait_ms = router.paced_ms(remote, self._agenda.now_ms)
        if not wait_ms and not router.is_behind(remote):
            yield from self._read(router, remote, message)
            return
        if not router.is_behind(remote):
            self._agenda.deliver(host, wait_ms, None, lambda: self._catch_up(host, remote))
        if not router.put_off(remote, message):
            self.traffic["refused"] += 1

    def _catch_up(self, host: Host, remote: PeerId) -> Iterator[events.Event]:
        """Go on reading a remote that was too fast."""
        router = self._routers.get(host.name)
        while router is not None and router.is_behind(remote):
            wait_ms = router.paced_ms(remote, self._agenda.now_ms)
            if wait_ms:
                self._agenda.deliver(host, wait_ms, None, lambda: self._catch_up(host, remote))
                return
            yield from self._read(router, remote, router.next(remote))

    def _read(self, router: Router, remote: PeerId, message: Message) -> Iterator[events.Event]:
        if self._is_wanted(router, remote, message, self._agenda.now_ms):
            self._current = (remote, message)
            yield events.Received(remote, message.topic, message.data)
            self._current = None
        router.pace(remote, len(message.data) + FRAME_SIZE, self._agenda.now_ms)

    def _is_wanted(self, router: Router, remote: PeerId, message: Message, now_ms: int) -> bool:
        """As gossip/libp2p/pubsub.py judges what arrives."""
        if router.conduct.standing(remote, now_ms) >= Standing.IGNORED:
            router.conduct.blame(remote, Offence.HEEDLESS, now_ms)
            return False
        if router.seen.has(message.id):
            self.traffic["duplicates"] += 1
            self.duplicates[message.topic] += 1
            self.traffic["duplicate bytes"] += len(message.data) + FRAME_SIZE
            router.conduct.judged(remote, Outcome.DUPLICATE, now_ms)
            return False
        if len(message.data) > GOSSIP_SIZE_MAX:
            router.conduct.blame(remote, Offence.MALFORMED, now_ms)
            return False
        if message.topic not in router.mesh:
            return False
        if not router.conduct.admits(remote, message.topic, len(message.data), now_ms):
            return False
        router.see(message, now_ms)
        return True

    # --- meshes

    def _router(self, host: Host) -> Router:
        router = self._routers.get(host.name)
        if router is None:
            ban = lambda who, ms: self._refuse(host.name, who, ms)  # noqa: E731
            router = self._routers[host.name] = Router(host.name, self._agenda.now_ms, ban)
            self._beat_later(host)
        return router

    def _beat_later(self, host: Host) -> None:
        self._agenda.deliver(host, HEARTBEAT_MS, None, lambda: self._beat(host))

    def _beat(self, host: Host) -> Iterable[events.Event]:
        router = self._routers.get(host.name)
        if router is not None:
            self._beat_later(host)
            router.settle_promises(self._agenda.now_ms)
            for topic in list(router.mesh):
                self._tend(router, topic)
                self._offer(router, topic)
            router.turn_page(self._agenda.now_ms)
        return ()

    def _tend(self, router: Router, topic: str) -> None:
        neighbours = router.mesh[topic]
        for remote in [name for name in neighbours if self._is_unwanted(router, name)]:
            self._drop(router, remote, topic)
        while len(neighbours) > self._degree + SURPLUS:
            self._drop(router, self._dice.choice(list(neighbours)), topic)
        self._fill(router, topic)

    def _fill(self, router: Router, topic: str) -> None:
        neighbours = router.mesh[topic]
        if len(neighbours) >= self._degree:
            return
        now_ms = self._agenda.now_ms
        others = self._candidates(router, topic, neighbours)
        free = [name for name in others if not router.backs_off(topic, name, now_ms)]
        for remote in self._choose(router, free, self._degree - len(neighbours)):
            neighbours[remote] = None
            self.graft(router.name, remote, topic)

    def _grafted(self, router: Router, remote: PeerId, topic: str) -> None:
        neighbours = router.mesh.get(topic)
        if neighbours is None:
            return
        now_ms = self._agenda.now_ms
        router.be_grafted(topic, remote)
        is_early = router.backs_off(topic, remote, now_ms)
        if is_early:
            router.conduct.blame(remote, Offence.EAGER_GRAFT, now_ms)
        is_full = remote not in neighbours and len(neighbours) >= self._degree + SURPLUS
        if is_early or is_full or self._is_unwanted(router, remote):
            self._drop(router, remote, topic)
            return
        neighbours[remote] = None
        for message in router.recent(topic)[-REPLAY_COUNT_MAX:]:
            self._push(self._hosts[router.name], remote, message)

    def _drop(self, router: Router, remote: PeerId, topic: str) -> None:
        router.mesh[topic].pop(remote, None)
        router.back_off(topic, remote, self._agenda.now_ms + BACK_OFF_MS)
        self._prune(router, remote, topic)

    def _prune(self, router: Router, remote: PeerId, topic: str) -> None:
        name = router.name
        self._control(self._hosts[name], remote, ID_SIZE, lambda there: self._pruned(there, name, topic))

    def _pruned(self, router: Router, remote: PeerId, topic: str) -> None:
        router.be_pruned(topic, remote, self._agenda.now_ms + BACK_OFF_MS)

    def _candidates(self, router: Router, topic: str, but_for: Iterable[PeerId]) -> list[PeerId]:
        left_out = dict.fromkeys((*but_for, router.name))
        remotes = self._hosts[router.name].remotes
        return [name for name in self._followers.get(topic, ()) if name in remotes and name not in left_out]

    def _is_unwanted(self, router: Router, remote: PeerId) -> bool:
        return router.conduct.standing(remote, self._agenda.now_ms) >= Standing.UNWANTED

    def _choose(self, router: Router, names: list[PeerId], count: int) -> list[PeerId]:
        """Draw some of those who are welcome; the list is used up."""
        chosen: list[PeerId] = []
        while names and len(chosen) < count:
            last = int(self._dice.random() * len(names))
            names[last], names[-1] = names[-1], names[last]
            remote = names.pop()
            if not self._is_unwanted(router, remote):
                chosen.append(remote)
        return chosen

    # --- offers

    def _offer(self, router: Router, topic: str) -> None:
        ids = router.offered(topic)
        others = self._candidates(router, topic, router.mesh[topic]) if ids else []
        for remote in self._choose(router, others, self._degree):
            self._control(
                self._hosts[router.name],
                remote,
                ID_SIZE * len(ids),
                lambda there: self._offered(there, router.name, ids),
            )

    def _offered(self, router: Router, remote: PeerId, ids: Sequence[bytes]) -> None:
        wanted = router.ask(remote, ids, self._agenda.now_ms)
        if wanted and not self._is_unwanted(router, remote):
            self.traffic["asked"] += len(wanted)
            size, name = ID_SIZE * len(wanted), router.name
            self._control(self._hosts[name], remote, size, lambda there: self._asked(there, name, wanted))

    def _asked(self, router: Router, remote: PeerId, ids: Sequence[bytes]) -> None:
        for message in router.answer(remote, ids):
            self._push(self._hosts[router.name], remote, message)

    def _control(self, host: Host, target: PeerId, size: int, action: Callable[[Router], None]) -> None:
        if target not in host.remotes:
            return
        there = self._hosts[target]
        delay_ms = self._links.stream(host.name, target, size)
        self.traffic["bytes"] += size

        def arrive() -> Iterable[events.Event]:
            router = self._routers.get(target)
            if router is not None:
                router.pace(host.name, size, self._agenda.now_ms)
                action(router)
            return ()

        if delay_ms is not None:
            self._agenda.deliver(there, delay_ms, None, arrive)
