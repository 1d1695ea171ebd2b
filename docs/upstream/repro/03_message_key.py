"""A message whose author is a hash and whose key is malformed ends the process."""

import trio
from lab import connect, gossiping, make_host, outcome_of, run, running, tell, with_length
from libp2p.pubsub.pb import rpc_pb2


async def main():
    async def serve():
        enemy = make_host()
        async with gossiping(1) as (node,), running(enemy):
            await node.pubsub.subscribe("t")
            await connect(enemy, node.host)
            stream = await enemy.new_stream(node.id, ["/meshsub/1.1.0"])
            author = b"\x12\x20" + bytes(32)
            message = rpc_pb2.Message(
                from_id=author, seqno=b"1", data=b"x", topicIDs=["t"], signature=b"s", key=b"\xff\xff"
            )
            await stream.write(with_length(rpc_pb2.RPC(publish=[message]).SerializeToString()))
            await trio.sleep(2)

    error = await outcome_of(serve)
    tell(error is not None, f"one message ended the node: {error!r}")


run(main)
