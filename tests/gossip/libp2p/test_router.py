"""What the stock router does wrong when it looks after its mesh."""

from collections import defaultdict
from typing import Any

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11
from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.libp2p.outbox import Outbox
from p2pai.gossip.libp2p.reading import with_prefix
from p2pai.gossip.libp2p.refusals import Refusals
from p2pai.gossip.libp2p.router import DEGREE, DEGREE_HIGH, MeshRouter
from p2pai.gossip.libp2p.warden import Warden
from p2pai.gossip.seen import SeenMessages


class Topics:
    """The part of pubsub that the router looks at."""

    def __init__(self, remotes: list[ID]) -> None:
        self.peer_topics = {"t": set(remotes), "u": set(remotes)}
        self.peer_queues = {remote: Outbox() for remote in remotes}
        self.peers = dict.fromkeys(remotes)
        self.seen_messages = SeenMessages(0)
        self.warden = Warden("0a1b2c3d", Refusals(), (), lambda remote: None)
        self.observers: list[Any] = []


def make_router(count: int) -> tuple[MeshRouter, list[ID]]:
    remotes = [ID.from_pubkey(create_new_key_pair().public_key) for _ in range(count)]
    router = MeshRouter()
    router.pubsub = Topics(remotes)
    for remote in remotes:
        router.peer_protocol[remote] = PROTOCOL_ID_V11
    return router, remotes


async def sent_to(router: MeshRouter, remote: ID) -> Any:
    outbox = router.pubsub.peer_queues[remote]
    outbox.push(b"\x00")
    burst = (await outbox.pop())[:-1]
    rpc = rpc_pb2.RPC()
    if burst:
        length = len(burst) - len(with_prefix(b"")) if len(burst) < 129 else len(burst) - 2
        rpc.ParseFromString(burst[-length:])
    return rpc


@pytest.mark.trio
async def test_who_prunes_backs_off_too() -> None:
    router, remotes = make_router(DEGREE_HIGH + 3)
    router.mesh["t"] = set(remotes)
    _, prunes = router.mesh_heartbeat()
    assert len(router.mesh["t"]) == DEGREE
    assert len(prunes) == DEGREE_HIGH + 3 - DEGREE
    assert all(router._check_back_off(remote, "t") for remote in prunes)
    assert router.mesh_heartbeat()[0] == {}


@pytest.mark.trio
async def test_a_graft_beyond_the_limit_is_pruned() -> None:
    router, remotes = make_router(DEGREE_HIGH + 1)
    router.mesh["t"] = set()
    for remote in remotes:
        await router.handle_graft(rpc_pb2.ControlGraft(topicID="t"), remote)
    assert router.mesh["t"] == set(remotes[:DEGREE_HIGH])
    assert [prune.topicID for prune in (await sent_to(router, remotes[-1])).control.prune] == ["t"]
    assert router._check_back_off(remotes[-1], "t")


@pytest.mark.trio
async def test_control_messages_are_for_one_remote_each() -> None:
    router, (first, second, third) = make_router(3)
    router.mesh["t"] = set()
    grafts, prunes = defaultdict(list), defaultdict(list)
    grafts[first], grafts[second], prunes[third] = ["t"], ["u"], ["t", "u"]
    await router._emit_control_msgs(grafts, prunes, {second: {"t": [b"id"]}})
    sent = [(await sent_to(router, remote)).control for remote in (first, second, third)]
    assert [[graft.topicID for graft in control.graft] for control in sent] == [["t"], ["u"], []]
    assert [[prune.topicID for prune in control.prune] for control in sent] == [[], [], ["t", "u"]]
    assert [len(control.ihave) for control in sent] == [0, 1, 0]


@pytest.mark.trio
async def test_offers_ignore_back_off() -> None:
    router, (remote,) = make_router(1)
    router.mesh["t"] = set()
    router._add_back_off(remote, "t", False)  # noqa: FBT003
    router.mcache.put(rpc_pb2.Message(data=b"x", topicIDs=["t"], from_id=b"a", seqno=b"1"))
    assert router.gossip_heartbeat() == {remote: {"t": [b"1a"]}} or router.gossip_heartbeat() == {
        remote: {"t": [b"a1"]}
    }
