"""p2pai on a libp2p host that another program made and runs, with that program's other protocols beside it.

A guest adds what is its own, a stream handler, a notifee, a validator and a subscription for each of its
topics, and takes all of it away again when it ends; the host and its connections stay. It changes nothing
global in py-libp2p (`tuning` is for a host of our own), and it asks the host for nothing but what the
network's other nodes need to understand it: signed messages over gossipsub 1.1.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11

from p2pai.gossip.libp2p.guest_gossip import GuestGossip
from p2pai.gossip.libp2p.host import Host
from p2pai.gossip.libp2p.mount import Judge, Mounted
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.sightings import Observer
from p2pai.primitives.errors import InvalidInput, Unavailable

READY_TIMEOUT_S: Final = 5.0
"""Seconds for the host's gossip service to be running."""


HEARTBEAT_S_MAX: Final = 2
"""Seconds between a router's heartbeats; only there it mends its meshes, and offers what remotes missed."""

_log = structlog.get_logger(__name__)


class GuestHost:
    """A mount (mount.py) that is somebody else's."""

    def __init__(self, host: Host, pubsub: Any, dht: Any | None = None) -> None:  # noqa: ANN401
        """Take note of the parts; nothing is touched yet.

        Args:
          host: a py-libp2p host.
          pubsub: its `Pubsub`, over a `GossipSub` router.
          dht: its `KadDHT`, or None.

        Raises:
          InvalidInput: gossip that p2pai's nodes would not understand, or refuse.
        """
        if PROTOCOL_ID_V11 not in pubsub.router.get_protocols():
            raise InvalidInput(f"the host's gossip router must speak {PROTOCOL_ID_V11}")
        if not pubsub.strict_signing:
            raise InvalidInput("the host's pubsub must sign its messages (strict_signing)")
        _warn_of_losses(pubsub.router)
        self._host, self._pubsub, self._dht = host, pubsub, dht
        self.id: ID = host.get_id()

    @asynccontextmanager
    async def running(
        self,
        judge: Judge,
        warden: Warden,
        observers: Sequence[Observer],
    ) -> AsyncIterator[Mounted]:
        """Stay on the host while inside.

        Whoever forwards a message, it is judged: the library remembers a verdict for the message, so
        refusing it because of its forwarder would keep it from us for good.

        Raises:
          Unavailable: the host's gossip doesn't run.
        """
        try:
            with trio.fail_after(READY_TIMEOUT_S):
                await self._pubsub.wait_until_ready()
        except trio.TooSlowError as error:
            raise Unavailable("the host's pubsub service is not running") from error
        async with GuestGossip(self._pubsub, judge, warden, observers).running() as gossip:
            yield Mounted(self._host, gossip, self._dht, is_ours=False)


def _warn_of_losses(router: Any) -> None:  # noqa: ANN401
    """Tell which of the library's defaults lose messages without a word; the router is the owner's."""
    better: dict[str, bool | int] = {}
    if router.spam_protection_enabled:
        better["spam_protection_enabled"] = False
    if router.adaptive_gossip_enabled:
        better["adaptive_gossip_enabled"] = False
    if router.heartbeat_interval > HEARTBEAT_S_MAX:
        better["heartbeat_interval"] = 1
    if better:
        _log.warning("the host's GossipSub loses messages; make it with these settings", **better)
