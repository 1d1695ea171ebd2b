"""A host that only hears gossip: no ledger, no tickets, no keys but an identity that ends with it.

It joins every topic that is wanted and that some remote follows, and leaves it when nobody does any more. It
is no part of the network otherwise: it neither asks nor answers questions, so no node counts it among those
whom it can ask; but it passes on what is properly signed (hearing.py), since a mesh lives on that.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import trio
from libp2p.peer.id import ID

from p2pai.effects import Verdict
from p2pai.gossip import hearing
from p2pai.gossip.libp2p.dialling import parse_bootstrap
from p2pai.gossip.libp2p.discovery import Discovery, Places
from p2pai.gossip.libp2p.observing import count_sent
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.gossip.libp2p.refusals import Refusals
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.sightings import Observer
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId

JOINED_MAX: Final = 256
"""Topics that are followed at once; as many as a remote may follow."""

LOOK_S: Final = 0.25
"""Seconds between two looks at what remotes follow."""


class Listener:
    """Hears topics, shown to `observers`, while `run` runs."""

    def __init__(self, chain_id: str, bootstrap: Sequence[str], wants: Callable[[str], bool]) -> None:
        """Make an identity.

        Args:
          chain_id: whose nodes are looked for; eight hex digits.
          bootstrap: full multiaddrs to start from, at least one.
          wants: tells which topics to join.

        Raises:
          InvalidInput: no address, or a malformed one.
        """
        try:
            for address in bootstrap:
                parse_bootstrap(address)
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        if not bootstrap:
            raise InvalidInput("to listen, the address of at least one node is needed")
        self._mount = OwnHost(None, ["/ip4/127.0.0.1/tcp/0"])
        self._chain_id, self._bootstrap, self._wants = chain_id, bootstrap, wants
        self._joined: dict[str, None] = {}
        self.peer_id = PeerId(str(self._mount.id))
        self.observers: list[Observer] = []
        """Who sees all gossip; may be added and removed at any time."""

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ANN401
        """Listen until cancelled; ready when `task_status` is told."""
        gone: list[ID] = []
        warden = Warden(self._chain_id, Refusals(), self.observers, gone.append)
        async with self._mount.running(_judge, warden, self.observers) as mounted:
            self._gossip: Any = mounted.gossip
            discovery = Discovery(mounted, self._chain_id, Places(self._bootstrap), warden.is_welcome, None)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(discovery.run)
                task_status.started()
                while True:
                    while gone:
                        await mounted.disconnect(gone.pop())
                    await self._join_and_leave()
                    await trio.sleep(LOOK_S)

    def joined(self) -> tuple[str, ...]:
        """Return the topics that are followed now."""
        return tuple(self._joined)

    def followed(self) -> tuple[str, ...]:
        """Return the topics that remotes follow."""
        return tuple(topic for topic, remotes in self._gossip.peer_topics.items() if remotes)

    async def publish(self, topic: str, data: bytes) -> int:
        """Send a message to those who follow a topic; returns to how many it was sent at once."""
        assert len(data) <= GOSSIP_SIZE_MAX, "message is too large for gossip"
        return await count_sent(self.observers, topic, data, self._gossip.publish)

    async def _join_and_leave(self) -> None:
        followed = self.followed()
        for topic in [topic for topic in self._joined if topic not in followed]:
            del self._joined[topic]
            await self._gossip.unsubscribe(topic)
        for topic in followed:
            if topic not in self._joined and len(self._joined) < JOINED_MAX and self._wants(topic):
                self._joined[topic] = None
                await self._gossip.subscribe(topic)


def _judge(remote: ID, topic: str, data: bytes) -> Verdict:  # noqa: ARG001
    return hearing.judge(topic, data)
