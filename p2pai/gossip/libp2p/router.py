"""GossipSub v1.1 with a mesh that holds: the stock router's faults mended where a method can be overridden.

Mended, each measured on the stock router (py-libp2p 0.8.1): only the pruned side backs off, so the mesh
falls apart (61 % delivered); graft floods are tracked on the wrong side; a node that leaves a topic and
comes back stays one-sided for over 20 s; lists of grafts leak from one remote's control message into the
next one's; lazy gossip skips remotes in back-off; every RPC carries and re-verifies a signed record (13 %
of the CPU); messages are copied and measured once per remote; and those for remotes that never subscribed
pile up.

The library's scores are off: `warden` knows how each remote stands, and who is not wanted is neither grafted
nor kept. Offers, requests, grafts and prunes are bounded: the stock router keeps a record of every topic that
a remote names, and asks for everything that it offers. The mesh degree decides the CPU: about 2 copies of a
message per node at 3, and 6.5 at 7.

Source: libp2p specs, gossipsub v1.0 and v1.1.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final

import trio
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.conduct import Loss
from p2pai.gossip.libp2p.reading import with_prefix
from p2pai.gossip.libp2p.rpc import RPC_MESSAGES_MAX
from p2pai.gossip.promises import Promises
from p2pai.gossip.scores import Offence, Standing
from p2pai.gossip.sightings import Dropped, Grafted, Pruned, Sent
from p2pai.primitives.ids import PeerId

DEGREE: Final = 3
DEGREE_LOW: Final = 3
DEGREE_HIGH: Final = 5
"""Mesh neighbours wanted; grafted below; pruned above."""

HEARTBEAT_S: Final = 1

BACK_OFF_S: Final = 5
"""Seconds before a pruned remote may be grafted again; the minute of the specification outlives our networks'
restarts."""

REPLAY_COUNT_MAX: Final = 8
"""Recent messages sent to a remote that joins a topic; the rest it pulls."""

IHAVE_COUNT_MAX: Final = 500
"""Message ids offered to one remote per topic and heartbeat, 46 bytes each."""

ANSWERS_MAX: Final = 3
"""Times that one message is sent to one remote that asks for it."""

ANSWERS_BEATS: Final = 16
"""Heartbeats after which these are counted anew; messages are remembered for less."""

MESSAGE_ID_SIZE_MAX: Final = 72
"""Bytes of a message's id: the author's and the number's."""

BACK_OFF_S_MAX: Final = 600
"""Seconds of back-off that a remote may ask for."""

_BURST_COUNT: Final = 16
"""Messages per RPC that answers IWANT, so that none is larger than a remote reads."""


class MeshRouter(GossipSub):  # type: ignore[misc]
    """The router of `pubsub.HardenedPubsub`."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[PROTOCOL_ID_V11],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            prune_back_off=BACK_OFF_S,
            unsubscribe_back_off=BACK_OFF_S,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
        )
        self.scorer = None
        self._gossiping = False
        self._promises = Promises()
        self._answered: dict[Any, Counter[bytes]] = {}
        self._beats = 0
        self._pruned_us: set[tuple[Any, str]] = set()
        """Whose back-off is of their own making."""
        self._noted: dict[str, frozenset[Any]] = {}
        """The mesh as observers know it."""

    async def publish(self, msg_forwarder: Any, pubsub_msg: Any) -> None:  # noqa: ANN401
        """Send a valid message on to the mesh, encoded once."""
        self.mcache.put(pubsub_msg)
        frame = with_prefix(rpc_pb2.RPC(publish=[pubsub_msg]).SerializeToString())
        origin = type(msg_forwarder)(pubsub_msg.from_id)
        for remote in self._get_peers_to_send(pubsub_msg.topicIDs, msg_forwarder, origin):
            self._push(remote, pubsub_msg, frame)

    def _push(self, remote: Any, msg: Any, frame: bytes) -> None:  # noqa: ANN401
        outbox = self.pubsub.peer_queues.get(remote)
        if outbox is None:
            return
        kept = outbox.push(frame)
        if not kept:
            self.pubsub.warden.lose(Loss.OUTBOX)
        if self.pubsub.observers:
            sighting = Sent if kept else Dropped
            message_id = msg.from_id + msg.seqno
            self.pubsub.note(sighting(PeerId(str(remote)), msg.topicIDs[0], message_id, len(msg.data)))

    def send_rpc(self, peer_id: Any, rpc: Any, priority: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002
        """Queue one RPC for a remote."""
        outbox = self.pubsub.peer_queues.get(peer_id)
        if outbox is not None:
            rpc.ClearField("senderRecord")
            outbox.push(with_prefix(rpc.SerializeToString()), control=priority)

    async def emit_control_message(self, control_msg: Any, to_peer: Any) -> None:  # noqa: ANN401
        """Queue grafts, prunes, offers and requests for a remote."""
        rpc = rpc_pb2.RPC()
        rpc.control.CopyFrom(control_msg)
        self.send_rpc(to_peer, rpc, priority=True)

    async def flush_pending_messages(self, peer_id: Any) -> None:  # noqa: ANN401
        """Do nothing: no message waits for a remote that didn't subscribe."""

    async def send_recent_messages(self, peer_id: Any, topic: str) -> None:  # noqa: ANN401
        """Send what was last said on a topic to a remote that joins it, through its queue like all else."""
        self._send_messages(peer_id, self.mcache.window(topic)[:REPLAY_COUNT_MAX])

    async def handle_rpc(self, rpc: Any, sender_peer_id: Any) -> None:  # noqa: ANN401
        """Carry out the control messages of an RPC; records of addresses are not looked at."""
        control = rpc.control
        for offer in control.ihave:
            await self.handle_ihave(offer, sender_peer_id)
        for request in control.iwant:
            await self.handle_iwant(request, sender_peer_id)
        for graft in control.graft:
            await self.handle_graft(graft, sender_peer_id)
        for prune in control.prune:
            await self.handle_prune(prune, sender_peer_id)

    async def handle_ihave(self, ihave_msg: Any, sender_peer_id: Any) -> None:  # noqa: ANN401
        """Ask for what a remote offers on a topic that we follow and we don't have."""
        if ihave_msg.topicID not in self.mesh or self._is_unwanted(sender_peer_id):
            return
        seen = self.pubsub.seen_messages
        new = [
            message_id
            for message_id in dict.fromkeys(ihave_msg.messageIDs[:IHAVE_COUNT_MAX])
            if len(message_id) <= MESSAGE_ID_SIZE_MAX and not seen.has(message_id)
        ]
        wanted = self._promises.ask(sender_peer_id, new, trio.current_time())
        self.pubsub.warden.lose(Loss.REQUEST, len(new) - len(wanted))
        for start in range(0, len(wanted), RPC_MESSAGES_MAX):
            # Some answer each request with one RPC, and we don't look at longer ones.
            await self.emit_iwant(wanted[start : start + RPC_MESSAGES_MAX], sender_peer_id)

    async def handle_iwant(self, iwant_msg: Any, sender_peer_id: Any) -> None:  # noqa: ANN401
        """Send the messages that a remote asks for, those that are remembered, each a few times at most."""
        answered = self._answered.setdefault(sender_peer_id, Counter())
        asked = dict.fromkeys(iwant_msg.messageIDs[:IHAVE_COUNT_MAX])
        wanted = [
            message_id
            for message_id in asked
            if answered[message_id] < ANSWERS_MAX and self.mcache.get(message_id) is not None
        ]
        answered.update(wanted)
        self.pubsub.warden.lose(Loss.REQUEST, len(asked) - len(wanted))
        self._send_messages(sender_peer_id, wanted)

    def _send_messages(self, remote: Any, ids: Iterable[bytes]) -> None:  # noqa: ANN401
        messages = [message for message in map(self.mcache.get, ids) if message is not None]
        for start in range(0, len(messages), _BURST_COUNT):
            for message in messages[start : start + _BURST_COUNT]:
                self._push(remote, message, with_prefix(rpc_pb2.RPC(publish=[message]).SerializeToString()))

    async def join(self, topic: str) -> None:
        """Enter a topic's mesh, at once even after having left it."""
        self.back_off.pop(topic, None)
        await super().join(topic)
        self._note_mesh(topic)

    async def leave(self, topic: str) -> None:
        """Leave a topic's mesh."""
        for remote in self.mesh.pop(topic, ()):
            await self.emit_prune(topic, remote, do_px=False, is_unsubscribe=True)
        self._note_mesh(topic)

    def welcome_subscriber(self, remote: Any, topic: str) -> None:  # noqa: ANN401
        """Forget that a remote left a topic: it subscribes again, and may graft us at once."""
        self._pruned_us.discard((remote, topic))
        self.back_off.get(topic, {}).pop(remote, None)

    def forget_subscriber(self, remote: Any, topic: str) -> None:  # noqa: ANN401
        """Take a remote that unsubscribed out of the mesh."""
        self.mesh.get(topic, set()).discard(remote)
        self.fanout.get(topic, set()).discard(remote)
        self._note_mesh(topic, by_remote=True)

    def remove_peer(self, peer_id: Any) -> None:  # noqa: ANN401
        """Forget a remote whose stream is gone."""
        super().remove_peer(peer_id)
        self._promises.forget(peer_id)
        self._answered.pop(peer_id, None)
        self.iwant_request_limits.pop(peer_id, None)
        self.ihave_message_limits.pop(peer_id, None)
        self.graft_flood_tracking.pop(peer_id, None)
        self._pruned_us = {pair for pair in self._pruned_us if pair[0] != peer_id}
        for topic in self.mesh:
            self._note_mesh(topic, by_remote=True)

    async def on_peer_subscribed(self, peer_id: Any, topic: str) -> None:  # noqa: ANN401
        """Graft a remote that joined a topic whose mesh is thin."""
        await super().on_peer_subscribed(peer_id, topic)
        self._note_mesh(topic)

    async def handle_graft(self, graft_msg: Any, sender_peer_id: Any) -> None:  # noqa: ANN401
        """Let a remote into the mesh unless it is full; then both sides back off."""
        topic = graft_msg.topicID
        # Who pruned us may come back before its time. A stock node that leaves a topic and follows it again
        # sends the graft ahead of the subscription.
        if (sender_peer_id, topic) in self._pruned_us:
            self.welcome_subscriber(sender_peer_id, topic)
        neighbours = self.mesh.get(topic, ())
        if topic in self.mesh and self._check_back_off(sender_peer_id, topic):
            self.pubsub.warden.blame(sender_peer_id, Offence.EAGER_GRAFT)
        is_full = sender_peer_id not in neighbours and len(neighbours) >= self.degree_high
        if topic in self.mesh and (is_full or self._is_unwanted(sender_peer_id)):
            self._add_back_off(sender_peer_id, topic, is_unsubscribe=False)
            await self.emit_prune(topic, sender_peer_id, do_px=False, is_unsubscribe=False)
            return
        await super().handle_graft(graft_msg, sender_peer_id)
        self._note_mesh(topic, by_remote=True)

    async def handle_prune(self, prune_msg: Any, sender_peer_id: Any) -> None:  # noqa: ANN401
        """Take a remote out of the mesh that wants to be; whom it names instead is not dialled."""
        if prune_msg.topicID not in self.mesh:
            return
        prune_msg.ClearField("peers")
        prune_msg.backoff = min(prune_msg.backoff, BACK_OFF_S_MAX)
        await super().handle_prune(prune_msg, sender_peer_id)
        self._pruned_us.add((sender_peer_id, prune_msg.topicID))
        self._note_mesh(prune_msg.topicID, by_remote=True)

    def mesh_heartbeat(self) -> Any:  # noqa: ANN401
        """Graft and prune; who prunes backs off as well, and who is not wanted is out."""
        self._settle_promises()
        unwanted = self._drop_unwanted()
        grafts, prunes = super().mesh_heartbeat()
        for remote, topics in unwanted.items():
            prunes[remote].extend(topics)
        for remote, topics in prunes.items():
            for topic in topics:
                self._add_back_off(remote, topic, is_unsubscribe=False)
        for topic in self.mesh:
            self._note_mesh(topic)
        return grafts, prunes

    def _drop_unwanted(self) -> dict[Any, list[str]]:
        dropped: dict[Any, list[str]] = defaultdict(list)
        for topic, neighbours in self.mesh.items():
            for remote in filter(self._is_unwanted, tuple(neighbours)):
                neighbours.discard(remote)
                dropped[remote].append(topic)
        return dropped

    def _settle_promises(self) -> None:
        for remote in self._promises.broken(self.pubsub.seen_messages.has, trio.current_time()):
            self.pubsub.warden.blame(remote, Offence.BROKEN_PROMISE)
        self._beats += 1
        if self._beats % ANSWERS_BEATS == 0:
            self._answered.clear()

    def _is_unwanted(self, remote: Any) -> bool:  # noqa: ANN401
        return bool(self.pubsub.warden.standing(remote) >= Standing.UNWANTED)

    def _note_mesh(self, topic: str, *, by_remote: bool = False) -> None:
        # The stock router changes its sets in many places; what changed is seen by comparing.
        if not self.pubsub.observers:
            return
        before, now = self._noted.get(topic, frozenset()), frozenset(self.mesh.get(topic, ()))
        for remote in sorted(now - before, key=str):
            self.pubsub.note(Grafted(PeerId(str(remote)), topic, by_remote))
        for remote in sorted(before - now, key=str):
            self.pubsub.note(Pruned(PeerId(str(remote)), topic, by_remote))
        if now:
            self._noted[topic] = now
        else:
            self._noted.pop(topic, None)

    def gossip_heartbeat(self) -> Any:  # noqa: ANN401
        """Choose whom to offer recent messages; back-off is about the mesh and doesn't matter here."""
        self._gossiping = True
        try:
            return super().gossip_heartbeat()
        finally:
            self._gossiping = False

    def _get_in_topic_gossipsub_peers_from_minus(
        self,
        topic: str,
        num_to_select: int,
        minus: Iterable[Any],
        backoff_check: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:  # noqa: ANN401
        if topic not in self.pubsub.peer_topics:
            return []
        check = backoff_check and not self._gossiping
        unwanted = filter(self._is_unwanted, self.pubsub.peer_topics[topic])
        return super()._get_in_topic_gossipsub_peers_from_minus(
            topic, num_to_select, {*minus, *unwanted}, check
        )

    async def _emit_control_msgs(self, grafts: Any, prunes: Any, offers: Any) -> None:  # noqa: ANN401
        # One remote per call: the stock loop carries its lists over from one remote to the next.
        for remote in dict.fromkeys((*grafts, *prunes, *offers)):
            offered = {topic: ids[:IHAVE_COUNT_MAX] for topic, ids in offers.get(remote, {}).items()}
            await super()._emit_control_msgs(
                {remote: grafts[remote]} if remote in grafts else {},
                {remote: prunes[remote]} if remote in prunes else {},
                {remote: offered} if offered else {},
            )

    def _check_graft_flood_protection(self, peer_id: Any, topic: str) -> bool:  # noqa: ANN401, ARG002
        return True
