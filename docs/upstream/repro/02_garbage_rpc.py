"""Bytes that are no protobuf, on a pubsub stream, end the process."""

import trio
from lab import connect, gossiping, make_host, outcome_of, run, running, tell, with_length


async def main():
    async def serve():
        enemy = make_host()
        async with gossiping(1) as (node,), running(enemy):
            await connect(enemy, node.host)
            stream = await enemy.new_stream(node.id, ["/meshsub/1.1.0"])
            await stream.write(with_length(b"\xff" * 5))
            await trio.sleep(2)

    error = await outcome_of(serve)
    tell(error is not None and "Decode" in type(error).__name__, f"one frame ended the node: {error!r}")


run(main)
