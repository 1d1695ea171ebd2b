"""A burst of small messages overflows the queue of 32 RPCs; publish() returns as if all were well."""

import trio
from lab import count_messages, gossiping, meet, run, tell

COUNT = 200


async def main():
    async with gossiping(2) as (a, b), trio.open_nursery() as nursery:
        await a.pubsub.subscribe("t")
        heard = count_messages(await b.pubsub.subscribe("t"), nursery)
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        for _ in range(COUNT):
            await a.pubsub.publish("t", bytes(100))
        await trio.sleep(0.9)
        tell(len(heard) < COUNT, f"{len(heard)} of {COUNT} messages of 100 bytes arrived")


run(main)
