"""Recent messages are written beside the queue's writer, so frames of one stream mix."""

import trio
from lab import gossiping, meet, run, tell

JOINS = 4


async def main():
    torn = 0
    for _ in range(JOINS):
        torn += await is_torn()
    tell(torn > 0, f"{torn} of {JOINS} nodes that joined a topic with 100 KB messages read garbage")


async def is_torn():
    seen = []
    async with gossiping(2) as (hub, node), trio.open_nursery() as nursery:

        async def note(stream):
            try:
                await node.pubsub.continuously_read_stream(stream)
            except Exception as error:
                seen.append(error)

        for protocol in node.pubsub.protocols:
            node.host.set_stream_handler(protocol, note)
        await hub.pubsub.subscribe("t")
        await meet(hub, node)

        async def chatter():
            while True:
                await hub.pubsub.publish("t", bytes(100_000))
                await trio.sleep(0.02)

        nursery.start_soon(chatter)
        await trio.sleep(0.6)
        await node.pubsub.subscribe("t")
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    return bool(seen)


run(main)
