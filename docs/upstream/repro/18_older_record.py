"""An RPC whose signed record is older than a known one is dropped whole, with its messages."""

import trio
from lab import (
    connect,
    count_messages,
    gossiping,
    listen_address,
    make_host,
    run,
    running,
    signed,
    tell,
    with_length,
)
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.envelope import seal_record
from libp2p.peer.peer_record import PeerRecord
from libp2p.pubsub.pb import rpc_pb2


async def main():
    key_pair = create_new_key_pair()
    sender = make_host(key_pair)
    async with gossiping(1) as (node,), running(sender), trio.open_nursery() as nursery:
        heard = count_messages(await node.pubsub.subscribe("t"), nursery)
        await connect(sender, node.host)
        await trio.sleep(1)
        stream = await sender.new_stream(node.id, ["/meshsub/1.1.0"])
        author = sender.get_id().to_bytes()
        for number, sequence in enumerate([2**62, 2**62 - 1]):
            record = PeerRecord(sender.get_id(), [listen_address(sender)], sequence)
            rpc = rpc_pb2.RPC(publish=[signed(key_pair, author, "t", b"%d" % number, number)])
            rpc.senderRecord = seal_record(record, key_pair.private_key).marshal_envelope()
            await stream.write(with_length(rpc.SerializeToString()))
            await trio.sleep(0.5)
        tell(heard == [b"0"], f"heard {heard}: the second message came with a record that is one older")


run(main)
