"""Door of gossip frames: any bytes are a frame with a price, or none.

A frame of tiny entries is sound for protobuf and refused as crumbs; what any entry of a sound one names is
looked at as the reader does.
"""

from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.conduct import is_of_chain
from p2pai.gossip.libp2p.pubsub import is_signed
from p2pai.gossip.libp2p.rpc import check_names, is_crumbs, parse, tokens_of
from p2pai.primitives.errors import InvalidMessage
from tests.fuzz.harness import Door, Form

CHAIN = "0a1b2c3d"
TOPIC = f"/p2pai/{CHAIN}/chain/tx/1"


def read_frame(data):
    rpc = parse(data)
    assert tokens_of(rpc) > 0
    if is_crumbs(rpc):
        raise InvalidMessage("crumbs")
    check_names(rpc)
    for option in rpc.subscriptions:
        is_of_chain(option.topicid, CHAIN)
    for message in rpc.publish:
        is_signed(message)


def frames():
    message = rpc_pb2.Message(data=b"data", topicIDs=[TOPIC], from_id=b"\x00" * 38, seqno=bytes(8))
    control = rpc_pb2.ControlMessage(
        graft=[rpc_pb2.ControlGraft(topicID=TOPIC)],
        prune=[rpc_pb2.ControlPrune(topicID=TOPIC, backoff=5)],
        ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[bytes(46)] * 9)],
        iwant=[rpc_pb2.ControlIWant(messageIDs=[bytes(46)])],
    )
    option = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)
    sound = (
        rpc_pb2.RPC(subscriptions=[option] * 3),
        rpc_pb2.RPC(publish=[message] * 3),
        rpc_pb2.RPC(control=control),
        rpc_pb2.RPC(subscriptions=[option], publish=[message], control=control),
    )
    return tuple(rpc.SerializeToString() for rpc in sound)


DOORS = (Door("gossip_frame", read_frame, frames, Form.BYTES),)
