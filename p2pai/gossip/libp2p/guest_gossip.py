"""Our topics on a stock `Pubsub` that belongs to somebody else.

The validator is where messages come in: the library calls it for each new message with the remote that
forwarded it, and lets nothing run between finding a message new, a synchronous validator, and marking it as
seen. The subscription gives no forwarder; it is only drained, for a full one is a warning per message.

A validator says yes or no. Both IGNORE and REJECT are no, and for either the library counts an invalid
message of the forwarder, once for each copy; with the stock weights that means nothing. Messages that name
our topic beside another one are nobody's.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.libp2p.authors import is_understood
from p2pai.gossip.libp2p.guest_view import View, happened, look
from p2pai.gossip.libp2p.mount import Judge
from p2pai.gossip.libp2p.observing import OUTCOMES, message_of
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.seen import SeenMessages
from p2pai.gossip.sightings import Arrived, Observer, Outcome, Published, Sighting
from p2pai.primitives.ids import PeerId

LEAVE_TIMEOUT_S: Final = 2.0
"""Seconds for leaving all topics at the end; the host may have stopped already."""

LOOK_S: Final = 1.0
"""Seconds between two looks at what the library tells nobody of."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Owner:
    """What the host's owner had on one of our topics before we came."""

    is_subscribed: bool
    validator: Any | None


class GuestGossip:
    """Follows topics beside those of the host's owner."""

    def __init__(
        self,
        pubsub: Any,  # noqa: ANN401
        judge: Judge,
        warden: Warden,
        observers: Sequence[Observer],
    ) -> None:
        self._pubsub = pubsub
        self._judge = judge
        self._warden = warden
        self._observers = observers
        self._seen = SeenMessages(trio.current_time())
        self._followed: dict[str, _Owner] = {}
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["GuestGossip"]:
        """Follow topics while inside; all are left at the end."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._attend)
            try:
                yield self
            finally:
                with trio.move_on_after(LEAVE_TIMEOUT_S) as scope:
                    scope.shield = True
                    for topic in list(self._followed):
                        await self.unsubscribe(topic)
                nursery.cancel_scope.cancel()

    async def subscribe(self, topic: str) -> None:
        """Follow a topic; one that the host's owner follows stays theirs to drain and to leave."""
        if topic in self._followed:
            return
        assert self._nursery is not None, "not running"
        owner = _Owner(topic in self._pubsub.topic_ids, self._pubsub.topic_validators.get(topic))
        self._followed[topic] = owner
        self._pubsub.set_topic_validator(topic, self._validate, is_async_validator=False)
        self._forget_leaving(topic)
        if not owner.is_subscribed:
            self._nursery.start_soon(_drain, await self._pubsub.subscribe(topic))

    def followers(self, topic: str) -> Collection[ID]:
        """Return the remotes that follow a topic."""
        return frozenset(self._pubsub.peer_topics.get(topic, ()))

    async def unsubscribe(self, topic: str) -> None:
        """Stop following a topic."""
        owner = self._followed.pop(topic, None)
        if owner is None:
            return
        if owner.validator is None:
            self._pubsub.remove_topic_validator(topic)
        else:
            self._pubsub.set_topic_validator(topic, *owner.validator)
        try:
            if not owner.is_subscribed:
                await self._pubsub.unsubscribe(topic)
        except Exception as error:  # noqa: BLE001  # the host may be ending
            _log.debug("topic not left in order", topic=topic, error=repr(error))

    async def publish(self, topic: str, data: bytes) -> None:
        """Send a message to all who follow a topic; never raises."""
        try:
            await self._pubsub.publish(topic, data)
        except Exception as error:  # noqa: BLE001
            _log.warning("message not published", topic=topic, error=repr(error))

    async def _attend(self) -> None:
        """Tell each remote our topics once its stream is open, and observers what changed.

        The library greets with the topics of when the stream was about to open, and announces others to
        open streams only: what is followed between the two nobody learns.
        """
        told: dict[ID, Any] = {}
        view = View()
        while True:
            streams = dict(self._pubsub.peers)
            for remote, stream in streams.items():
                if told.get(remote) is not stream:
                    self._announce_to(remote)
            told = streams
            now = look(self._pubsub, self._followed)
            for sighting in happened(view, now):
                self._note(sighting)
            view = now
            await trio.sleep(LOOK_S)

    def _announce_to(self, remote: ID) -> None:
        topics = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in self._followed]
        queue = self._pubsub.peer_queues.get(remote)
        if topics and queue is not None:
            queue.push(rpc_pb2.RPC(subscriptions=topics))

    def _forget_leaving(self, topic: str) -> None:
        # The stock router keeps remotes out of the mesh of a topic that it left itself, and takes their
        # grafts for a flood: a node that comes again would be deaf for 20 s.
        router = self._pubsub.router
        router.back_off.pop(topic, None)
        for grafts in router.graft_flood_tracking.values():
            grafts.pop(topic, None)

    def _validate(self, forwarder: ID, message: Any) -> bool:  # noqa: ANN401
        # What leaves this function as an exception would end the host's gossip.
        try:
            if forwarder == self._pubsub.my_id:
                self._note(Published(message_of(message)))
                return True
            outcome = self._judge_arrival(forwarder, message)
            self._warden.judged(forwarder, message, outcome)
            self._note(Arrived(PeerId(str(forwarder)), message_of(message), outcome))
        except Exception:
            _log.exception("validator failed")
            return False
        return outcome is Outcome.ACCEPTED

    def _judge_arrival(self, forwarder: ID, message: Any) -> Outcome:  # noqa: ANN401
        if len(message.topicIDs) != 1 or len(message.data) > GOSSIP_SIZE_MAX or not is_understood(message):
            return Outcome.INVALID
        # The library forgets within minutes what it refused, and what it accepted.
        message_id = message.from_id + message.seqno
        if self._seen.has(message_id):
            return Outcome.DUPLICATE
        self._seen.add(message_id, trio.current_time())
        return OUTCOMES[self._judge(forwarder, message.topicIDs[0], message.data)]

    def _note(self, sighting: Sighting) -> None:
        for observe in self._observers:
            observe(sighting)


async def _drain(subscription: Any) -> None:  # noqa: ANN401
    async for _ in subscription:
        pass
