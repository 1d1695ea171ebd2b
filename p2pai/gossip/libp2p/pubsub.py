"""Publish and subscribe without the stock implementation's traps (py-libp2p 0.8.1).

* A restarted node's messages were taken for old ones for two minutes, because numbers start at the clock's
  seconds: here at its nanoseconds.
* Malformed bytes, or a validator that raises, ended the process: here they end one stream, or stop the node
  on purpose.
* Two tasks wrote to one stream and tore frames apart (8 of 8 joins of a busy topic failed): here one
  writer.
* A message that reaches us on two paths while it is judged was delivered twice: here it is marked as seen
  first.
* A record older than a known one made a whole RPC vanish: here records are neither sent nor read.
* Frames with thousands of tiny messages cost seconds: here a frame with more than 64 isn't looked at.
* Whatever a remote may send without end is bounded, and costs it its standing: see warden.py.

Messages are judged by one synchronous function, in the reader's own task: a remote that sends faster than we
judge is slowed down by its own connection.
"""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
import trio
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub

from p2pai.gossip.allowance import Pool, Share
from p2pai.gossip.conduct import FOREIGN_TOPICS_MAX, TOPICS_MAX, Loss
from p2pai.gossip.libp2p.authors import is_signed, is_understood
from p2pai.gossip.libp2p.host import Host, Stream, reset, write_in_time
from p2pai.gossip.libp2p.mount import Judge
from p2pai.gossip.libp2p.observing import OUTCOMES, message_of
from p2pai.gossip.libp2p.outbox import DATA_SIZE_MAX, Outbox
from p2pai.gossip.libp2p.reading import BufferedReader, with_prefix
from p2pai.gossip.libp2p.router import MeshRouter
from p2pai.gossip.libp2p.rpc import SUBSCRIPTIONS_MAX, check_names, is_crumbs, parse, tokens_of
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.scores import Offence, Standing
from p2pai.gossip.seen import SeenMessages
from p2pai.gossip.sightings import (
    Arrived,
    Closed,
    Observer,
    Opened,
    Outcome,
    Published,
    Sighting,
    Subscribed,
    Unsubscribed,
)
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId

RPC_SIZE_MAX: Final = 1 << 20
"""Bytes of one RPC; four of the largest messages."""

TURN_COUNT: Final = 16
"""Subscriptions of one frame that are dealt with before others have a turn."""

TOPIC_SIZE_MAX: Final = 128
"""Bytes of a topic's name that is remembered; ours have at most 103."""

OUTBOXES_SIZE_MAX: Final = 64 << 20
"""Bytes that wait for all remotes together, beyond what each may have anyway."""

OUTBOX_OWN_SIZE: Final = 512 << 10
"""Bytes that may wait for a remote whatever waits for others: two of the largest messages."""

_log = structlog.get_logger(__name__)


class HardenedPubsub(Pubsub):  # type: ignore[misc]
    """Pubsub whose messages go to `judge`, and whose remotes answer to `warden`; made inside trio."""

    def __init__(
        self,
        host: Host,
        router: MeshRouter,
        judge: Judge,
        warden: Warden,
        observers: Sequence[Observer] = (),
    ) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            max_inbound_rpc_size=RPC_SIZE_MAX,
            max_subscriptions_per_rpc=SUBSCRIPTIONS_MAX,
            max_subscriptions_per_peer=SUBSCRIPTIONS_MAX,
        )
        # The stock cache cleans up in a thread of its own.
        self.seen_messages.stop()  # type: ignore[has-type]
        self.seen_messages = SeenMessages(trio.current_time())
        self.counter = time.time_ns()
        self._judge = judge
        self.warden = warden
        self._waiting_to_leave = Pool(OUTBOXES_SIZE_MAX)
        self._foreign: Counter[ID] = Counter()
        self.observers = observers
        self._opening: set[ID] = set()
        self._inbound: dict[ID, Stream] = {}

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:  # noqa: ANN401
        """Judge a message that is new and properly signed, and pass it on if it is good."""
        message_id = msg.from_id + msg.seqno
        if msg_forwarder == self.my_id:
            self.seen_messages.add(message_id, trio.current_time())
            if self.observers:
                self.note(Published(message_of(msg)))
            await self.router.publish(msg_forwarder, msg)
            return
        outcome = self._judge_arrival(msg_forwarder, msg, message_id)
        self.warden.judged(msg_forwarder, msg, outcome)
        if self.observers:
            self.note(Arrived(PeerId(str(msg_forwarder)), message_of(msg), outcome))
        if outcome is Outcome.ACCEPTED:
            await self.router.publish(msg_forwarder, msg)

    def note(self, sighting: Sighting) -> None:
        """Show a sighting to whoever watches."""
        for observe in self.observers:
            observe(sighting)

    def _judge_arrival(self, remote: ID, msg: Any, message_id: bytes) -> Outcome:  # noqa: ANN401
        if self.seen_messages.has(message_id):
            return Outcome.DUPLICATE
        if len(msg.data) > GOSSIP_SIZE_MAX:
            self.warden.blame(remote, Offence.MALFORMED)
            return Outcome.INVALID
        if not self._is_wellformed(msg):
            return Outcome.INVALID
        if not self.warden.admits(remote, msg.topicIDs[0], len(msg.data)):
            return Outcome.IGNORED
        if not is_signed(msg):
            self.warden.blame(remote, Offence.FORGED)
            return Outcome.INVALID
        self.seen_messages.add(message_id, trio.current_time())
        return OUTCOMES[self._judge(remote, msg.topicIDs[0], msg.data)]

    def _is_wellformed(self, msg: Any) -> bool:  # noqa: ANN401
        return (
            len(msg.topicIDs) == 1
            and msg.topicIDs[0] in self.topic_ids
            and msg.from_id != self.my_id.to_bytes()
            and is_understood(msg)
        )

    def get_hello_packet(self) -> Any:  # noqa: ANN401
        """Return the first RPC on a stream: the topics we follow."""
        topics = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in self.topic_ids]
        return rpc_pb2.RPC(subscriptions=topics)

    async def message_all_peers(
        self,
        raw_msg: bytes,  # noqa: ARG002
        announce: Any = None,  # noqa: ANN401
    ) -> None:
        """Tell all remotes that we follow, or no longer follow, a topic."""
        assert announce is not None, "only announcements go to all"
        frame = with_prefix(rpc_pb2.RPC(subscriptions=[announce]).SerializeToString())
        for outbox in self.peer_queues.values():
            outbox.push(frame, control=True)

    async def stream_handler(self, stream: Stream) -> None:
        """Read a remote's gossip until it ends; with its newest stream goes what it said to follow."""
        remote = stream.muxed_conn.peer_id
        # A refused remote is disconnected, but not before it could say something.
        if not self.warden.is_welcome(remote):
            await reset(stream)
            return
        if remote in self._inbound:
            # Whoever opens many keeps the last.
            await reset(self._inbound[remote])
        self._inbound[remote] = stream
        try:
            await self.continuously_read_stream(stream)
        except Exception as error:  # noqa: BLE001
            _log.debug("gossip stream ended", remote=str(remote), error=repr(error))
            if isinstance(error, InvalidMessage):
                self.warden.blame(remote, Offence.MALFORMED)
            elif isinstance(error, trio.TooSlowError):
                self.warden.give_up(remote)
            await reset(stream)
        if self._inbound.get(remote) is stream:
            del self._inbound[remote]
            for topic in list(self.peer_topics):
                self._forget_subscription(remote, topic)

    async def continuously_read_stream(self, stream: Stream) -> None:
        """Read and carry out one RPC after another."""
        remote = stream.muxed_conn.peer_id
        reader = BufferedReader(stream)
        while self.manager.is_running:
            data = await reader.prefixed(RPC_SIZE_MAX)
            rpc = parse(data)
            if self.warden.standing(remote) >= Standing.IGNORED:
                self.warden.lose(Loss.IGNORED_REMOTE)
                self.warden.blame(remote, Offence.HEEDLESS)
            elif is_crumbs(rpc):
                self.warden.blame(remote, Offence.CRUMBS)
                self.warden.lose(Loss.CRUMBS)
            else:
                await self._carry_out(rpc, remote)
            # Frames that came in one burst are read without waiting; others want their turn too.
            await trio.lowlevel.checkpoint()
            await self.warden.pace(remote, len(data), tokens_of(rpc))

    async def _carry_out(self, rpc: Any, remote: ID) -> None:  # noqa: ANN401
        check_names(rpc)
        for number, option in enumerate(rpc.subscriptions):
            self.handle_subscription(remote, option)
            if number % TURN_COUNT == 0:
                await trio.lowlevel.checkpoint()
        for message in rpc.publish:
            await self.push_msg(remote, message)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, remote)

    def followers(self, topic: str) -> Collection[ID]:
        """Return the remotes that follow a topic."""
        return frozenset(self.peer_topics.get(topic, ()))

    def handle_subscription(self, origin_id: ID, sub_message: Any) -> None:  # noqa: ANN401
        """Note that a remote follows, or no longer follows, a topic."""
        topic = sub_message.topicid
        before = origin_id in self.peer_topics.get(topic, ())
        if sub_message.subscribe:
            if not before and not self._may_follow(origin_id, topic):
                self.warden.blame(origin_id, Offence.SUBSCRIPTIONS)
                self.warden.lose(Loss.SUBSCRIPTION)
                return
            self.router.welcome_subscriber(origin_id, topic)
        if not sub_message.subscribe or topic in self.topic_ids:
            super().handle_subscription(origin_id, sub_message)
        elif not before:
            # The library would start three tasks, also for a topic that is nothing to us.
            self.peer_topics.setdefault(topic, set()).add(origin_id)
            self._peer_subscription_count[origin_id] = self._peer_subscription_count.get(origin_id, 0) + 1
        if not before and origin_id in self.peer_topics.get(topic, ()):
            self._foreign[origin_id] += not self.warden.is_of_chain(topic)
            if self.observers:
                self.note(Subscribed(PeerId(str(origin_id)), topic))

    def _may_follow(self, remote: ID, topic: str) -> bool:
        if self.warden.is_of_chain(topic):
            followed: int = self._peer_subscription_count.get(remote, 0) - self._foreign[remote]
            return followed < TOPICS_MAX
        return len(topic) <= TOPIC_SIZE_MAX and self._foreign[remote] < FOREIGN_TOPICS_MAX

    def _forget_subscription(self, peer_id: ID, topic: str) -> None:
        if peer_id in self.peer_topics.get(topic, ()):
            self._foreign[peer_id] -= not self.warden.is_of_chain(topic)
            if not self._foreign[peer_id]:
                del self._foreign[peer_id]
            if self.observers:
                self.note(Unsubscribed(PeerId(str(peer_id)), topic))
        super()._forget_subscription(peer_id, topic)
        self.router.forget_subscriber(peer_id, topic)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        # Two connections to one remote announce it twice; it gets one stream.
        if peer_id in self.peers or peer_id in self._opening or not self.warden.is_welcome(peer_id):
            return
        self._opening.add(peer_id)
        try:
            await self._open_gossip(peer_id)
        finally:
            self._opening.discard(peer_id)

    async def _open_gossip(self, remote: ID) -> None:
        try:
            stream = await self.host.new_stream(remote, self.protocols)
        except StreamFailure as error:
            # Of these two the library tries only the second one again, and a busy remote gives the first.
            raise SwarmException("no gossip stream") from error
        # From here to the writer's start nothing waits, so no change of our topics can slip between.
        outbox = Outbox(Share(self._waiting_to_leave, OUTBOX_OWN_SIZE, DATA_SIZE_MAX))
        outbox.push(with_prefix(self.get_hello_packet().SerializeToString()), control=True)
        self.router.add_peer(remote, stream.get_protocol())
        self.peers[remote] = stream
        self.peer_queues[remote] = outbox
        if self.observers:
            self.note(Opened(PeerId(str(remote))))
        self.manager.run_task(self.handle_sending_messages, remote, stream, outbox)
        await self._send_recent_messages_to_new_peer(remote)
        for topic in [name for name, remotes in self.peer_topics.items() if remote in remotes]:
            await self.router.on_peer_subscribed(remote, topic)

    async def handle_sending_messages(self, peer_id: ID, stream: Stream, queue: Outbox) -> None:
        """Write what the queue holds until it is closed or the stream ends; then open another.

        What the remote follows was learnt on its own stream and stays: the library forgets it here, and
        a node that came back was deaf for as long as nothing else happened.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, stream, nursery.cancel_scope)
                while (burst := await queue.pop()) is not None:
                    await self._write(peer_id, stream, burst)
                nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001
            _log.debug("gossip writer ended", remote=str(peer_id), error=repr(error))
        await reset(stream)
        if self.peers.get(peer_id) is stream:
            del self.peers[peer_id]
            self.peer_queues.pop(peer_id).close()
            self.router.remove_peer(peer_id)
            if self.observers:
                self.note(Closed(PeerId(str(peer_id))))
            if self._peer_is_connected(peer_id):
                self._schedule_peer_stream_retry(peer_id)

    async def _write(self, remote: ID, stream: Stream, burst: bytes) -> None:
        try:
            await write_in_time(stream, burst)
        except trio.TooSlowError:
            self.warden.give_up(remote)
            raise

    async def _watch(self, stream: Stream, scope: trio.CancelScope) -> None:
        # The remote says nothing on this stream, but its end shows here even when there is nothing to write.
        with suppress(Exception):
            await stream.read(1)
        scope.cancel()
