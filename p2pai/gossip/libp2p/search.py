"""The search in the DHT: at once when something changed, then less and less often; for what is missing."""

from collections.abc import Callable, Sequence
from typing import Final

import trio
from libp2p.peer.id import ID

from p2pai.gossip.addresses import Address, Scope, read_or_none
from p2pai.gossip.interests import Interests
from p2pai.gossip.libp2p.census import Census
from p2pai.gossip.libp2p.dialling import jittered
from p2pai.gossip.libp2p.meeting import MeetingPlace
from p2pai.gossip.libp2p.mount import Mounted
from p2pai.gossip.rendezvous import Meeting
from p2pai.primitives.ids import Millis, PeerId, TaskId

PAUSE_S_MIN: Final = 0.25
PAUSE_S_MAX: Final = 30.0
"""Seconds between two searches while links are missing; they grow."""

CHANGE_PAUSE_S: Final = 1.0
"""Seconds from a change to the search that it causes, so that one that flaps costs little."""

Hear = Callable[[Sequence[Address], str, Scope], None]
"""Takes addresses, the network of who said them, and from where that can be reached."""


class Search:
    """Leaves word of us in the DHT, and looks for others there; without a DHT, neither."""

    def __init__(
        self,
        mounted: Mounted,
        chain: str,
        census: Census,
        hear: Hear,
        clock: Callable[[], Millis],
        *,
        provides: bool,
    ) -> None:
        """Take note of the parts; `provides`: whether others shall find this node."""
        self._provides = provides
        self._host, self._gossip, self._dht = mounted.host, mounted.gossip, mounted.dht
        self._chain = Meeting(chain)
        self._census = census
        self._hear = hear
        self._now_ms = clock
        self._interests = Interests(chain)
        self._place = MeetingPlace(mounted.host, mounted.dht)
        self._changed = trio.Event()
        self._began = False

    def follow(self, topic: str) -> None:
        """Be found under the topic's task, and look for others who follow it."""
        self._interests.join(topic)
        self.hurry()

    def unfollow(self, topic: str) -> None:
        """Undo it."""
        self._leave(self._interests.leave(topic))

    def take_part(self, task: TaskId, role: str) -> None:
        """Be found as one who does a role's part in a task."""
        self._interests.take_part(task, role)
        self.hurry()

    def end_part(self, task: TaskId, role: str) -> None:
        """Undo it."""
        self._leave(self._interests.end_part(task, role))

    def missing(self) -> tuple[PeerId, ...]:
        """Return whom to link with for the sake of our tasks."""
        return self._interests.missing(self._census.names, self._followers)

    def hurry(self) -> None:
        """Search soon: something changed."""
        self._changed.set()

    async def add(self, remote: ID) -> None:
        """Take a connected remote into the routing table."""
        if self._dht is not None:
            await self._place.add(remote)

    async def find(self, remote: ID) -> list[str]:
        """Look up where a remote is."""
        return [] if self._dht is None else await self._place.find_remote(remote)

    async def run(self) -> None:
        """Search until cancelled."""
        pause_s = PAUSE_S_MIN
        while self._dht is not None:
            self._changed = trio.Event()
            if self._host.get_connected_peers():
                await self._search()
                pause_s = min(3 * pause_s, PAUSE_S_MAX)
            with trio.move_on_after(jittered(pause_s)) as waiting:
                await self._changed.wait()
            if not waiting.cancelled_caught:
                # A burst of changes is one change; only the very first search doesn't wait for more.
                await trio.sleep(jittered(CHANGE_PAUSE_S if self._began else PAUSE_S_MIN))
                pause_s = CHANGE_PAUSE_S

    async def _search(self) -> None:
        self._began = True
        for meeting in self._interests.provided if self._provides else ():
            await self._place.show_up(meeting, self._now_ms())
        sought = self._interests.sought(self._census.names, self._followers)
        for meeting in (*((self._chain,) if self._census.wanted else ()), *sought):
            found = await self._look(meeting)
            if meeting.task is not None:
                self._interests.note_found(meeting, found)

    async def _look(self, meeting: Meeting) -> list[PeerId]:
        found: list[PeerId] = []
        for teller, texts in await self._place.look(meeting, self._now_ms()):
            told = [address for address in map(read_or_none, texts) if address is not None]
            # What we don't know the whereabouts of counts as said by all such together, out in the world.
            network, scope = self._census.whereabouts(teller)
            self._hear(told, network or "dht", scope)
            found += [address.remote for address in told]
        return [name for name in found if name != str(self._host.get_id())]

    def _followers(self, topic: str) -> frozenset[PeerId]:
        return frozenset(PeerId(str(remote)) for remote in self._gossip.followers(topic))

    def _leave(self, meetings: Sequence[Meeting]) -> None:
        if self._dht is not None:
            for meeting in meetings:
                self._place.leave(meeting, self._now_ms())
