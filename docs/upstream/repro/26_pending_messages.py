"""Messages are kept for every connected remote that does not follow the topic."""

import trio
from lab import gossiping, meet, run, tell

COUNT, SIZE = 100, 100_000


async def main():
    async with gossiping(2) as (a, b):
        await a.pubsub.subscribe("t")
        await meet(a, b)
        for _ in range(COUNT):
            await a.pubsub.publish("t", bytes(SIZE))
        await trio.sleep(1)
        size = sum(rpc.ByteSize() for _, rpc in a.router._pending_messages.get(b.id, ()))
        tell(size > 1 << 20, f"{size >> 20} MiB wait for a remote that never subscribed")


run(main)
