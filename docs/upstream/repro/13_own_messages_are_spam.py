"""With the default options a node drops its own messages beyond ten a second, without an error."""

import trio
from lab import count_messages, gossiping, make_router, meet, run, tell

COUNT = 40


async def main():
    stock = lambda: make_router(spam_protection_enabled=True)  # noqa: E731  # the default
    async with gossiping(2, stock) as (a, b), trio.open_nursery() as nursery:
        await a.pubsub.subscribe("t")
        heard = count_messages(await b.pubsub.subscribe("t"), nursery)
        await meet(a, b)
        await a.pubsub.wait_for_mesh(b.id, "t", 10)
        for number in range(COUNT):
            await a.pubsub.publish("t", b"%d" % number)
            await trio.sleep(0.02)
        await trio.sleep(3)
        tell(len(heard) < COUNT, f"{len(heard)} of {COUNT} messages arrived; publish() raised nothing")


run(main)
