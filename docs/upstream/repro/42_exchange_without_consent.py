"""A node dials whom a PRUNE names, though it was made with `do_px=False`."""

import trio
from lab import gossiping, listen_address, make_host, make_router, meet, run, running, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.envelope import seal_record
from libp2p.peer.peer_record import PeerRecord
from libp2p.pubsub.pb import rpc_pb2


async def main():
    key_pair = create_new_key_pair()
    victim = make_host(key_pair)
    async with gossiping(2, lambda: make_router(do_px=False)) as (node, enemy), running(victim):
        await meet(node, enemy)
        record = PeerRecord(victim.get_id(), [listen_address(victim)])
        named = rpc_pb2.PeerInfo(
            peerID=victim.get_id().to_bytes(),
            signedPeerRecord=seal_record(record, key_pair.private_key).marshal_envelope(),
        )
        prune = rpc_pb2.ControlPrune(topicID="t", peers=[named])
        await enemy.router.emit_control_message(rpc_pb2.ControlMessage(prune=[prune]), node.id)
        with trio.move_on_after(5):
            while victim.get_id() not in node.host.get_connected_peers():
                await trio.sleep(0.1)
            tell(True, "one PRUNE, on a topic that nobody follows, made the node dial a third party")
        tell(False, "the node dialled nobody")


run(main)
