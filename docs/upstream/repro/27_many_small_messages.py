"""One RPC of thousands of tiny messages costs a second of CPU per thousand."""

import time

import trio
from lab import connect, gossiping, make_host, run, running, signed, tell, with_length
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.pubsub.pb import rpc_pb2

COUNT = 1000


async def main():
    key_pair = create_new_key_pair()
    enemy = make_host(key_pair)
    async with gossiping(1) as (node,), running(enemy):
        await node.pubsub.subscribe("t")
        await connect(enemy, node.host)
        stream = await enemy.new_stream(node.id, ["/meshsub/1.1.0"])
        # One signature for all: what it costs to refuse them is the point.
        crumb = signed(key_pair, enemy.get_id().to_bytes(), "t", b".", 1)
        rpc = rpc_pb2.RPC()
        for number in range(COUNT):
            crumb.seqno = number.to_bytes(8, "big")
            rpc.publish.add().CopyFrom(crumb)
        data = rpc.SerializeToString()
        began_s = time.process_time()
        await stream.write(with_length(data))
        await trio.sleep(5)
        took_s = time.process_time() - began_s
        tell(
            took_s > 0.3,
            f"{COUNT} false messages, {len(data) >> 10} KiB of the 1 MiB allowed, cost {took_s:.1f} s of CPU",
        )


run(main)
